/*
 * The processes of a pool: starting, replacing and burying them. Invariants in process_pool.h.
 *
 * A process that ends is replaced at once, unless the ones before it have ended too without a job
 * done in between, or could not be started: then after a pause that doubles each time.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/container.h"
#include "exec/passing.h"
#include "exec/process_pool.h"

enum {
	DEATHS_FREE = 8,   /* in a row, each replaced at once */
	FAILURES_MAX = 5,  /* to start one, in a row, before waiting jobs are told */
	DOUBLINGS_MAX = 7, /* of the pause */
	NO_CHANNEL = -1,
	NOT_NOW = 1,
};

#define PAUSE_NS WH_MS

static struct whi_process *process_of(struct whi_list *node)
{
	return whi_container_of(node, struct whi_process, link);
}

/* The loop may have to know of it. That of a world does not know real ones. */
static void close_watched(const struct whi_pool *pool, int fd)
{
	if (pool->simulated)
		close(fd);
	else
		whi_close(fd);
}

static void give_up_queue(struct whi_pool *pool, struct whi_list *ended)
{
	struct whi_list *node;

	while ((node = whi_list_pop(&pool->queue))) {
		pool->queued--;
		whi_pool_end_job(whi_container_of(node, struct whi_exec_job, link), pool->broken, 0,
				 ended);
	}
}

/* Pauses */

static void pause_over(struct whi_timer *timer)
{
	whi_pool_staff(whi_container_of(timer, struct whi_pool, pause));
}

static void pause_before_next(struct whi_pool *pool, uint32_t doublings)
{
	if (doublings > DOUBLINGS_MAX)
		doublings = DOUBLINGS_MAX;
	if (whi_timer_armed(&pool->pause))
		return;
	whi_timer_init(&pool->pause, pause_over);
	/* The loop's own clock may be as old as its last turn's beginning. */
	whi_wheel_arm(&pool->home->sched.wheel, &pool->pause,
		      whi_clock_add(pool->home->sched.now_ns, PAUSE_NS << doublings));
}

/* A process could not be started. */
static void failed_to_start(struct whi_pool *pool, int error)
{
	struct whi_list ended;

	whi_list_init(&ended);
	pool->error = error;
	pool->failures++;
	pthread_mutex_lock(&pool->lock);
	if (pool->failures >= FAILURES_MAX && whi_list_empty(&pool->processes)) {
		pool->broken = error;
		give_up_queue(pool, &ended);
	}
	pthread_mutex_unlock(&pool->lock);
	if (!pool->closing && !pool->opening)
		pause_before_next(pool, pool->failures - 1);
	whi_pool_tell(&ended, true);
	whi_pool_changed(pool);
}

/* The end of a process */

static void bell_rang(struct whi_watch *watch);

static void free_process(struct whi_process *process)
{
	whi_list_remove(&process->link);
	close_watched(process->pool, process->bell);
	whi_free(process);
}

/* What only the living need. The watch may still use the doorbell. */
static void bury(struct whi_process *process)
{
	struct whi_pool *pool = process->pool;

	whi_list_remove(&process->link);
	whi_list_append(&pool->gone, &process->link);
	process->state = WHI_PROCESS_GONE;
	close(process->sock);
	whi_rings_close(&process->rings);
	if (pool->simulated)
		whi_sim_watch_end(&process->sim_watch);
	else
		whi_watch_end(&process->watch);
}

static int fate_of(const struct whi_process *process, const struct whi_exec_job *job)
{
	const struct wh_call *call = whi_call_of(job);

	if (process->victim == job)
		return -ECANCELED;
	if (call->idempotent && call->attempts < WH_CALL_ATTEMPTS_MAX)
		return 0;
	if (call->idempotent)
		return -ENOTRECOVERABLE;
	return process->corrupt ? -EPROTO : -EOWNERDEAD;
}

