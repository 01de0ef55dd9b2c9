/*
 * The scheduler of one loop: who is ready, who runs, and which timers are armed. It knows no
 * kernel: whoever turns the loop calls whi_sched_run and whi_sched_advance.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/queue.h"
#include "base/wheel.h"
#include "task/scope.h"
#include "task/stack.h"
#include "task/task.h"

struct whi_sched {
	struct whi_fifo ready;
	uint32_t budget;	 /* tasks that may still run before the loop's next turn */
	uint64_t made_ready;	 /* tasks put into the queue so far */
	uint64_t resumed;	 /* tasks taken out of it in earlier turns */
	struct wh_task *current; /* NULL while the loop itself runs */
	int *errno_ptr;		 /* of the loop's thread, which its tasks never leave */
	struct whi_context context;
	struct whi_scope root;
	struct whi_stack_pool stacks;
	struct whi_stack_pool *stacks_from; /* where they go in the end; NULL: nowhere */
	size_t stack_bytes;		    /* of a task that does not ask */
	uint32_t tasks_live;
	uint32_t tasks_max;
	uint64_t now_ns; /* as of the last whi_sched_advance */
	uint64_t spawned;
	struct whi_wheel wheel;
};

struct whi_sched_opts {
	size_t stack_bytes;
	uint32_t tasks_max;
	uint32_t stacks_warm;
	/* Stacks of an earlier scheduler to go on with, all free, made with the same options; they
	 * are there again after whi_sched_fini. NULL: none. */
	struct whi_stack_pool *stacks;
};

/* Makes `sched` the calling thread's. */
void whi_sched_init(struct whi_sched *sched, const struct whi_sched_opts *opts);

/* Give up the tasks that are left: they never run again, and what is on their stacks is lost. */
void whi_sched_abandon(struct whi_sched *sched);

/* No task is left. */
void whi_sched_fini(struct whi_sched *sched);

/* Give back a pool of stacks that a scheduler has left in `opts->stacks`. */
void whi_sched_forget_stacks(struct whi_stack_pool *stacks);

/* Near the thread pointer, so that reading it is no call in the shared library either. */
extern __attribute__((tls_model("initial-exec"))) _Thread_local struct whi_sched *whi_sched_mine;

/* The calling thread's scheduler, or NULL. A compiler may keep it across a switch of tasks: these
 * never change thread, and it does not change while they run. */
static inline struct whi_sched *whi_sched_self(void)
{
	return whi_sched_mine;
}

/* Run every task that is ready now, and some that become ready meanwhile. */
void whi_sched_run(struct whi_sched *sched);

/* Set the clock and fire the timers that are due. */
void whi_sched_advance(struct whi_sched *sched, uint64_t now_ns);

/* Append a task to the ready queue. */
void whi_sched_ready(struct whi_sched *sched, struct wh_task *task);

/* Stop running the current task and go on with the next one, or with the loop. */
void whi_sched_switch(struct whi_sched *sched, struct wh_task *task);

/* The same for a task that has ended. */
_Noreturn void whi_sched_exit(struct whi_sched *sched, struct wh_task *task);

static inline bool whi_sched_idle(const struct whi_sched *sched)
{
	return whi_fifo_empty(&sched->ready);
}
