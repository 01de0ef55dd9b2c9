/* Owns the partitions, the blocks on their way to them, and the claims. Writers belong to workers;
 * reduce and the sort at the end belong to the job.
 *
 * 1. A block is in one place: open in a writer, on a pending stack, or in the hands of a claimer.
 * 2. Tables change only under a claim (or in whi_store_reduce, when nobody else is there).
 * 3. pending_bytes counts what has been pushed and not merged yet; it decides when to merge, never
 *    whether.
 * 4. What the budget says is held is the blocks that were pushed and not merged, and the sum of
 *    what partitions hold. */
#include "mapreduce/store.h"

#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "mapreduce/bytes.h"
#include "mapreduce/spill.h"
#include "mapreduce/wide.h"

enum { FETCH_BYTES = 1024 };

struct whi_store *whi_store_new(void)
{
	struct whi_store *store = whi_aligned_alloc(64, sizeof(*store));

	if (!store)
		return NULL;
	memset(store, 0, sizeof(*store));
	store->merge_most = WHI_MERGE_BYTES_MOST;
	for (unsigned i = 0; i < WHI_PARTS; i++)
		atomic_init(&store->parts[i].merge_bytes, WHI_MERGE_BYTES_FIRST);
	return store;
}

void whi_part_fini(struct whi_part *part)
{
	whi_blocks_free(whi_mpsc_take(&part->pending));
	whi_blocks_free(part->pairs);
	whi_blocks_free(part->results);
	part->pairs = NULL;
	part->results = NULL;
	whi_table_fini(&part->shorts);
	whi_table_fini(&part->longs);
	whi_stream_fini(&part->spilled);
}

void whi_store_free(struct whi_store *store)
{
	if (!store)
		return;
	for (unsigned i = 0; i < WHI_PARTS; i++)
		whi_part_fini(&store->parts[i]);
	whi_free(store);
}

/* Takes the block. */
static int merge_block(struct whi_part *part, enum whi_combine combine, struct whi_pool *pool,
		       struct whi_block *block)
{
	const struct whi_short *shorts = (const void *)block->data;
	int r = 0;

	switch (block->kind) {
	case WHI_SHORT:
		part->shorts.wide = &part->longs;
		r = whi_table_add_shorts(&part->shorts, pool, shorts,
					 block->used / sizeof(*shorts));
		break;
	case WHI_LONG:
		r = whi_table_add_longs(&part->longs, pool, combine, block->data, block->used);
		break;
	case WHI_PAIR:
		block->node.next = part->pairs;
		part->pairs = &block->node;
		return 0;
	case WHI_KINDS:
		whi_assert(false);
	}
	whi_pool_put(pool, block);
	return r;
}

static size_t block_memory(const struct whi_block *block)
{
	return whi_block_bytes(block);
}

/* `consumed` bytes of pending blocks have become part of what `part` holds now. */
static void count_held(struct whi_store *store, struct whi_part *part, uint64_t held,
		       uint64_t consumed)
{
	uint64_t before = atomic_load_explicit(&part->held, memory_order_relaxed);

	atomic_store_explicit(&part->held, held, memory_order_relaxed);
	if (store->spill)
		whi_budget_add(&store->spill->budget, (int64_t)(held - before - consumed));
}

static uint64_t memory_of(const struct whi_part *part)
{
	return whi_table_bytes(&part->shorts) + whi_table_bytes(&part->longs) + part->pair_bytes;
}

static uint64_t chain_bytes(const struct whi_qnode *chain)
{
	uint64_t bytes = 0;

	for (; chain; chain = chain->next)
		bytes += block_memory(
			whi_container_of((struct whi_qnode *)chain, struct whi_block, node));
	return bytes;
}

void whi_part_hold(struct whi_store *store, struct whi_part *part)
{
	part->pair_bytes = chain_bytes(part->pairs) + chain_bytes(part->results);
	count_held(store, part, memory_of(part), 0);
}

void whi_part_forget(struct whi_store *store, struct whi_part *part)
{
	count_held(store, part, 0, 0);
}

void whi_part_empty(struct whi_store *store, struct whi_part *part)
{
	whi_table_fini(&part->shorts);
	whi_table_fini(&part->longs);
	whi_blocks_free(part->pairs);
	part->pairs = NULL;
	part->pair_bytes = 0;
	whi_part_forget(store, part);
}

/* What comes first in a block that is merged next; the rest is fetched on the way. */
static void fetch_begin(const struct whi_block *block)
{
	for (size_t at = 0; at < FETCH_BYTES; at += 64)
		__builtin_prefetch((const uint8_t *)block + at);
}

static uint64_t record_bytes(const struct whi_part *part)
{
	return part->shorts.bytes + part->longs.bytes;
}

/* What was pending, by kind: one index at a time is in the cache. */
struct pending {
	struct whi_fifo blocks[WHI_KINDS];
	uint64_t used[WHI_KINDS];
	uint64_t memory;
};

