/*
 * The threads of a lane.
 *
 * Invariants
 * 1. A worker is idle exactly while it is on the lane's idle list. Whoever takes it off there wakes
 *    it; being woken while on it means nothing.
 * 2. After a worker has sent a job back it does not touch it again: the task may have left.
 * 3. A finished job is sent back before the next one is begun, which may take long. What is saved
 *    up between jobs is only that the worker visits the loop; it stops before it rests and before
 *    it does another loop's job.
 * 4. A worker that leaves for want of work looks for some once more after it has said that it may
 *    be called, with the lock; as one that rests does.
 * 5. Threads are started by workers that live and by who submits, and joined by who starts another
 *    in their place. So once nobody lives, and nobody submits, they are the closer's.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "exec/lane.h"

enum { CALLS = 2, LOOKS = 4, THREAD_NAME_MAX = 15 };

/* Sleeping */

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* -ETIMEDOUT, or 0 for any other reason. */
static int futex_wait(_Atomic uint32_t *word, uint64_t timeout_ns)
{
	struct timespec ts = { (time_t)(timeout_ns / WHI_NS_PER_SEC),
			       (long)(timeout_ns % WHI_NS_PER_SEC) };
	const struct timespec *timeout = timeout_ns == WHI_NEVER ? NULL : &ts;
	long r = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, timeout, NULL, 0);

	return r < 0 && errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}

static void wake(struct whi_worker *worker)
{
	atomic_store_explicit(&worker->roused, 1, memory_order_release);
	futex_wake(&worker->roused);
}

/* False: nobody woke it in the lane's idle time. */
static bool sleep_until_roused(struct whi_worker *worker)
{
	int r = 0;

	if (worker->awake)
		whi_awake_set(worker->awake, false);
	while (r == 0 && !atomic_load_explicit(&worker->roused, memory_order_acquire))
		r = futex_wait(&worker->roused, worker->lane->opts.idle_ns);
	if (worker->awake)
		whi_awake_set(worker->awake, true);
	return r == 0;
}

/* Reading the clock costs as much as some looks. */
static bool look(const struct whi_lane *lane)
{
	for (int i = 0; i < LOOKS; i++) {
		if (!whi_mpsc_empty(&lane->inbox)) {
			whi_mpsc_prefetch(&lane->inbox);
			return true;
		}
		whi_relax();
	}
	return false;
}

/* With the lock, which it gives up meanwhile. One worker of a lane spins at a time. True: it has
 * seen something in the inbox. */
static bool spin(struct whi_lane *lane)
{
	bool found;

	if (atomic_load_explicit(&lane->spinning, memory_order_relaxed) ||
	    !whi_spin_on(&lane->spin, whi_clock_ns()))
		return false;
	atomic_store_explicit(&lane->spinning, true, memory_order_relaxed);
	pthread_mutex_unlock(&lane->lock);
	while (!(found = look(lane)) && whi_spin_on(&lane->spin, whi_clock_ns()))
		;
	pthread_mutex_lock(&lane->lock);
	if (found)
		whi_spin_hit(&lane->spin);
	/* Pairs with the load in whi_lane_submit: the inbox is looked at once more after it. */
	atomic_store(&lane->spinning, false);
	return found;
}

/* With the lock, which it gives up meanwhile. False: too long without work. */
static bool wait_for_work(struct whi_worker *worker, struct whi_exec_batch *batch)
{
	struct whi_lane *lane = worker->lane;
	bool in_time;

	if (spin(lane))
		return true;
	whi_exec_flush(batch);
	if (lane->closing || !whi_lane_rest(lane, worker))
		return true;
	atomic_store_explicit(&worker->roused, 0, memory_order_relaxed);
	pthread_mutex_unlock(&lane->lock);
	in_time = sleep_until_roused(worker);
	pthread_mutex_lock(&lane->lock);
	if (!worker->idle)
		return true;
	whi_lane_unrest(lane, worker);
	return in_time;
}

/* Working */

/* With the lock. */
static void count_out(struct whi_lane *lane)
{
	if (--lane->live == 0)
		pthread_cond_signal(&lane->left);
}

/* With the lock. False: a job has come meanwhile, which might find nobody else. */
static bool leave(struct whi_worker *worker)
{
	struct whi_lane *lane = worker->lane;

	whi_list_append(&lane->without, &worker->link);
	/* Pairs with the load in whi_lane_submit, as in whi_lane_rest. */
	atomic_fetch_add(&lane->at_hand, 1);
	if (!whi_mpsc_empty(&lane->inbox)) {
		whi_lane_unrest(lane, worker);
		return false;
	}
	worker->state = WHI_WORKER_GONE;
	count_out(lane);
	return true;
}

