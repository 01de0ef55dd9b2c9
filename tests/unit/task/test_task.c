/*
 * Tasks: birth, waiting, joining and end, on a scheduler without a loop. Time is virtual.
 */
#include "task/task.h"

#include <alloca.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "support/bare_sched.h"

enum { MANY = 40000 };

static char trace[64];

static void note(char letter)
{
	size_t len = strlen(trace);

	check(len + 1 < sizeof(trace));
	trace[len] = letter;
	trace[len + 1] = '\0';
}

static void check_trace(const char *expected)
{
	if (strcmp(trace, expected) != 0)
		fprintf(stderr, "trace is %s, not %s\n", trace, expected);
	check(strcmp(trace, expected) == 0);
	trace[0] = '\0';
}

static int return_arg(void *arg)
{
	return (int)(intptr_t)arg;
}

static int note_arg(void *arg)
{
	note((char)(intptr_t)arg);
	return 0;
}

static void *letter(char c)
{
	return (void *)(intptr_t)c;
}

/* Birth */

static int spawned_task_runs_when_its_parent_suspends(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, note_arg, letter('a')), 0);
	note('p');
	check_int(wh_scope_close(&scope), 0);
	check_trace("pa");
	return 0;
}

static int tasks_run_in_the_order_they_were_spawned(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (char c = 'a'; c <= 'f'; c++)
		check_int(wh_spawn(&scope, note_arg, letter(c)), 0);
	check_int(wh_scope_close(&scope), 0);
	check_trace("abcdef");
	return 0;
}

static int name_is_the_functions_unless_given(void *arg)
{
	struct wh_task *plain, *named;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, NULL, .ret_task = &plain), 0);
	check_int(wh_spawn(&scope, return_arg, NULL, .ret_task = &named, .name = "reader"), 0);
	check(strcmp(wh_task_name(plain), "return_arg") == 0);
	check(strcmp(wh_task_name(named), "reader") == 0);
	return wh_scope_close(&scope);
}

static int long_name_is_cut_after_23_bytes(void *arg)
{
	char name[] = "abcdefghijklmnopqrstuvwxyz";
	struct wh_task *task;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, NULL, .ret_task = &task, .name = name), 0);
	memset(name, 'X', sizeof(name) - 1);
	check(strcmp(wh_task_name(task), "abcdefghijklmnopqrstuvw") == 0);
	return wh_scope_close(&scope);
}

static int task_knows_where_it_was_spawned(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;
	int line = __LINE__ + 4;

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, return_arg, NULL, .ret_task = &task);
	check(strcmp(task->file, __FILE__) == 0);
	check_int(task->line, line);
	return wh_scope_close(&scope);
}

static int self_is_the_running_task(void *arg)
{
	struct wh_task **self = arg;

	*self = wh_task_self();
	return 0;
}

static int self_is_the_handle(void *arg)
{
	struct wh_task *task, *self = NULL;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, self_is_the_running_task, &self, .ret_task = &task), 0);
	check_int(wh_yield(), 0);
	check(self == task);
	return wh_scope_close(&scope);
}

static int spawning_beyond_the_limit_fails_and_recovers(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (int i = 1; i < 10; i++)
		check_int(wh_spawn(&scope, return_arg, NULL), 0);
	check_int(wh_spawn(&scope, return_arg, NULL), -EAGAIN);
	check_int(wh_yield(), 0);
	check_int(wh_spawn(&scope, return_arg, NULL), 0);
	return wh_scope_close(&scope);
}

static int stack_size_out_of_range_is_refused(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, NULL, .stack_bytes = 1), -EINVAL);
	check_int(wh_spawn(&scope, return_arg, NULL, .stack_bytes = 16 * 1024 - 1), -EINVAL);
	check_int(wh_spawn(&scope, return_arg, NULL, .stack_bytes = (1u << 30) + 1), -EINVAL);
	check_int(wh_spawn(&scope, return_arg, NULL, .stack_bytes = SIZE_MAX), -EINVAL);
	check_int(wh_spawn(&scope, return_arg, NULL, .stack_bytes = 16 * 1024), 0);
	return wh_scope_close(&scope);
}

