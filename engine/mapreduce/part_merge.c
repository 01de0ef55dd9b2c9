/* Owns the merging of sorted parts: a binary heap of readers, the one with the first row on top.
 *
 * 1. Rows are handed over where they were read. A batch goes out before a reader that has come to
 *    the end of a block goes on, because its buffer then changes. */
#include <errno.h>

#include "base/alloc.h"
#include "mapreduce/part.h"
#include "mapreduce/rows.h"

enum {
	BATCH = 512, /* rows handed over at once */
	BUFFER_BYTES = 256 * 1024,
	BUFFER_BYTES_MIN = 16 * 1024,
	BUFFERS_BYTES = 64 * 1024 * 1024, /* of all parts together */
};

/* The next row of one part. */
struct leaf {
	uint64_t rank;	 /* decides first */
	uint64_t second; /* decides among equal ranks, then the rows themselves do */
	struct wh_mr_row row;
	struct whi_part_reader reader;
};

struct merge {
	const struct wh_parts_merge *opts;
	struct leaf *leaves; /* one a part */
	uint32_t opened;
	uint32_t *heap; /* parts that have rows */
	uint32_t heap_count;
	int64_t done; /* rows that `output` was given */
	uint64_t left;
	uint32_t failed; /* part */
	size_t batch;
	struct wh_mr_row rows[BATCH];
};

static int flush(struct merge *merge)
{
	size_t count = merge->batch;

	merge->batch = 0;
	if (count == 0)
		return 0;
	merge->done += (int64_t)count;
	return merge->opts->output(merge->opts->arg, merge->rows, count);
}

static void leaf_rank(struct leaf *leaf, const struct wh_parts_merge *opts)
{
	if (opts->order == WH_MR_BY_KEY) {
		leaf->rank = whi_row_window(&leaf->row.key, 0);
		leaf->second = whi_row_window(&leaf->row.key, 8);
	} else if (opts->format.value == WH_MR_BYTES) {
		leaf->rank = whi_row_window(&leaf->row.value, 0);
		leaf->second = whi_row_window(&leaf->row.value, 8);
	} else {
		leaf->rank = ~leaf->row.number;
		leaf->second = whi_row_window(&leaf->row.key, 0);
	}
}

/* Below, equal to or above zero by what ranks say. */
static int compare_ranks(const struct leaf *a, const struct leaf *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->second != b->second)
		return a->second < b->second ? -1 : 1;
	return 0;
}

static bool leaf_before(const struct merge *merge, uint32_t left, uint32_t right)
{
	const struct leaf *a = &merge->leaves[left], *b = &merge->leaves[right];
	int order = compare_ranks(a, b);

	if (order == 0)
		order = whi_row_compare(&a->row, &b->row, merge->opts->order);
	return order < 0 || (order == 0 && left < right);
}

/* Read the next row of a part. `same_block`: the row before it is still there. Returns 1, 0 at its
 * end, or an error. */
static int leaf_next(struct merge *merge, struct leaf *leaf, bool same_block)
{
	enum wh_mr_order order = merge->opts->order;
	struct leaf before = { .rank = leaf->rank, .second = leaf->second, .row = leaf->row };
	struct whi_record record;
	int r = whi_part_reader_next(&leaf->reader, &record);

	if (r <= 0)
		return r;
	leaf->row = (struct wh_mr_row){ .key = record.key,
					.value = record.value,
					.number = record.count };
	if (order == WH_MR_UNORDERED)
		return 1;
	leaf_rank(leaf, merge->opts);
	if (before.row.key.data &&
	    (compare_ranks(&before, leaf) > 0 ||
	     (same_block && whi_row_compare(&before.row, &leaf->row, order) > 0))) {
		leaf->reader.decoder.fault = WHI_CODEC_BAD_ORDER;
		return whi_codec_fault_error(WHI_CODEC_BAD_ORDER);
	}
	return 1;
}

static void sift_down(struct merge *merge, uint32_t at)
{
	uint32_t item = merge->heap[at];

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= merge->heap_count)
			break;
		if (child + 1 < merge->heap_count &&
		    leaf_before(merge, merge->heap[child + 1], merge->heap[child]))
			child++;
		if (!leaf_before(merge, merge->heap[child], item))
			break;
		merge->heap[at] = merge->heap[child];
		at = child;
	}
	merge->heap[at] = item;
}

