/* Owns the readers: tasks of the caller's loop that each take the next split and see it through.
 *
 * What is in the page cache is read by the worker that maps it, into its second-level cache,
 * without a loop in between. What is not is read by the ring, with as many reads in flight as there
 * are readers, while the workers map what has come.
 *
 * The parts of a large file that is not cached are read through one descriptor, each at once: then
 * they are one sequence to the kernel, which reads ahead of all of them in pieces as large as the
 * device takes. Read each on its own they are streams that it knows little about.
 *
 * Readers run on one loop: what they share needs no lock. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <whorl/file.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "base/alloc.h"
#include "base/container.h"
#include "base/queue.h"
#include "mapreduce/direct.h"
#include "mapreduce/job.h"
#include "mapreduce/piece.h"
#include "task/task.h"

enum {
	READERS_A_WORKER = 2,
	PART_MAX = 8 * 1024 * 1024, /* of a part that is read at once */
	COLD_READS = 2,		    /* more at a time are no longer one sequence */
};

/* Everything of the file was mapped, and something is wrong with it. */
enum { FILE_WRONG = WHI_PACKED_DAMAGED + 1 };

/* A large file that turned out not to be cached, at least where it was first looked at. */
struct cold {
	struct wh_file *file; /* NULL: none */
	size_t index;
	unsigned users;
	unsigned reads;		 /* at the moment */
	struct whi_fifo waiting; /* for their turn */
};

struct turn {
	struct whi_qnode link;
	struct whi_wait wait;
};

struct readers {
	struct whi_mr *mr;
	struct cold cold;
};

struct reader {
	struct whi_mr *mr;
	struct cold *cold; /* of all readers */
	int held;	   /* descriptor of the cold file, while a worker maps from it; else -1 */
	struct whi_split split;
	size_t file; /* the one of the split that `piece` is of */
	struct whi_piece piece;
	struct whi_buffer buf; /* of what the ring reads and is not compressed */
	bool eof;
	bool asked; /* for what this split has that is not cached */
	struct whi_direct direct;
};

static int start_file(struct reader *reader, size_t index)
{
	struct whi_mr *mr = reader->mr;

	reader->file = index;
	return whi_piece_begin(&reader->piece, &mr->input.files[index], &reader->split,
			       whi_mr_unpacks(mr));
}

static bool is_last_file(const struct reader *reader)
{
	return reader->file + 1 == reader->split.file + reader->split.file_count;
}

static void count_progress(struct reader *reader)
{
	struct whi_mr *mr = reader->mr;
	struct whi_piece *piece = &reader->piece;

	if (piece->is_packed)
		whi_mr_count_packed(mr, &piece->packed);
	else
		atomic_fetch_add_explicit(&mr->bytes_done, whi_source_progress(&piece->source),
					  memory_order_relaxed);
}

/* What is wrong with the current file. */
static int *error_of(struct reader *reader)
{
	return &whi_piece_source(&reader->piece)->error;
}

/* Map the current file, as far as it is cached. */
static int map_file_cached(struct reader *reader, struct whi_mapper *mapper)
{
	struct whi_piece *piece = &reader->piece;
	int r = reader->held < 0 ? whi_piece_map_cached(piece, mapper)
				 : whi_piece_map(piece, mapper, reader->held, false);

	count_progress(reader);
	return r == 0 && *error_of(reader) ? FILE_WRONG : r;
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
	if (reader->piece.is_packed)
		r = whi_packed_map(&reader->piece.packed, mapper, reader->eof);
	else
		r = whi_source_map(&reader->piece.source, mapper, &reader->buf, reader->eof);
	count_progress(reader);
	whi_mr_put_mapper(reader->mr, mapper);
	return r;
}

static bool is_interrupted(int error)
{
	return (error == -ECANCELED || error == -ETIMEDOUT) && wh_cancelled() < 0;
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
		*error_of(reader) = (int)n;
	buf->len += n > 0 ? (size_t)n : 0;
	reader->eof = n <= 0 || whi_source_ends(whi_piece_source(&reader->piece), wh_file_fd(file),
						offset + (uint64_t)n);
	return 0;
}

