/*
 * A pool of processes with everything failing that the program does for it: allocations,
 * operations, system calls, descriptors. Whatever fails comes out as a documented error, or is
 * made up for; no job is done twice, nothing leaks and nothing hangs.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "op/op.h"
#include "outcome.h"
#include "support/faulty_backend.h"
#include "support/faulty_system.h"
#include "support/pool_jobs.h"
#include "support/task_test.h"

enum { JOBS = 8, FAULTS_MAX = 400, SECONDS_MAX = 240 };

static char uring[] = "uring", epoll[] = "epoll";

/* A use of a pool: every third worker's job kills it, and is tried again. */

static struct tally tally;

static int first_error(const struct offload *jobs)
{
	int r = 0;

	for (int i = 0; i < JOBS; i++) {
		uint32_t times = tally.counts[i];

		if (jobs[i].r == 0)
			check_int(times, i % 3 == 2 ? 2 : 1);
		else
			check(times <= (i % 3 == 2 ? 2 : 1));
		r = r < 0 ? r : jobs[i].r;
	}
	return r;
}

static int use(struct wh_executor *executor)
{
	struct tally_args args[JOBS];
	struct offload jobs[JOBS];
	struct wh_scope scope;
	int r = 0, closed;

	for (uint32_t i = 0; i < JOBS; i++)
		tally.counts[i] = 0;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .keep_siblings = true });
	for (uint32_t i = 0; i < JOBS; i++) {
		args[i] = (struct tally_args){ .index = i, .deaths = i % 3 == 2 };
		jobs[i] = (struct offload){ .executor = executor,
					    .call = tally_call(&tally, &args[i]) };
		jobs[i].call.idempotent = true;
		if (r == 0)
			r = wh_spawn(&scope, run_offload, &jobs[i]);
		if (r < 0)
			jobs[i].r = r;
	}
	closed = wh_scope_close(&scope);
	check_int(closed, 0);
	return first_error(jobs);
}

static int open_and_use(void *arg)
{
	struct wh_executor *executor;
	int r = did(wh_pool_open, &(struct wh_pool_opts){ .processes = 2 }, &executor);

	(void)arg;
	if (r < 0)
		return r;
	r = use(executor);
	wh_executor_close(executor);
	return r;
}

/* Run it, and look whether anything is left. */
static int run(const char *backend, const char *what, uint64_t number)
{
	const struct wh_run_opts opts = { .loops = 1, .backend = backend, .sq_entries = 16 };
	unsigned fds = open_fds();
	int64_t live = faulty_alloc_live();
	const char *call;
	int result = 0, error, r;

	alarm(SECONDS_MAX);
	r = wh_run(open_and_use, NULL, &opts, &result);
	alarm(0);
	if (open_fds() != fds || faulty_alloc_live() != live)
		fail_msg("%s %ju on %s: %u descriptors before, %u after; %jd allocations left",
			 what, (uintmax_t)number, backend, fds, open_fds(),
			 (intmax_t)(faulty_alloc_live() - live));
	call = outcome_undocumented(&error);
	if (call)
		fail_msg("%s %ju: %s returned %d, which its header does not name", what,
			 (uintmax_t)number, call, error);
	return r < 0 ? r : result;
}

static void skip_without(const char *backend)
{
	if (run(backend, "nothing", 0) == -ENOSYS || run(backend, "nothing", 0) == -EPERM)
		skip();
	assert_int_equal(run(backend, "nothing", 0), 0);
}

static void each_allocation_may_fail(void **state)
{
	skip_without(*state);
	for (uint64_t step = 0; step <= 1; step++) {
		struct faulty_pick pick = { .first = 1, .step = step };
		bool failed = true;

		for (; failed && pick.first < FAULTS_MAX; pick.first++) {
			int r;

			faulty_alloc_set(&pick);
			r = run(*state, "allocation", pick.first);
			failed = faulty_alloc_failed() > 0;
			faulty_alloc_set(&(struct faulty_pick){ 0 });
			assert_true(r == 0 || r == -ENOMEM);
		}
		assert_true(pick.first > 8 && pick.first < FAULTS_MAX);
	}
}

static void each_operation_may_fail(void **state)
{
	static const enum faulty_mode modes[] = { FAULTY_BEFORE, FAULTY_INSIDE, FAULTY_AFTER };

	skip_without(*state);
	for (unsigned i = 0; i < 3; i++)
		for (uint64_t step = 0; step <= 1; step++) {
			struct faulty_plan plan = { modes[i], FAULTY_ANY_KIND, -ENOMEM, { 0 } };
			bool failed = true;

			plan.pick = (struct faulty_pick){ .first = 1, .step = step };
			for (; failed && plan.pick.first < 40; plan.pick.first += 3) {
				faulty_set(&plan);
				/* All is made up for: these wait for nobody. */
				assert_int_equal(run(*state, "operation", plan.pick.first), 0);
				failed = faulty_changed() > 0;
			}
			faulty_set(&(struct faulty_plan){ .mode = FAULTY_OFF });
		}
}

