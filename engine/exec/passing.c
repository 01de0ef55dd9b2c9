/* Messages with descriptors over Unix sockets. */
#include "exec/passing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(WHI_PASSED_MAX * sizeof(int))];
};

static int pass(int sock, const struct iovec *iov, const int *fds, unsigned fd_count, int flags)
{
	union control control;
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = 1 };
	struct cmsghdr *head;
	ssize_t n;

	if (fd_count) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(head), fds, fd_count * sizeof(int));
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int whi_pass(int sock, const void *bytes, size_t len, const int *fds, unsigned fd_count)
{
	const struct iovec iov = { (void *)(uintptr_t)bytes, len };

	return pass(sock, &iov, fds, fd_count, 0);
}

int whi_pass_now(int sock, const void *bytes, size_t len, const int *fds, unsigned fd_count)
{
	const struct iovec iov = { (void *)(uintptr_t)bytes, len };

	return pass(sock, &iov, fds, fd_count, MSG_DONTWAIT);
}

/* The descriptors of `msg`. Its room is for WHI_PASSED_MAX, but that may be rounded up. */
static unsigned take_fds(struct msghdr *msg, int fds[WHI_PASSED_MAX])
{
	unsigned taken = 0;

	for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head; head = CMSG_NXTHDR(msg, head)) {
		size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
			if (taken < WHI_PASSED_MAX)
				fds[taken++] = fd;
			else
				close(fd);
		}
	}
	return taken;
}

static ssize_t receive(int sock, const struct iovec *iov, int fds[WHI_PASSED_MAX],
		       unsigned *fd_count, int flags)
{
	union control control;
	struct msghdr msg = {
		.msg_iov = (struct iovec *)(uintptr_t)iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	bool reset = false;
	ssize_t n;

	*fd_count = 0;
	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | flags);
		/* Whoever ends with messages unread leaves this error, which is told once, and
		 * before what it has sent. */
		if (n < 0 && errno == ECONNRESET && !reset) {
			reset = true;
			errno = EINTR;
		}
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0 && reset)
		return -ECONNRESET;
	*fd_count = take_fds(&msg, fds);
	if (!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return n;
	/* Cut off though there was room for more: there is no number for the next. */
	n = *fd_count < WHI_PASSED_MAX && !(msg.msg_flags & MSG_TRUNC) ? -EMFILE : -EPROTO;
	while (*fd_count)
		close(fds[--*fd_count]);
	return n;
}

ssize_t whi_accept_passed(int sock, void *bytes, size_t len, int fds[WHI_PASSED_MAX],
			  unsigned *fd_count)
{
	const struct iovec iov = { bytes, len };

	return receive(sock, &iov, fds, fd_count, 0);
}

ssize_t whi_accept_passed_now(int sock, void *bytes, size_t len, int fds[WHI_PASSED_MAX],
			      unsigned *fd_count)
{
	const struct iovec iov = { bytes, len };

	return receive(sock, &iov, fds, fd_count, MSG_DONTWAIT);
}
