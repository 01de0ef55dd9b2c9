/*
 * The epoll backend: operations are tried, and those that would have to wait are tried again when
 * the kernel says that it is worth it. This file takes and cancels them; epoll_turn.c is the turn,
 * epoll_fd.c the descriptors, epoll_try.c the attempts, epoll_work.c the threads for files.
 *
 * Invariants
 * 1. A pending operation has a slot and waits in the place that it names, or has none and is on
 *    `done` with its result: then it can be cancelled no more.
 * 2. `done` functions are called in turns only, from whi_epoll_tell; but for a quiet operation that
 *    succeeds when it is submitted, which is when it is tried.
 */
#include "backend/epoll.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"

/* Slots */

static int grow_slots(struct whi_epoll *e)
{
	uint32_t chunk = e->slot_count / WHI_EPOLL_CHUNK;
	struct whi_epoll_slot **slots;

	slots = whi_realloc(e->slots, (chunk + 1) * sizeof(struct whi_epoll_slot *));
	if (!slots)
		return -ENOMEM;
	e->slots = slots;
	slots[chunk] = whi_aligned_alloc(64, WHI_EPOLL_CHUNK * sizeof(struct whi_epoll_slot));
	if (!slots[chunk])
		return -ENOMEM;
	memset(slots[chunk], 0, WHI_EPOLL_CHUNK * sizeof(struct whi_epoll_slot));
	for (uint32_t i = 0; i < WHI_EPOLL_CHUNK; i++) {
		slots[chunk][i].e = e;
		slots[chunk][i].next_free = e->slot_count + i + 1;
	}
	slots[chunk][WHI_EPOLL_CHUNK - 1].next_free = (uint32_t)WHI_EPOLL_NO_SLOT;
	e->free_slot = e->slot_count;
	e->slot_count += WHI_EPOLL_CHUNK;
	return 0;
}

static struct whi_epoll_slot *take_slot(struct whi_epoll *e, struct whi_op *op)
{
	struct whi_epoll_slot *slot;

	if (whi_unlikely(e->free_slot == (uint32_t)WHI_EPOLL_NO_SLOT) && grow_slots(e) < 0)
		return NULL;
	slot = whi_epoll_slot(e, e->free_slot);
	op->slot = e->free_slot;
	e->free_slot = slot->next_free;
	slot->op = op;
	whi_list_init(&slot->link);
	slot->poll_first = false;
	return slot;
}

/* Off whatever it waits on; not the executor's. */
static void free_slot(struct whi_epoll *e, struct whi_op *op)
{
	struct whi_epoll_slot *slot = whi_epoll_slot(e, op->slot);

	if (slot->place == WHI_EPOLL_ON_FD)
		whi_list_remove(&slot->link);
	else if (slot->place == WHI_EPOLL_TIMED)
		whi_wheel_cancel(&e->wheel, &slot->timer);
	slot->place = WHI_EPOLL_FREE;
	slot->op = NULL;
	slot->next_free = e->free_slot;
	e->free_slot = op->slot;
	op->slot = (uint32_t)WHI_EPOLL_NO_SLOT;
}

/* Completion */

void whi_epoll_tell(struct whi_epoll *e, struct whi_op *op, int32_t result, unsigned flags)
{
	e->told++;
	e->base.stats.completions++;
	if (!(flags & WHI_OP_MORE)) {
		e->base.stats.inflight--;
		if (op->slot != (uint32_t)WHI_EPOLL_NO_SLOT)
			free_slot(e, op);
	}
	whi_op_complete(op, result, flags);
}

void whi_epoll_finish(struct whi_epoll *e, struct whi_op *op, int32_t result)
{
	if (op->slot != (uint32_t)WHI_EPOLL_NO_SLOT)
		free_slot(e, op);
	op->result = result;
	whi_fifo_push(&e->done, &op->link);
}

/* Submission */

static void timer_fired(struct whi_timer *timer)
{
	struct whi_epoll_slot *slot = whi_container_of(timer, struct whi_epoll_slot, timer);

	whi_epoll_tell(slot->e, slot->op, -ETIME, 0);
}

