/*
 * The executor of processes as others see it. Invariants in process_pool.h.
 */
#include "exec/process_pool.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/container.h"
#include "loop/runtime.h"
#include "loop/sim.h"

enum { AHEAD_MAX = 127, AHEAD_MOST = 1023, QUEUE_MAX = 1024, NO_CHANNEL = -1 };

static struct whi_pool *pool_of(struct wh_executor *executor)
{
	return whi_container_of(executor, struct whi_pool, base);
}

/* Jobs */

static int pool_accept(const struct wh_executor *executor, const struct whi_exec_job *job)
{
	const struct whi_pool *pool = whi_container_of(executor, struct whi_pool, base);
	const struct wh_call *call = job->arg;

	if (job->fn != wh_job_run)
		return -EINVAL;
	if (call->args_len > WH_CALL_BYTES_MAX || call->result_max > WH_CALL_BYTES_MAX)
		return -EMSGSIZE;
	if (job->unless_full &&
	    atomic_load_explicit(&pool->queued, memory_order_relaxed) >= pool->queue_max)
		return -EAGAIN;
	return 0;
}

static void prepare(struct whi_list *jobs)
{
	for (struct whi_list *node = jobs->next; node != jobs; node = node->next) {
		struct whi_exec_job *job = whi_container_of(node, struct whi_exec_job, link);
		struct wh_call *call = whi_call_of(job);

		call->attempts = 0;
		call->result_len = 0;
		call->result_fd = 0;
		call->death = (struct wh_job_death){ 0 };
		whi_place_of(job)->process = NULL;
	}
}

static void refuse(struct whi_pool *pool, struct whi_list *jobs, struct whi_list *ended)
{
	struct whi_list *node;

	while ((node = whi_list_pop(jobs)))
		whi_pool_end_job(whi_container_of(node, struct whi_exec_job, link), pool->broken, 0,
				 ended);
}

static void pool_submit(struct wh_executor *executor, struct whi_list *jobs, uint32_t count)
{
	struct whi_pool *pool = pool_of(executor);
	struct whi_list ended;

	whi_list_init(&ended);
	prepare(jobs);
	pthread_mutex_lock(&pool->lock);
	if (pool->broken < 0) {
		refuse(pool, jobs, &ended);
	} else {
		whi_list_splice(&pool->queue, jobs);
		pool->queued += count;
		whi_pool_dispatch(pool, &ended);
	}
	pthread_mutex_unlock(&pool->lock);
	whi_pool_tell(&ended, false);
}

/* With the lock: `job` leaves the queue, or the process that has not begun it. */
static bool take_out(struct whi_pool *pool, struct whi_exec_job *job)
{
	struct whi_process *process = whi_place_of(job)->process;

	if (job->state != WHI_EXEC_QUEUED)
		return false;
	if (!process) {
		whi_list_remove(&job->link);
		pool->queued--;
		return true;
	}
	if (!whi_rings_take_back(&process->rings, whi_place_of(job)->position))
		return false;
	whi_pool_release(job);
	return true;
}

static bool pool_remove(struct wh_executor *executor, struct whi_exec_job *job)
{
	struct whi_pool *pool = pool_of(executor);
	struct whi_list ended;
	bool removed;

	whi_list_init(&ended);
	pthread_mutex_lock(&pool->lock);
	removed = take_out(pool, job);
	/* It has made room, and perhaps nothing else does. */
	if (removed)
		whi_pool_dispatch(pool, &ended);
	pthread_mutex_unlock(&pool->lock);
	whi_pool_tell(&ended, false);
	if (removed && job->loop == pool->home)
		whi_pool_changed(pool);
	return removed;
}

/* With the lock: `process` has begun `job`. It may have ended it as well, and begun another, which
 * must not die for it. So nothing more may be begun, and then its replies tell. */
static void kill_begun(struct whi_process *process, struct whi_exec_job *job,
		       struct whi_list *ended)
{
	whi_pool_take_back(process);
	whi_pool_drain(process, ended);
	if (job->state == WHI_EXEC_QUEUED && !process->victim) {
		process->victim = job;
		whi_pool_condemn(process);
	}
}

/* A job may be back on the queue, to be tried again, since it could not be removed. */
static void pool_kill(struct wh_executor *executor, struct whi_exec_job *job)
{
	struct whi_pool *pool = pool_of(executor);
	struct whi_process *process;
	struct whi_list ended;

	whi_list_init(&ended);
	pthread_mutex_lock(&pool->lock);
	process = whi_place_of(job)->process;
	if (job->state != WHI_EXEC_QUEUED) {
		/* It has ended, and `done` is on its way. */
	} else if (take_out(pool, job)) {
		whi_pool_end_job(job, -ECANCELED, 0, &ended);
	} else {
		kill_begun(process, job, &ended);
		whi_pool_dispatch(pool, &ended);
	}
	pthread_mutex_unlock(&pool->lock);
	whi_pool_tell(&ended, false);
}

/* Opening and closing */

struct pool_wait {
	struct whi_wait wait;
	struct whi_pool *pool;
};

