/*
 * The epoll backend's turn: tells what was done since the last one, tries what is new, asks the
 * kernel what is ready, and tries that.
 *
 * Invariants
 * 1. Whoever may be waited for by a turn pushes first and looks at `asleep` then; the turn
 *    announces that it sleeps and then looks at what was pushed. All are sequentially consistent.
 * 2. A turn sleeps only if it has told nobody anything, and nothing is left to tell or to try.
 */
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "backend/epoll.h"
#include "base/assert.h"
#include "base/clock.h"

enum {
	SKIPS_MAX = 16,	  /* turns in a row that have enough to do without asking the kernel */
	SERVES_MAX = 32,  /* events in a turn */
	STEP = 2,	  /* events between two lines that are looked ahead for */
	FETCHES_MAX = 64, /* times to ask the kernel in a turn that wants to know all */
};

/* Who wants to wait for less than this does not really want to wait. */
#define HURRY_NS (100 * 1000)

/* What was on the list at first: telling may put more there. */
static void tell_list(struct whi_epoll *e, struct whi_fifo *list)
{
	struct whi_qnode *node = list->head;

	*list = (struct whi_fifo){ 0 };
	while (node) {
		struct whi_op *op = whi_container_of(node, struct whi_op, link);

		node = node->next;
		whi_epoll_tell(e, op, op->result, 0);
	}
}

static void tell_finished(struct whi_epoll *e)
{
	struct whi_qnode *node;

	if (whi_mpsc_empty(&e->finished))
		return;
	node = whi_mpsc_take(&e->finished);
	while (node) {
		struct whi_op *op = whi_container_of(node, struct whi_op, link);
		int32_t result = op->result;

		node = node->next;
		if (op->moved)
			result = (int32_t)op->moved + (result > 0 ? result : 0);
		if (result >= 0 && op->kind == WHI_OP_OPENAT)
			whi_epoll_fd_made(e, result, &(struct whi_epoll_fd){ 0 });
		whi_epoll_tell(e, op, result, 0);
	}
}

static int wait_events(struct whi_epoll *e, uint64_t timeout_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / WHI_NS_PER_SEC),
			       .tv_nsec = (long)(timeout_ns % WHI_NS_PER_SEC) };
	uint64_t ms = (timeout_ns + 999999) / 1000000;
	int r;

	e->base.stats.enters++;
	if (timeout_ns == 0 || timeout_ns >= WHI_NEVER - WHI_NS_PER_SEC)
		return epoll_wait(e->epoll_fd, e->events, WHI_EPOLL_EVENTS, timeout_ns ? -1 : 0);
	if (!e->no_pwait2) {
		r = (int)syscall(SYS_epoll_pwait2, e->epoll_fd, e->events, WHI_EPOLL_EVENTS, &ts,
				 NULL, (size_t)0);
		if (r >= 0 || (errno != ENOSYS && errno != EPERM))
			return r;
		/* Before Linux 5.11, or hidden by a filter: up to a millisecond late. */
		e->no_pwait2 = true;
	}
	return epoll_wait(e->epoll_fd, e->events, WHI_EPOLL_EVENTS,
			  ms < INT32_MAX ? (int)ms : INT32_MAX);
}

static bool busy(const struct whi_epoll *e)
{
	return e->told || !whi_fifo_empty(&e->done) || !whi_fifo_empty(&e->hot);
}

static uint64_t patience(const struct whi_epoll *e, uint64_t timeout_ns)
{
	uint64_t next, now;

	if (timeout_ns == 0 || busy(e))
		return 0;
	if (whi_likely(!e->wheel.count))
		return timeout_ns;
	next = whi_wheel_next_ns(&e->wheel);
	now = whi_clock_ns();
	if (next <= now)
		return 0;
	return next != WHI_NEVER && next - now < timeout_ns ? next - now : timeout_ns;
}

/* With many connections, what is known of each has left the cache since its last event: its entry,
 * who waits, the operation, the waiting task's stack. Each line tells where the next one is. */
static inline void look_ahead(const struct whi_epoll *e)
{
	unsigned at = e->event_next + 3 * STEP;

	if (at + STEP < e->event_count)
		__builtin_prefetch(e->events[at + STEP].data.ptr);
	for (unsigned steps = 3; steps > 0; steps--, at -= STEP)
		if (at < e->event_count && e->events[at].data.ptr)
			whi_epoll_fd_prefetch(e->events[at].data.ptr, steps);
}

/* Events that the kernel has told, `max` at most. */
static void serve(struct whi_epoll *e, unsigned max)
{
	for (; max && e->event_next < e->event_count; max--) {
		const struct epoll_event *event = &e->events[e->event_next++];

		look_ahead(e);
		if (event->data.ptr)
			whi_epoll_fd_event(e, event->data.ptr, event->events);
	}
}

static int fetch(struct whi_epoll *e, uint64_t timeout_ns)
{
	int count;

	if (timeout_ns) {
		/* Pairs with the load in whi_epoll_notify. */
		atomic_store(&e->asleep, 1);
		if (!whi_mpsc_empty(&e->finished) || !whi_mpsc_empty(&e->messages))
			timeout_ns = 0;
	}
	count = wait_events(e, timeout_ns);
	atomic_store_explicit(&e->asleep, 0, memory_order_relaxed);
	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	e->event_next = 0;
	e->event_count = (unsigned)count;
	return count;
}

/* All that is ready: whoever does not want to wait wants to know what the kernel has. */
static int ask_all(struct whi_epoll *e, uint64_t timeout_ns)
{
	int r = WHI_EPOLL_EVENTS;

	serve(e, WHI_EPOLL_EVENTS);
	for (int i = 0; i < FETCHES_MAX && r == WHI_EPOLL_EVENTS; i++) {
		r = fetch(e, i ? 0 : patience(e, timeout_ns));
		serve(e, WHI_EPOLL_EVENTS);
	}
	return r < 0 ? r : 0;
}

/* What is ready, waiting for it if there is nothing else to do. A few at a time: a connection that
 * has received answers in the same turn, with all of its memory still in the cache. */
static int ask(struct whi_epoll *e, uint64_t timeout_ns)
{
	int r = 0;

	if (timeout_ns <= HURRY_NS)
		return ask_all(e, timeout_ns);
	if (e->event_next == e->event_count) {
		if (busy(e) && e->skipped++ < SKIPS_MAX)
			return 0;
		e->skipped = 0;
		r = fetch(e, patience(e, timeout_ns));
	}
	serve(e, SERVES_MAX);
	return r < 0 ? r : 0;
}

static void run_hot(struct whi_epoll *e)
{
	struct whi_qnode *node = e->hot.head;

	e->hot = (struct whi_fifo){ 0 };
	while (node) {
		struct whi_epoll_fd *d = whi_container_of(node, struct whi_epoll_fd, hot_link);

		node = node->next;
		d->hot = false;
		whi_epoll_fd_run(e, d);
	}
}

int whi_epoll_turn(struct whi_backend *backend, uint64_t timeout_ns)
{
	struct whi_epoll *e = whi_epoll_of(backend);
	int r;

	e->told = 0;
	tell_list(e, &e->done);
	run_hot(e);
	if (e->hurried)
		e->told++;
	e->hurried = false;
	r = ask(e, timeout_ns);
	tell_finished(e);
	whi_epoll_read_messages(e);
	if (whi_unlikely(e->wheel.count))
		whi_wheel_advance(&e->wheel, whi_clock_ns());
	return r;
}
