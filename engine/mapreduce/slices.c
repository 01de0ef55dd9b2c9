/* Owns where slices begin, and the way of rows into them.
 *
 * 1. Splitters ascend strictly: a row that is equal to one belongs to the slice behind it, so equal
 *    rows are in one slice.
 * 2. A splitter's bytes are its own, since the partition that it was found in is emptied.
 * 3. A block of a partition is freed, or filled again, once its rows have been dealt. */
#include "mapreduce/slices.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"

enum {
	SAMPLES_A_PART = 32,
	SPLITTER_MAX = 64 * 1024, /* longer rows are none */
	HAND = 8,
};

/* How many of the `count` ranks at `ranks` are before each of some others. Together, since each is
 * a chain of steps that wait for one another. */
static inline __attribute__((always_inline)) void ranks_before(const struct whi_rank *ranks,
							       unsigned count,
							       const struct whi_rank *which,
							       unsigned which_count, unsigned *ret)
{
	for (unsigned k = 0; k < which_count; k++)
		ret[k] = 0;
	while (count > 1) {
		unsigned half = count / 2;

		for (unsigned k = 0; k < which_count; k++)
			ret[k] += half &
				  -(unsigned)whi_rank_before(&ranks[ret[k] + half - 1], &which[k]);
		count -= half;
	}
	for (unsigned k = 0; k < which_count && count; k++)
		ret[k] += whi_rank_before(&ranks[ret[k]], &which[k]);
}