/* The job that `process` had when it died. */
static void lose_job(struct whi_process *process, struct whi_exec_job *job,
		     const struct wh_job_death *death, struct whi_list *ended)
{
	struct whi_pool *pool = process->pool;
	struct wh_call *call = whi_call_of(job);
	int fate;

	whi_pool_release(job);
	call->attempts++;
	call->death = *death;
	fate = fate_of(process, job);
	if (fate == 0) {
		pool->stats.retried++;
		whi_pool_requeue(pool, job);
		return;
	}
	pool->stats.lost += fate != -ECANCELED;
	whi_pool_end_job(job, fate, 0, ended);
}

/* In which way, for the statistics and for how soon there is another. */
static void count_end(struct whi_process *process, const struct wh_job_death *death, bool had_job)
{
	struct whi_pool *pool = process->pool;

	if (process->victim) {
		pool->stats.killed++;
	} else if (!had_job && !death->signal && death->exit_code == 0 && process->done) {
		pool->stats.recycled++;
	} else {
		pool->stats.died++;
		pool->deaths++;
	}
}

static void ended(struct whi_process *process, const struct wh_job_death *death)
{
	struct whi_pool *pool = process->pool;
	struct whi_list told;
	uint32_t deaths;
	bool had_job;

	whi_list_init(&told);
	pthread_mutex_lock(&pool->lock);
	if (process->state == WHI_PROCESS_LIVE)
		pool->live--;
	/* Nothing is given to it any more, whatever draining leads to. */
	process->state = WHI_PROCESS_CONDEMNED;
	whi_pool_drain(process, &told);
	whi_pool_take_back(process);
	had_job = !whi_list_empty(&process->jobs);
	count_end(process, death, had_job);
	while (!whi_list_empty(&process->jobs))
		lose_job(process, whi_container_of(process->jobs.next, struct whi_exec_job, link),
			 death, &told);
	bury(process);
	deaths = pool->deaths;
	whi_pool_dispatch(pool, &told);
	pthread_mutex_unlock(&pool->lock);
	if (deaths > DEATHS_FREE)
		pause_before_next(pool, deaths - DEATHS_FREE - 1);
	whi_pool_tell(&told, true);
}

/* The doorbell */

static void watch_bell(struct whi_process *process)
{
	if (process->pool->simulated)
		whi_sim_watch_start(&process->sim_watch, &process->watch, WHI_WATCH_COUNTER,
				    process->bell, bell_rang);
	else
		whi_watch_start(&process->watch, WHI_WATCH_COUNTER, process->bell, bell_rang);
}

static void bell_rang(struct whi_watch *watch)
{
	struct whi_process *process = whi_container_of(watch, struct whi_process, watch);
	struct whi_pool *pool = process->pool;
	struct whi_list told;

	if (watch->ended) {
		free_process(process);
		whi_pool_changed(pool);
		return;
	}
	whi_list_init(&told);
	watch_bell(process);
	pthread_mutex_lock(&pool->lock);
	whi_pool_drain(process, &told);
	whi_pool_dispatch(pool, &told);
	whi_pool_rebalance(pool, &told);
	pthread_mutex_unlock(&pool->lock);
	whi_pool_tell(&told, true);
	whi_pool_changed(pool);
}

/* The beginning of a process */

/* Its memory, doorbell and socket; `ret` has the worker's descriptors, to be closed. */
static int equip(struct whi_process *process, int ret[WHI_START_FDS])
{
	int ends[2], r = whi_rings_open(&process->rings, &ret[WHI_START_MEMORY]);

	if (r < 0)
		return r;
	/* It waits for who reads it, which io_uring does not do for one that would not. */
	process->bell = eventfd(0, EFD_CLOEXEC);
	if (process->bell < 0) {
		r = -errno;
		goto err_rings;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		r = -errno;
		goto err_bell;
	}
	process->sock = ends[0];
	ret[WHI_START_BELL] = process->bell;
	ret[WHI_START_SOCK] = ends[1];
	return 0;

err_bell:
	close(process->bell);
err_rings:
	close(ret[WHI_START_MEMORY]);
	whi_rings_close(&process->rings);
	return r;
}

