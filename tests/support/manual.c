#include "support/manual.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "op/op.h"

struct row {
	const char *name;
	const char *text;
};

/*
 * The manual pages, section ERRORS, with what the kernel returns besides: errors that a network
 * left pending on a socket come out of whatever is done next on it. Not here: EINPROGRESS and
 * EALREADY of sockets that do not block, which are a backend's own business.
 */
static const struct row pages[] = {
	{ "socket(2)", "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT" },
	{ "bind(2)", "EACCES EADDRINUSE EBADF EINVAL ENOTSOCK EADDRNOTAVAIL EFAULT ELOOP "
		     "ENAMETOOLONG ENOENT ENOMEM ENOTDIR EROFS" },
	{ "listen(2)", "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP" },
	{ "accept(2)", "EAGAIN EBADF ECONNABORTED EFAULT EINTR EINVAL EMFILE ENFILE ENOBUFS ENOMEM "
		       "ENOTSOCK EOPNOTSUPP EPERM EPROTO ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET "
		       "EHOSTUNREACH ENETUNREACH" },
	{ "connect(2)", "EACCES EPERM EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EBADF "
			"ECONNREFUSED ECONNRESET EFAULT EHOSTUNREACH EINTR EISCONN ENETUNREACH "
			"ENOTSOCK EPROTOTYPE ETIMEDOUT ENOBUFS" },
	{ "recv(2)", "EAGAIN EBADF ECONNREFUSED ECONNRESET EFAULT EHOSTUNREACH EINTR EINVAL ENOMEM "
		     "ENETUNREACH ENOTCONN ENOTSOCK ETIMEDOUT" },
	{ "recvmsg(2)", "recv(2) ENOBUFS EMSGSIZE" },
	{ "send(2)", "EACCES EAGAIN EBADF ECONNREFUSED ECONNRESET EDESTADDRREQ EFAULT EHOSTUNREACH "
		     "EINTR EINVAL EISCONN EMSGSIZE ENETUNREACH ENOBUFS ENOMEM ENOTCONN ENOTSOCK "
		     "EOPNOTSUPP EPIPE ETIMEDOUT" },
	{ "sendmsg(2)", "send(2)" },
	{ "shutdown(2)", "EBADF EINVAL ENOTCONN ENOTSOCK" },
	{ "close(2)", "EBADF EINTR EIO ENOSPC EDQUOT" },
	{ "setsockopt(2)", "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK" },
	{ "getsockopt(2)", "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK" },
	{ "getsockname(2)", "EBADF EFAULT EINVAL ENOBUFS ENOTSOCK" },
	{ "open(2)", "EACCES EAGAIN EBUSY EDQUOT EEXIST EFAULT EFBIG EINTR EINVAL EISDIR ELOOP "
		     "EMFILE ENAMETOOLONG ENFILE ENODEV ENOENT ENOMEM ENOSPC ENOTDIR ENXIO "
		     "EOPNOTSUPP EOVERFLOW EPERM EROFS ETXTBSY" },
	{ "lseek(2)", "EBADF EINVAL ENXIO EOVERFLOW ESPIPE" },
	{ "fcntl(2)", "EACCES EAGAIN EBADF EINVAL EPERM" },
	{ "read(2)", "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR" },
	{ "pread(2)", "read(2) ENXIO EOVERFLOW ESPIPE" },
	{ "write(2)", "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM "
		      "EPIPE" },
	{ "pwrite(2)", "write(2) ENXIO EOVERFLOW ESPIPE" },
	{ "pwritev(2)", "pwrite(2) EOPNOTSUPP" },
	{ "fsync(2)", "EBADF EDQUOT EINTR EINVAL EIO ENOSPC EROFS" },
	{ "statx(2)", "EACCES EBADF EFAULT EINVAL ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR" },
	{ "fallocate(2)", "EBADF EFBIG EINTR EINVAL EIO ENODEV ENOSPC ENOSYS EOPNOTSUPP EPERM "
			  "ESPIPE ETXTBSY" },
	{ "unlink(2)", "EACCES EBUSY EFAULT EIO EISDIR ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR "
		       "EPERM EROFS" },
	{ "rmdir(2)", "EACCES EBUSY EFAULT EINVAL ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR "
		      "ENOTEMPTY EPERM EROFS" },
	{ "renameat2(2)", "EACCES EBUSY EDQUOT EEXIST EFAULT EINVAL EISDIR ELOOP EMLINK "
			  "ENAMETOOLONG ENOENT ENOMEM ENOSPC ENOTDIR ENOTEMPTY EPERM EROFS EXDEV" },
	{ "mkdir(2)", "EACCES EDQUOT EEXIST EFAULT EINVAL ELOOP EMLINK ENAMETOOLONG ENOENT ENOMEM "
		      "ENOSPC ENOTDIR EPERM EROFS" },
	{ "poll(2)", "EFAULT EINTR EINVAL ENOMEM" },
	{ "pidfd_open(2)", "EINVAL EMFILE ENFILE ENODEV ENOMEM ESRCH" },
	{ "waitid(2)", "EAGAIN ECHILD EINVAL" },
	{ "pthread_create(3)", "EAGAIN EINVAL EPERM" },
	{ "fork(2)", "EAGAIN ENOMEM ENOSYS" },
	{ "pipe(2)", "EFAULT EINVAL EMFILE ENFILE" },
};

