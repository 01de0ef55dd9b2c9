/* A timer of the kernel's. Deadlines do not use it: the loop's wheel costs a hundredth. It is for
 * who needs the kernel to keep time while the loop is turned from outside. Result: -ETIME. */
#include <liburing.h>

#include "op/families.h"

_Static_assert(sizeof(((struct whi_op *)0)->timer.at) == sizeof(struct __kernel_timespec),
	       "timer.at must be a struct __kernel_timespec");

void whi_timer_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	struct __kernel_timespec *at = (struct __kernel_timespec *)(uintptr_t)&op->timer.at;

	io_uring_prep_timeout(sqe, at, 0, IORING_TIMEOUT_ABS);
}
