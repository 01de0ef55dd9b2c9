/* Owns which partition goes to disk, and when. Called by whoever has just pushed a block, so that
 * those who fill the memory wait for it to be emptied.
 *
 * 1. A partition is written under its claim, and only what its claimer has.
 * 2. What is written is taken out of memory and of the budget; nothing is in both places. */
#include "mapreduce/spill.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/list.h"

enum {
	BLOCK_BYTES_MIN = 1024,
	WRITE_BYTES = 64 * 1024,
	FRONT_BYTES_MIN = 64 * 1024,
	FAN_IN_MIN = 2,
	RUNS_A_PART = 4,
	RUNS_A_PART_MAX = 64,
	SLICES_MIN = 16,
	AHEAD_BYTES = 4 * WHI_EXTENT_BYTES, /* of a stream, being fetched */
	STOP_ROWS = 4096,		    /* between two looks at `stop` */
};

static uint64_t within(uint64_t bytes, uint64_t low, uint64_t high)
{
	return bytes < low ? low : bytes > high ? high : bytes;
}

void whi_spill_init(struct whi_spill *spill, const struct wh_mr_job *job, unsigned workers,
		    _Atomic bool *stop)
{
	uint64_t max = job->memory_max ? job->memory_max : whi_budget_default();

	*spill = (struct whi_spill){
		.budget.max = max,
		.value = job->value,
		.workers = workers,
		.stop = stop,
	};
	/* A quarter for the last pass of all workers: a table, and about half as much for what its
	 * rows are sorted by and the buffers of what is read and written. */
	spill->pass_bytes = within(max / 6 / workers, BLOCK_BYTES_MIN, SIZE_MAX / 2);
	spill->block_bytes = within(spill->pass_bytes / 16, BLOCK_BYTES_MIN, WRITE_BYTES);
	/* Another quarter for the last merge, when those are done. */
	spill->run_bytes = within(max / 4 / WHI_PARTS / RUNS_A_PART, BLOCK_BYTES_MIN,
				  spill->block_bytes);
	spill->runs_a_part = within(max / 4 / WHI_PARTS / spill->run_bytes, 1, RUNS_A_PART_MAX);
	whi_spill_file_init(&spill->file, whi_spill_dir(job->tmp_dir));
}

void whi_spill_fini(struct whi_spill *spill)
{
	whi_spill_file_fini(&spill->file);
}

/* What a block of so many bytes has room for. */
static size_t room_in(uint64_t bytes)
{
	return (bytes - sizeof(struct whi_block)) & ~(size_t)(WHI_BLOCK_ALIGN - 1);
}

size_t whi_spill_block_room(const struct whi_spill *spill)
{
	const uint64_t open = (uint64_t)spill->workers * 2 * WHI_PARTS;

	return room_in(within(spill->budget.max / 8 / open, BLOCK_BYTES_MIN, WHI_BLOCK_BYTES));
}

size_t whi_spill_pool_most(const struct whi_spill *spill)
{
	uint64_t share = spill->budget.max / 64 / spill->workers;

	return within(share / (whi_spill_block_room(spill) + sizeof(struct whi_block)), 1,
		      WHI_POOL_MOST);
}

uint64_t whi_spill_merge_most(const struct whi_spill *spill)
{
	return within(spill->budget.max / 8 / WHI_PARTS, WHI_MERGE_BYTES_FIRST,
		      WHI_MERGE_BYTES_MOST);
}

size_t whi_spill_front_bytes(const struct whi_spill *spill, size_t l2_bytes)
{
	return within(spill->budget.max / 16 / spill->workers, FRONT_BYTES_MIN, l2_bytes);
}

size_t whi_spill_fan_in(const struct whi_spill *spill)
{
	return within(spill->pass_bytes / spill->run_bytes, FAN_IN_MIN, SIZE_MAX);
}

/* Each worker sorts one, and for each worker there are up to two that have become text. */
size_t whi_spill_slice_bytes(const struct whi_spill *spill)
{
	return spill->pass_bytes / 2;
}

/* An eighth for open blocks, as while mapping. */
static uint64_t open_bytes(const struct whi_spill *spill)
{
	return spill->budget.max / 8 / spill->workers;
}

unsigned whi_spill_slices_max(const struct whi_spill *spill, unsigned most)
{
	return (unsigned)within(open_bytes(spill) / BLOCK_BYTES_MIN, SLICES_MIN, most);
}

size_t whi_spill_slice_room(const struct whi_spill *spill, unsigned count)
{
	return room_in(within(open_bytes(spill) / count, BLOCK_BYTES_MIN, WHI_BLOCK_BYTES));
}

void whi_spill_depth(struct whi_spill *spill, unsigned depth)
{
	uint32_t before = atomic_load_explicit(&spill->depth, memory_order_relaxed);

	while (before < depth &&
	       !atomic_compare_exchange_weak_explicit(&spill->depth, &before, depth,
						      memory_order_relaxed, memory_order_relaxed))
		;
}

struct whi_stream whi_spill_stream(struct whi_spill *spill)
{
	uint32_t id = atomic_fetch_add_explicit(&spill->ids, 1, memory_order_relaxed);

	return (struct whi_stream){ .id = WHI_PARTS + id };
}

