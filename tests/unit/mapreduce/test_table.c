/* The tables of partitions: what is added is found again, whatever has grown meanwhile.
 *
 * Keys are numbers, long ones followed by as many bytes as their length asks for; each is added
 * several times, in blocks as the store sends them, and the counts in the table's own blocks are
 * compared with what is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"
#include "mapreduce/table.h"

enum { LONGEST = 300 };

static uint32_t hash_of(uint64_t number)
{
	return (uint32_t)(number * 0x9e3779b97f4a7c15u >> 40);
}

static struct whi_short short_of(uint64_t number, uint32_t hash)
{
	return (struct whi_short){
		.low = number, .high = ~number, .count = 1, .hash = hash & 0xffffff
	};
}

/* In one block after another, as the store does. */
static int add_shorts(struct whi_table *table, struct whi_pool *pool, uint64_t count)
{
	enum { BATCH = 50 };
	struct whi_short records[BATCH];

	for (uint64_t at = 0; at < count; at += BATCH) {
		size_t batch = count - at < BATCH ? count - at : BATCH;
		int r;

		for (size_t i = 0; i < batch; i++)
			records[i] = short_of(at + i + 1, hash_of(at + i + 1));
		r = whi_table_add_shorts(table, pool, records, batch);
		if (r < 0)
			return r;
	}
	return 0;
}

/* How many short keys the table's blocks have, all with this count. */
static uint64_t shorts_with(const struct whi_table *table, uint64_t count)
{
	uint64_t keys = 0;

	for (uint32_t i = 0; i < table->chunk_count; i++) {
		const struct whi_short *records = (const void *)table->chunks[i]->data;
		size_t used = table->chunks[i]->used / sizeof(*records);

		for (size_t k = 0; k < used; k++, keys++) {
			assert_int_equal(records[k].count, count);
			assert_true(records[k].low == ~records[k].high);
		}
	}
	return keys;
}

static void short_keys_are_found_again_while_the_table_grows(void **state)
{
	enum { KEYS = 300 * 1000, TIMES = 3 };
	struct whi_table table = { 0 };
	struct whi_pool pool = { 0 };

	(void)state;
	for (uint64_t keys = 1; keys < KEYS; keys *= 7) {
		assert_int_equal(add_shorts(&table, &pool, keys), 0);
		assert_int_equal(table.used, keys);
	}
	whi_table_fini(&table);
	for (unsigned i = 0; i < TIMES; i++)
		assert_int_equal(add_shorts(&table, &pool, KEYS), 0);
	assert_int_equal(shorts_with(&table, TIMES), KEYS);
	whi_table_fini(&table);
	whi_pool_fini(&pool);
}

/* With one index for both tables in turn. */
static void keys_are_found_again_after_a_rest(void **state)
{
	enum { KEYS = 20 * 1000, FEW = 50, TIMES = 3 };
	struct whi_table many = { 0 }, few = { 0 };
	struct whi_pool pool = { 0 };
	const uint32_t *places;

	(void)state;
	for (unsigned i = 0; i < TIMES; i++) {
		assert_int_equal(whi_table_expect(&many, &pool, WHI_SHORT,
						  KEYS * sizeof(struct whi_short)),
				 0);
		places = many.index;
		assert_int_equal(add_shorts(&many, &pool, KEYS), 0);
		assert_ptr_equal(many.index, places);
		whi_table_rest(&many, &pool);
		assert_int_equal(add_shorts(&few, &pool, FEW), 0);
		assert_ptr_equal(few.index, places);
		whi_table_rest(&few, &pool);
	}
	assert_int_equal(shorts_with(&many, TIMES), KEYS);
	assert_int_equal(shorts_with(&few, TIMES), FEW);
	whi_table_fini(&many);
	whi_table_fini(&few);
	whi_pool_fini(&pool);
}

static void keys_of_one_hash_are_told_apart(void **state)
{
	enum { KEYS = 400 };
	struct whi_table table = { 0 };
	struct whi_pool pool = { 0 };

	(void)state;
	for (unsigned time = 0; time < 2; time++)
		for (uint64_t number = 1; number <= KEYS; number++) {
			/* Places wrap around the end of the index. */
			struct whi_short record = short_of(number, 0xffffff);

			assert_int_equal(whi_table_add_shorts(&table, &pool, &record, 1), 0);
		}
	assert_int_equal(shorts_with(&table, 2), KEYS);
	whi_table_fini(&table);
	whi_pool_fini(&pool);
}

