/*
 * The engine without memory: every scenario is run with its first allocation failing, then its
 * second, and so on until nothing fails any more. Each failure is an error that the headers name;
 * nothing leaks, neither memory (LeakSanitizer looks) nor descriptors, and nothing hangs.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "scenarios.h"
#include "support/task_test.h"

enum { SECONDS_MAX = 120, ALLOCATIONS_MAX = 10000 };

static int run_once(const struct scenario *scenario, uint64_t failing, uint64_t *ret_asked)
{
	const struct wh_run_opts opts = { .loops = scenario->loops };
	unsigned before = open_fds();
	int result = 0;
	int r;

	whi_alloc_fail_at(failing);
	r = wh_run(scenario->fn, NULL, &opts, &result);
	*ret_asked = whi_alloc_count();
	whi_alloc_fail_at(0);
	if (open_fds() != before)
		fail_msg("%s, allocation %ju: a descriptor is left", scenario->name,
			 (uintmax_t)failing);
	return r < 0 ? r : result;
}

/* A server that has no memory for a connection drops it, which its client sees. */
static bool is_expected(int error)
{
	return error == 0 || error == -ENOMEM || error == -EPIPE || error == -ECONNRESET;
}

static void every_allocation_may_fail(void **state)
{
	const struct scenario *scenario = *state;
	unsigned failures = 0;
	uint64_t asked = 0;

	alarm(SECONDS_MAX);
	for (uint64_t failing = 1; failing < ALLOCATIONS_MAX; failing++) {
		int error = run_once(scenario, failing, &asked);

		if (!is_expected(error))
			fail_msg("%s, allocation %ju: %d", scenario->name, (uintmax_t)failing,
				 error);
		failures += error < 0;
		/* Fewer were asked for than the one that was to fail. */
		if (asked < failing) {
			assert_int_equal(error, 0);
			break;
		}
	}
	alarm(0);
	printf("%s: %ju allocations, %u of them essential\n", scenario->name, (uintmax_t)asked,
	       failures);
	assert_true(failures > 0);
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
	return 0;
}

int main(void)
{
	struct CMUnitTest tests[16];

	for (unsigned i = 0; i < scenario_count; i++)
		tests[i] = (struct CMUnitTest){
			.name = scenarios[i].name,
			.test_func = every_allocation_may_fail,
			.initial_state = (void *)(uintptr_t)&scenarios[i],
		};
	return _cmocka_run_group_tests("alloc", tests, scenario_count, make, clean);
}
