#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <whorl/file.h>

#include "outcome.h"
#include "scenarios.h"
#include "support/task_test.h"

enum { BYTES = 9000 };

static char content[BYTES];

void make_words(void)
{
	char path[128];
	FILE *file = fopen(scenario_path(path, "words"), "w");

	check(file);
	for (int i = 0; i < WORDS; i++)
		check(fprintf(file, "%c%d whorl%c", 'a' + i % 26, i, i % 10 ? ' ' : '\n') > 0);
	check_int(fclose(file), 0);
}

static int write_parts(struct wh_file *file)
{
	char one[] = "one ", two[] = "two";
	struct iovec iov[2] = { { one, 4 }, { two, 3 } };
	struct statx attributes;
	ssize_t r = did(wh_file_allocate, file, 0, 0, BYTES);

	if (r == 0)
		r = did(wh_file_write, file, content, BYTES, 0);
	if (r == BYTES)
		r = did(wh_file_writev, file, iov, 2, BYTES);
	if (r >= 0)
		r = did(wh_file_sync, file, false);
	if (r >= 0)
		r = did(wh_file_stat, file, &attributes);
	return (int)r;
}

static int read_parts(struct wh_file *file)
{
	char buf[100], more[100];
	struct iovec iov[2] = { { buf, sizeof(buf) }, { more, sizeof(more) } };
	ssize_t r = did(wh_file_read, file, buf, sizeof(buf), 0);

	if (r > 0)
		check(memcmp(buf, content, (size_t)r) == 0);
	if (r >= 0)
		r = did(wh_file_readv, file, iov, 2, 0);
	return r < 0 ? (int)r : 0;
}

static int read_in_order(struct wh_file *file)
{
	const struct wh_reader_opts opts = { .chunk_bytes = 1000, .depth = 3, .length = BYTES };
	struct wh_reader *reader;
	size_t total = 0;
	void *data;
	ssize_t r = did(wh_reader_open, file, &opts, &reader);

	if (r < 0)
		return (int)r;
	while ((r = did(wh_reader_next, reader, &data)) > 0) {
		check(memcmp(data, content + total, (size_t)r) == 0);
		total += (size_t)r;
	}
	wh_reader_close(reader);
	if (r == 0)
		check_int(total, BYTES);
	return (int)r;
}

static int use_file(const char *path)
{
	struct wh_file *file;
	int r = did(wh_file_open, path, O_CREAT | O_RDWR | O_TRUNC, 0600, &file);
	int closed;

	if (r < 0)
		return r;
	r = write_parts(file);
	if (r >= 0)
		r = read_parts(file);
	if (r >= 0)
		r = read_in_order(file);
	closed = did(wh_file_close, file);
	return r < 0 ? r : closed;
}

static int use_paths(void *arg)
{
	char path[128], other[128], folder[128];
	struct statx attributes;
	int r;

	(void)arg;
	scenario_path(path, "file");
	scenario_path(other, "other");
	scenario_path(folder, "folder");
	memset(content, 'f', sizeof(content));
	r = use_file(path);
	if (r == 0)
		r = did(wh_path_rename, path, other, 0);
	if (r == 0)
		r = did(wh_path_stat, other, 0, &attributes);
	if (r == 0)
		r = did(wh_path_unlink, other, false);
	if (r == 0)
		r = did(wh_path_mkdir, folder, 0700);
	if (r == 0)
		r = did(wh_path_unlink, folder, true);
	/* What a step that failed has left behind. */
	unlink(path);
	unlink(other);
	rmdir(folder);
	return r;
}

int files(void *arg)
{
	return in_time(use_paths, arg);
}

/* Pipes */

static int write_and_close(void *arg)
{
	ssize_t r = did(wh_file_write, arg, content, BYTES, 0);

	did(wh_file_close, arg);
	return r < 0 ? (int)r : 0;
}

static int read_to_end(struct wh_file *file)
{
	struct wh_reader *reader;
	size_t total = 0;
	void *data;
	ssize_t r = did(wh_reader_open, file, &(struct wh_reader_opts){ .chunk_bytes = 700 },
			&reader);

	if (r < 0)
		return (int)r;
	while ((r = did(wh_reader_next, reader, &data)) > 0)
		total += (size_t)r;
	wh_reader_close(reader);
	return r == 0 && total != BYTES ? -EPIPE : (int)r;
}

static int pass_through(struct wh_file *in, struct wh_file *out)
{
	struct wh_scope scope;
	int r, closed;

	wh_scope_open(&scope, NULL);
	r = did_spawn(&scope, write_and_close, out);
	if (r < 0)
		did(wh_file_close, out);
	else
		r = read_to_end(in);
	/* Who writes waits for room otherwise. */
	if (r < 0)
		wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	return first_failure(r, closed);
}

static int pass_through_pipe(void *arg)
{
	struct wh_file *in, *out;
	int pipes[2];
	int r;

	(void)arg;
	check_int(pipe2(pipes, O_CLOEXEC), 0);
	r = did(wh_file_from_fd, pipes[0], true, &in);
	if (r < 0)
		goto err_pipes;
	r = did(wh_file_from_fd, pipes[1], true, &out);
	if (r < 0)
		goto err_in;
	r = pass_through(in, out);
	did(wh_file_close, in);
	return r;

err_in:
	did(wh_file_close, in);
	close(pipes[1]);
	return r;
err_pipes:
	close(pipes[0]);
	close(pipes[1]);
	return r;
}

int a_pipe(void *arg)
{
	return in_time(pass_through_pipe, arg);
}

static int write_to_named(void *arg)
{
	struct wh_file *file;
	int r = did(wh_file_open, arg, O_WRONLY, 0, &file);

	return r < 0 ? r : write_and_close(file);
}

/* The pipe is opened to read, and waited for, before anybody writes. */
static int read_named(const char *path)
{
	struct wh_scope scope;
	struct wh_file *file;
	int r = did(wh_file_open, path, O_RDONLY, 0, &file);
	int closed;

	if (r < 0)
		return r;
	wh_scope_open(&scope, NULL);
	r = did_spawn(&scope, write_to_named, (void *)(uintptr_t)path);
	if (r == 0)
		r = read_to_end(file);
	closed = wh_scope_close(&scope);
	did(wh_file_close, file);
	return first_failure(r, closed);
}

static int use_named(void *arg)
{
	char path[128];
	int r;

	(void)arg;
	check_int(mkfifo(scenario_path(path, "named"), 0600), 0);
	r = read_named(path);
	unlink(path);
	return r;
}

static int wait_for_writer(void *arg)
{
	int pipes[2];
	int r;

	(void)arg;
	check_int(pipe2(pipes, O_CLOEXEC), 0);
	check_int(write(pipes[1], "x", 1), 1);
	r = did(wh_fd_poll, pipes[0], POLLIN);
	if (r > 0)
		check(r & POLLIN);
	close(pipes[0]);
	close(pipes[1]);
	return r < 0 ? r : 0;
}

int named_pipe(void *arg)
{
	int r = in_time(use_named, arg);

	return r == 0 ? in_time(wait_for_writer, arg) : r;
}
