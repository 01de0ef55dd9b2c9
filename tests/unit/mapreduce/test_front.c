/* The front table alone: when it is flushed, and what comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "mapreduce/front.h"

enum { L2_BYTES = 1 << 20 };

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

	assert_int_equal(whi_front_flush(world->front), 0);
	whi_writer_flush(&world->writer);
	for (unsigned i = 0; i < WHI_PARTS; i++) {
		const struct whi_part *part = &world->store->parts[i];

		assert_int_equal(whi_store_reduce(world->store, i), 0);
		keys += whi_part_keys(part);
		for (uint32_t chunk = 0; chunk < part->shorts.chunk_count; chunk++)
			total += sum_of(part->shorts.chunks[chunk]);
	}
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
