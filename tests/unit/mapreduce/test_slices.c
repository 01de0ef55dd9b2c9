/* Rows dealt to slices: each is in one, and slices one after another are all rows in order. Stores
 * are filled as workers fill them, with keys that are made of numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"
#include "mapreduce/output.h"
#include "mapreduce/slices.h"
#include "support/row_text.h"

enum { KEY_BYTES = 64, DEALERS = 3 };

/* How the keys and numbers of a store are made. */
struct shape {
	const char *before; /* the digits of a key */
	unsigned numbers;   /* different ones; 0: all are equal */
	unsigned rows;
	bool pairs; /* whose values are what numbers would be */
	bool equal; /* all pairs are */
};

static size_t key_of(const struct shape *shape, uint64_t i, char key[KEY_BYTES])
{
	uint64_t mixed = shape->equal ? 7 : i * 0x9e3779b97f4a7c15u >> 20;

	return (size_t)snprintf(key, KEY_BYTES, "%s%llu", shape->before, (unsigned long long)mixed);
}

static uint64_t number_of(const struct shape *shape, uint64_t i)
{
	return shape->numbers ? 1 + i * i % shape->numbers : 1;
}

static void add_pair(struct whi_writer *writer, uint32_t hash, const char *key, size_t len,
		     uint64_t number)
{
	char value[24];
	struct whi_pair pair = { .key_len = len & WHI_KEY_MAX, .hash = hash & 0xffffff };
	uint8_t *room;

	pair.value_len = (size_t)snprintf(value, sizeof(value), "%llu", (unsigned long long)number);
	room = whi_writer_room(writer, WHI_PAIR, hash >> 24, whi_pair_bytes(&pair));
	assert_non_null(room);
	memcpy(room, &pair, sizeof(pair));
	memcpy(room + sizeof(pair), key, len);
	memcpy(room + sizeof(pair) + len, value, pair.value_len);
}

static void add_row(struct whi_writer *writer, const struct shape *shape, uint64_t i)
{
	char bytes[KEY_BYTES] = { 0 };
	size_t len = key_of(shape, i, bytes);
	uint32_t hash = (uint32_t)(whi_hash_bytes((uint8_t *)bytes, len) >> 32);
	uint64_t number = number_of(shape, i);
	struct whi_key key;

	memcpy(&key, bytes, sizeof(key));
	if (shape->pairs)
		add_pair(writer, hash, bytes, len, number);
	else if (len <= WHI_SHORT_MAX)
		assert_int_equal(whi_writer_add_short(writer, &key, hash, number), 0);
	else
		assert_int_equal(whi_writer_add_long(writer, hash, (uint8_t *)bytes, len, number),
				 0);
}

static struct whi_store *fill(const struct shape *shape)
{
	struct whi_store *store = whi_store_new();
	struct whi_writer *writer = malloc(sizeof(*writer));
	struct whi_pool pool = { 0 };

	assert_non_null(store);
	whi_writer_init(writer, store);
	for (uint64_t i = 0; i < shape->rows; i++)
		add_row(writer, shape, i);
	whi_writer_flush(writer);
	whi_writer_fini(writer);
	free(writer);
	for (unsigned part = 0; part < WHI_PARTS; part++)
		assert_int_equal(whi_store_reduce(store, part, &pool), 0);
	whi_pool_fini(&pool);
	return store;
}

static struct whi_slices *choose(const struct wh_mr_job *job, const struct whi_store *store,
				 unsigned count)
{
	struct whi_slices *slices;

	assert_int_equal(whi_slices_new(job, store, &slices), 0);
	assert_int_equal(slices->count, 0);
	assert_int_equal(whi_slices_choose(slices, store->parts, WHI_PARTS, count), 0);
	assert_in_range(slices->count, 1, count);
	return slices;
}

/* Deal a store with a dealer for each of some workers. */
static struct whi_slices *deal(const struct wh_mr_job *job, struct whi_store *store, unsigned count)
{
	struct whi_slices *slices = choose(job, store, count);
	struct whi_dealer *dealers[DEALERS];
	const _Atomic bool stop = false;

	for (unsigned i = 0; i < DEALERS; i++) {
		dealers[i] = whi_dealer_new(slices, &stop);
		assert_non_null(dealers[i]);
	}
	for (unsigned part = 0; part < WHI_PARTS; part++) {
		assert_int_equal(whi_dealer_deal(dealers[part % DEALERS], &store->parts[part]), 0);
		assert_int_equal(whi_part_used(&store->parts[part]), 0);
	}
	for (unsigned i = 0; i < DEALERS; i++) {
		assert_int_equal(whi_dealer_end(dealers[i]), 0);
		whi_dealer_free(dealers[i]);
	}
	return slices;
}

