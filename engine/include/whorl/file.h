/*
 * Files. Every call names its offset: a file has no position of its own, so tasks can share one.
 *
 * Every call here that suspends may besides return
 *     -ENOMEM   there is no memory for the operation
 *     -EAGAIN   as many operations are in flight as `ops_max` of wh_run's options allows
 *     -ENOSPC   epoll watches as many descriptors as fs.epoll.max_user_watches allows
 */
#ifndef WHORL_FILE_H
#define WHORL_FILE_H

#include <whorl/api.h>

struct iovec;
struct statx;
struct wh_file;

/**
 * Open the file at `path`; `flags` and `mode` as open(2), O_CLOEXEC is added. Of a named pipe not
 * this call but the first read waits for a writer; opening one to write fails with -ENXIO as long
 * as nobody reads.
 *
 * Suspends   the calling task until the kernel has opened it.
 * Returns    0, with the file in `*ret`.
 * Errors     as open(2), -ENOMEM, -ECANCELED, -ETIMEDOUT; as statx(2) or lseek(2) if what was
 *            opened cannot be looked at
 * Ownership  wh_file_close releases it. `path` is borrowed until return.
 * Context    a task; the file belongs to its loop.
 */
WH_API int wh_file_open(const char *path, int flags, mode_t mode, struct wh_file **ret);

/**
 * Take over a descriptor that is already open, for instance 0. Reads of pipes and terminals ignore
 * the offset.
 *
 * Returns    0, with the file in `*ret`.
 * Errors     -EBADF and others, as lseek(2); -ENOMEM
 * Ownership  wh_file_close closes `fd` only if `take` is true.
 * Context    a task.
 */
WH_API int wh_file_from_fd(int fd, bool take, struct wh_file **ret);

/**
 * Close and free `file`. Waits for its operations of other tasks, which are cancelled.
 *
 * Suspends   the calling task, also when cancelled.
 * Returns    0.
 * Errors     as close(2): the file is gone all the same
 */
WH_API int wh_file_close(struct wh_file *file);

/**
 * Read up to `len` bytes at `offset` into `buf`.
 *
 * Suspends   the calling task until the kernel is done with `buf`.
 * Returns    bytes read, 0 at the end of the file; fewer than `len` is not the end.
 * Errors     as pread(2), -ECANCELED, -ETIMEDOUT
 * Ownership  `buf` is borrowed until return.
 * Context    a task on the loop that opened `file`.
 */
WH_API ssize_t wh_file_read(struct wh_file *file, void *buf, size_t len, uint64_t offset);

/**
 * Write `len` bytes at `offset`, all of them: a short write is continued.
 *
 * Suspends   the calling task until the kernel is done with `buf`.
 * Returns    `len`.
 * Errors     as pwrite(2), -ECANCELED, -ETIMEDOUT. Some of the bytes may have been written.
 * Ownership  `buf` is borrowed until return.
 * Context    a task on the loop that opened `file`.
 */
WH_API ssize_t wh_file_write(struct wh_file *file, const void *buf, size_t len, uint64_t offset);

/**
 * As wh_file_read into `iov_count` pieces; may be short.
 *
 * Suspends   the calling task until the kernel is done with them.
 * Errors     as wh_file_read
 */
WH_API ssize_t wh_file_readv(struct wh_file *file, const struct iovec *iov, unsigned iov_count,
			     uint64_t offset);

/**
 * Write from `iov_count` pieces with one operation.
 *
 * Suspends   the calling task until the kernel is done with them.
 * Returns    bytes written; may be short.
 * Errors     as pwritev(2), -ECANCELED, -ETIMEDOUT
 */
WH_API ssize_t wh_file_writev(struct wh_file *file, const struct iovec *iov, unsigned iov_count,
			      uint64_t offset);

/**
 * Have the kernel put the file's data on the device; `data_only` as fdatasync(2).
 *
 * Suspends   the calling task until it is there. A sync that has begun is not interrupted.
 * Returns    0.
 * Errors     as fsync(2), -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_file_sync(struct wh_file *file, bool data_only);

/**
 * Reserve space; `mode` as fallocate(2).
 *
 * Suspends   the calling task until it is done.
 * Returns    0.
 * Errors     as fallocate(2), -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_file_allocate(struct wh_file *file, int mode, uint64_t offset, uint64_t len);

/**
 * The open file's attributes, as statx(2) with STATX_BASIC_STATS.
 *
 * Suspends   the calling task until they are there.
 * Returns    0, with them in `*ret`.
 * Errors     as statx(2), -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_file_stat(struct wh_file *file, struct statx *ret);

/** The descriptor. It stays the file's. */
WH_API int wh_file_fd(const struct wh_file *file);

/**
 * As statx(2) on a path, relative to the working directory; `flags` such as AT_SYMLINK_NOFOLLOW.
 *
 * Suspends   the calling task until the kernel has looked it up.
 * Returns    0, with the attributes in `*ret`.
 * Errors     as statx(2), -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_path_stat(const char *path, int flags, struct statx *ret);

/**
 * As unlink(2); `is_dir` as rmdir(2).
 *
 * Suspends   the calling task until it is done.
 * Returns    0.
 * Errors     as unlink(2) or rmdir(2), -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_path_unlink(const char *path, bool is_dir);

/**
 * As renameat2(2) with `flags`, for instance RENAME_NOREPLACE.
 *
 * Suspends   the calling task until it is done.
 * Returns    0.
 * Errors     as renameat2(2), -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_path_rename(const char *from, const char *to, unsigned flags);

/**
 * As mkdir(2).
 *
 * Suspends   the calling task until it is done.
 * Returns    0.
 * Errors     as mkdir(2), -ECANCELED, -ETIMEDOUT
 */
WH_API int wh_path_mkdir(const char *path, mode_t mode);

/* A file read from front to back, with the next reads already in flight. */
struct wh_reader;

/* {0} is valid and means the defaults. */
struct wh_reader_opts {
	uint64_t offset;      /* where to begin */
	uint64_t length;      /* how many bytes at most; 0: to the end of the file */
	uint32_t chunk_bytes; /* of one read; default 256 KiB */
	uint32_t depth;	      /* chunks in flight or in use; default 4, at least 2, at most 64 */
};

/**
 * Begin to read `file` in order. On a pipe or terminal one read is in flight at a time.
 *
 * Returns    0, with the reader in `*ret`; nothing has been read yet.
 * Errors     -ENOMEM, -EINVAL   `depth` or `chunk_bytes` (512 to 1 GiB) out of range
 * Ownership  `file` must stay open until wh_reader_close.
 * Context    a task on the loop that opened `file`; one task uses a reader.
 */
WH_API int wh_reader_open(struct wh_file *file, const struct wh_reader_opts *opts,
			  struct wh_reader **ret);

/**
 * The next chunk of the file. Keeps the following ones in flight.
 *
 * Suspends   the calling task until it has been read.
 * Returns    its length, with its address in `*ret_data`; 0 at the end of the file or of `length`.
 *            Only the last chunk is shorter than `chunk_bytes`, pipes and terminals aside.
 * Errors     as pread(2), -ECANCELED, -ETIMEDOUT; the reader can then only be closed
 * Ownership  the bytes are the caller's, to change if it likes, until it calls again.
 */
WH_API ssize_t wh_reader_next(struct wh_reader *reader, void **ret_data);

/**
 * Cancel what is in flight, wait until the kernel has let go of the buffers, and free the reader.
 *
 * Suspends   the calling task, also when cancelled.
 */
WH_API void wh_reader_close(struct wh_reader *reader);

#endif
