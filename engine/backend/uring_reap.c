/*
 * The io_uring backend: completions. Called once a turn.
 *
 * Invariants
 * 1. Every entry of the completion queue is given back to the kernel before anybody hears of it:
 *    `done` may submit, and the kernel then needs room for what completes at once.
 * 2. Only the last completion of an operation may be unusual: that of a quiet one, of one that is
 *    done in a plainer way, or of one that a worker thread was interrupted in.
 */
#include <errno.h>

#include "backend/uring_slot.h"
#include "base/assert.h"

_Static_assert(WHI_OP_BUFFER == IORING_CQE_F_BUFFER && WHI_OP_MORE == IORING_CQE_F_MORE &&
		       WHI_OP_SOCK_MORE == IORING_CQE_F_SOCK_NONEMPTY,
	       "flags of completions are not translated");

enum {
	RECEIVES_MAX = 32,  /* of one socket in a row */
	ERESTART_MIN = 512, /* include/linux/errno.h, which is not for user space */
};

struct completion {
	uint64_t user_data;
	int32_t result;
	uint32_t flags;
};

static unsigned flags_of(struct completion c)
{
	return c.flags & (WHI_OP_BUFFER | WHI_OP_MORE | WHI_OP_SOCK_MORE);
}

static void end_op(struct whi_uring *u, struct whi_op *op, int32_t result, unsigned flags)
{
	whi_uring_slot_free(u, op->slot);
	whi_op_complete(op, result, flags);
}

/* A socket that was polled for a receive can be read: again and again, as the kernel would. */
static void receive_polled(struct whi_uring *u, struct whi_op *op)
{
	struct io_uring_sqe *sqe;
	bool empty = false;

	for (int i = 0; i < RECEIVES_MAX && !empty && !op->cancel_wanted; i++) {
		unsigned flags = 0;
		int32_t r = whi_uring_plain_recv(u, op, &flags, &empty);

		if (r == -EAGAIN)
			continue;
		if (r <= 0 || op->once) {
			end_op(u, op, r, flags);
			return;
		}
		/* It may ask for the operation's end, which then is not found in the kernel. */
		whi_op_complete(op, r, flags | WHI_OP_MORE);
	}
	sqe = op->cancel_wanted ? NULL : whi_uring_entry(u);
	if (sqe)
		whi_uring_prepare(u, op, sqe);
	else
		end_op(u, op, op->cancel_wanted ? -ECANCELED : -EINTR, 0);
}

static whi_cold void complete_plainly(struct whi_uring *u, struct whi_op *op, int32_t result,
				      unsigned flags)
{
	struct io_uring_sqe *sqe = NULL;

	if (whi_uring_plain_polls(u, op) && result >= 0) {
		receive_polled(u, op);
		return;
	}
	/* In the queue before anybody hears of the result, so that asking for its end finds it. */
	if (whi_uring_plain_repeats(u, op) && result >= 0 && !op->cancel_wanted)
		sqe = whi_uring_entry(u);
	if (sqe) {
		whi_uring_prepare(u, op, sqe);
		whi_op_complete(op, result, flags | WHI_OP_MORE);
	} else {
		end_op(u, op, result, flags);
	}
}

static void complete_last(struct whi_uring *u, struct whi_op *op, struct completion c)
{
	/* A worker thread that was interrupted lets the kernel's own "restart the system call"
	 * out. */
	int32_t result = c.result <= -ERESTART_MIN ? -EINTR : c.result;

	if (op->quiet)
		op->result = result;
	else if (whi_unlikely(u->plain))
		complete_plainly(u, op, result, flags_of(c));
	else
		end_op(u, op, result, flags_of(c));
}

static void complete_op(struct whi_uring *u, struct completion c)
{
	struct whi_op *op = whi_uring_find(u, c.user_data);

	if (whi_unlikely(!op)) {
		u->base.stats.stale++;
		return;
	}
	u->base.stats.completions++;
	op->buffer = (uint16_t)(c.flags >> IORING_CQE_BUFFER_SHIFT);
	if (whi_likely(c.flags & IORING_CQE_F_MORE))
		whi_op_complete(op, c.result, flags_of(c));
	else
		complete_last(u, op, c);
}

static void cancel_failed(struct whi_uring *u, struct completion c)
{
	if (whi_uring_find(u, c.user_data & ~WHI_CANCEL_BIT) && c.result == -ENOENT)
		u->cancels_missed = true;
}

/* A peer could not be woken through its ring: only failures arrive. */
static void wake_failed(struct whi_backend *peer)
{
	peer->ops->wake(peer);
}

static void dispatch(struct whi_uring *u, struct completion c)
{
	switch (c.user_data & WHI_TAG_MASK) {
	case WHI_TAG_OP:
		cancel_failed(u, c);
		break;
	case WHI_TAG_PEER:
		wake_failed((struct whi_backend *)(uintptr_t)(c.user_data & ~WHI_TAG_MASK));
		break;
	case WHI_TAG_MESSAGE:
		if (u->opts.on_message)
			u->opts.on_message(u->opts.arg, c.user_data & ~WHI_TAG_MASK, c.result);
		break;
	case WHI_TAG_WAKE:
		if (c.user_data == WHI_TAG_WAKE)
			u->wake_armed = false;
		break;
	}
}

static void reap(struct whi_uring *u)
{
	struct io_uring_cq *cq = &u->ring.cq;
	unsigned head = *cq->khead, tail = io_uring_smp_load_acquire(cq->ktail);

	for (; head != tail; head++) {
		const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
		struct completion c = { cqe->user_data, cqe->res, cqe->flags };

		io_uring_smp_store_release(cq->khead, head + 1);
		if (whi_likely(c.user_data < WHI_CANCEL_BIT))
			complete_op(u, c);
		else
			dispatch(u, c);
	}
}

/* Quiet operations whose entries are among the first `consumed` have been tried. */
static void complete_quiet(struct whi_uring *u, uint32_t consumed)
{
	while (!whi_fifo_empty(&u->quiet)) {
		struct whi_op *op = whi_container_of(u->quiet.head, struct whi_op, link);
		int32_t result = op->result;

		if ((int32_t)(consumed - op->sq_index) < 0)
			break;
		whi_fifo_pop(&u->quiet);
		end_op(u, op, result == WHI_QUIET_SUCCESS ? (int32_t)op->rw.len : result, 0);
	}
}

/* The kernel posts what did not succeed of quiet operations before it lets us see their entries as
 * consumed. So what is consumed is looked at before the completions are, and counts for nothing
 * while some of them still wait outside of the queue. */
void whi_uring_reap(struct whi_uring *u)
{
	bool overflowed = IO_URING_READ_ONCE(*u->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW;
	uint32_t consumed = io_uring_smp_load_acquire(u->ring.sq.khead);

	reap(u);
	if (whi_unlikely(overflowed)) {
		u->base.stats.cq_overflows++;
		u->hurried = true;
		return;
	}
	complete_quiet(u, consumed);
}
