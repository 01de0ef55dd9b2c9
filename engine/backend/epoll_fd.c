/*
 * The epoll backend's table of descriptors: who waits for each, what is known of its readiness, and
 * what the kernel was asked to tell.
 *
 * Invariants
 * 1. A socket of ours is registered once, edge-triggered, when an attempt first had to wait; with
 *    EPOLLOUT only from the first wait for room on, since each receive of a Unix socket's peer
 *    would be such an edge. Every edge sets `in_ready` or `out_ready`, an attempt that would have
 *    to wait clears it, and while it is clear nobody tries.
 * 2. Of any other descriptor nothing is remembered but a guess at whether it is registered: it may
 *    have been closed and opened anew. It is tried first, and registered for one event each time
 *    somebody has to wait; the kernel says if the guess was wrong.
 * 3. Every number that this backend or its user's code was given for good passes through
 *    whi_epoll_fd_made, and through a close in whi_epoll_instant.
 * 4. An event for a number whose file has changed meanwhile costs an attempt, no more.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/epoll.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"

enum {
	IN_EVENTS = EPOLLIN | EPOLLRDHUP,
	SOCKET_IN_EVENTS = IN_EVENTS | EPOLLPRI,
};

/* Until an attempt for which there is no event is repeated. */
#define RETRY_NS (2 * WH_MS)

/* The table */

struct whi_epoll_fd *whi_epoll_fd_find(const struct whi_epoll *e, int fd)
{
	unsigned chunk = (unsigned)fd / WHI_EPOLL_CHUNK;

	if (whi_unlikely(chunk >= e->fd_chunks || !e->fds[chunk]))
		return NULL;
	return &e->fds[chunk][(unsigned)fd % WHI_EPOLL_CHUNK];
}

static int reserve_chunks(struct whi_epoll *e, uint32_t count)
{
	struct whi_epoll_fd **fds;

	if (count <= e->fd_chunks)
		return 0;
	if (count < e->fd_chunks * 2)
		count = e->fd_chunks * 2;
	fds = whi_realloc(e->fds, count * sizeof(struct whi_epoll_fd *));
	if (!fds)
		return -ENOMEM;
	for (uint32_t i = e->fd_chunks; i < count; i++)
		fds[i] = NULL;
	e->fds = fds;
	e->fd_chunks = count;
	return 0;
}

static void clear(struct whi_epoll_fd *d)
{
	*d = (struct whi_epoll_fd){
		.fd = d->fd,
		.hot_link = d->hot_link,
		.hot = d->hot,
		.in_ready = true,
		.out_ready = true,
	};
	whi_list_init(&d->in);
	whi_list_init(&d->out);
	whi_list_init(&d->polls);
}

static int get(struct whi_epoll *e, int fd, struct whi_epoll_fd **ret)
{
	uint32_t chunk = (uint32_t)fd / WHI_EPOLL_CHUNK;
	struct whi_epoll_fd *d = fd < 0 ? NULL : whi_epoll_fd_find(e, fd);

	/* The table grows with descriptors that there are, not with numbers. */
	if (!d && (fd < 0 || fcntl(fd, F_GETFD) < 0))
		return -EBADF;
	if (!d) {
		if (reserve_chunks(e, chunk + 1) < 0)
			return -ENOMEM;
		e->fds[chunk] = whi_aligned_alloc(64,
						  WHI_EPOLL_CHUNK * sizeof(struct whi_epoll_fd));
		if (!e->fds[chunk])
			return -ENOMEM;
		for (unsigned i = 0; i < WHI_EPOLL_CHUNK; i++) {
			e->fds[chunk][i].fd = (int)(chunk * WHI_EPOLL_CHUNK + i);
			e->fds[chunk][i].hot = false;
			clear(&e->fds[chunk][i]);
		}
		d = whi_epoll_fd_find(e, fd);
	}
	*ret = d;
	return 0;
}

