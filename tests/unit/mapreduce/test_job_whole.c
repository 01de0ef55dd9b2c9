/* Files as records: their bytes piece by piece, and what may happen to them meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <whorl/file.h>

#include "unit/mapreduce/world.h"

enum { LARGE = 900 * 1000 };

/* The path's last part, and a checksum of the bytes with their number. */
static int sum_file(void *arg, struct wh_mr_bytes path, struct wh_mr_emitter *emitter)
{
	const char *name = memrchr(path.data, '/', path.len);
	struct wh_mr_bytes bytes;
	uint64_t sum = 0, len = 0;
	char text[48];
	int r;

	(void)arg;
	while ((r = wh_mr_read(emitter, &bytes)) > 0) {
		for (size_t i = 0; i < bytes.len; i++)
			sum = sum * 31 + ((const uint8_t *)bytes.data)[i];
		len += bytes.len;
	}
	if (r < 0)
		return r;
	check_int(wh_mr_read(emitter, &bytes), 0);
	snprintf(text, sizeof(text), "%llu %llx", (unsigned long long)len, (unsigned long long)sum);
	name = name ? name + 1 : path.data;
	return wh_mr_emit(
		emitter,
		(struct wh_mr_bytes){ name, path.len - (size_t)(name - (const char *)path.data) },
		(struct wh_mr_bytes){ text, strlen(text) });
}

static size_t put_row(char *rows, const char *name, const char *bytes, size_t len)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = sum * 31 + (uint8_t)bytes[i];
	return (size_t)sprintf(rows, "%s\t%zu %llx\n", name, len, (unsigned long long)sum);
}

static struct wh_mr_job whole_job(const char *const *paths, size_t count, struct world *world)
{
	struct wh_mr_job job = job_on(paths, count, world);

	world->text.has_values = true;
	job.records = WH_MR_FILES;
	job.value = WH_MR_BYTES;
	job.order = WH_MR_BY_KEY;
	job.map = sum_file;
	return job;
}

static void evict_all(void)
{
	char path[128];
	const char *const names[] = { "empty", "large", "small" };

	for (size_t i = 0; i < 3; i++) {
		int fd = open(file_path(path, names[i]), O_RDWR | O_CLOEXEC);

		check(fd >= 0);
		check_int(fsync(fd), 0);
		check_int(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		close(fd);
	}
}

static int files_are_read_to_their_end_cached_or_not(void *arg)
{
	const char *const paths[] = { folder };
	struct world world = { 0 };
	struct wh_mr_job job = whole_job(paths, 1, &world);
	char *large = malloc(LARGE), rows[256];
	struct wh_mr_stats stats;
	uint64_t random = 31;
	size_t len = 0;

	(void)arg;
	remove_folder(folder);
	check_int(mkdir(folder, 0700), 0);
	for (size_t i = 0; i < LARGE; i++)
		large[i] = (char)random_next(&random);
	write_file("empty", "", 0);
	write_file("large", large, LARGE);
	write_file("small", "abc", 3);
	len += put_row(rows + len, "empty", "", 0);
	len += put_row(rows + len, "large", large, LARGE);
	put_row(rows + len, "small", "abc", 3);
	for (int round = 0; round < 4; round++) {
		if (round % 2)
			evict_all();
		job.split_bytes = round < 2 ? 1 : 0;
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(stats.bytes_done, LARGE + 3);
		check_int(stats.bytes_total, LARGE + 3);
		text_is(&world, rows);
	}
	free(large);
	return 0;
}

static int files_that_cannot_be_read_are_named_and_the_rest_mapped(void *arg)
{
	char gone[128], good[128];
	const char *const paths[] = { file_path(gone, "gone"), file_path(good, "small"),
				      "/proc/self/mem" };
	struct world world = { 0 };
	struct wh_mr_job job = whole_job(paths, 3, &world);
	struct wh_mr_stats stats;
	char rows[128];

	(void)arg;
	write_file("small", "abc", 3);
	put_row(rows, "small", "abc", 3);
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.files_failed, 2);
	check_int(world.errors, 2);
	check_int(world.error, -EIO); /* the first page of memory is not mapped */
	check(strcmp(world.failed_path, "/proc/self/mem") == 0);
	text_is(&world, rows);
	return 0;
}

/* Makes the file longer as soon as some of it is read. */
static int append_then_sum(void *arg, struct wh_mr_bytes path, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;
	struct wh_mr_bytes bytes;
	int fd = open(world->path, O_WRONLY | O_APPEND | O_CLOEXEC);

	check(fd >= 0);
	check_int(wh_mr_read(emitter, &bytes), 1);
	check_int(write(fd, "more", 4), 4);
	close(fd);
	return sum_file(arg, path, emitter);
}

static int a_file_that_changes_meanwhile_is_named(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "growing") };
	struct world world = { .path = path };
	struct wh_mr_job job = whole_job(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("growing", "abc", 3);
	job.map = append_then_sum;
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(world.error, -ESTALE);
	check(strcmp(world.failed_path, path) == 0);
	check_int(stats.rows, 0);
	return 0;
}

static int fail_always(void *arg, struct wh_mr_bytes path, struct wh_mr_emitter *emitter)
{
	(void)arg;
	(void)path;
	(void)emitter;
	return -EDOM;
}

static int a_map_that_fails_of_itself_ends_the_job(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "small") };
	struct world world = { 0 };
	struct wh_mr_job job = whole_job(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("small", "abc", 3);
	job.map = fail_always;
	check_int(wh_mapreduce(&job, &stats), -EDOM);
	check_int(world.errors, 0);
	check(strstr(stats.why, path));
	return 0;
}

static int write_later(void *arg)
{
	const int *fd = arg;
	struct wh_file *file;

	check_int(wh_file_from_fd(*fd, true, &file), 0);
	next_turn();
	check_int(wh_file_write(file, "from a pipe", 11, 0), 11);
	return wh_file_close(file);
}

static int a_pipe_may_be_the_file(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = whole_job((const char *const[]){ "-" }, 1, &world);
	int kept = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0), fds[2];
	struct wh_scope scope;
	char rows[128];

	(void)arg;
	check_int(pipe2(fds, O_CLOEXEC), 0);
	check_int(dup2(fds[0], STDIN_FILENO), STDIN_FILENO);
	close(fds[0]);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, write_later, &fds[1]), 0);
	check_int(wh_mapreduce(&job, NULL), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(dup2(kept, STDIN_FILENO), STDIN_FILENO);
	close(kept);
	put_row(rows, "-", "from a pipe", 11);
	text_is(&world, rows);
	return 0;
}

static int cancel_waiting(void *arg)
{
	wh_scope_cancel(arg);
	return 0;
}

/* Nothing ever comes. */
static int a_job_that_waits_for_a_pipe_can_be_cancelled(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "pipe") };
	struct world world = { 0 };
	struct wh_mr_job job = whole_job(paths, 1, &world);
	struct wh_scope scope;

	(void)arg;
	check_int(mkfifo(path, 0600), 0);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, cancel_waiting, &scope), 0);
	check_int(wh_mapreduce(&job, NULL), -ECANCELED);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(unlink(path), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(files_are_read_to_their_end_cached_or_not),
		task_test(files_that_cannot_be_read_are_named_and_the_rest_mapped),
		task_test(a_file_that_changes_meanwhile_is_named),
		task_test(a_map_that_fails_of_itself_ends_the_job),
		task_test(a_pipe_may_be_the_file),
		task_test(a_job_that_waits_for_a_pipe_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
