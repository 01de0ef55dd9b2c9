/* A completion in another ring: `value` and `data` arrive there as result and user_data. */
#include <liburing.h>

#include "op/families.h"

void whi_message_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_msg_ring(sqe, op->fd, op->message.value, op->message.data, 0);
}
