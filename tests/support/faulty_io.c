#include "support/faulty_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/types.h>

ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __real_pread(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread(int fd, void *data, size_t len, off_t offset);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

static struct faulty_io now;
static _Atomic uint64_t calls[2];
static _Atomic uint64_t failed;

void faulty_io_set(const struct faulty_io *fault)
{
	now = *fault;
	atomic_store(&calls[FAULTY_PWRITE], 0);
	atomic_store(&calls[FAULTY_PREAD], 0);
	atomic_store(&failed, 0);
}

uint64_t faulty_io_failed(void)
{
	return atomic_load(&failed);
}

static bool is_picked(enum faulty_io_call call)
{
	uint64_t number = atomic_fetch_add(&calls[call], 1) + 1;

	if (now.first == 0 || now.call != call || number < now.first)
		return false;
	atomic_fetch_add(&failed, 1);
	return true;
}

static size_t part_of(size_t len)
{
	return now.halves && len > 1 ? len / 2 : len;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	if (is_picked(FAULTY_PWRITE)) {
		errno = -now.how;
		return -1;
	}
	return __real_pwrite(fd, data, part_of(len), offset);
}

ssize_t __wrap_pread(int fd, void *data, size_t len, off_t offset)
{
	ssize_t n;

	if (!is_picked(FAULTY_PREAD))
		return __real_pread(fd, data, part_of(len), offset);
	if (now.how == FAULTY_SHORT)
		return 0;
	if (now.how < 0) {
		errno = -now.how;
		return -1;
	}
	n = __real_pread(fd, data, len, offset);
	if (n > 0)
		((unsigned char *)data)[n / 2] ^= 4;
	return n;
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = va_arg(args, mode_t);
	va_end(args);
	if (now.no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
		atomic_fetch_add(&failed, 1);
		errno = EOPNOTSUPP;
		return -1;
	}
	return __real_open(path, flags, mode);
}
