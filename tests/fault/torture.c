#include "torture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "outcome.h"
#include "support/faulty_alloc.h"
#include "support/faulty_system.h"
#include "support/task_test.h"

/* Small, as the kernel charges for rings and gives them back late. */
enum { SECONDS_MAX = 240, SQ_ENTRIES = 16, CQ_ENTRIES = 64, BUF_COUNT = 16, BUF_BYTES = 2048 };

const char *torture_backend;
double torture_scale = 1;

/* What is being done, for who looks at a run that was aborted or hung. */
static const char *doing[2] = { "nothing", "" };

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static void on_death(int signal)
{
	say(doing[0]);
	say(": ");
	say(doing[1]);
	say("\n");
	raise(signal);
}

void torture_init(void)
{
	const struct sigaction action = { .sa_handler = on_death, .sa_flags = SA_RESETHAND };

	sigaction(SIGABRT, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	scenarios_init();
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

bool torture_possible(void)
{
	const struct wh_run_opts opts = { .loops = 1, .backend = torture_backend };
	int r;

	if (!whi_backend_find(torture_backend)) {
		printf("skipped: there is no backend %s\n", torture_backend);
		return false;
	}
	r = wh_run(do_nothing, NULL, &opts, NULL);
	if (r < 0)
		printf("skipped: %s: %s\n", torture_backend, wh_run_advice(r));
	return r == 0;
}

static int run_and_look(void *arg)
{
	const struct scenario *scenario = arg;
	struct wh_loop_stats stats;
	int r = scenario->fn(NULL);

	wh_loop_stats(&stats);
	/* Ourselves. */
	check_int(stats.tasks_live, 1);
	check_int(stats.ops_inflight, 0);
	return r;
}

int torture_run(const struct scenario *scenario, const char *what)
{
	const struct wh_run_opts opts = {
		.loops = scenario->loops,
		.backend = torture_backend,
		.sq_entries = SQ_ENTRIES,
		.cq_entries = CQ_ENTRIES,
		.buf_count = scenario->bufs ? scenario->bufs : BUF_COUNT,
		.buf_bytes = BUF_BYTES,
	};
	unsigned fds = open_fds();
	int64_t live = faulty_alloc_live();
	const char *call;
	int result = 0, error = 0, r;

	doing[0] = scenario->name;
	doing[1] = what;
	alarm(SECONDS_MAX);
	r = did(wh_run, run_and_look, (void *)(uintptr_t)scenario, &opts, &result);
	alarm(0);
	if (open_fds() != fds)
		fail_msg("%s: %s: %u descriptors before, %u after", scenario->name, what, fds,
			 open_fds());
	if (faulty_alloc_live() != live)
		fail_msg("%s: %s: %jd allocations left", scenario->name, what,
			 (intmax_t)(faulty_alloc_live() - live));
	if (faulty_threads_live() != 0)
		fail_msg("%s: %s: %d threads left", scenario->name, what, faulty_threads_live());
	call = outcome_undocumented(&error);
	if (call)
		fail_msg("%s: %s: %s returned %d, which its header does not name", scenario->name,
			 what, call, error);
	return r < 0 ? r : result;
}

bool torture_is_consequence(int error)
{
	return error == -EPIPE || error == -ECONNRESET;
}
