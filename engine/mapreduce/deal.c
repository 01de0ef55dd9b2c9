/* Owns the way of rows into slices, and out of them again.
 *
 * 1. A block of a part is freed, or filled again, once its rows have been dealt.
 * 2. Open blocks and those on shelves are in the budget; what is taken from there is not.
 * 3. A shelf is written under its claim; nothing is in memory and on disk.
 * 4. Large slices become runs before any row is put out: after that, nothing is written. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "mapreduce/slices.h"
#include "mapreduce/sorter.h"

enum {
	ITEM_BYTES = sizeof(struct whi_item),	    /* what sorting needs for a row besides */
	RECORD_BYTES = sizeof(struct whi_long) + 4, /* that a row has in memory and not on disk */
};

/* The open block of a slice. */
struct open {
	uint8_t *at; /* where the next record goes */
	uint8_t *end;
	struct whi_block *block;
};

/* Some records, looked up together. */
struct hand {
	unsigned count;
	struct whi_rank ranks[WHI_HAND];
	const void *records[WHI_HAND];
	size_t lens[WHI_HAND];
};

struct whi_dealer {
	struct whi_slices *slices;
	const _Atomic bool *stop;
	struct whi_pool pool;
	struct open *open; /* of each slice, kind by kind; NULL until slices are chosen */
	uint64_t *rows;	   /* dealt to each of them */
	struct hand hand;
};

/* Memory */

static uint64_t chain_bytes(const struct whi_qnode *chain)
{
	uint64_t bytes = 0;

	for (; chain; chain = chain->next)
		bytes += whi_block_bytes(
			whi_container_of((struct whi_qnode *)chain, struct whi_block, node));
	return bytes;
}

static void hold(struct whi_slices *slices, int64_t bytes)
{
	if (slices->spill)
		whi_budget_add(&slices->spill->budget, bytes);
}

/* What is in memory of a slice, the caller's from now on. */
static struct whi_qnode *take_blocks(struct whi_slices *slices, struct whi_shelf *shelf)
{
	struct whi_qnode *chain = whi_mpsc_take(&shelf->blocks);
	const uint64_t bytes = chain_bytes(chain);

	atomic_fetch_sub_explicit(&shelf->bytes, bytes, memory_order_relaxed);
	hold(slices, -(int64_t)bytes);
	return chain;
}

/* Write what is in memory of a shelf that the caller has claimed. Its blocks go to `pool`. */
static int write_shelf(struct whi_slices *slices, struct whi_shelf *shelf, struct whi_pool *pool)
{
	struct whi_qnode *chain = take_blocks(slices, shelf);
	int r = whi_spill_chain(slices->spill, &shelf->stream, chain);

	while (chain) {
		struct whi_qnode *next = chain->next;

		whi_pool_put(pool, whi_container_of(chain, struct whi_block, node));
		chain = next;
	}
	return r;
}

/* The shelf that holds most and that nobody has, now ours. NULL if there is nothing to gain. */
static struct whi_shelf *claim_largest(struct whi_slices *slices)
{
	for (;;) {
		struct whi_shelf *best = NULL;
		uint64_t most = 0;

		for (unsigned i = 0; i < slices->count; i++) {
			struct whi_shelf *shelf = &slices->shelves[i];
			uint64_t bytes = atomic_load_explicit(&shelf->bytes, memory_order_relaxed);

			if (bytes <= most ||
			    atomic_load_explicit(&shelf->claimed, memory_order_relaxed))
				continue;
			best = shelf;
			most = bytes;
		}
		if (!best || !atomic_exchange_explicit(&best->claimed, true, memory_order_acquire))
			return best;
	}
}

/* Sooner than while mapping: the tables of the last pass are held besides. */
static bool is_over(const struct whi_budget *budget)
{
	return atomic_load_explicit(&budget->held, memory_order_relaxed) >
	       (int64_t)(budget->max / 4);
}

