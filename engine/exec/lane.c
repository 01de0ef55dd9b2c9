/*
 * The queue of a lane, and who is to be woken for what is on it.
 *
 * A batch that is submitted is pushed onto the inbox by one compare-and-swap, whatever its size.
 * Workers take jobs one at a time, under a lock that submitters take only to wake somebody; so a
 * job that turns out long holds up none behind it.
 *
 * Invariants
 * 1. A job's state is QUEUED exactly while it is in the inbox or on the queue; it changes under the
 *    lock. So a job that is taken back either leaves them, or comes too late.
 * 2. While jobs wait and a worker is at hand, some worker has been woken or spins, and has yet to
 *    look. Who submits wakes one. A worker that was woken, or has spun, wakes two more if jobs are
 *    left behind the one it takes.
 * 3. Whoever rests announces it before looking at the inbox for the last time, and who submits
 *    pushes before looking whether somebody rests or spins; all sequentially consistent.
 */
#include "exec/lane.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/assert.h"

static void make_workers(struct whi_lane *lane)
{
	for (uint32_t i = 0; i < lane->opts.workers; i++) {
		lane->workers[i].lane = lane;
		/* Those of a world need no thread. */
		whi_list_append(lane->opts.simulated ? &lane->idle : &lane->without,
				&lane->workers[i].link);
	}
	atomic_store(&lane->at_hand, lane->opts.workers);
}

int whi_lane_init(struct whi_lane *lane, const struct whi_lane_opts *opts)
{
	pthread_mutexattr_t attr;

	lane->opts = *opts;
	whi_list_init(&lane->queue);
	whi_list_init(&lane->idle);
	whi_list_init(&lane->without);
	lane->workers = whi_calloc(opts->workers, sizeof(lane->workers[0]));
	if (!lane->workers)
		return -ENOMEM;
	pthread_mutexattr_init(&attr);
	/* It is held for some nanoseconds: worth another look before sleeping. */
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&lane->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_cond_init(&lane->left, NULL);
	whi_spin_init(&lane->spin, opts->spins ? (unsigned)CPU_COUNT(&opts->cpus) : 0);
	make_workers(lane);
	return 0;
}

void whi_lane_fini(struct whi_lane *lane)
{
	if (!lane->workers)
		return;
	whi_assert(lane->live == 0);
	pthread_cond_destroy(&lane->left);
	pthread_mutex_destroy(&lane->lock);
	whi_free(lane->workers);
}

static struct whi_qnode *node_of(struct whi_exec_job *job)
{
	return (struct whi_qnode *)(void *)&job->post;
}

/* The jobs of a batch become a ring without a head, of which the first is what is pushed: neither
 * side has to walk it. */
static struct whi_qnode *make_batch(struct whi_list *jobs)
{
	struct whi_list *first = jobs->next;

	whi_list_remove(jobs);
	return node_of(whi_container_of(first, struct whi_exec_job, link));
}

static void unpack_batch(struct whi_lane *lane, struct whi_qnode *node)
{
	struct wh_post *post = (struct wh_post *)(void *)node;
	struct whi_exec_job *first = whi_container_of(post, struct whi_exec_job, post);
	struct whi_list jobs;

	/* In front of the first, as the head of its ring. */
	whi_list_append(&first->link, &jobs);
	whi_list_splice(&lane->queue, &jobs);
}

static void read_inbox(struct whi_lane *lane)
{
	struct whi_qnode *node;

	if (whi_mpsc_empty(&lane->inbox))
		return;
	node = whi_mpsc_take(&lane->inbox);
	while (node) {
		struct whi_qnode *next = node->next;

		unpack_batch(lane, node);
		node = next;
	}
}

static bool has_jobs(const struct whi_lane *lane)
{
	return !whi_list_empty(&lane->queue) ||
	       atomic_load_explicit(&lane->inbox.top, memory_order_relaxed) != NULL;
}