static int fill_stack(void *arg)
{
	size_t bytes = (size_t)(uintptr_t)arg;
	volatile char *memory = alloca(bytes);

	for (size_t i = 0; i < bytes; i++)
		memory[bytes - 1 - i] = (char)i;
	return memory[bytes - 1];
}

static int stack_has_the_size_asked_for(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (size_t bytes = 32 * 1024; bytes <= 8 * 1024 * 1024; bytes *= 2)
		check_int(wh_spawn(&scope, fill_stack, (void *)(bytes - 16 * 1024),
				   .stack_bytes = bytes), 0);
	return wh_scope_close(&scope);
}

static int spawning_without_memory_fails_and_recovers(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	whi_alloc_fail_at(1);
	/* A size that nobody had before needs a new slab. */
	check_int(wh_spawn(&scope, return_arg, NULL, .stack_bytes = 128 * 1024), -ENOMEM);
	whi_alloc_fail_at(0);
	check_int(wh_spawn(&scope, return_arg, NULL, .stack_bytes = 128 * 1024), 0);
	return wh_scope_close(&scope);
}

/* Running */

static int yield_thrice(void *arg)
{
	for (int i = 0; i < 3; i++) {
		note((char)(intptr_t)arg);
		check_int(wh_yield(), 0);
	}
	return 0;
}

static int yield_lets_every_ready_task_run_once(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (char c = 'a'; c <= 'c'; c++)
		check_int(wh_spawn(&scope, yield_thrice, letter(c)), 0);
	check_int(wh_scope_close(&scope), 0);
	check_trace("abcabcabc");
	return 0;
}

static int yield_forever(void *arg)
{
	const bool *stop = arg;

	while (!*stop)
		check_int(wh_yield(), 0);
	return 0;
}

static void tasks_that_keep_each_other_ready_do_not_keep_the_loop(void **state)
{
	static struct whi_sched sched;
	const struct wh_spawn_opts opts = {0};
	bool stop = false;

	(void)state;
	bare_open(&sched, NULL);
	for (int i = 0; i < 3; i++)
		check_int(whi_task_spawn(&sched.root, yield_forever, &stop, &opts, NULL), 0);
	for (int i = 0; i < 10; i++)
		whi_sched_run(&sched);
	assert_false(whi_sched_idle(&sched));
	stop = true;
	bare_run_ready(&sched);
	whi_sched_fini(&sched);
}

static int set_errno(void *arg)
{
	check_int(errno, 0);
	errno = (int)(intptr_t)arg;
	for (int i = 0; i < 5; i++) {
		check_int(wh_yield(), 0);
		check_int(errno, (intptr_t)arg);
	}
	return 0;
}

static int errno_is_a_tasks_own(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	errno = 77;
	for (intptr_t i = 1; i <= 4; i++)
		check_int(wh_spawn(&scope, set_errno, (void *)i), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(errno, 77);
	return 0;
}

/* Joining */

static int join_gives_the_result(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;
	int result = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, (void *)42, .ret_task = &task), 0);
	check_int(wh_task_join(task, &result), 0);
	check_int(result, 42);
	return wh_scope_close(&scope);
}

static int join_of_an_ended_task_does_not_suspend(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;
	uint64_t switches;
	int result = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, (void *)7, .ret_task = &task), 0);
	check_int(wh_yield(), 0);
	switches = whi_sched_self()->made_ready;
	check_int(wh_task_join(task, &result), 0);
	check_int(whi_sched_self()->made_ready, switches);
	check_int(result, 7);
	return wh_scope_close(&scope);
}

