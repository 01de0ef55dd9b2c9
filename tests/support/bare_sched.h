/*
 * Tests that are tasks on a scheduler without a loop, a kernel or real time: when no task is ready
 * the clock jumps to the next timer. Use the check macros of task_test.h in them.
 */
#pragma once

#include "support/task_test.h"
#include "task/sched.h"

struct bare_test {
	wh_task_fn fn;
	struct whi_sched_opts opts;
};

/* An entry of a CMUnitTest table: bare_test(fn), or bare_test(fn, .tasks_max = 4). */
#define bare_test(function, ...)                                                                   \
	{                                                                                          \
#function, run_bare_test, NULL, NULL, &(struct bare_test)                          \
		{                                                                                  \
			.fn = function, .opts = { __VA_ARGS__ }                                    \
		}                                                                                  \
	}

void run_bare_test(void **state);

/* For tests that need more: a scheduler with defaults for what is 0 in `opts`, which may be NULL.
 * whi_sched_fini ends it. */
void bare_open(struct whi_sched *sched, const struct whi_sched_opts *opts);

/* Run `fn(arg)` as a task in the root scope until no task is left. Returns its result. Aborts when
 * tasks wait and no timer is armed. */
int bare_run(struct whi_sched *sched, wh_task_fn fn, void *arg);

/* Tasks ready and nothing else: no time passes. */
void bare_run_ready(struct whi_sched *sched);

/* The virtual time, and what it will be after `span_ns`. */
uint64_t bare_now(void);
uint64_t bare_after(uint64_t span_ns);
