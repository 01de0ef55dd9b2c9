/*
 * The op table, and the one function that changes an operation's state.
 */
#include "op/op.h"

#include <errno.h>
#include <liburing/io_uring.h>
#include <poll.h>

#include "base/assert.h"
#include "op/families.h"

/* clang-format off */
const struct whi_opdef whi_opdefs[WHI_OP_MAX] = {
	[WHI_OP_NOP] = {
		.name		= "nop",
		.opcode		= IORING_OP_NOP,
		.prep		= whi_nop_prep,
	},
	[WHI_OP_SOCKET] = {
		.name		= "socket",
		.instant	= true,
		.makes_fd	= true,
		.opcode		= IORING_OP_SOCKET,
		.prep		= whi_socket_prep,
		.attempt	= whi_socket_attempt,
	},
	[WHI_OP_BIND] = {
		.name		= "bind",
		.instant	= true,
		.needs_fd	= true,
		.opcode		= IORING_OP_BIND,
		.prep		= whi_bind_prep,
		.attempt	= whi_bind_attempt,
	},
	[WHI_OP_LISTEN] = {
		.name		= "listen",
		.instant	= true,
		.needs_fd	= true,
		.opcode		= IORING_OP_LISTEN,
		.prep		= whi_listen_prep,
		.attempt	= whi_listen_attempt,
	},
	[WHI_OP_ACCEPT] = {
		.name		= "accept",
		.needs_fd	= true,
		.cancellable	= true,
		.makes_fd	= true,
		.opcode		= IORING_OP_ACCEPT,
		.prep		= whi_accept_prep,
		.ready		= POLLIN,
		.attempt	= whi_accept_attempt,
	},
	[WHI_OP_ACCEPT_MULTI] = {
		.name		= "accept multishot",
		.needs_fd	= true,
		.cancellable	= true,
		.multishot	= true,
		.makes_fd	= true,
		.opcode		= IORING_OP_ACCEPT,
		.prep		= whi_accept_multi_prep,
		.ready		= POLLIN,
		.attempt	= whi_accept_multi_attempt,
	},
	[WHI_OP_CONNECT] = {
		.name		= "connect",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_CONNECT,
		.prep		= whi_connect_prep,
		.attempt	= whi_connect_attempt,
		.ready		= POLLOUT,
	},
	[WHI_OP_RECV] = {
		.name		= "recv",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_RECV,
		.prep		= whi_recv_prep,
		.ready		= POLLIN,
		.attempt	= whi_recv_attempt,
	},
	[WHI_OP_RECV_MULTI] = {
		.name		= "recv multishot",
		.needs_fd	= true,
		.cancellable	= true,
		.multishot	= true,
		.opcode		= IORING_OP_RECV,
		.prep		= whi_recv_multi_prep,
		.ready		= POLLIN,
	},
	[WHI_OP_SEND] = {
		.name		= "send",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_SEND,
		.prep		= whi_send_prep,
		.ready		= POLLOUT,
		.attempt	= whi_send_attempt,
	},
	[WHI_OP_RECVMSG] = {
		.name		= "recvmsg",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_RECVMSG,
		.prep		= whi_recvmsg_prep,
		.ready		= POLLIN,
		.attempt	= whi_recvmsg_attempt,
	},
	[WHI_OP_SENDMSG] = {
		.name		= "sendmsg",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_SENDMSG,
		.prep		= whi_sendmsg_prep,
		.ready		= POLLOUT,
		.attempt	= whi_sendmsg_attempt,
	},
	[WHI_OP_SHUTDOWN] = {
		.name		= "shutdown",
		.instant	= true,
		.needs_fd	= true,
		.opcode		= IORING_OP_SHUTDOWN,
		.prep		= whi_shutdown_prep,
		.attempt	= whi_shutdown_attempt,
	},
	[WHI_OP_CLOSE] = {
		.name		= "close",
		.instant	= true,
		.needs_fd	= true,
		.opcode		= IORING_OP_CLOSE,
		.prep		= whi_close_prep,
		.attempt	= whi_close_attempt,
	},
	[WHI_OP_OPENAT] = {
		.name		= "openat",
		.cancellable	= true,
		.makes_fd	= true,
		.opcode		= IORING_OP_OPENAT,
		.prep		= whi_openat_prep,
		.work		= whi_openat_work,
	},
	[WHI_OP_READ] = {
		.name		= "read",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_READ,
		.prep		= whi_read_prep,
		.ready		= POLLIN,
		.attempt	= whi_read_attempt,
		.work		= whi_read_work,
	},
	[WHI_OP_WRITE] = {
		.name		= "write",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_WRITE,
		.prep		= whi_write_prep,
		.ready		= POLLOUT,
		.attempt	= whi_write_attempt,
		.work		= whi_write_work,
	},
	[WHI_OP_READV] = {
		.name		= "readv",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_READV,
		.prep		= whi_readv_prep,
		.ready		= POLLIN,
		.attempt	= whi_readv_attempt,
		.work		= whi_readv_work,
	},
	[WHI_OP_WRITEV] = {
		.name		= "writev",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_WRITEV,
		.prep		= whi_writev_prep,
		.ready		= POLLOUT,
		.attempt	= whi_writev_attempt,
		.work		= whi_writev_work,
	},
	[WHI_OP_FSYNC] = {
		.name		= "fsync",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_FSYNC,
		.prep		= whi_fsync_prep,
		.work		= whi_fsync_work,
	},
	[WHI_OP_STATX] = {
		.name		= "statx",
		.cancellable	= true,
		.opcode		= IORING_OP_STATX,
		.prep		= whi_statx_prep,
		.attempt	= whi_statx_attempt,
		.work		= whi_statx_attempt,
	},
	[WHI_OP_FALLOCATE] = {
		.name		= "fallocate",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_FALLOCATE,
		.prep		= whi_fallocate_prep,
		.work		= whi_fallocate_work,
	},
	[WHI_OP_UNLINKAT] = {
		.name		= "unlinkat",
		.cancellable	= true,
		.opcode		= IORING_OP_UNLINKAT,
		.prep		= whi_unlinkat_prep,
		.attempt	= whi_unlinkat_attempt,
		.work		= whi_unlinkat_attempt,
	},
	[WHI_OP_RENAMEAT] = {
		.name		= "renameat",
		.cancellable	= true,
		.opcode		= IORING_OP_RENAMEAT,
		.prep		= whi_renameat_prep,
		.work		= whi_renameat_work,
	},
	[WHI_OP_MKDIRAT] = {
		.name		= "mkdirat",
		.cancellable	= true,
		.opcode		= IORING_OP_MKDIRAT,
		.prep		= whi_mkdirat_prep,
		.work		= whi_mkdirat_work,
	},
	[WHI_OP_TIMER] = {
		.name		= "timer",
		.cancellable	= true,
		.opcode		= IORING_OP_TIMEOUT,
		.prep		= whi_timer_prep,
	},
	[WHI_OP_POLL] = {
		.name		= "poll",
		.needs_fd	= true,
		.cancellable	= true,
		.opcode		= IORING_OP_POLL_ADD,
		.prep		= whi_poll_prep,
		.ready		= POLLIN | POLLOUT | POLLPRI,
		.attempt	= whi_poll_attempt,
	},
	[WHI_OP_MESSAGE] = {
		.name		= "message",
		.needs_fd	= true,
		.opcode		= IORING_OP_MSG_RING,
		.prep		= whi_message_prep,
	},
	[WHI_OP_SETSOCKOPT] = {
		.name		= "setsockopt",
		.instant	= true,
		.needs_fd	= true,
		.attempt	= whi_setsockopt_attempt,
	},
	[WHI_OP_GETSOCKOPT] = {
		.name		= "getsockopt",
		.instant	= true,
		.needs_fd	= true,
		.attempt	= whi_getsockopt_attempt,
	},
	[WHI_OP_GETSOCKNAME] = {
		.name		= "getsockname",
		.instant	= true,
		.needs_fd	= true,
		.attempt	= whi_getsockname_attempt,
	},
	[WHI_OP_SEEK] = {
		.name		= "seek",
		.instant	= true,
		.needs_fd	= true,
		.attempt	= whi_seek_attempt,
	},
	[WHI_OP_ADOPT] = {
		.name		= "adopt",
		.instant	= true,
		.needs_fd	= true,
		.attempt	= whi_adopt_attempt,
	},
	[WHI_OP_PIDFD_OPEN] = {
		.name		= "pidfd_open",
		.instant	= true,
		.makes_fd	= true,
		.attempt	= whi_pidfd_open_attempt,
	},
	[WHI_OP_WAITID] = {
		.name		= "waitid",
		.instant	= true,
		.needs_fd	= true,
		.attempt	= whi_waitid_attempt,
	},
};

