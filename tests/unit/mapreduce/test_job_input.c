/* What a job reads: files, folders, pipes, and what is wrong with them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <whorl/exec.h>
#include <whorl/jobs.h>

#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

static int splits_of_any_size_give_the_same_count(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "verse") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;
	size_t len;
	char *expected = oracle_count(verse, verse_len, &len);

	(void)arg;
	write_file("verse", verse, verse_len);
	for (uint32_t split = 1; split <= verse_len + 1; split += 1 + split / 20) {
		job.split_bytes = split;
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(stats.bytes_done, verse_len);
		check_int(stats.bytes_total, verse_len);
		check_int(stats.records, 23);
		check_int(stats.rows, stats.keys);
		text_is(&world, expected);
	}
	free(expected);
	return 0;
}

/* Out of the page cache, so that the ring has to read it. */
static void evict(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check_int(fsync(fd), 0);
	check_int(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(fd);
}

static int files_that_are_not_cached_give_the_same_count(void *arg)
{
	enum { SIZE = 3 * 1000 * 1000, STEP = TEST_ROUNDS < 10000 ? 9 : 3 };
	char path[128], *text = malloc(SIZE), *expected;
	const char *const paths[] = { file_path(path, "cold") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint64_t random = 1;
	size_t len;

	(void)arg;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = "abcdefgh \n"[random_next(&random) % 10];
	/* One that goes on over several splits and reads. */
	memset(text + SIZE / 3, 'x', 1234567);
	/* Past the page cache what a read leaves is moved before the next one, up to here. */
	memset(text + 2000 * 1000, 'y', 256 * 1024);
	memset(text + 2400 * 1000, 'z', 256 * 1024 + 1);
	write_file("cold", text, SIZE);
	expected = oracle_count(text, SIZE, &len);
	for (job.split_bytes = 100 * 1000; job.split_bytes < 9 * SIZE; job.split_bytes *= STEP) {
		evict(path);
		job.direct = false;
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, expected);
		job.direct = true;
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, expected);
	}
	free(expected);
	free(text);
	return 0;
}

static int many_files_in_folders_are_counted(void *arg)
{
	char path[128], name[64];
	const char *const paths[] = { folder };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	remove_folder(folder);
	check_int(mkdir(folder, 0700), 0);
	check_int(mkdir(file_path(path, "sub"), 0700), 0);
	check_int(mkdir(file_path(path, "sub/empty"), 0700), 0);
	check_int(symlink(folder, file_path(path, "sub/loop")), 0);
	check_int(mkfifo(file_path(path, "sub/fifo"), 0600), 0);
	write_file("nothing", "", 0);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "%sfile%u", i % 2 ? "sub/" : "", i);
		write_file(name, i % 3 ? "one two" : "two", i % 3 ? 7 : 3);
	}
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.files, 301);
	text_is(&world, "two\t300\none\t200\n");
	return 0;
}

static int what_cannot_be_read_is_named_and_the_rest_counted(void *arg)
{
	char good[128], missing[128], loop[128];
	const char *const paths[] = { file_path(missing, "missing"), file_path(loop, "loop"),
				      file_path(good, "good") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 3, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("good", "x y x", 5);
	check_int(symlink("loop", loop), 0);
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.files_failed, 2);
	check_int(world.errors, 2);
	check_int(world.error, -ELOOP);
	check(strcmp(world.failed_path, loop) == 0);
	text_is(&world, "x\t2\ny\t1\n");
	check_int(unlink(loop), 0);
	return 0;
}

/* Files of /proc say that they are empty, and are not. */
static int files_without_a_length_are_read_to_their_end(void *arg)
{
	const char *const paths[] = { "/proc/self/status" };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	check_int(wh_mapreduce(&job, &stats), 0);
	check(stats.records > 50);
	check(strstr(world.text.bytes, "voluntary_ctxt_switches:\t1\n"));
	row_text_fini(&world.text);
	return 0;
}

/* What a file becomes after it was found and before it is read. */

