/*
 * wh_run: results, options, failures, and that it leaves nothing behind.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "loop/runtime.h"
#include "support/task_test.h"

static int return_arg(void *arg)
{
	return (int)(intptr_t)arg;
}

static int run(wh_task_fn fn, void *arg, uint32_t loops, int *ret_result)
{
	return wh_run(fn, arg, &(struct wh_run_opts){ .loops = loops }, ret_result);
}

/* Results */

static void result_of_the_first_task_is_returned(void **state)
{
	(void)state;
	for (uint32_t loops = 1; loops <= 3; loops++) {
		int result = 0;

		assert_int_equal(run(return_arg, (void *)42, loops, &result), 0);
		assert_int_equal(result, 42);
		assert_int_equal(run(return_arg, (void *)-EIO, loops, &result), 0);
		assert_int_equal(result, -EIO);
	}
}

static void result_may_be_ignored(void **state)
{
	(void)state;
	assert_int_equal(wh_run(return_arg, (void *)-EIO, NULL, NULL), 0);
}

static int count_loops(void *arg)
{
	(void)arg;
	check(wh_loop_at(wh_loop_count()) == NULL);
	for (unsigned i = 0; i < wh_loop_count(); i++)
		check_int(wh_loop_index(wh_loop_at(i)), i);
	check_int(wh_loop_index(wh_loop_self()), 0);
	return (int)wh_loop_count();
}

static void there_are_as_many_loops_as_asked_for(void **state)
{
	int result = 0;

	(void)state;
	for (uint32_t loops = 1; loops <= 5; loops++) {
		assert_int_equal(run(count_loops, NULL, loops, &result), 0);
		assert_int_equal(result, loops);
	}
}

static void default_is_a_loop_per_cpu(void **state)
{
	cpu_set_t allowed;
	int result = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
	assert_int_equal(run(count_loops, NULL, 0, &result), 0);
	assert_int_equal(result, CPU_COUNT(&allowed));
}

static void outside_there_is_no_loop(void **state)
{
	(void)state;
	assert_null(wh_loop_self());
	assert_null(wh_task_self());
	assert_int_equal(wh_loop_count(), 0);
	assert_null(wh_loop_at(0));
	assert_string_equal(wh_backend_name(), "none");
}

static void runtimes_follow_each_other(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++)
		assert_int_equal(run(return_arg, NULL, 2, NULL), 0);
}

static int run_inside(void *arg)
{
	(void)arg;
	return wh_run(return_arg, NULL, NULL, NULL);
}

static void runtime_inside_a_runtime_is_refused(void **state)
{
	int result = 0;

	(void)state;
	assert_int_equal(run(run_inside, NULL, 1, &result), 0);
	assert_int_equal(result, -EBUSY);
}

static int spawned_count(void *arg)
{
	_Atomic int *count = arg;

	check_int(wh_yield(), 0);
	(*count)++;
	return 0;
}

static _Atomic int count;

static int spawn_everywhere(void *arg)
{
	for (unsigned i = 0; i < wh_loop_count(); i++)
		for (int j = 0; j < 100; j++)
			check_int(wh_loop_spawn(wh_loop_at(i), spawned_count, arg, NULL), 0);
	return 0;
}

static void runtime_ends_after_its_last_task_on_any_loop(void **state)
{
	(void)state;
	count = 0;
	assert_int_equal(run(spawn_everywhere, &count, 3, NULL), 0);
	assert_int_equal(count, 300);
}

static int cpu_of_this_thread(void *arg)
{
	cpu_set_t set;

	(void)arg;
	check_int(sched_getaffinity(0, sizeof(set), &set), 0);
	return CPU_COUNT(&set);
}