/* A key of `len` bytes that differs from others of its length in the byte at `at` only. */
static void put_long(struct whi_block *block, size_t len, size_t at, uint64_t count)
{
	struct whi_long *record = (void *)(block->data + block->used);
	uint8_t *key = (uint8_t *)(record + 1);

	assert_true(block->room - block->used >= whi_long_bytes(len));
	memset(key, 'a', len);
	if (len)
		key[at] = 'b';
	*record = (struct whi_long){ .count = count,
				     .len = len & WHI_KEY_MAX,
				     .hash = whi_hash_bytes(key, len) >> 32 & 0xffffff };
	block->used += whi_long_bytes(len);
}

static int add_block(struct whi_table *table, struct whi_pool *pool, enum whi_combine how,
		     struct whi_block *block)
{
	int r = whi_table_add_longs(table, pool, how, block->data, block->used);

	block->used = 0;
	return r;
}

/* Every length of keys, each with a different byte at every place: nothing that compares or hashes
 * leaves a byte out. Returns how many. */
static uint64_t add_longs(struct whi_table *table, struct whi_pool *pool)
{
	struct whi_block *block = whi_block_new(WHI_LONG, LONGEST * whi_long_bytes(LONGEST));
	uint64_t keys = 0;

	for (size_t len = 0; len <= LONGEST; len += len < 80 ? 1 : 17) {
		for (size_t at = 0; at < (len ? len : 1); at++, keys++)
			put_long(block, len, at, 1);
		assert_int_equal(add_block(table, pool, WHI_COMBINE_ADD, block), 0);
	}
	whi_free(block);
	return keys;
}

static uint64_t longs_with(const struct whi_table *table, uint64_t count)
{
	uint64_t keys = 0;

	for (uint32_t i = 0; i < table->chunk_count; i++) {
		const struct whi_block *chunk = table->chunks[i];

		for (size_t at = 0; at < chunk->used; keys++) {
			const struct whi_long *record = (const void *)(chunk->data + at);

			assert_int_equal(record->count, count);
			at += whi_long_bytes(record->len);
		}
	}
	return keys;
}

static void long_keys_that_differ_in_any_byte_are_told_apart(void **state)
{
	struct whi_table table = { 0 };
	struct whi_pool pool = { 0 };
	uint64_t keys = 0;

	(void)state;
	for (unsigned time = 0; time < 3; time++)
		keys = add_longs(&table, &pool);
	assert_true(keys > 3000);
	assert_int_equal(table.used, keys);
	assert_int_equal(longs_with(&table, 3), keys);
	whi_table_fini(&table);
	whi_pool_fini(&pool);
}

/* They have chunks of their own, between those of others. */
static void keys_longer_than_a_block_are_kept(void **state)
{
	static const size_t lens[] = {
		20, WHI_BLOCK_ROOM - 16, WHI_BLOCK_ROOM - 15, 21, 33000, 1000 * 1000, 22
	};
	enum { COUNT = sizeof(lens) / sizeof(lens[0]) };
	struct whi_table table = { 0 };
	struct whi_pool pool = { 0 };

	(void)state;
	for (unsigned time = 0; time < 2; time++)
		for (size_t i = 0; i < COUNT; i++) {
			struct whi_block *block = whi_block_new(WHI_LONG, whi_long_bytes(lens[i]));

			put_long(block, lens[i], lens[i] - 1, 1);
			assert_int_equal(add_block(&table, &pool, WHI_COMBINE_ADD, block), 0);
			whi_free(block);
		}
	assert_int_equal(table.used, COUNT);
	assert_int_equal(longs_with(&table, 2), COUNT);
	whi_table_fini(&table);
	whi_pool_fini(&pool);
}

static void numbers_are_combined_as_asked(void **state)
{
	static const struct {
		enum whi_combine how;
		uint64_t expected;
	} cases[] = {
		{ WHI_COMBINE_ADD, 7 + 3 + 9 },
		{ WHI_COMBINE_MIN, 3 },
		{ WHI_COMBINE_MAX, 9 },
	};
	static const uint64_t numbers[] = { 7, 3, 9 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct whi_block *block = whi_block_new(WHI_LONG, 0);
		struct whi_table table = { 0 };
		struct whi_pool pool = { 0 };

		for (size_t n = 0; n < 3; n++)
			put_long(block, 20, 5, numbers[n]);
		assert_int_equal(add_block(&table, &pool, cases[i].how, block), 0);
		assert_int_equal(longs_with(&table, cases[i].expected), 1);
		whi_free(block);
		whi_table_fini(&table);
		whi_pool_fini(&pool);
	}
}