void whi_epoll_fds_free(struct whi_epoll *e)
{
	for (uint32_t i = 0; i < e->fd_chunks; i++)
		whi_free(e->fds[i]);
	whi_free(e->fds);
}

/* Waiting */

static struct whi_list *queue_of(struct whi_epoll_fd *d, const struct whi_op *op)
{
	switch (whi_opdefs[op->kind].ready) {
	case POLLIN:
		return &d->in;
	case POLLOUT:
		return &d->out;
	default:
		return &d->polls;
	}
}

void whi_epoll_fd_heat(struct whi_epoll *e, struct whi_epoll_fd *d)
{
	if (d->hot)
		return;
	d->hot = true;
	whi_fifo_push(&e->hot, &d->hot_link);
}

/* An edge will tell; until then there is nothing to do. */
static bool rests(const struct whi_epoll_fd *d, const struct whi_op *op)
{
	bool in = whi_opdefs[op->kind].ready == POLLIN;
	uint32_t events = in ? EPOLLIN : EPOLLOUT;

	return d->socket && op->kind != WHI_OP_POLL && !(in ? d->in_ready : d->out_ready) &&
	       d->mask & events;
}

int whi_epoll_fd_wait(struct whi_epoll *e, struct whi_epoll_slot *slot)
{
	struct whi_epoll_fd *d;
	int r = get(e, slot->op->fd, &d);

	if (r < 0)
		return r;
	slot->place = WHI_EPOLL_ON_FD;
	whi_list_append(queue_of(d, slot->op), &slot->link);
	if (!rests(d, slot->op))
		whi_epoll_fd_heat(e, d);
	return 0;
}

static struct whi_epoll_slot *first(const struct whi_list *queue)
{
	if (whi_list_empty(queue))
		return NULL;
	return whi_container_of(queue->next, struct whi_epoll_slot, link);
}

static void fail_all(struct whi_epoll *e, struct whi_list *queue, int error)
{
	struct whi_epoll_slot *slot;

	while ((slot = first(queue)))
		whi_epoll_finish(e, slot->op, error);
}

/* Nobody can wait for what is behind this number any more. */
static void abandon(struct whi_epoll *e, struct whi_epoll_fd *d, int error)
{
	fail_all(e, &d->in, error);
	fail_all(e, &d->out, error);
	fail_all(e, &d->polls, error);
}

/* Registration */

static int control(struct whi_epoll *e, struct whi_epoll_fd *d, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = d };
	int how = d->mask ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	int r = epoll_ctl(e->epoll_fd, how, d->fd, &event);

	e->base.stats.tries++;
	if (r < 0 && (errno == EEXIST || errno == ENOENT)) {
		how = how == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
		r = epoll_ctl(e->epoll_fd, how, d->fd, &event);
		e->base.stats.tries++;
	}
	d->mask = r < 0 ? 0 : events;
	return r < 0 ? -errno : 0;
}