static void pinned_loops_use_one_cpu_and_the_caller_is_freed_again(void **state)
{
	const struct wh_run_opts opts = { .loops = 2, .pin = true };
	cpu_set_t before, after;
	int result = 0;

	(void)state;
	sched_getaffinity(0, sizeof(before), &before);
	assert_int_equal(wh_run(cpu_of_this_thread, NULL, &opts, &result), 0);
	assert_int_equal(result, 1);
	sched_getaffinity(0, sizeof(after), &after);
	assert_true(CPU_EQUAL(&before, &after));
}

/* Options */

static void options_out_of_range_are_refused(void **state)
{
	const struct wh_run_opts opts[] = {
		{ .loops = 1025 },	   { .stack_bytes = 1 },
		{ .stack_bytes = 16383 },  { .stack_bytes = (1ull << 30) + 1 },
		{ .sq_entries = 32769 },   { .cq_entries = 65537 },
		{ .buf_count = 3 },	   { .buf_count = 65536 },
		{ .buf_bytes = 1u << 27 }, { .backend = "no such backend" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++)
		assert_int_equal(wh_run(return_arg, NULL, &opts[i], NULL), -EINVAL);
}

static void unknown_backend_in_the_environment_is_refused(void **state)
{
	(void)state;
	setenv("WHORL_BACKEND", "nonsense", 1);
	assert_int_equal(wh_run(return_arg, NULL, NULL, NULL), -EINVAL);
	setenv("WHORL_BACKEND", "", 1);
	assert_int_equal(wh_run(return_arg, NULL, NULL, NULL), 0);
	unsetenv("WHORL_BACKEND");
}

static int use_little(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, NULL), 0);
	check_int(wh_spawn(&scope, return_arg, NULL), -EAGAIN);
	return wh_scope_close(&scope);
}

static void smallest_options_are_enough(void **state)
{
	const struct wh_run_opts opts = { .loops = 1,
					  .stack_bytes = 16384,
					  .tasks_max = 2,
					  .ops_max = 1,
					  .sq_entries = 1,
					  .cq_entries = 2,
					  .buf_count = 1,
					  .buf_bytes = 1,
					  .stacks_warm = 1 };
	int result = -1;

	(void)state;
	assert_int_equal(wh_run(use_little, NULL, &opts, &result), 0);
	assert_int_equal(result, 0);
}

static void every_error_has_an_advice(void **state)
{
	(void)state;
	for (int err = 0; err > -134; err--)
		assert_true(strlen(wh_run_advice(err)) > 0);
}

/* Failure */

static int sleep_forever(void *arg)
{
	int r = wh_sleep_until(UINT64_MAX);

	if (arg)
		(*(_Atomic int *)arg)++;
	return r;
}

static int fail_on_last_loop(void *arg)
{
	struct wh_loop *last = wh_loop_at(wh_loop_count() - 1);

	for (unsigned i = 0; i < wh_loop_count(); i++)
		check_int(wh_loop_spawn(wh_loop_at(i), sleep_forever, arg, NULL), 0);
	check_int(wh_loop_spawn(last, return_arg, (void *)-EPROTO, NULL), 0);
	check_int(wh_sleep_until(UINT64_MAX), -ECANCELED);
	return 0;
}

static void failure_on_any_loop_cancels_all_and_is_returned(void **state)
{
	(void)state;
	for (uint32_t loops = 1; loops <= 3; loops++) {
		int result = 0;

		count = 0;
		assert_int_equal(run(fail_on_last_loop, &count, loops, &result), 0);
		assert_int_equal(result, -EPROTO);
		assert_int_equal(count, loops);
	}
}

static int fail_after_the_other(void *arg)
{
	check_int(wh_loop_spawn(wh_loop_at(1), return_arg, arg, NULL), 0);
	check_int(wh_sleep_until(UINT64_MAX), -ECANCELED);
	return -EPIPE;
}

static void first_tasks_own_failure_counts_more(void **state)
{
	int result = 0;

	(void)state;
	assert_int_equal(run(fail_after_the_other, (void *)-EIO, 2, &result), 0);
	assert_int_equal(result, -EPIPE);
}

