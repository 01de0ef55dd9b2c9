/* Owns the last pass over counted keys on disk: a table for as long as it fits; then what is in it
 * goes to pieces, again and again, and the pieces are taken one after another.
 *
 * All keys are long ones here, whatever they were in the store, and tables go by whi_hash_bytes:
 * what is on disk may come from kernels with other hashes. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"
#include "mapreduce/pass.h"

struct fold {
	struct whi_pass *pass;
	const struct whi_stream *stream;
	unsigned bits_left;
	struct whi_part part;	   /* its long keys; never in the store */
	struct whi_pool pool;	   /* of the table's chunks */
	struct whi_block *block;   /* on its way to the table */
	struct whi_pieces *pieces; /* NULL as long as all fits */
};

/* Used memory of the table: chunks count as far as they are filled, so that small ones are told
 * apart. */
static uint64_t table_used(const struct whi_table *table)
{
	uint64_t bytes = table->index ? ((uint64_t)table->mask + 1) * sizeof(*table->index) : 0;

	for (uint32_t i = 0; i < table->chunk_count; i++)
		bytes += table->chunks[i]->used;
	return bytes;
}

static int write_pieces(struct fold *fold)
{
	const struct whi_table *table = &fold->part.longs;
	int r = 0;

	if (!fold->pieces)
		fold->pieces = whi_pieces_new(fold->pass, fold->stream, fold->bits_left);
	if (!fold->pieces)
		return -ENOMEM;
	for (uint32_t i = 0; i < table->chunk_count && r == 0; i++) {
		const struct whi_block *chunk = table->chunks[i];

		for (size_t at = 0; at < chunk->used && r == 0;) {
			const struct whi_long *record = (const void *)(chunk->data + at);
			struct wh_mr_row row = { .key = { record + 1, record->len } };

			row.number = record->count;
			r = whi_pieces_add(fold->pieces, &row, false);
			at += whi_long_bytes(record->len);
		}
	}
	whi_table_fini(&fold->part.longs);
	return r;
}

/* Bring what is in the block into the table. */
static int add_block(struct fold *fold)
{
	struct whi_table *table = &fold->part.longs;
	struct whi_block *block = fold->block;
	int r = whi_table_add_longs(table, &fold->pool, fold->pass->store->combine, block->data,
				    block->used);

	block->used = 0;
	if (r == 0 && table_used(table) > fold->pass->spill->pass_bytes)
		r = write_pieces(fold);
	return r;
}

static int add_row(void *arg, const struct wh_mr_row *row)
{
	struct fold *fold = arg;
	size_t len = whi_long_bytes(row->key.len);
	struct whi_long *record;
	int r = 0;

	if (fold->block && fold->block->room - fold->block->used < len && fold->block->used)
		r = add_block(fold);
	if (r < 0)
		return r;
	if (!fold->block || fold->block->room < len) {
		whi_free(fold->block);
		fold->block = whi_block_new(WHI_LONG, len);
		if (!fold->block)
			return -ENOMEM;
	}
	record = (void *)(fold->block->data + fold->block->used);
	fold->block->used += len;
	/* The padding, unless there is none. */
	memset((uint8_t *)record + len - 8, 0, 8);
	*record = (struct whi_long){
		.count = row->number,
		.len = row->key.len & WHI_KEY_MAX,
		.hash = whi_hash_bytes(row->key.data, row->key.len) & 0xffffff,
	};
	if (row->key.len)
		memcpy(record + 1, row->key.data, row->key.len);
	/* What fits in memory a few times over is told from what does not by small steps. */
	return fold->block->used >= fold->pass->spill->block_bytes ? add_block(fold) : 0;
}

static int read_all(struct fold *fold)
{
	int r = whi_spill_read(fold->pass->spill, fold->stream, add_row, fold);

	if (r == 0 && fold->block && fold->block->used)
		r = add_block(fold);
	if (r == 0 && fold->pieces)
		r = write_pieces(fold);
	if (r == 0 && fold->pieces)
		r = whi_pieces_end(fold->pieces);
	return r;
}

static int put_table(struct fold *fold)
{
	whi_table_seal(&fold->part.longs);
	fold->pass->rows += whi_part_keys(&fold->part);
	return whi_pass_put(fold->pass, &fold->part);
}

