/*
 * The pool of stacks: sizes, guards, recycling, giving memory back.
 */
#include "task/stack.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "support/child.h"
#include "support/task_test.h"

enum { KIB64 = 64 * 1024, PAGE = 4096, WARM_MAX = 4, MANY = 40 };

struct head {
	struct whi_stack stack;
	char more[300];
};

static struct whi_stack_pool pool;
static unsigned each_count;

static void count_each(struct whi_stack *stack)
{
	(void)stack;
	each_count++;
}

static int open_pool(void **state)
{
	(void)state;
	whi_stack_pool_init(&pool, sizeof(struct head), WARM_MAX);
	return 0;
}

static int close_pool(void **state)
{
	(void)state;
	each_count = 0;
	whi_stack_pool_fini(&pool, count_each);
	return 0;
}

static struct whi_stack *get(size_t bytes)
{
	struct whi_stack *stack = NULL;

	assert_int_equal(whi_stack_get(&pool, bytes, &stack), 0);
	return stack;
}

static void slot_is_rounded_up_to_a_power_of_two(void **state)
{
	const struct {
		size_t bytes;
		int shift;
	} sizes[] = { { 16384, 14 }, { 16385, 15 }, { 65535, 16 }, { 65536, 16 }, { 65537, 17 } };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct whi_stack *stack = get(sizes[i].bytes);

		assert_int_equal(stack->shift, sizes[i].shift);
		whi_stack_put(&pool, stack);
	}
}

static void largest_size_can_be_had(void **state)
{
	struct whi_stack *stack = get((size_t)1 << WHI_STACK_MAX_SHIFT);

	(void)state;
	stack->low[0] = 1;
	whi_stack_put(&pool, stack);
}

static void size_out_of_range_is_refused(void **state)
{
	struct whi_stack *stack = NULL;

	(void)state;
	assert_int_equal(whi_stack_get(&pool, 0, &stack), -EINVAL);
	assert_int_equal(whi_stack_get(&pool, 16383, &stack), -EINVAL);
	assert_int_equal(whi_stack_get(&pool, ((size_t)1 << WHI_STACK_MAX_SHIFT) + 1, &stack),
			 -EINVAL);
	assert_null(stack);
}

static void new_header_is_zero(void **state)
{
	static const char zeros[sizeof(((struct head *)0)->more)];
	struct head *head = (struct head *)(void *)get(KIB64);

	(void)state;
	assert_memory_equal(head->more, zeros, sizeof(zeros));
	whi_stack_put(&pool, &head->stack);
}

static void header_lies_inside_the_slot(void **state)
{
	struct whi_stack *stacks[MANY];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		char *slot, *end;

		stacks[i] = get(KIB64);
		slot = stacks[i]->low - PAGE;
		end = (char *)stacks[i] + sizeof(struct head);
		assert_int_equal((uintptr_t)stacks[i] % 64, 0);
		assert_true(end <= slot + KIB64);
		assert_true(end > slot + KIB64 - PAGE);
	}
	for (int i = 0; i < MANY; i++)
		whi_stack_put(&pool, stacks[i]);
}

static void tops_have_different_offsets_in_their_pages(void **state)
{
	struct whi_stack *stacks[MANY];
	unsigned same = 0;

	(void)state;
	for (int i = 0; i < MANY; i++)
		stacks[i] = get(KIB64);
	for (int i = 1; i < MANY; i++)
		same += (uintptr_t)stacks[i] % PAGE == (uintptr_t)stacks[i - 1] % PAGE;
	assert_int_equal(same, 0);
	for (int i = 0; i < MANY; i++)
		whi_stack_put(&pool, stacks[i]);
}

static void newest_free_stack_is_handed_out_first(void **state)
{
	struct whi_stack *one = get(KIB64), *two = get(KIB64);

	(void)state;
	whi_stack_put(&pool, one);
	whi_stack_put(&pool, two);
	assert_ptr_equal(get(KIB64), two);
	assert_ptr_equal(get(KIB64), one);
	whi_stack_put(&pool, one);
	whi_stack_put(&pool, two);
}

static void sizes_do_not_mix(void **state)
{
	struct whi_stack *small = get(KIB64), *large;

	(void)state;
	whi_stack_put(&pool, small);
	large = get(2 * KIB64);
	assert_ptr_not_equal(small, large);
	whi_stack_put(&pool, large);
}

static bool resident(const char *address)
{
	unsigned char there = 0;

	assert_int_equal(
		mincore((void *)((uintptr_t)address & ~(uintptr_t)(PAGE - 1)), PAGE, &there), 0);
	return there & 1;
}

static void fill(struct whi_stack *stack)
{
	memset(stack->low + PAGE, 0x5a, (size_t)((char *)stack - stack->low) - PAGE);
}

static unsigned fill_and_put_many(struct whi_stack **stacks)
{
	unsigned warm = 0;

	for (int i = 0; i < MANY; i++) {
		stacks[i] = get(KIB64);
		fill(stacks[i]);
	}
	for (int i = 0; i < MANY; i++)
		whi_stack_put(&pool, stacks[i]);
	whi_stack_trim(&pool);
	for (int i = 0; i < MANY; i++)
		warm += resident(stacks[i]->low + 3 * PAGE);
	return warm;
}

static void memory_beyond_the_warm_stacks_is_given_back(void **state)
{
	struct whi_stack *stacks[MANY];

	(void)state;
	assert_int_equal(fill_and_put_many(stacks), WARM_MAX);
}

static void header_outlives_giving_back(void **state)
{
	struct whi_stack *stacks[MANY];

	(void)state;
	fill_and_put_many(stacks);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(stacks[i]->shift, 16);
}

