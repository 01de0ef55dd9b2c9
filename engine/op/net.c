/*
 * Operations on sockets.
 */
#include <errno.h>
#include <liburing.h>
#include <unistd.h>

#include "op/families.h"

/* As the kernel's limit for one transfer; whoever wants to send more goes on. */
enum { MAX_RW = 0x7ffff000 };

/* Parts of a message that is continued; more of them go with the next attempt. */
enum { REST_MAX = 64 };

static int sys(int r)
{
	return r < 0 ? -errno : r;
}

void whi_socket_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_socket(sqe, op->socket.domain, op->socket.type, op->socket.protocol, 0);
}

int whi_socket_attempt(const struct whi_op *op)
{
	return sys(socket(op->socket.domain, op->socket.type, op->socket.protocol));
}

void whi_bind_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_bind(sqe, op->fd, op->addr.addr, op->addr.len);
}

int whi_bind_attempt(const struct whi_op *op)
{
	return sys(bind(op->fd, op->addr.addr, op->addr.len));
}

void whi_listen_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_listen(sqe, op->fd, op->arg.value);
}

int whi_listen_attempt(const struct whi_op *op)
{
	return sys(listen(op->fd, op->arg.value));
}

void whi_accept_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_accept(sqe, op->fd, op->addr.addr, op->addr.len_ptr, op->addr.flags);
}

void whi_accept_multi_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	/* No address: the kernel would write all of them to one place. */
	io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, op->addr.flags);
}

void whi_connect_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_connect(sqe, op->fd, op->addr.addr, op->addr.len);
}

int whi_connect_attempt(const struct whi_op *op)
{
	return sys(connect(op->fd, op->addr.addr, op->addr.len));
}

void whi_recv_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	size_t len = op->rw.len < MAX_RW ? op->rw.len : MAX_RW;

	io_uring_prep_recv(sqe, op->fd, op->rw.buf, len, op->rw.flags);
}

void whi_recv_multi_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	if (op->once)
		io_uring_prep_recv(sqe, op->fd, NULL, 0, op->rw.flags);
	else
		io_uring_prep_recv_multishot(sqe, op->fd, NULL, 0, op->rw.flags);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = 0;
}

void whi_send_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	size_t len = op->rw.len < MAX_RW ? op->rw.len : MAX_RW;

	io_uring_prep_send(sqe, op->fd, op->rw.buf, len, op->rw.flags | MSG_NOSIGNAL);
}

void whi_recvmsg_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_recvmsg(sqe, op->fd, op->msg.msg, (unsigned)op->msg.flags);
}

void whi_sendmsg_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_sendmsg(sqe, op->fd, op->msg.msg, (unsigned)op->msg.flags | MSG_NOSIGNAL);
}

void whi_shutdown_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_shutdown(sqe, op->fd, op->arg.value);
}

int whi_shutdown_attempt(const struct whi_op *op)
{
	return sys(shutdown(op->fd, op->arg.value));
}

void whi_close_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_close(sqe, op->fd);
}

int whi_close_attempt(const struct whi_op *op)
{
	return sys(close(op->fd));
}

/* Attempts never wait, whatever mode the socket is in; but accept and connect know no flag for
 * that: there the socket must not block. */

int whi_accept_attempt(const struct whi_op *op)
{
	return sys(accept4(op->fd, op->addr.addr, op->addr.len_ptr, op->addr.flags));
}

int whi_accept_multi_attempt(const struct whi_op *op)
{
	return sys(accept4(op->fd, NULL, NULL, op->addr.flags));
}

int whi_recv_attempt(const struct whi_op *op)
{
	size_t len = (op->rw.len < MAX_RW ? op->rw.len : MAX_RW) - op->moved;

	return sys((int)recv(op->fd, (char *)op->rw.buf + op->moved, len,
			     op->rw.flags | MSG_DONTWAIT));
}

int whi_send_attempt(const struct whi_op *op)
{
	size_t len = (op->rw.len < MAX_RW ? op->rw.len : MAX_RW) - op->moved;

	return sys((int)send(op->fd, (const char *)op->rw.buf + op->moved, len,
			     op->rw.flags | MSG_DONTWAIT | MSG_NOSIGNAL));
}

int whi_recvmsg_attempt(const struct whi_op *op)
{
	int flags = op->msg.flags | MSG_DONTWAIT;
	struct iovec rest[REST_MAX];
	struct msghdr msg;

	if (!op->moved)
		return sys((int)recvmsg(op->fd, op->msg.msg, flags));
	msg = (struct msghdr){ .msg_iov = rest };
	msg.msg_iovlen = whi_iov_rest(op->msg.msg->msg_iov, (unsigned)op->msg.msg->msg_iovlen,
				      op->moved, rest, REST_MAX);
	return sys((int)recvmsg(op->fd, &msg, flags));
}

int whi_sendmsg_attempt(const struct whi_op *op)
{
	int flags = op->msg.flags | MSG_DONTWAIT | MSG_NOSIGNAL;
	struct iovec rest[REST_MAX];
	struct msghdr msg;

	if (!op->moved)
		return sys((int)sendmsg(op->fd, op->msg.msg, flags));
	/* Control messages went with the first part. */
	msg = (struct msghdr){ .msg_iov = rest };
	msg.msg_iovlen = whi_iov_rest(op->msg.msg->msg_iov, (unsigned)op->msg.msg->msg_iovlen,
				      op->moved, rest, REST_MAX);
	return sys((int)sendmsg(op->fd, &msg, flags));
}
