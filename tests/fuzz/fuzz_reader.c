/*
 * A wh_reader over a file whose reads end in any order, short, interrupted and with errors: bytes
 * come in order up to the end of the file or the first error, and closing early waits for what is
 * in flight.
 */
#include <errno.h>
#include <whorl/file.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "fuzz/kernel.h"
#include "support/task_test.h"

enum { CHUNK_MIN = 512, DEPTH_MIN = 2, CHUNKS_MAX = 64 };

static struct wh_loop loop;
static struct kernel kernel;
static struct bytes input;
static int fd;

static uint64_t check_chunk(uint64_t offset, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		check_int(data[i], kernel_pattern(fd, offset + i));
	return offset + len;
}

static void read_all(struct wh_reader *reader, const struct wh_reader_opts *opts)
{
	uint64_t end = opts->length ? opts->offset + opts->length : UINT64_MAX;
	unsigned chunks_max = bytes_next(&input);
	uint64_t offset = opts->offset;
	ssize_t r = 1;
	void *data;

	if (end > kernel.file_bytes)
		end = kernel.file_bytes;
	for (unsigned i = 0; i < chunks_max; i++) {
		r = wh_reader_next(reader, &data);
		if (r <= 0)
			break;
		check((size_t)r <= opts->chunk_bytes);
		offset = check_chunk(offset, data, (size_t)r);
		check(offset <= end);
		if (bytes_below(&input, 8) == 0)
			wh_sleep(WH_US);
	}
	if (r == 0)
		check_int(offset, end > opts->offset ? end : opts->offset);
	check(r >= 0 || r == -EIO || r == -ENOMEM || r == -EAGAIN || r == -ETIMEDOUT);
}

static int main_task(void *arg)
{
	struct wh_reader_opts opts = {
		.chunk_bytes = CHUNK_MIN + bytes_next(&input),
		.depth = DEPTH_MIN + bytes_below(&input, 7),
		.offset = (uint64_t)bytes_next(&input) * 8,
		.length = (uint64_t)bytes_next(&input) * 64,
	};
	struct wh_reader *reader;
	struct wh_scope scope;
	struct wh_file *file;
	int r;

	(void)arg;
	kernel.file_bytes = (uint64_t)bytes_next(&input) * 64;
	check_int(wh_file_from_fd(fd, true, &file), 0);
	wh_scope_open(&scope,
		      &(struct wh_scope_opts){ .timeout_ns = 1 + (uint64_t)bytes_next(&input) *
									 256 * WH_US });
	check_int(wh_reader_open(file, &opts, &reader), 0);
	read_all(reader, &opts);
	wh_reader_close(reader);
	r = wh_scope_close(&scope);
	check(r == 0 || r == -ETIMEDOUT);
	r = wh_file_close(file);
	check(r == 0 || r == -EIO);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input = (struct bytes){ data, size };
	kernel_loop_open(&loop, &kernel, &input, 2);
	fd = kernel_fd(&kernel);
	kernel_loop_run(&loop, main_task, NULL);
	return 0;
}
