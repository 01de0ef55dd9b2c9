/*
 * Scopes: see scope.h for what they are.
 *
 * Invariants
 * 1. A scope's status is inherited by the scopes below it, shielded ones excepted; so whether a
 *    task is cancelled is one load from its innermost scope.
 * 2. Whoever is suspended in a cancelled scope has been interrupted exactly once.
 * 3. A scope leaves the tree after its tasks have ended and the scopes below it have left.
 */
#include "task/scope.h"

#include <errno.h>

#include "base/assert.h"
#include "base/clock.h"
#include "task/sched.h"
#include "task/task.h"

static void deadline_passed(struct whi_timer *timer)
{
	whi_scope_cancel(whi_container_of(timer, struct whi_scope, timer), -ETIMEDOUT);
}

void whi_scope_init(struct whi_scope *scope, struct whi_scope *parent, struct whi_sched *sched)
{
	scope->parent = parent;
	whi_list_init(&scope->link);
	whi_list_init(&scope->children);
	whi_list_init(&scope->held);
	scope->owner = NULL;
	scope->sched = sched;
	scope->closer = NULL;
	whi_timer_init(&scope->timer, deadline_passed);
	scope->task_ended = NULL;
	scope->tasks_live = 0;
	scope->status = 0;
	scope->first_error = 0;
	scope->shield = false;
	scope->keep_siblings = false;
	scope->own = false;
	if (!parent)
		return;
	whi_list_append(&parent->children, &scope->link);
	scope->status = parent->status;
}

void whi_scope_fini(struct whi_scope *scope)
{
	struct whi_list *node;

	whi_assert(scope->tasks_live == 0 && whi_list_empty(&scope->children));
	while ((node = whi_list_pop(&scope->held)))
		whi_task_release(whi_container_of(node, struct wh_task, held_link));
	whi_wheel_cancel(&scope->sched->wheel, &scope->timer);
	whi_list_remove(&scope->link);
}

static void interrupt_owner(struct whi_scope *scope)
{
	struct wh_task *task = scope->owner;
	struct whi_wait *wait;

	if (!task || task->scope != scope || !(wait = task->wait) || wait->interrupted)
		return;
	wait->interrupted = true;
	if (wait->interrupt)
		wait->interrupt(wait);
}

/* The scope after `scope` in the tree below `top`, in depth-first order; NULL at the end. */
static struct whi_scope *next_in_tree(struct whi_scope *scope, struct whi_scope *top, bool descend)
{
	if (descend && !whi_list_empty(&scope->children))
		return whi_container_of(scope->children.next, struct whi_scope, link);
	while (scope != top) {
		if (scope->link.next != &scope->parent->children)
			return whi_container_of(scope->link.next, struct whi_scope, link);
		scope = scope->parent;
	}
	return NULL;
}

void whi_scope_cancel(struct whi_scope *top, int status)
{
	struct whi_scope *scope = top;
	bool descend;

	/* An interrupt only makes tasks ready or asks the kernel: it never changes the tree. */
	while (scope) {
		descend = scope->status == 0 && (scope == top || !scope->shield);
		if (descend) {
			scope->status = status;
			whi_wheel_cancel(&scope->sched->wheel, &scope->timer);
			interrupt_owner(scope);
		}
		scope = next_in_tree(scope, top, descend);
	}
}

/* Being told to stop is not a failure. */
static bool is_failure(const struct whi_scope *scope, const struct wh_task *task)
{
	bool stopped = task->result == -ECANCELED || task->result == -ETIMEDOUT;

	return task->result < 0 && !(stopped && (scope->status || task->cancelled));
}

void whi_scope_task_ended(struct whi_scope *scope, struct wh_task *task)
{
	if (is_failure(scope, task) && scope->first_error == 0) {
		scope->first_error = task->result;
		if (!scope->keep_siblings)
			whi_scope_cancel(scope, -ECANCELED);
	}
	scope->tasks_live--;
	if (scope->task_ended)
		scope->task_ended(scope, task);
	if (scope->tasks_live == 0 && scope->closer) {
		struct whi_wait *closer = scope->closer;

		scope->closer = NULL;
		whi_task_wake(closer);
	}
}

static uint64_t deadline_of(const struct wh_scope_opts *opts)
{
	uint64_t deadline = opts->deadline_ns ? opts->deadline_ns : WHI_NEVER;
	uint64_t timeout = WHI_NEVER;

	if (opts->timeout_ns)
		timeout = whi_clock_add(whi_clock_ns(), opts->timeout_ns);
	return deadline < timeout ? deadline : timeout;
}

static void apply_opts(struct whi_scope *scope, const struct wh_scope_opts *opts)
{
	uint64_t deadline = deadline_of(opts);

	scope->keep_siblings = opts->keep_siblings;
	scope->shield = opts->shield;
	if (opts->shield)
		scope->status = 0;
	if (deadline == WHI_NEVER || scope->status)
		return;
	if (deadline <= scope->sched->now_ns)
		scope->status = -ETIMEDOUT;
	else
		whi_wheel_arm(&scope->sched->wheel, &scope->timer, deadline);
}

void wh_scope_open(struct wh_scope *public, const struct wh_scope_opts *opts)
{
	struct whi_sched *sched = whi_sched_self();
	struct whi_scope *scope = whi_scope_of(public);
	struct wh_task *task;

	whi_assert(sched && sched->current);
	task = sched->current;
	whi_scope_init(scope, task->scope, sched);
	scope->owner = task;
	task->scope = scope;
	if (opts)
		apply_opts(scope, opts);
}

int wh_scope_close(struct wh_scope *public)
{
	struct whi_scope *scope = whi_scope_of(public);
	struct wh_task *task = scope->owner;
	struct whi_wait wait = { .what = "scope close" };

	whi_assert(task && task == whi_sched_self()->current && task->scope == scope);
	if (scope->tasks_live) {
		scope->closer = &wait;
		whi_task_suspend(&wait);
	}
	whi_scope_fini(scope);
	task->scope = scope->parent;
	return scope->first_error ? scope->first_error : scope->status;
}

void wh_scope_cancel(struct wh_scope *scope)
{
	whi_scope_cancel(whi_scope_of(scope), -ECANCELED);
}

int wh_scope_status(const struct wh_scope *scope)
{
	return ((const struct whi_scope *)(const void *)scope)->status;
}

int wh_cancelled(void)
{
	return whi_task_check();
}