/* Row: the state we are in. Bit: a state we may enter. */
static const uint8_t allowed[] = {
	[WHI_OP_IDLE]       = 1u << WHI_OP_QUEUED,
	[WHI_OP_QUEUED]     = 1u << WHI_OP_INFLIGHT | 1u << WHI_OP_DONE,
	[WHI_OP_INFLIGHT]   = 1u << WHI_OP_CANCELLING | 1u << WHI_OP_DONE,
	[WHI_OP_CANCELLING] = 1u << WHI_OP_DONE,
	[WHI_OP_DONE]       = 1u << WHI_OP_IDLE,
};

/* clang-format on */

void whi_op_enter(struct whi_op *op, enum whi_op_state state)
{
	whi_assert(allowed[op->state] & 1u << state);
	op->state = (uint8_t)state;
}

int whi_op_attempt(const struct whi_op *op)
{
	const struct whi_opdef *def = &whi_opdefs[op->kind];

	return def->attempt ? def->attempt(op) : -EOPNOTSUPP;
}

void whi_op_complete(struct whi_op *op, int32_t result, unsigned flags)
{
	op->result = result;
	op->flags = (uint8_t)flags;
	if (!(flags & WHI_OP_MORE))
		whi_op_enter(op, WHI_OP_DONE);
	op->done(op);
}