static int start_timer(struct whi_epoll *e, struct whi_epoll_slot *slot)
{
	int64_t seconds = slot->op->timer.at.tv_sec;
	long long ns = slot->op->timer.at.tv_nsec;
	uint64_t at;

	if (seconds < 0 || ns < 0 || (uint64_t)ns >= WHI_NS_PER_SEC)
		return -EINVAL;
	at = (uint64_t)seconds >= WHI_NEVER / WHI_NS_PER_SEC
		     ? WHI_NEVER - 1
		     : (uint64_t)seconds * WHI_NS_PER_SEC + (uint64_t)ns;
	slot->place = WHI_EPOLL_TIMED;
	whi_timer_init(&slot->timer, timer_fired);
	whi_wheel_arm(&e->wheel, &slot->timer, at);
	return 0;
}

static int start(struct whi_epoll *e, struct whi_epoll_slot *slot)
{
	const struct whi_opdef *def = &whi_opdefs[slot->op->kind];

	if (def->ready)
		return whi_epoll_fd_wait(e, slot);
	if (slot->op->kind == WHI_OP_TIMER)
		return start_timer(e, slot);
	return def->work ? whi_epoll_work_start(e, slot) : -EOPNOTSUPP;
}

/* Over the limit, or without memory. Above all, a descriptor can still be closed. */
static void refuse(struct whi_epoll *e, struct whi_op *op, int error)
{
	whi_op_complete(op, whi_opdefs[op->kind].instant ? whi_epoll_instant(e, op) : error, 0);
}

static void submit_waiting(struct whi_epoll *e, struct whi_op *op)
{
	struct whi_epoll_slot *slot = take_slot(e, op);
	int r;

	if (whi_unlikely(!slot)) {
		e->base.stats.inflight--;
		refuse(e, op, -ENOMEM);
		return;
	}
	whi_op_enter(op, WHI_OP_INFLIGHT);
	r = start(e, slot);
	if (whi_unlikely(r < 0))
		whi_epoll_finish(e, op, r);
}

/* One that took everything is over while all it touches is still in the cache. */
static void submit_quiet(struct whi_epoll *e, struct whi_op *op)
{
	int result = whi_opdefs[op->kind].attempt(op);

	e->base.stats.tries++;
	if (whi_likely(result == (ssize_t)op->rw.len)) {
		e->base.stats.inflight--;
		e->base.stats.completions++;
		whi_op_complete(op, result, 0);
		return;
	}
	whi_epoll_finish(e, op, result);
}

static void epoll_submit(struct whi_backend *backend, struct whi_op *op)
{
	struct whi_epoll *e = whi_epoll_of(backend);
	const struct whi_opdef *def = &whi_opdefs[op->kind];

	op->cancel_wanted = false;
	op->slot = (uint32_t)WHI_EPOLL_NO_SLOT;
	op->moved = 0;
	whi_op_enter(op, WHI_OP_QUEUED);
	if (whi_unlikely(e->base.stats.inflight >= e->opts.ops_max)) {
		refuse(e, op, -EAGAIN);
		return;
	}
	e->base.stats.inflight++;
	e->base.stats.submitted++;
	if (op->quiet) {
		submit_quiet(e, op);
	} else if (def->instant) {
		whi_epoll_finish(e, op, whi_epoll_instant(e, op));
	} else if (op->kind == WHI_OP_NOP) {
		whi_epoll_finish(e, op, 0);
	} else if (op->kind == WHI_OP_MESSAGE) {
		whi_epoll_finish(e, op, whi_epoll_message(op));
	} else {
		submit_waiting(e, op);
	}
}

static int epoll_perform(struct whi_backend *backend, struct whi_op *op)
{
	return whi_epoll_instant(whi_epoll_of(backend), op);
}

static void epoll_cancel(struct whi_backend *backend, struct whi_op *op)
{
	struct whi_epoll *e = whi_epoll_of(backend);

	if (op->cancel_wanted || !whi_opdefs[op->kind].cancellable)
		return;
	op->cancel_wanted = true;
	if (op->slot == (uint32_t)WHI_EPOLL_NO_SLOT)
		return;
	whi_op_enter(op, WHI_OP_CANCELLING);
	if (whi_epoll_slot(e, op->slot)->place < WHI_EPOLL_WORK ||
	    whi_epoll_work_cancel(e, whi_epoll_slot(e, op->slot)))
		whi_epoll_finish(e, op, op->moved ? (int32_t)op->moved : -ECANCELED);
}

/* Waking */

static void epoll_hurry(struct whi_backend *backend)
{
	whi_epoll_of(backend)->hurried = true;
}