static void all_to_file(struct whi_epoll *e, struct whi_epoll_fd *d)
{
	struct whi_list *queues[] = { &d->in, &d->out, &d->polls };
	struct whi_epoll_slot *slot;

	d->file = d->ours;
	for (unsigned i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
		while ((slot = first(queues[i])))
			whi_epoll_try_file(e, slot);
}

static uint32_t polls_want(const struct whi_epoll_fd *d)
{
	uint32_t events = 0;

	for (struct whi_list *node = d->polls.next; node != &d->polls; node = node->next) {
		struct whi_epoll_slot *slot = whi_container_of(node, struct whi_epoll_slot, link);

		events |= (uint32_t)slot->op->arg.value;
	}
	return events;
}

static uint32_t events_wanted(const struct whi_epoll_fd *d)
{
	uint32_t events = polls_want(d);

	if (!whi_list_empty(&d->in) && !(d->socket && d->in_ready))
		events |= d->socket ? SOCKET_IN_EVENTS : IN_EVENTS;
	if (!whi_list_empty(&d->out) && !(d->socket && d->out_ready))
		events |= EPOLLOUT;
	return events;
}

static bool one_queue(const struct whi_epoll_fd *d)
{
	return whi_list_empty(&d->in) + whi_list_empty(&d->out) + whi_list_empty(&d->polls) >= 2;
}

/* Whoever is left waits for an event: let the kernel know. */
static void watch(struct whi_epoll *e, struct whi_epoll_fd *d)
{
	uint32_t events = events_wanted(d);
	int r = 0;

	if (d->socket) {
		if ((events & ~d->mask) == 0)
			return;
		events |= d->mask | EPOLLET;
	} else {
		/* Alone and to be tried again in any case. */
		if (!events || (d->hot && one_queue(d)))
			return;
		events |= EPOLLONESHOT;
	}
	r = control(e, d, events);
	if (r == -EPERM)
		all_to_file(e, d);
	else if (r < 0)
		abandon(e, d, r);
}

/* Attempts */

static void retry(struct whi_timer *timer)
{
	struct whi_epoll_slot *slot = whi_container_of(timer, struct whi_epoll_slot, timer);
	struct whi_epoll_fd *d = whi_epoll_fd_find(slot->e, slot->op->fd);

	d->out_ready = true;
	whi_epoll_fd_wait(slot->e, slot);
}

static void retry_later(struct whi_epoll *e, struct whi_epoll_slot *slot)
{
	whi_list_remove(&slot->link);
	slot->place = WHI_EPOLL_TIMED;
	whi_timer_init(&slot->timer, retry);
	whi_wheel_arm(&e->wheel, &slot->timer, whi_clock_ns() + RETRY_NS);
}

static void run_queue(struct whi_epoll *e, struct whi_epoll_fd *d, struct whi_list *queue,
		      const bool *ready)
{
	struct whi_epoll_slot *slot;

	while ((!d->socket || *ready) && (slot = first(queue))) {
		switch (whi_epoll_try(e, d, slot)) {
		case WHI_EPOLL_GONE:
			break;
		case WHI_EPOLL_WAIT:
			return;
		case WHI_EPOLL_LATER:
			whi_epoll_fd_heat(e, d);
			return;
		case WHI_EPOLL_RETRY:
			retry_later(e, slot);
			break;
		}
	}
}

/* Each waits for events of its own. What they tell may end others that wait here: so a round over
 * those that were here, by count. */
static void run_polls(struct whi_epoll *e, struct whi_epoll_fd *d)
{
	struct whi_list round;
	struct whi_epoll_slot *slot;

	whi_list_init(&round);
	whi_list_splice(&round, &d->polls);
	while ((slot = first(&round))) {
		whi_list_remove(&slot->link);
		whi_list_append(&d->polls, &slot->link);
		whi_epoll_try(e, d, slot);
	}
}

void whi_epoll_fd_run(struct whi_epoll *e, struct whi_epoll_fd *d)
{
	run_queue(e, d, &d->in, &d->in_ready);
	run_queue(e, d, &d->out, &d->out_ready);
	if (whi_unlikely(!whi_list_empty(&d->polls)))
		run_polls(e, d);
	watch(e, d);
}

void whi_epoll_fd_prefetch(const struct whi_epoll_fd *d, unsigned steps)
{
	const struct whi_epoll_slot *slot = first(&d->in);

	if (!slot)
		return;
	if (steps == 3)
		__builtin_prefetch(slot);
	else if (steps == 2)
		__builtin_prefetch(slot->op, 1);
	else
		__builtin_prefetch(slot->op->owner, 1);
}

/* The most frequent event by far: something to receive for somebody who receives, and nobody else
 * waits. True if that was all. */
static inline bool received(struct whi_epoll *e, struct whi_epoll_fd *d, uint32_t events)
{
	if (events != EPOLLIN || !d->socket || !(d->mask & EPOLLIN) || whi_list_empty(&d->in) ||
	    !whi_list_empty(&d->out) || !whi_list_empty(&d->polls))
		return false;
	d->in_ready = true;
	return whi_epoll_try(e, d, first(&d->in)) == WHI_EPOLL_WAIT;
}

void whi_epoll_fd_event(struct whi_epoll *e, struct whi_epoll_fd *d, uint32_t events)
{
	if (whi_likely(received(e, d, events)))
		return;
	/* A receive also ends before urgent data. */
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
		d->unsure = true;
	if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		d->in_ready = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		d->out_ready = true;
	whi_epoll_fd_run(e, d);
}

/* What comes and goes */

void whi_epoll_fd_made(struct whi_epoll *e, int fd, const struct whi_epoll_fd *as)
{
	struct whi_epoll_fd *d;

	/* Without memory for an entry it is nothing special, which is slower. */
	if (get(e, fd, &d) < 0)
		return;
	/* The number's last owner was closed behind our back. */
	abandon(e, d, -EBADF);
	clear(d);
	d->ours = true;
	d->socket = as->socket;
	d->stream = as->stream;
	d->exact = as->exact;
	d->shared = as->shared;
	d->nonblock = as->nonblock;
}

/* On a Unix stream, a receive also ends where descriptors were passed. */
static void set_type(struct whi_epoll_fd *d, int domain, int type)
{
	d->stream = type == SOCK_STREAM;
	d->exact = d->stream && (domain == AF_INET || domain == AF_INET6);
}

static int make_socket(struct whi_epoll *e, const struct whi_op *op)
{
	struct whi_epoll_fd like = { .socket = true, .nonblock = true };
	struct whi_op made = *op;
	int fd;

	/* For accepting and connecting, which know no flag for it. */
	made.socket.type |= SOCK_NONBLOCK;
	set_type(&like, op->socket.domain, op->socket.type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK));
	fd = whi_op_attempt(&made);
	if (fd >= 0)
		whi_epoll_fd_made(e, fd, &like);
	return fd;
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

/* O_NONBLOCK is of all processes that have the socket, and in one of them a ring may want it to
 * wait. So whoever accepts asks first (epoll_try.c), and this is for when somebody else was quicker
 * then: a tick of the kernel's clock. */
static int limit_accepts(int fd)
{
	const struct timeval least = { .tv_usec = 1 };

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &least, sizeof(least)) < 0 ? -errno : 0;
}