/* Any operation may find no memory; an io_uring request that is malformed is -EINVAL. */
static const char *const ops[WHI_OP_MAX] = {
	[WHI_OP_NOP] = "EINVAL ENOMEM",
	[WHI_OP_SOCKET] = "socket(2)",
	[WHI_OP_BIND] = "bind(2)",
	[WHI_OP_LISTEN] = "listen(2) ENOMEM",
	[WHI_OP_ACCEPT] = "accept(2)",
	[WHI_OP_ACCEPT_MULTI] = "accept(2)",
	[WHI_OP_CONNECT] = "connect(2) ENOMEM",
	[WHI_OP_RECV] = "recv(2)",
	[WHI_OP_RECV_MULTI] = "recv(2)",
	[WHI_OP_SEND] = "send(2)",
	[WHI_OP_RECVMSG] = "recvmsg(2)",
	[WHI_OP_SENDMSG] = "sendmsg(2)",
	[WHI_OP_SHUTDOWN] = "shutdown(2) ENOMEM",
	[WHI_OP_CLOSE] = "close(2)",
	[WHI_OP_OPENAT] = "open(2)",
	[WHI_OP_READ] = "pread(2) ENOMEM",
	[WHI_OP_WRITE] = "pwrite(2) ENOMEM",
	[WHI_OP_READV] = "pread(2) ENOMEM",
	[WHI_OP_WRITEV] = "pwritev(2) ENOMEM",
	[WHI_OP_FSYNC] = "fsync(2) ENOMEM",
	[WHI_OP_STATX] = "statx(2)",
	[WHI_OP_FALLOCATE] = "fallocate(2) ENOMEM",
	[WHI_OP_UNLINKAT] = "unlink(2) rmdir(2)",
	[WHI_OP_RENAMEAT] = "renameat2(2)",
	[WHI_OP_MKDIRAT] = "mkdir(2)",
	[WHI_OP_TIMER] = "EFAULT EINVAL ENOMEM",
	[WHI_OP_POLL] = "poll(2) EBADF ENOSPC",
	[WHI_OP_MESSAGE] = "EBADF EBADFD EINVAL ENOMEM EOVERFLOW",
	[WHI_OP_SETSOCKOPT] = "setsockopt(2)",
	[WHI_OP_GETSOCKOPT] = "getsockopt(2)",
	[WHI_OP_GETSOCKNAME] = "getsockname(2)",
	/* To find out whether there is a position: what the page says of offsets cannot happen, and
	 * ESPIPE is no failure. */
	[WHI_OP_SEEK] = "EBADF EOVERFLOW",
	[WHI_OP_ADOPT] = "fcntl(2)",
	[WHI_OP_PIDFD_OPEN] = "pidfd_open(2)",
	[WHI_OP_WAITID] = "waitid(2)",
};

/*
 * What the headers in include/whorl say under "Errors"; documented.py proves that they do.
 * "suspends": the call suspends. "op": it asks the kernel for something.
 */
static const struct row calls[] = {
	{ "suspends", "ECANCELED ETIMEDOUT" },
	{ "op", "ENOMEM EAGAIN ENOSPC" },
#include "documented.inc"
};

static const char *find(const struct row *rows, size_t count, const char *name, size_t len)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
			return rows[i].text;
	return NULL;
}

static bool is_error(const char *word, size_t len, int error)
{
	/* A second name for the same number. */
	const char *name = error == EOPNOTSUPP && len == strlen("ENOTSUP") ? "ENOTSUP"
									   : strerrorname_np(error);

	return name && strlen(name) == len && memcmp(name, word, len) == 0;
}

bool manual_names(const char *text, int error)
{
	for (size_t len; *text; text += len + strspn(text + len, " ")) {
		const char *more;

		len = strcspn(text, " ");
		if (is_error(text, len, error))
			return true;
		more = find(pages, sizeof(pages) / sizeof(pages[0]), text, len);
		if (!more)
			more = find(calls, sizeof(calls) / sizeof(calls[0]), text, len);
		if (more && manual_names(more, error))
			return true;
	}
	return false;
}

const char *manual_of(const char *call)
{
	return find(calls, sizeof(calls) / sizeof(calls[0]), call, strlen(call));
}

static int errors_of[WHI_OP_MAX][ERRORS_END];

static void list_errors(void)
{
	for (int kind = 0; kind < WHI_OP_MAX; kind++) {
		int *next = errors_of[kind];

		for (int error = 1; error < ERRORS_END; error++)
			if (ops[kind] && manual_names(ops[kind], error))
				*next++ = error;
	}
}

const int *manual_errors_of_op(int kind)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, list_errors);
	return errors_of[kind];
}
