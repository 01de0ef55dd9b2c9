/*
 * The executor of an epoll backend: threads for what may wait for a disk. Apart from the user's own
 * jobs, so that neither keeps the other waiting.
 *
 * Invariants
 * 1. A slot is on the queue, or a thread has it, or its operation is on `finished`; `working`
 *    says which of the first two, and changes under the lock.
 * 2. A thread touches neither slot nor operation after it has put the operation on `finished`.
 * 3. Nothing that a thread does waits for anybody but the kernel's own devices.
 */
#include <errno.h>
#include <signal.h>

#include "backend/epoll.h"

/* Jobs are one system call deep. */
enum { STACK_BYTES = 256 * 1024 };

static struct whi_epoll_slot *next_job(struct whi_epoll_executor *work)
{
	struct whi_epoll_slot *slot;
	struct whi_list *node;

	while (!(node = whi_list_pop(&work->queue))) {
		if (work->stop)
			return NULL;
		work->idle++;
		pthread_cond_wait(&work->wanted, &work->lock);
		work->idle--;
	}
	work->queued--;
	slot = whi_container_of(node, struct whi_epoll_slot, link);
	slot->working = true;
	return slot;
}

static void *run(void *arg)
{
	struct whi_epoll *e = arg;
	struct whi_epoll_executor *work = &e->work;
	struct whi_epoll_slot *slot;

	pthread_mutex_lock(&work->lock);
	while ((slot = next_job(work))) {
		struct whi_op *op = slot->op;

		pthread_mutex_unlock(&work->lock);
		op->result = whi_opdefs[op->kind].work(op);
		whi_mpsc_push(&e->finished, &op->link);
		whi_epoll_notify(e);
		pthread_mutex_lock(&work->lock);
	}
	pthread_mutex_unlock(&work->lock);
	return NULL;
}

/* Signals are for the program's own threads. */
static int start_thread(struct whi_epoll *e)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);

	if (r != 0)
		return -r;
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&e->work.ids[e->work.threads], &attr, run, e);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	e->work.threads += r == 0;
	return -r;
}

int whi_epoll_work_start(struct whi_epoll *e, struct whi_epoll_slot *slot)
{
	struct whi_epoll_executor *work = &e->work;
	int r = 0;

	pthread_mutex_lock(&work->lock);
	if (work->idle <= work->queued && work->threads < WHI_EPOLL_THREADS)
		r = start_thread(e);
	if (r == 0 || work->threads > 0) {
		slot->place = WHI_EPOLL_WORK;
		slot->working = false;
		whi_list_append(&work->queue, &slot->link);
		work->queued++;
		pthread_cond_signal(&work->wanted);
		r = 0;
	}
	pthread_mutex_unlock(&work->lock);
	return r;
}

bool whi_epoll_work_cancel(struct whi_epoll *e, struct whi_epoll_slot *slot)
{
	struct whi_epoll_executor *work = &e->work;
	bool waits;

	pthread_mutex_lock(&work->lock);
	waits = !slot->working;
	if (waits) {
		whi_list_remove(&slot->link);
		work->queued--;
	}
	pthread_mutex_unlock(&work->lock);
	return waits;
}

int whi_epoll_work_init(struct whi_epoll *e)
{
	int r = pthread_mutex_init(&e->work.lock, NULL);

	if (r != 0)
		return -r;
	r = pthread_cond_init(&e->work.wanted, NULL);
	if (r != 0) {
		pthread_mutex_destroy(&e->work.lock);
		return -r;
	}
	whi_list_init(&e->work.queue);
	return 0;
}

void whi_epoll_work_fini(struct whi_epoll *e)
{
	struct whi_epoll_executor *work = &e->work;

	pthread_mutex_lock(&work->lock);
	work->stop = true;
	pthread_cond_broadcast(&work->wanted);
	pthread_mutex_unlock(&work->lock);
	for (unsigned i = 0; i < work->threads; i++)
		pthread_join(work->ids[i], NULL);
	pthread_cond_destroy(&work->wanted);
	pthread_mutex_destroy(&work->lock);
}