static void vanishes(const char *path)
{
	check_int(unlink(path), 0);
}

static void shrinks(const char *path)
{
	check_int(truncate(path, 4), 0);
}

static void is_emptied(const char *path)
{
	check_int(truncate(path, 0), 0);
}

static void grows(const char *path)
{
	FILE *file = fopen(path, "a");

	check(file);
	fprintf(file, "er than it was");
	check_int(fclose(file), 0);
}

static void is_replaced(const char *path)
{
	char text[4096], name[128];

	memset(text, 'n', sizeof(text));
	write_file("other", text, sizeof(text));
	check_int(rename(file_path(name, "other"), path), 0);
}

static void is_made_anew(const char *path)
{
	vanishes(path);
	write_file(strrchr(path, '/') + 1, "made anew", 9);
}

static void becomes_a_folder(const char *path)
{
	vanishes(path);
	check_int(mkdir(path, 0700), 0);
}

static void becomes_a_pipe(const char *path)
{
	vanishes(path);
	check_int(mkfifo(path, 0600), 0);
}

static void becomes_a_link_to_itself(const char *path)
{
	vanishes(path);
	check_int(symlink(path, path), 0);
}

static const struct change {
	void (*make)(const char *path);
	int parts;	  /* what is told of a file that is cut into parts, */
	int whole;	  /* and of a small one; 0: nothing */
	const char *rows; /* of what is read of the small one */
} changes[] = {
	{ vanishes, -ENOENT, -ENOENT, "" },
	{ shrinks, -ESTALE, -ESTALE, "long\t1\n" },
	{ is_emptied, -ESTALE, -ESTALE, "" },
	{ grows, 0, 0, "longer\t1\n" },
	{ is_replaced, -ESTALE, 0, NULL },
	{ is_made_anew, -ESTALE, 0, NULL },
	{ becomes_a_folder, -ESTALE, -EISDIR, "" },
	{ becomes_a_pipe, -ESTALE, -ESTALE, "" },
	{ becomes_a_link_to_itself, -ELOOP, -ELOOP, "" },
};

static const struct change *change;

static void on_plan(void *arg, const struct wh_mr_plan *plan)
{
	char path[128];

	(void)arg;
	(void)plan;
	change->make(file_path(path, "changing"));
}

static void count_changing(const char *text, size_t len, struct wh_mr_job *job)
{
	char path[128];

	remove(file_path(path, "changing"));
	write_file("changing", text, len);
	job->plan = on_plan;
	check_int(wh_mapreduce(job, NULL), 0);
}

static int a_small_file_that_changed_is_named_or_counted_as_it_is(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "changing") };

	(void)arg;
	for (size_t i = 0; i < 2 * sizeof(changes) / sizeof(changes[0]); i++) {
		struct world world = { 0 };
		struct wh_mr_job job = job_on(paths, 1, &world);

		change = &changes[i / 2];
		job.processes = i % 2;
		count_changing("long", 4, &job);
		/* As short as it was found to be, it is still all there. */
		if (change->make == shrinks)
			check_int(world.error, 0);
		else
			check_int(world.error, change->whole);
		if (change->rows)
			text_is(&world, change->rows);
		row_text_fini(&world.text);
	}
	return 0;
}

/* Read through the page cache or past it, or by processes. */
static int parts_of_a_file_that_changed_are_never_mixed(void *arg)
{
	enum { SIZE = 100 * 1000 };
	char path[128], *text = malloc(SIZE);
	const char *const paths[] = { file_path(path, "changing") };

	(void)arg;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = "old "[i % 4];
	for (size_t i = 0; i < 3 * sizeof(changes) / sizeof(changes[0]); i++) {
		struct world world = { 0 };
		struct wh_mr_job job = job_on(paths, 1, &world);

		change = &changes[i / 3];
		job.direct = i % 3 == 1;
		job.processes = i % 3 == 2 ? 2 : 0;
		job.split_bytes = 10 * 1000;
		count_changing(text, SIZE, &job);
		check_int(world.errors, change->parts != 0);
		check_int(world.error, change->parts);
		if (change->make == grows)
			text_is(&world, "old\t25000\n");
		else
			text_is(&world, change->make == shrinks ? "old\t1\n" : "");
	}
	free(text);
	return 0;
}

