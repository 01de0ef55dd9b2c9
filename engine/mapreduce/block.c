/* Owns where blocks come from. Ordinary ones are all of the same size; a record that does not fit
 * into one has a block of its own, which no pool keeps. */
#include "mapreduce/block.h"

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

static size_t room_in(const struct whi_pool *pool)
{
	return pool->room ? pool->room : WHI_BLOCK_ROOM;
}

struct whi_block *whi_pool_take(struct whi_pool *pool, enum whi_kind kind, size_t len)
{
	const size_t room = room_in(pool);
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
	if (block->room != room_in(pool) ||
	    pool->count == (pool->most ? pool->most : WHI_POOL_MOST)) {
		whi_free(block);
		return;
	}
	block->node.next = pool->blocks;
	pool->blocks = &block->node;
	pool->count++;
}

void whi_pool_fini(struct whi_pool *pool)
{
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
