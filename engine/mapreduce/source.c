/* Owns the borders: which records of a buffer belong to a source, and how a buffer is filled from
 * the page cache.
 *
 * 1. buf->data[0] is the byte at `pos` of the file.
 * 2. Until synced, that byte lies before the source's first record; no record before it is ours.
 * 3. Once synced, it is the first byte of a record of ours, and `pos` < `end`, or done. */
#include "mapreduce/source.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mapreduce/decompress.h"
#include "mapreduce/records.h"

/* Read beyond the end of a part at first: its last record goes on for a few bytes. */
enum { BEYOND_BYTES = 4096 };

void whi_source_init(struct whi_source *source, const char *path, uint64_t begin, uint64_t end)
{
	*source = (struct whi_source){
		.path = path,
		.begin = begin,
		.end = end,
		.pos = begin ? begin - 1 : 0,
		.synced = begin == 0,
	};
}

void whi_identity_get(struct whi_identity *ret, int fd, const char *path)
{
	struct statx st;
	int flags = fd == AT_FDCWD ? 0 : AT_EMPTY_PATH;

	*ret = (struct whi_identity){ 0 };
	if (statx(fd, flags ? "" : path, flags, STATX_INO | STATX_BTIME, &st) < 0)
		return;
	ret->device = makedev(st.stx_dev_major, st.stx_dev_minor);
	ret->inode = st.stx_ino;
	/* A number is given again when its file has gone. */
	if (st.stx_mask & STATX_BTIME)
		ret->born_ns = st.stx_btime.tv_sec * (int64_t)1000000000 + st.stx_btime.tv_nsec;
}

bool whi_source_is_replaced(struct whi_source *source, int fd)
{
	struct whi_identity now;

	if (!source->is || source->is->inode == 0)
		return false;
	whi_identity_get(&now, fd, NULL);
	if (now.device == source->is->device && now.inode == source->is->inode &&
	    now.born_ns == source->is->born_ns)
		return false;
	source->error = -ESTALE;
	source->done = true;
	return true;
}

/* Where reading ended tells nothing: some files, as those in /sys, only say that they are longer,
 * and what is being cut away reads as zeroes. */
bool whi_has_shrunk(int fd, uint64_t size)
{
	struct stat st;

	return size > 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size < size;
}

void whi_source_check_length(struct whi_source *source, int fd)
{
	if (whi_has_shrunk(fd, source->size))
		source->error = -ESTALE;
}

static void consume(struct whi_source *source, struct whi_buffer *buf, size_t len)
{
	whi_buffer_consume(buf, len);
	source->pos += len;
}

/* Find the first record that is ours. */
static void sync_to_record(struct whi_source *source, const struct wh_mr_job *job,
			   struct whi_buffer *buf, bool eof)
{
	size_t first = whi_records_first(job, buf->data, buf->len, 1);

	/* What tells the beginning of a record may not all be here yet. */
	if (first == 0 && job->find && !eof)
		return;
	consume(source, buf, first ? first : buf->len);
	source->synced = first > 0;
	source->done = eof || source->pos >= source->end;
	if (source->synced)
		source->done = source->pos >= source->end || (eof && buf->len == 0);
}

/* How many bytes of `buf` are whole records of ours. Sets `done` if there will be no more. */
static size_t find_records(struct whi_source *source, const struct wh_mr_job *job,
			   const struct whi_buffer *buf, bool eof)
{
	size_t to_end, take;

	if (source->end - source->pos > buf->len) {
		source->done = eof;
		return eof ? buf->len : whi_records_last(job, buf->data, buf->len);
	}
	to_end = (size_t)(source->end - source->pos);
	take = whi_records_first(job, buf->data, buf->len, to_end);
	source->done = take > 0 || eof;
	if (take > 0)
		return take;
	/* The last record goes on; those before it need not wait. */
	return eof ? buf->len : whi_records_last(job, buf->data, buf->len);
}

static struct wh_mr_origin here(const struct whi_source *source)
{
	return (struct wh_mr_origin){ .path = source->path, .offset = source->pos };
}

/* A record that does not fit: double the buffer. */
static int grow(const struct whi_source *source, const struct whi_mapper_job *shared,
		struct whi_buffer *buf)
{
	const struct wh_mr_job *job = shared->job;
	struct wh_mr_origin origin = here(source);

