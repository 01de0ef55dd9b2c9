/*
 * The io_uring backend: slots, and what the user_data of entries says. Inline, because both are on
 * the way of every message.
 */
#pragma once

#include "backend/uring.h"
#include "base/assert.h"

/* The two highest bits of user_data say what the rest is. */
#define WHI_TAG_MASK (3ull << 62)
#define WHI_TAG_OP (0ull << 62)	     /* generation (29 bits) and index (32) of a slot */
#define WHI_TAG_PEER (1ull << 62)    /* the address of a backend that we tried to wake */
#define WHI_TAG_MESSAGE (2ull << 62) /* a message from another ring: 62 bits of its data */
#define WHI_TAG_WAKE (3ull << 62)    /* our wake_fd was read, or another ring woke us */
#define WHI_CANCEL_BIT (1ull << 61)  /* with WHI_TAG_OP: cancelling that operation failed */

enum {
	WHI_GENERATION_MASK = (1u << 29) - 1,
	WHI_NO_SLOT = -1,
};

/* There is a free one. */
static inline void whi_uring_slot_take(struct whi_uring *u, struct whi_op *op)
{
	struct whi_uring_slot *slot = &u->slots[u->free_slot];

	op->slot = u->free_slot;
	u->free_slot = slot->next_free;
	slot->op = op;
	u->base.stats.inflight++;
}

static inline void whi_uring_slot_free(struct whi_uring *u, uint32_t index)
{
	struct whi_uring_slot *slot = &u->slots[index];

	slot->op = NULL;
	slot->generation = (slot->generation + 1) & WHI_GENERATION_MASK;
	slot->next_free = u->free_slot;
	u->free_slot = index;
	u->base.stats.inflight--;
}

static inline uint64_t whi_uring_user_data(const struct whi_uring *u, const struct whi_op *op)
{
	return WHI_TAG_OP | (uint64_t)u->slots[op->slot].generation << 32 | op->slot;
}

/* The operation with that user_data. NULL: it has completed. */
static inline struct whi_op *whi_uring_find(const struct whi_uring *u, uint64_t user_data)
{
	uint32_t index = (uint32_t)user_data;

	if (whi_unlikely(index >= u->slot_count))
		return NULL;
	return whi_likely(u->slots[index].generation == user_data >> 32) ? u->slots[index].op
									 : NULL;
}