static size_t buffer_bytes(const struct wh_parts_merge *opts)
{
	size_t share = BUFFERS_BYTES / opts->format.count;

	if (opts->buffer_bytes)
		return opts->buffer_bytes;
	if (share > BUFFER_BYTES)
		return BUFFER_BYTES;
	return share > BUFFER_BYTES_MIN ? share : BUFFER_BYTES_MIN;
}

static int open_all(struct merge *merge)
{
	const struct wh_parts_merge *opts = merge->opts;

	for (uint32_t i = 0; i < opts->format.count; i++) {
		const struct wh_part part = { .format = opts->format, .index = i };
		struct leaf *leaf = &merge->leaves[i];
		int r;

		merge->failed = i;
		r = whi_part_reader_open(&leaf->reader, opts->paths[i], &part, buffer_bytes(opts));
		if (r < 0)
			return r;
		merge->opened++;
		r = leaf_next(merge, leaf, false);
		if (r < 0)
			return r;
		if (r > 0)
			merge->heap[merge->heap_count++] = i;
	}
	for (uint32_t at = merge->heap_count / 2; at-- > 0;)
		sift_down(merge, at);
	return 0;
}

/* Take the row on top. */
static int take_first(struct merge *merge)
{
	uint32_t part = merge->heap[0];
	struct leaf *leaf = &merge->leaves[part];
	bool same_block = leaf->reader.decoder.left > 0;
	int r = 0;

	merge->failed = UINT32_MAX;
	merge->rows[merge->batch++] = leaf->row;
	if (!same_block || merge->batch == BATCH)
		r = flush(merge);
	if (r < 0)
		return r;
	merge->failed = part;
	r = leaf_next(merge, leaf, same_block);
	if (r < 0)
		return r;
	if (r == 0)
		merge->heap[0] = merge->heap[--merge->heap_count];
	if (merge->heap_count > 0)
		sift_down(merge, 0);
	return 0;
}

static int merge_all(struct merge *merge)
{
	int r = open_all(merge);

	while (r == 0 && merge->heap_count > 0 && merge->left-- > 0)
		r = take_first(merge);
	if (r < 0)
		return r;
	merge->failed = UINT32_MAX;
	return flush(merge);
}

static void merge_free(struct merge *merge)
{
	for (uint32_t i = 0; i < merge->opened; i++)
		whi_part_reader_close(&merge->leaves[i].reader);
	whi_free(merge->leaves);
	whi_free(merge->heap);
	whi_free(merge);
}

static struct merge *merge_new(const struct wh_parts_merge *opts)
{
	struct merge *merge = whi_calloc(1, sizeof(*merge));

	if (!merge)
		return NULL;
	merge->opts = opts;
	merge->left = opts->rows_max ? opts->rows_max : UINT64_MAX;
	merge->failed = UINT32_MAX;
	merge->leaves = whi_calloc(opts->format.count, sizeof(*merge->leaves));
	merge->heap = whi_calloc(opts->format.count, sizeof(*merge->heap));
	if (!merge->leaves || !merge->heap) {
		merge_free(merge);
		return NULL;
	}
	return merge;
}

int64_t wh_parts_merge(const struct wh_parts_merge *opts, uint32_t *ret_part, const char **ret_why)
{
	int r = whi_parts_format_check(&opts->format);
	struct merge *merge;
	int64_t done;

	*ret_part = UINT32_MAX;
	*ret_why = NULL;
	if (r < 0 || !opts->paths || !opts->output || opts->order > WH_MR_BY_VALUE)
		return -EINVAL;
	merge = merge_new(opts);
	if (!merge)
		return -ENOMEM;
	r = merge_all(merge);
	done = merge->done;
	if (r < 0 && merge->failed != UINT32_MAX) {
		*ret_part = merge->failed;
		*ret_why = whi_part_reader_why(&merge->leaves[merge->failed].reader);
	}
	merge_free(merge);
	return r < 0 ? r : done;
}
