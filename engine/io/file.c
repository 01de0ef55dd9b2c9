/*
 * Files for tasks.
 *
 * Invariant: an operation is on its file's list of users while in flight, so that closing can end
 * it and wait for it before the descriptor is reused.
 */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"

struct user {
	struct whi_op op;
	struct whi_list link;
};

static int new_file(int fd, bool take, struct wh_file **ret)
{
	struct whi_op seek = { .kind = WHI_OP_SEEK, .fd = fd, .seek.whence = SEEK_CUR };
	struct wh_file *file;
	int seekable = whi_perform(&seek);

	/* Anything else says nothing about positions, and taking a file for a pipe would read it
	 * from wherever it is. */
	if (seekable < 0 && seekable != -ESPIPE && seekable != -EINVAL)
		return seekable;
	file = whi_alloc(sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->fd = fd;
	file->take = take;
	file->seekable = seekable == 0;
	file->awaits_writer = false;
	file->closing = false;
	file->loop = whi_loop_self();
	file->closer = NULL;
	whi_list_init(&file->users);
	*ret = file;
	return 0;
}

/* A named pipe has no end before it had a writer. */
static int look_at(struct wh_file *file)
{
	struct statx stat = { 0 };
	struct whi_op op = {
		.kind = WHI_OP_STATX,
		.fd = file->fd,
		.path.path = "",
		.path.flags = AT_EMPTY_PATH,
		.path.mode = STATX_TYPE,
		.path.statx = &stat,
	};

	int r;

	if (file->seekable)
		return 0;
	r = whi_perform(&op);
	file->awaits_writer = r == 0 && S_ISFIFO(stat.stx_mode);
	return r;
}

int wh_file_open(const char *path, int flags, mode_t mode, struct wh_file **ret)
{
	struct whi_op op = {
		.kind = WHI_OP_OPENAT,
		.path.path = path,
		.path.flags = flags | O_CLOEXEC,
		.path.mode = mode,
	};
	struct wh_file *file;
	int fd = whi_await(&op);
	int r;

	if (fd < 0)
		return fd;
	r = new_file(fd, true, &file);
	if (r < 0)
		goto err_fd;
	r = flags & O_NONBLOCK ? 0 : look_at(file);
	if (r < 0)
		goto err_file;
	*ret = file;
	return 0;

err_file:
	whi_free(file);
err_fd:
	whi_close(fd);
	return r;
}

int wh_file_from_fd(int fd, bool take, struct wh_file **ret)
{
	return new_file(fd, take, ret);
}

int wh_file_fd(const struct wh_file *file)
{
	return file->fd;
}

static int use(struct wh_file *file, struct user *user)
{
	int r;

	if (file->closing)
		return -ECANCELED;
	user->op.fd = file->fd;
	whi_list_append(&file->users, &user->link);
	r = whi_await(&user->op);
	whi_list_remove(&user->link);
	if (file->closer && whi_list_empty(&file->users)) {
		whi_task_wake(file->closer);
		file->closer = NULL;
	}
	return r;
}

/* A pipe or terminal that was made non-blocking elsewhere: the ring does not wait by itself. Nor
 * does its openat for the first writer of a named pipe, without which a read would say end of file;
 * poll says nothing before there was one. */
static int use_ready(struct wh_file *file, struct user *user, short events)
{
	struct user poll = { .op.kind = WHI_OP_POLL, .op.arg.value = events };
	int r = file->awaits_writer ? -EAGAIN : use(file, user);

	while (r == -EAGAIN && !file->seekable) {
		r = use(file, &poll);
		if (r < 0)
			return r;
		file->awaits_writer = false;
		r = use(file, user);
	}
	return r;
}

/* -1 stands for the current position, the only one that a pipe has. */
static uint64_t offset_in(const struct wh_file *file, uint64_t offset)
{
	return file->seekable ? offset : (uint64_t)-1;
}

ssize_t wh_file_read(struct wh_file *file, void *buf, size_t len, uint64_t offset)
{
	struct user user = {
		.op.kind = WHI_OP_READ,
		.op.rw.buf = buf,
		.op.rw.len = len,
		.op.rw.offset = offset_in(file, offset),
	};

	return use_ready(file, &user, POLLIN);
}

ssize_t wh_file_write(struct wh_file *file, const void *buf, size_t len, uint64_t offset)
{
	struct user user = { .op.kind = WHI_OP_WRITE };
	size_t written = 0;

	do {
		int r;

		user.op.rw.buf = (char *)(uintptr_t)buf + written;
		user.op.rw.len = len - written;
		user.op.rw.offset = offset_in(file, offset + written);
		r = use_ready(file, &user, POLLOUT);
		if (r < 0)
			return r;
		if (r == 0 && len > written)
			return -EIO;
		written += (size_t)r;
	} while (written < len);
	return (ssize_t)len;
}

static ssize_t use_vec(struct wh_file *file, uint8_t kind, const struct iovec *iov,
		       unsigned iov_count, uint64_t offset)
{
	struct user user = {
		.op.kind = kind,
		.op.vec.iov = iov,
		.op.vec.iov_count = iov_count,
		.op.vec.offset = offset_in(file, offset),
	};

	return use_ready(file, &user, kind == WHI_OP_READV ? POLLIN : POLLOUT);
}

ssize_t wh_file_readv(struct wh_file *file, const struct iovec *iov, unsigned iov_count,
		      uint64_t offset)
{
	return use_vec(file, WHI_OP_READV, iov, iov_count, offset);
}

ssize_t wh_file_writev(struct wh_file *file, const struct iovec *iov, unsigned iov_count,
		       uint64_t offset)
{
	return use_vec(file, WHI_OP_WRITEV, iov, iov_count, offset);
}

int wh_file_sync(struct wh_file *file, bool data_only)
{
	struct user user = { .op.kind = WHI_OP_FSYNC, .op.arg.value = data_only };

	return use(file, &user);
}

int wh_file_allocate(struct wh_file *file, int mode, uint64_t offset, uint64_t len)
{
	struct user user = {
		.op.kind = WHI_OP_FALLOCATE,
		.op.allocate.mode = mode,
		.op.allocate.offset = offset,
		.op.allocate.len = len,
	};

	return use(file, &user);
}

int wh_file_stat(struct wh_file *file, struct statx *ret)
{
	struct user user = {
		.op.kind = WHI_OP_STATX,
		.op.path.path = "",
		.op.path.flags = AT_EMPTY_PATH,
		.op.path.mode = STATX_BASIC_STATS,
		.op.path.statx = ret,
	};

	return use(file, &user);
}

int wh_file_close(struct wh_file *file)
{
	struct whi_op op = { .kind = WHI_OP_CLOSE, .fd = file->fd };
	struct whi_wait wait = { .what = "users of a file" };
	struct whi_list *node = file->users.next;
	int r = 0;

	whi_assert(!file->closing);
	file->closing = true;
	for (; node != &file->users; node = node->next)
		file->loop->backend->ops->cancel(file->loop->backend,
						 &whi_container_of(node, struct user, link)->op);
	if (!whi_list_empty(&file->users)) {
		file->closer = &wait;
		whi_task_suspend(&wait);
	}
	if (file->take)
		r = whi_await_shielded(&op);
	whi_free(file);
	return r;
}

/* Paths */

int wh_path_stat(const char *path, int flags, struct statx *ret)
{
	struct whi_op op = {
		.kind = WHI_OP_STATX,
		.fd = AT_FDCWD,
		.path.path = path,
		.path.flags = flags,
		.path.mode = STATX_BASIC_STATS,
		.path.statx = ret,
	};

	return whi_await(&op);
}

int wh_path_unlink(const char *path, bool is_dir)
{
	struct whi_op op = {
		.kind = WHI_OP_UNLINKAT,
		.path.path = path,
		.path.flags = is_dir ? AT_REMOVEDIR : 0,
	};

	return whi_await(&op);
}

int wh_path_rename(const char *from, const char *to, unsigned flags)
{
	struct whi_op op = {
		.kind = WHI_OP_RENAMEAT,
		.path.path = from,
		.path.to = to,
		.path.flags = (int)flags,
	};

	return whi_await(&op);
}

int wh_path_mkdir(const char *path, mode_t mode)
{
	struct whi_op op = { .kind = WHI_OP_MKDIRAT, .path.path = path, .path.mode = mode };

	return whi_await(&op);
}
