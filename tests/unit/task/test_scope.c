/*
 * Scopes: who is cancelled when, what closing waits for and what it returns. Time is virtual.
 * Deadlines and shields are in test_deadline.c.
 */
#include "task/scope.h"

#include <errno.h>

#include "support/bare_sched.h"

static int return_arg(void *arg)
{
	return (int)(intptr_t)arg;
}

static int sleep_forever(void *arg)
{
	(void)arg;
	return wh_sleep_until(UINT64_MAX);
}

static int count_up(void *arg)
{
	check_int(wh_yield(), 0);
	++*(int *)arg;
	return 0;
}

/* Closing */

static int close_waits_for_every_task(void *arg)
{
	struct wh_scope scope;
	int count = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < 10; i++)
		check_int(wh_spawn(&scope, count_up, &count), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(count, 10);
	return 0;
}

static int close_of_an_empty_scope_does_not_suspend(void *arg)
{
	uint64_t switches = whi_sched_self()->made_ready;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_scope_close(&scope), 0);
	check_int(whi_sched_self()->made_ready, switches);
	return 0;
}

struct late {
	struct wh_scope scope;
	int count;
};

static int spawn_late(void *arg)
{
	struct late *late = arg;

	check_int(wh_yield(), 0);
	check_int(wh_spawn(&late->scope, count_up, &late->count), 0);
	return 0;
}

static int close_waits_for_tasks_spawned_while_it_waits(void *arg)
{
	struct late late = { .count = 0 };

	(void)arg;
	wh_scope_open(&late.scope, NULL);
	check_int(wh_spawn(&late.scope, spawn_late, &late), 0);
	check_int(wh_scope_close(&late.scope), 0);
	check_int(late.count, 1);
	return 0;
}

static int positive_results_are_no_failure(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, (void *)17), 0);
	check_int(wh_scope_close(&scope), 0);
	return 0;
}

static int closed_scope_can_be_opened_again(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	for (int i = 0; i < 3; i++) {
		wh_scope_open(&scope, NULL);
		check_int(wh_scope_status(&scope), 0);
		check_int(wh_spawn(&scope, return_arg, (void *)-EIO), 0);
		check_int(wh_scope_close(&scope), -EIO);
	}
	return 0;
}

/* Failure */

static int first_failure_cancels_siblings_and_is_returned(void *arg)
{
	struct wh_task *sibling;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, sleep_forever, NULL, .ret_task = &sibling), 0);
	check_int(wh_spawn(&scope, return_arg, (void *)-EIO), 0);
	check_int(wh_spawn(&scope, return_arg, (void *)-EPIPE), 0);
	check_int(wh_scope_close(&scope), -EIO);
	return 0;
}

static int failure_cancels_the_opener_too(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, return_arg, (void *)-EIO), 0);
	check_int(wh_sleep_until(UINT64_MAX), -ECANCELED);
	check_int(wh_scope_status(&scope), -ECANCELED);
	check_int(wh_scope_close(&scope), -EIO);
	check_int(wh_cancelled(), 0);
	return 0;
}

static int failure_stays_inside_its_scope(void *arg)
{
	struct wh_scope outer, inner;
	int count = 0;

	(void)arg;
	wh_scope_open(&outer, NULL);
	check_int(wh_spawn(&outer, count_up, &count), 0);
	wh_scope_open(&inner, NULL);
	check_int(wh_spawn(&inner, return_arg, (void *)-EIO), 0);
	check_int(wh_scope_close(&inner), -EIO);
	check_int(wh_scope_close(&outer), 0);
	check_int(count, 1);
	return 0;
}

static int siblings_are_kept_when_asked(void *arg)
{
	struct wh_scope scope;
	int count = 0;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .keep_siblings = true });
	check_int(wh_spawn(&scope, return_arg, (void *)-EIO), 0);
	check_int(wh_spawn(&scope, count_up, &count), 0);
	check_int(wh_spawn(&scope, return_arg, (void *)-EPIPE), 0);
	check_int(wh_scope_close(&scope), -EIO);
	check_int(count, 1);
	return 0;
}

static int time_out_inside(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = bare_after(WH_MS) });
	wh_sleep_until(UINT64_MAX);
	return wh_scope_close(&scope);
}

/* Nobody told the task to stop: its own deadline is its failure. */
static int task_that_times_out_by_itself_has_failed(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, sleep_forever, NULL), 0);
	check_int(wh_spawn(&scope, time_out_inside, NULL), 0);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static int result_of_a_cancelled_task_is_no_failure(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, sleep_forever, NULL, .ret_task = &task), 0);
	check_int(wh_yield(), 0);
	wh_task_cancel(task);
	check_int(wh_scope_close(&scope), 0);
	return 0;
}

/* Cancelling */

static int cancelling_reaches_tasks_scopes_and_opener(void *arg)
{
	struct wh_scope outer, inner;

	(void)arg;
	wh_scope_open(&outer, NULL);
	check_int(wh_spawn(&outer, sleep_forever, NULL), 0);
	wh_scope_open(&inner, NULL);
	check_int(wh_spawn(&inner, sleep_forever, NULL), 0);
	check_int(wh_yield(), 0);
	wh_scope_cancel(&outer);
	check_int(wh_scope_status(&inner), -ECANCELED);
	check_int(wh_yield(), -ECANCELED);
	check_int(wh_scope_close(&inner), -ECANCELED);
	check_int(wh_scope_close(&outer), -ECANCELED);
	check_int(wh_yield(), 0);
	return 0;
}

