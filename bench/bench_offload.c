/*
 * Question: what does it cost to have a thread do something for a task?
 *
 * offload_p50, offload_p99  one task offloads an empty function, waits, and again: both sides fall
 *                           asleep in between, so this is mostly two wake-ups by the kernel
 * offload_pipelined         --tasks tasks do so at the same time; jobs a second
 *
 * The executor has --threads threads. Not measured: jobs that take time.
 */
#include <stdlib.h>
#include <whorl/exec.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "histogram.h"
#include "micro.h"

static uint64_t jobs = 20000; /* per repeat, one at a time */
static uint64_t pipelined_jobs = 200000;
static uint64_t tasks = 256;
static uint64_t threads = 1;

static struct wh_executor *executor;
static struct histogram histogram;

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void offload(void)
{
	if (wh_offload(executor, nothing, NULL, NULL) < 0)
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
	micro_print(&p50, "offload_p50", "ns");
	micro_print(&p99, "offload_p99", "ns");
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

static int measure(void *arg)
{
	const struct wh_executor_opts opts = { .threads = (uint32_t)threads };

	(void)arg;
	if (wh_executor_open(&opts, &executor) < 0)
		return -1;
	measure_round_trips();
	micro_measure("offload_pipelined", "jobs/s", pipelined, NULL);
	wh_executor_close(executor);
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = {
		{ "jobs", &jobs },
		{ "pipelined", &pipelined_jobs },
		{ "tasks", &tasks },
		{ "threads", &threads },
		{ 0 },
	};
	const struct wh_run_opts opts = { .loops = 1 };
	int result = 0;

	micro_options(argc, argv, options);
	micro_check_run(wh_run(measure, NULL, &opts, &result));
	return result < 0;
}