static int adopt(struct whi_epoll *e, int fd)
{
	struct whi_epoll_fd like = { .socket = true, .shared = true };
	int type = option(fd, SO_TYPE), r = 0;

	if (fcntl(fd, F_GETFL) < 0)
		return -errno;
	/* What is no socket is tried as it comes. */
	if (type < 0)
		return 0;
	set_type(&like, option(fd, SO_DOMAIN), type);
	if (option(fd, SO_ACCEPTCONN) > 0)
		r = limit_accepts(fd);
	if (r == 0)
		whi_epoll_fd_made(e, fd, &like);
	return r;
}

static int close_fd(struct whi_epoll *e, const struct whi_op *op)
{
	struct whi_epoll_fd *d = op->fd < 0 ? NULL : whi_epoll_fd_find(e, op->fd);

	if (d) {
		abandon(e, d, -ECANCELED);
		/* The kernel forgets a file with its last descriptor only. */
		if (d->mask && (d->shared || !d->ours))
			epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, op->fd, NULL);
		clear(d);
	}
	return whi_op_attempt(op);
}

int whi_epoll_instant(struct whi_epoll *e, const struct whi_op *op)
{
	switch ((enum whi_op_kind)op->kind) {
	case WHI_OP_SOCKET:
		return make_socket(e, op);
	case WHI_OP_ADOPT:
		return adopt(e, op->fd);
	case WHI_OP_CLOSE:
		return close_fd(e, op);
	default:
		return whi_op_attempt(op);
	}
}
