/*
 * Question: what does bench_offload measure with libuv's thread pool in the engine's place?
 *
 * uv_offload_p50, _p99  one uv_queue_work of an empty function at a time
 * uv_offload_pipelined  --tasks of them in flight, each queued again by its own callback
 *
 * The pool has --threads threads. Not measured: what a program would do to wait for its callback.
 */
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "histogram.h"
#include "micro.h"

static uint64_t jobs = 20000; /* per repeat, one at a time */
static uint64_t pipelined_jobs = 1000000;
static uint64_t tasks = 256;
static uint64_t threads = 1;

static uv_loop_t loop;
static struct histogram histogram;
static uint64_t left; /* to be queued */
static uint64_t began_ns;

static void nothing(uv_work_t *work)
{
	(void)work;
}

static void queue(uv_work_t *work, uv_after_work_cb after)
{
	left--;
	if (uv_queue_work(&loop, work, nothing, after) != 0)
		abort();
}

static void came_back(uv_work_t *work, int status)
{
	uint64_t now = micro_now_ns();

	(void)status;
	histogram_record(&histogram, now - began_ns);
	began_ns = now;
	if (left)
		queue(work, came_back);
}

static void round_trips(struct micro_figure *p50, struct micro_figure *p99)
{
	uv_work_t work;

	histogram_reset(&histogram);
	left = jobs;
	began_ns = micro_now_ns();
	queue(&work, came_back);
	uv_run(&loop, UV_RUN_DEFAULT);
	micro_add(p50, (double)histogram_percentile(&histogram, HISTOGRAM_WHOLE / 2));
	micro_add(p99, (double)histogram_percentile(&histogram, HISTOGRAM_WHOLE / 100 * 99));
}

static void queue_again(uv_work_t *work, int status)
{
	(void)status;
	if (left)
		queue(work, queue_again);
}

static double pipelined(void *arg)
{
	uv_work_t *work = calloc(tasks, sizeof(*work));
	uint64_t began = micro_now_ns();

	(void)arg;
	if (!work)
		abort();
	left = pipelined_jobs;
	for (uint64_t i = 0; i < tasks && left; i++)
		queue(&work[i], queue_again);
	uv_run(&loop, UV_RUN_DEFAULT);
	free(work);
	return (double)pipelined_jobs * 1e9 / (double)(micro_now_ns() - began);
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
	struct micro_figure p50 = { 0 }, p99 = { 0 }, warm_up = { 0 };
	char text[24];

	micro_options(argc, argv, options);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)threads);
	/* Read when the first job is queued. */
	setenv("UV_THREADPOOL_SIZE", text, 1);
	if (uv_loop_init(&loop) != 0)
		abort();
	round_trips(&warm_up, &warm_up);
	for (unsigned i = 0; i < micro_repeats(); i++)
		round_trips(&p50, &p99);
	micro_print(&p50, "uv_offload_p50", "ns");
	micro_print(&p99, "uv_offload_p99", "ns");
	micro_measure("uv_offload_pipelined", "jobs/s", pipelined, NULL);
	uv_loop_close(&loop);
	return 0;
}
