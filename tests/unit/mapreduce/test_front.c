/* The front table alone: when it is flushed, and what comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "arch/cpu.h"
#include "mapreduce/hash.h"
#include "mapreduce/spill.h"
#include "mapreduce/words.h"

enum { L2_BYTES = 4 << 20 };

struct world {
	struct whi_store *store;
	struct whi_writer writer;
	struct whi_front *front;
};

static int open_world(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	world->store = whi_store_new();
	whi_writer_init(&world->writer, world->store);
	world->front = whi_front_new(&world->writer, L2_BYTES);
	*state = world;
	return !world->store || !world->front;
}

static int close_world(void **state)
{
	struct world *world = *state;

	whi_front_free(world->front);
	whi_writer_fini(&world->writer);
	whi_store_free(world->store);
	free(world);
	return 0;
}

/* Spread over partitions and places alike. */
static uint64_t hash_of(uint64_t number)
{
	return number * 0x9e3779b97f4a7c15u;
}

static void count_once(struct whi_front *front, uint64_t number, uint64_t hash)
{
	whi_front_reserve(front, 1);
	front->ids[0] = whi_front_find(front, number, 0, hash);
	whi_front_bump(front, 1);
}

static uint64_t sum_of(const struct whi_block *block)
{
	const struct whi_short *records = (const void *)block->data;
	uint64_t sum = 0;

	for (size_t i = 0; i < block->used / sizeof(*records); i++)
		sum += records[i].count;
	return sum;
}

/* The sum of all short counts once everything is merged. */
static uint64_t total_of(struct world *world, uint64_t *ret_keys)
{
	uint64_t total = 0, keys = 0;
	struct whi_pool pool = { 0 };

	assert_int_equal(whi_front_flush(world->front), 0);
	whi_writer_flush(&world->writer);
	for (unsigned i = 0; i < WHI_PARTS; i++) {
		const struct whi_part *part = &world->store->parts[i];

		assert_int_equal(whi_store_reduce(world->store, i, &pool), 0);
		keys += whi_part_keys(part);
		for (uint32_t chunk = 0; chunk < part->shorts.chunk_count; chunk++)
			total += sum_of(part->shorts.chunks[chunk]);
	}
	whi_pool_fini(&pool);
	*ret_keys = keys;
	return total;
}

static void a_full_table_is_flushed_and_nothing_lost(void **state)
{
	enum { KEYS = 100000, ROUNDS = 3 };
	struct world *world = *state;
	uint64_t keys;

	for (unsigned round = 0; round < ROUNDS; round++)
		for (uint64_t number = 1; number <= KEYS; number++)
			count_once(world->front, number, hash_of(number));
	assert_int_equal(total_of(world, &keys), (uint64_t)KEYS * ROUNDS);
	assert_int_equal(keys, KEYS);
}

/* 32-bit counts: without the flush, the word would come to (limit + 10) modulo 2^32. */
static void counts_do_not_overflow(void **state)
{
	struct world *world = *state;
	struct whi_front *front = world->front;
	uint64_t keys;

	count_once(front, 1, hash_of(1));
	front->counts[1] = UINT32_MAX - 1;
	front->words = UINT32_MAX - 1;
	for (unsigned i = 0; i < 10; i++)
		count_once(front, 1, hash_of(1));
	assert_int_equal(total_of(world, &keys), (uint64_t)UINT32_MAX - 1 + 10);
	assert_int_equal(keys, 1);
}

static void keys_that_share_a_first_place_are_all_found(void **state)
{
	enum { KEYS = 50 };
	struct world *world = *state;
	struct whi_front *front = world->front;
	uint64_t keys;

	/* Also at the end of the index, where places wrap. */
	for (unsigned round = 1; round <= 20; round++)
		for (uint64_t number = 1; number <= KEYS; number++)
			for (unsigned times = 0; times < number * round % 7; times++)
				count_once(front, number, UINT64_MAX);
	for (uint64_t number = 1; number <= KEYS; number++) {
		uint64_t expected = 0;
		uint16_t id = whi_front_find(front, number, 0, UINT64_MAX);

		for (unsigned round = 1; round <= 20; round++)
			expected += number * round % 7;
		assert_int_equal(front->counts[id], expected);
	}
	total_of(world, &keys);
	assert_int_equal(keys, KEYS);
}

