/*
 * Calls from one loop to another: results, failures, and cancellation at any moment.
 */
#include <errno.h>
#include <whorl/run.h>

#include "support/task_test.h"

enum { CALLS = TEST_ROUNDS };

static int run(wh_task_fn fn, void *arg, uint32_t loops)
{
	int result = -1;

	assert_int_equal(wh_run(fn, arg, &(struct wh_run_opts){ .loops = loops }, &result), 0);
	return result;
}

static int add_one(void *arg)
{
	*(int *)arg += 1;
	return (int)wh_loop_index(wh_loop_self());
}

static int call_often(void *arg)
{
	int sum = 0;

	(void)arg;
	for (unsigned i = 0; i < CALLS; i++) {
		int result = -1;

		check_int(wh_loop_call(wh_loop_at(1), add_one, &sum, &result), 0);
		check_int(result, 1);
	}
	check_int(sum, CALLS);
	return 0;
}

static void call_runs_on_the_other_loop_and_returns_the_result(void **state)
{
	(void)state;
	assert_int_equal(run(call_often, NULL, 2), 0);
}

static int call_oneself(void *arg)
{
	int sum = 0, result = -1;

	(void)arg;
	check_int(wh_loop_call(wh_loop_self(), add_one, &sum, &result), 0);
	check_int(sum, 1);
	return result;
}

static void loop_may_call_itself(void **state)
{
	(void)state;
	assert_int_equal(run(call_oneself, NULL, 1), 0);
}

static int return_error(void *arg)
{
	(void)arg;
	return -EPROTO;
}

static int call_failing(void *arg)
{
	int result = 0;

	(void)arg;
	check_int(wh_loop_call(wh_loop_at(1), return_error, NULL, &result), 0);
	check_int(result, -EPROTO);
	return wh_yield();
}

static void failure_of_a_call_is_the_callers_business(void **state)
{
	(void)state;
	assert_int_equal(run(call_failing, NULL, 2), 0);
}

static int call_when_cancelled(void *arg)
{
	struct wh_scope scope;
	int sum = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_scope_cancel(&scope);
	check_int(wh_loop_call(wh_loop_at(1), add_one, &sum, NULL), -ECANCELED);
	check_int(sum, 0);
	check_int(wh_scope_close(&scope), -ECANCELED);
	return 0;
}

static void call_of_a_cancelled_task_is_not_made(void **state)
{
	(void)state;
	assert_int_equal(run(call_when_cancelled, NULL, 2), 0);
}

static int spin(void *arg)
{
	for (int i = *(int *)arg; i > 0; i--)
		if (wh_yield() < 0)
			return -ECANCELED;
	return 0;
}

static int call_spin(void *arg)
{
	int result = 0;
	int r = wh_loop_call(wh_loop_at(1), spin, arg, &result);

	check(r == 0 || r == -ECANCELED);
	check(result == 0 || result == -ECANCELED);
	return 0;
}

/* The callee ends by itself or by the cancellation, whichever is first; the call returns once. */
static int cancel_calls(void *arg)
{
	uint64_t random = 1;

	(void)arg;
	for (unsigned i = 0; i < CALLS; i++) {
		struct wh_scope scope;
		int there = (int)(random_next(&random) % 20), here;

		here = (int)(random_next(&random) % 20);
		wh_scope_open(&scope, NULL);
		check_int(wh_spawn(&scope, call_spin, &there), 0);
		for (; here > 0; here--)
			check_int(wh_yield(), 0);
		wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), -ECANCELED);
	}
	return 0;
}

static void cancellation_that_races_the_end_of_a_call_is_harmless(void **state)
{
	(void)state;
	assert_int_equal(run(cancel_calls, NULL, 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(call_runs_on_the_other_loop_and_returns_the_result),
		cmocka_unit_test(loop_may_call_itself),
		cmocka_unit_test(failure_of_a_call_is_the_callers_business),
		cmocka_unit_test(call_of_a_cancelled_task_is_not_made),
		cmocka_unit_test(cancellation_that_races_the_end_of_a_call_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
