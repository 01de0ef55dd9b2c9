/*
 * The scheduler. Called by the loop, and by tasks that wait.
 *
 * Invariants
 * 1. A task is in the ready queue exactly while its state is READY.
 * 2. A task that suspends goes straight to the next ready one; the loop's own stack runs when none
 *    is left or the turn's budget is used up. So tasks that wake each other cannot keep the loop
 *    from the kernel.
 * 3. Tasks are stopped at one of two places, in wh_yield and in whi_sched_switch, and got to the
 *    latter by whi_task_suspend; none of these is inlined. So the CPU's return predictions, made
 *    for the task that stops, are right for the one that goes on.
 * 4. Whoever was ready when a turn began runs in that turn.
 */
#include "task/sched.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"

/* A turn may run this many tasks even if fewer were ready: tasks that wake each other then share
 * the cost of a look at the kernel and the clock. */
enum { TURN_MIN = 256 };

/* A debugger looks for it by this name. */
__attribute__((used)) _Thread_local struct whi_sched *whi_sched_mine;

void whi_sched_init(struct whi_sched *sched, const struct whi_sched_opts *opts)
{
	memset(sched, 0, sizeof(*sched));
	sched->stack_bytes = opts->stack_bytes;
	sched->tasks_max = opts->tasks_max;
	sched->errno_ptr = &errno;
	sched->now_ns = whi_clock_ns();
	whi_wheel_init(&sched->wheel, sched->now_ns);
	sched->stacks_from = opts->stacks;
	if (opts->stacks && opts->stacks->head_bytes)
		sched->stacks = *opts->stacks;
	else
		whi_stack_pool_init(&sched->stacks, sizeof(struct wh_task), opts->stacks_warm);
	whi_scope_init(&sched->root, NULL, sched);
	whi_context_adopt(&sched->context);
	whi_sched_mine = sched;
}

static void forget_context(struct whi_stack *stack)
{
	struct wh_task *task = whi_container_of(stack, struct wh_task, stack);

	whi_context_fini(&task->context);
}

void whi_sched_forget_stacks(struct whi_stack_pool *stacks)
{
	whi_stack_pool_fini(stacks, forget_context);
}

void whi_sched_fini(struct whi_sched *sched)
{
	whi_assert(sched->tasks_live == 0);
	whi_scope_fini(&sched->root);
	if (sched->stacks_from)
		*sched->stacks_from = sched->stacks;
	else
		whi_sched_forget_stacks(&sched->stacks);
	whi_sched_mine = NULL;
}

static void forget_frames(const struct whi_stack_pool *stacks)
{
	for (unsigned i = 0; i < WHI_STACK_SIZES; i++) {
		const struct whi_slab *slab = stacks->classes[i].slabs;

		for (; slab; slab = slab->next)
			whi_context_forget(slab->base, slab->bytes);
	}
}

void whi_sched_abandon(struct whi_sched *sched)
{
	forget_frames(&sched->stacks);
	whi_list_init(&sched->root.children);
	whi_list_init(&sched->root.held);
	sched->root.tasks_live = 0;
	sched->tasks_live = 0;
	sched->ready = (struct whi_fifo){ 0 };
	/* Some of them are not free, and never will be: the whole pool goes. */
	sched->stacks_from = NULL;
}

void whi_sched_ready(struct whi_sched *sched, struct wh_task *task)
{
	task->state = WHI_TASK_READY;
	sched->made_ready++;
	whi_fifo_push(&sched->ready, &task->ready);
}

/* Who runs next: a ready task if the turn may go on, otherwise the loop. */
static struct whi_context *pick_next(struct whi_sched *sched)
{
	struct whi_qnode *node;
	struct wh_task *next;

	if (sched->budget == 0 || !(node = whi_fifo_pop(&sched->ready))) {
		sched->current = NULL;
		return &sched->context;
	}
	next = whi_container_of(node, struct wh_task, ready);
	sched->budget--;
	sched->current = next;
	next->state = WHI_TASK_RUNNING;
	return &next->context;
}

static inline void switch_away(struct whi_sched *sched, struct wh_task *task)
{
	struct whi_context *next = pick_next(sched);

	if (next == &task->context)
		return;
	task->saved_errno = *sched->errno_ptr;
	whi_context_switch(&task->context, next);
	*sched->errno_ptr = task->saved_errno;
}

__attribute__((noinline)) void whi_sched_switch(struct whi_sched *sched, struct wh_task *task)
{
	switch_away(sched, task);
}

_Noreturn void whi_sched_exit(struct whi_sched *sched, struct wh_task *task)
{
	whi_context_leave(&task->context, pick_next(sched));
}

__attribute__((noinline)) int wh_yield(void)
{
	struct whi_sched *sched = whi_sched_mine;
	struct wh_task *task;

	whi_assert(sched && sched->current);
	task = sched->current;
	if (whi_likely(!task->scope->status)) {
		whi_sched_ready(sched, task);
		switch_away(sched, task);
	}
	return task->scope->status;
}

void whi_sched_run(struct whi_sched *sched)
{
	uint32_t ready = (uint32_t)(sched->made_ready - sched->resumed);
	struct whi_context *first;
	uint32_t budget;

	if (ready == 0)
		return;
	sched->budget = ready > TURN_MIN ? ready : TURN_MIN;
	budget = sched->budget;
	first = pick_next(sched);
	whi_context_switch(&sched->context, first);
	sched->resumed += budget - sched->budget;
	whi_stack_trim(&sched->stacks);
}

void whi_sched_advance(struct whi_sched *sched, uint64_t now_ns)
{
	sched->now_ns = now_ns;
	whi_wheel_advance(&sched->wheel, now_ns);
}
