/*
 * The histogram against a sorted array of the same values, and at the borders of its layout.
 * The random test prints its seed and takes it back as the first argument.
 */
#include "histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define SAMPLES 20000
#define HOUR_NS (UINT64_C(3600) * 1000000000)

static uint64_t seed;
static struct histogram one, two;

static uint64_t random_next(uint64_t *state)
{
	/* splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators") */
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void assert_within_thousandth(uint64_t got, uint64_t exact)
{
	assert_true(got >= exact);
	assert_true(got - exact <= exact / 1000);
}

static int reset_both(void **state)
{
	(void)state;
	histogram_reset(&one);
	histogram_reset(&two);
	return 0;
}

static void empty_answers_zero(void **state)
{
	(void)state;
	assert_int_equal(histogram_percentile(&one, 0), 0);
	assert_int_equal(histogram_percentile(&one, 500000), 0);
	assert_int_equal(histogram_percentile(&one, HISTOGRAM_WHOLE), 0);
	assert_int_equal(histogram_mean(&one), 0);
	assert_int_equal(one.count, 0);
}

static void single_value_is_every_percentile(void **state)
{
	(void)state;
	histogram_record(&one, 123456789);
	for (uint32_t parts = 0; parts <= HISTOGRAM_WHOLE; parts += 1000)
		assert_int_equal(histogram_percentile(&one, parts), 123456789);
	assert_int_equal(histogram_mean(&one), 123456789);
}

static void values_below_linear_are_exact(void **state)
{
	(void)state;
	for (uint64_t value = 0; value < HISTOGRAM_LINEAR; value++)
		histogram_record(&one, value);
	for (uint64_t rank = 1; rank <= HISTOGRAM_LINEAR; rank++) {
		uint32_t parts = (uint32_t)(rank * HISTOGRAM_WHOLE / HISTOGRAM_LINEAR);

		assert_int_equal(histogram_percentile(&one, parts), rank - 1);
	}
}

/* Every border of the layout: 2^k - 1, 2^k and 2^k + 1, told apart from a larger maximum. */
static void error_stays_below_a_thousandth_at_every_power_of_two(void **state)
{
	(void)state;
	for (int bit = 0; bit < HISTOGRAM_VALUE_BITS; bit++) {
		for (int64_t step = -1; step <= 1; step++) {
			uint64_t value = (UINT64_C(1) << bit) + (uint64_t)step;

			histogram_reset(&one);
			histogram_record(&one, value);
			histogram_record(&one, HISTOGRAM_VALUE_MAX);
			assert_within_thousandth(histogram_percentile(&one, 500000), value);
			assert_int_equal(one.clamped, 0);
		}
	}
}

static void hour_is_in_range_and_more_is_clamped(void **state)
{
	(void)state;
	histogram_record(&one, HOUR_NS);
	assert_int_equal(one.clamped, 0);
	histogram_record(&one, UINT64_MAX);
	assert_int_equal(one.clamped, 1);
	assert_within_thousandth(histogram_percentile(&one, 500000), HOUR_NS);
	assert_true(histogram_percentile(&one, HISTOGRAM_WHOLE) == UINT64_MAX);
	assert_true(histogram_percentile(&one, 999999) == HISTOGRAM_VALUE_MAX);
}

static void rank_of_four_nines_is_not_rounded_away(void **state)
{
	(void)state;
	histogram_record_many(&one, 10, 9999);
	histogram_record(&one, 1000);
	assert_int_equal(histogram_percentile(&one, 999900), 10);
	assert_int_equal(histogram_percentile(&one, 999901), 1000);
}

static void merge_equals_recording_together(void **state)
{
	static struct histogram both;
	uint64_t random = seed;

	(void)state;
	histogram_reset(&both);
	for (int i = 0; i < SAMPLES; i++) {
		uint64_t value = random_next(&random) >> (random_next(&random) % 64);

		histogram_record(i % 3 ? &one : &two, value);
		histogram_record(&both, value);
	}
	histogram_merge(&one, &two);
	assert_memory_equal(&one, &both, sizeof(both));
}

static void merge_of_empty_changes_nothing(void **state)
{
	(void)state;
	histogram_record(&one, 5);
	histogram_merge(&one, &two);
	assert_int_equal(one.count, 1);
	assert_int_equal(one.min, 5);
	assert_int_equal(one.max, 5);
	histogram_merge(&two, &one);
	assert_int_equal(two.min, 5);
}

static void reset_forgets_all(void **state)
{
	(void)state;
	histogram_record_many(&one, 77, 3);
	histogram_record(&one, UINT64_MAX);
	histogram_reset(&one);
	assert_memory_equal(&one, &two, sizeof(one));
}

static void percentiles_match_a_sorted_array(void **state)
{
	static uint64_t values[SAMPLES];
	uint64_t random = seed;

	(void)state;
	for (int i = 0; i < SAMPLES; i++) {
		values[i] = random_next(&random) >> (22 + random_next(&random) % 42);
		histogram_record(&one, values[i]);
	}
	qsort(values, SAMPLES, sizeof(values[0]), compare);
	for (uint32_t rank = 1; rank <= SAMPLES; rank++) {
		uint32_t parts = rank * (HISTOGRAM_WHOLE / SAMPLES);

		assert_within_thousandth(histogram_percentile(&one, parts), values[rank - 1]);
	}
	assert_true(one.min == values[0]);
	assert_true(one.max == values[SAMPLES - 1]);
}

#define TEST(function) cmocka_unit_test_setup(function, reset_both)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(empty_answers_zero),
		TEST(single_value_is_every_percentile),
		TEST(values_below_linear_are_exact),
		TEST(error_stays_below_a_thousandth_at_every_power_of_two),
		TEST(hour_is_in_range_and_more_is_clamped),
		TEST(rank_of_four_nines_is_not_rounded_away),
		TEST(merge_equals_recording_together),
		TEST(merge_of_empty_changes_nothing),
		TEST(reset_forgets_all),
		TEST(percentiles_match_a_sorted_array),
	};

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
	printf("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