static int join_without_wanting_the_result(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, (void *)7, .ret_task = &task), 0);
	check_int(wh_task_join(task, NULL), 0);
	return wh_scope_close(&scope);
}

static int join_itself(void *arg)
{
	struct wh_task **task = arg;

	return wh_task_join(*task, NULL) == -EDEADLK ? 0 : -EIO;
}

static int joining_itself_is_refused(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, join_itself, &task, .ret_task = &task), 0);
	return wh_scope_close(&scope);
}

static int sleep_long(void *arg)
{
	int r = wh_sleep_until(bare_after(WH_SEC));

	return r < 0 ? r : (int)(intptr_t)arg;
}

static int interrupted_join_leaves_task_and_handle(void *arg)
{
	struct wh_scope outer, inner;
	struct wh_task *task;
	int result = 0;

	(void)arg;
	wh_scope_open(&outer, NULL);
	check_int(wh_spawn(&outer, sleep_long, (void *)9, .ret_task = &task), 0);
	wh_scope_open(&inner, &(struct wh_scope_opts){.deadline_ns = bare_after(WH_MS)});
	check_int(wh_task_join(task, &result), -ETIMEDOUT);
	check_int(wh_task_join(task, &result), -ETIMEDOUT);
	check_int(wh_scope_close(&inner), -ETIMEDOUT);
	check_int(result, 0);
	check_int(wh_task_join(task, &result), 0);
	check_int(result, 9);
	return wh_scope_close(&outer);
}

static int join_and_note(void *arg)
{
	struct wh_task **task = arg;
	int result = 0;
	int r = wh_task_join(*task, &result);

	check_int(r, 0);
	check_int(result, 5);
	note('j');
	return 0;
}

static int cancel_scope(void *arg)
{
	wh_scope_cancel(arg);
	return 0;
}

/* The task ends, and before the joiner has run it is cancelled: the result is delivered still. */
static int result_is_delivered_to_a_joiner_cancelled_later(void *arg)
{
	struct wh_scope outer, joiners;
	struct wh_task *task;

	(void)arg;
	wh_scope_open(&outer, NULL);
	wh_scope_open(&joiners, NULL);
	check_int(wh_spawn(&joiners, join_and_note, &task), 0);
	check_int(wh_spawn(&outer, return_arg, (void *)5, .ret_task = &task), 0);
	check_int(wh_spawn(&outer, cancel_scope, &joiners), 0);
	check_int(wh_scope_close(&joiners), -ECANCELED);
	check_trace("j");
	return wh_scope_close(&outer);
}

static int wait_then_end(void *arg)
{
	bool *go = arg;

	while (!*go)
		check_int(wh_yield(), 0);
	return 5;
}

static int close_inner(void *arg)
{
	struct wh_task **task = arg;
	struct wh_scope scope;
	bool go = false;

	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, wait_then_end, &go, .ret_task = task), 0);
	for (int i = 0; i < 3; i++)
		check_int(wh_yield(), 0);
	/* Ready again before the joiner is: when this runs on, the task has ended, the joiner has
	 * been woken but has not run. */
	go = true;
	check_int(wh_yield(), 0);
	check_int(wh_scope_close(&scope), 0);
	/* Takes the slot of whatever was released. */
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, (void *)66), 0);
	check_int(wh_spawn(&scope, return_arg, (void *)67), 0);
	return wh_scope_close(&scope);
}

static int joiner_gets_its_result_though_the_scope_closes_first(void *arg)
{
	struct wh_task *task = NULL;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, close_inner, &task), 0);
	check_int(wh_yield(), 0);
	check_int(wh_spawn(&scope, join_and_note, &task), 0);
	check_int(wh_scope_close(&scope), 0);
	check_trace("j");
	return 0;
}

static int two_tasks_that_share_a_slot(void *arg)
{
	struct wh_task *self = wh_task_self();

	for (int i = 0; i < 3; i++) {
		check(wh_task_self() == self);
		check_int(wh_yield(), 0);
	}
	return (int)(intptr_t)arg;
}