static void the_most_frequent_key_gets_the_first_place(void **state)
{
	struct world *world = *state;
	struct whi_front *front = world->front;
	const uint64_t hash = hash_of(1);

	count_once(front, 1, hash);
	for (unsigned i = 0; i < 3; i++)
		count_once(front, 2, hash);
	assert_int_equal(front->keys[front->index[whi_front_place(hash)]].low, 2);
}

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* What a search for a key that is not there may have to look at. */
static uint32_t longest_run(const struct whi_front *front)
{
	uint32_t longest = 0, run = 0;

	for (uint32_t place = 0; place < UINT32_C(1) << WHI_FRONT_INDEX_BITS; place++) {
		run = front->index[place] ? run + 1 : 0;
		longest = run > longest ? run : longest;
	}
	return longest;
}

static uint32_t distinct_hashes(struct whi_front *front)
{
	uint32_t distinct = 0;

	qsort(front->hashes + 1, front->used, sizeof(*front->hashes), ascending);
	for (uint32_t id = 1; id <= front->used; id++)
		distinct += id == 1 || front->hashes[id] != front->hashes[id - 1];
	return distinct;
}

/* Keys that differ in the four bytes at `places` only, to a kernel. */
static void count_keys(struct whi_front *front, const struct whi_words_kernel *kernel,
		       const uint8_t *places, uint32_t from, uint32_t count)
{
	static struct whi_key keys[WHI_REGION_BYTES / sizeof(struct whi_key)];

	for (uint32_t i = 0; i < count; i++) {
		uint32_t number = (from + i) * 0x9e3779b1u;

		memset(&keys[i], 'x', sizeof(keys[i]));
		for (unsigned byte = 0; byte < 4; byte++)
			((uint8_t *)&keys[i])[places[byte]] = number >> 8 * byte & 0xff;
		front->shorts.start[i] = (uint16_t)(i * sizeof(keys[i]));
		front->shorts.len[i] = WHI_SHORT_MAX;
	}
	front->shorts.count = count;
	whi_front_reserve(front, count);
	kernel->count(front, (const void *)keys);
}

/* Of 32 bits; by chance, 50,000 numbers have 0.3 pairs in common. */
static void keys_that_differ_in_four_bytes_have_hashes_of_their_own(void **state)
{
	enum { KEYS = 50 * 1000, BATCH = 1000 };
	/* What AES mixes in one round, neighbours, and bytes of both halves. */
	static const uint8_t places[][4] = {
		{ 0, 5, 10, 15 }, { 3, 4, 9, 14 }, { 0, 1, 2, 3 }, { 8, 9, 10, 11 }, { 0, 4, 8, 12 }
	};
	struct whi_front *front = ((struct world *)*state)->front;
	const uint64_t seed = whi_hash_seed();

	for (size_t i = 0; whi_words_kernels[i]; i++) {
		if (whi_words_kernels[i]->needs & ~whi_cpu_features())
			continue;
		for (size_t which = 0; which < sizeof(places) / sizeof(places[0]); which++) {
			whi_hash_adopt(which + 1);
			for (uint32_t at = 0; at < KEYS; at += BATCH)
				count_keys(front, whi_words_kernels[i], places[which], at, BATCH);
			assert_int_equal(front->used, KEYS);
			assert_true(longest_run(front) < 500);
			assert_true(distinct_hashes(front) > KEYS - 10);
			assert_int_equal(whi_front_flush(front), 0);
		}
	}
	whi_hash_adopt(seed);
}

/* A place in a block that has been given away says nothing about the next one. */
static void long_keys_are_found_in_open_blocks_only(void **state)
{
	static const uint8_t key[] = "a key of more than sixteen bytes";
	struct world *world = *state;
	const uint32_t recent = world->front->long_count;

	for (unsigned round = 1; round <= 3; round++) {
		for (unsigned i = 0; i < 5; i++)
			whi_front_add_long(world->front, key, sizeof(key), 7);
		assert_int_equal(world->front->long_count, recent + round);
		whi_writer_flush(&world->writer);
	}
	for (unsigned part = 0; part < WHI_PARTS; part++) {
		const struct whi_table *longs = &world->store->parts[part].longs;

		assert_int_equal(whi_store_reduce(world->store, part, &world->writer.pool), 0);
		if (longs->used)
			assert_int_equal(((struct whi_long *)(void *)longs->chunks[0]->data)->count,
					 3 * 5 * 7);
	}
}

