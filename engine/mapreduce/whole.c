/* Owns reading a file piece by piece on the thread that maps it. Whether it stayed as it was is
 * asked once, at the end: by its length and the time of its last change. */
#include "mapreduce/whole.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mapreduce/source.h"

enum { STOP_MS = 20 }; /* between two looks whether the job is to end */

int whi_whole_begin(struct whi_whole *whole, int fd, bool cached_only)
{
	struct whi_buffer *buf = whole->buf;
	struct iovec iov = { buf->data, buf->room };
	ssize_t n;

	whole->fd = fd;
	if (fstat(fd, &whole->opened) < 0)
		return -errno;
	whole->is_stream = !S_ISREG(whole->opened.st_mode) && !S_ISBLK(whole->opened.st_mode);
	if (!cached_only) {
		if (!whole->is_stream)
			(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
		return 0;
	}
	n = preadv2(fd, &iov, 1, 0, RWF_NOWAIT);
	if (n < 0)
		return WHI_NOT_CACHED;
	whole->ready = (size_t)n;
	whole->ended = n == 0;
	return 0;
}

/* Wait until a stream has something, as long as the job goes on. */
static int wait_for_more(const struct whi_whole *whole)
{
	struct pollfd poll_fd = { .fd = whole->fd, .events = POLLIN };

	for (;;) {
		int n = poll(&poll_fd, 1, STOP_MS);

		if (atomic_load_explicit(whole->stop, memory_order_relaxed))
			return -ECANCELED;
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static ssize_t read_some(struct whi_whole *whole)
{
	struct whi_buffer *buf = whole->buf;
	ssize_t n;
	int r = 0;

	if (whole->is_stream)
		r = wait_for_more(whole);
	else if (atomic_load_explicit(whole->stop, memory_order_relaxed))
		r = -ECANCELED;
	if (r < 0)
		return r;
	do {
		n = whole->is_stream ? read(whole->fd, buf->data, buf->room)
				     : pread(whole->fd, buf->data, buf->room, (off_t)whole->pos);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static bool has_changed(const struct whi_whole *whole)
{
	const struct stat *then = &whole->opened;
	struct stat now;

	if (whole->is_stream || fstat(whole->fd, &now) < 0)
		return false;
	return now.st_size != then->st_size || now.st_mtim.tv_sec != then->st_mtim.tv_sec ||
	       now.st_mtim.tv_nsec != then->st_mtim.tv_nsec;
}

static ssize_t next_bytes(struct whi_whole *whole)
{
	size_t ready = whole->ready;

	if (whole->ended)
		return 0;
	whole->ready = 0;
	return ready ? (ssize_t)ready : read_some(whole);
}

int whi_mapper_map_whole(struct whi_mapper *mapper, struct whi_whole *whole, const char *path)
{
	struct wh_mr_origin origin = { .path = path };
	int r;

	whi_mapper_from(mapper, &origin);
	mapper->emitter.whole = whole;
	r = whi_mapper_map_record(mapper, path, strlen(path));
	mapper->emitter.whole = NULL;
	return r;
}

int wh_mr_read(struct wh_mr_emitter *emitter, struct wh_mr_bytes *ret)
{
	struct whi_whole *whole = emitter->whole;
	ssize_t n;

	if (!whole || emitter->mode != WHI_EMIT_MAP)
		return -EINVAL;
	if (whole->error)
		return whole->error;
	n = next_bytes(whole);
	if (n == 0 && has_changed(whole))
		n = -ESTALE;
	if (n < 0)
		return whole->error = (int)n;
	whole->ended = n == 0;
	if (n == 0)
		return 0;
	whole->pos += (uint64_t)n;
	atomic_fetch_add_explicit(whole->bytes_done, (uint64_t)n, memory_order_relaxed);
	*ret = (struct wh_mr_bytes){ whole->buf->data, (size_t)n };
	return 1;
}
