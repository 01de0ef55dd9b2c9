/*
 * What a supervisor and its workers agree upon: the mark by which a worker knows itself, and how
 * long the next one has to wait.
 */
#include <errno.h>

#include "io/supervise.h"
#include "support/task_test.h"

static void a_mark_is_read_as_it_was_written(void **state)
{
	const struct whi_supervised_mark mark = { 4194304, 1023, 2047, 3, 5, 7, 10000 };
	struct whi_supervised_mark back = { 0 };
	char text[WHI_SUPERVISED_TEXT_MAX];

	(void)state;
	whi_supervised_format(&mark, text);
	assert_memory_equal(text, WHI_SUPERVISED_VARIABLE "=", 17);
	assert_int_equal(whi_supervised_parse(text + 17, &back), 0);
	assert_memory_equal(&back, &mark, sizeof(mark));
}

static void nonsense_is_no_mark(void **state)
{
	static const char *const texts[] = {
		"",
		":",
		"1",
		"1:",
		"1:7:0:0:1:1:0",
		"1:7:0:0:1:1:0:",
		"1:7:0:0:1:1:0:1000:",
		"1:7:0:0:1:1:0:1000 ",
		" 1:7:0:0:1:1:0:1000",
		"1:-7:0:0:1:1:0:1000",
		"1:+7:0:0:1:1:0:1000",
		"1:0x7:0:0:1:1:0:1000",
		"1:0:0:0:1:1:0:1000",
		"1:7:0:2:1:1:0:1000",
		"1:7:1024:2048:1:1:0:1000",
		"1:7:0:0:1:0:0:1000",
		"1:7:0:0:1025:1:0:1000",
		"1:7:0:0:1024:1:1:1000",
		"1:7:0:0:65536:65536:0:1000",
		"1:4294967296:0:0:1:1:0:1000",
		"1:18446744073709551623:0:0:1:1:0:1000",
		"1:7:0:0:1:1:0:4294967295",
	};
	struct whi_supervised_mark mark = { 0 }, untouched = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(whi_supervised_parse(texts[i], &mark), -EINVAL);
		assert_memory_equal(&mark, &untouched, sizeof(mark));
	}
	assert_int_equal(whi_supervised_parse("2:anything", &mark), -EPROTO);
	assert_int_equal(whi_supervised_parse("1:7:0:1:1:1:0:1000", &mark), 0);
}

static void who_is_not_supervised_is_told_so(void **state)
{
	(void)state;
	assert_int_equal(wh_supervised(), 0);
	assert_int_equal(wh_supervised_slot(), -1);
	assert_int_equal(wh_supervised_seat(), -1);
	assert_int_equal(wh_supervised_fd(0), -ENOENT);
	assert_int_equal(wh_supervised_ready(), -ENOENT);
	assert_int_equal(wh_supervised_retire_wait(), -ENOENT);
}

static void delays_double_up_to_the_greatest(void **state)
{
	const struct wh_supervise_opts opts = { .backoff_ns = 1000, .backoff_max_ns = 5000 };
	const uint64_t expected[] = { 0, 0, 1000, 2000, 4000, 5000, 5000 };
	uint64_t random = 7, least, most;

	(void)state;
	for (unsigned quick = 0; quick < 7; quick++) {
		least = UINT64_MAX;
		most = 0;
		for (int i = 0; i < 10000; i++) {
			uint64_t delay = whi_supervise_delay(&opts, quick, random_next(&random));

			least = delay < least ? delay : least;
			most = delay > most ? delay : most;
		}
		/* A quarter less or more, and all of that. */
		assert_in_range(least, expected[quick] * 3 / 4, expected[quick] * 76 / 100);
		assert_in_range(most, expected[quick] * 124 / 100, expected[quick] * 5 / 4);
	}
	assert_in_range(whi_supervise_delay(&opts, UINT32_MAX, 0), 3750, 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mark_is_read_as_it_was_written),
		cmocka_unit_test(nonsense_is_no_mark),
		cmocka_unit_test(who_is_not_supervised_is_told_so),
		cmocka_unit_test(delays_double_up_to_the_greatest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
