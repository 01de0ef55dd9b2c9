/*
 * Tests that are tasks in a simulated world, run once for each of many seeds. Time is virtual: they
 * may sleep as long as they like. A failure names its seed; TEST_SIM_SEED=N runs that one alone,
 * TEST_SIM_TRACE=1 prints what happened in it; TEST_SIM_SEEDS=N runs so many of each test. The
 * first seeds are run twice, and must be the same
 * both times.
 */
#pragma once

#include <whorl/sim.h>

#include "support/task_test.h"

/* Faults that a program must not notice, because the engine is to deal with them. */
#define SIM_HIDDEN                                                                                 \
	"late=0.1,reorder=0.2,cancel_late=0.2,nomore=0.1,overflow=0.05,short=0.1,empty=0.2,"       \
	"disk_slow=0.01"

struct sim_test {
	wh_task_fn fn;
	unsigned seeds; /* default 200 */
	struct wh_sim_opts opts;
	struct wh_run_opts run;
};

/* An entry of a CMUnitTest table: sim_test(fn), or
 * sim_test(fn, .seeds = 500, .opts.faults = "short=0.1", .run.tasks_max = 8). */
#define sim_test(function, ...)                                                                    \
	{                                                                                          \
#function, run_sim_test, NULL, NULL, &(struct sim_test)                            \
		{                                                                                  \
			.fn = function, __VA_ARGS__                                                \
		}                                                                                  \
	}

void run_sim_test(void **state);

/* In a world. A number below `bound`: for choices of the test's own. */
unsigned sim_below(unsigned bound);

/* Sleep for less than `span_ns`, maybe not at all. */
void sim_pause(uint64_t span_ns);

/* Two connected sockets of this host. */
void sim_pair(struct wh_sock *ret[2]);
