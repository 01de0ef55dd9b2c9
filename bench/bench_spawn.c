/*
 * Question: what does a task cost that does nothing, from its start to its end?
 *
 * spawn_join   wh_spawn and wh_task_join, one task at a time
 * spawn_scope  a scope opened, --tasks tasks spawned into it, and the scope closed; per task
 *
 * Stacks are recycled warm, as they are in a server. Not measured: the first use of a stack, which
 * touches fresh memory (bench_tasks has that).
 */
#include <stdlib.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "micro.h"

static uint64_t tasks = 100;
static uint64_t spawns = 1000000; /* per repeat */

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static double spawn_join(void *arg)
{
	struct wh_scope scope;
	uint64_t began = micro_now_ns();

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (uint64_t i = 0; i < spawns; i++) {
		struct wh_task *task = NULL;

		if (wh_spawn(&scope, nothing, NULL, .ret_task = &task) < 0 ||
		    wh_task_join(task, NULL) < 0)
			abort();
	}
	wh_scope_close(&scope);
	return (double)(micro_now_ns() - began) / (double)spawns;
}

static double spawn_scope(void *arg)
{
	uint64_t rounds = spawns / tasks;
	uint64_t began = micro_now_ns();

	(void)arg;
	for (uint64_t i = 0; i < rounds; i++) {
		struct wh_scope scope;

		wh_scope_open(&scope, NULL);
		for (uint64_t j = 0; j < tasks; j++)
			if (wh_spawn(&scope, nothing, NULL) < 0)
				abort();
		wh_scope_close(&scope);
	}
	return (double)(micro_now_ns() - began) / (double)(rounds * tasks);
}

static int measure(void *arg)
{
	(void)arg;
	micro_measure("spawn_join", "ns", spawn_join, NULL);
	micro_measure("spawn_scope", "ns", spawn_scope, NULL);
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = { { "tasks", &tasks }, { "spawns", &spawns }, { 0 } };
	const struct wh_run_opts opts = { .loops = 1, .pin = true };

	micro_options(argc, argv, options);
	if (spawns < tasks)
		spawns = tasks;
	micro_check_run(wh_run(measure, NULL, &opts, NULL));
	return 0;
}