static int relieve(struct whi_slices *slices, struct whi_pool *pool)
{
	int r = 0;

	while (r == 0 && is_over(&slices->spill->budget)) {
		struct whi_shelf *shelf = claim_largest(slices);

		if (!shelf)
			return 0;
		r = write_shelf(slices, shelf, pool);
		atomic_store_explicit(&shelf->claimed, false, memory_order_release);
	}
	return r;
}

/* Dealing */

struct whi_dealer *whi_dealer_new(struct whi_slices *slices, const _Atomic bool *stop)
{
	struct whi_dealer *dealer = whi_calloc(1, sizeof(*dealer));

	if (!dealer)
		return NULL;
	dealer->slices = slices;
	dealer->stop = stop;
	return dealer;
}

void whi_dealer_free(struct whi_dealer *dealer)
{
	const unsigned count = dealer && dealer->open ? dealer->slices->count * WHI_KINDS : 0;

	if (!dealer)
		return;
	for (unsigned i = 0; i < count; i++)
		whi_free(dealer->open[i].block);
	whi_pool_fini(&dealer->pool);
	whi_free(dealer->open);
	whi_free(dealer->rows);
	whi_free(dealer);
}

/* So many slices that each can be sorted in memory, if keys that are still on disk are like those
 * of `part`. */
static unsigned slices_for(const struct whi_slices *slices, const struct whi_part *part)
{
	const uint64_t rows = whi_part_rows(part, slices->job->value);
	const uint64_t row_bytes = rows ? whi_part_used(part) / rows + 1 + ITEM_BYTES : 0;
	const uint64_t bytes = slices->rows_on_disk * row_bytes + slices->bytes_expected;
	const uint64_t count = bytes / whi_spill_slice_bytes(slices->spill) + 1;
	const unsigned most = whi_spill_slices_max(slices->spill, WHI_SLICES_MAX);

	return count < most ? (unsigned)count : most;
}

/* Under the lock. */
static int choose_by(struct whi_slices *slices, const struct whi_part *part)
{
	int r = whi_slices_choose(slices, part, 1, slices_for(slices, part));

	if (r < 0)
		return r;
	slices->spills = true;
	slices->block_room = whi_spill_slice_room(slices->spill, slices->count);
	/* All that will ever be needed at once: memory that is cut up into such blocks is of no use
	 * for tables any more. */
	slices->pool_most = SIZE_MAX;
	return 0;
}

static int begin(struct whi_dealer *dealer, const struct whi_part *part)
{
	struct whi_slices *slices = dealer->slices;
	int r = 0;

	pthread_mutex_lock(&slices->lock);
	if (!slices->count)
		r = choose_by(slices, part);
	pthread_mutex_unlock(&slices->lock);
	if (r < 0)
		return r;
	dealer->pool.room = slices->block_room;
	dealer->pool.most = slices->pool_most;
	dealer->rows = whi_calloc(slices->count, sizeof(*dealer->rows));
	dealer->open = whi_calloc((size_t)slices->count * WHI_KINDS, sizeof(*dealer->open));
	return dealer->rows && dealer->open ? 0 : -ENOMEM;
}

/* Put the open block onto its shelf, if there is one. */
static int shelve(struct whi_dealer *dealer, enum whi_kind kind, unsigned slice)
{
	struct whi_slices *slices = dealer->slices;
	struct open *open = &dealer->open[kind * slices->count + slice];
	struct whi_shelf *shelf = &slices->shelves[slice];
	struct whi_block *block = open->block;

	if (!block)
		return 0;
	block->used = (size_t)(open->at - block->data);
	*open = (struct open){ NULL, NULL, NULL };
	atomic_fetch_add_explicit(&shelf->bytes, whi_block_bytes(block), memory_order_relaxed);
	whi_mpsc_push(&shelf->blocks, &block->node);
	return slices->spills ? relieve(slices, &dealer->pool) : 0;
}

