/* Sorts the rows of a partition: three-way radix quicksort over cached 8-byte windows of what rows
 * are compared by (J. Bentley and R. Sedgewick, "Fast Algorithms for Sorting and Searching
 * Strings", 1997).
 *
 * 1. All rows of a span are equal in what comes before its stage and depth; the items' prefixes
 *    hold the window there.
 * 2. Of the parts a span is split into, only the largest is gone on with in the loop: recursion is
 *    at most log2(rows) deep, however long the keys are. */
#include <stdbool.h>

#include "mapreduce/rows.h"

enum {
	SMALL = 24, /* sorted by insertion */
	WINDOW = 8,
};

/* What rows are compared by, part after part. */
enum stage { BY_SUM, BY_KEY, BY_KEY_LEN, BY_VALUE, BY_VALUE_LEN, DONE };

struct sorter {
	const struct whi_rows *rows;
	enum wh_mr_order order;
	const _Atomic bool *stop;
	const struct whi_item *limit; /* what comes from here on need not be sorted */
	uint64_t random;
};

struct span {
	struct whi_item *items;
	size_t count;
	enum stage stage;
	size_t depth;
	bool equal; /* all prefixes are */
};

static enum stage next_stage(const struct sorter *sorter, enum stage stage)
{
	enum wh_mr_order order = sorter->order;

	switch (stage) {
	case BY_SUM:
		return sorter->rows->value != WH_MR_BYTES ? BY_KEY : BY_VALUE;
	case BY_KEY:
		return BY_KEY_LEN;
	case BY_KEY_LEN:
		return order == WH_MR_BY_KEY ? BY_VALUE : DONE;
	case BY_VALUE:
		return BY_VALUE_LEN;
	case BY_VALUE_LEN:
		return order == WH_MR_BY_VALUE ? BY_KEY : DONE;
	case DONE:
		break;
	}
	return DONE;
}

/* The bytes that a stage goes through in windows, or NULL. */
static const struct wh_mr_bytes *stage_bytes(const struct wh_mr_row *row, enum stage stage)
{
	if (stage == BY_KEY)
		return &row->key;
	return stage == BY_VALUE ? &row->value : NULL;
}

static uint64_t prefix_of(const struct wh_mr_row *row, enum stage stage, size_t depth)
{
	switch (stage) {
	case BY_SUM:
		return ~row->number;
	case BY_KEY:
		return whi_row_window(&row->key, depth);
	case BY_KEY_LEN:
		return row->key.len;
	case BY_VALUE:
		return whi_row_window(&row->value, depth);
	case BY_VALUE_LEN:
		return row->value.len;
	case DONE:
		break;
	}
	return 0;
}

static void load(const struct sorter *sorter, const struct span *span)
{
	struct wh_mr_row row;

	if (span->stage == DONE)
		return;
	for (size_t i = 0; i < span->count; i++) {
		whi_rows_get(sorter->rows, span->items[i].ref, &row);
		span->items[i].prefix = prefix_of(&row, span->stage, span->depth);
	}
}

static void swap(struct whi_item *a, struct whi_item *b)
{
	struct whi_item kept = *a;

	*a = *b;
	*b = kept;
}

static bool before(const struct sorter *sorter, const struct whi_item *a, const struct whi_item *b)
{
	struct wh_mr_row left, right;

	if (a->prefix != b->prefix)
		return a->prefix < b->prefix;
	whi_rows_get(sorter->rows, a->ref, &left);
	whi_rows_get(sorter->rows, b->ref, &right);
	return whi_row_compare(&left, &right, sorter->order) < 0;
}

static void sort_small(const struct sorter *sorter, const struct span *span)
{
	for (size_t i = 1; i < span->count; i++) {
		struct whi_item item = span->items[i];
		size_t at = i;

		for (; at > 0 && before(sorter, &item, &span->items[at - 1]); at--)
			span->items[at] = span->items[at - 1];
		span->items[at] = item;
	}
}

