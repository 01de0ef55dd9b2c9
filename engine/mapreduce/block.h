/*
 * Blocks of records: what partitions are sent, what their tables are made of, and what is written
 * when memory is short. All records of a block are of one kind.
 */
#pragma once

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue.h"
#include "mapreduce/bytes.h"

enum {
	WHI_BLOCK_BYTES = 32 * 1024,
	WHI_BLOCK_ALIGN = 8,
	WHI_BLOCK_UNITS = WHI_BLOCK_BYTES / WHI_BLOCK_ALIGN,
};

enum whi_kind { WHI_SHORT, WHI_LONG, WHI_PAIR, WHI_KINDS };

struct whi_block {
	struct whi_qnode node;
	enum whi_kind kind; /* of all its records */
	size_t used;	    /* bytes of `data` */
	size_t room;
	alignas(WHI_BLOCK_ALIGN) uint8_t data[]; /* and WHI_BYTES_SLACK more than `room` */
};

enum {
	WHI_BLOCK_ROOM = WHI_BLOCK_BYTES - sizeof(struct whi_block) - WHI_BYTES_SLACK,
	WHI_POOL_MOST = 512,
};

/* Memory that a block takes. */
static inline size_t whi_block_bytes(const struct whi_block *block)
{
	return sizeof(*block) + block->room + WHI_BYTES_SLACK;
}

/* Memory that one thread has used and will use again: it is mapped, and much of it in a cache. All
 * zero is valid and empty. */
struct whi_pool {
	struct whi_qnode *blocks; /* emptied */
	size_t count;
	size_t room;	   /* of its blocks; 0: WHI_BLOCK_ROOM, which is also the most */
	size_t most;	   /* blocks kept; 0: WHI_POOL_MOST */
	uint32_t *places;  /* what was a table's index: one will do for all tables in turn */
	size_t place_room; /* of `places` */
};

/* Room of an ordinary block of `pool`. */
static inline size_t whi_pool_room(const struct whi_pool *pool)
{
	return pool->room ? pool->room : WHI_BLOCK_ROOM;
}

/* A new, empty block with room for at least `len` bytes, NULL when out of memory. */
struct whi_block *whi_block_new(enum whi_kind kind, size_t len);

/* The same, from the pool if that has one. */
struct whi_block *whi_pool_take(struct whi_pool *pool, enum whi_kind kind, size_t len);

/* Nobody needs `block` any more. */
void whi_pool_put(struct whi_pool *pool, struct whi_block *block);

/* `count` places, all zero. Sets `*ret_room` to how many there is memory for. NULL when out of
 * memory. */
uint32_t *whi_pool_take_places(struct whi_pool *pool, size_t count, size_t *ret_room);

/* Nobody needs `places` any more; NULL will do. */
void whi_pool_put_places(struct whi_pool *pool, uint32_t *places, size_t room);
void whi_pool_fini(struct whi_pool *pool);

/* Free a chain of blocks. */
void whi_blocks_free(struct whi_qnode *chain);
