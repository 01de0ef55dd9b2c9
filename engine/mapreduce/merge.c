/* Brings the sorted rows of the partitions together: a tree of losers (D. Knuth, The Art of
 * Computer Programming, vol. 3, 5.4.1), one leaf a partition.
 *
 * 1. tree[node] is the leaf that lost there, for 1 <= node < WHI_PARTS; the winner is kept apart.
 * 2. An empty leaf loses against every other. */
#include <errno.h>

#include "base/alloc.h"
#include "mapreduce/run.h"

enum {
	BATCH = 512,	   /* rows handed over at once */
	AHEAD_BYTES = 256, /* of a run fetched early */
};

/* The next row of one partition. */
struct leaf {
	uint64_t rank;	 /* decides first */
	uint64_t second; /* decides among equal ranks, then the rows themselves do */
	struct wh_mr_row row;
	const struct whi_run *run;
	size_t next; /* where the row after `row` is */
	bool empty;
};

struct merge {
	enum wh_mr_order order;
	unsigned winner;
	unsigned tree[WHI_PARTS];
	struct leaf leaves[WHI_PARTS];
};

struct batch {
	const struct wh_mr_job *job;
	const _Atomic bool *stop;
	uint64_t left; /* rows still wanted */
	uint64_t done;
	size_t count;
	struct wh_mr_row rows[BATCH];
};

static void leaf_rank(struct leaf *leaf, enum wh_mr_order order)
{
	if (order == WH_MR_BY_KEY) {
		leaf->rank = whi_row_window(&leaf->row.key, 0);
		leaf->second = whi_row_window(&leaf->row.key, 8);
	} else if (leaf->run->value == WH_MR_SUM) {
		leaf->rank = ~leaf->row.sum;
		leaf->second = whi_row_window(&leaf->row.key, 0);
	} else {
		leaf->rank = whi_row_window(&leaf->row.value, 0);
		leaf->second = 0;
	}
}

static void leaf_next(struct leaf *leaf, enum wh_mr_order order)
{
	leaf->empty = !whi_run_next(leaf->run, &leaf->next, &leaf->row);
	if (leaf->empty)
		return;
	if (leaf->run->len - leaf->next > AHEAD_BYTES)
		__builtin_prefetch(leaf->run->data + leaf->next + AHEAD_BYTES);
	leaf_rank(leaf, order);
}

static bool leaf_before(const struct merge *merge, unsigned left, unsigned right)
{
	const struct leaf *a = &merge->leaves[left], *b = &merge->leaves[right];

	if (a->empty || b->empty)
		return !a->empty;
	if (a->rank != b->rank)
		return a->rank < b->rank;
	if (a->second != b->second)
		return a->second < b->second;
	return whi_row_compare(&a->row, &b->row, merge->order) < 0;
}

/* Let `leaf` play from `node` to the root. */
static void play(struct merge *merge, unsigned node, unsigned leaf)
{
	for (; node > 0; node /= 2) {
		unsigned other = merge->tree[node];

		if (!leaf_before(merge, other, leaf))
			continue;
		merge->tree[node] = leaf;
		leaf = other;
	}
	merge->winner = leaf;
}

/* The winner of the games below `node`. */
static unsigned play_all(struct merge *merge, unsigned node)
{
	unsigned left, right;

	if (node >= WHI_PARTS)
		return node - WHI_PARTS;
	left = play_all(merge, node * 2);
	right = play_all(merge, node * 2 + 1);
	if (leaf_before(merge, right, left)) {
		merge->tree[node] = left;
		return right;
	}
	merge->tree[node] = right;
	return left;
}

static int batch_flush(struct batch *batch)
{
	size_t count = batch->count;

	batch->count = 0;
	batch->done += count;
	if (atomic_load_explicit(batch->stop, memory_order_relaxed))
		return -ECANCELED;
	if (count == 0 || !batch->job->output)
		return 0;
	return batch->job->output(batch->job->arg, batch->rows, count);
}

static int batch_add(struct batch *batch, const struct wh_mr_row *row)
{
	batch->rows[batch->count++] = *row;
	batch->left--;
	return batch->count == BATCH || batch->left == 0 ? batch_flush(batch) : 0;
}

static int output_merged(struct merge *merge, struct batch *batch)
{
	merge->winner = play_all(merge, 1);
	while (batch->left > 0) {
		struct leaf *leaf = &merge->leaves[merge->winner];
		int r;

		if (leaf->empty)
			return batch_flush(batch);
		r = batch_add(batch, &leaf->row);
		if (r < 0)
			return r;
		leaf_next(leaf, merge->order);
		play(merge, (merge->winner + WHI_PARTS) / 2, merge->winner);
	}
	return 0;
}

static int output_unordered(const struct whi_run *runs, struct batch *batch)
{
	struct wh_mr_row row;

	for (unsigned part = 0; part < WHI_PARTS; part++)
		for (size_t at = 0; batch->left > 0 && whi_run_next(&runs[part], &at, &row);) {
			int r = batch_add(batch, &row);

			if (r < 0)
				return r;
		}
	return batch_flush(batch);
}

static struct merge *merge_new(const struct whi_run *runs, enum wh_mr_order order)
{
	struct merge *merge = whi_calloc(1, sizeof(*merge));

	if (!merge)
		return NULL;
	merge->order = order;
	for (unsigned part = 0; part < WHI_PARTS; part++) {
		merge->leaves[part].run = &runs[part];
		leaf_next(&merge->leaves[part], order);
	}
	return merge;
}

int64_t whi_runs_output(const struct whi_run *runs, const struct wh_mr_job *job,
			const _Atomic bool *stop)
{
	struct merge *merge = merge_new(runs, job->order);
	struct batch *batch = whi_alloc(sizeof(*batch));
	int64_t r = -ENOMEM;

	if (!merge || !batch)
		goto out;
	batch->job = job;
	batch->stop = stop;
	batch->left = job->rows_max ? job->rows_max : UINT64_MAX;
	batch->done = 0;
	batch->count = 0;
	if (job->order == WH_MR_UNORDERED)
		r = output_unordered(runs, batch);
	else
		r = output_merged(merge, batch);
	if (r >= 0)
		r = (int64_t)batch->done;
out:
	whi_free(batch);
	whi_free(merge);
	return r;
}
