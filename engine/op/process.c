/* Child processes, through descriptors for them: ready to read once the process has ended. */
#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "op/families.h"

/* glibc knows it from 2.37 on. */
enum { ID_PIDFD = 3 };

int whi_pidfd_open_attempt(const struct whi_op *op)
{
	int fd = (int)syscall(SYS_pidfd_open, op->arg.value, 0);

	return fd < 0 ? -errno : fd;
}

int whi_waitid_attempt(const struct whi_op *op)
{
	op->wait.info->si_pid = 0;
	if (waitid((idtype_t)ID_PIDFD, (id_t)op->fd, op->wait.info, WEXITED | WNOHANG) < 0)
		return -errno;
	return op->wait.info->si_pid ? 0 : -EAGAIN;
}
