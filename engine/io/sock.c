/*
 * Sockets for tasks.
 *
 * Invariants
 * 1. At most one task receives and one sends at a time; `recv_op` and `send_op` are what they
 *    wait for, so that closing can end it.
 * 2. The descriptor is closed when no operation on it is left: the number may be reused at once,
 *    and a receive that outlived its close would take bytes from the next owner.
 */
#include "io/sock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/assert.h"

static void view_sent(struct whi_op *op);

struct wh_sock *whi_sock_new(int fd)
{
	struct wh_sock *sock = whi_alloc(sizeof(*sock));

	if (!sock)
		return NULL;
	sock->fd = fd;
	sock->closing = false;
	sock->receiving = false;
	sock->sending = false;
	sock->loop = whi_loop_self();
	sock->recv_op = NULL;
	sock->send_op = NULL;
	sock->closer = NULL;
	sock->bytes_sent = 0;
	sock->view_op = (struct whi_op){ .kind = WHI_OP_SEND, .fd = fd, .done = view_sent };
	sock->view_pending = false;
	sock->send_error = 0;
	sock->flusher = NULL;
	sock->server = NULL;
	whi_list_init(&sock->link);
	whi_stream_init(&sock->stream, sock->loop, fd);
	return sock;
}

void whi_sock_discard(struct wh_sock *sock)
{
	whi_close(sock->fd);
	whi_free(sock);
}

int whi_sock_get(int fd, int name, int *ret)
{
	struct whi_op op = {
		.kind = WHI_OP_GETSOCKOPT,
		.fd = fd,
		.option = { SOL_SOCKET, name, ret },
	};

	return whi_perform(&op);
}

int whi_sock_set(int fd, int level, int name, int value)
{
	struct whi_op op = {
		.kind = WHI_OP_SETSOCKOPT,
		.fd = fd,
		.option = { level, name, &value },
	};

	return whi_perform(&op);
}

int wh_sock_from_fd(int fd, struct wh_sock **ret)
{
	int type;
	int r = whi_sock_get(fd, SO_TYPE, &type);

	if (r == 0)
		r = whi_perform(&(struct whi_op){ .kind = WHI_OP_ADOPT, .fd = fd });
	if (r < 0)
		return r;
	*ret = whi_sock_new(fd);
	return *ret ? 0 : -ENOMEM;
}

static int connect_fd(int fd, const struct wh_addr *addr)
{
	struct whi_op op = {
		.kind = WHI_OP_CONNECT,
		.fd = fd,
		.addr.addr = (struct sockaddr *)(uintptr_t)&addr->storage,
		.addr.len = addr->len,
	};

	if (addr->storage.ss_family != AF_UNIX)
		whi_sock_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return whi_await(&op);
}

int wh_connect(const struct wh_addr *addr, struct wh_sock **ret)
{
	struct whi_op op = {
		.kind = WHI_OP_SOCKET,
		.socket.domain = addr->storage.ss_family,
		.socket.type = SOCK_STREAM | SOCK_CLOEXEC,
	};
	struct wh_sock *sock;
	int fd = whi_await(&op);
	int r;

	if (fd < 0)
		return fd;
	sock = whi_sock_new(fd);
	if (!sock) {
		whi_close(fd);
		return -ENOMEM;
	}
	r = connect_fd(fd, addr);
	if (r < 0) {
		whi_sock_discard(sock);
		return r;
	}
	*ret = sock;
	return 0;
}

int wh_sock_fd(const struct wh_sock *sock)
{
	return sock->fd;
}

static void left(struct wh_sock *sock)
{
	struct whi_wait *closer = sock->closer;

	if (!closer || sock->receiving || sock->sending)
		return;
	sock->closer = NULL;
	whi_task_wake(closer);
}

/* Receiving */

static int begin_recv(struct wh_sock *sock)
{
	if (whi_unlikely(sock->receiving))
		return -EBUSY;
	if (whi_unlikely(sock->closing))
		return -ECANCELED;
	sock->receiving = true;
	return 0;
}

static void end_recv(struct wh_sock *sock)
{
	sock->receiving = false;
	if (whi_unlikely(sock->closing))
		left(sock);
}

/* Wait for more on the stream, unless the socket is being closed meanwhile. */
static int wait_stream(struct wh_sock *sock)
{
	int r = whi_stream_wait(&sock->stream);

	return r == 0 && sock->closing ? -ECANCELED : r;
}