struct fault {
	enum faulty_call call;
	int errors[4];
};

static const struct fault faults[] = {
	{ FAULTY_MEMFD, { EMFILE, ENFILE, ENOMEM } },
	{ FAULTY_SOCKETPAIR, { EMFILE, ENFILE, ENOMEM } },
	{ FAULTY_EVENTFD, { EMFILE, ENFILE, ENOMEM } },
	{ FAULTY_SPAWN, { EAGAIN, ENOMEM, EACCES } },
	{ FAULTY_SENDMSG, { EAGAIN } },
	{ FAULTY_MMAP, { ENOMEM } },
};

static void each_system_call_may_fail(void **state)
{
	unsigned failures = 0;

	skip_without(*state);
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		for (const int *error = faults[i].errors; *error; error++) {
			struct faulty_pick pick = { .first = 1 };
			bool failed = true;

			for (; failed && pick.first < FAULTS_MAX; pick.first++) {
				int r;

				faulty_system_set(faults[i].call, &pick, *error);
				r = run(*state, faulty_call_names[faults[i].call], pick.first);
				failed = faulty_system_failed() > 0;
				failures += failed;
				faulty_system_set(faults[i].call, &(struct faulty_pick){ 0 }, 0);
				if (r != 0 && (!failed || (r != -*error && r != -ENOMEM)))
					fail_msg("%s %ju: %s came out as %d",
						 faulty_call_names[faults[i].call],
						 (uintmax_t)pick.first, strerrorname_np(*error), r);
			}
			assert_true(pick.first < FAULTS_MAX);
		}
	assert_true(failures > 30);
}

/* Descriptors */

static struct rlimit files;

static int limit_files(rlim_t count)
{
	const struct rlimit limit = { count, files.rlim_max };

	return setrlimit(RLIMIT_NOFILE, &limit);
}

/* Every number of them, up to those that are enough. */
static int descriptors_run_out(void *arg)
{
	rlim_t count = open_fds() - 3;
	unsigned refused = 0;
	int r;

	(void)arg;
	check_int(getrlimit(RLIMIT_NOFILE, &files), 0);
	do {
		struct wh_executor *executor;
		unsigned before = open_fds();

		check_int(limit_files(count++), 0);
		r = did(wh_pool_open, &(struct wh_pool_opts){ .processes = 2 }, &executor);
		check_int(limit_files(files.rlim_cur), 0);
		check(r == 0 || r == -EMFILE);
		if (r == 0)
			wh_executor_close(executor);
		check_int(open_fds(), before);
		refused += r < 0;
	} while (r < 0);
	/* The zygote, the nursery, and for each worker memory, doorbell and two ends of a socket,
	 * two of which stay. */
	check(refused >= 6);
	return 0;
}

static int call_nothing(struct wh_executor *executor)
{
	struct wh_call call = { .job = "nothing" };

	return wh_offload(executor, wh_job_run, &call, NULL);
}

/* Jobs are told that there is no worker and why; once there can be one the pool works again. */
static int pool_without_workers_says_why_and_recovers(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct wh_call call = { .job = "die", .args = "k", .args_len = 1 };
	int r;

	(void)arg;
	check_int(getrlimit(RLIMIT_NOFILE, &files), 0);
	check_int(limit_files(3), 0);
	check_int(wh_offload(executor, wh_job_run, &call, NULL), -EOWNERDEAD);
	/* This one waits until it is clear that there will be none. */
	check_int(call_nothing(executor), -EMFILE);
	/* And this one not. */
	check_int(call_nothing(executor), -EMFILE);
	check_int(limit_files(files.rlim_cur), 0);
	while ((r = call_nothing(executor)) == -EMFILE)
		next_turn();
	check_int(r, 0);
	wh_executor_close(executor);
	return 0;
}

#define on_both(test)                                                                              \
	{ #test ": uring", test, NULL, NULL, uring },                                              \
	{                                                                                          \
#test ": epoll", test, NULL, NULL, epoll                                           \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		on_both(each_allocation_may_fail),
		on_both(each_operation_may_fail),
		on_both(each_system_call_may_fail),
		task_test(descriptors_run_out),
		task_test(pool_without_workers_says_why_and_recovers),
	};
	int r;

	wh_jobs_main();
	tally_open(&tally);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	tally_close(&tally);
	return r;
}
