/*
 * Question: what does it cost to have a thread do something for a task?
 *
 * offload_blocked_p50, _p99  one task offloads an empty function, waits, and again. Neither side
 *                            spins, so this is mostly two wake-ups by the kernel; and on a virtual
 *                            machine, of halted CPUs: see bench/run executors
 * offload_hot_p50, _p99      the same with an executor as it is by default: on a machine with
 *                            a CPU for each side, both spin
 * offload_pipelined          --tasks tasks do so at the same time; jobs a second
 * offload_map                wh_map over an array of --pipelined items
 * offload_map_next           the same items from a generator, told one by one as they finish
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
static uint64_t pipelined_jobs = 1000000;
static uint64_t tasks = 256;
static uint64_t threads = 1;

static struct wh_executor *executor;
static struct histogram histogram;

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void check(int r)
{
	if (r < 0)
		abort();
}

static void open_executor(bool no_spin)
{
	const struct wh_executor_opts opts = { .threads = (uint32_t)threads, .no_spin = no_spin };

	check(wh_executor_open(&opts, &executor));
}

static void offload(void)
{
	check(wh_offload(executor, nothing, NULL, NULL));
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

static void measure_round_trips(bool no_spin, const char *p50_name, const char *p99_name)
{
	struct micro_figure p50 = { 0 }, p99 = { 0 }, warm_up = { 0 };

	open_executor(no_spin);
	round_trips(&warm_up, &warm_up);
	for (unsigned i = 0; i < micro_repeats(); i++)
		round_trips(&p50, &p99);
	wh_executor_close(executor);
	micro_print(&p50, p50_name, "ns");
	micro_print(&p99, p99_name, "ns");
}

static int offload_many(void *arg)
{
	uint64_t count = *(const uint64_t *)arg;

	for (uint64_t i = 0; i < count; i++)
		offload();
	return 0;
}

static double rate_since(uint64_t began, uint64_t count)
{
	return (double)count * 1e9 / (double)(micro_now_ns() - began);
}

static double pipelined(void *arg)
{
	uint64_t each = pipelined_jobs / tasks + 1, began = micro_now_ns();
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (uint64_t i = 0; i < tasks; i++)
		check(wh_spawn(&scope, offload_many, &each));
	wh_scope_close(&scope);
	return rate_since(began, each * tasks);
}

/* All items are the same byte: its address is all that a job gets. */
static double mapped(void *arg)
{
	static char item;
	const struct wh_map map = { .fn = nothing, .items = &item, .count = pipelined_jobs };
	uint64_t began = micro_now_ns();

	(void)arg;
	check(wh_map(executor, &map));
	return rate_since(began, pipelined_jobs);
}

struct stream {
	uint64_t made, told;
};

static int next_item(void *arg, void **ret_item)
{
	struct stream *stream = arg;

	*ret_item = stream;
	return stream->made++ < pipelined_jobs;
}

static int count_item(void *arg, const struct wh_map_done *done)
{
	struct stream *stream = arg;

	(void)done;
	stream->told++;
	return 0;
}

static double mapped_next(void *arg)
{
	struct stream stream = { 0 };
	const struct wh_map map = {
		.fn = nothing,
		.next = next_item,
		.each = count_item,
		.arg = &stream,
		.as_they_finish = true,
	};
	uint64_t began = micro_now_ns();

	(void)arg;
	check(wh_map(executor, &map));
	if (stream.told != pipelined_jobs)
		abort();
	return rate_since(began, pipelined_jobs);
}

static int measure(void *arg)
{
	(void)arg;
	measure_round_trips(true, "offload_blocked_p50", "offload_blocked_p99");
	measure_round_trips(false, "offload_hot_p50", "offload_hot_p99");
	open_executor(false);
	micro_measure("offload_pipelined", "jobs/s", pipelined, NULL);
	micro_measure("offload_map", "jobs/s", mapped, NULL);
	micro_measure("offload_map_next", "jobs/s", mapped_next, NULL);
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