static int tell_nursery(struct whi_pool *pool, const struct whi_nursery_message *message,
			const int *fds, unsigned fd_count)
{
	int r = whi_pass_now(pool->channel, message, sizeof(*message), fds, fd_count);

	if (pool->simulated)
		whi_sim_nursery_rouse(pool);
	return r;
}

/* 0; NOT_NOW: the nursery has not heard the orders before yet; -errno. */
static int order(struct whi_process *process)
{
	struct whi_pool *pool = process->pool;
	const struct whi_nursery_message message = {
		.version = WHI_NURSERY_VERSION,
		.kind = WHI_NURSERY_START,
		.worker = process->id,
		.limits = pool->limits,
	};
	int fds[WHI_START_FDS];
	int r = equip(process, fds);

	if (r < 0)
		return r;
	r = tell_nursery(pool, &message, fds, WHI_START_FDS);
	close(fds[WHI_START_MEMORY]);
	close(fds[WHI_START_SOCK]);
	if (r == 0)
		return 0;
	close(process->sock);
	close(process->bell);
	whi_rings_close(&process->rings);
	if (r == -EAGAIN)
		return NOT_NOW;
	return r == -EPIPE ? -ECONNRESET : r;
}

static int start(struct whi_pool *pool)
{
	struct whi_process *process = whi_calloc(1, sizeof(*process));
	int r;

	if (!process)
		return -ENOMEM;
	process->pool = pool;
	process->id = ++pool->last_id;
	whi_list_init(&process->jobs);
	whi_list_init(&process->link);
	r = order(process);
	if (r != 0) {
		whi_free(process);
		return r;
	}
	whi_rings_want_bell(&process->rings);
	watch_bell(process);
	pthread_mutex_lock(&pool->lock);
	whi_list_append(&pool->processes, &process->link);
	pthread_mutex_unlock(&pool->lock);
	return 0;
}

/* The nursery */

static struct whi_process *find(struct whi_pool *pool, uint32_t id)
{
	for (struct whi_list *node = pool->processes.next; node != &pool->processes;
	     node = node->next)
		if (process_of(node)->id == id)
			return process_of(node);
	return NULL;
}

static void started(struct whi_process *process, int value)
{
	struct whi_pool *pool = process->pool;
	struct whi_list told;

	whi_list_init(&told);
	pthread_mutex_lock(&pool->lock);
	if (value < 0) {
		bury(process);
	} else {
		process->pid = value;
		process->state = WHI_PROCESS_LIVE;
		pool->live++;
		pool->stats.started++;
		pool->broken = 0;
		pool->failures = 0;
		whi_pool_dispatch(pool, &told);
		whi_pool_rebalance(pool, &told);
	}
	pthread_mutex_unlock(&pool->lock);
	if (value < 0)
		failed_to_start(pool, value);
	whi_pool_tell(&told, true);
}

/* It is gone, and so are all that it had; what they had used nobody can say. */
static void lose_nursery(struct whi_pool *pool, int error)
{
	const struct wh_job_death death = { .signal = SIGKILL };

	pthread_mutex_lock(&pool->lock);
	close_watched(pool, pool->channel);
	pool->channel = NO_CHANNEL;
	for (struct whi_list *node = pool->processes.next; node != &pool->processes;
	     node = node->next)
		process_of(node)->kill_owed = false;
	pthread_mutex_unlock(&pool->lock);
	while (!whi_list_empty(&pool->processes))
		ended(process_of(pool->processes.next), &death);
	failed_to_start(pool, error);
}

static int heed(struct whi_pool *pool, const struct whi_nursery_message *message)
{
	struct whi_process *process = find(pool, message->worker);
	int status = message->value;

	if (message->version != WHI_NURSERY_VERSION)
		return -EPROTO;
	if (message->kind == WHI_NURSERY_HELLO)
		return message->value;
	if (!process)
		return 0;
	if (message->kind == WHI_NURSERY_STARTED) {
		started(process, message->value);
	} else if (message->kind == WHI_NURSERY_ENDED) {
		const struct wh_job_death death = {
			.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
			.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
			.user_ns = message->used.user_ns,
			.system_ns = message->used.system_ns,
			.resident_bytes = message->used.resident_bytes,
		};

		ended(process, &death);
	}
	return 0;
}

