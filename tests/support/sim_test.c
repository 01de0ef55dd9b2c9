#include "support/sim_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEEDS = 200, SEEDS_TWICE = 3, TEST_SECONDS_MAX = 240 };

static char running[64];

/* The check macros abort. */
static void say_seed(int signal)
{
	ssize_t r = write(STDERR_FILENO, running, strlen(running));

	(void)r;
	(void)signal;
}

static void print_line(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "%s\n", line);
}

static void run_seed(const struct sim_test *test, uint64_t seed, struct wh_sim_report *report)
{
	struct wh_sim_opts opts = test->opts;
	int r;

	opts.run = &test->run;
	opts.ret_report = report;
	if (getenv("TEST_SIM_TRACE"))
		opts.trace = print_line;
	snprintf(running, sizeof(running), "in the world of TEST_SIM_SEED=%ju\n", (uintmax_t)seed);
	r = wh_sim_run(seed, test->fn, NULL, &opts);
	if (r == 0 && report->text[0] == '\0')
		return;
	fprintf(stderr, "%d: %s\n%s", r, report->text, running);
	fail();
}

void run_sim_test(void **state)
{
	const struct sim_test *test = *state;
	const char *one = getenv("TEST_SIM_SEED");
	uint64_t first = one ? strtoull(one, NULL, 0) : 1;
	const char *many = getenv("TEST_SIM_SEEDS");
	uint64_t count = test->seeds ? test->seeds : SEEDS;
	unsigned before = open_fds();
	uint64_t faults = 0;
	static struct wh_sim_report report, again;

	if (many)
		count = strtoull(many, NULL, 0);
	signal(SIGABRT, say_seed);
	alarm(TEST_SECONDS_MAX);
	for (uint64_t i = 0; i < (one ? 1 : count); i++) {
		run_seed(test, first + i, &report);
		faults += report.faults_count;
		if (i >= SEEDS_TWICE || one)
			continue;
		run_seed(test, first + i, &again);
		if (again.trace_hash != report.trace_hash)
			fail_msg("two runs of seed %ju differ", (uintmax_t)(first + i));
	}
	alarm(0);
	signal(SIGABRT, SIG_DFL);
	assert_int_equal(open_fds(), before);
	/* Else the test did not try what it says. */
	assert_true(one || !test->opts.faults || faults > 0);
}

unsigned sim_below(unsigned bound)
{
	return (unsigned)wh_sim_random(bound);
}

void sim_pause(uint64_t span_ns)
{
	wh_sleep(wh_sim_random(span_ns));
}

void sim_pair(struct wh_sock *ret[2])
{
	tcp_pair(ret);
}