	if (buf->len < buf->room)
		return 0;
	if (job->record_max && buf->len > job->record_max)
		return whi_why_at(shared->why, -EMSGSIZE, &origin,
				  "a record is longer than record_max allows");
	if (source->room_max && buf->len >= source->room_max)
		return -EFBIG;
	return whi_buffer_reserve(buf, buf->room * 2);
}

/* How many of `take` bytes are to be mapped. */
static size_t leave_tail(struct whi_source *source, const struct whi_mapper_job *shared,
			 size_t take)
{
	size_t whole = whi_records_whole(shared->job, take);
	struct wh_mr_origin origin = here(source);

	origin.offset += whole;
	if (whole < take && !source->error)
		source->error = whi_why_at(shared->why, -ENODATA, &origin,
					   "the last record is shorter than record_bytes,");
	return whole;
}

int whi_source_map(struct whi_source *source, struct whi_mapper *mapper, struct whi_buffer *buf,
		   bool eof)
{
	const struct whi_mapper_job *shared = mapper->shared;
	struct wh_mr_origin origin;
	size_t take;
	int r;

	if (!source->synced)
		sync_to_record(source, shared->job, buf, eof);
	if (source->done)
		return 0;
	if (!source->synced)
		return grow(source, shared, buf);
	take = find_records(source, shared->job, buf, eof);
	origin = here(source);
	whi_mapper_from(mapper, &origin);
	r = whi_mapper_map(mapper, buf->data, leave_tail(source, shared, take));
	if (r < 0)
		return r;
	consume(source, buf, take);
	source->done |= source->pos >= source->end;
	return source->done ? 0 : grow(source, shared, buf);
}

uint64_t whi_source_progress(struct whi_source *source)
{
	uint64_t pos = source->pos < source->end ? source->pos : source->end;
	uint64_t total = pos > source->begin ? pos - source->begin : 0;
	uint64_t more = total > source->counted ? total - source->counted : 0;

	source->counted += more;
	return more;
}

bool whi_source_is_compressed(struct whi_source *source, const struct whi_buffer *buf)
{
	bool look = source->look;

	source->look = false;
	return look && whi_unpack_is_packed(buf->data, buf->len);
}

int whi_open_cached(const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		.resolve = RESOLVE_CACHED,
	};

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

uint64_t whi_source_far(const struct whi_source *source, const struct whi_buffer *buf)
{
	uint64_t pos = source->pos + buf->len;

	if (source->end == UINT64_MAX)
		return UINT64_MAX;
	if (pos < source->end)
		return source->end - pos + BEYOND_BYTES;
	/* It goes on for longer. Twice as much each time, as all of it is searched. */
	return pos - source->end + BEYOND_BYTES;
}

size_t whi_source_want(const struct whi_source *source, const struct whi_buffer *buf)
{
	uint64_t want = whi_source_far(source, buf);

	return want < buf->room - buf->len ? (size_t)want : buf->room - buf->len;
}

static ssize_t read_cached(const struct whi_source *source, int fd, const struct whi_buffer *buf)
{
	struct iovec iov = { buf->data + buf->len, whi_source_want(source, buf) };

	return preadv2(fd, &iov, 1, (off_t)(source->pos + buf->len), RWF_NOWAIT);
}

static int map_fd(struct whi_source *source, struct whi_mapper *mapper, int fd)
{
	struct whi_buffer *buf = &mapper->buf;
	int r = whi_buffer_reserve(buf, WHI_READ_BYTES);

	buf->len = 0;
	while (r == 0 && !source->done) {
		uint64_t began = whi_step_begin(mapper->shared->times);
		ssize_t n = read_cached(source, fd, buf);

		whi_step_end(mapper->shared->times, WHI_STEP_READ, began);

		if (n < 0)
			return WHI_NOT_CACHED;
		buf->len += (size_t)n;
		if (whi_source_is_compressed(source, buf))
			return WHI_COMPRESSED;
		r = whi_source_map(source, mapper, buf, n == 0);
	}
	return r;
}

int whi_source_map_cached(struct whi_source *source, struct whi_mapper *mapper)
{
	int fd = whi_open_cached(source->path);
	int r;

	if (fd < 0)
		return WHI_NOT_CACHED;
	r = whi_source_is_replaced(source, fd) ? 0 : map_fd(source, mapper, fd);
	if (r == 0)
		whi_source_check_length(source, fd);
	close(fd);
	return r;
}
