#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "op/op.h"
#include "passes.h"
#include "support/faulty_backend.h"
#include "support/manual.h"
#include "support/task_test.h"
#include "torture.h"

enum { OPERATIONS_MAX = 10000, STEP_MAX = 6, OCCURRENCES_MAX = 4 };

/* Number `nth` of a scenario, or of its operations of a kind, fails with `error`. */
static struct faulty_plan nth(enum faulty_mode mode, uint64_t nth, int kind, int error)
{
	return (struct faulty_plan){ mode, kind, error, { .first = nth } };
}

/* Returns how many operations were changed. */
static uint64_t run(const struct scenario *scenario, const struct faulty_plan *plan)
{
	static const char *const modes[] = { "nothing fails", "fails", "is refused", "fails late",
					     "is short" };
	char what[160];
	uint64_t changed;
	int error;

	snprintf(what, sizeof(what),
		 "operation %" PRIu64 ", then every %" PRIu64 ", of kind '%s' %s with %d",
		 plan->pick.first, plan->pick.step,
		 plan->kind < 0 ? "any" : whi_opdefs[plan->kind].name, modes[plan->mode],
		 plan->error);
	faulty_set(plan);
	error = torture_run(scenario, what);
	changed = faulty_changed();
	if (error != 0 &&
	    (changed == 0 || (!faulty_injected(-error) && !torture_is_consequence(error))))
		fail_msg("%s: %s: %s ended with %d, and the scenario with %d", scenario->name, what,
			 faulty_name(), faulty_error(), error);
	/* Nothing but closing, which is not done twice, and what is not submitted. */
	if (error != 0 && faulty_injected(EINTR) && plan->kind != WHI_OP_CLOSE &&
	    plan->kind < WHI_OP_PERFORMED)
		fail_msg("%s: %s: the interruption came out: %d", scenario->name, what, error);
	if (error != 0 && plan->mode == FAULTY_SHORT)
		fail_msg("%s: %s: %d", scenario->name, what, error);
	faulty_set(&(struct faulty_plan){ .mode = FAULTY_OFF });
	return changed;
}

/* Operation 1, then operation 2, and so on, until there is none of that number. */
static void run_each(const struct scenario *scenario, enum faulty_mode mode, uint64_t step,
		     int error)
{
	struct faulty_plan plan = nth(mode, 1, FAULTY_ANY_KIND, error);
	uint64_t stride = torture_scale < 1 ? (uint64_t)(1 / torture_scale) : 1;

	plan.pick.step = step;
	while (run(scenario, &plan) > 0 && plan.pick.first < OPERATIONS_MAX)
		plan.pick.first += stride;
	assert_true(plan.pick.first < OPERATIONS_MAX);
}

void each_operation_may_fail(void **state)
{
	run_each(*state, FAULTY_BEFORE, 0, 0);
	run_each(*state, FAULTY_BEFORE, 1, 0);
}

void each_submission_may_be_refused(void **state)
{
	run_each(*state, FAULTY_INSIDE, 0, -ENOMEM);
	run_each(*state, FAULTY_INSIDE, 0, -EAGAIN);
	run_each(*state, FAULTY_INSIDE, 1, -ENOMEM);
	run_each(*state, FAULTY_INSIDE, 1, -EAGAIN);
}

void each_operation_may_fail_late(void **state)
{
	run_each(*state, FAULTY_AFTER, 0, 0);
}

void every_kth_operation_may_fail(void **state)
{
	for (uint64_t k = 2; k <= STEP_MAX; k++) {
		struct faulty_plan plan = nth(FAULTY_BEFORE, k, FAULTY_ANY_KIND, 0);

		plan.pick.step = k;
		run(*state, &plan);
		plan.mode = FAULTY_AFTER;
		run(*state, &plan);
		plan.mode = FAULTY_INSIDE;
		plan.error = -ENOMEM;
		run(*state, &plan);
	}
}

void short_transfers_change_nothing(void **state)
{
	struct faulty_plan plan = nth(FAULTY_SHORT, 1, FAULTY_ANY_KIND, 0);

	plan.pick.step = 1;
	run(*state, &plan);
	run_each(*state, FAULTY_SHORT, 0, 0);
}

/* How many operations of each kind a scenario makes when nothing fails. */
static void count_kinds(const struct scenario *scenario, uint64_t ret[WHI_OP_MAX])
{
	for (int kind = 0; kind < WHI_OP_MAX; kind++)
		ret[kind] = faulty_seen(kind);
	run(scenario, &(struct faulty_plan){ .mode = FAULTY_OFF, .kind = FAULTY_ANY_KIND });
	for (int kind = 0; kind < WHI_OP_MAX; kind++)
		ret[kind] = faulty_seen(kind) - ret[kind];
}

static void inject_pairs(const struct scenario *scenario, int kind, uint64_t count)
{
	uint64_t most = (uint64_t)(OCCURRENCES_MAX * torture_scale) + 1;

	for (const int *error = manual_errors_of_op(kind); *error; error++) {
		for (uint64_t number = 1; number <= count && number <= most; number++) {
			struct faulty_plan plan = nth(FAULTY_BEFORE, number, kind, -*error);

			run(scenario, &plan);
			/* What has run is not interrupted any more. */
			plan.mode = FAULTY_AFTER;
			if (*error != EINTR && number == 1 && torture_scale >= 1)
				run(scenario, &plan);
		}
	}
}

static unsigned count_pairs(bool injected)
{
	unsigned count = 0;

	for (int kind = 0; kind < WHI_OP_MAX; kind++)
		for (const int *error = manual_errors_of_op(kind); *error; error++)
			count += !injected || faulty_pairs(kind, *error) > 0;
	return count;
}

unsigned pairs_injected(void)
{
	return count_pairs(true);
}

void every_operation_may_end_with_each_of_its_errors(void **state)
{
	(void)state;
	for (unsigned i = 0; i < scenario_count; i++) {
		uint64_t counts[WHI_OP_MAX];

		count_kinds(&scenarios[i], counts);
		for (int kind = 0; kind < WHI_OP_MAX; kind++)
			inject_pairs(&scenarios[i], kind, counts[kind]);
	}
	assert_int_equal(pairs_injected(), count_pairs(false));
}

void every_kind_of_operation_is_used(void **state)
{
	(void)state;
	for (int kind = 0; kind < WHI_OP_MAX; kind++) {
		if (faulty_seen(kind) == 0)
			fail_msg("no scenario uses operation '%s'", whi_opdefs[kind].name);
		if (*manual_errors_of_op(kind) == 0)
			fail_msg("nothing says how operation '%s' can fail", whi_opdefs[kind].name);
	}
}
