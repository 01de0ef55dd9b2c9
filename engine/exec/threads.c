/*
 * The thread executor: threads that take jobs from one queue.
 *
 * A job lives in the frame of the task that waits for it, so offloading allocates nothing. The
 * queue is bounded; jobs beyond stand in line, each with its task suspended, and move up as jobs
 * are taken.
 *
 * Invariants
 * 1. A job is on the queue or in line exactly while its state is WAITING; the state changes under
 *    the lock. So a cancellation either removes it, or comes too late and waits.
 * 2. After a worker has posted a job it does not touch it again: the task may have left.
 * 3. In a simulated world there are no threads: workers are things that happen at virtual times,
 *    and a job runs on the thread of its world, outside of any task. The rest is the same.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <whorl/exec.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "loop/loop.h"
#include "loop/runtime.h"
#include "loop/sim.h"

enum { THREADS_MAX = 1024, QUEUE_MAX = 1024, NAME_MAX_BYTES = 12, THREAD_NAME_MAX = 15 };

enum job_state { JOB_WAITING, JOB_TAKEN, JOB_REMOVED };

struct job {
	struct whi_list link;
	struct wh_post post; /* back to `loop` */
	struct wh_loop *loop;
	struct wh_executor *executor;
	struct whi_wait wait;
	wh_job_fn fn;
	void *arg;
	int result;
	enum job_state state;
	bool queued; /* on the queue, no longer in line */
};

/* A worker in a simulated world. */
struct sim_worker {
	struct whi_sim_call call; /* it looks for a job, or ends one */
	struct wh_executor *executor;
	struct job *job;
	bool busy;
};

struct wh_executor {
	struct sim_worker *sim_workers; /* NULL: threads */
	pthread_mutex_t lock;		/* of everything below but the threads */
	pthread_cond_t work;
	struct whi_list queue;
	struct whi_list line; /* behind the queue, which is full */
	uint32_t queued;
	uint32_t queue_max;
	uint32_t idle; /* workers that wait for work */
	bool closing;
	uint32_t thread_count;
	char name[NAME_MAX_BYTES];
	pthread_t threads[];
};

static void enqueue(struct wh_executor *executor, struct job *job)
{
	job->queued = true;
	executor->queued++;
	whi_list_append(&executor->queue, &job->link);
}

/* A job has left the queue: the first in line takes its place. */
static void move_up(struct wh_executor *executor)
{
	struct whi_list *next = whi_list_pop(&executor->line);

	executor->queued--;
	if (next)
		enqueue(executor, whi_container_of(next, struct job, link));
}

static struct job *take(struct wh_executor *executor)
{
	struct whi_list *node = whi_list_pop(&executor->queue);
	struct job *job;

	if (!node)
		return NULL;
	job = whi_container_of(node, struct job, link);
	job->state = JOB_TAKEN;
	move_up(executor);
	return job;
}

/* NULL: the executor is closing and nothing is left to do. */
static struct job *wait_for_job(struct wh_executor *executor)
{
	struct job *job;

	pthread_mutex_lock(&executor->lock);
	while (!(job = take(executor)) && !executor->closing) {
		executor->idle++;
		pthread_cond_wait(&executor->work, &executor->lock);
		executor->idle--;
	}
	pthread_mutex_unlock(&executor->lock);
	return job;
}

static void *work(void *arg)
{
	struct wh_executor *executor = arg;
	struct job *job;

	while ((job = wait_for_job(executor))) {
		job->result = job->fn(job->arg);
		whi_loop_post(job->loop, &job->post);
	}
	return NULL;
}

/* Workers of a simulated world */

#define SIM_START_NS (50 * WH_US)
#define SIM_JOB_NS (2 * WH_MS)

static void sim_look(struct whi_sim_call *call);

static void sim_ended(struct whi_sim_call *call)
{
	struct sim_worker *worker = whi_container_of(call, struct sim_worker, call);
	struct job *job = worker->job;

	worker->job = NULL;
	call->fn = sim_look;
	whi_sim_call_after(call, whi_sim_choose(SIM_START_NS));
	job->result = job->fn(job->arg);
	whi_loop_post(job->loop, &job->post);
}

static void sim_look(struct whi_sim_call *call)
{
	struct sim_worker *worker = whi_container_of(call, struct sim_worker, call);

	worker->job = take(worker->executor);
	worker->busy = worker->job != NULL;
	if (!worker->job)
		return;
	call->fn = sim_ended;
	whi_sim_call_after(call, whi_sim_choose(SIM_JOB_NS));
}

/* A job has come: an idle worker hears of it some time later. */
static void sim_wake(struct wh_executor *executor)
{
	uint32_t i = 0;

	while (i < executor->thread_count && executor->sim_workers[i].busy)
		i++;
	if (i == executor->thread_count)
		return;
	executor->sim_workers[i].busy = true;
	executor->sim_workers[i].call.fn = sim_look;
	whi_sim_call_after(&executor->sim_workers[i].call, whi_sim_choose(SIM_START_NS));
}

static int sim_open(struct wh_executor *executor, uint32_t count)
{
	executor->sim_workers = whi_calloc(count, sizeof(executor->sim_workers[0]));
	if (!executor->sim_workers)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		executor->sim_workers[i].executor = executor;
	executor->thread_count = count;
	return 0;
}

