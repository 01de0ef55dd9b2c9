/* Owns the jobs whose records are files: tasks of the caller's loop that each take the next split,
 * have a worker map its files one after another, and tell which of them failed.
 *
 * A worker maps what is in the page cache without asking. Of a file that is not, the ring first
 * reads the beginning, with as many files in flight as there are tasks; what is left of a large one
 * then comes from the kernel's own reading ahead. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <whorl/file.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "base/alloc.h"
#include "mapreduce/job.h"
#include "mapreduce/source.h"
#include "mapreduce/whole.h"

enum { READERS_A_WORKER = 4 };

/* What mapping a file may come to besides WHI_NOT_CACHED: `error` says what is wrong with it. */
enum { FILE_WRONG = WHI_COMPRESSED + 1 };

struct reader {
	struct whi_mr *mr;
	size_t file;
	size_t file_end;
	bool warm; /* the ring has read the beginning of `file` */
	int error;
	struct whi_buffer buf; /* of what the ring reads */
};

static int open_file(const struct whi_file *file, bool cached_only)
{
	int fd;

	if (!file->path)
		return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	if (cached_only)
		return whi_open_cached(file->path);
	do {
		fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	} while (fd < 0 && errno == EINTR);
	return fd;
}

static int map_opened(struct reader *reader, struct whi_mapper *mapper, struct whi_whole *whole)
{
	const struct whi_file *file = &reader->mr->input.files[reader->file];
	int r = whi_mapper_map_whole(mapper, whole, file->path ? file->path : "-");

	if (!whole->error || whole->error == -ECANCELED)
		return r;
	reader->error = whole->error;
	return FILE_WRONG;
}

/* On a worker: map one file. */
static int map_file(struct reader *reader, struct whi_mapper *mapper)
{
	struct whi_mr *mr = reader->mr;
	const struct whi_file *file = &mr->input.files[reader->file];
	bool cached_only = !reader->warm && !file->is_stream;
	struct whi_whole whole = {
		.buf = &mapper->buf,
		.stop = &mr->stop,
		.bytes_done = &mr->bytes_done,
	};
	int fd = open_file(file, cached_only), r;

	if (fd < 0 && cached_only)
		return WHI_NOT_CACHED;
	if (fd < 0) {
		reader->error = -errno;
		return FILE_WRONG;
	}
	r = whi_whole_begin(&whole, fd, cached_only);
	if (r == 0)
		r = map_opened(reader, mapper, &whole);
	else if (r < 0)
		reader->error = r;
	close(fd);
	return r < 0 && reader->error ? FILE_WRONG : r;
}

/* On a worker: map files of the split as far as nothing is the matter with them. */
static int map_files(void *arg)
{
	struct reader *reader = arg;
	struct whi_mapper *mapper = whi_mr_take_mapper(reader->mr);
	int r = mapper ? whi_buffer_reserve(&mapper->buf, WHI_READ_BYTES) : -ENOMEM;

	while (r == 0 && reader->file < reader->file_end) {
		r = map_file(reader, mapper);
		if (r != 0)
			break;
		reader->file++;
		reader->warm = false;
	}
	if (mapper)
		whi_mr_put_mapper(reader->mr, mapper);
	return r;
}

/* Have the ring read the beginning of the current file. Whether it can is for the worker to find
 * out. */
static int warm(struct reader *reader)
{
	const struct whi_file *file = &reader->mr->input.files[reader->file];
	struct wh_file *opened;
	int r = whi_buffer_reserve(&reader->buf, WHI_READ_COLD_BYTES);

	reader->warm = true;
	if (r < 0)
		return r;
	r = wh_file_open(file->path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0, &opened);
	if (r < 0)
		return wh_cancelled();
	(void)wh_file_read(opened, reader->buf.data, reader->buf.room, 0);
	wh_file_close(opened);
	return wh_cancelled();
}

static int map_split(struct reader *reader, const struct whi_split *split)
{
	int r = 0;

	reader->file = split->file;
	reader->file_end = split->file + split->file_count;
	reader->warm = false;
	while (r == 0 && reader->file < reader->file_end) {
		reader->error = 0;
		r = whi_mr_offload(reader->mr, map_files, reader);
		if (r == WHI_NOT_CACHED) {
			r = warm(reader);
		} else if (r == FILE_WRONG) {
			whi_mr_file_failed(reader->mr, &reader->mr->input.files[reader->file],
					   reader->error);
			reader->file++;
			reader->warm = false;
			r = 0;
		}
	}
	return r;
}

static int read_splits(void *arg)
{
	struct whi_mr *mr = arg;
	struct reader reader = { .mr = mr };
	int r = 0;

	while (r == 0 && mr->next_split < mr->input.split_count) {
		const struct whi_split *split = &mr->input.splits[mr->next_split++];

		r = map_split(&reader, split);
	}
	whi_buffer_fini(&reader.buf);
	return r;
}

/* Streams are in no split: one after another, each as a split of its own. */
int whi_mr_map_whole_streams(struct whi_mr *mr)
{
	struct reader reader = { .mr = mr };
	int r = 0;

	for (size_t i = 0; i < mr->input.file_count && r == 0; i++)
		if (mr->input.files[i].is_stream && !mr->input.files[i].error)
			r = map_split(&reader, &(struct whi_split){ .file = i, .file_count = 1 });
	return r;
}

int whi_mr_map_whole(struct whi_mr *mr)
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
	r = whi_mr_error(r, closed);
	return r < 0 ? r : whi_mr_map_whole_streams(mr);
}
