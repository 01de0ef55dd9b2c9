/* Owns the temporary file, and which of its extents are in use.
 *
 * Reads go through the page cache, where a file that was written a moment ago mostly still is. What
 * is not there is fetched by the kernel while workers are busy: whoever reads a stream says some
 * extents ahead what it will need, and so has several reads in flight without a ring to wait on.
 *
 * 1. The file has no name from the moment that `fd` is visible.
 * 2. Extents do not overlap, and begin at multiples of WHI_EXTENT_BYTES.
 * 3. The first failure is kept; later ones are mostly its consequences. */
#include "mapreduce/spill_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

enum { PATH_BYTES = 4096 };

/* /tmp comes last: it is in memory on many systems, which is what there is too little of. */
const char *whi_spill_dir(const char *dir)
{
	const char *named = dir ? dir : getenv("TMPDIR");

	if (named && named[0])
		return named;
	return access("/var/tmp", W_OK | X_OK) == 0 ? "/var/tmp" : "/tmp";
}

void whi_spill_file_init(struct whi_spill_file *file, const char *dir)
{
	*file = (struct whi_spill_file){ .dir = dir };
	atomic_init(&file->fd, -1);
	pthread_mutex_init(&file->lock, NULL);
}

void whi_spill_file_fini(struct whi_spill_file *file)
{
	int fd = atomic_load(&file->fd);

	if (fd >= 0)
		close(fd);
	whi_free(file->idle);
	pthread_mutex_destroy(&file->lock);
}

int whi_spill_failed(struct whi_spill_file *file, enum whi_spill_step step, int error)
{
	pthread_mutex_lock(&file->lock);
	if (!file->error) {
		file->error = error;
		file->step = step;
	}
	pthread_mutex_unlock(&file->lock);
	return error;
}

/* For file systems that cannot make a file without a name. */
static int make_named(const char *dir)
{
	char path[PATH_BYTES];
	int fd;

	if (snprintf(path, sizeof(path), "%s/whorl-XXXXXX", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (unlink(path) < 0) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

static int make(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	return errno == EOPNOTSUPP || errno == EISDIR ? make_named(dir) : -errno;
}

int whi_spill_file_make(struct whi_spill_file *file)
{
	int fd;

	if (atomic_load_explicit(&file->fd, memory_order_acquire) >= 0)
		return 0;
	pthread_mutex_lock(&file->lock);
	fd = atomic_load_explicit(&file->fd, memory_order_relaxed);
	if (fd < 0) {
		fd = make(file->dir);
		if (fd >= 0)
			atomic_store_explicit(&file->fd, fd, memory_order_release);
	}
	pthread_mutex_unlock(&file->lock);
	return fd < 0 ? whi_spill_failed(file, WHI_SPILL_CREATE, fd) : 0;
}

int whi_extent_take(struct whi_spill_file *file, size_t len, struct whi_extent *ret)
{
	const uint64_t unit = WHI_EXTENT_BYTES;
	uint64_t room = len <= unit ? unit : (len + unit - 1) / unit * unit;
	int r = whi_spill_file_make(file);

	if (r < 0)
		return r;
	*ret = (struct whi_extent){ .file = file, .room = room };
	pthread_mutex_lock(&file->lock);
	if (room == unit && file->idle_count > 0) {
		ret->offset = file->idle[--file->idle_count];
	} else {
		ret->offset = file->end;
		file->end += room;
	}
	pthread_mutex_unlock(&file->lock);
	atomic_fetch_add_explicit(&file->extents, 1, memory_order_relaxed);
	return 0;
}

/* Room for `more` offsets. Without it extents are not used again, which costs space on the disk but
 * nothing else. */
static bool idle_reserve(struct whi_spill_file *file, size_t more)
{
	size_t room = file->idle_room ? file->idle_room * 2 : 64;
	uint64_t *idle;

	while (room < file->idle_count + more)
		room *= 2;
	if (file->idle_count + more <= file->idle_room)
		return true;
	idle = whi_realloc(file->idle, room * sizeof(*idle));
	if (!idle)
		return false;
	file->idle = idle;
	file->idle_room = room;
	return true;
}

void whi_extent_put(const struct whi_extent *extent)
{
	struct whi_spill_file *file = extent->file;
	uint64_t units = extent->room / WHI_EXTENT_BYTES;

	if (file->kept)
		return;
	pthread_mutex_lock(&file->lock);
	if (idle_reserve(file, units))
		for (uint64_t i = 0; i < units; i++)
			file->idle[file->idle_count++] = extent->offset + i * WHI_EXTENT_BYTES;
	pthread_mutex_unlock(&file->lock);
}

int whi_extent_write(struct whi_extent *extent, const void *data, size_t len)
{
	struct whi_spill_file *file = extent->file;
	int fd = atomic_load_explicit(&file->fd, memory_order_acquire);
	const uint8_t *bytes = data;

	for (size_t done = 0; done < len;) {
		off_t offset = (off_t)(extent->offset + extent->used + done);
		ssize_t n = pwrite(fd, bytes + done, len - done, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return whi_spill_failed(file, WHI_SPILL_WRITE, n < 0 ? -errno : -EIO);
		done += (size_t)n;
	}
	extent->used += len;
	atomic_fetch_add_explicit(&file->written, len, memory_order_relaxed);
	return 0;
}

int whi_extent_read(const struct whi_extent *extent, uint64_t at, void *data, size_t len)
{
	struct whi_spill_file *file = extent->file;
	int fd = atomic_load_explicit(&file->fd, memory_order_acquire);
	uint8_t *bytes = data;

	for (size_t done = 0; done < len;) {
		off_t offset = (off_t)(extent->offset + at + done);
		ssize_t n = pread(fd, bytes + done, len - done, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return whi_spill_failed(file, WHI_SPILL_READ, n < 0 ? -errno : -EIO);
		done += (size_t)n;
	}
	atomic_fetch_add_explicit(&file->read, len, memory_order_relaxed);
	return 0;
}

void whi_extent_read_ahead(const struct whi_extent *extent, uint64_t at, uint64_t len)
{
	int fd = atomic_load_explicit(&extent->file->fd, memory_order_acquire);

	posix_fadvise(fd, (off_t)(extent->offset + at), (off_t)len, POSIX_FADV_WILLNEED);
}
