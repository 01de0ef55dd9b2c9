/*
 * Question: what does it cost to go from one task to the next?
 *
 * switch_context  two bare contexts: registers and stack only, the floor
 * switch_handoff  two tasks, each waking the other and then waiting for it, as through a queue
 * switch_2        wh_yield between two tasks
 * switch_many     wh_yield among --tasks tasks, whose stacks no longer fit the caches
 *
 * All tasks yield in turn, so the time of one task's yields, divided by their number and that of
 * the tasks, is that of one switch; there are --switches in all. The loop's own turns are part of
 * it wherever the scheduler takes one. Not measured: what a task does in between.
 */
#include <stdlib.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "arch/context.h"
#include "micro.h"
#include "task/task.h"

enum { STACK_BYTES = 65536 };

static uint64_t tasks = 10000;
static uint64_t switches = 2000000; /* per repeat */

static struct whi_context here, there;

/* Both contexts run this, as tasks that do the same work run the same code: the CPU predicts where
 * a function returns to from who called it last, and is wrong if the other side called from
 * somewhere else. */
static __attribute__((noipa)) void bounce(struct whi_context *from, struct whi_context *to,
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
	bounce(&here, &there, switches / 2);
	return (double)(micro_now_ns() - began) / (double)switches;
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
static __attribute__((noipa)) void yield_rounds(uint64_t rounds)
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
	uint64_t count = *(const uint64_t *)arg, rounds = switches / count, began, took;
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

struct player {
	struct whi_wait *mine, *others;
	uint64_t rounds;
};

static __attribute__((noipa)) int play(void *arg)
{
	const struct player *player = arg;

	for (uint64_t i = 0; i < player->rounds; i++) {
		whi_task_wake(player->others);
		whi_task_suspend(player->mine);
	}
	return 0;
}

/* Waits for the first move, then plays, and lets the other one end. */
static int answer(void *arg)
{
	struct player *player = arg;

	whi_task_suspend(player->mine);
	play(player);
	whi_task_wake(player->others);
	return 0;
}

static double hand_off(void *arg)
{
	struct whi_wait left = { .what = "right" }, right = { .what = "left" };
	struct player first = { &left, &right, switches / 2 };
	struct player second = { &right, &left, switches / 2 - 1 };
	struct wh_scope scope;
	uint64_t began;

	(void)arg;
	wh_scope_open(&scope, NULL);
	if (wh_spawn(&scope, answer, &second) < 0)
		abort();
	wh_yield();
	began = micro_now_ns();
	play(&first);
	began = micro_now_ns() - began;
	wh_scope_close(&scope);
	return (double)began / (double)switches;
}

static int measure_tasks(void *arg)
{
	uint64_t two = 2;

	(void)arg;
	micro_measure("switch_handoff", "ns", hand_off, NULL);
	micro_measure("switch_2", "ns", yield_among, &two);
	micro_measure("switch_many", "ns", yield_among, &tasks);
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = { { "tasks", &tasks },
						{ "switches", &switches },
						{ 0 } };
	const struct wh_run_opts opts = { .loops = 1, .pin = true };

	micro_options(argc, argv, options);
	if (switches < 2 * tasks)
		switches = 2 * tasks;
	if (measure_contexts())
		return 1;
	micro_check_run(wh_run(measure_tasks, NULL, &opts, NULL));
	return 0;
}