static void epoll_wake(struct whi_backend *backend)
{
	const uint64_t one = 1;
	int saved = errno;
	ssize_t r = write(whi_epoll_of(backend)->wake_fd, &one, sizeof(one));

	/* A signal handler may have called us. */
	errno = saved;
	whi_assert(r == sizeof(one));
}

static void epoll_wake_from(struct whi_backend *backend, struct whi_backend *from)
{
	(void)from;
	epoll_wake(backend);
}

void whi_epoll_notify(struct whi_epoll *e)
{
	/* Pairs with the store in epoll_turn.c. */
	if (atomic_load(&e->asleep) && atomic_exchange(&e->asleep, 0))
		epoll_wake(&e->base);
}

/* Buffers */

static int epoll_bufs_open(struct whi_backend *backend, uint32_t count)
{
	struct whi_epoll *e = whi_epoll_of(backend);

	e->bufs = whi_alloc(count * sizeof(*e->bufs));
	return e->bufs ? 0 : -ENOMEM;
}

static void epoll_buf_give(struct whi_backend *backend, uint16_t index, void *buf, uint32_t len)
{
	struct whi_epoll *e = whi_epoll_of(backend);

	e->bufs[e->buf_count++] = (struct whi_epoll_buf){ .data = buf, .len = len, .index = index };
	/* Whoever went without may be waiting for this. */
	if (whi_unlikely(e->starved)) {
		e->starved = false;
		e->hurried = true;
	}
}

static int epoll_address(struct whi_backend *backend)
{
	return whi_epoll_of(backend)->wake_fd;
}

/* Life */

static int open_fds(struct whi_epoll *e)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int r;

	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->epoll_fd < 0)
		return -errno;
	e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->wake_fd < 0) {
		r = -errno;
		goto err_epoll;
	}
	if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->wake_fd, &event) == 0)
		return 0;
	r = -errno;
	close(e->wake_fd);
err_epoll:
	close(e->epoll_fd);
	return r;
}

static void free_all(struct whi_epoll *e)
{
	for (uint32_t i = 0; i < e->slot_count / WHI_EPOLL_CHUNK; i++)
		whi_free(e->slots[i]);
	whi_free(e->slots);
	whi_epoll_fds_free(e);
	whi_free(e->bufs);
	whi_free(e);
}

static int epoll_open(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	struct whi_epoll *e = whi_aligned_alloc(64, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	*e = (struct whi_epoll){ .base.ops = &whi_backend_epoll, .opts = *opts };
	e->free_slot = (uint32_t)WHI_EPOLL_NO_SLOT;
	whi_wheel_init(&e->wheel, whi_clock_ns());
	r = grow_slots(e);
	if (r < 0)
		goto err_memory;
	r = open_fds(e);
	if (r < 0)
		goto err_memory;
	r = whi_epoll_work_init(e);
	if (r < 0)
		goto err_fds;
	whi_epoll_peers_join(e);
	*ret = &e->base;
	return 0;

err_fds:
	close(e->wake_fd);
	close(e->epoll_fd);
err_memory:
	free_all(e);
	return r;
}

/* What a thread works on points into its owner's memory: it is waited for. */
static void drain(struct whi_epoll *e)
{
	for (uint32_t i = 0; i < e->slot_count; i++)
		if (whi_epoll_slot(e, i)->op)
			epoll_cancel(&e->base, whi_epoll_slot(e, i)->op);
	while (e->base.stats.inflight)
		whi_epoll_turn(&e->base, WHI_NEVER);
}

static void epoll_close(struct whi_backend *backend)
{
	struct whi_epoll *e = whi_epoll_of(backend);

	whi_epoll_peers_leave(e);
	drain(e);
	whi_epoll_work_fini(e);
	close(e->wake_fd);
	close(e->epoll_fd);
	free_all(e);
}

const struct whi_backend_ops whi_backend_epoll = {
	.name = "epoll",
	.open = epoll_open,
	.close = epoll_close,
	.submit = epoll_submit,
	.perform = epoll_perform,
	.cancel = epoll_cancel,
	.turn = whi_epoll_turn,
	.hurry = epoll_hurry,
	.wake = epoll_wake,
	.wake_from = epoll_wake_from,
	.bufs_open = epoll_bufs_open,
	.buf_give = epoll_buf_give,
	.address = epoll_address,
};
