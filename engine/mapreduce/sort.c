/* Sorts rows: radix sort from the most significant byte on, in place (P. McIlroy, K. Bostic and
 * M. McIlroy, "Engineering Radix Sort", 1993), over cached 8-byte windows of what rows are compared
 * by.
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
	DIGIT_BITS = 8, /* at most */
	DIGITS = 1 << DIGIT_BITS,
};

/* What rows are compared by, part after part. */
enum stage { BY_SUM, BY_KEY, BY_KEY_LEN, BY_VALUE, BY_VALUE_LEN, DONE };

struct sorter {
	const struct whi_rows *rows;
	enum wh_mr_order order;
	const _Atomic bool *stop;
	const struct whi_item *limit; /* what comes from here on need not be sorted */
	/* Of the span that is being split, and of nobody once its parts are sorted. */
	size_t next[DIGITS];
	size_t end[DIGITS];
};

struct span {
	struct whi_item *items;
	size_t count;
	enum stage stage;
	size_t depth;
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

static void sort_span(struct sorter *sorter, struct span span);

/* Sort the smaller one, return the other. */
static struct span sort_smaller(struct sorter *sorter, struct span a, struct span b)
{
	bool a_first = a.count < b.count;

	sort_span(sorter, a_first ? a : b);
	return a_first ? b : a;
}

/* Where prefixes are told apart: the highest bits that are not the same in all of them. */
struct digit {
	unsigned shift;
	unsigned mask;
};

static inline unsigned digit_of(struct digit digit, const struct whi_item *item)
{
	return (unsigned)(item->prefix >> digit.shift) & digit.mask;
}

/* Bits in which some prefixes differ. */
static uint64_t differing(const struct span *span)
{
	uint64_t bits = 0;

	for (size_t i = 1; i < span->count; i++)
		bits |= span->items[i].prefix ^ span->items[0].prefix;
	return bits;
}

/* A few rows a digit, so that what is left to insertion is little. */
static struct digit choose_digit(size_t count, uint64_t bits)
{
	const unsigned highest = 63 - (unsigned)__builtin_clzll(bits);
	unsigned width = 62 - (unsigned)__builtin_clzll(count);

	width = width < DIGIT_BITS ? width : DIGIT_BITS;
	return (struct digit){
		.shift = highest + 1 > width ? highest + 1 - width : 0,
		.mask = (1u << width) - 1,
	};
}

/* Count digits: where each one's items begin, and end. Returns the one of most items. */
static unsigned place_digits(struct sorter *sorter, const struct span *span, struct digit digit)
{
	size_t at = 0, most = 0;
	unsigned best = 0;

	for (unsigned i = 0; i <= digit.mask; i++)
		sorter->end[i] = 0;
	for (size_t i = 0; i < span->count; i++)
		sorter->end[digit_of(digit, &span->items[i])]++;
	for (unsigned i = 0; i <= digit.mask; i++) {
		if (sorter->end[i] > most) {
			most = sorter->end[i];
			best = i;
		}
		sorter->next[i] = at;
		at += sorter->end[i];
		sorter->end[i] = at;
	}
	return best;
}

/* Each item goes to its digit's place, and makes the one there go to its own. */
static void move_items(struct sorter *sorter, const struct span *span, struct digit digit)
{
	for (unsigned i = 0; i <= digit.mask; i++)
		while (sorter->next[i] < sorter->end[i]) {
			struct whi_item item = span->items[sorter->next[i]];
			unsigned to = digit_of(digit, &item);

			while (to != i) {
				swap(&item, &span->items[sorter->next[to]++]);
				to = digit_of(digit, &item);
			}
			span->items[sorter->next[i]++] = item;
		}
}

/* By one digit. Sorts all parts but the largest, and returns that. */
static struct span split(struct sorter *sorter, struct span span, uint64_t bits)
{
	struct digit digit = choose_digit(span.count, bits);
	unsigned best = place_digits(sorter, &span, digit);
	struct span largest = span, part = span;

	move_items(sorter, &span, digit);
	for (size_t begin = 0, end; begin < span.count; begin = end) {
		unsigned one = digit_of(digit, &span.items[begin]);

		for (end = begin + 1; end < span.count; end++)
			if (digit_of(digit, &span.items[end]) != one)
				break;
		part.items = span.items + begin;
		part.count = end - begin;
		if (one == best)
			largest = part;
		else
			sort_span(sorter, part);
	}
	return largest;
}

/* Rows whose windows are equal: those that have no bytes beyond go first, to their next stage, the
 * others to their next window. Returns how many there are of the first. */
static size_t load_deeper(const struct sorter *sorter, const struct span *span)
{
	const enum stage next = next_stage(sorter, span->stage);
	size_t ended = 0;
	struct wh_mr_row row;

	for (size_t i = 0; i < span->count; i++) {
		struct whi_item *item = &span->items[i];
		const struct wh_mr_bytes *bytes;

		whi_rows_get(sorter->rows, item->ref, &row);
		bytes = stage_bytes(&row, span->stage);
		if (bytes && bytes->len > span->depth + WINDOW) {
			item->prefix = whi_row_window(bytes, span->depth + WINDOW);
			continue;
		}
		item->prefix = prefix_of(&row, next, 0);
		swap(&span->items[ended++], item);
	}
	return ended;
}

/* Go on with rows whose windows are equal. */
static struct span look_deeper(struct sorter *sorter, struct span span)
{
	size_t count = load_deeper(sorter, &span);
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

	return sort_smaller(sorter, ended, rest);
}

static void sort_span(struct sorter *sorter, struct span span)
{
	while (span.count > SMALL && span.stage != DONE) {
		uint64_t bits;

		if (span.items >= sorter->limit)
			return;
		if (atomic_load_explicit(sorter->stop, memory_order_relaxed))
			return;
		bits = differing(&span);
		span = bits ? split(sorter, span, bits) : look_deeper(sorter, span);
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
	};
	struct span span = { .items = rows->items, .count = rows->count };
	struct wh_mr_row row;

	if (job->order == WH_MR_UNORDERED || rows->count == 0)
		return;
	sorter.limit = rows->items + (some ? job->rows_max : rows->count);
	span.stage = job->order == WH_MR_BY_KEY ? BY_KEY : BY_SUM;
	for (size_t i = 0; i < rows->count; i++) {
		whi_rows_get(rows, rows->items[i].ref, &row);
		rows->items[i].prefix = prefix_of(&row, span.stage, 0);
	}
	sort_span(&sorter, span);
}
