/*
 * The table of the simulated kernel: a row an operation.
 */
#include "backend/sim_world.h"
#include "base/assert.h"

#define BIT(fault) (1u << WHI_FAULT_##fault)

/* clang-format off */
static const struct whi_sim_row rows[WHI_OP_MAX] = {
	[WHI_OP_NOP]         = { .now = whi_sim_nop_now },
	[WHI_OP_SOCKET]      = { .now = whi_sim_socket_now, .faults = BIT(ENOMEM) | BIT(EMFILE) },
	[WHI_OP_BIND]        = { .now = whi_sim_bind_now, .faults = BIT(ENOMEM) },
	[WHI_OP_LISTEN]      = { .now = whi_sim_listen_now },
	[WHI_OP_ACCEPT]      = { .begin = whi_sim_accept, .cancel = whi_sim_net_cancel,
				 .faults = BIT(EINTR) | BIT(ENOMEM) | BIT(EAGAIN) | BIT(STALL) },
	[WHI_OP_ACCEPT_MULTI] = { .begin = whi_sim_accept, .cancel = whi_sim_net_cancel,
				 .faults = BIT(EINTR) | BIT(ENOMEM) | BIT(EAGAIN) | BIT(STALL) },
	[WHI_OP_CONNECT]     = { .now = whi_sim_connect_now, .begin = whi_sim_connect,
				 .cancel = whi_sim_connect_cancel,
				 .faults = BIT(ENOMEM) | BIT(STALL) },
	[WHI_OP_RECV]        = { .begin = whi_sim_recv, .cancel = whi_sim_net_cancel,
				 .faults = BIT(EINTR) | BIT(ENOMEM) | BIT(STALL) },
	[WHI_OP_RECV_MULTI]  = { .begin = whi_sim_recv, .cancel = whi_sim_net_cancel,
				 .faults = BIT(EINTR) | BIT(ENOMEM) | BIT(STALL) },
	[WHI_OP_SEND]        = { .begin = whi_sim_send, .cancel = whi_sim_net_cancel,
				 .faults = BIT(EINTR) | BIT(ENOMEM) | BIT(STALL) },
	[WHI_OP_RECVMSG]     = { .begin = whi_sim_recv, .cancel = whi_sim_net_cancel,
				 .faults = BIT(EINTR) | BIT(ENOMEM) | BIT(STALL) },
	[WHI_OP_SENDMSG]     = { .begin = whi_sim_send, .cancel = whi_sim_net_cancel,
				 .faults = BIT(EINTR) | BIT(ENOMEM) | BIT(STALL) },
	[WHI_OP_SHUTDOWN]    = { .now = whi_sim_shutdown_now },
	[WHI_OP_CLOSE]       = { .now = whi_sim_close_now },
	[WHI_OP_OPENAT]      = { .begin = whi_sim_openat, .cancel = whi_sim_disk_cancel,
				 .faults = BIT(EINTR) | BIT(ENOMEM) | BIT(EMFILE) | BIT(STALL) },
	[WHI_OP_READ]        = { .begin = whi_sim_read, .cancel = whi_sim_disk_cancel,
				 .faults = BIT(EINTR) | BIT(STALL) },
	[WHI_OP_WRITE]       = { .begin = whi_sim_write, .cancel = whi_sim_disk_cancel,
				 .faults = BIT(EINTR) | BIT(STALL) },
	[WHI_OP_READV]       = { .begin = whi_sim_readv, .cancel = whi_sim_disk_cancel,
				 .faults = BIT(EINTR) | BIT(STALL) },
	[WHI_OP_WRITEV]      = { .begin = whi_sim_writev, .cancel = whi_sim_disk_cancel,
				 .faults = BIT(EINTR) | BIT(STALL) },
	[WHI_OP_FSYNC]       = { .begin = whi_sim_fsync, .cancel = whi_sim_disk_cancel,
				 .faults = BIT(EINTR) | BIT(STALL) },
	[WHI_OP_STATX]       = { .now = whi_sim_statx_now, .begin = whi_sim_statx,
				 .cancel = whi_sim_disk_cancel, .faults = BIT(ENOMEM) },
	[WHI_OP_FALLOCATE]   = { .begin = whi_sim_fallocate, .cancel = whi_sim_disk_cancel,
				 .faults = BIT(EINTR) },
	[WHI_OP_UNLINKAT]    = { .now = whi_sim_unlinkat_now, .begin = whi_sim_unlinkat,
				 .cancel = whi_sim_disk_cancel, .faults = BIT(ENOMEM) },
	[WHI_OP_RENAMEAT]    = { .begin = whi_sim_renameat, .cancel = whi_sim_disk_cancel,
				 .faults = BIT(ENOMEM) },
	[WHI_OP_MKDIRAT]     = { .begin = whi_sim_mkdirat, .cancel = whi_sim_disk_cancel,
				 .faults = BIT(ENOMEM) },
	[WHI_OP_TIMER]       = { .begin = whi_sim_timer },
	[WHI_OP_POLL]        = { .begin = whi_sim_poll, .cancel = whi_sim_poll_cancel,
				 .faults = BIT(EINTR) | BIT(ENOMEM) | BIT(STALL) },
	[WHI_OP_MESSAGE]     = { .begin = whi_sim_message },
	[WHI_OP_SETSOCKOPT]  = { .now = whi_sim_setsockopt_now },
	[WHI_OP_GETSOCKOPT]  = { .now = whi_sim_getsockopt_now },
	[WHI_OP_GETSOCKNAME] = { .now = whi_sim_getsockname_now },
	[WHI_OP_SEEK]        = { .now = whi_sim_seek_now },
	[WHI_OP_ADOPT]       = { .now = whi_sim_adopt_now },
	[WHI_OP_PIDFD_OPEN]  = { .now = whi_sim_pidfd_open_now },
	[WHI_OP_WAITID]      = { .now = whi_sim_waitid_now },
};
/* clang-format on */

const struct whi_sim_row *whi_sim_row(unsigned kind)
{
	whi_assert(kind < WHI_OP_MAX && (rows[kind].now || rows[kind].begin));
	return &rows[kind];
}