static int read_packed(struct reader *reader, struct wh_file *file)
{
	struct whi_packed *packed = &reader->piece.packed;
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

/* Wait until a file that is shared may be read. Whoever reads ends soon, cancelled or not. */
static void take_turn(struct cold *cold)
{
	struct turn turn = { .wait.what = "reads of others" };

	if (cold->reads < COLD_READS) {
		cold->reads++;
		return;
	}
	whi_fifo_push(&cold->waiting, &turn.link);
	whi_task_suspend(&turn.wait);
}

static void pass_turn(struct cold *cold)
{
	struct whi_qnode *next = whi_fifo_pop(&cold->waiting);

	if (next)
		whi_task_wake(&whi_container_of(next, struct turn, link)->wait);
	else
		cold->reads--;
}

static int read_in_turn(struct reader *reader, struct wh_file *file)
{
	struct cold *cold = reader->cold;
	struct whi_source *source = &reader->piece.source;
	struct whi_buffer *buf = &reader->buf;
	int r;

	if (file == cold->file)
		take_turn(cold);
	r = read_more(reader, file, buf, whi_source_want(source, buf), source->pos + buf->len);
	if (file == cold->file)
		pass_turn(cold);
	return r;
}

/* For all of a part, where memory is not so short that all readers' buffers count. */
static size_t room_for(const struct reader *reader, uint64_t part)
{
	const struct whi_mr *mr = reader->mr;
	uint64_t share = mr->spill.budget.max / 8 / (mr->workers * READERS_A_WORKER);

	return part <= PART_MAX && part <= share ? (size_t)part : WHI_READ_COLD_BYTES;
}

static int read_file(struct reader *reader, struct wh_file *file)
{
	struct whi_buffer *buf = &reader->buf;
	struct whi_source *source = &reader->piece.source;
	int r;

	buf->len = 0;
	r = whi_buffer_reserve(buf, room_for(reader, whi_source_far(source, buf)));
	while (r == 0 && !source->done) {
		r = read_in_turn(reader, file);
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

	if (!reader->piece.is_packed) {
		r = read_file(reader, file);
		if (r != WHI_COMPRESSED)
			return r;
		r = whi_piece_unpack(&reader->piece);
	}
	return r < 0 ? r : read_packed(reader, file);
}

/* Parts of one file, which are what it pays to share a descriptor for. */
static bool is_part(const struct reader *reader)
{
	return reader->split.end != UINT64_MAX && !reader->piece.is_packed;
}

static bool is_cold(const struct reader *reader)
{
	return is_part(reader) && reader->cold->file && reader->cold->index == reader->file;
}

/* The file just opened is to be read by all that have parts of it. */
static void share(struct reader *reader, struct wh_file *file)
{
	struct cold *cold = reader->cold;
	struct wh_file *before = cold->file;

	cold->file = file;
	cold->index = reader->file;
	cold->users = 1;
	if (before)
		wh_file_close(before);
}

/* Whether there are pages for all of the current part of a cold file. */
static bool seems_cached(const struct reader *reader)
{
	const struct whi_source *source = &reader->piece.source;

	return whi_is_cached(wh_file_fd(reader->cold->file), source->pos,
			     source->end - source->pos);
}

static int open_file(struct reader *reader, struct wh_file **ret)
{
	int r;

	if (is_cold(reader)) {
		*ret = reader->cold->file;
		reader->cold->users++;
		return 0;
	}
	r = wh_file_open(reader->piece.source.path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0, ret);
	if (r == 0 && is_part(reader) && !is_cold(reader) && reader->cold->users == 0)
		share(reader, *ret);
	return r;
}

static void close_file(struct reader *reader, struct wh_file *file)
{
	if (file == reader->cold->file)
		reader->cold->users--;
	else
		wh_file_close(file);
}

/* Map the current file by way of the ring, from where it was left. */
static int map_uncached(struct reader *reader)
{
	struct whi_piece *piece = &reader->piece;
	struct wh_file *file;
	int r = open_file(reader, &file);

	if (r < 0 && is_interrupted(r))
		return r;
	if (r < 0) {
		*error_of(reader) = r;
		return 0;
	}
	if (!whi_source_is_replaced(whi_piece_source(piece), wh_file_fd(file)))
		r = map_opened(reader, file);
	if (r == 0)
		whi_source_check_length(whi_piece_source(piece), wh_file_fd(file));
	close_file(reader, file);
	return r;
}

/* As far as it is cached. Of a cold file only what is there, and through its one descriptor: any
 * other try would have the kernel read a little, as if this were a stream of its own. */
static int map_by_worker(struct reader *reader)
{
	struct cold *cold = reader->cold;
	int r;

	if (!is_cold(reader))
		return whi_mr_offload(reader->mr, map_cached, reader);
	if (!seems_cached(reader))
		return WHI_NOT_CACHED;
	cold->users++;
	reader->held = wh_file_fd(cold->file);
	r = whi_mr_offload(reader->mr, map_cached, reader);
	reader->held = -1;
	cold->users--;
	return r;
}

/* Map the files of a split, from the current one on, until one of them needs something besides. */
static int map_some(struct reader *reader)
{
	struct whi_file *file = &reader->mr->input.files[reader->file];
	int r = WHI_NOT_CACHED;

	/* Parts have been looked at: none is compressed. */
	if (reader->mr->job->direct && is_part(reader))
		r = whi_direct_map(&reader->direct, reader->mr, &reader->piece.source);
	if (r == WHI_NOT_CACHED)
		r = map_by_worker(reader);
	if (r == WHI_NOT_CACHED)
		r = map_uncached(reader);
	if (r < 0)
		return r;
	/* What could not be read of a compressed file is missing in it. */
	if (*error_of(reader))
		whi_mr_file_failed(reader->mr, file, *error_of(reader));
	else if (r == WHI_PACKED_DAMAGED)
		whi_mr_file_damaged(reader->mr, file, &reader->piece.packed.unpack);
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
	struct readers *readers = arg;
	struct whi_mr *mr = readers->mr;
	struct reader reader = {
		.mr = mr,
		.cold = &readers->cold,
		.held = -1,
		.piece.packed.times = mr->shared.times,
	};
	int r = 0;

	while (r == 0 && mr->next_split < mr->end_split) {
		reader.split = mr->input.splits[mr->next_split++];
		r = map_split(&reader);
	}
	whi_buffer_fini(&reader.buf);
	whi_piece_fini(&reader.piece);
	whi_direct_fini(&reader.direct);
	return r;
}

int whi_mr_map_files(struct whi_mr *mr)
{
	unsigned count = mr->workers * READERS_A_WORKER;
	struct readers readers = { .mr = mr };
	struct wh_scope scope;
	int r = 0, closed;

	if (mr->job->direct)
		count += WHI_DIRECT_READERS;
	wh_scope_open(&scope, NULL);
	for (unsigned i = 0; i < count && r == 0; i++)
		if (i < mr->input.split_count)
			r = wh_spawn(&scope, read_splits, &readers);
	if (r < 0)
		wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	if (readers.cold.file)
		wh_file_close(readers.cold.file);
	return whi_mr_error(r, closed);
}
