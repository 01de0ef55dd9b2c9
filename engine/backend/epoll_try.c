/*
 * The epoll backend's attempts: one operation at the head of a descriptor's queue, and what its
 * result means for the descriptor. Called in turns only.
 *
 * A descriptor that is not ours is tried until the kernel says -EAGAIN. A TCP socket of ours was
 * emptied by a receive that got less than it asked for: what comes later is a new edge. Only once
 * the end or an error is there does receiving go on, since their edge has been.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/epoll.h"
#include "base/assert.h"
#include "op/families.h"

enum {
	RECVS_MAX = 16,	  /* a descriptor's share of a turn */
	ACCEPTS_MAX = 64, /* the same */
};

static enum whi_epoll_outcome tell(struct whi_epoll *e, struct whi_op *op, int32_t result)
{
	whi_epoll_tell(e, op, result, 0);
	return WHI_EPOLL_GONE;
}

static enum whi_epoll_outcome wait_for(bool *ready)
{
	*ready = false;
	return WHI_EPOLL_WAIT;
}

/* Receiving into buffers that were lent. */

/* No buffer is left. Who has nothing to receive yet needs none. */
static whi_cold enum whi_epoll_outcome starve(struct whi_epoll *e, struct whi_epoll_fd *d,
					      struct whi_op *op)
{
	char byte;
	ssize_t n = recv(op->fd, &byte, 1, op->rw.flags | MSG_PEEK | MSG_DONTWAIT);

	e->base.stats.tries++;
	if (n < 0 && errno == EAGAIN)
		return wait_for(&d->in_ready);
	if (n <= 0)
		return tell(e, op, n < 0 ? -errno : 0);
	e->starved = true;
	return tell(e, op, -ENOBUFS);
}

/* One buffer's worth. */
static enum whi_epoll_outcome recv_buffer(struct whi_epoll *e, struct whi_epoll_fd *d,
					  struct whi_epoll_slot *slot)
{
	const struct whi_epoll_buf *buf = &e->bufs[e->buf_count - 1];
	struct whi_op *op = slot->op;
	ssize_t n = recv(op->fd, buf->data, buf->len, op->rw.flags | MSG_DONTWAIT);

	e->base.stats.tries++;
	if (n < 0 && errno == EAGAIN)
		return wait_for(&d->in_ready);
	if (n <= 0)
		return tell(e, op, n < 0 ? -errno : 0);
	if (d->exact && (size_t)n < buf->len && !d->unsure && !op->rw.flags)
		d->in_ready = false;
	op->buffer = buf->index;
	e->buf_count--;
	whi_epoll_tell(e, op, (int32_t)n, WHI_OP_BUFFER | (op->once ? 0 : WHI_OP_MORE));
	/* Whoever was told may have cancelled it. */
	if (slot->op != op || whi_list_empty(&d->in) || d->in.next != &slot->link)
		return WHI_EPOLL_GONE;
	return d->in_ready || !d->socket ? WHI_EPOLL_LATER : WHI_EPOLL_WAIT;
}

static enum whi_epoll_outcome recv_multi(struct whi_epoll *e, struct whi_epoll_fd *d,
					 struct whi_epoll_slot *slot)
{
	enum whi_epoll_outcome outcome = WHI_EPOLL_LATER;

	for (int i = 0; i < RECVS_MAX && outcome == WHI_EPOLL_LATER; i++)
		outcome = e->buf_count ? recv_buffer(e, d, slot) : starve(e, d, slot->op);
	return outcome;
}

/* Accepting and connecting, which know no flag for not waiting. */

