/*
 * What every executor is made of: jobs, and the operations that move them. wh_offload and wh_map
 * are written on these alone, so threads and processes differ by their table only.
 *
 * The way of a job. Its submitter, on a loop, fills it in and hands it over: whi_exec_submit. It
 * lies in the loop's outbox until the end of the turn's tasks, and then goes to the executor with
 * everything else that was submitted in that turn, in one call of `submit`. A worker takes it and
 * does it; whi_exec_finish sends it, with others that have finished, back to its loop, where `done`
 * is called.
 *
 * Who owns a job
 * 1. The submitter until whi_exec_submit, and again from when `done` is called, or from when
 *    whi_exec_remove returned true. Both never happen to one submission. In between it must stay
 *    where it is, with all that it points at.
 * 2. The executor in between. `link` is its for as long. Only it writes `state`, `status`
 *    and `result`, and the last two before whi_exec_finish only.
 * 3. From whi_exec_finish on the executor does not touch it: its task may have left.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/exec.h>

#include "base/list.h"
#include "loop/loop.h"

enum whi_exec_state {
	WHI_EXEC_IDLE,	 /* the submitter's, or in the outbox */
	WHI_EXEC_QUEUED, /* the executor's, not started: can be removed */
	WHI_EXEC_TAKEN,	 /* a worker has it, or has done it */
};

struct whi_exec_job {
	/* What a worker needs is on one cache line if the job is aligned so. */
	struct whi_list link;
	struct wh_post post;  /* its next pointer is the executor's until whi_exec_finish, which
				makes it the way back */
	struct wh_loop *loop; /* that submitted it; whi_exec_submit fills it in */
	wh_job_fn fn; /* wh_job_run can be done in another process too: its `arg` is a call */
	void *arg;
	int result;
	uint8_t state;	  /* enum whi_exec_state; under the executor's lock while it has the job */
	uint8_t lane;	  /* enum wh_lane; an executor may have one for both */
	bool unless_full; /* `accept` is to refuse it rather than let it stand in line */
	/* The submitter's. On `loop`, outside of any task: may wake tasks and submit jobs (this one
	 * too), must not suspend. */
	void (*done)(struct whi_exec_job *job);
	struct whi_wait *waiter;      /* for the submitter's own use: the task to wake, say */
	struct wh_executor *executor; /* whi_exec_submit fills it in */
	int status; /* 0: it ran, and `result` is what it returned; -errno: it did not, or not to
		       its end */
	_Atomic bool finished; /* on its way back: its executor may be closed by now */
	bool in_outbox;	       /* submitted, not yet handed over; the loop's thread's */
	bool awaited;	       /* counted in loop->awaited; the loop's thread's */
};

struct whi_executor_ops {
	const char *name; /* "threads", "processes" */

	/* 0, or why `job` cannot be done: -EINVAL on processes if it is no call, say; -EAGAIN if it
	 * is `unless_full` and the queue is. Called before each submission, on the loop that
	 * submits. */
	int (*accept)(const struct wh_executor *executor, const struct whi_exec_job *job);

	/* Take over the `count` > 0 jobs on `jobs`, in their order, and leave the list empty. They
	 * are of one lane, come from the calling thread's loop and are in state QUEUED already.
	 * Called at the end of the turn's tasks, or earlier if there are many; several loops may
	 * call at once. Never fails and never waits: what does not fit into the executor's queue
	 * stands in line behind it. Wakes as few workers as will do; each may wake more. A job that
	 * turns out impossible may be finished at once: `done` comes in a later turn even so. */
	void (*submit)(struct wh_executor *executor, struct whi_list *jobs, uint32_t count);

	/* On job->loop: if `job`, which was handed over, has not been started, forget it and return
	 * true. False: it has been or is about to be; `done` will come. */
	bool (*remove)(struct wh_executor *executor, struct whi_exec_job *job);

	/* On job->loop: end `job`, which could not be removed, by force; `done` comes soon, with a
	 * status that says so unless it had finished. May be called twice. NULL: it cannot be done
	 * by force, and is waited for. */
	void (*kill)(struct wh_executor *executor, struct whi_exec_job *job);

	/* As wh_executor_close: do what is queued, end the workers, free the executor. Nobody
	 * submits any more. */
	void (*close)(struct wh_executor *executor);

	/* Jobs of the CPU lane that can run at the same time. Any thread. */
	unsigned (*workers)(const struct wh_executor *executor);
};

/* The beginning of every executor. */
struct wh_executor {
	const struct whi_executor_ops *ops;
	bool spins; /* its jobs may come back so soon that their loop had better not sleep */
};

/* Submit `job` to `executor` from the calling thread's loop, in or outside of a task. `done`, `fn`,
 * `arg`, `lane` and `unless_full` are filled in. 0, or -errno of `accept`: then nothing
 * happened. */
int whi_exec_submit(struct wh_executor *executor, struct whi_exec_job *job);

/* On the loop that submitted it, and before `done`: take `job` back if it has not been started. */
bool whi_exec_remove(struct whi_exec_job *job);

/* On the loop that submitted it: have `job`, which is running, ended by force if that is possible.
 * `done` comes. */
void whi_exec_kill(struct whi_exec_job *job);

/* Submit `job` and suspend the calling task until it has ended. Cancelled, it takes the job back or
 * waits for it; `kill`: or has it ended by force. 0 if the job ended, see `status`; otherwise
 * -errno, and it never ran. */
int whi_exec_await(struct wh_executor *executor, struct whi_exec_job *job, bool kill);

/* 0, or -EINVAL: there is no such lane, or `kill` is asked of who cannot. */
int whi_exec_check(const struct wh_executor *executor, enum wh_lane lane, bool kill);

/* Finished jobs on their way back to one loop. A thread other than a loop's that keeps one between
 * jobs keeps the loop from closing: see whi_exec_flush. {0}: empty. */
struct whi_exec_batch {
	struct wh_loop *loop; /* NULL: empty */
	struct whi_qnode *newest, *oldest;
};

/* A worker, or whoever has the job, is through with `job`: `status` and `result` are filled in. It
 * goes back when the batch does: with whi_exec_pass or whi_exec_flush, or when a job of another
 * loop is added. NULL: at once. Any thread; with a batch, a thread that is no loop's. */
void whi_exec_finish(struct whi_exec_job *job, struct whi_exec_batch *batch);

/* The same for a job of the calling thread's own loop, outside of tasks: `done` is called now. */
void whi_exec_finish_here(struct whi_exec_job *job);

/* Send what is in `batch` back, all at once and with one wake-up if the loop sleeps. `batch` still
 * belongs to the loop, which saves some work if the next job is the loop's too: to be used while
 * such a job is out, since the loop cannot close before whi_exec_flush. */
void whi_exec_pass(struct whi_exec_batch *batch);

/* The same, and let go of the loop. */
void whi_exec_flush(struct whi_exec_batch *batch);
