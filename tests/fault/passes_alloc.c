#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "passes.h"
#include "support/faulty_alloc.h"
#include "support/task_test.h"
#include "torture.h"

enum {
	ALLOCATIONS_MAX = 10000,
	WANTED = 24000,
	RUNS_MAX = 100000,
	RUNS_A_PASS = 300,
	SEED = 20250
};

static uint64_t failed_before;

uint64_t allocations_failed(void)
{
	return failed_before;
}

/* Returns how many allocations were refused; `ret_asked` gets how many were asked for. */
static uint64_t run(const struct scenario *scenario, const struct faulty_pick *pick,
		    uint64_t *ret_asked)
{
	char what[120];
	uint64_t failed;
	int error;

	snprintf(what, sizeof(what), "allocation %" PRIu64 ", then every %" PRIu64 ", %" PRIu64,
		 pick->first, pick->step, pick->max);
	faulty_alloc_set(pick);
	error = torture_run(scenario, what);
	failed = faulty_alloc_failed();
	*ret_asked = whi_alloc_count();
	faulty_alloc_set(&(struct faulty_pick){ 0 });
	/* A server that has no memory for a connection drops it, which its client sees. */
	if (error != 0 && (failed == 0 || (error != -ENOMEM && !torture_is_consequence(error))))
		fail_msg("%s: %s: %d", scenario->name, what, error);
	failed_before += failed;
	return failed;
}

/* How many a run asks for in which none fails. */
static uint64_t asked_by(const struct scenario *scenario)
{
	uint64_t asked;

	run(scenario, &(struct faulty_pick){ .first = UINT64_MAX }, &asked);
	return asked;
}

/* From `first` to `last`, so that there are not too many. */
static uint64_t stride(uint64_t first, uint64_t last)
{
	return 1 + (uint64_t)((double)(last - first) / (RUNS_A_PASS * torture_scale));
}

/* All of them, unless a shorter run was asked for. */
void each_allocation_may_fail(void **state)
{
	const struct scenario *scenario = *state;
	uint64_t most = asked_by(scenario), asked;

	assert_true(most > 0);
	for (uint64_t n = 1; n <= most; n += torture_scale < 1 ? stride(1, most) : 1)
		run(scenario, &(struct faulty_pick){ .first = n }, &asked);
	printf("%s: %" PRIu64 " allocations\n", scenario->name, most);
}

void all_allocations_from_one_on_may_fail(void **state)
{
	uint64_t most = asked_by(*state), asked;

	assert_true(most > 0);
	for (uint64_t n = 1; n <= most; n += stride(1, most))
		run(*state, &(struct faulty_pick){ .first = n, .step = 1 }, &asked);
}

void every_kth_allocation_may_fail(void **state)
{
	uint64_t most = asked_by(*state), asked;

	assert_true(most > 0);
	for (uint64_t k = 2; k <= most; k += stride(2, most))
		run(*state, &(struct faulty_pick){ .first = k, .step = k }, &asked);
}

void allocations_may_fail_at_random(void **state)
{
	uint64_t wanted = (uint64_t)(WANTED * torture_scale), seed = SEED, asked[64];

	(void)state;
	for (unsigned i = 0; i < scenario_count; i++)
		asked[i] = asked_by(&scenarios[i]);
	for (unsigned runs = 0; failed_before < wanted && runs < RUNS_MAX; runs++) {
		unsigned i = (unsigned)(random_next(&seed) % scenario_count);
		struct faulty_pick pick = {
			.first = 1 + random_next(&seed) % asked[i],
			.step = 1 + random_next(&seed) % asked[i],
			.max = random_next(&seed) % 4,
		};
		uint64_t unused;

		run(&scenarios[i], &pick, &unused);
	}
	assert_true(failed_before >= wanted);
}