static int write_table(struct whi_stream_writer *writer, const struct whi_table *table,
		       const _Atomic bool *stop)
{
	for (uint32_t i = 0; i < table->chunk_count; i++) {
		int r = whi_stream_add_block(writer, table->chunks[i]);

		if (r < 0)
			return r;
		if (atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
	}
	return 0;
}

static int write_chain(struct whi_stream_writer *writer, const struct whi_qnode *chain,
		       const _Atomic bool *stop)
{
	for (; chain; chain = chain->next) {
		int r = whi_stream_add_block(writer, whi_container_of((struct whi_qnode *)chain,
								      struct whi_block, node));

		if (r < 0)
			return r;
		if (atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
	}
	return 0;
}

int whi_spill_chain(struct whi_spill *spill, struct whi_stream *stream,
		    const struct whi_qnode *chain)
{
	struct whi_stream_writer writer;
	int r;

	whi_stream_writer_init(&writer, &spill->file, stream, spill->block_bytes);
	r = write_chain(&writer, chain, spill->stop);
	if (r == 0)
		r = whi_stream_flush(&writer);
	whi_stream_writer_fini(&writer);
	return r;
}

/* Forget what was written since `stream` was as `before`: it is still in memory. */
static void roll_back(struct whi_stream *stream, const struct whi_stream *before, uint64_t used)
{
	while (stream->count > before->count)
		whi_extent_put(&stream->extents[--stream->count]);
	if (stream->count)
		stream->extents[stream->count - 1].used = used;
	stream->bytes = before->bytes;
	stream->records = before->records;
}

int whi_spill_part(struct whi_store *store, struct whi_part *part)
{
	const struct whi_stream before = part->spilled;
	const uint64_t used = before.count ? before.extents[before.count - 1].used : 0;
	struct whi_spill *spill = store->spill;
	struct whi_stream_writer writer;
	int r;

	if (part->spilled.count == 0) {
		part->spilled.id = (uint32_t)(part - store->parts);
		atomic_fetch_add_explicit(&spill->parts, 1, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&spill->spills, 1, memory_order_relaxed);
	whi_stream_writer_init(&writer, &spill->file, &part->spilled, spill->block_bytes);
	r = write_table(&writer, &part->shorts, spill->stop);
	if (r == 0)
		r = write_table(&writer, &part->longs, spill->stop);
	if (r == 0)
		r = write_chain(&writer, part->pairs, spill->stop);
	if (r == 0)
		r = whi_stream_flush(&writer);
	whi_stream_writer_fini(&writer);
	if (r == 0)
		whi_part_empty(store, part);
	else
		roll_back(&part->spilled, &before, used);
	return r;
}

/* The largest partition that nobody has, now ours. NULL if there is nothing to gain. */
static struct whi_part *claim_largest(struct whi_store *store)
{
	for (;;) {
		struct whi_part *best = NULL;
		uint64_t most = 0;

		for (unsigned i = 0; i < WHI_PARTS; i++) {
			struct whi_part *part = &store->parts[i];
			uint64_t bytes = atomic_load_explicit(&part->held, memory_order_relaxed) +
					 atomic_load_explicit(&part->pending_bytes,
							      memory_order_relaxed);

			if (bytes <= most ||
			    atomic_load_explicit(&part->claimed, memory_order_relaxed))
				continue;
			best = part;
			most = bytes;
		}
		if (!best)
			return NULL;
		if (!atomic_exchange_explicit(&best->claimed, true, memory_order_acquire))
			return best;
	}
}

/* Whether merging frees too little for the time that it takes to read the tables. */
static bool has_little_pending(const struct whi_part *part)
{
	return atomic_load_explicit(&part->pending_bytes, memory_order_relaxed) <
	       atomic_load_explicit(&part->held, memory_order_relaxed) / 8;
}

int whi_spill_relieve(struct whi_store *store, struct whi_pool *pool)
{
	while (whi_budget_is_over(&store->spill->budget)) {
		struct whi_part *part = claim_largest(store);
		bool has_little;
		int r;

		if (!part)
			return 0;
		has_little = has_little_pending(part);
		r = whi_part_merge(store, part, pool);
		if (r == 0 && (has_little || whi_budget_is_over(&store->spill->budget)))
			r = whi_spill_part(store, part);
		atomic_store_explicit(&part->claimed, false, memory_order_release);
		/* Nothing is lost, and whoever stopped the job may want what there is. */
		if (r == -ECANCELED)
			return 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* All rows of the chunk that has been loaded. */
static int read_chunk(struct whi_stream_reader *reader, whi_row_fn fn, void *arg,
		      const _Atomic bool *stop)
{
	struct wh_mr_row row;
	int r;

	while ((r = whi_stream_next(reader, &row)) > 0) {
		r = fn(arg, &row);
		if (r < 0)
			return r;
		if (reader->records % STOP_ROWS == 0 &&
		    atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
	}
	return r;
}

int whi_spill_read(const struct whi_spill *spill, const struct whi_stream *stream, whi_row_fn fn,
		   void *arg)
{
	struct whi_stream_reader reader;
	int r;

	whi_stream_reader_init(&reader, stream, spill->block_bytes * 2, AHEAD_BYTES);
	while ((r = whi_stream_load(&reader)) > 0) {
		r = read_chunk(&reader, fn, arg, spill->stop);
		if (r < 0)
			break;
	}
	whi_stream_reader_fini(&reader);
	return r;
}
