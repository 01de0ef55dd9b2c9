/*
 * Sockets for tasks: making, receiving, closing. Sending is in sock_send.c.
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
	sock->view_op =
		(struct whi_op){ .kind = WHI_OP_SEND, .fd = fd, .done = whi_sock_view_sent };
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

void whi_sock_left(struct wh_sock *sock)
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
		whi_sock_left(sock);
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
	whi_sock_drain_views(sock);
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
