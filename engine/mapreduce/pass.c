/* Owns the way of a partition to its last rows, as far as it is the same for all kinds of values.
 *
 * 1. A partition of which something is on disk is on disk as a whole before it is read.
 * 2. What a partition holds is in the budget until it is freed; its runs in memory are in it from
 *    then on. */
#include "mapreduce/pass.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/list.h"
#include "mapreduce/hash.h"

enum {
	ROW_BYTES = 32,	 /* of a run in memory, about */
	TABLE_TIMES = 4, /* what a table needs for a byte on disk */
};

/* Enough pieces that each will probably fit. */
static unsigned choose_bits(const struct whi_pass *pass, const struct whi_stream *stream)
{
	unsigned bits = 1;

	while (1u << bits < WHI_PIECES_MAX &&
	       stream->bytes * TABLE_TIMES >> bits > pass->spill->pass_bytes)
		bits++;
	return bits;
}

int whi_key_copy(struct whi_key_copy *copy, const struct wh_mr_bytes *key)
{
	if (key->len > copy->room) {
		uint8_t *bytes = whi_realloc(copy->bytes, key->len);

		if (!bytes)
			return -ENOMEM;
		copy->bytes = bytes;
		copy->room = key->len;
	}
	if (key->len)
		memcpy(copy->bytes, key->data, key->len);
	copy->key = (struct wh_mr_bytes){ copy->bytes, key->len };
	return 0;
}

struct whi_pieces *whi_pieces_new(struct whi_pass *pass, const struct whi_stream *stream,
				  unsigned bits_left)
{
	struct whi_pieces *pieces = whi_calloc(1, sizeof(*pieces));
	unsigned bits = choose_bits(pass, stream);

	if (!pieces)
		return NULL;
	if (bits > bits_left)
		bits = bits_left;
	pieces->count = 1u << bits;
	pieces->bits_left = bits_left - bits;
	for (unsigned i = 0; i < pieces->count; i++) {
		pieces->streams[i] = whi_spill_stream(pass->spill);
		whi_stream_writer_init(&pieces->writers[i], &pass->spill->file, &pieces->streams[i],
				       pass->spill->block_bytes);
	}
	return pieces;
}

void whi_pieces_free(struct whi_pieces *pieces)
{
	for (unsigned i = 0; pieces && i < pieces->count; i++) {
		whi_stream_writer_fini(&pieces->writers[i]);
		whi_stream_fini(&pieces->streams[i]);
	}
	whi_free(pieces);
}

int whi_pieces_add(struct whi_pieces *pieces, const struct wh_mr_row *row, bool pair)
{
	uint64_t hash = whi_hash_bytes(row->key.data, row->key.len);
	unsigned shift = 64 - 8 - WHI_PASS_BITS + pieces->bits_left;

	return whi_stream_add(&pieces->writers[hash >> shift & (pieces->count - 1)], row, pair);
}

int whi_pieces_end(struct whi_pieces *pieces)
{
	int r = 0;

	for (unsigned i = 0; i < pieces->count && r == 0; i++) {
		r = whi_stream_flush(&pieces->writers[i]);
		whi_stream_writer_fini(&pieces->writers[i]);
	}
	return r;
}

bool whi_pieces_is_stuck(const struct whi_pass *pass, const struct whi_pieces *pieces,
			 unsigned piece)
{
	uint64_t total = 0, bytes = pieces->streams[piece].bytes;

	for (unsigned i = 0; i < pieces->count; i++)
		total += pieces->streams[i].bytes;
	if (pieces->bits_left == 0)
		return true;
	return bytes * TABLE_TIMES > pass->spill->pass_bytes && bytes > total / 8 * 7;
}

void whi_pass_sorter(struct whi_pass *pass, struct whi_sorter *ret)
{
	whi_sorter_init(ret, pass->spill, pass->job, pass->job->order, pass->runs);
	ret->dealer = pass->dealer;
}

int whi_pass_put(struct whi_pass *pass, struct whi_part *part)
{
	if (!pass->dealer)
		return whi_sort_to_disk(part, pass->job, pass->spill, pass->runs);
	pass->bytes += whi_part_used(part);
	return whi_dealer_deal(pass->dealer, part);
}

int whi_pass_results(struct whi_pass *pass, struct whi_part *part)
{
	/* Without the pairs that are being reduced. */
	struct whi_part results = { .results = part->results };
	int r = 0;

	part->results = NULL;
	pass->result_bytes = 0;
	pass->rows += whi_part_rows(&results, WH_MR_BYTES);
	if (results.results)
		r = whi_pass_put(pass, &results);
	whi_part_fini(&results);
	return r;
}

/* Called when a block of results is full. */
static int relieve_results(struct wh_mr_emitter *emitter)
{
	struct whi_pass *pass = whi_container_of(emitter, struct whi_pass, emitter);

	pass->result_bytes += WHI_BLOCK_BYTES;
	if (pass->result_bytes < pass->spill->pass_bytes)
		return 0;
	return whi_pass_results(pass, emitter->part);
}

