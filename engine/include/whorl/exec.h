/*
 * Executors: where CPU-bound work and calls that block go, away from the loops.
 */
#ifndef WHORL_EXEC_H
#define WHORL_EXEC_H

#include <whorl/api.h>

struct wh_executor;

/* What an executor runs. Not a task: it may block, and must not call anything that suspends. */
typedef int (*wh_job_fn)(void *arg);

/* {0} is valid and means the defaults. */
struct wh_executor_opts {
	uint32_t threads;   /* default: the CPUs this process may use, pinned loops or not */
	uint32_t queue_max; /* jobs waiting; default 1,024. Full: submitters are suspended */
	const char *name;   /* of its threads, up to 11 bytes; default "whorl" */
};

/**
 * Start a pool of threads.
 *
 * Returns    0, with the executor in `*ret`.
 * Errors     -ENOMEM, -EAGAIN   as pthread_create(3)
 *            -EINVAL   more than 1,024 threads
 * Ownership  wh_executor_close releases it.
 * Context    any thread.
 */
WH_API int wh_executor_open(const struct wh_executor_opts *opts, struct wh_executor **ret);

/**
 * Finish what is running, end the threads and free the executor. Blocks its thread for that long.
 * The caller makes sure that nobody submits any more: no task is in wh_offload on it.
 */
WH_API void wh_executor_close(struct wh_executor *executor);

/** How many threads it has. Context: any thread. */
WH_API unsigned wh_executor_threads(const struct wh_executor *executor);

/**
 * Run `fn(arg)` on a thread of `executor`.
 *
 * Suspends   the calling task until `fn` has returned. While the queue is full, until there is
 *            room, first come first served.
 * Returns    0, with what `fn` returned in `*ret_result` (may be NULL).
 * Errors     -ECANCELED, -ETIMEDOUT   interrupted before `fn` was started; it never will be.
 *            A running `fn` is waited for and its result delivered, cancelled or not.
 * Ownership  `arg` is borrowed until return.
 * Context    a task on any loop.
 */
WH_API int wh_offload(struct wh_executor *executor, wh_job_fn fn, void *arg, int *ret_result);

#endif
