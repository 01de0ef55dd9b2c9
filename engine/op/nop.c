/* The operation that does nothing: what a round trip costs. */
#include <liburing.h>

#include "op/families.h"

void whi_nop_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	(void)op;
	io_uring_prep_nop(sqe);
}