/* The sorted rows as a run in memory, or on disk if they are too many. */
static int make_run(struct whi_pass *pass, const struct whi_rows *rows)
{
	size_t max = pass->job->rows_max ? pass->job->rows_max : SIZE_MAX;
	size_t count = rows->count < max ? rows->count : max;
	struct whi_run run;
	int r;

	/* The partition is still there, and so is what it was sorted by. */
	if (whi_budget_is_over(&pass->spill->budget) ||
	    count * ROW_BYTES > pass->spill->budget.max / 4)
		r = whi_run_write(&run, rows, max, pass->spill);
	else
		r = whi_run_init(&run, rows, max);
	if (r < 0)
		return r;
	whi_budget_add(&pass->spill->budget, (int64_t)run.len);
	return whi_runs_add(pass->runs, &run);
}

/* All of a partition in memory as one run. */
static int sort_part(struct whi_pass *pass, struct whi_part *part)
{
	uint64_t start = whi_clock_ns();
	struct whi_rows rows;
	int r = whi_rows_init_first(&rows, part, pass->job);

	if (r < 0)
		return r;
	whi_rows_sort(&rows, pass->job, pass->spill->stop);
	atomic_fetch_add_explicit(&pass->spill->sort_ns, whi_clock_ns() - start,
				  memory_order_relaxed);
	if (rows.count > 0)
		r = make_run(pass, &rows);
	whi_rows_fini(&rows);
	return r;
}

static int reduce_in_memory(struct whi_pass *pass, struct whi_part *part, unsigned index)
{
	int r = whi_store_reduce(pass->store, index, &pass->pool);

	if (r == 0 && pass->job->reduce)
		r = whi_emit_reduce(&pass->emitter);
	pass->rows += whi_part_rows(part, pass->job->value);
	pass->bytes += whi_part_used(part);
	whi_part_hold(pass->store, part);
	return r;
}

static int reduce_on_disk(struct whi_pass *pass, struct whi_part *part)
{
	struct whi_pool pool = { .most = 1 };
	int r = whi_part_merge(pass->store, part, &pool);

	whi_pool_fini(&pool);
	if (r == 0)
		r = atomic_load(&pass->store->error);
	if (r == 0)
		r = whi_spill_part(pass->store, part);
	if (r < 0)
		return r;
	if (pass->job->value != WH_MR_BYTES)
		r = whi_pass_counts(pass, &part->spilled);
	else if (pass->job->reduce)
		r = whi_pass_groups(pass, &part->spilled);
	else
		r = whi_pass_pairs(pass, &part->spilled);
	return r;
}

static int check_stop(const struct whi_pass *pass, int r)
{
	if (r == 0 && atomic_load_explicit(pass->spill->stop, memory_order_relaxed))
		return -ECANCELED;
	return r;
}

/* Whether so few of the partition's rows are wanted that its memory is of no more use. */
static bool wants_few(const struct whi_pass *pass)
{
	const struct wh_mr_job *job = pass->job;

	return job->order != WH_MR_UNORDERED && job->rows_max > 0 &&
	       job->rows_max <= pass->rows / WHI_PASS_FEW;
}

int whi_pass_reduce(struct whi_pass *pass, unsigned index, struct whi_runs *runs)
{
	struct whi_part *part = &pass->store->parts[index];
	bool on_disk = part->spilled.count > 0;
	uint64_t start = whi_clock_ns();
	int r;

	pass->runs = runs;
	pass->rows = 0;
	pass->bytes = 0;
	pass->result_bytes = 0;
	pass->emitter = (struct wh_mr_emitter){
		.job = pass->job,
		.mode = WHI_EMIT_REDUCE,
		.part = on_disk ? &pass->reduced : part,
		.stop = pass->spill->stop,
		.relieve = relieve_results,
	};
	r = on_disk ? reduce_on_disk(pass, part) : reduce_in_memory(pass, part, index);
	whi_part_fini(&pass->reduced);
	/* What reduce has emitted may be more than what there was before; and the first rows are
	 * quickest found while all are still in a cache. */
	if (r == 0 && (on_disk || !pass->keeps || wants_few(pass) ||
		       whi_budget_is_over(&pass->spill->budget)))
		r = whi_pass_out(pass, index, runs);
	if (on_disk)
		atomic_fetch_add_explicit(&pass->spill->spill_ns, whi_clock_ns() - start,
					  memory_order_relaxed);
	return check_stop(pass, r);
}

int whi_pass_out(struct whi_pass *pass, unsigned index, struct whi_runs *runs)
{
	struct whi_part *part = &pass->store->parts[index];
	int r;

	pass->runs = runs;
	r = pass->dealer ? whi_dealer_deal(pass->dealer, part) : sort_part(pass, part);
	whi_part_fini(part);
	whi_part_forget(pass->store, part);
	if (r == 0)
		r = whi_runs_merge(runs, pass->job->order, pass->spill->runs_a_part,
				   pass->job->rows_max, pass->spill);
	return check_stop(pass, r);
}