/* Rows of a merge by key to where they belong, those of equal keys as one. */
static int combine_merged(struct whi_pass *pass, struct whi_merge *merge, struct whi_sorter *sorter)
{
	const struct wh_mr_row *row = whi_merge_row(merge);
	struct whi_key_copy kept = { 0 };
	int r = 0;

	while (row && r == 0) {
		struct wh_mr_row sum = *row;

		r = whi_key_copy(&kept, &row->key);
		sum.key = kept.key;
		if (r == 0)
			r = whi_merge_next(merge);
		while (r == 0 && (row = whi_merge_row(merge)) != NULL &&
		       whi_row_same_key(&sum, row)) {
			sum.number = whi_combined(pass->store->combine, sum.number, row->number);
			r = whi_merge_next(merge);
		}
		pass->rows++;
		if (r == 0)
			r = whi_sorter_add(sorter, &sum);
	}
	whi_free(kept.bytes);
	return r == 0 ? whi_sorter_end(sorter) : r;
}

static int merge_counts(struct whi_pass *pass, const struct whi_runs *by_key)
{
	struct whi_sorter sorter;
	struct whi_merge *merge;
	int r;

	if (by_key->count == 0)
		return 0;
	r = whi_merge_open(by_key->items, by_key->count, WH_MR_BY_KEY, pass->spill->run_bytes,
			   &merge);
	if (r < 0)
		return r;
	whi_pass_sorter(pass, &sorter);
	r = combine_merged(pass, merge, &sorter);
	whi_sorter_fini(&sorter);
	whi_merge_close(merge);
	return r;
}

static int sort_row(void *arg, const struct wh_mr_row *row)
{
	return whi_sorter_add(arg, row);
}

/* Without any hash: sorted by key, runs of that merged. */
static int sort_counts(struct whi_pass *pass, struct whi_stream *stream)
{
	struct whi_runs by_key = { 0 };
	struct whi_sorter sorter;
	int r;

	atomic_fetch_add_explicit(&pass->spill->sorted, 1, memory_order_relaxed);
	whi_sorter_init(&sorter, pass->spill, pass->job, WH_MR_BY_KEY, &by_key);
	sorter.job.rows_max = 0;
	sorter.combines = true;
	sorter.combine = pass->store->combine;
	r = whi_spill_read(pass->spill, stream, sort_row, &sorter);
	if (r == 0)
		r = whi_sorter_end(&sorter);
	whi_sorter_fini(&sorter);
	whi_stream_fini(stream);
	if (r == 0)
		r = whi_runs_merge(&by_key, WH_MR_BY_KEY, whi_spill_fan_in(pass->spill), 0,
				   pass->spill);
	if (r == 0)
		r = merge_counts(pass, &by_key);
	whi_runs_fini(&by_key);
	return r;
}

static int fold_counts(struct whi_pass *pass, struct whi_stream *stream, unsigned bits_left);

static int fold_pieces(struct whi_pass *pass, struct whi_pieces *pieces)
{
	int r = 0;

	pass->depth++;
	whi_spill_depth(pass->spill, pass->depth);
	for (unsigned i = 0; i < pieces->count && r == 0; i++) {
		if (whi_pieces_is_stuck(pass, pieces, i))
			r = sort_counts(pass, &pieces->streams[i]);
		else
			r = fold_counts(pass, &pieces->streams[i], pieces->bits_left);
	}
	pass->depth--;
	return r;
}

static int fold_counts(struct whi_pass *pass, struct whi_stream *stream, unsigned bits_left)
{
	struct fold fold = { .pass = pass, .stream = stream, .bits_left = bits_left };
	int r = read_all(&fold);

	if (r == 0 && !fold.pieces)
		r = put_table(&fold);
	whi_part_fini(&fold.part);
	whi_pool_fini(&fold.pool);
	whi_free(fold.block);
	whi_stream_fini(stream);
	if (r == 0 && fold.pieces)
		r = fold_pieces(pass, fold.pieces);
	whi_pieces_free(fold.pieces);
	return r;
}

int whi_pass_counts(struct whi_pass *pass, struct whi_stream *stream)
{
	return fold_counts(pass, stream, WHI_PASS_BITS);
}