/* Nobody is in wh_offload, so no worker has a job. */
static void sim_close(struct wh_executor *executor)
{
	for (uint32_t i = 0; i < executor->thread_count; i++) {
		whi_assert(!executor->sim_workers[i].job);
		whi_sim_call_unset(&executor->sim_workers[i].call);
	}
	executor->thread_count = 0;
	whi_free(executor->sim_workers);
}

/* Signals are for the program's own threads. */
static int start_thread(struct wh_executor *executor, unsigned index, const cpu_set_t *cpus)
{
	char name[32];
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&executor->threads[index], NULL, work, executor);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0)
		return -r;
	snprintf(name, sizeof(name), "%.*s-%u", NAME_MAX_BYTES - 1, executor->name, index);
	name[THREAD_NAME_MAX] = '\0';
	pthread_setname_np(executor->threads[index], name);
	/* Not the one CPU that its creator may be tied to. */
	pthread_setaffinity_np(executor->threads[index], sizeof(*cpus), cpus);
	return 0;
}

static int start_threads(struct wh_executor *executor, uint32_t count, const cpu_set_t *cpus)
{
	int r = 0;

	for (; executor->thread_count < count && r == 0; executor->thread_count += r == 0)
		r = start_thread(executor, executor->thread_count, cpus);
	return r;
}

static struct wh_executor *new_executor(const struct wh_executor_opts *opts, uint32_t threads)
{
	struct wh_executor *executor =
		whi_calloc(1, sizeof(*executor) + threads * sizeof(executor->threads[0]));

	if (!executor)
		return NULL;
	pthread_mutex_init(&executor->lock, NULL);
	pthread_cond_init(&executor->work, NULL);
	whi_list_init(&executor->queue);
	whi_list_init(&executor->line);
	executor->queue_max = opts->queue_max ? opts->queue_max : QUEUE_MAX;
	snprintf(executor->name, sizeof(executor->name), "%s", opts->name ? opts->name : "whorl");
	return executor;
}

int wh_executor_open(const struct wh_executor_opts *opts, struct wh_executor **ret)
{
	const struct wh_executor_opts defaults = { 0 };
	struct wh_executor *executor;
	uint32_t threads;
	cpu_set_t cpus;
	int r;

	opts = opts ? opts : &defaults;
	whi_runtime_affinity(&cpus);
	threads = opts->threads ? opts->threads : (uint32_t)CPU_COUNT(&cpus);
	/* A machine with more CPUs than fit into the mask has none in it. */
	if (threads == 0)
		threads = 1;
	if (threads > THREADS_MAX)
		return -EINVAL;
	executor = new_executor(opts, threads);
	if (!executor)
		return -ENOMEM;
	r = wh_sim_active() ? sim_open(executor, threads) : start_threads(executor, threads, &cpus);
	if (r < 0) {
		wh_executor_close(executor);
		return r;
	}
	*ret = executor;
	return 0;
}

void wh_executor_close(struct wh_executor *executor)
{
	if (executor->sim_workers)
		sim_close(executor);
	pthread_mutex_lock(&executor->lock);
	executor->closing = true;
	pthread_cond_broadcast(&executor->work);
	pthread_mutex_unlock(&executor->lock);
	for (uint32_t i = 0; i < executor->thread_count; i++)
		pthread_join(executor->threads[i], NULL);
	pthread_cond_destroy(&executor->work);
	pthread_mutex_destroy(&executor->lock);
	whi_free(executor);
}

unsigned wh_executor_threads(const struct wh_executor *executor)
{
	return executor->thread_count;
}

static void finished(struct wh_post *post)
{
	whi_task_wake(&whi_container_of(post, struct job, post)->wait);
}

static void remove_job(struct whi_wait *wait)
{
	struct job *job = whi_container_of(wait, struct job, wait);
	struct wh_executor *executor = job->executor;
	bool removed;

	pthread_mutex_lock(&executor->lock);
	removed = job->state == JOB_WAITING;
	if (removed) {
		job->state = JOB_REMOVED;
		whi_list_remove(&job->link);
		if (job->queued)
			move_up(executor);
	}
	pthread_mutex_unlock(&executor->lock);
	if (removed)
		whi_task_wake(wait);
}

static void submit(struct wh_executor *executor, struct job *job)
{
	bool wake;

	pthread_mutex_lock(&executor->lock);
	whi_assert(!executor->closing);
	if (executor->queued < executor->queue_max)
		enqueue(executor, job);
	else
		whi_list_append(&executor->line, &job->link);
	wake = executor->idle > 0;
	pthread_mutex_unlock(&executor->lock);
	if (wake)
		pthread_cond_signal(&executor->work);
	if (executor->sim_workers)
		sim_wake(executor);
}

int wh_offload(struct wh_executor *executor, wh_job_fn fn, void *arg, int *ret_result)
{
	struct job job = {
		.post.fn = finished,
		.loop = whi_loop_self(),
		.executor = executor,
		.wait = { .what = "offload", .interrupt = remove_job },
		.fn = fn,
		.arg = arg,
		.state = JOB_WAITING,
	};
	int r = whi_task_check();

	if (r < 0)
		return r;
	submit(executor, &job);
	whi_task_suspend(&job.wait);
	if (job.state == JOB_REMOVED)
		return whi_task_check();
	if (ret_result)
		*ret_result = job.result;
	return 0;
}
