/* Owns the last pass over pairs on disk: sorted as they are, or brought together by key for reduce.
 *
 * Pairs whose keys fit in memory with all their values are grouped there. Others go to pieces; and
 * where one key alone has more values than memory has room for, they are sorted on disk by key and
 * handed to reduce from there, one after another. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "mapreduce/group.h"
#include "mapreduce/hash.h"
#include "mapreduce/pass.h"

enum { GROUP_BYTES = 24 }; /* what grouping needs for a pair besides */

struct gather {
	struct whi_pass *pass;
	const struct whi_stream *stream;
	unsigned bits_left;
	uint64_t bytes;		   /* of pass->reduced.pairs, as they are used */
	struct whi_pieces *pieces; /* NULL as long as all fits */
};

/* The values of one key, as a merge by key gives them. */
struct merged_values {
	struct wh_mr_values base;
	struct whi_merge *merge;
	struct whi_key_copy key;
	bool started; /* the merge is past the first one */
	bool ended;
	int error;
};

static int sort_row(void *arg, const struct wh_mr_row *row)
{
	return whi_sorter_add(arg, row);
}

int whi_pass_pairs(struct whi_pass *pass, struct whi_stream *stream)
{
	struct whi_sorter sorter;
	int r;

	whi_pass_sorter(pass, &sorter);
	r = whi_spill_read(pass->spill, stream, sort_row, &sorter);
	if (r == 0)
		r = whi_sorter_end(&sorter);
	pass->rows += stream->records;
	whi_sorter_fini(&sorter);
	whi_stream_fini(stream);
	return r;
}

static uint8_t *pair_room(struct whi_part *part, size_t len)
{
	struct whi_block *block = NULL;

	if (part->pairs)
		block = whi_container_of(part->pairs, struct whi_block, node);
	if (!block || block->room - block->used < len) {
		block = whi_block_new(WHI_PAIR, len);
		if (!block)
			return NULL;
		block->node.next = part->pairs;
		part->pairs = &block->node;
	}
	block->used += len;
	return block->data + block->used - len;
}

static int keep_pair(struct gather *gather, const struct wh_mr_row *row)
{
	struct whi_pair pair = {
		.value_len = row->value.len,
		.key_len = row->key.len & WHI_KEY_MAX,
		.hash = whi_hash_bytes(row->key.data, row->key.len) & 0xffffff,
	};
	uint8_t *at = pair_room(&gather->pass->reduced, whi_pair_bytes(&pair));

	if (!at)
		return -ENOMEM;
	memcpy(at, &pair, sizeof(pair));
	if (row->key.len)
		memcpy(at + sizeof(pair), row->key.data, row->key.len);
	if (row->value.len)
		memcpy(at + sizeof(pair) + row->key.len, row->value.data, row->value.len);
	gather->bytes += whi_pair_bytes(&pair) + GROUP_BYTES;
	return 0;
}

/* What has been gathered does not fit: it goes to pieces, and so does all that follows. */
static int write_pieces(struct gather *gather)
{
	struct whi_part *part = &gather->pass->reduced;
	int r = 0;

	gather->pieces = whi_pieces_new(gather->pass, gather->stream, gather->bits_left);
	if (!gather->pieces)
		return -ENOMEM;
	for (const struct whi_qnode *chain = part->pairs; chain && r == 0; chain = chain->next) {
		const struct whi_block *block = whi_container_of(chain, struct whi_block, node);

		for (size_t at = 0; at < block->used && r == 0;) {
			const struct whi_pair *pair = (const void *)(block->data + at);
			const uint8_t *key = (const void *)(pair + 1);
			struct wh_mr_row row = { .key = { key, pair->key_len } };

			row.value = (struct wh_mr_bytes){ key + pair->key_len, pair->value_len };
			r = whi_pieces_add(gather->pieces, &row, true);
			at += whi_pair_bytes(pair);
		}
	}
	whi_blocks_free(part->pairs);
	part->pairs = NULL;
	return r;
}

static int gather_row(void *arg, const struct wh_mr_row *row)
{
	struct gather *gather = arg;
	int r;

	if (gather->pieces)
		return whi_pieces_add(gather->pieces, row, true);
	r = keep_pair(gather, row);
	if (r == 0 && gather->bytes > gather->pass->spill->pass_bytes)
		r = write_pieces(gather);
	return r;
}

