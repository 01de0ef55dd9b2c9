/* The word kernels against the independent count: every kernel that this processor can run, over
 * texts chosen so that words meet every border there is: of splits, buffers, regions and registers.
 *
 * The seed of random texts is printed and may be given as the argument. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/cpu.h"
#include "base/alloc.h"
#include "support/oracle_count.h"
#include "support/task_test.h"
#include "unit/mapreduce/count_blocks.h"

static uint64_t seed;

static void same_as(const char *expected, size_t expected_len, const void *data, size_t len,
		    const struct cuts *cuts)
{
	for (size_t i = 0; whi_words_kernels[i]; i++) {
		const struct whi_words_kernel *kernel = whi_words_kernels[i];
		size_t count_len;
		char *count;

		if (kernel->needs & ~whi_cpu_features())
			continue;
		count = count_blocks(kernel, data, len, cuts, &count_len);
		assert_non_null(count);
		if (count_len != expected_len || memcmp(count, expected, count_len) != 0)
			fail_msg("%s: %zu bytes, splits of %zu, buffers of %zu, seed %llu",
				 kernel->name, len, cuts->split_bytes, cuts->buffer_bytes,
				 (unsigned long long)seed);
		free(count);
	}
}

static void same_as_oracle(const void *data, size_t len, const struct cuts *cuts)
{
	size_t expected_len;
	char *expected = oracle_count(data, len, &expected_len);

	same_as(expected, expected_len, data, len, cuts);
	free(expected);
}

static void count_is(const char *text, const char *expected)
{
	same_as(expected, strlen(expected), text, strlen(text), &(struct cuts){ 0 });
}

static void words_are_folded_counted_and_sorted(void **state)
{
	(void)state;
	count_is("b a B\tc\nA b", "b\t3\na\t2\nc\t1\n");
	count_is("The the THE @[`{ z Z", "the\t3\nz\t2\n@[`{\t1\n");
}

static void empty_input_has_no_words(void **state)
{
	(void)state;
	count_is("", "");
	count_is(" \n\t\x01\x1f ", "");
}

static void bytes_above_ascii_belong_to_words(void **state)
{
	(void)state;
	count_is("caf\xc3\xa9 na\xc3\xafve x\xc2\xa0y \xff\xfe CAF\xc3\xa9",
		 "caf\xc3\xa9\t2\nna\xc3\xafve\t1\nx\xc2\xa0y\t1\n\xff\xfe\t1\n");
}

static void every_byte_value_is_treated_by_the_rule(void **state)
{
	uint8_t data[256 * 6];

	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		const uint8_t item[6] = { 'x', (uint8_t)i, 'y', ' ', (uint8_t)i, ' ' };

		memcpy(data + 6 * i, item, sizeof(item));
	}
	same_as_oracle(data, sizeof(data), &(struct cuts){ 0 });
}

/* Lengths around registers, short keys, front table limits, with different things before them. */
static void every_word_length_is_counted(void **state)
{
	enum { LONGEST = 1200, STEPS = 3 };
	uint8_t *data = malloc(LONGEST * LONGEST);
	size_t len = 0;

	(void)state;
	for (size_t word = 1; word <= LONGEST; word += word < 150 ? 1 : 37)
		for (size_t i = 0; i < STEPS; i++) {
			memset(data + len, 'a' + (int)(word % 20), word);
			data[len + word - 1] = (uint8_t)('a' + i);
			memset(data + len + word, ' ', i + 1);
			len += word + i + 1;
		}
	same_as_oracle(data, len, &(struct cuts){ 0 });
	same_as_oracle(data, len, &(struct cuts){ .split_bytes = 1000, .buffer_bytes = 64 });
	free(data);
}

static void long_words_at_region_and_buffer_ends_are_whole(void **state)
{
	enum { SIZE = 3 * WHI_REGION_BYTES };
	uint8_t *data = malloc(SIZE);

	(void)state;
	for (int before = -20; before <= 20; before++) {
		size_t start = (size_t)(WHI_REGION_BYTES + before);

		for (size_t i = 0; i < SIZE; i++)
			data[i] = i % 5 == 4 ? ' ' : (uint8_t)('a' + i % 3);
		memset(data + start, 'W', 40);
		memset(data + start + 100, 'V', WHI_REGION_BYTES + 7);
		same_as_oracle(data, SIZE, &(struct cuts){ 0 });
		same_as_oracle(data, start + 40,
			       &(struct cuts){ .buffer_bytes = WHI_REGION_BYTES });
		same_as_oracle(data, start + 200, &(struct cuts){ .buffer_bytes = 4096 });
	}
	free(data);
}

/* All lengths that are hashed and compared in windows, and some to both sides: a byte that is left
 * out would make two of these words one. Every word comes twice. */
static void words_that_differ_in_any_one_byte_are_different(void **state)
{
	enum { SHORTEST = 14, LONGEST = 70 };
	uint8_t *data = malloc(2 * LONGEST * LONGEST * (LONGEST + 1));
	size_t len = 0;

	(void)state;
	for (unsigned time = 0; time < 2; time++)
		for (size_t word = SHORTEST; word <= LONGEST; word++)
			for (size_t at = 0; at < word; at++) {
				memset(data + len, 'x', word);
				data[len + at] = 'y';
				data[len + word] = ' ';
				len += word + 1;
			}
	same_as_oracle(data, len, &(struct cuts){ 0 });
	free(data);
}

