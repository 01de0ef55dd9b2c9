/*
 * Tasks: their birth, waiting, joining and end. Everything here runs on the thread of the loop that
 * owns the task.
 *
 * Invariants
 * 1. `wait` is set exactly while the task is suspended; waking clears it, so a completion and a
 *    cancellation that race cannot both wake it.
 * 2. A task's memory is its stack slot. It is given back when the task has ended and nobody holds a
 *    handle: at once, by its joiner, or when its scope closes; once.
 */
#include "task/task.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "task/sched.h"

static void check_canary(const struct wh_task *task)
{
	if (whi_unlikely(!whi_stack_intact(&task->stack)))
		whi_die("whorl: task '%s' overflowed its stack of %zu bytes (spawned at %s:%d); "
			"give it more with .stack_bytes",
			wh_task_name(task), (size_t)1 << task->stack.shift, task->file, task->line);
}

static void end(struct wh_task *task)
{
	struct whi_sched *sched = task->sched;
	struct whi_scope *parent = task->own.parent;

	whi_assert(task->scope == &task->own);
	check_canary(task);
	task->state = WHI_TASK_ENDED;
	sched->tasks_live--;
	whi_scope_fini(&task->own);
	if (task->joiner) {
		/* The joiner gives it back, though the scope may close before the joiner runs. */
		whi_task_wake(task->joiner);
		task->joiner = NULL;
	} else if (task->held) {
		whi_list_append(&parent->held, &task->held_link);
	}
	/* The last use of the parent: its owner may leave it as soon as it runs. */
	whi_scope_task_ended(parent, task);
	if (!task->held)
		whi_task_release(task);
}

static void task_main(void *arg)
{
	struct wh_task *task = arg;

	whi_context_started();
	errno = 0;
	task->result = task->fn(task->arg);
	end(task);
	/* Its memory may be on the free list, but is nobody else's before the switch. */
	whi_sched_exit(task->sched, task);
}

static void fill_in(struct wh_task *task, const struct wh_spawn_opts *opts)
{
	task->wait = NULL;
	task->joiner = NULL;
	task->result = 0;
	task->held = opts->ret_task != NULL;
	task->cancelled = false;
	task->file = opts->file ? opts->file : "?";
	task->line = opts->line;
	task->fn_name = opts->fn_name ? opts->fn_name : "task";
	task->since_ns = task->sched->now_ns;
	whi_list_init(&task->held_link);
	task->name[0] = '\0';
	if (opts->name) {
		size_t len = strnlen(opts->name, WHI_TASK_NAME_MAX - 1);

		memcpy(task->name, opts->name, len);
		task->name[len] = '\0';
	}
}

int whi_task_spawn(struct whi_scope *scope, wh_task_fn fn, void *arg,
		   const struct wh_spawn_opts *opts, struct wh_task **ret)
{
	struct whi_sched *sched = scope->sched;
	struct whi_stack *stack;
	struct wh_task *task;
	int r;

	if (sched->tasks_live >= sched->tasks_max)
		return -EAGAIN;
	r = whi_stack_get(&sched->stacks,
			  opts->stack_bytes ? opts->stack_bytes : sched->stack_bytes, &stack);
	if (r < 0)
		return r;
	task = whi_container_of(stack, struct wh_task, stack);
	task->sched = sched;
	task->fn = fn;
	task->arg = arg;
	fill_in(task, opts);
	whi_scope_init(&task->own, scope, sched);
	task->own.owner = task;
	task->own.own = true;
	task->scope = &task->own;
	whi_context_init(&task->context, stack->low, task, task_main, task);
	scope->tasks_live++;
	sched->tasks_live++;
	sched->spawned++;
	if (ret)
		*ret = task;
	whi_sched_ready(sched, task);
	return 0;
}

int wh_spawn_opts(struct wh_scope *scope, wh_task_fn fn, void *arg,
		  const struct wh_spawn_opts *opts)
{
	return whi_task_spawn(whi_scope_of(scope), fn, arg, opts, opts->ret_task);
}

