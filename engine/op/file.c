/*
 * Operations on files and paths. One read or write is at most MAX_RW bytes, as in the kernel: a
 * longer one would not fit the entry's 32 bits; it is short, and whoever wants all goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "op/families.h"

enum { MAX_RW = 0x7ffff000 };

/* Parts of a vector that is continued; what lies behind them makes the operation short. */
enum { REST_MAX = 64 };

static unsigned clamp(size_t len)
{
	return len < MAX_RW ? (unsigned)len : MAX_RW;
}

static int sys(int r)
{
	return r < 0 ? -errno : r;
}

void whi_openat_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, op->path.path, op->path.flags, op->path.mode);
}

void whi_read_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_read(sqe, op->fd, op->rw.buf, clamp(op->rw.len), op->rw.offset);
}

void whi_write_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_write(sqe, op->fd, op->rw.buf, clamp(op->rw.len), op->rw.offset);
}

void whi_readv_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_readv(sqe, op->fd, op->vec.iov, op->vec.iov_count, op->vec.offset);
}

void whi_writev_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_writev(sqe, op->fd, op->vec.iov, op->vec.iov_count, op->vec.offset);
}

/* Pipes know no positions, and say so before anything else that is wrong. */
static int move(const struct whi_op *op, const struct iovec *iov, unsigned count, uint64_t offset,
		int flags)
{
	bool in = op->kind == WHI_OP_READ || op->kind == WHI_OP_READV;
	off_t at = offset == (uint64_t)-1 ? -1 : (off_t)(offset + op->moved);
	ssize_t r = in ? preadv2(op->fd, iov, (int)count, at, flags)
		       : pwritev2(op->fd, iov, (int)count, at, flags);

	if (r < 0 && errno == ESPIPE && at != -1)
		r = in ? preadv2(op->fd, iov, (int)count, -1, flags)
		       : pwritev2(op->fd, iov, (int)count, -1, flags);
	return r < 0 ? -errno : (int)r;
}

static int move_one(const struct whi_op *op, int flags)
{
	struct iovec iov = { .iov_base = (char *)op->rw.buf + op->moved,
			     .iov_len = clamp(op->rw.len) - op->moved };

	return move(op, &iov, 1, op->rw.offset, flags);
}

static int move_many(const struct whi_op *op, int flags)
{
	struct iovec rest[REST_MAX];
	unsigned count;

	if (!op->moved)
		return move(op, op->vec.iov, op->vec.iov_count, op->vec.offset, flags);
	count = whi_iov_rest(op->vec.iov, op->vec.iov_count, op->moved, rest, REST_MAX);
	return move(op, rest, count, op->vec.offset, flags);
}

/* Attempts: not every file knows how not to wait, and those say -EOPNOTSUPP. */

int whi_read_attempt(const struct whi_op *op)
{
	return move_one(op, RWF_NOWAIT);
}

int whi_write_attempt(const struct whi_op *op)
{
	return move_one(op, RWF_NOWAIT);
}

int whi_readv_attempt(const struct whi_op *op)
{
	return move_many(op, RWF_NOWAIT);
}

int whi_writev_attempt(const struct whi_op *op)
{
	return move_many(op, RWF_NOWAIT);
}

int whi_read_work(const struct whi_op *op)
{
	return move_one(op, 0);
}

int whi_write_work(const struct whi_op *op)
{
	return move_one(op, 0);
}

int whi_readv_work(const struct whi_op *op)
{
	return move_many(op, 0);
}

int whi_writev_work(const struct whi_op *op)
{
	return move_many(op, 0);
}

/* As a ring does it: a named pipe's other end is not waited for, reads wait for the first writer.
 * A thread that waited for it could not be called back. */
int whi_openat_work(const struct whi_op *op)
{
	int flags = op->path.flags;
	int fd = open(op->path.path, flags | O_NONBLOCK, op->path.mode);

	/* A lease on the file is being given up. */
	if (fd < 0 && errno == EAGAIN && !(flags & O_NONBLOCK))
		return sys(open(op->path.path, flags, op->path.mode));
	if (fd < 0)
		return -errno;
	if (!(flags & (O_NONBLOCK | O_PATH)))
		fcntl(fd, F_SETFL, flags);
	return fd;
}

int whi_fsync_work(const struct whi_op *op)
{
	return sys(op->arg.value ? fdatasync(op->fd) : fsync(op->fd));
}

int whi_fallocate_work(const struct whi_op *op)
{
	return sys(fallocate(op->fd, op->allocate.mode, (off_t)op->allocate.offset,
			     (off_t)op->allocate.len));
}

int whi_renameat_work(const struct whi_op *op)
{
	return sys(renameat2(AT_FDCWD, op->path.path, AT_FDCWD, op->path.to,
			     (unsigned)op->path.flags));
}

int whi_mkdirat_work(const struct whi_op *op)
{
	return sys(mkdir(op->path.path, op->path.mode));
}

void whi_fsync_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_fsync(sqe, op->fd, op->arg.value ? IORING_FSYNC_DATASYNC : 0);
}

void whi_statx_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_statx(sqe, op->fd, op->path.path, op->path.flags, op->path.mode,
			    op->path.statx);
}

int whi_statx_attempt(const struct whi_op *op)
{
	return sys(statx(op->fd, op->path.path, op->path.flags, op->path.mode, op->path.statx));
}

void whi_fallocate_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_fallocate(sqe, op->fd, op->allocate.mode, op->allocate.offset,
				op->allocate.len);
}

void whi_unlinkat_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_unlinkat(sqe, AT_FDCWD, op->path.path, op->path.flags);
}

int whi_unlinkat_attempt(const struct whi_op *op)
{
	return sys(unlinkat(AT_FDCWD, op->path.path, op->path.flags));
}

void whi_renameat_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_renameat(sqe, AT_FDCWD, op->path.path, AT_FDCWD, op->path.to,
			       (unsigned)op->path.flags);
}

void whi_mkdirat_prep(const struct whi_op *op, struct io_uring_sqe *sqe)
{
	io_uring_prep_mkdirat(sqe, AT_FDCWD, op->path.path, op->path.mode);
}

int whi_seek_attempt(const struct whi_op *op)
{
	return lseek(op->fd, op->seek.offset, op->seek.whence) < 0 ? -errno : 0;
}

/* A ring waits by itself, unless the descriptor says not to. */
int whi_adopt_attempt(const struct whi_op *op)
{
	int flags = fcntl(op->fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return flags & O_NONBLOCK ? sys(fcntl(op->fd, F_SETFL, flags & ~O_NONBLOCK)) : 0;
}