/* What a job puts out of slices that are put in an order of their own, the last one first. */
static void put(struct whi_slices *slices, const struct wh_mr_job *job)
{
	_Atomic bool stop = false;
	struct whi_spill spill = { .stop = &stop };
	struct whi_output output = { .job = job, .spill = &spill };
	struct whi_turns turns;

	assert_int_equal(whi_turns_init(&turns, &output, slices->count), 0);
	for (unsigned i = slices->count; i-- > 0;) {
		struct whi_qnode *blocks;
		struct whi_slice slice;

		assert_int_equal(whi_slices_take(slices, i, &blocks), 0);
		assert_int_equal(whi_slice_init(&slice, job, blocks, whi_slices_rows(slices, i)),
				 0);
		assert_int_equal(slice.rows.count, whi_slices_rows(slices, i));
		slice.wanted = slice.rows.count;
		slice.text = whi_turns_text(&turns);
		assert_int_equal(whi_slice_make(&slice, &output), 0);
		assert_int_equal(output.rows, 0);
		assert_int_equal(whi_turns_put(&turns, i, &slice), 0);
		whi_slice_fini(&slice);
	}
	whi_turns_fini(&turns);
}

/* The same, of all rows sorted at once. */
static void put_sorted(const struct shape *shape, const struct wh_mr_job *job)
{
	struct whi_store *store = fill(shape);
	const _Atomic bool stop = false;
	struct whi_slices *slices;
	struct whi_qnode *chain;
	struct whi_rows rows;
	struct wh_mr_row last;

	slices = deal(job, store, 1);
	assert_int_equal(whi_slices_rows(slices, 0), shape->rows);
	assert_int_equal(whi_slices_take(slices, 0, &chain), 0);
	assert_int_equal(whi_rows_init_blocks(&rows, chain, shape->rows, job->value), 0);
	whi_rows_sort(&rows, job, &stop);
	for (size_t i = 0; i < rows.count; i++) {
		struct wh_mr_row row;

		whi_rows_get(&rows, rows.items[i].ref, &row);
		if (i > 0)
			assert_true(whi_row_compare(&last, &row, job->order) <= 0);
		last = row;
		row_text_add(job->arg, &row, 1);
	}
	whi_rows_fini(&rows);
	whi_blocks_free(chain);
	whi_slices_free(slices);
	whi_store_free(store);
}

static uint64_t largest(const struct whi_slices *slices)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < slices->count; i++)
		if (whi_slices_rows(slices, i) > most)
			most = whi_slices_rows(slices, i);
	return most;
}

/* Returns the largest slice, in percent of all rows. */
static unsigned check_slices(const struct shape *shape, enum wh_mr_order order, unsigned count)
{
	struct row_text expected = { .has_values = shape->pairs };
	struct row_text text = { .has_values = shape->pairs };
	struct wh_mr_job job = {
		.value = shape->pairs ? WH_MR_BYTES : WH_MR_SUM,
		.order = order,
		.output = row_text_add,
		.arg = &expected,
	};
	struct whi_store *store = fill(shape);
	struct whi_slices *slices = deal(&job, store, count);
	unsigned percent = shape->rows ? (unsigned)(largest(slices) * 100 / shape->rows) : 0;

	put_sorted(shape, &job);
	job.arg = &text;
	put(slices, &job);
	assert_int_equal(text.rows, shape->rows);
	assert_int_equal(text.len, expected.len);
	if (text.len)
		assert_memory_equal(text.bytes, expected.bytes, text.len);
	row_text_fini(&text);
	row_text_fini(&expected);
	whi_slices_free(slices);
	whi_store_free(store);
	return percent;
}

