/* The functions that rows of the op table are made of, a family a file. */
#pragma once

#include "op/op.h"

typedef void whi_prep_fn(const struct whi_op *op, struct io_uring_sqe *sqe);
typedef int whi_attempt_fn(const struct whi_op *op);

/* net.c */
whi_prep_fn whi_socket_prep, whi_bind_prep, whi_listen_prep, whi_accept_prep, whi_accept_multi_prep,
	whi_connect_prep, whi_recv_prep, whi_recv_multi_prep, whi_send_prep, whi_recvmsg_prep,
	whi_sendmsg_prep, whi_shutdown_prep, whi_close_prep;
whi_attempt_fn whi_socket_attempt, whi_bind_attempt, whi_listen_attempt, whi_connect_attempt,
	whi_shutdown_attempt, whi_close_attempt, whi_accept_attempt, whi_accept_multi_attempt,
	whi_recv_attempt, whi_send_attempt, whi_recvmsg_attempt, whi_sendmsg_attempt;

/* sockopt.c */
whi_attempt_fn whi_setsockopt_attempt, whi_getsockopt_attempt, whi_getsockname_attempt;

/* file.c */
whi_prep_fn whi_openat_prep, whi_read_prep, whi_write_prep, whi_readv_prep, whi_writev_prep,
	whi_fsync_prep, whi_statx_prep, whi_fallocate_prep, whi_unlinkat_prep, whi_renameat_prep,
	whi_mkdirat_prep;
whi_attempt_fn whi_statx_attempt, whi_unlinkat_attempt, whi_seek_attempt, whi_adopt_attempt,
	whi_read_attempt, whi_write_attempt, whi_readv_attempt, whi_writev_attempt;
whi_attempt_fn whi_openat_work, whi_read_work, whi_write_work, whi_readv_work, whi_writev_work,
	whi_fsync_work, whi_fallocate_work, whi_renameat_work, whi_mkdirat_work;

/* process.c */
whi_attempt_fn whi_pidfd_open_attempt, whi_waitid_attempt;

/* nop.c, timer.c, poll.c, message.c */
whi_prep_fn whi_nop_prep, whi_timer_prep, whi_poll_prep, whi_message_prep;
whi_attempt_fn whi_poll_attempt;

/* iov.c: up to `max` of what is left of `iov` after its first `skip` bytes. Returns how many. */
unsigned whi_iov_rest(const struct iovec *iov, unsigned count, size_t skip, struct iovec *ret,
		      unsigned max);
size_t whi_iov_bytes(const struct iovec *iov, unsigned count);
