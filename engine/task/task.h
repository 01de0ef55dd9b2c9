/* Tasks inside the engine, and how they wait. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/task.h>

#include "arch/context.h"
#include "base/queue.h"
#include "task/scope.h"
#include "task/stack.h"

enum whi_task_state {
	WHI_TASK_READY,	  /* in the ready queue */
	WHI_TASK_RUNNING, /* the one that runs */
	WHI_TASK_WAITING, /* suspended, `wait` says for what */
	WHI_TASK_ENDED,	  /* kept only because somebody may join it */
};

/* What a suspended task waits for. Lives in its frame, from before the suspension until after. */
struct whi_wait {
	struct wh_task *task;
	const char *what; /* for people: "recv", "join" */
	/* The task's scope was cancelled: see to it that the wait ends soon, now or later. Called
	 * at most once. NULL: the wait is not interrupted. */
	void (*interrupt)(struct whi_wait *wait);
	bool interrupted;
};

enum { WHI_TASK_NAME_MAX = 24 };

/* At the top of its own stack slot. */
struct wh_task {
	struct whi_stack stack; /* must be first */
	struct whi_context context;
	struct whi_qnode ready;
	struct whi_sched *sched;
	struct whi_scope *scope; /* the innermost it has open: where it is now */
	struct whi_wait *wait;	 /* not NULL exactly while WAITING */
	struct whi_wait *joiner;
	wh_task_fn fn;
	void *arg;
	int32_t result;
	int32_t saved_errno;
	uint8_t state;	/* enum whi_task_state */
	bool held;	/* somebody has a handle */
	bool cancelled; /* by wh_task_cancel, on its own */
	int32_t line;
	const char *file; /* with `line` and `fn_name`: where it was spawned */
	const char *fn_name;
	uint64_t since_ns; /* when it was last suspended, by the loop's clock */
	struct whi_list held_link;
	struct whi_scope own;
	char name[WHI_TASK_NAME_MAX]; /* "" means fn_name */
};

/* Spawn as wh_spawn_opts does, but from anywhere on the loop's thread. `ret` may be NULL; without
 * opts->ret_task it is no handle, and good only until the task has ended. */
int whi_task_spawn(struct whi_scope *scope, wh_task_fn fn, void *arg,
		   const struct wh_spawn_opts *opts, struct wh_task **ret);

/* Give back a task that has ended and that nobody can reach any more. */
void whi_task_release(struct wh_task *task);

/* Status of the calling task's scope: 0, -ECANCELED or -ETIMEDOUT. */
int whi_task_check(void);

/* Suspend the calling task until whi_task_wake(wait). The caller fills in `what` and `interrupt`,
 * and has called whi_task_check if it may be interrupted. */
void whi_task_suspend(struct whi_wait *wait);

/* Make the task that is suspended in `wait` ready. Not called twice for one suspension. */
void whi_task_wake(struct whi_wait *wait);
