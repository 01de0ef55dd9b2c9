/* Owns the readers: tasks of the caller's loop that each take the next split and see it through.
 *
 * What is in the page cache is read by the worker that maps it, into its second-level cache,
 * without a loop in between. What is not is read by the ring, with as many reads in flight as there
 * are readers, while the workers map what has come.
 *
 * Readers run on one loop: what they share needs no lock. */
#include <errno.h>
#include <fcntl.h>
#include <whorl/file.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "base/alloc.h"
#include "mapreduce/job.h"

enum { READERS_A_WORKER = 2 };

struct reader {
	struct whi_mr *mr;
	struct whi_split split;
	size_t file; /* the one of the split that `source` is of */
	struct whi_source source;
	struct whi_buffer buf; /* of what the ring reads */
	bool eof;
};

static void start_file(struct reader *reader, size_t index)
{
	const struct whi_file *file = &reader->mr->input.files[index];
	const struct whi_split *split = &reader->split;
	uint64_t end = split->end;

	/* Files that have no length, as those in /proc, are read to their end. */
	if (end == UINT64_MAX && file->size > 0)
		end = file->size;
	reader->file = index;
	whi_source_init(&reader->source, file->path, split->begin, end);
}

static bool next_file(struct reader *reader)
{
	if (reader->file + 1 == reader->split.file + reader->split.file_count)
		return false;
	start_file(reader, reader->file + 1);
	return true;
}

static void count_progress(struct reader *reader)
{
	atomic_fetch_add_explicit(&reader->mr->bytes_done, whi_source_progress(&reader->source),
				  memory_order_relaxed);
}

/* On a worker: map the split's files, from the current one on, as far as they are cached. */
static int map_cached(void *arg)
{
	struct reader *reader = arg;
	struct whi_mapper *mapper = whi_mr_take_mapper(reader->mr);
	int r;

	if (!mapper)
		return -ENOMEM;
	do {
		r = whi_source_map_cached(&reader->source, mapper);
		count_progress(reader);
	} while (r == 0 && next_file(reader));
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

static int read_file(struct reader *reader, struct wh_file *file)
{
	struct whi_buffer *buf = &reader->buf;
	struct whi_source *source = &reader->source;
	int r = whi_buffer_reserve(buf, WHI_READ_COLD_BYTES);

	buf->len = 0;
	while (r == 0 && !source->done) {
		ssize_t n = wh_file_read(file, buf->data + buf->len, whi_source_want(source, buf),
					 source->pos + buf->len);

		if (n < 0 && is_interrupted((int)n))
			return (int)n;
		if (n < 0)
			file_failed(reader, (int)n);
		/* After an error, what has been read still counts. */
		reader->eof = n <= 0;
		buf->len += n > 0 ? (size_t)n : 0;
		r = whi_mr_offload(reader->mr, map_read, reader);
	}
	return r;
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
	r = read_file(reader, file);
	wh_file_close(file);
	return r;
}

static int map_split(struct reader *reader)
{
	int r;

	start_file(reader, reader->split.file);
	for (;;) {
		r = whi_mr_offload(reader->mr, map_cached, reader);
		if (r != WHI_NOT_CACHED)
			return r;
		r = map_uncached(reader);
		if (r < 0 || !next_file(reader))
			return r;
	}
}

static int read_splits(void *arg)
{
	struct whi_mr *mr = arg;
	struct reader reader = { .mr = mr };
	int r = 0;

	while (r == 0 && mr->next_split < mr->input.split_count) {
		reader.split = mr->input.splits[mr->next_split++];
		r = map_split(&reader);
	}
	whi_buffer_fini(&reader.buf);
	return r;
}

int whi_mr_map_files(struct whi_mr *mr)
{
	struct wh_scope scope;
	int r = 0, closed;

	wh_scope_open(&scope, NULL);
	for (unsigned i = 0; i < mr->workers * READERS_A_WORKER && r == 0; i++)
		if (i < mr->input.split_count)
			r = wh_spawn(&scope, read_splits, mr);
	if (r < 0)
		wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	return whi_mr_error(r, closed);
}