void whi_lane_submit(struct whi_lane *lane, struct whi_list *jobs, uint32_t count)
{
	struct whi_call call;

	atomic_fetch_add_explicit(&lane->submitted, count, memory_order_relaxed);
	whi_mpsc_push(&lane->inbox, make_batch(jobs));
	/* These pair with the stores in whi_lane_rest and where a worker has spun. */
	if (atomic_load(&lane->spinning) || atomic_load(&lane->at_hand) == 0)
		return;
	pthread_mutex_lock(&lane->lock);
	call = whi_lane_call(lane);
	pthread_mutex_unlock(&lane->lock);
	if (call.worker)
		whi_worker_rouse(call);
}

bool whi_lane_remove(struct whi_lane *lane, struct whi_exec_job *job)
{
	bool removed;

	pthread_mutex_lock(&lane->lock);
	read_inbox(lane);
	removed = job->state == WHI_EXEC_QUEUED;
	if (removed) {
		whi_list_remove(&job->link);
		atomic_fetch_add_explicit(&lane->taken, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&lane->lock);
	return removed;
}

/* Both numbers change meanwhile, but what the caller itself has submitted is counted. */
bool whi_lane_full(const struct whi_lane *lane)
{
	uint64_t taken = atomic_load_explicit(&lane->taken, memory_order_relaxed);
	uint64_t submitted = atomic_load_explicit(&lane->submitted, memory_order_relaxed);

	return submitted - taken >= lane->opts.queue_max;
}

struct whi_exec_job *whi_lane_take(struct whi_lane *lane)
{
	struct whi_exec_job *job;
	struct whi_list *node;
	uint64_t taken;

	if (whi_list_empty(&lane->queue))
		read_inbox(lane);
	node = whi_list_pop(&lane->queue);
	if (!node)
		return NULL;
	__builtin_prefetch(lane->queue.next, 1);
	job = whi_container_of(node, struct whi_exec_job, link);
	job->state = WHI_EXEC_TAKEN;
	taken = atomic_load_explicit(&lane->taken, memory_order_relaxed);
	atomic_store_explicit(&lane->taken, taken + 1, memory_order_relaxed);
	return job;
}

static struct whi_worker *next_at_hand(struct whi_lane *lane, struct whi_list *list)
{
	struct whi_list *node = whi_list_pop(list);

	if (!node)
		return NULL;
	atomic_fetch_sub_explicit(&lane->at_hand, 1, memory_order_relaxed);
	return whi_container_of(node, struct whi_worker, link);
}

struct whi_call whi_lane_enlist(struct whi_lane *lane)
{
	struct whi_call call = { .worker = next_at_hand(lane, &lane->without), .start = true };

	if (!call.worker)
		return call;
	call.join = call.worker->state == WHI_WORKER_GONE;
	call.worker->state = WHI_WORKER_LIVE;
	lane->live++;
	return call;
}

struct whi_call whi_lane_call(struct whi_lane *lane)
{
	struct whi_call call = { 0 };

	if (!has_jobs(lane))
		return call;
	call.worker = next_at_hand(lane, &lane->idle);
	if (!call.worker)
		return whi_lane_enlist(lane);
	call.worker->idle = false;
	return call;
}

static void put_in_front(struct whi_list *list, struct whi_list *node)
{
	whi_list_append(list->next, node);
}

bool whi_lane_rest(struct whi_lane *lane, struct whi_worker *worker)
{
	put_in_front(&lane->idle, &worker->link);
	worker->idle = true;
	/* Pairs with the load in whi_lane_submit. */
	atomic_fetch_add(&lane->at_hand, 1);
	/* The queue too: who has spun did so without the lock. */
	if (whi_list_empty(&lane->queue) && whi_mpsc_empty(&lane->inbox))
		return true;
	whi_lane_unrest(lane, worker);
	return false;
}

void whi_lane_unrest(struct whi_lane *lane, struct whi_worker *worker)
{
	whi_list_remove(&worker->link);
	worker->idle = false;
	atomic_fetch_sub_explicit(&lane->at_hand, 1, memory_order_relaxed);
}

void whi_lane_fail(struct whi_lane *lane, int err)
{
	struct whi_exec_job *job;

	for (;;) {
		pthread_mutex_lock(&lane->lock);
		job = lane->live == 0 ? whi_lane_take(lane) : NULL;
		pthread_mutex_unlock(&lane->lock);
		if (!job)
			return;
		job->status = err;
		whi_exec_finish(job, NULL);
	}
}
