/*
 * Operations on files and paths. One read or write is at most MAX_RW bytes, as in the kernel: a
 * longer one would not fit the entry's 32 bits; it is short, and whoever wants all goes on.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include "op/families.h"

enum { MAX_RW = 0x7ffff000 };

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
