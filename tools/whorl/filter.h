/* The system calls that a server of sockets needs once it runs, and an end to all others. */
#pragma once

/*
 * Have the kernel answer every other system call of this process, of all its threads, with EPERM;
 * for good, and for what it might start. To be called when all loops run and all files are open.
 * Operations in a ring are not system calls: restrict those with restrict_ops of wh_run.
 *
 * 0; -ENOMEM; -ENOSYS, -EINVAL, -EACCES: the kernel has or allows no filters
 */
int filter_install(void);