/* A stack that were released twice would be given to two tasks. */
static int no_stack_is_given_to_two_tasks(void *arg)
{
	struct wh_task *tasks[8];
	struct wh_scope scope;

	check_int(joiner_gets_its_result_though_the_scope_closes_first(arg), 0);
	wh_scope_open(&scope, NULL);
	for (intptr_t i = 0; i < 8; i++)
		check_int(wh_spawn(&scope, two_tasks_that_share_a_slot, (void *)i,
				   .ret_task = &tasks[i]), 0);
	for (int i = 0; i < 8; i++)
		for (int j = 0; j < i; j++)
			check(tasks[i] != tasks[j]);
	for (int i = 0; i < 8; i++) {
		int result = -1;

		check_int(wh_task_join(tasks[i], &result), 0);
		check_int(result, i);
	}
	return wh_scope_close(&scope);
}

/* Sleeping */

static int sleep_ends_at_its_deadline(void *arg)
{
	uint64_t deadline = bare_after(3 * WH_SEC + 1);

	(void)arg;
	check_int(wh_sleep_until(deadline), 0);
	check(bare_now() >= deadline);
	check(bare_now() < deadline + 2048);
	return 0;
}

static int past_deadline_only_yields(void *arg)
{
	struct wh_scope scope;
	uint64_t before = bare_now();

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, note_arg, letter('a')), 0);
	check_int(wh_sleep_until(before), 0);
	check_trace("a");
	check_int(bare_now(), before);
	return wh_scope_close(&scope);
}

static int sleep_zero_only_yields(void *arg)
{
	uint64_t before = bare_now();

	(void)arg;
	check_int(wh_sleep(0), 0);
	check_int(bare_now(), before);
	return 0;
}

static int sleep_and_note(void *arg)
{
	char c = (char)(intptr_t)arg;

	check_int(wh_sleep_until(bare_after((uint64_t)(c - 'a') * WH_SEC)), 0);
	note(c);
	return 0;
}

static int sleepers_wake_in_order_of_their_deadlines(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (const char *c = "dbeca"; *c; c++)
		check_int(wh_spawn(&scope, sleep_and_note, letter(*c)), 0);
	check_int(wh_scope_close(&scope), 0);
	check_trace("abcde");
	return 0;
}

static int sleep_forever(void *arg)
{
	(void)arg;
	return wh_sleep_until(UINT64_MAX);
}

static int sleep_without_end_is_ended_by_cancellation(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;
	int result = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, sleep_forever, NULL, .ret_task = &task), 0);
	check_int(wh_yield(), 0);
	wh_task_cancel(task);
	check_int(wh_task_join(task, &result), 0);
	check_int(result, -ECANCELED);
	check_int(whi_sched_self()->wheel.count, 0);
	return wh_scope_close(&scope);
}

/* Cancelling one task */

static int cancelling_an_ended_task_is_harmless(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;
	int result = -1;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, (void *)3, .ret_task = &task), 0);
	check_int(wh_yield(), 0);
	wh_task_cancel(task);
	check_int(wh_task_join(task, &result), 0);
	check_int(result, 3);
	return wh_scope_close(&scope);
}

static int cancelling_one_task_spares_its_siblings(void *arg)
{
	struct wh_task *task, *sibling;
	struct wh_scope scope;
	int result = -1;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, sleep_long, NULL, .ret_task = &task), 0);
	check_int(wh_spawn(&scope, sleep_long, (void *)4, .ret_task = &sibling), 0);
	check_int(wh_yield(), 0);
	wh_task_cancel(task);
	check_int(wh_task_join(task, &result), 0);
	check_int(result, -ECANCELED);
	check_int(wh_task_join(sibling, &result), 0);
	check_int(result, 4);
	check_int(wh_scope_close(&scope), 0);
	return 0;
}

