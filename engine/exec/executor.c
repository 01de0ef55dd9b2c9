/*
 * What all executors share: the way of a job from its loop to them and back, and offloading.
 *
 * Invariants
 * 1. A job is in the outbox of its loop exactly while `in_outbox` is set; the loop's thread alone
 *    reads and writes that.
 * 2. loop->awaited counts the jobs that are out, submitted and neither taken back nor done, of
 *    executors for which it is worth spinning.
 * 3. A job is out or queued only while a task of its loop waits for it. So while a worker has one,
 *    its loop is open; a worker that has sent one back may only touch the loop as a visitor.
 * 4. A job that is on its way back is asked, not its executor: that may be closed by then.
 */
#include "exec/executor.h"

#include <errno.h>

#include "base/assert.h"
#include "base/container.h"
#include "loop/runtime.h"
#include "loop/sim.h"

/* The first jobs of a long turn are not to wait for its end. */
enum { OUTBOX_MAX = 64 };

/* Away */

/* The first jobs in `outbox` that may be handed over in one call. */
static uint32_t take_alike(struct whi_outbox *outbox, struct whi_list *ret)
{
	const struct whi_exec_job *first = whi_container_of(outbox->list.next, struct whi_exec_job,
							    link);
	struct whi_list *node = outbox->list.next;
	uint32_t count = 0;

	whi_list_init(ret);
	for (; node != &outbox->list; node = outbox->list.next, count++) {
		struct whi_exec_job *job = whi_container_of(node, struct whi_exec_job, link);

		if (job->executor != first->executor || job->lane != first->lane)
			break;
		job->in_outbox = false;
		job->state = WHI_EXEC_QUEUED;
		whi_list_remove(node);
		whi_list_append(ret, node);
	}
	outbox->count -= count;
	return count;
}

static void flush_outbox(struct whi_outbox *outbox)
{
	while (outbox->count) {
		struct wh_executor *executor =
			whi_container_of(outbox->list.next, struct whi_exec_job, link)->executor;
		struct whi_list jobs;
		uint32_t count = take_alike(outbox, &jobs);

		executor->ops->submit(executor, &jobs, count);
	}
}

/* The loop's first job. */
static whi_cold void prepare(struct wh_loop *loop)
{
	loop->outbox.flush = flush_outbox;
	if (!wh_sim_active())
		whi_spin_init(&loop->spin, whi_runtime_cpus());
}

int whi_exec_submit(struct wh_executor *executor, struct whi_exec_job *job)
{
	struct wh_loop *loop = whi_loop_self();
	int r = executor->ops->accept(executor, job);

	if (r < 0)
		return r;
	if (whi_unlikely(!loop->outbox.flush))
		prepare(loop);
	job->executor = executor;
	job->loop = loop;
	job->status = 0;
	atomic_store_explicit(&job->finished, false, memory_order_relaxed);
	job->in_outbox = true;
	job->awaited = executor->spins;
	whi_list_append(&loop->outbox.list, &job->link);
	loop->awaited += job->awaited;
	/* Who is not to stand in line must count for the next one who asks. */
	if (++loop->outbox.count == OUTBOX_MAX || job->unless_full)
		flush_outbox(&loop->outbox);
	return 0;
}

static bool is_finished(struct whi_exec_job *job)
{
	/* Pairs with the store in whi_exec_finish. */
	return atomic_load_explicit(&job->finished, memory_order_acquire);
}

bool whi_exec_remove(struct whi_exec_job *job)
{
	if (job->in_outbox) {
		job->in_outbox = false;
		whi_list_remove(&job->link);
		job->loop->outbox.count--;
	} else if (is_finished(job) || !job->executor->ops->remove(job->executor, job)) {
		return false;
	}
	job->state = WHI_EXEC_IDLE;
	job->loop->awaited -= job->awaited;
	return true;
}

void whi_exec_kill(struct whi_exec_job *job)
{
	if (!is_finished(job) && job->executor->ops->kill)
		job->executor->ops->kill(job->executor, job);
}

/* Back */

static void came_back(struct wh_post *post)
{
	struct whi_exec_job *job = whi_container_of(post, struct whi_exec_job, post);
	struct wh_loop *loop = job->loop;

	/* The executor may be closed by now. */
	loop->awaited -= job->awaited;
	whi_spin_hit(&loop->spin);
	job->state = WHI_EXEC_IDLE;
	job->done(job);
}

void whi_exec_finish_here(struct whi_exec_job *job)
{
	came_back(&job->post);
}