static int make_nonblocking(struct whi_epoll_fd *d)
{
	int flags;

	if (d->nonblock)
		return 0;
	flags = fcntl(d->fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if (!(flags & O_NONBLOCK) && fcntl(d->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	d->nonblock = d->ours;
	return 0;
}

static bool nobody_waits(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 0;
}

/* TCP sockets have it from their listener. */
static void lift_limit(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ 0 }, sizeof(struct timeval));
}

static enum whi_epoll_outcome accept_one(struct whi_epoll *e, struct whi_epoll_fd *d,
					 struct whi_epoll_slot *slot)
{
	const struct whi_epoll_fd like = { .socket = true, .stream = d->stream, .exact = d->exact };
	struct whi_op *op = slot->op;
	bool multi = op->kind == WHI_OP_ACCEPT_MULTI;
	int fd;

	e->base.stats.tries++;
	fd = d->shared && nobody_waits(d->fd) ? -EAGAIN : whi_opdefs[op->kind].attempt(op);
	if (fd == -EAGAIN)
		return wait_for(&d->in_ready);
	if (fd < 0)
		return tell(e, op, fd);
	if (d->shared)
		lift_limit(fd);
	whi_epoll_fd_made(e, fd, &like);
	whi_epoll_tell(e, op, fd, multi ? WHI_OP_MORE : 0);
	if (slot->op != op || whi_list_empty(&d->in) || d->in.next != &slot->link)
		return WHI_EPOLL_GONE;
	return WHI_EPOLL_LATER;
}

static whi_cold enum whi_epoll_outcome accept_all(struct whi_epoll *e, struct whi_epoll_fd *d,
						  struct whi_epoll_slot *slot)
{
	enum whi_epoll_outcome outcome = WHI_EPOLL_LATER;
	int r = d->shared ? 0 : make_nonblocking(d);

	if (r < 0)
		return tell(e, slot->op, r);
	for (int i = 0; i < ACCEPTS_MAX && outcome == WHI_EPOLL_LATER; i++)
		outcome = accept_one(e, d, slot);
	return outcome;
}

static whi_cold enum whi_epoll_outcome connect_now(struct whi_epoll *e, struct whi_epoll_fd *d,
						   struct whi_epoll_slot *slot)
{
	int r = make_nonblocking(d);

	if (r == 0) {
		e->base.stats.tries++;
		r = whi_opdefs[WHI_OP_CONNECT].attempt(slot->op);
	}
	/* Once it is writable, asking again tells what has become of it. */
	if (r == -EINPROGRESS || r == -EALREADY)
		return wait_for(&d->out_ready);
	return r == -EAGAIN ? WHI_EPOLL_RETRY : tell(e, slot->op, r);
}

/* Moving bytes. */

/* How many `op` asks for; 0: whatever comes is enough, or it is no matter of bytes. */
static size_t wanted(const struct whi_epoll_fd *d, const struct whi_op *op)
{
	switch ((enum whi_op_kind)op->kind) {
	case WHI_OP_SEND:
	case WHI_OP_RECV:
		if (!(op->rw.flags & MSG_WAITALL) || (d->socket && !d->stream))
			return 0;
		return op->rw.len;
	case WHI_OP_SENDMSG:
	case WHI_OP_RECVMSG:
		if (!(op->msg.flags & MSG_WAITALL) || !d->stream)
			return 0;
		return whi_iov_bytes(op->msg.msg->msg_iov, (unsigned)op->msg.msg->msg_iovlen);
	case WHI_OP_READ:
	case WHI_OP_WRITE:
		return op->rw.offset == (uint64_t)-1 ? 0 : op->rw.len;
	case WHI_OP_READV:
	case WHI_OP_WRITEV:
		return op->vec.offset == (uint64_t)-1
			       ? 0
			       : whi_iov_bytes(op->vec.iov, op->vec.iov_count);
	default:
		return 0;
	}
}

static int flags_of(const struct whi_op *op)
{
	if (op->kind == WHI_OP_RECV || op->kind == WHI_OP_SEND)
		return op->rw.flags;
	if (op->kind == WHI_OP_RECVMSG || op->kind == WHI_OP_SENDMSG)
		return op->msg.flags;
	return 0;
}

static bool *ready_of(struct whi_epoll_fd *d, const struct whi_op *op)
{
	return whi_opdefs[op->kind].ready == POLLIN ? &d->in_ready : &d->out_ready;
}

/* A datagram to a full peer that we are not connected to: our own socket is writable all along. */
static bool has_no_event(const struct whi_op *op)
{
	const struct sockaddr *name = op->kind == WHI_OP_SENDMSG ? op->msg.msg->msg_name : NULL;

	return name && name->sa_family == AF_UNIX;
}

static enum whi_epoll_outcome would_block(struct whi_epoll *e, struct whi_epoll_fd *d,
					  struct whi_op *op)
{
	if (flags_of(op) & MSG_DONTWAIT)
		return tell(e, op, op->moved ? (int32_t)op->moved : -EAGAIN);
	if (has_no_event(op))
		return WHI_EPOLL_RETRY;
	return wait_for(ready_of(d, op));
}

/* `n` bytes were moved. */
static enum whi_epoll_outcome moved(struct whi_epoll *e, struct whi_epoll_fd *d, struct whi_op *op,
				    int n)
{
	size_t all = wanted(d, op);
	bool is_file = whi_opdefs[op->kind].work;

	if (op->kind == WHI_OP_RECV && d->exact && !d->unsure && n > 0 &&
	    (op->rw.flags & ~MSG_WAITALL) == 0 && (size_t)n < op->rw.len - op->moved)
		d->in_ready = false;
	op->moved += (uint32_t)n;
	if (n == 0 || op->moved >= all || flags_of(op) & MSG_DONTWAIT)
		return tell(e, op, (int32_t)op->moved);
	/* The rest of a file may be on the disk, a socket is full or empty now. */
	return is_file || !d->socket ? WHI_EPOLL_LATER : wait_for(ready_of(d, op));
}

/* On a thread, for as long as it takes. */
static whi_cold enum whi_epoll_outcome to_executor(struct whi_epoll *e, struct whi_epoll_slot *slot)
{
	int r;

	whi_list_remove(&slot->link);
	r = whi_epoll_work_start(e, slot);
	if (r < 0)
		tell(e, slot->op, slot->op->moved ? (int32_t)slot->op->moved : r);
	return WHI_EPOLL_GONE;
}

/* For pipes, terminals and the like in kernels where these do not know RWF_NOWAIT. Once poll(2) has
 * said that they are ready a read does not wait, unless another process is quicker; nor does
 * writing PIPE_BUF bytes to a pipe. A descriptor's mode stays as it is: it may be shared, as
 * standard input and output are with the shell. */
static whi_cold int attempt_polled(const struct whi_op *op)
{
	struct pollfd fd = { .fd = op->fd, .events = whi_opdefs[op->kind].ready };
	struct whi_op small = *op;

	/* Who never waits says itself whether it would; and poll(2) keeps silent about a named pipe
	 * that nobody has opened to write yet, whose end a read tells. */
	if (!(fcntl(op->fd, F_GETFL) & O_NONBLOCK) && poll(&fd, 1, 0) == 0)
		return -EAGAIN;
	if (op->kind == WHI_OP_WRITE && small.rw.len > PIPE_BUF)
		small.rw.len = PIPE_BUF;
	if (op->kind == WHI_OP_WRITEV && whi_iov_bytes(op->vec.iov, op->vec.iov_count) > PIPE_BUF) {
		const struct iovec *first = op->vec.iov;

		while (!first->iov_len)
			first++;
		small.kind = WHI_OP_WRITE;
		small.rw.buf = first->iov_base;
		small.rw.len = first->iov_len < PIPE_BUF ? first->iov_len : PIPE_BUF;
		small.rw.offset = (uint64_t)-1;
	}
	return whi_opdefs[small.kind].work(&small);
}

static enum whi_epoll_outcome move(struct whi_epoll *e, struct whi_epoll_fd *d,
				   struct whi_epoll_slot *slot)
{
	struct whi_op *op = slot->op;
	const struct whi_opdef *def = &whi_opdefs[op->kind];
	int r;

	if (d->file && def->work && def->ready == POLLOUT)
		return to_executor(e, slot);
	e->base.stats.tries++;
	r = slot->poll_first ? attempt_polled(op) : def->attempt(op);
	if (r == -EOPNOTSUPP && def->work && !slot->poll_first) {
		slot->poll_first = true;
		r = d->file ? -EAGAIN : attempt_polled(op);
	}
	if (r >= 0)
		return slot->poll_first ? tell(e, op, r) : moved(e, d, op, r);
	else if (r != -EAGAIN)
		return tell(e, op, op->moved ? (int32_t)op->moved : r);
	if (d->file && def->work)
		return to_executor(e, slot);
	return would_block(e, d, op);
}

static enum whi_epoll_outcome poll_now(struct whi_epoll *e, struct whi_op *op)
{
	int r = whi_opdefs[WHI_OP_POLL].attempt(op);

	e->base.stats.tries++;
	return r == -EAGAIN ? WHI_EPOLL_WAIT : tell(e, op, r);
}

enum whi_epoll_outcome whi_epoll_try(struct whi_epoll *e, struct whi_epoll_fd *d,
				     struct whi_epoll_slot *slot)
{
	if (whi_likely(slot->op->kind == WHI_OP_RECV_MULTI))
		return recv_multi(e, d, slot);
	switch ((enum whi_op_kind)slot->op->kind) {
	case WHI_OP_ACCEPT:
	case WHI_OP_ACCEPT_MULTI:
		return accept_all(e, d, slot);
	case WHI_OP_CONNECT:
		return connect_now(e, d, slot);
	case WHI_OP_POLL:
		return poll_now(e, slot->op);
	default:
		return move(e, d, slot);
	}
}

/* epoll knows nothing of this file: it is always ready, and what makes it wait is a disk. */
enum whi_epoll_outcome whi_epoll_try_file(struct whi_epoll *e, struct whi_epoll_slot *slot)
{
	if (whi_opdefs[slot->op->kind].work)
		return to_executor(e, slot);
	return tell(e, slot->op, -EPERM);
}
