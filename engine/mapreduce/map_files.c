/* Owns the readers: tasks of the caller's loop that each take the next split and see it through.
 *
 * What is in the page cache is read by the worker that maps it, into its second-level cache,
 * without a loop in between. What is not is read by the ring, with as many reads in flight as there
 * are readers, while the workers map what has come.
 *
 * Readers run on one loop: what they share needs no lock. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <whorl/file.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "base/alloc.h"
#include "mapreduce/decompress_map.h"
#include "mapreduce/direct.h"
#include "mapreduce/job.h"

enum { READERS_A_WORKER = 2 };

/* Everything of the file was mapped, and something is wrong with it. */
enum { FILE_WRONG = WHI_PACKED_DAMAGED + 1 };

struct reader {
	struct whi_mr *mr;
	struct whi_split split;
	size_t file; /* the one of the split that `source` is of */
	struct whi_source source;
	struct whi_buffer buf; /* of what the ring reads */
	bool eof;
	bool asked;		  /* for what this split has that is not cached */
	bool is_packed;		  /* then `packed` instead of `source` and `buf` */
	struct whi_packed packed; /* memory of it is used by one file after another */
	struct whi_direct direct; /* and of it */
};

static int begin_packed(struct reader *reader, uint64_t begin, uint64_t end)
{
	int r;

	reader->is_packed = true;
	reader->packed.times = reader->mr->shared.times;
	r = whi_packed_begin(&reader->packed, reader->source.path, begin, end);
	reader->packed.source.is = reader->source.is;
	reader->packed.source.size = reader->source.size;
	return r;
}

static int start_file(struct reader *reader, size_t index)
{
	const struct whi_file *file = &reader->mr->input.files[index];
	const struct whi_split *split = &reader->split;
	uint64_t end = split->end;

	/* Files that have no length, as those in /proc, are read to their end. */
	if (end == UINT64_MAX && file->size > 0)
		end = file->size;
	reader->file = index;
	reader->is_packed = false;
	whi_source_init(&reader->source, file->path, split->begin, end);
	reader->source.is = &split->is;
	reader->source.size = file->size;
	if (file->packed)
		return begin_packed(reader, split->begin, end < file->size ? end : UINT64_MAX);
	reader->source.look = split->end == UINT64_MAX && whi_mr_unpacks(reader->mr);
	return 0;
}

static bool is_last_file(const struct reader *reader)
{
	return reader->file + 1 == reader->split.file + reader->split.file_count;
}

static void count_progress(struct reader *reader)
{
	struct whi_mr *mr = reader->mr;

	if (!reader->is_packed) {
		atomic_fetch_add_explicit(&mr->bytes_done, whi_source_progress(&reader->source),
					  memory_order_relaxed);
		return;
	}
	whi_mr_count_packed(mr, &reader->packed);
}

static struct whi_source *current(struct reader *reader)
{
	return reader->is_packed ? &reader->packed.source : &reader->source;
}

/* Map the current file, as far as it is cached. */
static int map_file_cached(struct reader *reader, struct whi_mapper *mapper)
{
	int r = WHI_COMPRESSED;

	if (!reader->is_packed)
		r = whi_source_map_cached(&reader->source, mapper);
	if (r == WHI_COMPRESSED && !reader->is_packed && begin_packed(reader, 0, UINT64_MAX) < 0)
		return -ENOMEM;
	if (r == WHI_COMPRESSED)
		r = whi_packed_map_cached(&reader->packed, mapper);
	count_progress(reader);
	return r == 0 && current(reader)->error ? FILE_WRONG : r;
}

/* One of many small files is not cached, so the next will not be either: ask for all at once, so
 * that the device has more than one request at a time. */
static void ask_ahead(struct reader *reader)
{
	size_t end = reader->split.file + reader->split.file_count;

	for (size_t i = reader->file; i < end && !reader->asked; i++) {
		const char *path = reader->mr->input.files[i].path;
		int fd = whi_open_cached(path);

		if (fd < 0)
			continue;
		posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
		close(fd);
	}
	reader->asked = true;
}

/* On a worker: map the split's files, from the current one on, as far as they are cached. */
static int map_cached(void *arg)
{
	struct reader *reader = arg;
	struct whi_mapper *mapper = whi_mr_take_mapper(reader->mr);
	int r;

	if (!mapper)
		return -ENOMEM;
	for (;;) {
		r = map_file_cached(reader, mapper);
		if (r != 0 || is_last_file(reader))
			break;
		r = start_file(reader, reader->file + 1);
		if (r < 0)
			break;
	}
	if (r == WHI_NOT_CACHED && !is_last_file(reader))
		ask_ahead(reader);
	whi_mr_put_mapper(reader->mr, mapper);
	return r;
}

/* On a worker: map what the ring has read. */
static int map_read(void *arg)
{
	struct reader *reader = arg;
	struct whi_mapper *mapper = whi_mr_take_mapper(reader->mr);
	int r;

	if (!mapper)
		return -ENOMEM;
	if (reader->is_packed)
		r = whi_packed_map(&reader->packed, mapper, reader->eof);
	else
		r = whi_source_map(&reader->source, mapper, &reader->buf, reader->eof);
	count_progress(reader);
	whi_mr_put_mapper(reader->mr, mapper);
	return r;
}

