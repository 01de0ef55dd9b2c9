/* Owns the borders: which records of a buffer belong to a source; and whether its file is still the
 * one that was listed.
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
#include <unistd.h>

#include "mapreduce/decompress.h"
#include "mapreduce/records.h"

/* Read beyond the end of a part at first: its last record goes on for a few bytes. */
enum { BEYOND_BYTES = 4096 };

enum { SYS_CACHESTAT = 451 }; /* of Linux 6.5, on all processors; headers may be older */

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
	int flags = path ? 0 : AT_EMPTY_PATH;

	*ret = (struct whi_identity){ 0 };
	if (statx(fd, path ? path : "", flags, STATX_INO | STATX_BTIME, &st) < 0)
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

/* What a read says stays. That the last record is too short is but a consequence, and so is what
 * the read says of a pipe in the file's place. */
static void has_lost(struct whi_source *source)
{
	if (!source->error || source->error == -ENODATA || source->error == -ESPIPE)
		source->error = -ESTALE;
}

void whi_source_check_length(struct whi_source *source, int fd)
{
	if (!source->checked && whi_has_shrunk(fd, source->size))
		has_lost(source);
}

bool whi_source_ends(struct whi_source *source, int fd, uint64_t at)
{
	struct stat st;

	if (at == 0 || at != source->size || fstat(fd, &st) < 0 || (uint64_t)st.st_size > at)
		return false;
	source->checked = true;
	if ((uint64_t)st.st_size < at)
		has_lost(source);
	return true;
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

bool whi_is_cached(int fd, uint64_t begin, uint64_t len)
{
	const struct {
		uint64_t begin;
		uint64_t len;
	} range = { begin, len };
	struct {
		uint64_t cached;
		uint64_t dirty;
		uint64_t written;
		uint64_t evicted;
		uint64_t recently_evicted;
	} pages;

	if (syscall(SYS_CACHESTAT, fd, &range, &pages, 0) < 0)
		return false;
	return pages.cached >= len / (uint64_t)sysconf(_SC_PAGESIZE);
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
