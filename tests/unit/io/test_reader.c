/*
 * Readers: the bytes of a file in order, whatever the chunk size and depth, and whatever happens to
 * the file meanwhile. A file's bytes are a function of their place.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/file.h>

#include "support/task_test.h"

enum { FILE_BYTES = 1000003, PERIOD = 251 };

static uint64_t seed;
static char folder[64], path[80];

static uint8_t byte_at(uint64_t place)
{
	return (uint8_t)(place % PERIOD);
}

static void append(int fd, uint64_t place, size_t len)
{
	uint8_t *buf = malloc(len);

	check(buf);
	for (size_t i = 0; i < len; i++)
		buf[i] = byte_at(place + i);
	check_int(pwrite(fd, buf, len, (off_t)place), len);
	free(buf);
}

static int make(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/file", make_folder(folder));
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	append(fd, 0, FILE_BYTES);
	close(fd);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	remove_folder(folder);
	return 0;
}

static struct wh_file *open_file(int flags)
{
	struct wh_file *file;

	check_int(wh_file_open(path, flags, 0, &file), 0);
	return file;
}

/* Read to the end; the bytes must be those from `place` on. Returns how many they were. */
static uint64_t drain(struct wh_reader *reader, uint64_t place)
{
	uint64_t start = place;
	void *data;
	ssize_t r;

	while ((r = wh_reader_next(reader, &data)) > 0) {
		uint8_t *bytes = data;

		for (ssize_t i = 0; i < r; i++)
			check_int(bytes[i], byte_at(place + (uint64_t)i));
		/* They are ours to change. */
		memset(bytes, 0xff, (size_t)r);
		place += (uint64_t)r;
	}
	check_int(r, 0);
	check_int(wh_reader_next(reader, &data), 0);
	return place - start;
}

static uint64_t read_whole(const struct wh_reader_opts *opts)
{
	struct wh_file *file = open_file(O_RDONLY);
	struct wh_reader *reader;
	uint64_t total;

	check_int(wh_reader_open(file, opts, &reader), 0);
	total = drain(reader, opts ? opts->offset : 0);
	wh_reader_close(reader);
	check_int(wh_file_close(file), 0);
	return total;
}

static int a_file_is_read_whole_and_in_order(void *arg)
{
	static const uint32_t chunks[] = {
		512, 513, 4096, 65536, FILE_BYTES - 1, FILE_BYTES, FILE_BYTES + 1, 1 << 22
	};
	static const uint32_t depths[] = { 2, 3, 4, 64 };

	(void)arg;
	check_int(read_whole(NULL), FILE_BYTES);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++)
		for (size_t j = 0; j < sizeof(depths) / sizeof(depths[0]); j++)
			check_int(read_whole(&(struct wh_reader_opts){ .chunk_bytes = chunks[i],
								       .depth = depths[j] }),
				  FILE_BYTES);
	return 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int ranges_are_kept_to(void *arg)
{
	uint64_t state = seed;

	(void)arg;
	for (int i = 0; i < 100; i++) {
		uint64_t offset = random_next(&state) % (FILE_BYTES + 1000);
		uint64_t length = 1 + random_next(&state) % FILE_BYTES;
		uint64_t left = offset < FILE_BYTES ? FILE_BYTES - offset : 0;

		check_int(read_whole(&(struct wh_reader_opts){
				  .offset = offset, .length = length, .chunk_bytes = 10000 }),
			  least(length, left));
	}
	check_int(read_whole(&(struct wh_reader_opts){ .offset = FILE_BYTES - 1 }), 1);
	check_int(read_whole(&(struct wh_reader_opts){ .offset = 5, .length = UINT64_MAX }),
		  FILE_BYTES - 5);
	return 0;
}