static int open_block(struct whi_dealer *dealer, enum whi_kind kind, unsigned slice, size_t len)
{
	struct open *open = &dealer->open[kind * dealer->slices->count + slice];
	int r = shelve(dealer, kind, slice);

	if (r < 0)
		return r;
	open->block = whi_pool_take(&dealer->pool, kind, len);
	if (!open->block)
		return -ENOMEM;
	hold(dealer->slices, (int64_t)whi_block_bytes(open->block));
	open->at = open->block->data;
	open->end = open->at + open->block->room;
	return 0;
}

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
static inline int deal_one(struct whi_dealer *dealer, enum whi_kind kind, size_t i, unsigned slice)
{
	const struct whi_slices *slices = dealer->slices;
	const struct hand *hand = &dealer->hand;
	const size_t len = hand->lens[i];
	struct open *open;
	int r = 0;

	if (whi_unlikely(whi_slices_is_tied(slices, slice, &hand->ranks[i]))) {
		struct wh_mr_row row;

		row_of(kind, hand->records[i], &row);
		slice = whi_slices_find(slices, &hand->ranks[i], &row);
	}
	open = &dealer->open[kind * slices->count + slice];
	if (whi_unlikely((size_t)(open->end - open->at) < len))
		r = open_block(dealer, kind, slice, len);
	if (r < 0)
		return r;
	copy_record(kind, open->at, hand->records[i], len);
	open->at += len;
	dealer->rows[slice]++;
	return 0;
}

static inline __attribute__((always_inline)) int deal_hand(struct whi_dealer *dealer,
							   enum whi_kind kind)
{
	const unsigned count = dealer->hand.count;
	unsigned found[WHI_HAND];
	int r = 0;

