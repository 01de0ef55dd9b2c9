/* Intrusive singly linked queues: a FIFO of one thread, and a many-producer stack that one
 * consumer empties whole. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/container.h"

struct whi_qnode {
	struct whi_qnode *next;
};

struct whi_fifo {
	struct whi_qnode *head;
	struct whi_qnode *tail;
};

static inline bool whi_fifo_empty(const struct whi_fifo *fifo)
{
	return fifo->head == NULL;
}

static inline void whi_fifo_push(struct whi_fifo *fifo, struct whi_qnode *node)
{
	node->next = NULL;
	if (fifo->head)
		fifo->tail->next = node;
	else
		fifo->head = node;
	fifo->tail = node;
}

static inline struct whi_qnode *whi_fifo_pop(struct whi_fifo *fifo)
{
	struct whi_qnode *node = fifo->head;

	if (node)
		fifo->head = node->next;
	return node;
}

/* Treiber's stack (R. K. Treiber, "Systems Programming: Coping with Parallelism", 1986). Only
 * pushing and taking everything: no ABA. */
struct whi_mpsc {
	_Atomic(struct whi_qnode *) top;
};

/* Any thread: push a chain of nodes that begins with the newest. Pairs with the acquire in
 * whi_mpsc_take, and is sequentially consistent so that the consumer may sleep: see
 * whi_loop_wake. */
static inline void whi_mpsc_push_all(struct whi_mpsc *mpsc, struct whi_qnode *newest,
				     struct whi_qnode *oldest)
{
	struct whi_qnode *top = atomic_load_explicit(&mpsc->top, memory_order_relaxed);

	do {
		oldest->next = top;
	} while (!atomic_compare_exchange_weak_explicit(
		&mpsc->top, &top, newest, memory_order_seq_cst, memory_order_relaxed));
}

/* The same for one node. */
static inline void whi_mpsc_push(struct whi_mpsc *mpsc, struct whi_qnode *node)
{
	whi_mpsc_push_all(mpsc, node, node);
}

static inline bool whi_mpsc_empty(const struct whi_mpsc *mpsc)
{
	return atomic_load_explicit(&mpsc->top, memory_order_seq_cst) == NULL;
}

/* Any thread: have what was pushed last brought near, for the consumer to write to. */
static inline void whi_mpsc_prefetch(const struct whi_mpsc *mpsc)
{
	__builtin_prefetch(atomic_load_explicit(&mpsc->top, memory_order_relaxed), 1);
}

/* The consumer. Everything pushed so far, oldest first, as a chain ending in NULL. */
static inline struct whi_qnode *whi_mpsc_take(struct whi_mpsc *mpsc)
{
	struct whi_qnode *top = atomic_exchange_explicit(&mpsc->top, NULL, memory_order_acquire);
	struct whi_qnode *chain = NULL;

	while (top) {
		struct whi_qnode *next = top->next;

		top->next = chain;
		chain = top;
		top = next;
	}
	return chain;
}
