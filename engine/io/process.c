/*
 * Child processes for tasks, through a descriptor that is ready once the process has ended.
 */
#include <errno.h>
#include <poll.h>
#include <sys/wait.h>
#include <whorl/process.h>

#include "loop/loop.h"

/* As wait(2) packs it. */
static int status_of(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED)
		return (info->si_status & 0xff) << 8;
	return info->si_status | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

static int collect(int pidfd, int *ret_status)
{
	siginfo_t info = { 0 };
	struct whi_op op = { .kind = WHI_OP_WAITID, .fd = pidfd, .wait.info = &info };
	int r = whi_perform(&op);

	if (r == 0 && ret_status)
		*ret_status = status_of(&info);
	return r;
}

int wh_process_wait(pid_t pid, int *ret_status)
{
	struct whi_op open = { .kind = WHI_OP_PIDFD_OPEN, .arg.value = pid };
	int fd, r = whi_task_check();

	if (r < 0)
		return r;
	fd = whi_perform(&open);
	if (fd < 0)
		return fd;
	/* First of all this tells whose child it is: anybody's end can be waited for. */
	while ((r = collect(fd, ret_status)) == -EAGAIN) {
		r = whi_poll(fd, POLLIN);
		if (r < 0)
			break;
	}
	whi_close(fd);
	return r;
}
