/*
 * The io_uring backend. A turn is one io_uring_enter that submits what was queued and waits, then
 * a walk over the completions, which uring_reap.c has.
 *
 * Invariants
 * 1. user_data of an operation is a slot's index and generation. A slot is freed at its operation's
 *    last completion, so a completion whose generation does not match is stale, and counted.
 * 2. An operation is QUEUED while on the backlog, INFLIGHT once it has an entry. Cancelling one on
 *    the backlog marks it; it completes when the backlog is worked off.
 * 3. A quiet operation is on the list of these from its entry until it is known to have been
 *    tried.
 * 4. The kernel does not find an operation to cancel while it is on its way from one place to
 *    another, from a poll to a worker thread for instance. So a cancellation that missed one that
 *    is still here is repeated, until it is found or completes.
 * 5. Nothing here runs user code: `done` only makes tasks ready or queues more operations.
 */
#include "backend/uring.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/uring_selftest.h"
#include "backend/uring_slot.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"

enum { SLOTS_MIN = 256 };

/* How long closing waits before it looks again. */
#define DRAIN_STEP_NS (10 * WH_MS)
/* How long to give the kernel before asking again for a cancellation that missed its operation. */
#define MISSED_PAUSE_NS WH_MS

static struct whi_uring *uring_of(struct whi_backend *backend)
{
	return (struct whi_uring *)backend;
}

/* Slots */

