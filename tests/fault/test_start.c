/*
 * Runtimes that cannot start, or lack something once they run: whatever the engine asks the system
 * for to make loops, stacks and threads fails, each call of it in turn, once or from there on, with
 * each error it is known for. wh_run then says so as documented, or does without; nothing is left.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "outcome.h"
#include "support/faulty_system.h"
#include "support/task_test.h"
#include "torture.h"

/* Under ThreadSanitizer, where it takes long, one error: threads do the same whichever it is. */
enum { CALLS_MAX = 1000, ERRORS_MAX = 6, ERRORS_TRIED = TEST_ROUNDS <= 1000 ? 1 : ERRORS_MAX };

struct fault {
	enum faulty_call call;
	const char *backend;	/* NULL: any */
	bool optional;		/* the engine does without */
	int errors[ERRORS_MAX]; /* ends with 0 */
};

static const struct fault faults[] = {
	{ FAULTY_MMAP, NULL, false, { ENOMEM } },
	{ FAULTY_MADVISE, NULL, true, { EINVAL, ENOMEM, ENOSYS } },
	{ FAULTY_SIGALTSTACK, NULL, false, { ENOMEM } },
	{ FAULTY_PTHREAD_CREATE, NULL, false, { EAGAIN } },
	{ FAULTY_EVENTFD, NULL, false, { EMFILE, ENFILE, ENOMEM } },
	{ FAULTY_EPOLL_CREATE, "epoll", false, { EMFILE, ENFILE, ENOMEM } },
	{ FAULTY_EPOLL_CTL, "epoll", false, { ENOMEM, ENOSPC } },
	{ FAULTY_RING_SETUP, "uring", false, { ENOSYS, EPERM, EMFILE, ENFILE, EACCES } },
	{ FAULTY_RING_PROBE, "uring", false, { ENOMEM } },
	{ FAULTY_RING_REGISTER, "uring", true, { EBUSY, EINVAL, ENOMEM } },
	{ FAULTY_BUF_RING_SETUP, "uring", false, { EINVAL, ENOMEM } },
};

static unsigned failures;

/* Returns whether something failed. */
static bool run(const struct scenario *scenario, const struct fault *fault,
		const struct faulty_pick *pick, int error)
{
	char what[160];
	bool failed;
	int r;

	snprintf(what, sizeof(what), "%s, call %ju, then every %ju, fails with %s on %s",
		 faulty_call_names[fault->call], (uintmax_t)pick->first, (uintmax_t)pick->step,
		 strerrorname_np(error), torture_backend);
	faulty_system_set(fault->call, pick, error);
	r = torture_run(scenario, what);
	failed = faulty_system_failed() > 0;
	faulty_system_set(fault->call, &(struct faulty_pick){ 0 }, 0);
	if (r != 0 && (!failed || fault->optional ||
		       (r != -error && r != -ENOMEM && !torture_is_consequence(r))))
		fail_msg("%s: %s: %d", scenario->name, what, r);
	failures += failed;
	return failed;
}

static void each_call_may_fail(const struct scenario *scenario, const struct fault *fault)
{
	for (int i = 0; i < ERRORS_TRIED && fault->errors[i]; i++)
		for (uint64_t step = 0; step <= 1; step++) {
			struct faulty_pick pick = { .first = 1, .step = step };

			while (run(scenario, fault, &pick, fault->errors[i]) &&
			       pick.first < CALLS_MAX)
				pick.first++;
			assert_true(pick.first < CALLS_MAX);
		}
}

static void runtime_cannot_get_what_it_needs(void **state)
{
	torture_backend = *state;
	if (!torture_possible())
		skip();
	failures = 0;
	for (unsigned i = 0; i < scenario_count; i++)
		for (unsigned j = 0; j < sizeof(faults) / sizeof(faults[0]); j++)
			if (!faults[j].backend || strcmp(faults[j].backend, torture_backend) == 0)
				each_call_may_fail(&scenarios[i], &faults[j]);
	printf("%s: %u calls failed\n", torture_backend, failures);
	assert_true(failures > 100);
}

/* Rings are made smaller first, and then waited for: only once. */
static void no_locked_memory_is_reported(void **state)
{
	static const struct fault fault = { .call = FAULTY_RING_SETUP };

	torture_backend = "uring";
	(void)state;
	if (!torture_possible())
		skip();
	assert_true(run(&scenarios[0], &fault, &(struct faulty_pick){ 1, 1, 0 }, ENOMEM));
	/* One refusal is made up for by a smaller ring. */
	faulty_system_set(FAULTY_RING_SETUP, &(struct faulty_pick){ .first = 1 }, ENOMEM);
	assert_int_equal(torture_run(&scenarios[0], "the first ring has no memory"), 0);
	faulty_system_set(FAULTY_RING_SETUP, &(struct faulty_pick){ 0 }, 0);
}

/* With every number of descriptors up to those that are enough. */
static void descriptors_run_out(void **state)
{
	const struct wh_run_opts opts = { .loops = 1, .backend = *state };
	unsigned before = open_fds(), refused = 0;
	struct rlimit old, limit;
	int r, result = 0;

	torture_backend = *state;
	if (!torture_possible())
		skip();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = old;
	limit.rlim_cur = 0;
	do {
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		r = did(wh_run, files, NULL, &opts, &result);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		r = r == 0 ? result : r;
		assert_true(r == 0 || r == -EMFILE);
		assert_int_equal(open_fds(), before);
		refused += r == -EMFILE;
	} while (r != 0 && limit.rlim_cur++ < old.rlim_cur);
	assert_int_equal(r, 0);
	/* The loop takes two, the file one. */
	assert_true(refused >= 3);
}

#define on_both(test)                                                                              \
	{ #test ": uring", test, NULL, NULL, uring },                                              \
	{                                                                                          \
#test ": epoll", test, NULL, NULL, epoll                                           \
	}

int main(void)
{
	static char uring[] = "uring", epoll[] = "epoll";
	const struct CMUnitTest tests[] = {
		on_both(runtime_cannot_get_what_it_needs),
		on_both(descriptors_run_out),
		cmocka_unit_test(no_locked_memory_is_reported),
	};
	int failed;

	torture_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	scenarios_fini();
	return failed;
}
