/*
 * Tasks: straight-line code on a stack of its own, run by the loop that spawned it and by no
 * other thread. A task lives in a scope (<whorl/scope.h>) and cannot outlive it.
 *
 * Cancellation and deadlines belong to scopes. Every call below and in the other headers that says
 * "Suspends" also returns, unless it says otherwise:
 *     -ECANCELED   the scope the task is in was cancelled
 *     -ETIMEDOUT   a deadline of that scope, or of one around it, has passed
 * and goes on returning it until the scope is left: an ignored return value cannot make a task
 * immortal.
 */
#ifndef WHORL_TASK_H
#define WHORL_TASK_H

#include <whorl/api.h>

struct wh_scope;
struct wh_task;

/* What a task runs. Its return value is the task's result; a negative one is a failure and is
 * taken for -errno. */
typedef int (*wh_task_fn)(void *arg);

/* Options of wh_spawn. {0} is valid and means the defaults. */
struct wh_spawn_opts {
	const char *name;	   /* copied, up to 23 bytes; default: the function's name */
	size_t stack_bytes;	   /* rounded up to a power of two; default: wh_run's option */
	struct wh_task **ret_task; /* where to put the handle; NULL: nobody will join the task */
	const char *fn_name;	   /* these three are filled in by wh_spawn */
	const char *file;
	int line;
};

/**
 * Start a task in `scope` that runs `fn(arg)`. It runs when the caller next suspends. Written
 *     wh_spawn(scope, fn, arg);
 *     wh_spawn(scope, fn, arg, .name = "reader", .ret_task = &task);
 *
 * Returns    0. Into a scope that is already cancelled the task is started too, and sees the
 *            cancellation in the first call that suspends.
 * Errors     -ENOMEM   no memory for its stack
 *            -EAGAIN   the loop has as many tasks as its limit `tasks_max` allows
 *            -EINVAL   a stack below 16 KiB or above 1 GiB
 * Ownership  The handle is valid until wh_task_join returned 0 or the scope is closed.
 * Context    a task on the loop that owns `scope`; `scope` is open.
 */
WH_API int wh_spawn_opts(struct wh_scope *scope, wh_task_fn fn, void *arg,
			 const struct wh_spawn_opts *opts);

#define wh_spawn(scope, fn, arg, ...)                                                              \
	wh_spawn_opts(scope, fn, arg,                                                              \
		      &(struct wh_spawn_opts){                                                     \
			      .fn_name = #fn, .file = __FILE__, .line = __LINE__, __VA_ARGS__ })

/**
 * Wait until `task` has ended, and release its handle.
 *
 * Suspends   the calling task until then.
 * Returns    0, with the task's own result in `*ret_result` (which may be NULL).
 * Errors     -ECANCELED, -ETIMEDOUT   the caller was interrupted; `task` goes on and the handle
 *                                     stays valid
 *            -EDEADLK   a task waiting for itself
 * Context    a task on the loop that owns `task`. One joiner a task.
 */
WH_API int wh_task_join(struct wh_task *task, int *ret_result);

/**
 * Cancel one task and all scopes it has open, but not its siblings: every call of it that
 * suspends returns -ECANCELED from now on, except in a shielded scope. Harmless on one that has
 * ended.
 *
 * Context    a task on the loop that owns `task`.
 */
WH_API void wh_task_cancel(struct wh_task *task);

/** The task that is running, or NULL outside of any. */
WH_API struct wh_task *wh_task_self(void);

/** The name given at wh_spawn, or the function's. Valid as long as the handle. */
WH_API const char *wh_task_name(const struct wh_task *task);

/**
 * Let every other task that is ready run once. The loop looks at the kernel only every some hundred
 * of these; wh_sleep(1) waits until it has.
 *
 * Suspends   the calling task until then.
 * Returns    0.
 * Errors     -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_yield(void);

/** Nanoseconds of CLOCK_MONOTONIC, which all deadlines here are measured on. */
WH_API uint64_t wh_now_ns(void);

/**
 * Sleep for `timeout_ns`, never less.
 *
 * Suspends   the calling task until then.
 * Returns    0.
 * Errors     -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_sleep(uint64_t timeout_ns);

/**
 * Sleep until wh_now_ns() is at least `deadline_ns`. UINT64_MAX sleeps until cancelled.
 *
 * Suspends   the calling task until then.
 * Returns    0.
 * Errors     -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_sleep_until(uint64_t deadline_ns);

#endif
