/* Owns where blocks come from. Ordinary ones are all of the same size; a record that does not fit
 * into one has a block of its own, which no pool keeps. */
#include "mapreduce/block.h"

#include <string.h>

#include "base/alloc.h"
#include "base/list.h"

static struct whi_block *block_new(enum whi_kind kind, size_t room)
{
	struct whi_block *block = whi_alloc(sizeof(*block) + room + WHI_BYTES_SLACK);

	if (block)
		*block = (struct whi_block){ .kind = kind, .room = room };
	return block;
}

struct whi_block *whi_block_new(enum whi_kind kind, size_t len)
{
	return block_new(kind, len > WHI_BLOCK_ROOM ? len : WHI_BLOCK_ROOM);
}

static size_t most_in(const struct whi_pool *pool)
{
	return pool->most ? pool->most : WHI_POOL_MOST;
}

struct whi_block *whi_pool_take(struct whi_pool *pool, enum whi_kind kind, size_t len)
{
	const size_t room = whi_pool_room(pool);
	struct whi_block *block;

	if (!pool->blocks || len > room)
		return block_new(kind, len > room ? len : room);
	block = whi_container_of(pool->blocks, struct whi_block, node);
	pool->blocks = block->node.next;
	pool->count--;
	*block = (struct whi_block){ .kind = kind, .room = room };
	return block;
}

void whi_pool_put(struct whi_pool *pool, struct whi_block *block)
{
	if (block->room != whi_pool_room(pool) || pool->count == most_in(pool)) {
		whi_free(block);
		return;
	}
	block->node.next = pool->blocks;
	pool->blocks = &block->node;
	pool->count++;
}

uint32_t *whi_pool_take_places(struct whi_pool *pool, size_t count, size_t *ret_room)
{
	uint32_t *places = pool->places;

	if (pool->place_room < count) {
		*ret_room = count;
		return whi_calloc(count, sizeof(*places));
	}
	*ret_room = pool->place_room;
	pool->places = NULL;
	pool->place_room = 0;
	return memset(places, 0, count * sizeof(*places));
}

void whi_pool_put_places(struct whi_pool *pool, uint32_t *places, size_t room)
{
	if (room <= pool->place_room ||
	    room * sizeof(*places) > most_in(pool) * whi_pool_room(pool)) {
		whi_free(places);
		return;
	}
	whi_free(pool->places);
	pool->places = places;
	pool->place_room = room;
}

void whi_pool_fini(struct whi_pool *pool)
{
	whi_free(pool->places);
	pool->places = NULL;
	pool->place_room = 0;
	whi_blocks_free(pool->blocks);
	pool->blocks = NULL;
	pool->count = 0;
}

void whi_blocks_free(struct whi_qnode *chain)
{
	while (chain) {
		struct whi_qnode *next = chain->next;

		whi_free(whi_container_of(chain, struct whi_block, node));
		chain = next;
	}
}
