/* Messages with descriptors over Unix sockets that keep their boundaries. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

enum { WHI_PASSED_MAX = 4 };

/* Send `len` bytes and `fd_count` descriptors; MSG_DONTWAIT in `flags` if the sender is not to
 * wait. 0 or -errno. */
int whi_pass(int sock, const void *bytes, size_t len, const int *fds, unsigned fd_count);
int whi_pass_now(int sock, const void *bytes, size_t len, const int *fds, unsigned fd_count);

/* Receive up to `len` bytes, and descriptors into `fds`: exactly as many as came in `*fd_count`,
 * at most WHI_PASSED_MAX. Bytes received, 0 at the end, or -errno; -EMFILE: `bytes` are there, but
 * there was no room for the descriptors; -EPROTO for a message that was cut off. The descriptors of
 * either are closed. whi_accept_passed_now: -EAGAIN if nothing is there. */
ssize_t whi_accept_passed(int sock, void *bytes, size_t len, int fds[WHI_PASSED_MAX],
			  unsigned *fd_count);
ssize_t whi_accept_passed_now(int sock, void *bytes, size_t len, int fds[WHI_PASSED_MAX],
			      unsigned *fd_count);