static void slices_follow_one_another_in_every_order(void **state)
{
	const struct shape shapes[] = {
		{ .before = "w", .rows = 20000, .numbers = 5000 },
		{ .before = "w", .rows = 20000, .numbers = 3 },
		{ .before = "a-word-of-more-than-sixteen-", .rows = 20000, .numbers = 100 },
		{ .before = "pair", .rows = 20000, .numbers = 100, .pairs = true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		for (unsigned count = 2; count <= WHI_PARTS; count *= 8) {
			assert_in_range(check_slices(&shapes[i], WH_MR_BY_VALUE, count), 0,
					250 / count + 2);
			assert_in_range(check_slices(&shapes[i], WH_MR_BY_KEY, count), 0,
					250 / count + 2);
		}
}

static void rows_that_only_their_ends_tell_apart_are_spread(void **state)
{
	const struct shape shape = { .before = "https://example.org/", .rows = 10000 };

	(void)state;
	assert_in_range(check_slices(&shape, WH_MR_BY_KEY, 16), 1, 20);
	assert_in_range(check_slices(&shape, WH_MR_BY_VALUE, 16), 1, 20);
}

static void few_rows_and_none_are_dealt_too(void **state)
{
	(void)state;
	for (unsigned rows = 0; rows < 12; rows++) {
		const struct shape shape = { .before = "w", .rows = rows, .numbers = 4 };
		const struct shape pairs = { .before = "w", .rows = rows, .pairs = true };

		check_slices(&shape, WH_MR_BY_VALUE, WHI_SLICES_MAX);
		check_slices(&shape, WH_MR_BY_KEY, 5);
		check_slices(&pairs, WH_MR_BY_KEY, 5);
	}
}

static void equal_rows_are_in_one_slice(void **state)
{
	const struct shape shape = { .before = "w", .rows = 3000, .pairs = true, .equal = true };

	(void)state;
	assert_int_equal(check_slices(&shape, WH_MR_BY_KEY, 16), 100);
	assert_int_equal(check_slices(&shape, WH_MR_BY_VALUE, 16), 100);
}

/* A row that is a splitter belongs to the slice behind it, one just before it does not. */
static void a_splitter_begins_its_slice(void **state)
{
	const struct shape shape = { .before = "a-word-of-more-than-sixteen-", .rows = 5000 };
	const struct wh_mr_job job = { .value = WH_MR_SUM, .order = WH_MR_BY_KEY };
	struct whi_store *store = fill(&shape);
	struct whi_slices *slices = choose(&job, store, 8);

	(void)state;
	assert_int_equal(slices->count, 8);
	for (unsigned i = 0; i < slices->count - 1; i++) {
		struct wh_mr_row row = slices->rows[i];
		struct whi_rank rank = whi_row_rank(&row, WH_MR_SUM, WH_MR_BY_KEY);

		assert_int_equal(whi_slices_find(slices, &rank, &row), i + 1);
		row.key.len--;
		rank = whi_row_rank(&row, WH_MR_SUM, WH_MR_BY_KEY);
		assert_in_range(whi_slices_find(slices, &rank, &row), 0, i);
	}
	whi_slices_free(slices);
	whi_store_free(store);
}

/* A store with a budget, whose workers deal all they have while memory is short. */
struct short_of_memory {
	struct whi_spill spill;
	_Atomic bool stop;
	struct whi_slices *slices;
};

static void deal_all_short(struct short_of_memory *is, const struct wh_mr_job *job,
			   struct whi_store *store)
{
	struct wh_mr_job budget = *job;
	struct whi_dealer *dealer;

	budget.memory_max = 200 * 1000;
	is->stop = false;
	whi_spill_init(&is->spill, &budget, 1, &is->stop);
	store->spill = &is->spill;
	assert_int_equal(whi_slices_new(job, store, &is->slices), 0);
	is->slices->rows_on_disk = 20000;
	dealer = whi_dealer_new(is->slices, &is->stop);
	for (unsigned part = 0; part < WHI_PARTS; part++)
		assert_int_equal(whi_dealer_deal(dealer, &store->parts[part]), 0);
	assert_int_equal(whi_dealer_end(dealer), 0);
	whi_dealer_free(dealer);
	assert_true(is->slices->spills);
	assert_true(is->spill.file.written > 0);
}

/* Returns how many rows there are in slices up to `slice`, which is not large. */
static uint64_t check_taken(struct short_of_memory *is, unsigned slice)
{
	const uint64_t count = whi_slices_rows(is->slices, slice);
	struct whi_qnode *blocks;
	struct whi_rows rows;

	assert_null(whi_slices_runs(is->slices, slice));
	assert_int_equal(whi_slices_take(is->slices, slice, &blocks), 0);
	assert_int_equal(whi_rows_init_blocks(&rows, blocks, count, WH_MR_SUM), 0);
	assert_int_equal(rows.count, count);
	for (size_t i = 0; i < rows.count; i++) {
		struct wh_mr_row row;
		struct whi_rank rank;

		whi_rows_get(&rows, rows.items[i].ref, &row);
		rank = whi_row_rank(&row, WH_MR_SUM, is->slices->order);
		assert_int_equal(whi_slices_find(is->slices, &rank, &row), slice);
	}
	whi_rows_fini(&rows);
	whi_blocks_free(blocks);
	return count;
}

static void slices_on_disk_hold_what_was_dealt_to_them(void **state)
{
	const struct shape shape = { .before = "w", .rows = 20000, .numbers = 5 };
	const struct wh_mr_job job = { .value = WH_MR_SUM, .order = WH_MR_BY_VALUE };
	struct whi_store *store = fill(&shape);
	struct short_of_memory is;
	uint64_t rows = 0;

	(void)state;
	deal_all_short(&is, &job, store);
	assert_in_range(is.slices->count, 8, WHI_SLICES_MAX);
	for (unsigned i = 0; i < is.slices->count; i++) {
		assert_int_equal(whi_slices_sort_large(is.slices, i), 0);
		if (whi_slices_runs(is.slices, i))
			rows += whi_slices_rows(is.slices, i);
		else
			rows += check_taken(&is, i);
	}
	assert_int_equal(rows, shape.rows);
	/* Nothing is held any more. */
	assert_int_equal(is.spill.budget.held, 0);
	whi_slices_free(is.slices);
	whi_spill_fini(&is.spill);
	store->spill = NULL;
	whi_store_free(store);
}

static void a_stopped_job_deals_no_more(void **state)
{
	const struct shape shape = { .before = "w", .rows = 5000 };
	const struct wh_mr_job job = { .value = WH_MR_SUM, .order = WH_MR_BY_KEY };
	struct whi_store *store = fill(&shape);
	struct whi_slices *slices = choose(&job, store, 4);
	const _Atomic bool stop = true;
	struct whi_dealer *dealer = whi_dealer_new(slices, &stop);

	(void)state;
	assert_non_null(dealer);
	assert_int_equal(whi_dealer_deal(dealer, &store->parts[0]), -ECANCELED);
	whi_dealer_free(dealer);
	whi_slices_free(slices);
	whi_store_free(store);
}

static void failing_allocations_leak_nothing(void **state)
{
	const struct shape shape = { .before = "w", .rows = 5000 };
	const struct wh_mr_job job = { .value = WH_MR_SUM, .order = WH_MR_BY_KEY };
	struct whi_store *store = fill(&shape);
	unsigned failures = 0;
	int r = -ENOMEM;

	(void)state;
	for (uint64_t nth = 1; r == -ENOMEM; nth++) {
		struct whi_slices *slices = NULL;

		whi_alloc_fail_at(nth);
		r = whi_slices_new(&job, store, &slices);
		if (r == 0)
			r = whi_slices_choose(slices, store->parts, WHI_PARTS, 16);
		whi_alloc_fail_at(0);
		failures += r == -ENOMEM;
		whi_slices_free(slices);
	}
	assert_int_equal(r, 0);
	assert_int_equal(failures, 6);
	whi_store_free(store);
}

static int fail_format(void *arg, const struct wh_mr_row *rows, size_t count,
		       struct wh_mr_text *text)
{
	(void)arg;
	(void)rows;
	(void)count;
	(void)text;
	return -EPROTO;
}

static int never(void *arg, const void *bytes, size_t len)
{
	(void)arg;
	(void)bytes;
	(void)len;
	fail();
	return 0;
}

static void an_error_ends_all_turns(void **state)
{
	const struct shape shape = { .before = "w", .rows = 100 };
	const struct wh_mr_job job = {
		.value = WH_MR_SUM, .order = WH_MR_BY_KEY, .format = fail_format, .write = never
	};
	struct whi_store *store = fill(&shape);
	struct whi_slices *slices = deal(&job, store, 1);
	_Atomic bool stop = false;
	struct whi_spill spill = { .stop = &stop };
	struct whi_output output = { .job = &job, .spill = &spill };
	struct whi_slice slice, empty = { 0 };
	struct whi_qnode *blocks;
	struct whi_turns turns;

	(void)state;
	assert_int_equal(whi_turns_init(&turns, &output, 2), 0);
	assert_int_equal(whi_slices_take(slices, 0, &blocks), 0);
	assert_int_equal(whi_slice_init(&slice, &job, blocks, shape.rows), 0);
	slice.wanted = slice.rows.count;
	assert_int_equal(whi_slice_make(&slice, &output), -EPROTO);
	assert_int_equal(whi_turns_put(&turns, 1, &empty), 0);
	assert_int_equal(whi_turns_fail(&turns, -EPROTO), -EPROTO);
	assert_int_equal(whi_turns_fail(&turns, -EIO), -EPROTO);
	/* Far ahead of its turn, and still nobody waits. */
	assert_int_equal(whi_turns_put(&turns, 1000, &empty), -EPROTO);
	whi_slice_fini(&slice);
	whi_turns_fini(&turns);
	whi_slices_free(slices);
	whi_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_follow_one_another_in_every_order),
		cmocka_unit_test(rows_that_only_their_ends_tell_apart_are_spread),
		cmocka_unit_test(few_rows_and_none_are_dealt_too),
		cmocka_unit_test(equal_rows_are_in_one_slice),
		cmocka_unit_test(a_splitter_begins_its_slice),
		cmocka_unit_test(slices_on_disk_hold_what_was_dealt_to_them),
		cmocka_unit_test(a_stopped_job_deals_no_more),
		cmocka_unit_test(failing_allocations_leak_nothing),
		cmocka_unit_test(an_error_ends_all_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