void whi_task_release(struct wh_task *task)
{
	task->held = false;
	whi_stack_put(&task->sched->stacks, &task->stack);
}

int whi_task_check(void)
{
	struct whi_sched *sched = whi_sched_self();

	whi_assert(sched && sched->current);
	return sched->current->scope->status;
}

__attribute__((noinline)) void whi_task_suspend(struct whi_wait *wait)
{
	struct whi_sched *sched = whi_sched_self();
	struct wh_task *task = sched->current;

	whi_assert(task && !task->wait);
	check_canary(task);
	wait->task = task;
	wait->interrupted = false;
	task->wait = wait;
	task->state = WHI_TASK_WAITING;
	task->since_ns = sched->now_ns;
	whi_sched_switch(sched, task);
}

void whi_task_wake(struct whi_wait *wait)
{
	struct wh_task *task = wait->task;

	whi_assert(task->wait == wait);
	task->wait = NULL;
	whi_sched_ready(task->sched, task);
}

struct join {
	struct whi_wait wait;
	struct wh_task *target;
};

static void join_interrupted(struct whi_wait *wait)
{
	whi_container_of(wait, struct join, wait)->target->joiner = NULL;
	whi_task_wake(wait);
}

int wh_task_join(struct wh_task *task, int *ret_result)
{
	struct join join = { { .what = "join", .interrupt = join_interrupted }, task };
	int r;

	whi_assert(task->held && !task->joiner);
	if (task->state != WHI_TASK_ENDED) {
		if (task == task->sched->current)
			return -EDEADLK;
		r = whi_task_check();
		if (r < 0)
			return r;
		task->joiner = &join.wait;
		whi_task_suspend(&join.wait);
		if (join.wait.interrupted)
			return whi_task_check();
	}
	if (ret_result)
		*ret_result = task->result;
	whi_list_remove(&task->held_link);
	whi_task_release(task);
	return 0;
}

void wh_task_cancel(struct wh_task *task)
{
	if (task->state == WHI_TASK_ENDED)
		return;
	task->cancelled = true;
	whi_scope_cancel(&task->own, -ECANCELED);
}

struct wh_task *wh_task_self(void)
{
	struct whi_sched *sched = whi_sched_self();

	return sched ? sched->current : NULL;
}

const char *wh_task_name(const struct wh_task *task)
{
	return task->name[0] ? task->name : task->fn_name;
}

uint64_t wh_now_ns(void)
{
	return whi_clock_ns();
}

struct sleep {
	struct whi_timer timer;
	struct whi_wait wait;
};

static void sleep_over(struct whi_timer *timer)
{
	whi_task_wake(&whi_container_of(timer, struct sleep, timer)->wait);
}

static void sleep_interrupted(struct whi_wait *wait)
{
	struct sleep *sleep = whi_container_of(wait, struct sleep, wait);

	whi_wheel_cancel(&wait->task->sched->wheel, &sleep->timer);
	whi_task_wake(wait);
}

int wh_sleep_until(uint64_t deadline_ns)
{
	struct sleep sleep = { .wait = { .what = "sleep", .interrupt = sleep_interrupted } };
	struct whi_sched *sched = whi_sched_self();
	int r = whi_task_check();

	if (r < 0)
		return r;
	if (deadline_ns <= sched->now_ns)
		return wh_yield();
	whi_timer_init(&sleep.timer, sleep_over);
	if (deadline_ns != WHI_NEVER)
		whi_wheel_arm(&sched->wheel, &sleep.timer, deadline_ns);
	whi_task_suspend(&sleep.wait);
	return sleep.wait.interrupted ? whi_task_check() : 0;
}

int wh_sleep(uint64_t timeout_ns)
{
	return timeout_ns ? wh_sleep_until(whi_clock_add(whi_clock_ns(), timeout_ns)) : wh_yield();
}