/* How many places are looked at in vain until all keys of a table of long ones are found. */
static uint64_t probes(const struct whi_table *table)
{
	uint64_t sum = 0;

	for (uint32_t place = 0; place <= table->mask; place++) {
		uint32_t ref = table->index[place] & table->ref_mask;
		const uint8_t *chunk;

		if (!table->index[place])
			continue;
		chunk = (const void *)table->chunks[ref / WHI_BLOCK_UNITS];
		chunk += ref % WHI_BLOCK_UNITS * WHI_BLOCK_ALIGN;
		sum += (place - ((const struct whi_long *)(const void *)chunk)->hash) & table->mask;
	}
	return sum;
}

/* Keys of `len` bytes by the present secret: a number, then the eight bytes at `fixed`, if given,
 * over and over. Returns their probes. */
static uint64_t probes_of(size_t len, const uint64_t *fixed)
{
	enum { KEYS = 3000 };
	struct whi_table table = { 0 };
	struct whi_pool pool = { 0 };
	uint8_t record[sizeof(struct whi_long) + LONGEST + WHI_BYTES_SLACK];
	uint8_t *key = record + sizeof(struct whi_long);
	uint64_t sum;

	for (uint64_t number = 1; number <= KEYS; number++) {
		struct whi_long head = { .count = 1, .len = len & WHI_KEY_MAX };
		uint64_t random = number;

		for (size_t at = 0; at + 8 <= len; at += 8) {
			random = random * 0x5851f42d4c957f2du + 0x14057b7ef767814fu;
			memcpy(key + at, fixed ? fixed : &random, 8);
		}
		memcpy(key, &number, 8);
		head.hash = whi_hash_bytes(key, len) >> 32 & 0xffffff;
		memcpy(record, &head, sizeof(head));
		assert_int_equal(whi_table_add_longs(&table, &pool, WHI_COMBINE_ADD, record,
						     whi_long_bytes(len)),
				 0);
	}
	assert_int_equal(table.used, KEYS);
	sum = probes(&table);
	whi_table_fini(&table);
	whi_pool_fini(&pool);
	return sum;
}

/* The known secret stands for any that has leaked: with a number of it in the right place, one
 * factor of the last multiplication is zero, and so is the hash. */
static void keys_made_to_collide_probe_no_more_than_others_do(void **state)
{
	static const uint64_t zero = 0xe7037ed1a0b428dbu; /* its `high` */
	const uint64_t seed = whi_hash_seed();

	(void)state;
	for (size_t len = 80; len <= LONGEST; len += 8) {
		uint64_t flooded, made, others;

		whi_hash_adopt(0);
		flooded = probes_of(len, &zero);
		whi_hash_adopt(len);
		made = probes_of(len, &zero);
		others = probes_of(len, NULL);
		assert_true(flooded > 1000 * others);
		assert_true(made < 2 * others);
	}
	whi_hash_adopt(seed);
}

static void a_failed_allocation_leaves_the_table_as_it_was(void **state)
{
	enum { KEYS = 5000 };
	uint64_t nth = 1;
	int r = -ENOMEM;

	(void)state;
	for (; r < 0; nth++) {
		struct whi_table table = { 0 };
		struct whi_pool pool = { 0 };
		uint64_t keys;

		whi_alloc_fail_at(nth);
		r = add_shorts(&table, &pool, KEYS);
		whi_alloc_fail_at(0);
		if (r < 0)
			assert_int_equal(r, -ENOMEM);
		/* What is in it is whole, and it can go on. */
		keys = table.used;
		assert_int_equal(shorts_with(&table, 1), keys);
		assert_int_equal(add_shorts(&table, &pool, keys), 0);
		assert_int_equal(table.used, keys);
		whi_table_fini(&table);
		whi_pool_fini(&pool);
	}
	assert_true(nth > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_keys_are_found_again_while_the_table_grows),
		cmocka_unit_test(keys_are_found_again_after_a_rest),
		cmocka_unit_test(keys_of_one_hash_are_told_apart),
		cmocka_unit_test(long_keys_that_differ_in_any_byte_are_told_apart),
		cmocka_unit_test(keys_longer_than_a_block_are_kept),
		cmocka_unit_test(numbers_are_combined_as_asked),
		cmocka_unit_test(keys_made_to_collide_probe_no_more_than_others_do),
		cmocka_unit_test(a_failed_allocation_leaves_the_table_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
