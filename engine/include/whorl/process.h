/*
 * Child processes.
 */
#ifndef WHORL_PROCESS_H
#define WHORL_PROCESS_H

#include <whorl/api.h>

/**
 * Wait until the child process `pid` has ended, and collect its status.
 *
 * Suspends   the calling task until then, cancellation or its deadline.
 * Returns    0, with the status in `*ret_status` (may be NULL), which is for WIFEXITED and the
 *            other macros of wait(2). The process number is free for others from now on.
 * Errors     -ECHILD    it is no child of this process, or was collected by somebody else
 *            -ESRCH     there is no such process
 *            -EINVAL    `pid` is not above 0
 *            -ECANCELED, -ETIMEDOUT   it goes on, and can be waited for again
 *            -EMFILE, -ENFILE, -ENOMEM and others, as pidfd_open(2) and waitid(2), or of waiting
 *            as wh_fd_poll
 *            -ENOSYS    the kernel is older than Linux 5.4
 * Context    a task. One at a time for each child.
 */
WH_API int wh_process_wait(pid_t pid, int *ret_status);

#endif
