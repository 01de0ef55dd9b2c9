/*
 * Scopes: the only way tasks live and die. A scope is opened by a task, on its stack; tasks are
 * spawned into it; closing it waits for all of them. Scopes of one task nest and are closed in
 * reverse order.
 *
 *     struct wh_scope scope;
 *
 *     wh_scope_open(&scope, &(struct wh_scope_opts){.timeout_ns = 5 * WH_SEC});
 *     wh_spawn(&scope, left, NULL);
 *     wh_spawn(&scope, right, NULL);
 *     r = wh_scope_close(&scope);
 */
#ifndef WHORL_SCOPE_H
#define WHORL_SCOPE_H

#include <whorl/api.h>

/* In the opener's memory, so that opening cannot fail; what is inside is the engine's. */
struct wh_scope {
	uint64_t opaque[24];
};

/* {0} is valid and means: no deadline, the first failure cancels the rest. */
struct wh_scope_opts {
	uint64_t timeout_ns;  /* deadline relative to now; 0: none */
	uint64_t deadline_ns; /* absolute, on wh_now_ns's clock; 0: none; the earlier of the two
				 and of those around counts */
	bool shield;	      /* cancellation and deadlines from outside stay outside */
	bool keep_siblings;   /* a task that fails does not cancel the others */
};

/**
 * Open `scope` inside the calling task's current scope, and make it current.
 *
 * Ownership  `scope` must stay where it is until wh_scope_close returned. `opts` may be NULL.
 * Context    a task.
 */
WH_API void wh_scope_open(struct wh_scope *scope, const struct wh_scope_opts *opts);

/**
 * Wait for all tasks of `scope`, and leave it. Waits also while cancelled: then the tasks end soon,
 * as each of their calls that suspends fails. Handles of its tasks end here.
 *
 * Suspends   the calling task until the last task of the scope has ended.
 * Returns    0 if all went well.
 * Errors     the result of the task that failed first, if one did, otherwise
 *            -ETIMEDOUT   the deadline of this scope or of one around it has passed
 *            -ECANCELED   it was cancelled, from inside or outside
 * Context    the task that opened it; it is the current scope.
 */
WH_API int wh_scope_close(struct wh_scope *scope);

/**
 * Cancel everything in `scope`: its tasks, the scopes they opened, and the opener itself as long as
 * it is inside. What has already happened is still delivered. Cancelling twice is harmless.
 *
 * Context    a task on the loop that owns `scope`.
 */
WH_API void wh_scope_cancel(struct wh_scope *scope);

/** 0, or -ECANCELED or -ETIMEDOUT once the scope is cancelled. */
WH_API int wh_scope_status(const struct wh_scope *scope);

/** As wh_scope_status for the calling task's current scope: to poll in long computations. */
WH_API int wh_cancelled(void);

#endif