static int chunks_are_full_but_for_the_last(void *arg)
{
	struct wh_file *file = open_file(O_RDONLY);
	const struct wh_reader_opts opts = { .chunk_bytes = 10000 };
	struct wh_reader *reader;
	void *data;

	(void)arg;
	check_int(wh_reader_open(file, &opts, &reader), 0);
	for (int i = 0; i < FILE_BYTES / 10000; i++)
		check_int(wh_reader_next(reader, &data), 10000);
	check_int(wh_reader_next(reader, &data), FILE_BYTES % 10000);
	check_int(wh_reader_next(reader, &data), 0);
	wh_reader_close(reader);
	wh_file_close(file);
	return 0;
}

static int an_empty_file_is_at_its_end(void *arg)
{
	struct wh_reader *reader;
	struct wh_file *file;

	(void)arg;
	check_int(wh_file_open("/dev/null", O_RDONLY, 0, &file), 0);
	check_int(wh_reader_open(file, NULL, &reader), 0);
	check_int(drain(reader, 0), 0);
	wh_reader_close(reader);
	wh_file_close(file);
	return 0;
}

static int options_out_of_range_are_einval(void *arg)
{
	static const struct wh_reader_opts wrong[] = {
		{ .depth = 1 },
		{ .depth = 65 },
		{ .chunk_bytes = 511 },
		{ .chunk_bytes = (1 << 30) + 1 },
	};
	struct wh_file *file = open_file(O_RDONLY);
	struct wh_reader *reader;

	(void)arg;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check_int(wh_reader_open(file, &wrong[i], &reader), -EINVAL);
	wh_file_close(file);
	return 0;
}

static int an_error_is_told_and_told_again(void *arg)
{
	struct wh_file *file = open_file(O_WRONLY);
	struct wh_reader *reader;
	void *data;

	(void)arg;
	check_int(wh_reader_open(file, NULL, &reader), 0);
	check_int(wh_reader_next(reader, &data), -EBADF);
	check_int(wh_reader_next(reader, &data), -EBADF);
	wh_reader_close(reader);
	wh_file_close(file);
	check_int(wh_file_open(folder, O_RDONLY, 0, &file), 0);
	check_int(wh_reader_open(file, NULL, &reader), 0);
	check_int(wh_reader_next(reader, &data), -EISDIR);
	wh_reader_close(reader);
	wh_file_close(file);
	return 0;
}

static int closing_in_the_middle_waits_for_the_kernel(void *arg)
{
	uint64_t state = seed;

	(void)arg;
	for (int i = 0; i < 300; i++) {
		const struct wh_reader_opts opts = { .chunk_bytes = 4096, .depth = 64 };
		struct wh_file *file = open_file(O_RDONLY);
		struct wh_reader *reader;
		void *data;

		check_int(wh_reader_open(file, &opts, &reader), 0);
		for (uint64_t chunks = random_next(&state) % 5; chunks > 0; chunks--)
			check_int(wh_reader_next(reader, &data), 4096);
		wh_reader_close(reader);
		wh_file_close(file);
	}
	return 0;
}

/* Files that change while they are read */

static int a_file_that_shrinks_ends_early(void *arg)
{
	const struct wh_reader_opts opts = { .chunk_bytes = 4096, .depth = 4 };
	struct wh_file *file = open_file(O_RDWR);
	struct wh_reader *reader;
	uint64_t total;
	void *data;

	(void)arg;
	check_int(wh_reader_open(file, &opts, &reader), 0);
	check_int(wh_reader_next(reader, &data), 4096);
	check_int(truncate(path, 100000), 0);
	total = 4096 + drain(reader, 4096);
	check_int(total, 100000);
	wh_reader_close(reader);
	append(wh_file_fd(file), 100000, FILE_BYTES - 100000);
	wh_file_close(file);
	return 0;
}

