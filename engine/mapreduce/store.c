/* Owns the partitions, the blocks on their way to them, and the claims. Writers belong to workers;
 * reduce and the sort at the end belong to the job.
 *
 * 1. A block is in one place: open in a writer, on a pending stack, or in the hands of a claimer.
 * 2. Tables change only under a claim (or in whi_store_reduce, when nobody else is there).
 * 3. pending_bytes counts what has been pushed and not merged yet; it decides when to merge, never
 *    whether. */
#include "mapreduce/store.h"

#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "mapreduce/bytes.h"

enum { MERGE_BYTES_MIN = 2 * WHI_BLOCK_BYTES };

struct whi_store *whi_store_new(void)
{
	struct whi_store *store = whi_aligned_alloc(64, sizeof(*store));

	if (!store)
		return NULL;
	memset(store, 0, sizeof(*store));
	for (unsigned i = 0; i < WHI_PARTS; i++)
		atomic_init(&store->parts[i].merge_bytes, MERGE_BYTES_MIN);
	return store;
}

void whi_blocks_free(struct whi_qnode *chain)
{
	while (chain) {
		struct whi_qnode *next = chain->next;

		whi_free(whi_container_of(chain, struct whi_block, node));
		chain = next;
	}
}

void whi_part_fini(struct whi_part *part)
{
	whi_blocks_free(whi_mpsc_take(&part->pending));
	whi_blocks_free(part->pairs);
	whi_blocks_free(part->results);
	part->pairs = NULL;
	part->results = NULL;
	whi_short_table_fini(&part->shorts);
	whi_long_table_fini(&part->longs);
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
static int merge_block(struct whi_part *part, struct whi_block *block)
{
	const struct whi_short *shorts = (const void *)block->data;
	int r = 0;

	switch (block->kind) {
	case WHI_SHORT:
		r = whi_short_table_add(&part->shorts, shorts, block->used / sizeof(*shorts));
		break;
	case WHI_LONG:
		r = whi_long_table_add(&part->longs, block->data, block->used);
		break;
	case WHI_PAIR:
		block->node.next = part->pairs;
		part->pairs = &block->node;
		return 0;
	case WHI_KINDS:
		whi_assert(false);
	}
	whi_free(block);
	return r;
}

/* Under a claim: merge all that is pending. */
static int merge_pending(struct whi_part *part)
{
	struct whi_qnode *chain = whi_mpsc_take(&part->pending);
	uint64_t merged = 0, table_bytes;

	while (chain) {
		struct whi_block *block = whi_container_of(chain, struct whi_block, node);
		int r;

		chain = chain->next;
		merged += block->used;
		r = merge_block(part, block);
		if (r < 0) {
			whi_blocks_free(chain);
			return r;
		}
	}
	atomic_fetch_sub_explicit(&part->pending_bytes, merged, memory_order_relaxed);
	/* A bigger table takes longer to bring into the cache: merge more at a time. */
	table_bytes = (uint64_t)part->shorts.room * 32 + (uint64_t)part->longs.room * 64;
	if (table_bytes / 8 > MERGE_BYTES_MIN)
		atomic_store_explicit(&part->merge_bytes, table_bytes / 8, memory_order_relaxed);
	return 0;
}

static void store_fail(struct whi_store *store, int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&store->error, &none, error);
}

static void block_push(struct whi_store *store, struct whi_part *part, struct whi_block *block)
{
	uint64_t pending;
	int r;

	pending = atomic_fetch_add_explicit(&part->pending_bytes, block->used,
					    memory_order_relaxed) +
		  block->used;
	whi_mpsc_push(&part->pending, &block->node);
	if (pending < atomic_load_explicit(&part->merge_bytes, memory_order_relaxed))
		return;
	if (atomic_exchange_explicit(&part->claimed, true, memory_order_acquire))
		return;
	r = merge_pending(part);
	atomic_store_explicit(&part->claimed, false, memory_order_release);
	if (r < 0)
		store_fail(store, r);
}

int whi_store_reduce(struct whi_store *store, unsigned part)
{
	int r = merge_pending(&store->parts[part]);

	return r < 0 ? r : atomic_load(&store->error);
}

void whi_part_seal(struct whi_part *part)
{
	whi_short_table_seal(&part->shorts);
	whi_long_table_seal(&part->longs);
}

void whi_writer_init(struct whi_writer *writer, struct whi_store *store)
{
	memset(writer, 0, sizeof(*writer));
	writer->store = store;
}

void whi_writer_push(struct whi_writer *writer, enum whi_kind kind, unsigned part)
{
	struct whi_block *block = writer->open[kind][part];

	writer->open[kind][part] = NULL;
	if (block)
		block_push(writer->store, &writer->store->parts[part], block);
}

struct whi_block *whi_block_new(enum whi_kind kind, size_t len)
{
	struct whi_block *block;
	size_t room = WHI_BLOCK_BYTES - sizeof(*block);

	if (len > room)
		room = len;
	block = whi_alloc(sizeof(*block) + room);
	if (block)
		*block = (struct whi_block){ .kind = kind, .room = room };
	return block;
}

void *whi_writer_room(struct whi_writer *writer, enum whi_kind kind, unsigned part, size_t len)
{
	struct whi_block *block = writer->open[kind][part];

	if (!block || block->room - block->used < len) {
		whi_writer_push(writer, kind, part);
		block = whi_block_new(kind, len);
		if (!block)
			return NULL;
		writer->open[kind][part] = block;
	}
	block->used += len;
	return block->data + block->used - len;
}

int whi_writer_add_long(struct whi_writer *writer, uint32_t hash, const uint8_t *bytes, size_t len,
			uint64_t count)
{
	struct whi_long *record = whi_writer_room(writer, WHI_LONG, hash >> 24,
						  whi_long_bytes(len));

	if (!record)
		return -ENOMEM;
	*record = (struct whi_long){ .count = count,
				     .len = len & WHI_KEY_MAX,
				     .hash = hash & 0xffffff };
	whi_bytes_copy((uint8_t *)(record + 1), bytes, len);
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
}
