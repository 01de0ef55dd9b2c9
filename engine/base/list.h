/* Intrusive doubly linked list with a sentinel head. A node that is on no list points at itself,
 * so removing twice is harmless. */
#pragma once

#include <stdbool.h>

#include "base/container.h"

struct whi_list {
	struct whi_list *next;
	struct whi_list *prev;
};

static inline void whi_list_init(struct whi_list *list)
{
	list->next = list;
	list->prev = list;
}

static inline bool whi_list_empty(const struct whi_list *list)
{
	return list->next == list;
}

/* Append `node` at the end of `list`. */
static inline void whi_list_append(struct whi_list *list, struct whi_list *node)
{
	node->prev = list->prev;
	node->next = list;
	list->prev->next = node;
	list->prev = node;
}

static inline void whi_list_remove(struct whi_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	whi_list_init(node);
}

/* Take the first node off, or NULL. */
static inline struct whi_list *whi_list_pop(struct whi_list *list)
{
	struct whi_list *node = list->next;

	if (node == list)
		return NULL;
	whi_list_remove(node);
	return node;
}

/* Move all of `from` to the end of `to`; `from` is left empty. */
static inline void whi_list_splice(struct whi_list *to, struct whi_list *from)
{
	if (whi_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	whi_list_init(from);
}
