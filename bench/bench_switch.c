/*
 * Question: what does it cost to go from one task to the next?
 *
 * switch_context  two bare contexts: registers and stack only, the floor
 * switch_2        wh_yield between two tasks
 * switch_many     wh_yield among --tasks tasks, whose stacks no longer fit the caches
 *
 * All tasks yield in turn, so the time of one task's --yields, divided by their number and that of
 * the tasks, is that of one switch. The loop's own turn is part of it wherever the scheduler takes
 * one. Not measured: waking a task that waits for something, and what a task does in between.
 */
#include <stdlib.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "arch/context.h"
#include "micro.h"

enum { STACK_BYTES = 65536 };

static uint64_t tasks = 10000;
static uint64_t yields = 2000000; /* in all, per repeat */

static struct whi_context here, there;

/* Both contexts run this, as tasks that do the same work run the same code: the CPU predicts where
 * a function returns to from who called it last, and is wrong if the other side called from
 * somewhere else. */
static __attribute__((noinline)) void bounce(struct whi_context *from, struct whi_context *to,
					     uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		whi_context_switch(from, to);
}

static void go_back(void *arg)
{
	(void)arg;
	whi_context_started();
	bounce(&there, &here, UINT64_MAX);
}

static double switch_contexts(void *arg)
{
	uint64_t began = micro_now_ns();

	(void)arg;
	bounce(&here, &there, yields / 2);
	return (double)(micro_now_ns() - began) / (double)yields;
}

static int measure_contexts(void)
{
	char *stack = aligned_alloc(4096, STACK_BYTES);

	if (!stack)
		return 1;
	whi_context_adopt(&here);
	whi_context_init(&there, stack, stack + STACK_BYTES, go_back, NULL);
	micro_measure("switch_context", "ns", switch_contexts, NULL);
	whi_context_fini(&there);
	free(stack);
	return 0;
}

static bool stop;

/* One call for all tasks, for the reason given above. */
static __attribute__((noinline)) void yield_rounds(uint64_t rounds)
{
	for (uint64_t i = 0; i < rounds && !stop; i++)
		wh_yield();
}

static int other(void *arg)
{
	(void)arg;
	yield_rounds(UINT64_MAX);
	return 0;
}

/* The caller is one of the tasks. */
static double yield_among(void *arg)
{
	uint64_t count = *(const uint64_t *)arg, rounds = yields / count, began, took;
	struct wh_scope scope;

	stop = false;
	wh_scope_open(&scope, NULL);
	for (uint64_t i = 1; i < count; i++)
		if (wh_spawn(&scope, other, NULL) < 0)
			abort();
	/* Then all have begun, and have their stacks. */
	yield_rounds(2);
	began = micro_now_ns();
	yield_rounds(rounds);
	took = micro_now_ns() - began;
	stop = true;
	wh_scope_close(&scope);
	return (double)took / (double)(rounds * count);
}

static int measure_yields(void *arg)
{
	uint64_t two = 2;

	(void)arg;
	micro_measure("switch_2", "ns", yield_among, &two);
	micro_measure("switch_many", "ns", yield_among, &tasks);
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = {{"tasks", &tasks}, {"yields", &yields}, {0}};
	const struct wh_run_opts opts = {.loops = 1, .pin = true};

	micro_options(argc, argv, options);
	if (yields < 2 * tasks)
		yields = 2 * tasks;
	if (measure_contexts())
		return 1;
	micro_check_run(wh_run(measure_yields, NULL, &opts, NULL));
	return 0;
}