static int no_input_gives_no_rows(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on(NULL, 0, &world);
	struct wh_mr_stats stats;

	(void)arg;
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.rows, 0);
	check_int(world.text.rows, 0);
	return 0;
}

struct feed {
	int fd;
	size_t len;
	unsigned seed;
};

/* Random words into a pipe, from a thread of an executor; closes it. */
static int feed_pipe(void *arg)
{
	struct feed *feed = arg;
	FILE *out = fdopen(feed->fd, "w");

	for (size_t i = 0; i < feed->len; i++)
		putc("abcdefgh \n"[rand_r(&feed->seed) % 10], out);
	return fclose(out);
}

static struct wh_executor *feeder;

static int feed_task(void *arg)
{
	return wh_offload(feeder, feed_pipe, arg, NULL);
}

/* With what is on descriptor 0 while `job` runs. */
static int with_stdin(int fd, const struct wh_mr_job *job, struct wh_mr_stats *stats)
{
	int kept = dup(0);
	int r;

	check_int(dup2(fd, 0), 0);
	close(fd);
	r = wh_mapreduce(job, stats);
	if (kept >= 0)
		check_int(dup2(kept, 0), 0);
	close(kept);
	return r;
}

static int a_pipe_is_counted_as_a_file_is(void *arg)
{
	enum { SIZE = 1000 * 1000 + 400 * TEST_ROUNDS };
	struct world world = { 0 };
	struct wh_mr_job job = job_on((const char *const[]){ "-" }, 1, &world);
	struct wh_mr_stats stats;
	struct wh_scope scope;
	struct feed feed = { .len = SIZE, .seed = 7 };
	unsigned seed = 7;
	char *text = malloc(SIZE), *expected;
	size_t len;
	int fds[2];

	(void)arg;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = "abcdefgh \n"[rand_r(&seed) % 10];
	expected = oracle_count(text, SIZE, &len);
	check_int(pipe2(fds, O_CLOEXEC), 0);
	feed.fd = fds[1];
	check_int(wh_executor_open(&(struct wh_executor_opts){ .threads = 1 }, &feeder), 0);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, feed_task, &feed), 0);
	check_int(with_stdin(fds[0], &job, &stats), 0);
	check_int(wh_scope_close(&scope), 0);
	wh_executor_close(feeder);
	check_int(stats.bytes_done, SIZE);
	text_is(&world, expected);
	free(expected);
	free(text);
	return 0;
}

static int standard_input_may_be_a_file_read_in_part(void *arg)
{
	char path[128];
	struct world world = { 0 };
	struct wh_mr_job job = job_on((const char *const[]){ "-" }, 1, &world);
	int fd;

	(void)arg;
	write_file("in", "skipped one two one", 19);
	fd = open(file_path(path, "in"), O_RDONLY | O_CLOEXEC);
	check_int(lseek(fd, 8, SEEK_SET), 8);
	check_int(with_stdin(fd, &job, NULL), 0);
	text_is(&world, "one\t2\ntwo\t1\n");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(splits_of_any_size_give_the_same_count),
		task_test(files_that_are_not_cached_give_the_same_count),
		task_test(many_files_in_folders_are_counted),
		task_test(what_cannot_be_read_is_named_and_the_rest_counted),
		task_test(files_without_a_length_are_read_to_their_end),
		task_test(a_small_file_that_changed_is_named_or_counted_as_it_is),
		task_test(parts_of_a_file_that_changed_are_never_mixed),
		task_test(no_input_gives_no_rows),
		task_test(a_pipe_is_counted_as_a_file_is),
		task_test(standard_input_may_be_a_file_read_in_part),
	};

	wh_jobs_main();
	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