static int grow_slots(struct whi_uring *u)
{
	uint32_t count = u->slot_count ? u->slot_count * 2 : SLOTS_MIN;
	struct whi_uring_slot *slots;

	if (u->slot_count >= u->opts.ops_max)
		return -EAGAIN;
	if (count > u->opts.ops_max)
		count = u->opts.ops_max;
	slots = whi_realloc(u->slots, count * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (uint32_t i = u->slot_count; i < count; i++)
		slots[i] = (struct whi_uring_slot){ .next_free = i + 1 };
	slots[count - 1].next_free = (uint32_t)WHI_NO_SLOT;
	u->free_slot = u->slot_count;
	u->slots = slots;
	u->slot_count = count;
	return 0;
}

/* Submission */

/* The public part of what liburing does inside io_uring_submit: here it is one call with waiting,
 * flags and a timeout of our choice. */
static unsigned publish(struct io_uring *ring)
{
	struct io_uring_sq *sq = &ring->sq;

	if (sq->sqe_head != sq->sqe_tail) {
		sq->sqe_head = sq->sqe_tail;
		io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	}
	return sq->sqe_tail - IO_URING_READ_ONCE(*sq->khead);
}

static int enter(struct whi_uring *u, unsigned wait_count, uint64_t timeout_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_getevents_arg arg = { .sigmask_sz = _NSIG / 8 };
	unsigned to_submit = publish(&u->ring);

	if (timeout_ns != WHI_NEVER) {
		ts.tv_sec = (int64_t)(timeout_ns / WHI_NS_PER_SEC);
		ts.tv_nsec = (long long)(timeout_ns % WHI_NS_PER_SEC);
		arg.ts = (uint64_t)(uintptr_t)&ts;
	}
	u->base.stats.enters++;
	return io_uring_enter2((unsigned)u->ring.enter_ring_fd, to_submit, wait_count,
			       u->enter_flags | IORING_ENTER_EXT_ARG, (sigset_t *)&arg,
			       sizeof(arg));
}

/* The next entry, all zero. NULL: the queue is full. As io_uring_get_sqe, but for one kind of ring:
 * entries of 64 bytes, and no thread of the kernel's that takes them by itself. */
static inline struct io_uring_sqe *try_entry(struct whi_uring *u)
{
	struct io_uring_sq *sq = &u->ring.sq;
	struct io_uring_sqe *sqe;

	if (whi_unlikely(sq->sqe_tail - IO_URING_READ_ONCE(*sq->khead) >= sq->ring_entries))
		return NULL;
	sqe = &sq->sqes[sq->sqe_tail++ & sq->ring_mask];
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

/* NULL: the kernel takes nothing now, it wants completions reaped. */
static whi_cold struct io_uring_sqe *make_room(struct whi_uring *u)
{
	enter(u, 0, 0);
	return try_entry(u);
}

struct io_uring_sqe *whi_uring_entry(struct whi_uring *u)
{
	struct io_uring_sqe *sqe = try_entry(u);

	return whi_likely(sqe) ? sqe : make_room(u);
}

static inline void prepare(const struct whi_uring *u, const struct whi_op *op,
			   struct io_uring_sqe *sqe)
{
	whi_opdefs[op->kind].prep(op, sqe);
	if (whi_unlikely(u->plain))
		whi_uring_plain_prep(u, op, sqe);
	sqe->user_data = whi_uring_user_data(u, op);
}

void whi_uring_prepare(const struct whi_uring *u, const struct whi_op *op, struct io_uring_sqe *sqe)
{
	prepare(u, op, sqe);
}

static inline void fill_entry(struct whi_uring *u, struct whi_op *op, struct io_uring_sqe *sqe)
{
	whi_op_enter(op, WHI_OP_INFLIGHT);
	u->base.stats.submitted++;
	prepare(u, op, sqe);
	if (op->kind == WHI_OP_MESSAGE)
		sqe->off = WHI_TAG_MESSAGE | op->message.data;
	if (op->quiet) {
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		op->sq_index = u->ring.sq.sqe_tail;
		op->result = WHI_QUIET_SUCCESS;
		whi_fifo_push(&u->quiet, &op->link);
	}
}

/* The kernel's io_uring has no such operation. What a ring would refuse is refused here too. */
static int without_ring(const struct whi_uring *u, const struct whi_op *op)
{
	const struct whi_opdef *def = &whi_opdefs[op->kind];

	if (!whi_uring_allows(u->opts.restrict_ops, def->opcode))
		return -EACCES;
	return def->instant ? whi_op_attempt(op) : -EOPNOTSUPP;
}

/* It cannot be queued: it completes here. Above all, a descriptor can still be closed. */
static whi_cold void complete_unqueued(struct whi_uring *u, struct whi_op *op, int error)
{
	const struct whi_opdef *def = &whi_opdefs[op->kind];
	bool at_once = def->instant || !u->supported[def->opcode];

	whi_op_enter(op, WHI_OP_QUEUED);
	whi_op_complete(op, at_once ? without_ring(u, op) : error, 0);
}

/* Behind others that wait for room, so that operations start in the order asked for. */
static whi_cold void queue(struct whi_uring *u, struct whi_op *op)
{
	struct io_uring_sqe *sqe = whi_fifo_empty(&u->backlog) ? make_room(u) : NULL;

	if (sqe)
		fill_entry(u, op, sqe);
	else
		whi_fifo_push(&u->backlog, &op->link);
}

static void uring_submit(struct whi_backend *backend, struct whi_op *op)
{
	struct whi_uring *u = uring_of(backend);
	struct io_uring_sqe *sqe = NULL;
	int r = 0;

	op->cancel_wanted = false;
	if (whi_unlikely(u->free_slot == (uint32_t)WHI_NO_SLOT))
		r = grow_slots(u);
	if (whi_unlikely(r < 0 || !u->supported[whi_opdefs[op->kind].opcode])) {
		complete_unqueued(u, op, r);
		return;
	}
	whi_uring_slot_take(u, op);
	whi_op_enter(op, WHI_OP_QUEUED);
	if (whi_likely(whi_fifo_empty(&u->backlog)))
		sqe = try_entry(u);
	if (whi_likely(sqe))
		fill_entry(u, op, sqe);
	else
		queue(u, op);
}

static int uring_perform(struct whi_backend *backend, struct whi_op *op)
{
	(void)backend;
	return whi_op_attempt(op);
}

static bool queue_cancel(struct whi_uring *u, const struct whi_op *op)
{
	struct io_uring_sqe *sqe = whi_uring_entry(u);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, whi_uring_user_data(u, op), 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = WHI_CANCEL_BIT | whi_uring_user_data(u, op);
	return true;
}

static void uring_cancel(struct whi_backend *backend, struct whi_op *op)
{
	struct whi_uring *u = uring_of(backend);

	if (op->cancel_wanted || !whi_opdefs[op->kind].cancellable)
		return;
	op->cancel_wanted = true;
	if (op->state != WHI_OP_INFLIGHT)
		return;
	whi_op_enter(op, WHI_OP_CANCELLING);
	if (!queue_cancel(u, op))
		u->cancels_deferred = true;
}

static whi_cold void flush_backlog(struct whi_uring *u)
{
	while (!whi_fifo_empty(&u->backlog)) {
		struct whi_op *op = whi_container_of(u->backlog.head, struct whi_op, link);
		struct io_uring_sqe *sqe = op->cancel_wanted ? NULL : whi_uring_entry(u);

		if (!sqe && !op->cancel_wanted)
			return;
		whi_fifo_pop(&u->backlog);
		if (sqe) {
			fill_entry(u, op, sqe);
		} else {
			whi_uring_slot_free(u, op->slot);
			whi_op_complete(op, -ECANCELED, 0);
			/* Somebody is ready now: this turn must not wait. */
			u->hurried = true;
		}
	}
}

/* Rare enough to look at every slot: asking again for some that were asked already is harmless. */
static void flush_cancels(struct whi_uring *u)
{
	u->cancels_deferred = false;
	u->cancels_missed = false;
	for (uint32_t i = 0; i < u->slot_count; i++) {
		struct whi_op *op = u->slots[i].op;

		if (op && op->state == WHI_OP_CANCELLING && !queue_cancel(u, op))
			u->cancels_deferred = true;
	}
}

/* Waking */

static void arm_wake(struct whi_uring *u)
{
	struct io_uring_sqe *sqe = whi_uring_entry(u);

	u->wake_armed = sqe != NULL;
	if (!sqe)
		return;
	io_uring_prep_read(sqe, u->wake_fd, &u->wake_value, sizeof(u->wake_value), 0);
	sqe->user_data = WHI_TAG_WAKE;
}

static void uring_hurry(struct whi_backend *backend)
{
	uring_of(backend)->hurried = true;
}

static void uring_wake(struct whi_backend *backend)
{
	const uint64_t one = 1;
	int saved = errno;
	ssize_t r = write(uring_of(backend)->wake_fd, &one, sizeof(one));

	/* A signal handler may have called us. */
	errno = saved;
	whi_assert(r == sizeof(one));
}

static void uring_wake_from(struct whi_backend *backend, struct whi_backend *from)
{
	struct whi_uring *u = uring_of(backend), *sender = uring_of(from);
	struct io_uring_sqe *sqe = NULL;

	if (sender->supported[IORING_OP_MSG_RING])
		sqe = whi_uring_entry(sender);
	if (!sqe) {
		uring_wake(backend);
		return;
	}
	io_uring_prep_msg_ring(sqe, u->ring.ring_fd, 0, WHI_TAG_WAKE | 1, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = WHI_TAG_PEER | (uint64_t)(uintptr_t)backend;
}

/* Turns */

static bool kernel_has_more(const struct whi_uring *u)
{
	unsigned flags = IO_URING_READ_ONCE(*u->ring.sq.kflags);

	return flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static int uring_turn(struct whi_backend *backend, uint64_t timeout_ns)
{
	struct whi_uring *u = uring_of(backend);
	bool missed = u->cancels_missed;
	int r = 0;

	if (whi_unlikely(missed) && timeout_ns > MISSED_PAUSE_NS)
		timeout_ns = MISSED_PAUSE_NS;
	if (whi_unlikely(!whi_fifo_empty(&u->backlog)))
		flush_backlog(u);
	if (whi_unlikely(u->cancels_deferred))
		flush_cancels(u);
	if (whi_unlikely(!u->wake_armed))
		arm_wake(u);
	if (timeout_ns != 0 && io_uring_cq_ready(&u->ring) == 0 && u->wake_armed &&
	    !u->cancels_deferred && !u->hurried)
		r = enter(u, 1, timeout_ns);
	else if (io_uring_sq_ready(&u->ring) || kernel_has_more(u))
		r = enter(u, 0, 0);
	u->hurried = false;
	whi_uring_reap(u);
	if (whi_unlikely(missed))
		flush_cancels(u);
	/* Timed out, interrupted, or the kernel wanted its completions reaped first: go on. */
	if (r == -ETIME || r == -EINTR || r == -EBUSY || r == -EAGAIN)
		r = 0;
	return r < 0 ? r : 0;
}

/* Buffers */

static int uring_bufs_open(struct whi_backend *backend, uint32_t count)
{
	return whi_uring_bufs_open(uring_of(backend), count);
}

static void uring_buf_give(struct whi_backend *backend, uint16_t index, void *buf, uint32_t len)
{
	struct whi_uring *u = uring_of(backend);

	if (whi_unlikely(!u->bufs)) {
		whi_uring_plain_give(u, index, buf, len);
		return;
	}
	io_uring_buf_ring_add(u->bufs, buf, len, index, io_uring_buf_ring_mask(u->buf_count), 0);
	io_uring_buf_ring_advance(u->bufs, 1);
}

static int uring_address(struct whi_backend *backend)
{
	return uring_of(backend)->ring.ring_fd;
}

/* Life */

static int uring_open(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	struct whi_uring *u = whi_calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->base.ops = &whi_backend_uring;
	u->opts = *opts;
	u->free_slot = (uint32_t)WHI_NO_SLOT;
	r = whi_uring_features_off(opts->uring_off, &u->off);
	if (r < 0)
		goto err_free;
	u->plain = whi_uring_plain_needed(u);
	/* Not O_NONBLOCK: the ring would not wait for it. */
	u->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (u->wake_fd < 0) {
		r = -errno;
		goto err_free;
	}
	r = whi_uring_ring_open(u);
	if (r < 0)
		goto err_eventfd;
	if (u->off & 1u << WHI_URING_MSGRING)
		u->supported[IORING_OP_MSG_RING] = false;
	r = grow_slots(u);
	if (r < 0)
		goto err_ring;
	*ret = &u->base;
	return 0;

err_ring:
	whi_uring_ring_close(u);
err_eventfd:
	close(u->wake_fd);
err_free:
	whi_free(u);
	return r;
}

/* The read of wake_fd is in flight and points into `u`; so may operations on descriptors that
 * their user never closed. The kernel lets go of all memory before any is freed. */
static void drain(struct whi_uring *u)
{
	for (uint32_t i = 0; i < u->slot_count; i++)
		if (u->slots[i].op)
			uring_cancel(&u->base, u->slots[i].op);
	uring_wake(&u->base);
	while (u->wake_armed || u->base.stats.inflight) {
		flush_backlog(u);
		if (u->cancels_deferred || u->cancels_missed)
			flush_cancels(u);
		enter(u, 1, DRAIN_STEP_NS);
		whi_uring_reap(u);
	}
}

static void uring_close(struct whi_backend *backend)
{
	struct whi_uring *u = uring_of(backend);

	drain(u);
	whi_uring_bufs_close(u);
	whi_uring_ring_close(u);
	close(u->wake_fd);
	whi_free(u->slots);
	whi_free(u);
}

const struct whi_backend_ops whi_backend_uring = {
	.name = "uring",
	.open = uring_open,
	.close = uring_close,
	.submit = uring_submit,
	.perform = uring_perform,
	.cancel = uring_cancel,
	.turn = uring_turn,
	.hurry = uring_hurry,
	.wake = uring_wake,
	.wake_from = uring_wake_from,
	.bufs_open = uring_bufs_open,
	.buf_give = uring_buf_give,
	.address = uring_address,
};
