/*
 * The executor of threads: a lane for jobs that compute, with all its threads from the start, and
 * one for jobs that wait, which starts threads when needed and lets them go. In a simulated world
 * there are no threads: see exec/worker_sim.c.
 */
#include <errno.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "exec/lane.h"
#include "loop/runtime.h"

enum { THREADS_MAX = 1024, BLOCKING_MAX = 256, QUEUE_MAX = 1024, NAME_MAX_BYTES = 12 };

#define BLOCKING_IDLE_NS (10 * WH_SEC)

struct threads {
	struct wh_executor base; /* must be first */
	struct whi_lane lanes[WH_LANES];
	char name[NAME_MAX_BYTES];
};

static struct threads *threads_of(struct wh_executor *executor)
{
	return (struct threads *)(void *)executor;
}

static const struct whi_lane *lane_of(const struct wh_executor *executor, unsigned lane)
{
	return &((const struct threads *)(const void *)executor)->lanes[lane];
}

static int threads_accept(const struct wh_executor *executor, const struct whi_exec_job *job)
{
	return job->unless_full && whi_lane_full(lane_of(executor, job->lane)) ? -EAGAIN : 0;
}

static void threads_submit(struct wh_executor *executor, struct whi_list *jobs, uint32_t count)
{
	const struct whi_exec_job *first = whi_container_of(jobs->next, struct whi_exec_job, link);

	whi_lane_submit(&threads_of(executor)->lanes[first->lane], jobs, count);
}

static bool threads_remove(struct wh_executor *executor, struct whi_exec_job *job)
{
	return whi_lane_remove(&threads_of(executor)->lanes[job->lane], job);
}

static void threads_close(struct wh_executor *executor)
{
	struct threads *threads = threads_of(executor);

	for (unsigned i = 0; i < WH_LANES; i++) {
		struct whi_lane *lane = &threads->lanes[i];

		if (lane->workers && lane->opts.simulated)
			whi_sim_workers_end(lane);
		else if (lane->workers)
			whi_workers_end(lane);
		whi_lane_fini(lane);
	}
	whi_free(threads);
}

static unsigned threads_workers(const struct wh_executor *executor)
{
	return lane_of(executor, WH_LANE_CPU)->opts.workers;
}

static const struct whi_executor_ops threads_ops = {
	.name = "threads",
	.accept = threads_accept,
	.submit = threads_submit,
	.remove = threads_remove,
	.close = threads_close,
	.workers = threads_workers,
};

static uint32_t or_default(uint32_t value, uint32_t instead)
{
	return value ? value : instead;
}

/* Returns 0 or -ENOMEM; what is there is to be closed either way. */
static int make_lanes(struct threads *threads, const struct wh_executor_opts *opts,
		      struct whi_lane_opts *common, uint32_t cpu_threads)
{
	struct whi_lane_opts blocking = *common;
	int r;

	common->workers = cpu_threads;
	common->idle_ns = WHI_NEVER;
	common->computes = true;
	common->spins = !opts->no_spin;
	blocking.workers = or_default(opts->blocking_max, BLOCKING_MAX);
	blocking.idle_ns = opts->blocking_idle_ns ? opts->blocking_idle_ns : BLOCKING_IDLE_NS;
	r = whi_lane_init(&threads->lanes[WH_LANE_CPU], common);
	if (r < 0)
		return r;
	return whi_lane_init(&threads->lanes[WH_LANE_BLOCKING], &blocking);
}

static int open_threads(struct threads *threads, const struct wh_executor_opts *opts)
{
	struct whi_lane_opts common = {
		.name = threads->name,
		.queue_max = or_default(opts->queue_max, QUEUE_MAX),
		.simulated = wh_sim_active(),
	};
	int r;

	snprintf(threads->name, sizeof(threads->name), "%s", opts->name ? opts->name : "whorl");
	whi_runtime_affinity(&common.cpus);
	r = make_lanes(threads, opts, &common, or_default(opts->threads, whi_runtime_cpus()));
	if (r == 0 && !common.simulated)
		r = whi_workers_start(&threads->lanes[WH_LANE_CPU]);
	return r;
}

int wh_executor_open(const struct wh_executor_opts *opts, struct wh_executor **ret)
{
	const struct wh_executor_opts defaults = { 0 };
	struct threads *threads;
	int r;

	opts = opts ? opts : &defaults;
	if (opts->threads > THREADS_MAX || opts->blocking_max > THREADS_MAX)
		return -EINVAL;
	threads = whi_aligned_alloc(_Alignof(struct threads), sizeof(*threads));
	if (!threads)
		return -ENOMEM;
	*threads = (struct threads){ .base = { &threads_ops, !opts->no_spin } };
	r = open_threads(threads, opts);
	if (r < 0) {
		threads_close(&threads->base);
		return r;
	}
	*ret = &threads->base;
	return 0;
}
