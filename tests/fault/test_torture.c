/*
 * Every scenario with everything in it failing, one after the other and several at once: its
 * allocations, its operations with each error that the manual names for them, the submissions of
 * these. Whatever fails comes out as an error that the header of the call names, or is dealt with;
 * nothing leaks, neither memory nor descriptors nor threads, and nothing hangs.
 *
 * usage: test_torture [BACKEND [SCALE]]     SCALE below 1: a sample; above: more at random
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "passes.h"
#include "support/faulty_backend.h"
#include "support/task_test.h"
#include "torture.h"

enum {
	SKIPPED = 77,
	TESTS_MAX = 400,
	ALLOCATIONS_MIN = 20000,
	PAIRS_MIN = 370,
	REFUSED_MIN = 5000
};

struct pass {
	const char *name;
	CMUnitTestFunction test;
};

static struct CMUnitTest tests[TESTS_MAX];
static char names[TESTS_MAX][100];
static unsigned test_count;

static void add(const struct pass *pass, const struct scenario *scenario)
{
	if (scenario)
		snprintf(names[test_count], sizeof(names[0]), "%s: %s", pass->name, scenario->name);
	else
		snprintf(names[test_count], sizeof(names[0]), "%s", pass->name);
	tests[test_count] = (struct CMUnitTest){
		.name = names[test_count],
		.test_func = pass->test,
		.initial_state = (void *)(uintptr_t)scenario,
	};
	test_count++;
}

static void enough_was_injected(void **state)
{
	(void)state;
	printf("%s: %" PRIu64 " allocation failures injected, %u op x errno pairs, "
	       "%" PRIu64 " submissions refused\n",
	       torture_backend, allocations_failed(), pairs_injected(), faulty_refused());
	assert_true((double)allocations_failed() >= ALLOCATIONS_MIN * torture_scale);
	assert_true(pairs_injected() >= PAIRS_MIN);
	assert_true((double)faulty_refused() >= REFUSED_MIN * torture_scale);
}

static const struct pass of_a_scenario[] = {
	{ "each allocation fails", each_allocation_may_fail },
	{ "all allocations from one on fail", all_allocations_from_one_on_may_fail },
	{ "every k-th allocation fails", every_kth_allocation_may_fail },
	{ "each operation fails", each_operation_may_fail },
	{ "each submission is refused", each_submission_may_be_refused },
	{ "each operation fails late", each_operation_may_fail_late },
	{ "every k-th operation fails", every_kth_operation_may_fail },
	{ "short transfers", short_transfers_change_nothing },
};

static const struct pass of_all[] = {
	{ "every operation with each of its errors",
	  every_operation_may_end_with_each_of_its_errors },
	{ "every kind of operation is used", every_kind_of_operation_is_used },
	{ "allocations fail at random", allocations_may_fail_at_random },
	{ "enough was injected", enough_was_injected },
};

int main(int argc, char **argv)
{
	int failed;

	torture_backend = argc > 1 ? argv[1] : "uring";
	torture_scale = argc > 2 ? strtod(argv[2], NULL) : 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	torture_init();
	if (!torture_possible()) {
		scenarios_fini();
		return SKIPPED;
	}
	for (unsigned i = 0; i < sizeof(of_a_scenario) / sizeof(of_a_scenario[0]); i++)
		for (unsigned j = 0; j < scenario_count; j++)
			add(&of_a_scenario[i], &scenarios[j]);
	for (unsigned i = 0; i < sizeof(of_all) / sizeof(of_all[0]); i++)
		add(&of_all[i], NULL);
	failed = _cmocka_run_group_tests("torture", tests, test_count, NULL, NULL);
	scenarios_fini();
	return failed;
}
