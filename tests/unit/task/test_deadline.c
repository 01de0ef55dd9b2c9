/*
 * Deadlines of scopes, and shields: what reaches whom, and when. Time is virtual.
 */
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

static int sleep_a_second(void *arg)
{
	(void)arg;
	return wh_sleep_until(bare_after(WH_SEC));
}

/* Deadlines */

static int deadline_cancels_with_a_timeout(void *arg)
{
	uint64_t deadline = bare_after(WH_SEC);
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = deadline });
	check_int(wh_sleep_until(UINT64_MAX), -ETIMEDOUT);
	check(bare_now() >= deadline);
	check(bare_now() < deadline + 2048);
	check_int(wh_yield(), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static int timeout_is_relative(void *arg)
{
	struct wh_scope scope;
	uint64_t before = bare_now();

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 3600 * WH_SEC });
	check_int(wh_sleep_until(UINT64_MAX), -ETIMEDOUT);
	check(bare_now() >= before + 3600 * WH_SEC);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static int earlier_of_timeout_and_deadline_counts(void *arg)
{
	uint64_t deadline = bare_after(WH_SEC);
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = deadline,
						       .timeout_ns = 3600 * WH_SEC });
	check_int(wh_sleep_until(UINT64_MAX), -ETIMEDOUT);
	check(bare_now() < deadline + WH_SEC);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static int past_deadline_cancels_at_once(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = 1 });
	check_int(wh_scope_status(&scope), -ETIMEDOUT);
	check_int(wh_yield(), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static int deadline_that_is_kept_does_nothing(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = bare_after(WH_SEC) });
	check_int(wh_sleep_until(bare_after(WH_MS)), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(whi_sched_self()->wheel.count, 0);
	check_int(wh_sleep_until(bare_after(2 * WH_SEC)), 0);
	return 0;
}

static int outer_deadline_counts_inside(void *arg)
{
	uint64_t deadline = bare_after(WH_SEC);
	struct wh_scope outer, inner;

	(void)arg;
	wh_scope_open(&outer, &(struct wh_scope_opts){ .deadline_ns = deadline });
	wh_scope_open(&inner, &(struct wh_scope_opts){ .deadline_ns = deadline + WH_SEC });
	check_int(wh_sleep_until(UINT64_MAX), -ETIMEDOUT);
	check(bare_now() < deadline + WH_MS);
	check_int(wh_scope_close(&inner), -ETIMEDOUT);
	check_int(wh_scope_close(&outer), -ETIMEDOUT);
	return 0;
}

static int inner_deadline_leaves_the_outer_alone(void *arg)
{
	uint64_t deadline = bare_after(WH_SEC);
	struct wh_scope outer, inner;

	(void)arg;
	wh_scope_open(&outer, &(struct wh_scope_opts){ .deadline_ns = deadline + WH_SEC });
	wh_scope_open(&inner, &(struct wh_scope_opts){ .deadline_ns = deadline });
	check_int(wh_sleep_until(UINT64_MAX), -ETIMEDOUT);
	check_int(wh_scope_close(&inner), -ETIMEDOUT);
	check_int(wh_scope_status(&outer), 0);
	check_int(wh_sleep_until(UINT64_MAX), -ETIMEDOUT);
	check(bare_now() >= deadline + WH_SEC);
	check_int(wh_scope_close(&outer), -ETIMEDOUT);
	return 0;
}

static int first_reason_stays(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = bare_after(WH_SEC) });
	wh_scope_cancel(&scope);
	check_int(whi_sched_self()->wheel.count, 0);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = 1 });
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static int deadline_fires_while_closing(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = bare_after(WH_SEC) });
	check_int(wh_spawn(&scope, sleep_forever, NULL, .ret_task = &task), 0);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	check_int(wh_yield(), 0);
	return 0;
}

static int failure_beats_the_deadline_it_came_before(void *arg)
{
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = bare_after(WH_SEC) });
	check_int(wh_spawn(&scope, return_arg, (void *)-EIO), 0);
	check_int(wh_scope_close(&scope), -EIO);
	return 0;
}

