/*
 * Joining: results, interruption, and that a task's memory is given back once, whoever comes first.
 */
#include <errno.h>

#include "support/bare_sched.h"

static int joined;

static int return_arg(void *arg)
{
	return (int)(intptr_t)arg;
}

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
	wh_scope_open(&inner, &(struct wh_scope_opts){ .deadline_ns = bare_after(WH_MS) });
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
	joined++;
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
	joined = 0;
	wh_scope_open(&outer, NULL);
	wh_scope_open(&joiners, NULL);
	check_int(wh_spawn(&joiners, join_and_note, &task), 0);
	check_int(wh_spawn(&outer, return_arg, (void *)5, .ret_task = &task), 0);
	check_int(wh_spawn(&outer, cancel_scope, &joiners), 0);
	check_int(wh_scope_close(&joiners), -ECANCELED);
	check_int(joined, 1);
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
	joined = 0;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, close_inner, &task), 0);
	check_int(wh_yield(), 0);
	check_int(wh_spawn(&scope, join_and_note, &task), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(joined, 1);
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
				   .ret_task = &tasks[i]),
			  0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		bare_test(join_gives_the_result),
		bare_test(join_of_an_ended_task_does_not_suspend),
		bare_test(join_without_wanting_the_result),
		bare_test(joining_itself_is_refused),
		bare_test(interrupted_join_leaves_task_and_handle),
		bare_test(result_is_delivered_to_a_joiner_cancelled_later),
		bare_test(joiner_gets_its_result_though_the_scope_closes_first),
		bare_test(no_stack_is_given_to_two_tasks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