static int cancelling_twice_is_harmless(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, sleep_forever, NULL), 0);
	check_int(wh_yield(), 0);
	wh_scope_cancel(&scope);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	return 0;
}

static int inner_scope_does_not_cancel_the_outer(void *arg)
{
	struct wh_scope outer, inner;
	int count = 0;

	(void)arg;
	wh_scope_open(&outer, NULL);
	check_int(wh_spawn(&outer, count_up, &count), 0);
	wh_scope_open(&inner, NULL);
	wh_scope_cancel(&inner);
	check_int(wh_scope_close(&inner), -ECANCELED);
	check_int(wh_scope_status(&outer), 0);
	check_int(wh_scope_close(&outer), 0);
	check_int(count, 1);
	return 0;
}

static int cancel_arg(void *arg)
{
	wh_scope_cancel(arg);
	return 0;
}

static int scope_can_be_cancelled_from_inside(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, sleep_forever, NULL), 0);
	check_int(wh_spawn(&scope, cancel_arg, &scope), 0);
	check_int(wh_scope_close(&scope), -ECANCELED);
	return 0;
}

static int ignore_everything(void *arg)
{
	int *refused = arg;

	for (int i = 0; i < 100; i++) {
		*refused += wh_sleep_until(UINT64_MAX) == -ECANCELED;
		*refused += wh_sleep(WH_SEC) == -ECANCELED;
		*refused += wh_yield() == -ECANCELED;
	}
	return 0;
}

static int ignored_results_do_not_make_a_task_immortal(void *arg)
{
	struct wh_scope scope;
	int refused = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, ignore_everything, &refused), 0);
	check_int(wh_yield(), 0);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(refused, 300);
	return 0;
}

static int note_start(void *arg)
{
	*(bool *)arg = true;
	check_int(wh_cancelled(), -ECANCELED);
	return wh_yield();
}

static int task_spawned_into_a_cancelled_scope_starts_cancelled(void *arg)
{
	struct wh_scope scope;
	bool started = false;

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_scope_cancel(&scope);
	check_int(wh_spawn(&scope, note_start, &started), 0);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check(started);
	return 0;
}

static int join_forever(void *arg)
{
	struct wh_task **task = arg;

	return wh_task_join(*task, NULL);
}

static int cancelling_ends_a_join(void *arg)
{
	struct wh_scope outer, inner;
	struct wh_task *sleeper, *joiner;
	int result = 0;

	(void)arg;
	wh_scope_open(&outer, NULL);
	check_int(wh_spawn(&outer, sleep_forever, NULL, .ret_task = &sleeper), 0);
	wh_scope_open(&inner, NULL);
	check_int(wh_spawn(&inner, join_forever, &sleeper, .ret_task = &joiner), 0);
	check_int(wh_yield(), 0);
	wh_task_cancel(joiner);
	check_int(wh_task_join(joiner, &result), 0);
	check_int(result, -ECANCELED);
	check_int(wh_scope_close(&inner), 0);
	wh_task_cancel(sleeper);
	check_int(wh_task_join(sleeper, &result), 0);
	check_int(result, -ECANCELED);
	return wh_scope_close(&outer);
}

static int close_waits_also_while_cancelled(void *arg)
{
	struct wh_scope scope;
	int refused = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, ignore_everything, &refused), 0);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(refused, 300);
	return 0;
}

/* Cancelling one task */

static int sleep_long(void *arg)
{
	int r = wh_sleep_until(bare_after(WH_SEC));

	return r < 0 ? r : (int)(intptr_t)arg;
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		bare_test(close_waits_for_every_task),
		bare_test(close_of_an_empty_scope_does_not_suspend),
		bare_test(close_waits_for_tasks_spawned_while_it_waits),
		bare_test(positive_results_are_no_failure),
		bare_test(closed_scope_can_be_opened_again),
		bare_test(first_failure_cancels_siblings_and_is_returned),
		bare_test(failure_cancels_the_opener_too),
		bare_test(failure_stays_inside_its_scope),
		bare_test(siblings_are_kept_when_asked),
		bare_test(task_that_times_out_by_itself_has_failed),
		bare_test(result_of_a_cancelled_task_is_no_failure),
		bare_test(cancelling_reaches_tasks_scopes_and_opener),
		bare_test(cancelling_twice_is_harmless),
		bare_test(inner_scope_does_not_cancel_the_outer),
		bare_test(scope_can_be_cancelled_from_inside),
		bare_test(ignored_results_do_not_make_a_task_immortal),
		bare_test(task_spawned_into_a_cancelled_scope_starts_cancelled),
		bare_test(cancelling_ends_a_join),
		bare_test(close_waits_also_while_cancelled),
		bare_test(cancelling_an_ended_task_is_harmless),
		bare_test(cancelling_one_task_spares_its_siblings),
		bare_test(task_can_cancel_itself),
		bare_test(task_cancelled_before_it_ran_sees_it_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