static int a_file_that_grows_is_read_in_order(void *arg)
{
	const struct wh_reader_opts opts = { .chunk_bytes = 4096, .depth = 4 };
	struct wh_file *file = open_file(O_RDWR);
	struct wh_reader *reader;
	uint64_t place = 0, size = 10000;
	void *data;
	ssize_t r;

	(void)arg;
	check_int(ftruncate(wh_file_fd(file), 10000), 0);
	check_int(wh_reader_open(file, &opts, &reader), 0);
	/* All that a chunk's own reads found is right; what came later may or may not be seen. */
	while ((r = wh_reader_next(reader, &data)) > 0) {
		for (ssize_t i = 0; i < r; i++)
			check_int(((uint8_t *)data)[i], byte_at(place + (uint64_t)i));
		place += (uint64_t)r;
		if (place < 200000) {
			append(wh_file_fd(file), size, 3000);
			size += 3000;
		}
	}
	check_int(r, 0);
	check(place >= 10000);
	wh_reader_close(reader);
	append(wh_file_fd(file), 0, FILE_BYTES);
	wh_file_close(file);
	return 0;
}

/* Pipes */

static int feed(void *arg)
{
	static uint8_t buf[300000];
	uint64_t state = seed;
	size_t place = 0;

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = byte_at(i);
	while (place < sizeof(buf)) {
		size_t len = least(1 + random_next(&state) % 9000, sizeof(buf) - place);

		check_int(wh_file_write(arg, buf + place, len, 0), len);
		place += len;
		wh_yield();
	}
	return wh_file_close(arg);
}

static int a_pipe_is_read_to_its_end(void *arg)
{
	struct wh_file *in, *out;
	struct wh_reader *reader;
	struct wh_scope scope;
	int pipes[2];

	(void)arg;
	check_int(pipe2(pipes, O_CLOEXEC), 0);
	check_int(wh_file_from_fd(pipes[0], true, &in), 0);
	check_int(wh_file_from_fd(pipes[1], true, &out), 0);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, feed, out);
	check_int(wh_reader_open(in, &(struct wh_reader_opts){ .chunk_bytes = 5000 }, &reader), 0);
	check_int(drain(reader, 0), 300000);
	wh_reader_close(reader);
	wh_file_close(in);
	check_int(wh_scope_close(&scope), 0);
	return 0;
}

static int next_canceled(void *arg)
{
	void *data;

	check_int(wh_reader_next(arg, &data), -ECANCELED);
	return 0;
}

static int waiting_for_a_pipe_is_cancelled(void *arg)
{
	struct wh_reader *reader;
	struct wh_file *file;
	struct wh_scope scope;
	int pipes[2];

	(void)arg;
	check_int(pipe2(pipes, O_CLOEXEC), 0);
	check_int(wh_file_from_fd(pipes[0], true, &file), 0);
	check_int(wh_reader_open(file, NULL, &reader), 0);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, next_canceled, reader);
	settle();
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_reader_close(reader);
	wh_file_close(file);
	close(pipes[1]);
	return 0;
}

static int a_cancelled_task_reads_no_more(void *arg)
{
	struct wh_file *file = open_file(O_RDONLY);
	struct wh_reader *reader;
	struct wh_scope scope;
	void *data;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_reader_open(file, NULL, &reader), 0);
	check(wh_reader_next(reader, &data) > 0);
	wh_scope_cancel(&scope);
	check_int(wh_reader_next(reader, &data), -ECANCELED);
	wh_reader_close(reader);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_file_close(file);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		task_test(a_file_is_read_whole_and_in_order),
		task_test(ranges_are_kept_to),
		task_test(chunks_are_full_but_for_the_last),
		task_test(an_empty_file_is_at_its_end),
		task_test(options_out_of_range_are_einval),
		task_test(an_error_is_told_and_told_again),
		task_test(closing_in_the_middle_waits_for_the_kernel),
		task_test(a_file_that_shrinks_ends_early),
		task_test(a_file_that_grows_is_read_in_order),
		task_test(a_pipe_is_read_to_its_end),
		task_test(waiting_for_a_pipe_is_cancelled),
		task_test(a_cancelled_task_reads_no_more),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, make, clean);
}