void whi_exec_finish(struct whi_exec_job *job, struct whi_exec_batch *batch)
{
	struct whi_qnode *node = (struct whi_qnode *)(void *)&job->post;

	job->post.fn = came_back;
	/* Pairs with the load in is_finished. */
	atomic_store_explicit(&job->finished, true, memory_order_release);
	if (!batch) {
		whi_loop_post(job->loop, &job->post);
		return;
	}
	if (batch->loop != job->loop) {
		whi_exec_flush(batch);
		batch->loop = job->loop;
		whi_loop_visit(batch->loop);
	}
	node->next = batch->newest;
	batch->newest = node;
	if (!batch->oldest)
		batch->oldest = node;
}

void whi_exec_pass(struct whi_exec_batch *batch)
{
	if (!batch->newest)
		return;
	whi_loop_post_visiting(batch->loop, batch->newest, batch->oldest);
	batch->newest = NULL;
	batch->oldest = NULL;
}

void whi_exec_flush(struct whi_exec_batch *batch)
{
	if (!batch->loop)
		return;
	whi_exec_pass(batch);
	whi_loop_leave(batch->loop);
	batch->loop = NULL;
}

/* Offloading */

/* A task that waits for its job. */
struct await {
	struct whi_exec_job *job;
	struct whi_wait wait;
	bool kill;
	bool removed;
};

static struct await *await_of(struct whi_wait *wait)
{
	return whi_container_of(wait, struct await, wait);
}

static void awaited_done(struct whi_exec_job *job)
{
	whi_task_wake(job->waiter);
}

static void await_interrupted(struct whi_wait *wait)
{
	struct await *await = await_of(wait);

	await->removed = whi_exec_remove(await->job);
	if (await->removed)
		whi_task_wake(wait);
	else if (await->kill)
		whi_exec_kill(await->job);
}

int whi_exec_await(struct wh_executor *executor, struct whi_exec_job *job, bool kill)
{
	struct await await = {
		.job = job,
		.wait = { .what = "offload", .interrupt = await_interrupted },
		.kill = kill,
	};
	int r = whi_task_check();

	if (r < 0)
		return r;
	job->done = awaited_done;
	job->waiter = &await.wait;
	r = whi_exec_submit(executor, job);
	if (r < 0)
		return r;
	whi_task_suspend(&await.wait);
	return await.removed ? whi_task_check() : 0;
}

static int offload(struct wh_executor *executor, struct whi_exec_job *job, bool kill,
		   int *ret_result)
{
	int r = whi_exec_await(executor, job, kill);

	/* Ended by force because we were interrupted: by what, our scope knows. */
	if (r == 0 && kill && job->status == -ECANCELED)
		r = whi_task_check();
	if (r < 0 || job->status < 0)
		return r < 0 ? r : job->status;
	if (ret_result)
		*ret_result = job->result;
	return 0;
}

int wh_offload(struct wh_executor *executor, wh_job_fn fn, void *arg, int *ret_result)
{
	_Alignas(64) struct whi_exec_job job = { .fn = fn, .arg = arg };

	return offload(executor, &job, false, ret_result);
}

int wh_offload_blocking(struct wh_executor *executor, wh_job_fn fn, void *arg, int *ret_result)
{
	_Alignas(64) struct whi_exec_job job = { .fn = fn, .arg = arg, .lane = WH_LANE_BLOCKING };

	return offload(executor, &job, false, ret_result);
}

int whi_exec_check(const struct wh_executor *executor, enum wh_lane lane, bool kill)
{
	if ((unsigned)lane >= WH_LANES || (kill && !executor->ops->kill))
		return -EINVAL;
	return 0;
}

int wh_offload_opts(struct wh_executor *executor, wh_job_fn fn, void *arg,
		    const struct wh_offload_opts *opts, int *ret_result)
{
	_Alignas(64) struct whi_exec_job job = { .fn = fn, .arg = arg };
	int r;

	if (!opts)
		return wh_offload(executor, fn, arg, ret_result);
	r = whi_exec_check(executor, opts->lane, opts->kill);
	if (r < 0)
		return r;
	job.lane = (uint8_t)opts->lane;
	job.unless_full = opts->unless_full;
	return offload(executor, &job, opts->kill, ret_result);
}

/* Life */

void wh_executor_close(struct wh_executor *executor)
{
	struct wh_loop *loop = whi_loop_self();

	/* Jobs of this very turn may be for it. */
	if (loop && loop->outbox.count)
		flush_outbox(&loop->outbox);
	executor->ops->close(executor);
}

unsigned wh_executor_threads(const struct wh_executor *executor)
{
	return executor->ops->workers(executor);
}