static bool is_interrupted(int error)
{
	return (error == -ECANCELED || error == -ETIMEDOUT) && wh_cancelled() < 0;
}

static void file_failed(struct reader *reader, int error)
{
	whi_mr_file_failed(reader->mr, &reader->mr->input.files[reader->file], error);
}

/* Read up to `len` bytes of the file at `offset` behind those in `buf`. After an error, what has
 * been read still counts. */
static int read_more(struct reader *reader, struct wh_file *file, struct whi_buffer *buf,
		     size_t len, uint64_t offset)
{
	ssize_t n = wh_file_read(file, buf->data + buf->len, len, offset);

	if (n < 0 && is_interrupted((int)n))
		return (int)n;
	if (n < 0)
		file_failed(reader, (int)n);
	reader->eof = n <= 0;
	buf->len += n > 0 ? (size_t)n : 0;
	return 0;
}

static int read_packed(struct reader *reader, struct wh_file *file)
{
	struct whi_packed *packed = &reader->packed;
	struct whi_buffer *raw = &packed->raw;
	int r = whi_buffer_reserve(raw, WHI_READ_COLD_BYTES);

	if (r < 0)
		return r;
	do {
		r = read_more(reader, file, raw, raw->room - raw->len, whi_packed_next(packed));
		if (r == 0)
			r = whi_mr_offload(reader->mr, map_read, reader);
	} while (r == WHI_PACKED_HUNGRY);
	return r;
}

static int read_file(struct reader *reader, struct wh_file *file)
{
	struct whi_buffer *buf = &reader->buf;
	struct whi_source *source = &reader->source;
	int r = whi_buffer_reserve(buf, WHI_READ_COLD_BYTES);

	buf->len = 0;
	while (r == 0 && !source->done) {
		r = read_more(reader, file, buf, whi_source_want(source, buf),
			      source->pos + buf->len);
		if (r == 0 && whi_source_is_compressed(source, buf))
			return WHI_COMPRESSED;
		if (r == 0)
			r = whi_mr_offload(reader->mr, map_read, reader);
	}
	return r;
}

static int map_opened(struct reader *reader, struct wh_file *file)
{
	int r = 0;

	if (!reader->is_packed) {
		r = read_file(reader, file);
		if (r != WHI_COMPRESSED)
			return r;
		r = begin_packed(reader, 0, UINT64_MAX);
	}
	return r < 0 ? r : read_packed(reader, file);
}

/* Map the current file by way of the ring, from where it was left. */
static int map_uncached(struct reader *reader)
{
	struct wh_file *file;
	int r = wh_file_open(reader->source.path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0, &file);

	if (r < 0 && is_interrupted(r))
		return r;
	if (r < 0) {
		file_failed(reader, r);
		return 0;
	}
	if (!whi_source_is_replaced(current(reader), wh_file_fd(file)))
		r = map_opened(reader, file);
	if (r == 0)
		whi_source_check_length(current(reader), wh_file_fd(file));
	wh_file_close(file);
	return r;
}

/* Only parts of large files; those have been looked at. */
static bool is_direct(const struct reader *reader)
{
	return reader->mr->job->direct && !reader->is_packed && reader->split.end != UINT64_MAX;
}

/* Map the files of a split, from the current one on, until one of them needs something besides. */
static int map_some(struct reader *reader)
{
	int r = WHI_NOT_CACHED;

	if (is_direct(reader))
		r = whi_direct_map(&reader->direct, reader->mr,
				   &reader->mr->input.files[reader->file], &reader->source);
	if (r == WHI_NOT_CACHED)
		r = whi_mr_offload(reader->mr, map_cached, reader);
	if (r == WHI_NOT_CACHED)
		r = map_uncached(reader);
	if ((r == 0 || r == FILE_WRONG) && current(reader)->error) {
		file_failed(reader, current(reader)->error);
		return 0;
	}
	if (r != WHI_PACKED_DAMAGED)
		return r;
	whi_mr_file_damaged(reader->mr, &reader->mr->input.files[reader->file],
			    &reader->packed.unpack);
	return 0;
}

static int map_split(struct reader *reader)
{
	int r = start_file(reader, reader->split.file);

	reader->asked = false;
	while (r == 0) {
		r = map_some(reader);
		if (r < 0 || is_last_file(reader))
			return r;
		r = start_file(reader, reader->file + 1);
	}
	return r;
}

static int read_splits(void *arg)
{
	struct whi_mr *mr = arg;
	struct reader reader = { .mr = mr };
	int r = 0;

	while (r == 0 && mr->next_split < mr->end_split) {
		reader.split = mr->input.splits[mr->next_split++];
		r = map_split(&reader);
	}
	whi_buffer_fini(&reader.buf);
	whi_packed_fini(&reader.packed);
	whi_direct_fini(&reader.direct);
	return r;
}

int whi_mr_map_files(struct whi_mr *mr)
{
	unsigned readers = mr->workers * READERS_A_WORKER;
	struct wh_scope scope;
	int r = 0, closed;

	if (mr->job->direct)
		readers += WHI_DIRECT_READERS;
	wh_scope_open(&scope, NULL);
	for (unsigned i = 0; i < readers && r == 0; i++)
		if (i < mr->input.split_count)
			r = wh_spawn(&scope, read_splits, mr);
	if (r < 0)
		wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	return whi_mr_error(r, closed);
}