static struct wh_loop *left_over;

static int post_in_last_moment(void *arg)
{
	(void)arg;
	left_over = wh_loop_self();
	return 0;
}

static void never_called(struct wh_post *post)
{
	(void)post;
	abort();
}

struct last {
	struct wh_post post;
	int posted, spawned;
};

static void post_after_the_end(struct wh_post *post)
{
	static struct wh_post more = { .fn = never_called };
	struct last *last = (struct last *)(void *)post;

	/* The one task has ended before this runs, in the same turn. */
	last->posted = wh_loop_post(wh_loop_self(), &more);
	last->spawned = wh_loop_spawn(wh_loop_self(), return_arg, NULL, NULL);
}

static int post_and_end(void *arg)
{
	struct last *last = arg;

	last->post.fn = post_after_the_end;
	check_int(wh_loop_post(wh_loop_self(), &last->post), 0);
	return post_in_last_moment(NULL);
}

static void nothing_is_taken_when_the_last_task_has_ended(void **state)
{
	struct last last = { .posted = 1, .spawned = 1 };

	(void)state;
	assert_int_equal(run(post_and_end, &last, 1, NULL), 0);
	assert_int_equal(last.posted, -ESHUTDOWN);
	assert_int_equal(last.spawned, -ESHUTDOWN);
}

/* Memory and descriptors */

static int spawn_and_call(void *arg)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, return_arg, NULL, .stack_bytes = 256 * 1024);
	if (r == 0)
		r = wh_loop_spawn(wh_loop_at(wh_loop_count() - 1), return_arg, arg, NULL);
	if (r == 0)
		r = wh_loop_call(wh_loop_at(wh_loop_count() - 1), return_arg, arg, NULL);
	wh_scope_close(&scope);
	return r;
}

/* Each allocation fails in turn: the error is -ENOMEM wherever it comes out, and nothing leaks. */
static void every_allocation_may_fail(void **state)
{
	(void)state;
	for (uint32_t loops = 1; loops <= 2; loops++) {
		unsigned before = open_fds();
		int r, result;

		for (uint64_t nth = 1;; nth++) {
			bool failed;

			result = 0;
			whi_alloc_fail_at(nth);
			r = run(spawn_and_call, NULL, loops, &result);
			failed = whi_alloc_count() >= nth;
			whi_alloc_fail_at(0);
			assert_int_equal(open_fds(), before);
			assert_true(r == 0 || r == -ENOMEM);
			assert_true(result == 0 || result == -ENOMEM);
			if (!failed)
				break;
			assert_true(r == -ENOMEM || result == -ENOMEM);
		}
		assert_int_equal(r, 0);
		assert_int_equal(result, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(result_of_the_first_task_is_returned),
		cmocka_unit_test(result_may_be_ignored),
		cmocka_unit_test(there_are_as_many_loops_as_asked_for),
		cmocka_unit_test(default_is_a_loop_per_cpu),
		cmocka_unit_test(outside_there_is_no_loop),
		cmocka_unit_test(runtimes_follow_each_other),
		cmocka_unit_test(runtime_inside_a_runtime_is_refused),
		cmocka_unit_test(runtime_ends_after_its_last_task_on_any_loop),
		cmocka_unit_test(pinned_loops_use_one_cpu_and_the_caller_is_freed_again),
		cmocka_unit_test(options_out_of_range_are_refused),
		cmocka_unit_test(unknown_backend_in_the_environment_is_refused),
		cmocka_unit_test(smallest_options_are_enough),
		cmocka_unit_test(every_error_has_an_advice),
		cmocka_unit_test(failure_on_any_loop_cancels_all_and_is_returned),
		cmocka_unit_test(first_tasks_own_failure_counts_more),
		cmocka_unit_test(nothing_is_taken_when_the_last_task_has_ended),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