static ssize_t recv_op(struct wh_sock *sock, struct whi_op *op)
{
	ssize_t r = begin_recv(sock);

	if (r < 0)
		return r;
	sock->recv_op = op;
	r = whi_await(op);
	sock->recv_op = NULL;
	end_recv(sock);
	return r;
}

static ssize_t recv_copy(struct wh_sock *sock, void *buf, size_t len)
{
	ssize_t r = begin_recv(sock);

	if (r < 0)
		return r;
	while ((r = whi_stream_copy(&sock->stream, buf, len)) == -EAGAIN) {
		r = wait_stream(sock);
		if (r < 0)
			break;
	}
	end_recv(sock);
	return r;
}

ssize_t wh_sock_recv(struct wh_sock *sock, void *buf, size_t len)
{
	struct whi_op op = {
		.kind = WHI_OP_RECV,
		.fd = sock->fd,
		.rw.buf = buf,
		.rw.len = len,
	};

	/* Once a stream was armed, bytes may have left the socket for the stream. */
	return sock->stream.started ? recv_copy(sock, buf, len) : recv_op(sock, &op);
}

ssize_t wh_sock_try_recv_view(struct wh_sock *sock, struct wh_view *ret)
{
	uint16_t index = 0;
	void *data;
	ssize_t r = whi_stream_take(&sock->stream, &data, &index);

	if (r > 0)
		*ret = (struct wh_view){ .data = data, .len = (size_t)r, .buf = index };
	return r;
}

ssize_t wh_sock_recv_view(struct wh_sock *sock, struct wh_view *ret)
{
	ssize_t r = begin_recv(sock);

	if (r < 0)
		return r;
	while ((r = wh_sock_try_recv_view(sock, ret)) == -EAGAIN) {
		r = wait_stream(sock);
		if (r < 0)
			break;
	}
	end_recv(sock);
	return r;
}

void wh_view_release(struct wh_view *view)
{
	if (!view->data)
		return;
	whi_stream_give(whi_loop_self(), view->data, (uint16_t)view->buf);
	view->data = NULL;
	view->len = 0;
}

ssize_t wh_sock_recvmsg(struct wh_sock *sock, struct msghdr *msg, int flags)
{
	struct whi_op op = {
		.kind = WHI_OP_RECVMSG,
		.fd = sock->fd,
		.msg.msg = msg,
		.msg.flags = flags,
	};

	/* It would overtake what the stream has taken out of the socket. */
	return sock->stream.started ? -EINVAL : recv_op(sock, &op);
}

/* Sending */

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
		left(sock);
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

static void view_sent(struct whi_op *op)
{
	struct wh_sock *sock = whi_container_of(op, struct wh_sock, view_op);
	struct whi_wait *flusher = sock->flusher;

	if (send_rest(sock, op))
		return;
	if (whi_unlikely(op->result < 0))
		lose_view(sock, op->result);
	sock->view_pending = false;
	whi_stream_give(sock->loop, sock->view_data, sock->view_buf);
	sock->flusher = NULL;
	if (flusher)
		whi_task_wake(flusher);
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

/* The end */

int wh_sock_shutdown(struct wh_sock *sock, int how)
{
	struct whi_op op = { .kind = WHI_OP_SHUTDOWN, .fd = sock->fd, .arg.value = how };

	if (how != SHUT_RD)
		wh_sock_flush(sock);
	return whi_await_shielded(&op);
}

static void end_users(struct wh_sock *sock)
{
	const struct whi_backend_ops *ops = sock->loop->backend->ops;
	struct whi_wait wait = { .what = "users of a socket" };

	if (sock->recv_op)
		ops->cancel(sock->loop->backend, sock->recv_op);
	if (sock->send_op)
		ops->cancel(sock->loop->backend, sock->send_op);
	if (sock->view_pending && !sock->view_op.quiet)
		ops->cancel(sock->loop->backend, &sock->view_op);
	whi_stream_leave(&sock->stream);
	if (sock->receiving || sock->sending) {
		sock->closer = &wait;
		whi_task_suspend(&wait);
	}
	flush_views(sock, NULL);
}

void wh_sock_close(struct wh_sock *sock)
{
	struct whi_op op = { .kind = WHI_OP_CLOSE, .fd = sock->fd };

	whi_assert(!sock->closing);
	sock->closing = true;
	end_users(sock);
	whi_stream_stop(&sock->stream);
	whi_await_shielded(&op);
	whi_free(sock);
}

int wh_fd_poll(int fd, short events)
{
	return whi_poll(fd, events);
}