static int deadline_reaches_tasks_with_the_same_reason(void *arg)
{
	struct wh_task *task;
	struct wh_scope scope;
	int result = 0;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = bare_after(WH_SEC) });
	check_int(wh_spawn(&scope, sleep_forever, NULL, .ret_task = &task), 0);
	check_int(wh_yield(), 0);
	check_int(wh_sleep_until(UINT64_MAX), -ETIMEDOUT);
	check_int(wh_yield(), -ETIMEDOUT);
	while (task->state != WHI_TASK_ENDED) {
		struct wh_scope shield;

		wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
		check_int(wh_yield(), 0);
		wh_scope_close(&shield);
	}
	check_int(wh_task_join(task, &result), 0);
	check_int(result, -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

/* Shields */

static int shield_keeps_cancellation_outside(void *arg)
{
	struct wh_scope outer, shield;

	(void)arg;
	wh_scope_open(&outer, NULL);
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	check_int(wh_spawn(&shield, sleep_a_second, NULL), 0);
	wh_scope_cancel(&outer);
	check_int(wh_sleep_until(bare_after(WH_SEC)), 0);
	check_int(wh_scope_close(&shield), 0);
	check_int(wh_yield(), -ECANCELED);
	check_int(wh_scope_close(&outer), -ECANCELED);
	return 0;
}

static int shield_opened_in_a_cancelled_scope_is_not_cancelled(void *arg)
{
	struct wh_scope outer, shield;

	(void)arg;
	wh_scope_open(&outer, NULL);
	wh_scope_cancel(&outer);
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	check_int(wh_scope_status(&shield), 0);
	check_int(wh_sleep_until(bare_after(WH_SEC)), 0);
	check_int(wh_scope_close(&shield), 0);
	check_int(wh_scope_close(&outer), -ECANCELED);
	return 0;
}

static int shield_keeps_deadlines_outside(void *arg)
{
	struct wh_scope outer, shield;

	(void)arg;
	wh_scope_open(&outer, &(struct wh_scope_opts){ .deadline_ns = bare_after(WH_MS) });
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	check_int(wh_sleep_until(bare_after(WH_SEC)), 0);
	check_int(wh_scope_close(&shield), 0);
	check_int(wh_scope_close(&outer), -ETIMEDOUT);
	return 0;
}

static int shield_has_a_deadline_of_its_own(void *arg)
{
	struct wh_scope outer, shield;

	(void)arg;
	wh_scope_open(&outer, NULL);
	wh_scope_cancel(&outer);
	wh_scope_open(&shield,
		      &(struct wh_scope_opts){ .shield = true, .deadline_ns = bare_after(WH_SEC) });
	check_int(wh_sleep_until(UINT64_MAX), -ETIMEDOUT);
	check_int(wh_scope_close(&shield), -ETIMEDOUT);
	check_int(wh_scope_close(&outer), -ECANCELED);
	return 0;
}

static int shield_can_be_cancelled_itself(void *arg)
{
	struct wh_scope shield;

	(void)arg;
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	wh_scope_cancel(&shield);
	check_int(wh_yield(), -ECANCELED);
	check_int(wh_scope_close(&shield), -ECANCELED);
	return 0;
}

static int scope_below_a_shield_is_shielded(void *arg)
{
	struct wh_scope outer, shield, inner;

	(void)arg;
	wh_scope_open(&outer, NULL);
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	wh_scope_open(&inner, NULL);
	wh_scope_cancel(&outer);
	check_int(wh_yield(), 0);
	check_int(wh_scope_close(&inner), 0);
	check_int(wh_scope_close(&shield), 0);
	check_int(wh_scope_close(&outer), -ECANCELED);
	return 0;
}

static int shielded_sleep(void *arg)
{
	struct wh_scope shield;

	(void)arg;
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	check_int(wh_sleep_until(bare_after(WH_SEC)), 0);
	check_int(wh_scope_close(&shield), 0);
	check_int(wh_cancelled(), -ECANCELED);
	return wh_yield();
}

static int task_in_a_shield_sees_the_cancellation_after_it(void *arg)
{
	uint64_t before = bare_now();
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, shielded_sleep, NULL), 0);
	check_int(wh_yield(), 0);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check(bare_now() >= before + WH_SEC);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bare_test(deadline_cancels_with_a_timeout),
		bare_test(timeout_is_relative),
		bare_test(earlier_of_timeout_and_deadline_counts),
		bare_test(past_deadline_cancels_at_once),
		bare_test(deadline_that_is_kept_does_nothing),
		bare_test(outer_deadline_counts_inside),
		bare_test(inner_deadline_leaves_the_outer_alone),
		bare_test(first_reason_stays),
		bare_test(deadline_fires_while_closing),
		bare_test(failure_beats_the_deadline_it_came_before),
		bare_test(deadline_reaches_tasks_with_the_same_reason),
		bare_test(shield_keeps_cancellation_outside),
		bare_test(shield_opened_in_a_cancelled_scope_is_not_cancelled),
		bare_test(shield_keeps_deadlines_outside),
		bare_test(shield_has_a_deadline_of_its_own),
		bare_test(shield_can_be_cancelled_itself),
		bare_test(scope_below_a_shield_is_shielded),
		bare_test(task_in_a_shield_sees_the_cancellation_after_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
