/*
 * Executors: where CPU-bound work and calls that block go, away from the loops.
 *
 *     struct wh_executor *executor;
 *
 *     wh_executor_open(NULL, &executor);
 *     wh_offload(executor, hash_file, &file, &result);
 *     wh_offload_blocking(executor, look_up_name, &query, &result);
 *     wh_map(executor, &(struct wh_map){
 *         .fn = resize, .items = images, .item_bytes = sizeof(images[0]), .count = 1000 });
 *     wh_executor_close(executor);
 *
 * Jobs submitted in one turn of a loop go to the executor together at the turn's end, and those
 * that have finished come back together; so many small ones cost little more than they compute.
 * So a task that blocks its thread until a job of another of its loop's tasks has done something
 * may wait for ever: that task has not run yet, or its job still waits for this turn's end. Nobody
 * can hand it over then but the thread that is blocked. Only wh_executor_close, which blocks too,
 * hands over what has been submitted.
 */
#ifndef WHORL_EXEC_H
#define WHORL_EXEC_H

#include <whorl/api.h>

struct wh_executor;

/* What an executor runs. Not a task: it may block, and must not call anything that suspends. */
typedef int (*wh_job_fn)(void *arg);

/* What a job does while it runs. Each lane has its own queue and threads, so that neither kind
 * waits for the other. A pool of processes has one lane for both. */
enum wh_lane {
	WH_LANE_CPU,	  /* computes: as many at a time as there are CPUs to do so */
	WH_LANE_BLOCKING, /* waits, in getaddrinfo(3) say: many at a time */
	WH_LANES,
};

/* {0} is valid and means the defaults. */
struct wh_executor_opts {
	uint32_t threads;      /* of WH_LANE_CPU; default: the CPUs this process may use, pinned
				  loops or not */
	uint32_t blocking_max; /* threads of WH_LANE_BLOCKING, started when needed; default 256 */
	uint64_t blocking_idle_ns; /* how long one of these stays without work; default 10 s */
	uint32_t queue_max; /* jobs waiting in a lane; default 1,024. Further ones stand in line
			       behind them, except those that ask not to: see `unless_full` */
	bool no_spin;	    /* threads without work sleep at once; default: after up to 20 us while
			       a CPU is free, if jobs have lately come that soon */
	const char *name;   /* of its threads, up to 11 bytes; default "whorl" */
};

/**
 * Start a pool of threads.
 *
 * Returns    0, with the executor in `*ret`.
 * Errors     -ENOMEM, -EAGAIN   as pthread_create(3)
 *            -EINVAL   more than 1,024 threads in a lane
 * Ownership  wh_executor_close releases it.
 * Context    any thread.
 */
WH_API int wh_executor_open(const struct wh_executor_opts *opts, struct wh_executor **ret);

/**
 * Finish what is running or waits, end the workers and free the executor. Blocks its thread for
 * that long. The caller makes sure that nobody submits any more: no task of another loop is in
 * wh_offload or wh_map on it.
 */
WH_API void wh_executor_close(struct wh_executor *executor);

/** How many jobs can compute at the same time. Context: any thread. */
WH_API unsigned wh_executor_threads(const struct wh_executor *executor);

/**
 * Run `fn(arg)` on a thread of `executor`.
 *
 * Suspends   the calling task until `fn` has returned.
 * Returns    0, with what `fn` returned in `*ret_result` (may be NULL).
 * Errors     -ECANCELED, -ETIMEDOUT   interrupted before `fn` was started; it never will be.
 *            A running `fn` is waited for and its result delivered, cancelled or not.
 *            -EINVAL   on a pool of processes: `fn` is not wh_job_run (<whorl/jobs.h>)
 * Ownership  `arg` is borrowed until return.
 * Context    a task on any loop.
 */
WH_API int wh_offload(struct wh_executor *executor, wh_job_fn fn, void *arg, int *ret_result);

/**
 * The same for an `fn` that waits rather than computes: a thread of WH_LANE_BLOCKING runs it.
 *
 * Errors     as wh_offload, and
 *            -EAGAIN, -ENOMEM   the lane has no thread and none can be started
 */
WH_API int wh_offload_blocking(struct wh_executor *executor, wh_job_fn fn, void *arg,
			       int *ret_result);

/* {0} is valid and means the defaults. */
struct wh_offload_opts {
	enum wh_lane lane; /* default WH_LANE_CPU */
	bool unless_full;  /* if `queue_max` jobs wait, do not stand in line: -EAGAIN. So a server
			      sheds load that it could only make wait */
	bool kill;	   /* when cancelled, end a running job by force; on processes only */
};

/**
 * wh_offload with options.
 *
 * Errors     as wh_offload, and
 *            -EAGAIN   with `unless_full`: the queue is full; with WH_LANE_BLOCKING: see
 *                      wh_offload_blocking
 *            -ENOMEM   see wh_offload_blocking
 *            -EINVAL   no such lane, or `kill` on an executor of threads
 */
WH_API int wh_offload_opts(struct wh_executor *executor, wh_job_fn fn, void *arg,
			   const struct wh_offload_opts *opts, int *ret_result);

/* One item of a map whose job has ended. */
struct wh_map_done {
	void *item;
	uint64_t index; /* among the items, from 0 on */
	int status;	/* 0, or -errno: the job did not run to its end; only on processes, or for
			   want of a thread */
	int result;	/* what `fn` returned; `status` if that is not 0 */
};

/*
 * What to do with many items. Items are either those of an array, or what `next` makes.
 *
 * `next` and `each` are called in the task that called wh_map, one at a time; they may suspend, and
 * are cancelled with it. NULL: not needed.
 */
struct wh_map {
	wh_job_fn fn; /* on the executor, with each item as its argument */
	void *items;  /* an array of `count` items of `item_bytes` each; fn gets their addresses */
	size_t item_bytes;
	uint64_t count;
	/* Instead of an array: store an item and return 1, or 0 when there are no more, or -errno,
	 * which ends the map. */
	int (*next)(void *arg, void **ret_item);
	/* Called with each item that has ended. Negative: ends the map. The item is the caller's
	 * again. */
	int (*each)(void *arg, const struct wh_map_done *done);
	void *arg;	    /* of `next` and `each` */
	uint32_t in_flight; /* items at a time between `next` and `each`; default 256,
			       or 4 a thread if that is more */
	enum wh_lane lane;
	bool as_they_finish; /* default: `each` is told in the order of the items */
	bool keep_going;     /* a negative result does not end the map: `each` looks after it */
	bool kill;	     /* as in wh_offload_opts, also for what runs when the map ends early */
};

/**
 * Run `map->fn` on `executor` for every item. There is no task an item; items wait in a window of
 * `in_flight`.
 *
 * Suspends   the calling task until all is done. If the map ends early, items that wait are
 *            taken back and those that run are waited for; `each` is told of none of them.
 * Returns    0 once `each` was told of every item.
 * Errors     the first negative result of `fn`, in the order in which `each` is told, unless
 *            `keep_going`; or what `next` or `each` returned; or
 *            -ECANCELED, -ETIMEDOUT   interrupted
 *            -ENOMEM   no memory for the window
 *            -EINVAL   no `fn`; no array where there is a `count`, or one and `next`;
 *                      or as wh_offload_opts
 *            -EAGAIN   see wh_offload_blocking
 * Ownership  an item is borrowed from when it is taken from the array or `next` until `each` is
 *            told, at the latest until return.
 * Context    a task on any loop. Several maps may share an executor.
 */
WH_API int wh_map(struct wh_executor *executor, const struct wh_map *map);

#endif
