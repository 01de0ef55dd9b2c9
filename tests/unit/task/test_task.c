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

enum { MANY = 4 * TEST_ROUNDS };

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
				   .stack_bytes = bytes),
			  0);
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
	const struct wh_spawn_opts opts = { 0 };
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

static int many_tasks_with_guard_markers(void *arg)
{
	(void)arg;
	/* Where the kernel has none the pool itself falls back to the next kind. */
	return spawn_many(WHI_GUARD_MARKER);
}

/* More than the process may have mappings: the rest fall back to canaries. */
static int many_tasks_with_protected_guards(void *arg)
{
	(void)arg;
	return spawn_many(WHI_GUARD_MPROTECT);
}

static int many_tasks_with_canaries(void *arg)
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
		bare_test(sleep_ends_at_its_deadline),
		bare_test(past_deadline_only_yields),
		bare_test(sleep_zero_only_yields),
		bare_test(sleepers_wake_in_order_of_their_deadlines),
		bare_test(sleep_without_end_is_ended_by_cancellation),
		bare_test(many_tasks_with_guard_markers),
		bare_test(many_tasks_with_protected_guards),
		bare_test(many_tasks_with_canaries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