static void take_pending(struct pending *ret, struct whi_part *part)
{
	struct whi_qnode *chain = whi_mpsc_take(&part->pending);

	*ret = (struct pending){ 0 };
	while (chain) {
		struct whi_block *block = whi_container_of(chain, struct whi_block, node);

		chain = chain->next;
		ret->used[block->kind] += block->used;
		ret->memory += block_memory(block);
		whi_fifo_push(&ret->blocks[block->kind], &block->node);
	}
}

static int expect(struct whi_part *part, struct whi_pool *pool, enum whi_kind kind, uint64_t bytes)
{
	if (bytes == 0 || kind == WHI_PAIR)
		return 0;
	return whi_table_expect(kind == WHI_SHORT ? &part->shorts : &part->longs, pool, kind,
				bytes);
}

/* Takes the blocks. */
static int merge_kind(struct whi_store *store, struct whi_part *part, struct whi_pool *pool,
		      struct whi_fifo *blocks)
{
	struct whi_qnode *node;
	int r = 0;

	while ((node = whi_fifo_pop(blocks)) != NULL) {
		struct whi_block *block = whi_container_of(node, struct whi_block, node);

		if (r < 0) {
			whi_free(block);
			continue;
		}
		if (blocks->head)
			fetch_begin(whi_container_of(blocks->head, struct whi_block, node));
		if (block->kind == WHI_PAIR)
			part->pair_bytes += block_memory(block);
		r = merge_block(part, store->combine, pool, block);
	}
	return r;
}

static int merge_pending(struct whi_store *store, struct whi_part *part, struct whi_pool *pool,
			 struct pending *pending)
{
	int r = 0;

	for (unsigned kind = 0; kind < WHI_KINDS; kind++) {
		if (r == 0)
			r = expect(part, pool, kind, pending->used[kind]);
		if (r == 0)
			r = merge_kind(store, part, pool, &pending->blocks[kind]);
		else
			whi_blocks_free(pending->blocks[kind].head);
	}
	return r;
}

/* How much is to be pending before the next merge. Each reads the whole table, so there should be
 * as much to merge. Where many keys are new, merging frees little memory, and is put off: it takes
 * the cache from the front table. Where few are, the memory of blocks that are merged soon stays in
 * the cache. */
static void pace_merges(const struct whi_store *store, struct whi_part *part, uint64_t merged,
			uint64_t grown)
{
	uint64_t next = atomic_load_explicit(&part->merge_bytes, memory_order_relaxed);
	uint64_t table = record_bytes(part);

	if (grown > merged / 4)
		next = next < store->merge_most / 4 ? next * 4 : store->merge_most;
	atomic_store_explicit(&part->merge_bytes, next > table ? next : table,
			      memory_order_relaxed);
}

/* What was pending has been merged into tables whose records were `before` bytes. */
static void end_merge(struct whi_store *store, struct whi_part *part, struct whi_pool *pool,
		      const struct pending *pending, uint64_t before)
{
	uint64_t merged = 0;

	whi_table_rest(&part->shorts, pool);
	whi_table_rest(&part->longs, pool);
	for (unsigned kind = 0; kind < WHI_KINDS; kind++)
		merged += pending->used[kind];
	atomic_fetch_sub_explicit(&part->pending_bytes, merged, memory_order_relaxed);
	count_held(store, part, memory_of(part), pending->memory);
	pace_merges(store, part, pending->used[WHI_SHORT] + pending->used[WHI_LONG],
		    record_bytes(part) - before);
}

/* What goes to disk meets there, whatever it was here. */
static bool has_twins(const struct whi_store *store, const struct whi_part *part)
{
	return !part->spilled.count &&
	       (store->combine == WHI_COMBINE_ADD_EXACT || part->shorts.has_wide);
}

static int merge(struct whi_store *store, struct whi_part *part, struct whi_pool *pool, bool last)
{
	uint64_t began = whi_step_begin(store->times);
	uint64_t before = record_bytes(part);
	struct pending pending;
	int r;

	take_pending(&pending, part);
	r = merge_pending(store, part, pool, &pending);
	if (r == 0 && last && has_twins(store, part))
		r = whi_part_fold_wide(part, store->combine, pool);
	end_merge(store, part, pool, &pending, before);
	whi_step_end(store->times, WHI_STEP_MERGE, began);
	return r;
}

int whi_part_merge(struct whi_store *store, struct whi_part *part, struct whi_pool *pool)
{
	return merge(store, part, pool, false);
}

/* What is mapped from now on would be lost. */
static void store_fail(struct whi_store *store, int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&store->error, &none, error);
	if (store->spill)
		atomic_store(store->spill->stop, true);
}

