/*
 * Sockets for tasks: sending.
 *
 * Invariants
 * 1. A view's buffer is lent until its send is done, which `view_pending` says; the task goes on
 *    meanwhile. Whoever sends next waits for that first, so bytes leave in order.
 * 2. An error of a view, of which nobody heard, is that of every later send.
 */
#include "io/sock.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/assert.h"

static whi_cold void end_stream(struct wh_sock *sock)
{
	struct whi_op shutdown = {
		.kind = WHI_OP_SHUTDOWN,
		.fd = sock->fd,
		.arg.value = SHUT_RDWR,
	};
	int type = SOCK_STREAM;

	/* If that cannot be found out, better ended than waited for in vain. */
	whi_sock_get(sock->fd, SO_TYPE, &type);
	if (type == SOCK_STREAM)
		whi_perform(&shutdown);
}

static ssize_t send_op(struct wh_sock *sock, struct whi_op *op)
{
	ssize_t r;

	sock->send_op = op;
	r = whi_await(op);
	sock->send_op = NULL;
	if (r > 0)
		sock->bytes_sent += (uint64_t)r;
	/* The send has consumed the error, and an armed multishot receive then misses at times that
	 * the peer has gone (Linux 6.18, once in 100,000 resets). This wakes it. */
	if (whi_unlikely(r == -ECONNRESET))
		end_stream(sock);
	return r;
}

static void end_send(struct wh_sock *sock)
{
	sock->sending = false;
	if (whi_unlikely(sock->closing))
		whi_sock_left(sock);
}

struct flush {
	struct whi_wait wait;
	struct wh_sock *sock;
};

static void flush_interrupted(struct whi_wait *wait)
{
	whi_container_of(wait, struct flush, wait)->sock->flusher = NULL;
	whi_task_wake(wait);
}

/* Wait until no view is pending. */
static whi_cold int flush_views(struct wh_sock *sock, void (*interrupt)(struct whi_wait *wait))
{
	struct flush flush = { { .what = "send", .interrupt = interrupt }, sock };
	struct whi_backend *backend = sock->loop->backend;

	while (whi_unlikely(sock->view_pending)) {
		int r = interrupt ? whi_task_check() : 0;

		if (r < 0)
			return r;
		sock->flusher = &flush.wait;
		backend->ops->hurry(backend);
		whi_task_suspend(&flush.wait);
	}
	return 0;
}

void whi_sock_drain_views(struct wh_sock *sock)
{
	flush_views(sock, NULL);
}

static int begin_send(struct wh_sock *sock)
{
	int r;

	if (whi_unlikely(sock->sending))
		return -EBUSY;
	sock->sending = true;
	if (whi_likely(!sock->view_pending && !sock->closing && !sock->send_error))
		return 0;
	r = flush_views(sock, flush_interrupted);
	if (r == 0 && whi_unlikely(sock->closing))
		r = -ECANCELED;
	if (r == 0)
		r = sock->send_error;
	if (whi_unlikely(r < 0))
		end_send(sock);
	return r;
}

ssize_t wh_sock_send(struct wh_sock *sock, const void *buf, size_t len)
{
	/* With MSG_WAITALL the kernel itself goes on after a short send. */
	struct whi_op op = { .kind = WHI_OP_SEND, .fd = sock->fd, .rw.flags = MSG_WAITALL };
	size_t sent = 0;
	ssize_t r = begin_send(sock);

	if (r < 0)
		return r;
	do {
		op.rw.buf = (char *)(uintptr_t)buf + sent;
		op.rw.len = len - sent;
		r = send_op(sock, &op);
		if (r < 0)
			break;
		sent += (size_t)r;
		/* Closing cancels an operation once: this one may have ended short of it. */
		if (whi_unlikely(sent < len && sock->closing))
			r = -ECANCELED;
	} while (whi_unlikely(r >= 0 && sent < len));
	end_send(sock);
	return r < 0 ? r : (ssize_t)len;
}

static void submit_view(struct wh_sock *sock, bool quiet)
{
	struct whi_backend *backend = sock->loop->backend;
	struct whi_op *op = &sock->view_op;

	op->state = WHI_OP_IDLE;
	op->quiet = quiet;
	op->rw.flags = MSG_WAITALL | (quiet ? MSG_DONTWAIT : 0);
	backend->ops->submit(backend, op);
	/* Its buffer is free as soon as it was tried, of which no completion tells. */
	if (quiet && whi_unlikely(whi_bufs_awaited(&sock->loop->bufs)))
		backend->ops->hurry(backend);
}

/* What a quiet send has left over goes the ordinary way, which waits for room. */
static bool send_rest(struct wh_sock *sock, const struct whi_op *op)
{
	size_t sent = op->result > 0 ? (size_t)op->result : 0;
	bool failed = op->result < 0 && op->result != -EINTR &&
		      !(op->quiet && op->result == -EAGAIN);

	sock->bytes_sent += sent;
	if (sent == op->rw.len || failed || sock->closing)
		return false;
	sock->view_op.rw.buf = (char *)op->rw.buf + sent;
	sock->view_op.rw.len -= sent;
	submit_view(sock, false);
	return true;
}

/* A view was lost, for want of memory say. The peer would wait for it, and our task for the peer:
 * end the connection, unless the kernel has told both already. */
static whi_cold void lose_view(struct wh_sock *sock, int error)
{
	sock->send_error = error;
	if (error != -EPIPE && !sock->closing)
		end_stream(sock);
}

/* Not all was sent. True: the rest is on its way. */
static whi_cold bool fell_short(struct wh_sock *sock, const struct whi_op *op)
{
	if (send_rest(sock, op))
		return true;
	if (op->result < 0)
		lose_view(sock, op->result);
	return false;
}

void whi_sock_view_sent(struct whi_op *op)
{
	struct wh_sock *sock = whi_container_of(op, struct wh_sock, view_op);
	struct whi_wait *flusher;

	if (whi_likely(op->result == (ssize_t)op->rw.len))
		sock->bytes_sent += op->rw.len;
	else if (fell_short(sock, op))
		return;
	sock->view_pending = false;
	whi_stream_give(sock->loop, sock->view_data, sock->view_buf);
	flusher = sock->flusher;
	if (flusher) {
		sock->flusher = NULL;
		whi_task_wake(flusher);
	}
}

ssize_t wh_sock_send_view(struct wh_sock *sock, struct wh_view *view)
{
	size_t len = view->len;
	int r = begin_send(sock);

	if (r < 0)
		return r;
	sock->view_pending = true;
	sock->view_buf = (uint16_t)view->buf;
	sock->view_data = view->data;
	sock->view_op.rw.buf = view->data;
	sock->view_op.rw.len = len;
	view->data = NULL;
	view->len = 0;
	submit_view(sock, true);
	end_send(sock);
	return (ssize_t)len;
}

int wh_sock_flush(struct wh_sock *sock)
{
	int r = begin_send(sock);

	if (r == 0)
		end_send(sock);
	return r;
}

ssize_t wh_sock_sendmsg(struct wh_sock *sock, const struct msghdr *msg, int flags)
{
	struct whi_op op = {
		.kind = WHI_OP_SENDMSG,
		.fd = sock->fd,
		.msg.msg = (struct msghdr *)(uintptr_t)msg,
		.msg.flags = flags,
	};
	ssize_t r = begin_send(sock);

	if (r < 0)
		return r;
	r = send_op(sock, &op);
	end_send(sock);
	return r;
}

uint64_t wh_sock_bytes_sent(const struct wh_sock *sock)
{
	return sock->bytes_sent;
}
