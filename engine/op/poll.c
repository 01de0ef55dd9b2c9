/* Readiness of a descriptor that the engine does not read or write itself. */
#include <errno.h>
#include <liburing.h>
#include <poll.h>

#include "op/families.h"

void whi_poll_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_poll_add(sqe, op->fd, (unsigned)op->arg.value);
}

int whi_poll_attempt(const struct whi_op *op)
{
	struct pollfd fd = { .fd = op->fd, .events = (short)op->arg.value };
	int r = op->fd < 0 ? 0 : poll(&fd, 1, 0);

	if (r < 0)
		return -errno;
	if (op->fd < 0 || fd.revents & POLLNVAL)
		return -EBADF;
	return r ? fd.revents : -EAGAIN;
}