static void cold_stacks_are_handed_out_again(void **state)
{
	struct whi_stack *stacks[MANY];

	(void)state;
	fill_and_put_many(stacks);
	for (int i = 0; i < MANY; i++)
		stacks[i] = get(KIB64);
	assert_int_equal(pool.classes[2].slots, MANY);
	for (int i = 0; i < MANY; i++)
		whi_stack_put(&pool, stacks[i]);
}

static void fini_sees_every_stack_once(void **state)
{
	struct whi_stack *stacks[MANY];

	(void)state;
	open_pool(NULL);
	fill_and_put_many(stacks);
	whi_stack_put(&pool, get(2 * KIB64));
	close_pool(NULL);
	assert_int_equal(each_count, MANY + 1);
}

static void canary_notices_being_overwritten(void **state)
{
	struct whi_stack *stack;

	(void)state;
	pool.guard = WHI_GUARD_CANARY;
	stack = get(KIB64);
	assert_int_equal(stack->guard, WHI_GUARD_CANARY);
	assert_true(whi_stack_intact(stack));
	stack->low[20] ^= 1;
	assert_false(whi_stack_intact(stack));
	stack->low[20] ^= 1;
	whi_stack_put(&pool, stack);
}

static void canary_outlives_giving_back(void **state)
{
	struct whi_stack *stacks[MANY];

	(void)state;
	pool.guard = WHI_GUARD_CANARY;
	fill_and_put_many(stacks);
	for (int i = 0; i < MANY; i++)
		assert_true(whi_stack_intact(stacks[i]));
}

static void write_into_guard(void *arg)
{
	struct whi_stack *stack = arg;

	*(volatile char *)(stack->low - 1) = 1;
}

static void assert_guarded(struct whi_stack *stack)
{
	struct child child;

	run_child(&child, write_into_guard, stack);
	assert_true(child.signal == SIGSEGV || child.signal == SIGBUS);
}

static void guard_marker_stops_a_write(void **state)
{
	struct whi_stack *stack;

	(void)state;
	if (whi_stack_guard_probe() != WHI_GUARD_MARKER)
		skip();
	stack = get(KIB64);
	assert_int_equal(stack->guard, WHI_GUARD_MARKER);
	assert_guarded(stack);
	whi_stack_put(&pool, stack);
}

static void protected_guard_stops_a_write(void **state)
{
	struct whi_stack *stack;

	(void)state;
	pool.guard = WHI_GUARD_MPROTECT;
	stack = get(KIB64);
	assert_int_equal(stack->guard, WHI_GUARD_MPROTECT);
	assert_guarded(stack);
	whi_stack_put(&pool, stack);
}

static void guard_outlives_giving_back(void **state)
{
	struct whi_stack *stacks[MANY];

	(void)state;
	fill_and_put_many(stacks);
	assert_guarded(stacks[0]);
	assert_guarded(stacks[MANY / 2]);
}

/* The limit is the process's: after enough protected ones the rest are canaries, and when the pool
 * is gone there is room for protected ones again. */
static void protected_guards_are_limited_and_given_back(void **state)
{
	enum { TOO_MANY = 40000 };
	static struct whi_stack *stacks[TOO_MANY];
	unsigned canaries = 0;

	(void)state;
	for (int round = 0; round < 2; round++) {
		open_pool(NULL);
		pool.guard = WHI_GUARD_MPROTECT;
		canaries = 0;
		for (int i = 0; i < TOO_MANY; i++) {
			stacks[i] = get(16384);
			canaries += stacks[i]->guard == WHI_GUARD_CANARY;
		}
		assert_int_equal(stacks[0]->guard, WHI_GUARD_MPROTECT);
		for (int i = 0; i < TOO_MANY; i++)
			whi_stack_put(&pool, stacks[i]);
		close_pool(NULL);
	}
	print_message("%u of %d had to do with a canary\n", canaries, TOO_MANY);
}

static void without_memory_nothing_is_held(void **state)
{
	struct whi_stack *stack = NULL;

	(void)state;
	whi_alloc_fail_at(1);
	assert_int_equal(whi_stack_get(&pool, KIB64, &stack), -ENOMEM);
	whi_alloc_fail_at(0);
	assert_null(stack);
	whi_stack_put(&pool, get(KIB64));
}

#define POOL_TEST(function) cmocka_unit_test_setup_teardown(function, open_pool, close_pool)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POOL_TEST(slot_is_rounded_up_to_a_power_of_two),
		POOL_TEST(largest_size_can_be_had),
		POOL_TEST(size_out_of_range_is_refused),
		POOL_TEST(new_header_is_zero),
		POOL_TEST(header_lies_inside_the_slot),
		POOL_TEST(tops_have_different_offsets_in_their_pages),
		POOL_TEST(newest_free_stack_is_handed_out_first),
		POOL_TEST(sizes_do_not_mix),
		POOL_TEST(memory_beyond_the_warm_stacks_is_given_back),
		POOL_TEST(header_outlives_giving_back),
		POOL_TEST(cold_stacks_are_handed_out_again),
		cmocka_unit_test(fini_sees_every_stack_once),
		POOL_TEST(canary_notices_being_overwritten),
		POOL_TEST(canary_outlives_giving_back),
		POOL_TEST(guard_marker_stops_a_write),
		POOL_TEST(protected_guard_stops_a_write),
		POOL_TEST(guard_outlives_giving_back),
		cmocka_unit_test(protected_guards_are_limited_and_given_back),
		POOL_TEST(without_memory_nothing_is_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