static uint64_t any_prefix(struct sorter *sorter, const struct span *span)
{
	/* Marsaglia's xorshift64 */
	sorter->random ^= sorter->random << 13;
	sorter->random ^= sorter->random >> 7;
	sorter->random ^= sorter->random << 17;
	return span->items[sorter->random % span->count].prefix;
}

static uint64_t choose_pivot(struct sorter *sorter, const struct span *span)
{
	uint64_t a = any_prefix(sorter, span), b = any_prefix(sorter, span);
	uint64_t c = any_prefix(sorter, span);
	uint64_t low = a < b ? a : b, high = a < b ? b : a;

	if (c < low)
		return low;
	return c > high ? high : c;
}

static void sort_span(struct sorter *sorter, struct span span);

/* Sort the smaller one, return the other. */
static struct span sort_smaller(struct sorter *sorter, struct span a, struct span b)
{
	bool a_first = a.count < b.count;

	sort_span(sorter, a_first ? a : b);
	return a_first ? b : a;
}

/* Smaller than the pivot, equal, greater (E. Dijkstra's flag). */
static struct span split(struct sorter *sorter, struct span span)
{
	uint64_t pivot = choose_pivot(sorter, &span);
	struct whi_item *items = span.items;
	size_t low = 0, high = span.count;
	struct span less = span, equal = span, greater = span;

	for (size_t i = 0; i < high;) {
		if (items[i].prefix < pivot)
			swap(&items[low++], &items[i++]);
		else if (items[i].prefix > pivot)
			swap(&items[i], &items[--high]);
		else
			i++;
	}
	less.count = low;
	equal.items += low;
	equal.count = high - low;
	equal.equal = true;
	greater.items += high;
	greater.count -= high;
	return sort_smaller(sorter, sort_smaller(sorter, less, greater), equal);
}

/* Put the rows that have no bytes beyond this window first. Returns how many there are. */
static size_t ended_first(const struct sorter *sorter, const struct span *span)
{
	size_t ended = 0;
	struct wh_mr_row row;

	for (size_t i = 0; i < span->count; i++) {
		const struct wh_mr_bytes *bytes;

		whi_rows_get(sorter->rows, span->items[i].ref, &row);
		bytes = stage_bytes(&row, span->stage);
		if (!bytes || bytes->len <= span->depth + WINDOW)
			swap(&span->items[ended++], &span->items[i]);
	}
	return ended;
}

/* Go on with rows whose windows are equal. */
static struct span look_deeper(struct sorter *sorter, struct span span)
{
	size_t count = ended_first(sorter, &span);
	struct span ended = {
		.items = span.items,
		.count = count,
		.stage = next_stage(sorter, span.stage),
	};
	struct span rest = {
		.items = span.items + count,
		.count = span.count - count,
		.stage = span.stage,
		.depth = span.depth + WINDOW,
	};

	load(sorter, &ended);
	load(sorter, &rest);
	return sort_smaller(sorter, ended, rest);
}

static void sort_span(struct sorter *sorter, struct span span)
{
	while (span.count > SMALL && span.stage != DONE) {
		if (span.items >= sorter->limit)
			return;
		if (atomic_load_explicit(sorter->stop, memory_order_relaxed))
			return;
		span = span.equal ? look_deeper(sorter, span) : split(sorter, span);
	}
	if (span.stage != DONE)
		sort_small(sorter, &span);
}

void whi_rows_sort(struct whi_rows *rows, const struct wh_mr_job *job, const _Atomic bool *stop)
{
	bool some = job->rows_max > 0 && job->rows_max < rows->count;
	struct sorter sorter = {
		.rows = rows,
		.order = job->order,
		.stop = stop,
		.random = 1,
	};
	struct span span = { .items = rows->items, .count = rows->count };

	if (job->order == WH_MR_UNORDERED || rows->count == 0)
		return;
	sorter.limit = rows->items + (some ? job->rows_max : rows->count);
	span.stage = job->order == WH_MR_BY_KEY ? BY_KEY : BY_SUM;
	load(&sorter, &span);
	sort_span(&sorter, span);
}