static int cancel_itself(void *arg)
{
	(void)arg;
	wh_task_cancel(wh_task_self());
	check_int(wh_cancelled(), -ECANCELED);
	return wh_yield();
}

static int task_can_cancel_itself(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;
	int result = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, cancel_itself, NULL, .ret_task = &task), 0);
	check_int(wh_task_join(task, &result), 0);
	check_int(result, -ECANCELED);
	return wh_scope_close(&scope);
}

static int task_cancelled_before_it_ran_sees_it_at_once(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;
	int result = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, sleep_long, NULL, .ret_task = &task), 0);
	wh_task_cancel(task);
	check_int(wh_task_join(task, &result), 0);
	check_int(result, -ECANCELED);
	return wh_scope_close(&scope);
}

/* Many */

static int yield_once(void *arg)
{
	(void)arg;
	return wh_yield();
}

static int spawn_many(enum whi_guard guard)
{
	struct wh_scope scope;

	whi_sched_self()->stacks.guard = guard;
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < MANY; i++)
		check_int(wh_spawn(&scope, yield_once, NULL), 0);
	check_int(whi_sched_self()->tasks_live, MANY + 1);
	return wh_scope_close(&scope);
}

static int forty_thousand_tasks_with_guard_markers(void *arg)
{
	(void)arg;
	/* Where the kernel has none the pool itself falls back to the next kind. */
	return spawn_many(WHI_GUARD_MARKER);
}

/* More than the process may have mappings: the rest fall back to canaries. */
static int forty_thousand_tasks_with_protected_guards(void *arg)
{
	(void)arg;
	return spawn_many(WHI_GUARD_MPROTECT);
}

static int forty_thousand_tasks_with_canaries(void *arg)
{
	(void)arg;
	return spawn_many(WHI_GUARD_CANARY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bare_test(spawned_task_runs_when_its_parent_suspends),
		bare_test(tasks_run_in_the_order_they_were_spawned),
		bare_test(name_is_the_functions_unless_given),
		bare_test(long_name_is_cut_after_23_bytes),
		bare_test(task_knows_where_it_was_spawned),
		bare_test(self_is_the_handle),
		bare_test(spawning_beyond_the_limit_fails_and_recovers, .tasks_max = 10),
		bare_test(stack_size_out_of_range_is_refused),
		bare_test(stack_has_the_size_asked_for),
		bare_test(spawning_without_memory_fails_and_recovers),
		bare_test(yield_lets_every_ready_task_run_once),
		cmocka_unit_test(tasks_that_keep_each_other_ready_do_not_keep_the_loop),
		bare_test(errno_is_a_tasks_own),
		bare_test(join_gives_the_result),
		bare_test(join_of_an_ended_task_does_not_suspend),
		bare_test(join_without_wanting_the_result),
		bare_test(joining_itself_is_refused),
		bare_test(interrupted_join_leaves_task_and_handle),
		bare_test(result_is_delivered_to_a_joiner_cancelled_later),
		bare_test(joiner_gets_its_result_though_the_scope_closes_first),
		bare_test(no_stack_is_given_to_two_tasks),
		bare_test(sleep_ends_at_its_deadline),
		bare_test(past_deadline_only_yields),
		bare_test(sleep_zero_only_yields),
		bare_test(sleepers_wake_in_order_of_their_deadlines),
		bare_test(sleep_without_end_is_ended_by_cancellation),
		bare_test(cancelling_an_ended_task_is_harmless),
		bare_test(cancelling_one_task_spares_its_siblings),
		bare_test(task_can_cancel_itself),
		bare_test(task_cancelled_before_it_ran_sees_it_at_once),
		bare_test(forty_thousand_tasks_with_guard_markers),
		bare_test(forty_thousand_tasks_with_protected_guards),
		bare_test(forty_thousand_tasks_with_canaries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