static void nursery_speaks(struct whi_watch *watch);

static void watch_channel(struct whi_pool *pool)
{
	if (pool->simulated)
		whi_sim_watch_start(&pool->sim_watch, &pool->watch, WHI_WATCH_READABLE,
				    pool->channel, nursery_speaks);
	else
		whi_watch_start(&pool->watch, WHI_WATCH_READABLE, pool->channel, nursery_speaks);
}

static void nursery_speaks(struct whi_watch *watch)
{
	struct whi_pool *pool = whi_container_of(watch, struct whi_pool, watch);
	struct whi_nursery_message message;
	int fds[WHI_PASSED_MAX], r = 0;
	unsigned fd_count;
	ssize_t n;

	while (r == 0) {
		n = whi_accept_passed_now(pool->channel, &message, sizeof(message), fds, &fd_count);
		while (n > 0 && fd_count)
			close(fds[--fd_count]);
		if (n == -EAGAIN)
			break;
		r = n <= 0 ? -ECONNRESET : heed(pool, &message);
	}
	if (r < 0) {
		lose_nursery(pool, r);
	} else {
		watch_channel(pool);
		pthread_mutex_lock(&pool->lock);
		whi_pool_pay_kills(pool);
		pthread_mutex_unlock(&pool->lock);
	}
	whi_pool_staff(pool);
	whi_pool_changed(pool);
}

static int open_nursery(struct whi_pool *pool)
{
	int channel, r;

	if (pool->channel != NO_CHANNEL)
		return 0;
	r = pool->simulated ? whi_sim_nursery_open(pool, &channel) : whi_nursery_open(&channel);
	if (r < 0)
		return r;
	pthread_mutex_lock(&pool->lock);
	pool->channel = channel;
	pthread_mutex_unlock(&pool->lock);
	watch_channel(pool);
	return 0;
}

static uint32_t count_of(const struct whi_list *list)
{
	uint32_t count = 0;

	for (const struct whi_list *node = list->next; node != list; node = node->next)
		count++;
	return count;
}

void whi_pool_staff(struct whi_pool *pool)
{
	uint32_t count = count_of(&pool->processes);
	int r = 0;

	if (pool->closing || whi_timer_armed(&pool->pause) || (pool->opening && pool->failures))
		return;
	if (count < pool->wanted)
		r = open_nursery(pool);
	for (; r == 0 && count < pool->wanted; count++)
		r = start(pool);
	if (r < 0)
		failed_to_start(pool, r);
	else if (r == NOT_NOW)
		pause_before_next(pool, 0);
}

void whi_pool_pay_kills(struct whi_pool *pool)
{
	for (struct whi_list *node = pool->processes.next; node != &pool->processes;
	     node = node->next) {
		struct whi_process *process = process_of(node);
		const struct whi_nursery_message message = {
			.version = WHI_NURSERY_VERSION,
			.kind = WHI_NURSERY_KILL,
			.worker = process->id,
		};

		/* -EAGAIN: once the nursery has spoken. Any other error is its end. */
		if (process->kill_owed && tell_nursery(pool, &message, NULL, 0) != -EAGAIN)
			process->kill_owed = false;
	}
}

void whi_pool_dismiss(struct whi_pool *pool)
{
	whi_wheel_cancel(&pool->home->sched.wheel, &pool->pause);
	pthread_mutex_lock(&pool->lock);
	while (!whi_list_empty(&pool->processes))
		bury(process_of(pool->processes.next));
	pool->live = 0;
	pthread_mutex_unlock(&pool->lock);
	/* Its end of file comes when the last of them has been waited for. */
	if (pool->channel == NO_CHANNEL)
		return;
	shutdown(pool->channel, SHUT_WR);
	if (pool->simulated)
		whi_sim_nursery_rouse(pool);
}