/* Blocks have run out of turns: nothing is found, and nothing lost. */
static void without_a_turn_no_long_key_is_found(void **state)
{
	static const uint8_t key[] = "a key of more than sixteen bytes";
	struct world *world = *state;
	uint64_t keys;

	for (unsigned part = 0; part < WHI_PARTS; part++)
		world->writer.turns[part] = WHI_TURN_LAST;
	for (unsigned round = 0; round < 3; round++) {
		world->front->long_count = 0;
		for (unsigned i = 0; i < 5; i++)
			whi_front_add_long(world->front, key, sizeof(key), 1);
		assert_int_equal(world->front->long_count, round == 0 ? 1 : 5);
		whi_writer_flush(&world->writer);
	}
	assert_int_equal(total_of(world, &keys), 0);
	assert_int_equal(keys, 1);
}

/* Write `count` records of one partition with the numbers from `first` on, of `kinds` kinds.
 * Returns how much is pending before its next merge. */
static uint64_t pace_after(struct world *world, uint64_t first, uint64_t count, uint64_t kinds)
{
	for (uint64_t i = 0; i < count; i++) {
		const struct whi_key key = { first + i % kinds, 1 };
		uint32_t hash = (uint32_t)(hash_of(key.low) >> 40);

		assert_int_equal(whi_writer_add_short(&world->writer, &key, hash, 1), 0);
	}
	return atomic_load(&world->store->parts[0].merge_bytes);
}

static void new_keys_are_merged_seldom_and_known_ones_soon(void **state)
{
	enum { FEW = 100, RECORDS = 200 * 1000 };
	struct world *world = *state;
	const struct whi_table *table = &world->store->parts[0].shorts;
	uint64_t pace;

	assert_int_equal(pace_after(world, 1, RECORDS, FEW), WHI_MERGE_BYTES_FIRST);
	assert_int_equal(pace_after(world, 1, RECORDS / 3, RECORDS), WHI_MERGE_BYTES_MOST);
	/* As much as there is in the table, once that is more. */
	pace = pace_after(world, 1, RECORDS, RECORDS);
	assert_true(pace > WHI_MERGE_BYTES_MOST);
	assert_int_equal(pace, table->bytes);
}

static void what_merging_makes_small_is_not_spilled(void **state)
{
	enum { KEYS = 1000, RECORDS = 1000 * 1000, MEMORY = 16 << 20 };
	const struct wh_mr_job job = { .memory_max = MEMORY };
	struct world *world = *state;
	_Atomic bool stop = false;
	struct whi_spill spill;

	whi_spill_init(&spill, &job, 1, &stop);
	world->store->spill = &spill;
	for (uint64_t i = 0; i < RECORDS; i++) {
		const struct whi_key key = { i % KEYS + 1, 0 };
		uint32_t hash = (uint32_t)(hash_of(key.low) >> 32);

		assert_int_equal(whi_writer_add_short(&world->writer, &key, hash, 1), 0);
	}
	assert_true(RECORDS * sizeof(struct whi_short) > MEMORY);
	assert_true(atomic_load(&spill.budget.held) <= MEMORY / 2);
	assert_int_equal(atomic_load(&spill.spills), 0);
	world->store->spill = NULL;
	whi_spill_fini(&spill);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_full_table_is_flushed_and_nothing_lost,
						open_world, close_world),
		cmocka_unit_test_setup_teardown(counts_do_not_overflow, open_world, close_world),
		cmocka_unit_test_setup_teardown(keys_that_share_a_first_place_are_all_found,
						open_world, close_world),
		cmocka_unit_test_setup_teardown(the_most_frequent_key_gets_the_first_place,
						open_world, close_world),
		cmocka_unit_test_setup_teardown(
			keys_that_differ_in_four_bytes_have_hashes_of_their_own, open_world,
			close_world),
		cmocka_unit_test_setup_teardown(long_keys_are_found_in_open_blocks_only, open_world,
						close_world),
		cmocka_unit_test_setup_teardown(without_a_turn_no_long_key_is_found, open_world,
						close_world),
		cmocka_unit_test_setup_teardown(new_keys_are_merged_seldom_and_known_ones_soon,
						open_world, close_world),
		cmocka_unit_test_setup_teardown(what_merging_makes_small_is_not_spilled, open_world,
						close_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
