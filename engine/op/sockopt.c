/* Socket options that are integers, and a socket's own address. */
#include <errno.h>

#include "op/families.h"

static int sys(int r)
{
	return r < 0 ? -errno : r;
}

int whi_setsockopt_attempt(const struct whi_op *op)
{
	return sys(setsockopt(op->fd, op->option.level, op->option.name, op->option.value_ptr,
			      sizeof(*op->option.value_ptr)));
}

int whi_getsockopt_attempt(const struct whi_op *op)
{
	socklen_t len = sizeof(*op->option.value_ptr);

	return sys(
		getsockopt(op->fd, op->option.level, op->option.name, op->option.value_ptr, &len));
}

int whi_getsockname_attempt(const struct whi_op *op)
{
	return sys(getsockname(op->fd, op->addr.addr, op->addr.len_ptr));
}