static unsigned find_among_equals(const struct whi_slices *slices, unsigned low,
				  const struct whi_rank *rank, const struct wh_mr_row *row)
{
	unsigned high = slices->count - 1;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (!whi_rank_before(rank, &slices->ranks[middle]) &&
		    whi_row_compare(&slices->rows[middle], row, slices->order) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static inline bool is_tied(const struct whi_slices *slices, unsigned slice,
			   const struct whi_rank *rank)
{
	return slice < slices->count - 1 && !whi_rank_before(rank, &slices->ranks[slice]);
}

unsigned whi_slices_find(const struct whi_slices *slices, const struct whi_rank *rank,
			 const struct wh_mr_row *row)
{
	unsigned slice;

	ranks_before(slices->ranks, slices->count - 1, rank, 1, &slice);
	if (is_tied(slices, slice, rank))
		return find_among_equals(slices, slice, rank, row);
	return slice;
}

/* Splitters */

/* Copy the row, unless it is the last splitter once more. */
static void add_splitter(struct whi_slices *slices, const struct wh_mr_row *row, uint8_t **at)
{
	unsigned last = slices->count - 1;
	struct wh_mr_row *copy = &slices->rows[last];

	if (last > 0 && whi_row_compare(&slices->rows[last - 1], row, slices->order) >= 0)
		return;
	*copy = *row;
	copy->key.data = *at;
	copy->value.data = *at + row->key.len;
	if (row->key.len)
		memcpy(*at, row->key.data, row->key.len);
	if (row->value.len)
		memcpy(*at + row->key.len, row->value.data, row->value.len);
	*at += row->key.len + row->value.len;
	slices->ranks[last] = whi_row_rank(row, slices->value, slices->order);
	slices->count++;
}

/* The row of the sample that slice `slice` of `count` begins with. False: it is too long. */
static bool sampled(const struct whi_rows *sample, unsigned slice, unsigned count,
		    struct wh_mr_row *ret)
{
	whi_rows_get(sample, sample->items[sample->count * slice / count].ref, ret);
	return ret->key.len + ret->value.len <= SPLITTER_MAX;
}

static int copy_splitters(struct whi_slices *slices, const struct whi_rows *sample, unsigned count)
{
	struct wh_mr_row row;
	size_t len = 0;
	uint8_t *at;

	for (unsigned i = 1; i < count; i++)
		if (sampled(sample, i, count, &row))
			len += row.key.len + row.value.len;
	slices->bytes = whi_alloc(len + 1);
	if (!slices->bytes)
		return -ENOMEM;
	at = slices->bytes;
	for (unsigned i = 1; i < count; i++)
		if (sampled(sample, i, count, &row))
			add_splitter(slices, &row, &at);
	return 0;
}

static int choose_splitters(struct whi_slices *slices, const struct whi_store *from, unsigned count)
{
	const struct wh_mr_job job = { .order = slices->order, .value = slices->value };
	const _Atomic bool stop = false;
	struct whi_rows sample = { .value = slices->value };
	int r = 0;

	sample.items = whi_alloc(WHI_PARTS * SAMPLES_A_PART * sizeof(*sample.items));
	if (!sample.items)
		return -ENOMEM;
	/* What came at a time may be alike: another time for each partition. */
	for (unsigned part = 0; part < WHI_PARTS; part++)
		whi_rows_sample(&sample, &from->parts[part], part, SAMPLES_A_PART);
	whi_rows_sort(&sample, &job, &stop);
	if (sample.count > 0)
		r = copy_splitters(slices, &sample, count);
	whi_rows_fini(&sample);
	return r;
}

int whi_slices_new(const struct wh_mr_job *job, const struct whi_store *from, unsigned count,
		   struct whi_slices **ret)
{
	struct whi_slices *slices = whi_calloc(1, sizeof(*slices));

	whi_assert(count >= 1 && count <= WHI_SLICES_MAX && job->order != WH_MR_UNORDERED);
	if (!slices)
		return -ENOMEM;
	slices->order = job->order;
	slices->value = job->value;
	slices->count = 1;
	slices->to = whi_store_new();
	if (!slices->to || (count > 1 && choose_splitters(slices, from, count) < 0)) {
		whi_slices_free(slices);
		return -ENOMEM;
	}
	slices->to->block_room = from->block_room;
	slices->to->pool_most = from->pool_most;
	for (unsigned i = 0; i < slices->count; i++)
		atomic_init(&slices->to->parts[i].merge_bytes, UINT64_MAX);
	*ret = slices;
	return 0;
}

void whi_slices_free(struct whi_slices *slices)
{
	if (!slices)
		return;
	whi_store_free(slices->to);
	whi_free(slices->bytes);
	whi_free(slices);
}

/* Dealing */

/* Some records, looked up together. */
struct hand {
	size_t count;
	struct whi_rank ranks[HAND];
	const void *records[HAND];
	size_t lens[HAND];
};

struct dealing {
	const struct whi_slices *slices;
	struct whi_writer *writer;
	struct hand hand;
	uint64_t rows[WHI_SLICES_MAX];
};

static size_t row_of(enum whi_kind kind, const void *record, struct wh_mr_row *ret)
{
	if (kind == WHI_SHORT)
		return whi_row_of_short(record, ret);
	return kind == WHI_LONG ? whi_row_of_long(record, ret) : whi_row_of_pair(record, ret);
}

/* Blocks end with some bytes to spare; pairs may be longer than what is quickest for words. */
static inline void copy_record(enum whi_kind kind, void *to, const void *from, size_t len)
{
	if (kind == WHI_SHORT)
		memcpy(to, from, sizeof(struct whi_short));
	else if (kind == WHI_LONG)
		whi_bytes_copy_over(to, from, len);
	else
		memcpy(to, from, len);
}

/* Copy a record to its slice, which is `slice` unless it ties with a splitter. */
static inline int deal_one(struct dealing *dealing, enum whi_kind kind, size_t i, unsigned slice)
{
	const struct whi_slices *slices = dealing->slices;
	const struct hand *hand = &dealing->hand;
	struct wh_mr_row row;
	void *room;

	if (whi_unlikely(is_tied(slices, slice, &hand->ranks[i]))) {
		row_of(kind, hand->records[i], &row);
		slice = find_among_equals(slices, slice, &hand->ranks[i], &row);
	}
	if (kind == WHI_PAIR)
		room = whi_writer_room(dealing->writer, kind, slice, hand->lens[i]);
	else
		room = whi_writer_record(dealing->writer, kind, slice, hand->lens[i]);
	if (!room)
		return -ENOMEM;
	copy_record(kind, room, hand->records[i], hand->lens[i]);
	dealing->rows[slice]++;
	return 0;
}

static inline __attribute__((always_inline)) int deal_hand(struct dealing *dealing,
							   enum whi_kind kind, unsigned count)
{
	const struct whi_slices *slices = dealing->slices;
	unsigned found[HAND];
	int r = 0;

	ranks_before(slices->ranks, slices->count - 1, dealing->hand.ranks, count, found);
	for (unsigned i = 0; i < count && r == 0; i++)
		r = deal_one(dealing, kind, i, found[i]);
	dealing->hand.count = 0;
	return r;
}

/* A short key is padded with zeros, as windows are. */
static inline struct whi_rank rank_of_short(const struct whi_short *record, enum wh_mr_order order)
{
	uint64_t low = be64toh(record->low);

	if (order == WH_MR_BY_KEY)
		return (struct whi_rank){ low, be64toh(record->high) };
	return (struct whi_rank){ ~(uint64_t)record->count, low };
}

/* Take the record at `record` into the hand. Returns its length. */
static inline size_t take(struct dealing *dealing, enum whi_kind kind, const void *record)
{
	const struct whi_slices *slices = dealing->slices;
	struct hand *hand = &dealing->hand;
	struct wh_mr_row row;
	size_t len = sizeof(struct whi_short);

	if (kind == WHI_SHORT) {
		/* Those without a key: see whi_part_fold_wide. */
		if (whi_unlikely(!((const struct whi_short *)record)->low))
			return len;
		hand->ranks[hand->count] = rank_of_short(record, slices->order);
	} else {
		len = row_of(kind, record, &row);
		hand->ranks[hand->count] = whi_row_rank(&row, slices->value, slices->order);
	}
	hand->records[hand->count] = record;
	hand->lens[hand->count++] = len;
	return len;
}

static inline __attribute__((always_inline)) int
deal_block(struct dealing *dealing, enum whi_kind kind, const struct whi_block *block)
{
	int r = 0;

	for (size_t at = 0; at < block->used && r == 0;) {
		at += take(dealing, kind, block->data + at);
		if (dealing->hand.count == HAND)
			r = deal_hand(dealing, kind, HAND);
	}
	return r == 0 ? deal_hand(dealing, kind, (unsigned)dealing->hand.count) : r;
}

static int deal_blocks(struct dealing *dealing, struct whi_qnode **chain, const _Atomic bool *stop)
{
	int r = 0;

	while (*chain && r == 0) {
		struct whi_block *block = whi_container_of(*chain, struct whi_block, node);

		if (atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
		if (block->kind == WHI_SHORT)
			r = deal_block(dealing, WHI_SHORT, block);
		else if (block->kind == WHI_LONG)
			r = deal_block(dealing, WHI_LONG, block);
		else
			r = deal_block(dealing, WHI_PAIR, block);
		*chain = block->node.next;
		whi_pool_put(&dealing->writer->pool, block);
	}
	return r;
}

int whi_slices_deal(struct whi_slices *slices, struct whi_writer *writer, struct whi_part *part,
		    const _Atomic bool *stop)
{
	struct dealing dealing = { .slices = slices, .writer = writer };
	struct whi_qnode *chain = whi_part_take_blocks(part);
	int r = deal_blocks(&dealing, &chain, stop);

	whi_blocks_free(chain);
	for (unsigned i = 0; i < slices->count; i++)
		atomic_fetch_add_explicit(&slices->row_counts[i], dealing.rows[i],
					  memory_order_relaxed);
	return r;
}

struct whi_qnode *whi_slices_take(struct whi_slices *slices, unsigned slice)
{
	return whi_mpsc_take(&slices->to->parts[slice].pending);
}