	whi_slices_find_ranks(dealer->slices, dealer->hand.ranks, count, found);
	for (unsigned i = 0; i < count && r == 0; i++)
		r = deal_one(dealer, kind, i, found[i]);
	dealer->hand.count = 0;
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
static inline size_t take(struct whi_dealer *dealer, enum whi_kind kind, const void *record)
{
	const struct whi_slices *slices = dealer->slices;
	struct hand *hand = &dealer->hand;
	struct wh_mr_row row;
	size_t len = sizeof(struct whi_short);

	if (kind == WHI_SHORT) {
		/* Those without a key: see whi_part_fold_wide. */
		if (whi_unlikely(!((const struct whi_short *)record)->low))
			return len;
		hand->ranks[hand->count] = rank_of_short(record, slices->order);
	} else {
		len = row_of(kind, record, &row);
		hand->ranks[hand->count] = whi_row_rank(&row, slices->job->value, slices->order);
	}
	hand->records[hand->count] = record;
	hand->lens[hand->count++] = len;
	return len;
}

static inline __attribute__((always_inline)) int
deal_block(struct whi_dealer *dealer, enum whi_kind kind, const struct whi_block *block)
{
	int r = 0;

	for (size_t at = 0; at < block->used && r == 0;) {
		at += take(dealer, kind, block->data + at);
		if (dealer->hand.count == WHI_HAND)
			r = deal_hand(dealer, kind);
	}
	return r == 0 ? deal_hand(dealer, kind) : r;
}

static int deal_blocks(struct whi_dealer *dealer, struct whi_qnode **chain)
{
	int r = 0;

	while (*chain && r == 0) {
		struct whi_block *block = whi_container_of(*chain, struct whi_block, node);

		if (atomic_load_explicit(dealer->stop, memory_order_relaxed))
			return -ECANCELED;
		if (block->kind == WHI_SHORT)
			r = deal_block(dealer, WHI_SHORT, block);
		else if (block->kind == WHI_LONG)
			r = deal_block(dealer, WHI_LONG, block);
		else
			r = deal_block(dealer, WHI_PAIR, block);
		*chain = block->node.next;
		whi_pool_put(&dealer->pool, block);
	}
	return r;
}

int whi_dealer_deal(struct whi_dealer *dealer, struct whi_part *part)
{
	struct whi_qnode *chain;
	int r;

	/* Nothing can be chosen by no rows. */
	if (!dealer->open && whi_part_rows(part, dealer->slices->job->value) == 0)
		return 0;
	r = dealer->open ? 0 : begin(dealer, part);
	if (r < 0)
		return r;
	chain = whi_part_take_blocks(part);
	r = deal_blocks(dealer, &chain);
	whi_blocks_free(chain);
	return r;
}

int whi_dealer_end(struct whi_dealer *dealer)
{
	struct whi_slices *slices = dealer->slices;
	int r = 0;

	if (!dealer->open)
		return 0;
	for (unsigned kind = 0; kind < WHI_KINDS; kind++)
		for (unsigned i = 0; i < slices->count && r == 0; i++)
			r = shelve(dealer, (enum whi_kind)kind, i);
	for (unsigned i = 0; i < slices->count; i++)
		atomic_fetch_add_explicit(&slices->shelves[i].rows, dealer->rows[i],
					  memory_order_relaxed);
	return r;
}

/* Taking */

static bool is_large(const struct whi_slices *slices, unsigned slice)
{
	const struct whi_shelf *shelf = &slices->shelves[slice];
	const struct whi_stream *stream = &shelf->stream;

	return slices->spills && atomic_load(&shelf->bytes) + stream->bytes +
						 stream->records * RECORD_BYTES +
						 whi_slices_rows(slices, slice) * ITEM_BYTES >
					 slices->spill->pass_bytes;
}

static int sort_row(void *arg, const struct wh_mr_row *row)
{
	return whi_sorter_add(arg, row);
}

int whi_slices_sort_large(struct whi_slices *slices, unsigned slice)
{
	struct whi_shelf *shelf = &slices->shelves[slice];
	struct whi_spill *spill = slices->spill;
	enum wh_mr_order order = slices->job->order;
	struct whi_pool pool = { .most = 1 };
	struct whi_sorter sorter;
	int r;

	if (!is_large(slices, slice))
		return 0;
	r = write_shelf(slices, shelf, &pool);
	whi_pool_fini(&pool);
	whi_sorter_init(&sorter, spill, slices->job, order, &shelf->runs);
	if (r == 0)
		r = whi_spill_read(spill, &shelf->stream, sort_row, &sorter);
	if (r == 0)
		r = whi_sorter_end(&sorter);
	whi_sorter_fini(&sorter);
	whi_stream_fini(&shelf->stream);
	if (r == 0)
		r = whi_runs_merge(&shelf->runs, order, whi_spill_fan_in(spill),
				   slices->job->rows_max, spill);
	return r;
}

const struct whi_runs *whi_slices_runs(const struct whi_slices *slices, unsigned slice)
{
	const struct whi_runs *runs = &slices->shelves[slice].runs;

	return runs->count ? runs : NULL;
}

static int keep_row(void *arg, const struct wh_mr_row *row)
{
	return whi_sorter_keep(arg, row);
}

int whi_slices_take(struct whi_slices *slices, unsigned slice, struct whi_qnode **ret)
{
	struct whi_shelf *shelf = &slices->shelves[slice];
	struct whi_sorter sorter = { .spill = slices->spill };
	struct whi_qnode **last = ret;
	int r = 0;

	if (shelf->stream.count)
		r = whi_spill_read(slices->spill, &shelf->stream, keep_row, &sorter);
	if (r == 0)
		*ret = whi_part_take_blocks(&sorter.part);
	whi_sorter_fini(&sorter);
	whi_stream_fini(&shelf->stream);
	if (r < 0)
		return r;
	while (*last)
		last = &(*last)->next;
	*last = take_blocks(slices, shelf);
	return 0;
}