void whi_pool_changed(struct whi_pool *pool)
{
	struct whi_wait *waiter = pool->waiter;

	pool->waiter = NULL;
	if (waiter)
		whi_task_wake(waiter);
}

static void opening_interrupted(struct whi_wait *wait)
{
	whi_pool_changed(whi_container_of(wait, struct pool_wait, wait)->pool);
}

static void await_change(struct whi_pool *pool, void (*interrupt)(struct whi_wait *wait))
{
	struct pool_wait wait = { .wait = { .what = "process pool", .interrupt = interrupt },
				  .pool = pool };

	pool->waiter = &wait.wait;
	whi_task_suspend(&wait.wait);
}

static bool has_jobs(struct whi_pool *pool)
{
	bool any;

	pthread_mutex_lock(&pool->lock);
	any = !whi_list_empty(&pool->queue);
	for (struct whi_list *node = pool->processes.next; node != &pool->processes && !any;
	     node = node->next)
		any = whi_container_of(node, struct whi_process, link)->load > 0;
	pthread_mutex_unlock(&pool->lock);
	return any;
}

static void pool_close(struct wh_executor *executor)
{
	struct whi_pool *pool = pool_of(executor);

	whi_assert(whi_loop_self() == pool->home);
	while (has_jobs(pool))
		await_change(pool, NULL);
	pool->closing = true;
	whi_pool_dismiss(pool);
	while (pool->channel != NO_CHANNEL || !whi_list_empty(&pool->gone))
		await_change(pool, NULL);
	pthread_mutex_destroy(&pool->lock);
	whi_free(pool);
}

static unsigned pool_workers(const struct wh_executor *executor)
{
	return whi_container_of(executor, struct whi_pool, base)->wanted;
}

static const struct whi_executor_ops pool_ops = {
	.name = "processes",
	.accept = pool_accept,
	.submit = pool_submit,
	.remove = pool_remove,
	.kill = pool_kill,
	.close = pool_close,
	.workers = pool_workers,
};

static struct whi_pool *new_pool(const struct wh_pool_opts *opts, uint32_t wanted)
{
	struct whi_pool *pool = whi_calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->base.ops = &pool_ops;
	pool->home = whi_loop_self();
	pool->simulated = wh_sim_active();
	pthread_mutex_init(&pool->lock, NULL);
	whi_list_init(&pool->queue);
	whi_list_init(&pool->processes);
	whi_list_init(&pool->gone);
	whi_timer_init(&pool->pause, NULL);
	pool->wanted = wanted;
	pool->queue_max = opts->queue_max ? opts->queue_max : QUEUE_MAX;
	pool->ahead_max = opts->ahead_max ? opts->ahead_max : AHEAD_MAX;
	pool->limits = (struct whi_worker_limits){
		.memory_bytes = opts->memory_bytes,
		.job_cpu_ns = opts->job_cpu_ns,
		.jobs_max = opts->jobs_max,
		.resident_bytes = opts->resident_bytes,
	};
	pool->channel = NO_CHANNEL;
	return pool;
}

/* Until all processes live: 0, or why one of them does not. */
static int open_all(struct whi_pool *pool)
{
	int r = 0;

	pool->opening = true;
	whi_pool_staff(pool);
	while (r == 0 && !pool->failures && pool->live < pool->wanted) {
		await_change(pool, opening_interrupted);
		r = whi_task_check();
	}
	pool->opening = false;
	return pool->failures ? pool->error : r;
}

int wh_pool_open(const struct wh_pool_opts *opts, struct wh_executor **ret)
{
	const struct wh_pool_opts defaults = { 0 };
	struct whi_pool *pool;
	uint32_t wanted;
	int r;

	opts = opts ? opts : &defaults;
	wanted = opts->processes ? opts->processes : whi_runtime_cpus();
	if (wanted > WH_POOL_PROCESSES_MAX || opts->ahead_max > AHEAD_MOST)
		return -EINVAL;
	r = whi_task_check();
	if (r < 0)
		return r;
	pool = new_pool(opts, wanted);
	if (!pool)
		return -ENOMEM;
	r = open_all(pool);
	if (r < 0)
		pool_close(&pool->base);
	else
		*ret = &pool->base;
	return r;
}

/* What a person or a test looks at */

void wh_pool_stats(struct wh_executor *executor, struct wh_pool_stats *ret)
{
	struct whi_pool *pool = pool_of(executor);

	whi_assert(executor->ops == &pool_ops);
	pthread_mutex_lock(&pool->lock);
	*ret = pool->stats;
	ret->live = pool->live;
	pthread_mutex_unlock(&pool->lock);
}

unsigned wh_pool_pids(struct wh_executor *executor, pid_t *ret, unsigned max)
{
	struct whi_pool *pool = pool_of(executor);
	unsigned count = 0;

	whi_assert(executor->ops == &pool_ops);
	pthread_mutex_lock(&pool->lock);
	for (struct whi_list *node = pool->processes.next; node != &pool->processes && count < max;
	     node = node->next) {
		const struct whi_process *process = whi_container_of(node, struct whi_process,
								     link);

		if (process->state == WHI_PROCESS_LIVE)
			ret[count++] = process->pid;
	}
	pthread_mutex_unlock(&pool->lock);
	return count;
}
