/*
 * Scopes inside the engine: a tree. Every task has a scope of its own, a child of the one it was
 * spawned into; scopes that it opens hang below that. A task is in one scope at a time, its
 * innermost. Cancelling walks down the tree and interrupts whoever is suspended in a scope reached.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/scope.h>

#include "base/list.h"
#include "base/wheel.h"

struct wh_task;
struct whi_sched;
struct whi_wait;

struct whi_scope {
	struct whi_scope *parent;
	struct whi_list link;	  /* among the parent's children */
	struct whi_list children; /* open scopes directly below */
	struct whi_list held;	  /* tasks that have ended and may still be joined */
	struct wh_task *owner;	  /* who opened it; NULL for a loop's root scope */
	struct whi_sched *sched;
	struct whi_wait *closer; /* the owner, waiting in wh_scope_close */
	struct whi_timer timer;	 /* armed while there is a deadline to come */
	/* A root scope's: a task spawned into it has ended. */
	void (*task_ended)(struct whi_scope *scope, struct wh_task *task);
	uint32_t tasks_live; /* spawned into it and not ended */
	int32_t status;	     /* 0, or why it is cancelled */
	int32_t first_error; /* of its tasks; 0 if none failed */
	bool shield;
	bool keep_siblings;
	bool own; /* the scope that a task is born with */
};

_Static_assert(sizeof(struct whi_scope) <= sizeof(struct wh_scope), "no room in wh_scope");

static inline struct whi_scope *whi_scope_of(struct wh_scope *scope)
{
	return (struct whi_scope *)(void *)scope;
}

/* Put `scope` below `parent`, which is NULL for a root. Inherits the parent's status. */
void whi_scope_init(struct whi_scope *scope, struct whi_scope *parent, struct whi_sched *sched);

/* Take `scope`, which has no tasks left, out of the tree; ends the handles of its tasks. */
void whi_scope_fini(struct whi_scope *scope);

/* `status` is -ECANCELED or -ETIMEDOUT. The first reason stays. */
void whi_scope_cancel(struct whi_scope *scope, int status);

/* `task`, spawned into `scope`, has ended. */
void whi_scope_task_ended(struct whi_scope *scope, struct wh_task *task);
