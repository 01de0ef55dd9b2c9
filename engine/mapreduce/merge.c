/* Owns the tree of losers (D. Knuth, The Art of Computer Programming, vol. 3, 5.4.1).
 *
 * 1. tree[node] is the leaf that lost there, for 1 <= node < count; the winner is kept apart.
 * 2. An empty leaf loses against every other. */
#include "mapreduce/merge.h"

#include <errno.h>

#include "base/alloc.h"

enum {
	AHEAD_BYTES = 256, /* of a run fetched early */
	STOP_ROWS = 4096,  /* between two looks at `stop`; a power of two */
};

/* The next row of one run. */
struct leaf {
	struct whi_rank rank;
	struct wh_mr_row row;
	struct whi_cursor cursor;
	bool empty;
};

struct whi_merge {
	enum wh_mr_order order;
	uint32_t count; /* of leaves, at least 1 */
	uint32_t winner;
	uint32_t *tree;
	struct leaf *leaves;
};

static int leaf_next(struct leaf *leaf, enum wh_mr_order order)
{
	const struct whi_run *run = leaf->cursor.run;
	int r = whi_cursor_next(&leaf->cursor, &leaf->row);

	leaf->empty = r <= 0;
	if (r <= 0)
		return r;
	if (run->len - leaf->cursor.at > AHEAD_BYTES)
		__builtin_prefetch(run->data + leaf->cursor.at + AHEAD_BYTES);
	leaf->rank = whi_row_rank(&leaf->row, run->value, order);
	return 0;
}

static bool leaf_before(const struct whi_merge *merge, uint32_t left, uint32_t right)
{
	const struct leaf *a = &merge->leaves[left], *b = &merge->leaves[right];

	if (a->empty || b->empty)
		return !a->empty;
	if (a->rank.first != b->rank.first)
		return a->rank.first < b->rank.first;
	if (a->rank.second != b->rank.second)
		return a->rank.second < b->rank.second;
	return whi_row_compare(&a->row, &b->row, merge->order) < 0;
}

/* Let `leaf` play from `node` to the root. */
static void play(struct whi_merge *merge, uint32_t node, uint32_t leaf)
{
	for (; node > 0; node /= 2) {
		uint32_t other = merge->tree[node];

		if (!leaf_before(merge, other, leaf))
			continue;
		merge->tree[node] = leaf;
		leaf = other;
	}
	merge->winner = leaf;
}

/* The winner of the games below `node`. */
static uint32_t play_all(struct whi_merge *merge, uint32_t node)
{
	uint32_t left, right;

	if (node >= merge->count)
		return node - merge->count;
	left = play_all(merge, node * 2);
	right = play_all(merge, node * 2 + 1);
	if (leaf_before(merge, right, left)) {
		merge->tree[node] = left;
		return right;
	}
	merge->tree[node] = right;
	return left;
}

void whi_merge_close(struct whi_merge *merge)
{
	if (!merge)
		return;
	for (uint32_t i = 0; merge->leaves && i < merge->count; i++)
		whi_cursor_fini(&merge->leaves[i].cursor);
	whi_free(merge->leaves);
	whi_free(merge->tree);
	whi_free(merge);
}

int whi_merge_open(const struct whi_run *runs, size_t count, enum wh_mr_order order,
		   size_t chunk_bytes, struct whi_merge **ret)
{
	struct whi_merge *merge = whi_calloc(1, sizeof(*merge));
	int r = 0;

	whi_assert(count > 0 && count < UINT32_MAX / 2);
	if (!merge)
		return -ENOMEM;
	merge->order = order;
	merge->count = (uint32_t)count;
	merge->tree = whi_alloc(count * sizeof(*merge->tree));
	merge->leaves = whi_calloc(count, sizeof(*merge->leaves));
	if (!merge->tree || !merge->leaves) {
		whi_merge_close(merge);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count && r == 0; i++) {
		whi_cursor_init(&merge->leaves[i].cursor, &runs[i], chunk_bytes);
		r = leaf_next(&merge->leaves[i], order);
	}
	if (r < 0) {
		whi_merge_close(merge);
		return r;
	}
	merge->winner = play_all(merge, 1);
	*ret = merge;
	return 0;
}

const struct wh_mr_row *whi_merge_row(const struct whi_merge *merge)
{
	const struct leaf *leaf = &merge->leaves[merge->winner];

	return leaf->empty ? NULL : &leaf->row;
}

bool whi_merge_is_dry(const struct whi_merge *merge)
{
	return whi_cursor_is_dry(&merge->leaves[merge->winner].cursor);
}

int whi_merge_next(struct whi_merge *merge)
{
	int r = leaf_next(&merge->leaves[merge->winner], merge->order);

	if (r < 0)
		return r;
	play(merge, (merge->winner + merge->count) / 2, merge->winner);
	return 0;
}

static int write_merged(struct whi_merge *merge, struct whi_run_writer *writer, uint64_t rows_max,
			const _Atomic bool *stop)
{
	const struct wh_mr_row *row;

	for (uint64_t rows = 0; rows < rows_max && (row = whi_merge_row(merge)) != NULL; rows++) {
		int r = whi_run_add(writer, row);

		if (r == 0)
			r = whi_merge_next(merge);
		if (r < 0)
			return r;
		if (rows % STOP_ROWS == 0 && atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
	}
	return whi_run_writer_end(writer);
}

/* How runs are to be merged on disk. */
struct plan {
	struct whi_spill *spill;
	enum wh_mr_order order;
	uint64_t rows_max;
};

/* Make one run of `count`, which stay as they are. */
static int merge_some(const struct plan *plan, const struct whi_run *runs, size_t count,
		      struct whi_run *ret)
{
	struct whi_run_writer writer;
	struct whi_merge *merge;
	int r = whi_merge_open(runs, count, plan->order, plan->spill->run_bytes, &merge);

	if (r < 0)
		return r;
	whi_run_writer_init(&writer, ret, plan->spill);
	r = write_merged(merge, &writer, plan->rows_max, plan->spill->stop);
	whi_run_writer_fini(&writer);
	whi_merge_close(merge);
	if (r < 0)
		whi_run_fini(ret);
	return r;
}

int whi_runs_merge(struct whi_runs *runs, enum wh_mr_order order, size_t most, uint64_t rows_max,
		   struct whi_spill *spill)
{
	const struct plan plan = { spill, order, rows_max ? rows_max : UINT64_MAX };
	size_t fan_in = whi_spill_fan_in(spill);

	if (order == WH_MR_UNORDERED)
		return 0;
	while (runs->count > most) {
		size_t left = runs->count - most + 1;
		size_t count = left < fan_in ? left : fan_in;
		struct whi_run merged;
		int r = merge_some(&plan, runs->items, count, &merged);

		if (r < 0)
			return r;
		for (size_t i = 0; i < count; i++)
			whi_run_fini(&runs->items[i]);
		/* What they have become comes last: it is the longest. */
		for (size_t i = count; i < runs->count; i++)
			runs->items[i - count] = runs->items[i];
		runs->count -= count;
		r = whi_runs_add(runs, &merged);
		if (r < 0)
			return r;
	}
	return 0;
}