/* NULL: the worker has left, and `batch` is empty. */
static struct whi_exec_job *next_job(struct whi_worker *worker, struct whi_exec_batch *batch)
{
	struct whi_lane *lane = worker->lane;
	struct whi_call calls[CALLS] = { 0 };
	bool waited = worker->fresh, in_time = true, gone = false;
	struct whi_exec_job *job = NULL;

	worker->fresh = false;
	pthread_mutex_lock(&lane->lock);
	while (!gone && !(job = whi_lane_take(lane))) {
		if (lane->closing || !in_time)
			gone = leave(worker);
		else
			in_time = wait_for_work(worker, batch);
		waited = true;
	}
	if (!job)
		whi_exec_flush(batch);
	for (int i = 0; job && waited && i < CALLS; i++)
		calls[i] = whi_lane_call(lane);
	pthread_mutex_unlock(&lane->lock);
	/* Jobs come in meanwhile: the first may be nobody and the second somebody. */
	for (int i = 0; i < CALLS; i++)
		if (calls[i].worker)
			whi_worker_rouse(calls[i]);
	return job;
}

/* Of the calling thread: to others its number may be another's by now. */
static void settle(const struct whi_worker *worker)
{
	const struct whi_lane_opts *opts = &worker->lane->opts;
	char name[THREAD_NAME_MAX + 1];

	snprintf(name, sizeof(name), "%s%c%u", opts->name, opts->computes ? '-' : '+',
		 (unsigned)(worker - worker->lane->workers));
	pthread_setname_np(pthread_self(), name);
	/* Not the one CPU that its creator may be tied to. */
	sched_setaffinity(0, sizeof(opts->cpus), &opts->cpus);
}

static void *work(void *arg)
{
	struct whi_worker *worker = arg;
	struct whi_exec_batch batch = { 0 };
	struct whi_exec_job *job;

	settle(worker);
	worker->awake = worker->lane->opts.computes ? whi_awake_open() : NULL;
	while ((job = next_job(worker, &batch))) {
		if (job->loop != batch.loop)
			whi_exec_flush(&batch);
		job->result = job->fn(job->arg);
		whi_exec_finish(job, &batch);
		whi_exec_pass(&batch);
	}
	if (worker->awake)
		whi_awake_close(worker->awake);
	return NULL;
}

/* Coming and going */

/* Signals are for the program's own threads. */
static int create_thread(struct whi_worker *worker)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&worker->thread, NULL, work, worker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static int start_thread(struct whi_call call)
{
	if (call.join)
		pthread_join(call.worker->thread, NULL);
	call.worker->fresh = true;
	return create_thread(call.worker);
}

static int start(struct whi_call call)
{
	struct whi_worker *worker = call.worker;
	struct whi_lane *lane = worker->lane;
	int r = start_thread(call);

	if (r == 0)
		return 0;
	pthread_mutex_lock(&lane->lock);
	worker->state = WHI_WORKER_NONE;
	count_out(lane);
	whi_list_append(&lane->without, &worker->link);
	atomic_fetch_add(&lane->at_hand, 1);
	pthread_mutex_unlock(&lane->lock);
	return r;
}

void whi_worker_rouse(struct whi_call call)
{
	int r;

	if (call.worker->lane->opts.simulated) {
		whi_sim_worker_rouse(call.worker);
	} else if (!call.start) {
		wake(call.worker);
	} else {
		r = start(call);
		/* If there are others, the jobs wait for them. */
		if (r < 0)
			whi_lane_fail(call.worker->lane, r);
	}
}

int whi_workers_start(struct whi_lane *lane)
{
	struct whi_call call;
	int r = 0;

	while (r == 0) {
		pthread_mutex_lock(&lane->lock);
		call = whi_lane_enlist(lane);
		pthread_mutex_unlock(&lane->lock);
		if (!call.worker)
			return 0;
		r = start(call);
	}
	return r;
}

/* The next one that is idle, which is no longer. */
static struct whi_worker *dismiss(struct whi_lane *lane)
{
	struct whi_worker *worker = NULL;

	pthread_mutex_lock(&lane->lock);
	lane->closing = true;
	if (!whi_list_empty(&lane->idle)) {
		worker = whi_container_of(lane->idle.next, struct whi_worker, link);
		whi_lane_unrest(lane, worker);
	}
	pthread_mutex_unlock(&lane->lock);
	return worker;
}

void whi_workers_end(struct whi_lane *lane)
{
	struct whi_worker *worker;

	while ((worker = dismiss(lane)))
		wake(worker);
	pthread_mutex_lock(&lane->lock);
	while (lane->live)
		pthread_cond_wait(&lane->left, &lane->lock);
	pthread_mutex_unlock(&lane->lock);
	for (uint32_t i = 0; i < lane->opts.workers; i++)
		if (lane->workers[i].state != WHI_WORKER_NONE)
			pthread_join(lane->workers[i].thread, NULL);
}
