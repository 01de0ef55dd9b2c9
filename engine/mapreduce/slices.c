/* Owns where slices begin.
 *
 * 1. Splitters ascend strictly: a row that is equal to one belongs to the slice behind it, so equal
 *    rows are in one slice.
 * 2. A splitter's bytes are its own, since the partition that it was found in is emptied. */
#include "mapreduce/slices.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"

enum {
	SAMPLES_A_SLICE = 32,
	SAMPLES_A_PART = 32,	  /* at least */
	PLACES_MAX = 256,	  /* in a part, to take samples from */
	SPLITTER_MAX = 64 * 1024, /* longer rows are none */
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

unsigned whi_slices_find(const struct whi_slices *slices, const struct whi_rank *rank,
			 const struct wh_mr_row *row)
{
	unsigned slice;

	ranks_before(slices->ranks, slices->count - 1, rank, 1, &slice);
	if (whi_slices_is_tied(slices, slice, rank))
		return find_among_equals(slices, slice, rank, row);
	return slice;
}

void whi_slices_find_ranks(const struct whi_slices *slices, const struct whi_rank *ranks,
			   unsigned count, unsigned *ret)
{
	/* Most come in hands of this many, which the compiler then goes through at once. */
	if (count == WHI_HAND)
		ranks_before(slices->ranks, slices->count - 1, ranks, WHI_HAND, ret);
	else
		ranks_before(slices->ranks, slices->count - 1, ranks, count, ret);
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
	slices->ranks[last] = whi_row_rank(row, slices->job->value, slices->order);
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

static size_t count_blocks(const struct whi_part *part)
{
	size_t count = part->shorts.chunk_count + part->longs.chunk_count;

	for (const struct whi_qnode *node = part->results ? part->results : part->pairs; node;
	     node = node->next)
		count++;
	return count;
}

/* `most` rows of a part, from all over it. */
static void sample_part(struct whi_rows *sample, const struct whi_part *part, size_t most)
{
	size_t places = count_blocks(part);

	places = places < PLACES_MAX ? places : PLACES_MAX;
	for (size_t i = 0; i < places; i++)
		whi_rows_sample(sample, part, (unsigned)(i * 256 / places), most / places + 1);
}

static int choose_splitters(struct whi_slices *slices, const struct whi_part *parts,
			    unsigned part_count, unsigned count)
{
	const struct wh_mr_job job = { .order = slices->order, .value = slices->job->value };
	const _Atomic bool stop = false;
	struct whi_rows sample = { .value = job.value };
	size_t most = (size_t)count * SAMPLES_A_SLICE / part_count;
	int r = 0;

	most = most < SAMPLES_A_PART ? SAMPLES_A_PART : most;
	sample.items = whi_alloc((part_count * most + PLACES_MAX) * sizeof(*sample.items));
	if (!sample.items)
		return -ENOMEM;
	/* What came at a time may be alike: another time for each partition. */
	for (unsigned i = 0; i < part_count && part_count > 1; i++)
		whi_rows_sample(&sample, &parts[i], i, most);
	if (part_count == 1)
		sample_part(&sample, parts, most);
	whi_rows_sort(&sample, &job, &stop);
	if (sample.count > 0)
		r = copy_splitters(slices, &sample, count);
	whi_rows_fini(&sample);
	return r;
}

static int make_shelves(struct whi_slices *slices)
{
	const size_t bytes = slices->count * sizeof(*slices->shelves);

	slices->shelves = whi_aligned_alloc(alignof(struct whi_shelf), bytes);
	if (!slices->shelves)
		return -ENOMEM;
	memset(slices->shelves, 0, bytes);
	for (unsigned i = 0; i < slices->count && slices->spill; i++)
		slices->shelves[i].stream = whi_spill_stream(slices->spill);
	return 0;
}

static void free_splitters(struct whi_slices *slices)
{
	whi_free(slices->ranks);
	whi_free(slices->rows);
	whi_free(slices->bytes);
	slices->ranks = NULL;
	slices->rows = NULL;
	slices->bytes = NULL;
	slices->count = 0;
}

int whi_slices_choose(struct whi_slices *slices, const struct whi_part *parts, unsigned part_count,
		      unsigned count)
{
	int r = -ENOMEM;

	whi_assert(count >= 1 && count <= WHI_SLICES_MAX && !slices->count);
	slices->ranks = whi_calloc(count, sizeof(*slices->ranks));
	slices->rows = whi_calloc(count, sizeof(*slices->rows));
	slices->count = 1;
	if (slices->ranks && slices->rows)
		r = count > 1 ? choose_splitters(slices, parts, part_count, count) : 0;
	if (r == 0)
		r = make_shelves(slices);
	if (r < 0)
		free_splitters(slices);
	return r;
}

int whi_slices_new(const struct wh_mr_job *job, const struct whi_store *store,
		   struct whi_slices **ret)
{
	struct whi_slices *slices = whi_calloc(1, sizeof(*slices));

	if (!slices)
		return -ENOMEM;
	slices->job = job;
	slices->order = job->order == WH_MR_UNORDERED ? WH_MR_BY_KEY : job->order;
	slices->spill = store->spill;
	slices->block_room = store->block_room;
	slices->pool_most = store->pool_most;
	pthread_mutex_init(&slices->lock, NULL);
	*ret = slices;
	return 0;
}

void whi_slices_free(struct whi_slices *slices)
{
	if (!slices)
		return;
	for (unsigned i = 0; slices->shelves && i < slices->count; i++) {
		struct whi_shelf *shelf = &slices->shelves[i];

		whi_blocks_free(whi_mpsc_take(&shelf->blocks));
		whi_stream_fini(&shelf->stream);
		whi_runs_fini(&shelf->runs);
	}
	whi_free(slices->shelves);
	free_splitters(slices);
	pthread_mutex_destroy(&slices->lock);
	whi_free(slices);
}