static void a_split_border_anywhere_changes_nothing(void **state)
{
	static const char text[] =
		"In the beginning God created the heaven and the earth. And the earth was without "
		"form,   and void;\n\tand incomprehensibilities_and_more were upon the face of the "
		"deep. \n a\n";
	size_t expected_len;
	char *expected = oracle_count(text, sizeof(text) - 1, &expected_len);

	(void)state;
	for (size_t split = 1; split <= sizeof(text); split++)
		for (size_t buffer = 1; buffer <= 40; buffer += 13)
			same_as(expected, expected_len, text, sizeof(text) - 1,
				&(struct cuts){ .split_bytes = split, .buffer_bytes = buffer });
	free(expected);
}

static void one_huge_word_is_counted(void **state)
{
	enum { SIZE = 9 * 1000 * 1000 };
	uint8_t *data = malloc(SIZE + 4);
	char *expected = malloc(SIZE + 16);

	(void)state;
	memset(data, 'Q', SIZE);
	memset(expected, 'q', SIZE);
	memcpy(data + SIZE, " b b", 4);
	memcpy(expected, "b\t2\n", 4);
	memset(expected + 4, 'q', SIZE);
	memcpy(expected + 4 + SIZE, "\t1\n", 4);
	same_as(expected, SIZE + 7, data, SIZE + 4,
		&(struct cuts){ .split_bytes = 1 << 20, .buffer_bytes = 1 << 16 });
	free(expected);
	free(data);
}

/* Far more different words than a front table holds: flushes, blocks and merges. */
static void all_distinct_words_survive_flushes(void **state)
{
	enum { WORDS = 200 * 1000 };
	char *data = malloc(WORDS * 32);
	size_t len = 0;

	(void)state;
	for (unsigned i = 0; i < WORDS; i++)
		len += (size_t)sprintf(data + len, i % 3 ? "w%u " : "a-longer-word-than-16-%u\n",
				       i % (WORDS - WORDS / 7));
	same_as_oracle(data, len,
		       &(struct cuts){ .l2_bytes = 1, .mappers = 3, .split_bytes = 9999 });
	free(data);
}

static void random_bytes(uint8_t *data, size_t len, uint64_t *random, unsigned kind)
{
	static const char few[] = "aAbB \nzZ\x80";

	for (size_t i = 0; i < len; i++) {
		uint64_t r = random_next(random);

		if (kind == 0)
			data[i] = (uint8_t)r;
		else if (kind == 1)
			data[i] = (uint8_t)few[r % (sizeof(few) - 1)];
		else
			data[i] = r % 40 ? (uint8_t)('a' + r % 2) : ' ';
	}
}

static void random_texts_are_counted_as_by_the_oracle(void **state)
{
	enum { ROUNDS = 60, LONGEST = 40000 };
	uint8_t *data = malloc(LONGEST);
	uint64_t random = seed;

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		size_t len = random_next(&random) % LONGEST;
		struct cuts cuts = {
			.split_bytes = 1 + random_next(&random) % (LONGEST / 4),
			.buffer_bytes = 1 + random_next(&random) % LONGEST,
			.mappers = 1 + (unsigned)(random_next(&random) % 4),
		};

		random_bytes(data, len, &random, round % 3);
		same_as_oracle(data, len, &cuts);
	}
	free(data);
}

static void a_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
	enum { SIZE = 30000 };
	uint8_t *data = malloc(SIZE);
	uint64_t random = 1, nth = 1;
	size_t expected_len, len;
	const struct whi_words_kernel *kernel;
	char *count = NULL, *expected;
	const struct cuts cuts = { .split_bytes = 5000, .buffer_bytes = 100, .mappers = 2 };

	(void)state;
	assert_int_equal(whi_words_choose(NULL, &kernel), 0);
	random_bytes(data, SIZE, &random, 2);
	expected = oracle_count(data, SIZE, &expected_len);
	for (; !count; nth += 1 + nth / 16) {
		whi_alloc_fail_at(nth);
		count = count_blocks(kernel, data, SIZE, &cuts, &len);
	}
	whi_alloc_fail_at(0);
	assert_true(nth > 20);
	assert_int_equal(len, expected_len);
	assert_memory_equal(count, expected, len);
	free(count);
	free(expected);
	free(data);
}

static void a_kernel_is_chosen_by_name(void **state)
{
	const struct whi_words_kernel *kernel;

	(void)state;
	assert_int_equal(whi_words_choose("scalar", &kernel), 0);
	assert_string_equal(kernel->name, "scalar");
	assert_int_equal(whi_words_choose("mmx", &kernel), -EINVAL);
	setenv("WHORL_ISA", "scalar", 1);
	assert_int_equal(whi_words_choose(NULL, &kernel), 0);
	assert_string_equal(kernel->name, "scalar");
	unsetenv("WHORL_ISA");
	assert_int_equal(whi_words_choose(NULL, &kernel), 0);
	assert_int_equal(kernel->needs & ~whi_cpu_features(), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_folded_counted_and_sorted),
		cmocka_unit_test(empty_input_has_no_words),
		cmocka_unit_test(bytes_above_ascii_belong_to_words),
		cmocka_unit_test(every_byte_value_is_treated_by_the_rule),
		cmocka_unit_test(every_word_length_is_counted),
		cmocka_unit_test(long_words_at_region_and_buffer_ends_are_whole),
		cmocka_unit_test(words_that_differ_in_any_one_byte_are_different),
		cmocka_unit_test(a_split_border_anywhere_changes_nothing),
		cmocka_unit_test(one_huge_word_is_counted),
		cmocka_unit_test(all_distinct_words_survive_flushes),
		cmocka_unit_test(random_texts_are_counted_as_by_the_oracle),
		cmocka_unit_test(a_failed_allocation_is_an_error_and_leaks_nothing),
		cmocka_unit_test(a_kernel_is_chosen_by_name),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