static bool next_merged(struct wh_mr_values *base, struct wh_mr_bytes *ret)
{
	struct merged_values *values = whi_container_of(base, struct merged_values, base);
	const struct wh_mr_row *row;

	if (!values->ended && values->started) {
		values->error = whi_merge_next(values->merge);
		row = values->error < 0 ? NULL : whi_merge_row(values->merge);
		values->ended = !row || !whi_key_equal(&row->key, &values->key.key);
	}
	values->started = true;
	if (values->ended)
		return false;
	*ret = whi_merge_row(values->merge)->value;
	return true;
}

/* Call reduce for the key that the merge has come to, and go on behind it. */
static int reduce_merged(struct whi_pass *pass, struct merged_values *values)
{
	const struct wh_mr_job *job = pass->job;
	struct wh_mr_bytes value;
	int r = whi_key_copy(&values->key, &whi_merge_row(values->merge)->key);

	if (r < 0)
		return r;
	values->started = false;
	values->ended = false;
	r = job->reduce(job->arg, values->key.key, &values->base, &pass->emitter);
	/* Those that it did not want. */
	while (r == 0 && next_merged(&values->base, &value))
		if (atomic_load_explicit(pass->spill->stop, memory_order_relaxed))
			r = -ECANCELED;
	return r < 0 ? r : values->error;
}

static int merge_groups(struct whi_pass *pass, const struct whi_runs *by_key)
{
	struct merged_values values = { .base.next = next_merged };
	int r;

	if (by_key->count == 0)
		return 0;
	r = whi_merge_open(by_key->items, by_key->count, WH_MR_BY_KEY, pass->spill->run_bytes,
			   &values.merge);
	if (r < 0)
		return r;
	while (r == 0 && whi_merge_row(values.merge)) {
		r = reduce_merged(pass, &values);
		if (r == 0 && atomic_load_explicit(pass->spill->stop, memory_order_relaxed))
			r = -ECANCELED;
	}
	whi_merge_close(values.merge);
	whi_free(values.key.bytes);
	return r;
}

static int sort_groups(struct whi_pass *pass, struct whi_stream *stream)
{
	struct whi_runs by_key = { 0 };
	struct whi_sorter sorter;
	int r;

	atomic_fetch_add_explicit(&pass->spill->sorted, 1, memory_order_relaxed);
	whi_sorter_init(&sorter, pass->spill, pass->job, WH_MR_BY_KEY, &by_key);
	sorter.job.rows_max = 0;
	r = whi_spill_read(pass->spill, stream, sort_row, &sorter);
	if (r == 0)
		r = whi_sorter_end(&sorter);
	whi_sorter_fini(&sorter);
	whi_stream_fini(stream);
	if (r == 0)
		r = whi_runs_merge(&by_key, WH_MR_BY_KEY, whi_spill_fan_in(pass->spill), 0,
				   pass->spill);
	if (r == 0)
		r = merge_groups(pass, &by_key);
	whi_runs_fini(&by_key);
	return r == 0 ? whi_pass_results(pass, &pass->reduced) : r;
}

static int fold_groups(struct whi_pass *pass, struct whi_stream *stream, unsigned bits_left);

static int fold_pieces(struct whi_pass *pass, struct whi_pieces *pieces)
{
	int r = whi_pieces_end(pieces);

	pass->depth++;
	whi_spill_depth(pass->spill, pass->depth);
	for (unsigned i = 0; i < pieces->count && r == 0; i++) {
		if (whi_pieces_is_stuck(pass, pieces, i))
			r = sort_groups(pass, &pieces->streams[i]);
		else
			r = fold_groups(pass, &pieces->streams[i], pieces->bits_left);
	}
	pass->depth--;
	return r;
}

static int fold_groups(struct whi_pass *pass, struct whi_stream *stream, unsigned bits_left)
{
	struct gather gather = { .pass = pass, .stream = stream, .bits_left = bits_left };
	int r = whi_spill_read(pass->spill, stream, gather_row, &gather);

	whi_stream_fini(stream);
	if (r == 0 && gather.pieces)
		r = fold_pieces(pass, gather.pieces);
	else if (r == 0)
		r = whi_emit_reduce(&pass->emitter);
	if (r == 0)
		r = whi_pass_results(pass, &pass->reduced);
	whi_pieces_free(gather.pieces);
	return r;
}

int whi_pass_groups(struct whi_pass *pass, struct whi_stream *stream)
{
	return fold_groups(pass, stream, WHI_PASS_BITS);
}
