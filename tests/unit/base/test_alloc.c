#include "base/alloc.h"

#include <string.h>

#include "support/task_test.h"

static int never_fail(void **state)
{
	(void)state;
	whi_alloc_fail_at(0);
	return 0;
}

static void only_the_nth_allocation_fails(void **state)
{
	void *memory[4];

	(void)state;
	whi_alloc_fail_at(3);
	for (int i = 0; i < 4; i++)
		memory[i] = whi_alloc(8);
	assert_non_null(memory[0]);
	assert_non_null(memory[1]);
	assert_null(memory[2]);
	assert_non_null(memory[3]);
	for (int i = 0; i < 4; i++)
		whi_free(memory[i]);
}

static void every_kind_of_allocation_can_fail(void **state)
{
	(void)state;
	whi_alloc_fail_at(1);
	assert_null(whi_alloc(1));
	whi_alloc_fail_at(1);
	assert_null(whi_calloc(1, 1));
	whi_alloc_fail_at(1);
	assert_null(whi_realloc(NULL, 1));
	whi_alloc_fail_at(1);
	assert_null(whi_aligned_alloc(64, 64));
	whi_alloc_fail_at(1);
	assert_null(whi_strdup("x"));
}

static void failed_realloc_leaves_the_old_memory(void **state)
{
	char *memory = whi_strdup("still here");

	(void)state;
	whi_alloc_fail_at(1);
	assert_null(whi_realloc(memory, 100));
	assert_string_equal(memory, "still here");
	whi_free(memory);
}

static void allocations_are_counted_while_one_is_to_fail(void **state)
{
	(void)state;
	whi_alloc_fail_at(1000);
	for (int i = 0; i < 5; i++)
		whi_free(whi_alloc(1));
	assert_int_equal(whi_alloc_count(), 5);
	whi_alloc_fail_at(0);
	assert_int_equal(whi_alloc_count(), 0);
}

static void aligned_memory_is_aligned(void **state)
{
	(void)state;
	for (size_t align = 16; align <= 4096; align *= 2) {
		void *memory = whi_aligned_alloc(align, 3 * align + 1);

		assert_int_equal((uintptr_t)memory % align, 0);
		memset(memory, 1, 3 * align + 1);
		whi_free(memory);
	}
}

static void cleared_memory_is_zero(void **state)
{
	static const char zeros[1000];
	char *memory = whi_calloc(10, 100);

	(void)state;
	assert_memory_equal(memory, zeros, sizeof(zeros));
	whi_free(memory);
}

static void freeing_nothing_is_harmless(void **state)
{
	(void)state;
	whi_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(only_the_nth_allocation_fails, never_fail),
		cmocka_unit_test_teardown(every_kind_of_allocation_can_fail, never_fail),
		cmocka_unit_test_teardown(failed_realloc_leaves_the_old_memory, never_fail),
		cmocka_unit_test_teardown(allocations_are_counted_while_one_is_to_fail, never_fail),
		cmocka_unit_test_teardown(aligned_memory_is_aligned, never_fail),
		cmocka_unit_test_teardown(cleared_memory_is_zero, never_fail),
		cmocka_unit_test_teardown(freeing_nothing_is_harmless, never_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
