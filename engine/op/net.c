/*
 * Operations on sockets.
 */
#include <errno.h>
#include <liburing.h>
#include <unistd.h>

#include "op/families.h"

/* As the kernel's limit for one transfer; whoever wants to send more goes on. */
enum { MAX_RW = 0x7ffff000 };

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
