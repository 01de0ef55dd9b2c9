/*
 * Question: what does it cost to have another process do something for a task?
 *
 * process_p50, process_p99    one task has an empty job done, waits, and again: both sides fall
 *                             asleep in between, so this is mostly two wake-ups by the kernel
 * process_pipelined           --tasks tasks do so at the same time; jobs a second
 * process_mapped              wh_map over --pipelined jobs; jobs a second
 * process_replaced_p50        from the moment a worker kills itself until the next job is done
 *
 * The pool has --processes processes. On a virtual machine the first two are only about waking a
 * halted CPU, unless both are kept awake: `bench/run executors` does so. Not measured: jobs that
 * take time, or much data.
 */
#include <signal.h>
#include <stdlib.h>
#include <whorl/pool.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "histogram.h"
#include "micro.h"

static uint64_t jobs = 20000; /* per repeat, one at a time */
static uint64_t pipelined_jobs = 200000;
static uint64_t tasks = 256;
static uint64_t processes = 1;
static uint64_t deaths = 50; /* per repeat */

static struct wh_executor *executor;
static struct histogram histogram;

WH_JOB(nothing)
{
	(void)io;
	return 0;
}

WH_JOB(die)
{
	(void)io;
	return raise(SIGKILL);
}

static void offload(void)
{
	struct wh_call call = { .job = "nothing" };

	if (wh_offload(executor, wh_job_run, &call, NULL) < 0)
		abort();
}

static void round_trips(struct micro_figure *p50, struct micro_figure *p99)
{
	uint64_t began = micro_now_ns(), now;

	histogram_reset(&histogram);
	for (uint64_t i = 0; i < jobs; i++, began = now) {
		offload();
		now = micro_now_ns();
		histogram_record(&histogram, now - began);
	}
	micro_add(p50, (double)histogram_percentile(&histogram, HISTOGRAM_WHOLE / 2));
	micro_add(p99, (double)histogram_percentile(&histogram, HISTOGRAM_WHOLE / 100 * 99));
}

static void measure_round_trips(void)
{
	struct micro_figure p50 = { 0 }, p99 = { 0 }, warm_up = { 0 };

	round_trips(&warm_up, &warm_up);
	for (unsigned i = 0; i < micro_repeats(); i++)
		round_trips(&p50, &p99);
	micro_print(&p50, "process_p50", "ns");
	micro_print(&p99, "process_p99", "ns");
}

static int offload_many(void *arg)
{
	uint64_t count = *(const uint64_t *)arg;

	for (uint64_t i = 0; i < count; i++)
		offload();
	return 0;
}

static double pipelined(void *arg)
{
	uint64_t each = pipelined_jobs / tasks + 1, began = micro_now_ns();
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (uint64_t i = 0; i < tasks; i++)
		if (wh_spawn(&scope, offload_many, &each) < 0)
			abort();
	wh_scope_close(&scope);
	return (double)(each * tasks) * 1e9 / (double)(micro_now_ns() - began);
}

static double mapped(void *arg)
{
	struct wh_call *calls = calloc(pipelined_jobs, sizeof(*calls));
	const struct wh_map map = {
		.fn = wh_job_run,
		.items = calls,
		.item_bytes = sizeof(*calls),
		.count = pipelined_jobs,
	};
	uint64_t began;

	(void)arg;
	if (!calls)
		abort();
	for (uint64_t i = 0; i < pipelined_jobs; i++)
		calls[i].job = "nothing";
	began = micro_now_ns();
	if (wh_map(executor, &map) < 0)
		abort();
	began = micro_now_ns() - began;
	free(calls);
	return (double)pipelined_jobs * 1e9 / (double)began;
}

static double replaced(void *arg)
{
	(void)arg;
	histogram_reset(&histogram);
	for (uint64_t i = 0; i < deaths; i++) {
		struct wh_call call = { .job = "die" };
		uint64_t began = micro_now_ns();

		wh_offload(executor, wh_job_run, &call, NULL);
		offload();
		histogram_record(&histogram, micro_now_ns() - began);
	}
	return (double)histogram_percentile(&histogram, HISTOGRAM_WHOLE / 2);
}

static int measure(void *arg)
{
	const struct wh_pool_opts opts = { .processes = (uint32_t)processes };
	int r = wh_pool_open(&opts, &executor);

	(void)arg;
	if (r < 0)
		return r;
	measure_round_trips();
	micro_measure("process_pipelined", "jobs/s", pipelined, NULL);
	micro_measure("process_mapped", "jobs/s", mapped, NULL);
	micro_measure("process_replaced_p50", "ns", replaced, NULL);
	wh_executor_close(executor);
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = {
		{ "jobs", &jobs },     { "pipelined", &pipelined_jobs },
		{ "tasks", &tasks },   { "processes", &processes },
		{ "deaths", &deaths }, { 0 },
	};
	const struct wh_run_opts opts = { .loops = 1 };
	int result = 0;

	wh_jobs_main();
	micro_options(argc, argv, options);
	micro_check_run(wh_run(measure, NULL, &opts, &result));
	return result < 0;
}
