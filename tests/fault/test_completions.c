/*
 * Operations that fail: every scenario is run with its first operation failing, then its second,
 * and so on until nothing fails any more. Each failure comes out as itself or is dealt with;
 * nothing leaks and nothing hangs. Then with an operation interrupted, and with transfers of a few
 * bytes only, which changes nothing at all.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scenarios.h"
#include "support/faulty_backend.h"
#include "support/task_test.h"

enum { SECONDS_MAX = 200, OPERATIONS_MAX = 10000 };

static uint64_t operations_failed;

static int run_once(const struct scenario *scenario, const struct faulty_plan *plan)
{
	const struct wh_run_opts opts = { .loops = scenario->loops };
	unsigned before = open_fds();
	int result = 0;
	int r;

	faulty_set(plan);
	r = wh_run(scenario->fn, NULL, &opts, &result);
	if (open_fds() != before)
		fail_msg("%s, operation %ju, %s: a descriptor is left", scenario->name,
			 (uintmax_t)plan->nth, faulty_name());
	return r < 0 ? r : result;
}

/* What the other side sees of a connection that failed on this one. */
static bool is_consequence(int error)
{
	return error == -EPIPE || error == -ECONNRESET;
}

static void each_fails(const struct scenario *scenario, enum faulty_mode mode, int error)
{
	struct faulty_plan plan = { .mode = mode, .error = error };

	alarm(SECONDS_MAX);
	for (plan.nth = 1; plan.nth < OPERATIONS_MAX; plan.nth++) {
		int result = run_once(scenario, &plan);

		if (result != 0 && result != faulty_error() && !is_consequence(result))
			fail_msg("%s, operation %ju, %s failing with %d: %d", scenario->name,
				 (uintmax_t)plan.nth, faulty_name(), faulty_error(), result);
		if (faulty_count() < plan.nth)
			break;
	}
	alarm(0);
	operations_failed += plan.nth - 1;
	printf("%s: %ju operations\n", scenario->name, (uintmax_t)plan.nth - 1);
}

static void every_operation_may_fail(void **state)
{
	each_fails(*state, FAULTY_NTH, 0);
}

static void every_operation_may_fail_before_it_is_queued(void **state)
{
	each_fails(*state, FAULTY_NTH_INSIDE, 0);
	each_fails(*state, FAULTY_NTH_INSIDE, -ENOMEM);
	each_fails(*state, FAULTY_NTH_INSIDE, -EAGAIN);
}

static void an_interruption_is_not_noticed(void **state)
{
	const struct scenario *scenario = *state;

	for (uint64_t nth = 1; nth < OPERATIONS_MAX; nth++) {
		const struct faulty_plan plan = { FAULTY_NTH, nth, -EINTR };
		int result;

		alarm(SECONDS_MAX);
		result = run_once(scenario, &plan);
		/* Linux closes also when that is interrupted: asking again would be a mistake. */
		if (result != 0 && strcmp(faulty_name(), "close") != 0)
			fail_msg("%s, operation %ju, %s interrupted: %d", scenario->name,
				 (uintmax_t)nth, faulty_name(), result);
		if (faulty_count() < nth)
			break;
	}
	alarm(0);
}

static void short_transfers_change_nothing(void **state)
{
	const struct faulty_plan plan = { .mode = FAULTY_SHORT };

	alarm(SECONDS_MAX);
	assert_int_equal(run_once(*state, &plan), 0);
	alarm(0);
}

static int make(void **state)
{
	(void)state;
	make_folder(scenario_folder);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	remove_folder(scenario_folder);
	/* Otherwise the faulty backend was not the one in use. */
	return getenv("TEST_FILTER") || operations_failed > 0 ? 0 : -1;
}

struct property {
	const char *name;
	CMUnitTestFunction test;
};

int main(void)
{
	static const struct property properties[] = {
		{ "operation fails", every_operation_may_fail },
		{ "operation cannot be queued", every_operation_may_fail_before_it_is_queued },
		{ "operation is interrupted", an_interruption_is_not_noticed },
		{ "short transfers", short_transfers_change_nothing },
	};
	enum { PROPERTIES = sizeof(properties) / sizeof(properties[0]) };
	static char names[PROPERTIES * 16][100];
	struct CMUnitTest tests[PROPERTIES * 16];
	unsigned count = 0;

	for (unsigned i = 0; i < PROPERTIES; i++)
		for (unsigned j = 0; j < scenario_count; j++) {
			snprintf(names[count], sizeof(names[count]), "%s: %s", properties[i].name,
				 scenarios[j].name);
			tests[count] = (struct CMUnitTest){
				.name = names[count],
				.test_func = properties[i].test,
				.initial_state = (void *)(uintptr_t)&scenarios[j],
			};
			count++;
		}
	return _cmocka_run_group_tests("completions", tests, count, make, clean);
}