/* Merge what is pending if nobody else does. */
static int merge_unclaimed(struct whi_store *store, struct whi_part *part, struct whi_pool *pool)
{
	int r;

	if (atomic_exchange_explicit(&part->claimed, true, memory_order_acquire))
		return 0;
	r = whi_part_merge(store, part, pool);
	atomic_store_explicit(&part->claimed, false, memory_order_release);
	return r;
}

static void block_push(struct whi_writer *writer, struct whi_part *part, struct whi_block *block)
{
	struct whi_store *store = writer->store;
	uint64_t pending;
	int r = 0;

	if (store->spill)
		whi_budget_add(&store->spill->budget, (int64_t)block_memory(block));
	pending = atomic_fetch_add_explicit(&part->pending_bytes, block->used,
					    memory_order_relaxed) +
		  block->used;
	whi_mpsc_push(&part->pending, &block->node);
	if (pending >= atomic_load_explicit(&part->merge_bytes, memory_order_relaxed))
		r = merge_unclaimed(store, part, &writer->pool);
	if (r == 0 && store->spill && whi_budget_is_over(&store->spill->budget))
		r = whi_spill_relieve(store, &writer->pool);
	if (r < 0)
		store_fail(store, r);
}

int whi_store_reduce(struct whi_store *store, unsigned part, struct whi_pool *pool)
{
	int r = merge(store, &store->parts[part], pool, true);

	return r < 0 ? r : atomic_load(&store->error);
}

void whi_writer_init(struct whi_writer *writer, struct whi_store *store)
{
	memset(writer, 0, sizeof(*writer));
	writer->store = store;
	writer->pool.room = store->block_room;
	writer->pool.most = store->pool_most;
	for (unsigned part = 0; part < WHI_PARTS; part++)
		writer->turns[part] = 1;
}

/* Once past the last one, it stays there. */
static void next_turn(uint32_t *turn)
{
	if (*turn <= WHI_TURN_LAST)
		++*turn;
}

void whi_writer_push(struct whi_writer *writer, enum whi_kind kind, unsigned part)
{
	struct whi_block *block = writer->open[kind][part];

	writer->open[kind][part] = NULL;
	if (block && kind != WHI_PAIR) {
		block->used = (size_t)(writer->rooms[kind][part].at - block->data);
		writer->rooms[kind][part] = (struct whi_room){ NULL, NULL };
	}
	if (block && kind == WHI_LONG)
		next_turn(&writer->turns[part]);
	if (block)
		block_push(writer, &writer->store->parts[part], block);
}

static struct whi_block *open_block(struct whi_writer *writer, enum whi_kind kind, unsigned part,
				    size_t len)
{
	struct whi_block *block;

	whi_writer_push(writer, kind, part);
	block = whi_pool_take(&writer->pool, kind, len);
	writer->open[kind][part] = block;
	if (block && kind != WHI_PAIR)
		writer->rooms[kind][part] = (struct whi_room){
			block->data,
			block->data + block->room,
		};
	return block;
}

static void *pair_room(struct whi_writer *writer, unsigned part, size_t len)
{
	struct whi_block *block = writer->open[WHI_PAIR][part];

	if (!block || block->room - block->used < len)
		block = open_block(writer, WHI_PAIR, part, len);
	if (!block)
		return NULL;
	block->used += len;
	return block->data + block->used - len;
}

void whi_writer_give(struct whi_writer *writer, unsigned part, struct whi_block *block)
{
	block_push(writer, &writer->store->parts[part], block);
}

void *whi_writer_room(struct whi_writer *writer, enum whi_kind kind, unsigned part, size_t len)
{
	struct whi_room *left;

	if (kind == WHI_PAIR)
		return pair_room(writer, part, len);
	left = &writer->rooms[kind][part];
	if ((size_t)(left->end - left->at) < len && !open_block(writer, kind, part, len))
		return NULL;
	left->at += len;
	return left->at - len;
}

int whi_writer_add_long(struct whi_writer *writer, uint32_t hash, const uint8_t *bytes, size_t len,
			uint64_t count)
{
	const struct whi_long head = { .count = count,
				       .len = len & WHI_KEY_MAX,
				       .hash = hash & 0xffffff };
	uint8_t *room = whi_writer_record(writer, WHI_LONG, hash >> 24, whi_long_bytes(len));

	if (!room)
		return -ENOMEM;
	memcpy(room, &head, sizeof(head));
	whi_bytes_copy(room + sizeof(head), bytes, len);
	return 0;
}

void whi_writer_flush(struct whi_writer *writer)
{
	for (unsigned kind = 0; kind < WHI_KINDS; kind++)
		for (unsigned part = 0; part < WHI_PARTS; part++)
			whi_writer_push(writer, kind, part);
}

void whi_writer_fini(struct whi_writer *writer)
{
	for (unsigned kind = 0; kind < WHI_KINDS; kind++)
		for (unsigned part = 0; part < WHI_PARTS; part++) {
			whi_free(writer->open[kind][part]);
			writer->open[kind][part] = NULL;
		}
	whi_pool_fini(&writer->pool);
}
