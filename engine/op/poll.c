/* Readiness of a descriptor that the engine does not read or write itself. */
#include <liburing.h>

#include "op/families.h"

void whi_poll_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_poll_add(sqe, op->fd, (unsigned)op->arg.value);
}
