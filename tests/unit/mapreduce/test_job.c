/* Whole jobs through the public API: what is read, what comes out, and how a job ends early. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <whorl/exec.h>
#include <whorl/mapreduce.h>

#include "base/alloc.h"
#include "support/oracle_count.h"
#include "support/row_text.h"
#include "support/task_test.h"

/* What the functions of a job get as `arg`: the text first, for row_text_add. */
struct world {
	struct row_text text;
	unsigned errors;
	int error;
	char failed_path[128];
	const char *path;
	_Atomic unsigned calls;
	int result;
};

static char folder[64];

static const char *file_path(char path[128], const char *name)
{
	snprintf(path, 128, "%s/%s", folder, name);
	return path;
}

static void write_file(const char *name, const char *bytes, size_t len)
{
	char path[128];
	FILE *file = fopen(file_path(path, name), "w");

	check(file);
	check_int(fwrite(bytes, 1, len, file), len);
	check_int(fclose(file), 0);
}

static void file_error(void *arg, const char *path, int err)
{
	struct world *world = arg;

	world->errors++;
	world->error = err;
	snprintf(world->failed_path, sizeof(world->failed_path), "%s", path);
}

static struct wh_mr_job job_on(const char *const *paths, size_t count, struct world *world)
{
	return (struct wh_mr_job){
		.paths = paths,
		.path_count = count,
		.arg = world,
		.workers = 2,
		.order = WH_MR_BY_VALUE,
		.output = row_text_add,
		.file_error = file_error,
	};
}

static void text_is(struct world *world, const char *expected)
{
	if (strcmp(world->text.bytes ? world->text.bytes : "", expected) != 0) {
		fprintf(stderr, "got:\n%s\nexpected:\n%s\n", world->text.bytes, expected);
		abort();
	}
	row_text_fini(&world->text);
}

/* Words */

static const char verse[] = "In the beginning God created the heaven and the earth. And the earth\n"
			    "was without form, and void; and darkness-was-upon-the-face of the deep\n";

static int splits_of_any_size_give_the_same_count(void *arg)
{
	char path[128];
	const char *const paths[] = {file_path(path, "verse")};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;
	size_t len;
	char *expected = oracle_count(verse, sizeof(verse) - 1, &len);

	(void)arg;
	write_file("verse", verse, sizeof(verse) - 1);
	for (uint32_t split = 1; split <= sizeof(verse); split += 1 + split / 20) {
		job.split_bytes = split;
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(stats.bytes_done, sizeof(verse) - 1);
		check_int(stats.bytes_total, sizeof(verse) - 1);
		check_int(stats.records, 23);
		check_int(stats.rows, stats.keys);
		text_is(&world, expected);
	}
	free(expected);
	return 0;
}

static int many_files_in_folders_are_counted(void *arg)
{
	char path[128], name[64];
	const char *const paths[] = {folder};
	struct world world = {0};
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
	const char *const paths[] = {file_path(missing, "missing"), file_path(loop, "loop"),
				     file_path(good, "good")};
	struct world world = {0};
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
	const char *const paths[] = {"/proc/self/status"};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	check_int(wh_mapreduce(&job, &stats), 0);
	check(stats.records > 50);
	check(strstr(world.text.bytes, "voluntary_ctxt_switches:\t1\n"));
	row_text_fini(&world.text);
	return 0;
}

static int no_input_gives_no_rows(void *arg)
{
	struct world world = {0};
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
	enum { SIZE = 5 * 1000 * 1000 };
	struct world world = {0};
	struct wh_mr_job job = job_on((const char *const[]){"-"}, 1, &world);
	struct wh_mr_stats stats;
	struct wh_scope scope;
	struct feed feed = {.len = SIZE, .seed = 7};
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
	check_int(wh_executor_open(&(struct wh_executor_opts){.threads = 1}, &feeder), 0);
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
	struct world world = {0};
	struct wh_mr_job job = job_on((const char *const[]){"-"}, 1, &world);
	int fd;

	(void)arg;
	write_file("in", "skipped one two one", 19);
	fd = open(file_path(path, "in"), O_RDONLY | O_CLOEXEC);
	check_int(lseek(fd, 8, SEEK_SET), 8);
	check_int(with_stdin(fd, &job, NULL), 0);
	text_is(&world, "one\t2\ntwo\t1\n");
	return 0;
}

/* Functions */

static int add_number(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	const char *space = memchr(line.data, ' ', line.len);
	const char *start = line.data;

	(void)arg;
	if (!space)
		return 0;
	return wh_mr_emit_sum(emitter, start, (size_t)(space - start),
			      strtoull(space + 1, NULL, 10));
}

static int numbers_of_equal_keys_are_added_up(void *arg)
{
	static const char lines[] = "a 9223372036854775807\nb 5\na 9223372036854775807\n"
				    "b 4294967295\n 1\nb 1\n";
	char path[128];
	const char *const paths[] = {file_path(path, "lines")};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("lines", lines, sizeof(lines) - 1);
	job.records = WH_MR_LINES;
	job.map = add_number;
	for (job.split_bytes = 1; job.split_bytes < sizeof(lines); job.split_bytes += 3) {
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, "a\t18446744073709551614\nb\t4294967301\n\t1\n");
	}
	return 0;
}

static int lines_are_counted_without_a_map(void *arg)
{
	char path[128];
	const char *const paths[] = {file_path(path, "lines")};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("lines", "B b\n\nB b\n\n\nlast", 15);
	job.records = WH_MR_LINES;
	job.split_bytes = 2;
	check_int(wh_mapreduce(&job, NULL), 0);
	text_is(&world, "\t3\nB b\t2\nlast\t1\n");
	return 0;
}

/* The first letter of a word is the key, the word the value. */
static int by_letter(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	(void)arg;
	return wh_mr_emit(emitter, (struct wh_mr_bytes){word.data, 1}, word);
}

static int longest(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
		   struct wh_mr_emitter *emitter)
{
	struct world *world = arg;
	struct wh_mr_bytes best = {0}, value;

	world->calls++;
	while (wh_mr_next(values, &value))
		if (!best.data || value.len > best.len ||
		    (value.len == best.len && memcmp(value.data, best.data, best.len) < 0))
			best = value;
	return wh_mr_emit(emitter, key, best);
}

static int values_of_equal_keys_are_reduced(void *arg)
{
	char path[128];
	const char *const paths[] = {file_path(path, "words")};
	struct world world = {.text.has_values = true};
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("words", "bat apple Axe beast ant axiom bear crow\n", 40);
	job.value = WH_MR_BYTES;
	job.map = by_letter;
	job.reduce = longest;
	for (job.split_bytes = 1; job.split_bytes < 50; job.split_bytes += 7) {
		job.order = WH_MR_BY_KEY;
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, "a\tapple\nb\tbeast\nc\tcrow\n");
		job.order = WH_MR_BY_VALUE;
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, "a\tapple\nb\tbeast\nc\tcrow\n");
	}
	return 0;
}

static int without_reduce_every_value_is_a_row(void *arg)
{
	char path[128];
	const char *const paths[] = {file_path(path, "words")};
	struct world world = {.text.has_values = true};
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("words", "bb a ba b a\n", 12);
	job.value = WH_MR_BYTES;
	job.map = by_letter;
	job.order = WH_MR_BY_KEY;
	check_int(wh_mapreduce(&job, NULL), 0);
	text_is(&world, "a\ta\na\ta\nb\tb\nb\tba\nb\tbb\n");
	job.order = WH_MR_BY_VALUE;
	check_int(wh_mapreduce(&job, NULL), 0);
	text_is(&world, "a\ta\na\ta\nb\tb\nb\tba\nb\tbb\n");
	return 0;
}

/* More values than fit into a block, so that combine has something to do. */
static int combine_changes_the_work_not_the_result(void *arg)
{
	enum { WORDS = 60 * 1000 };
	char path[128], *text = malloc(WORDS * 12);
	const char *const paths[] = {file_path(path, "many")};
	struct world plain = {.text.has_values = true}, combined = plain;
	struct wh_mr_job job = job_on(paths, 1, &plain);
	size_t len = 0;

	(void)arg;
	for (unsigned i = 0; i < WORDS; i++)
		len += (size_t)sprintf(text + len, "%c%u ", 'a' + i % 5, i * 7919 % 10007);
	write_file("many", text, len);
	job.value = WH_MR_BYTES;
	job.order = WH_MR_BY_KEY;
	job.map = by_letter;
	job.reduce = longest;
	check_int(wh_mapreduce(&job, NULL), 0);
	check_int(plain.calls, 5);
	job.combine = longest;
	job.arg = &combined;
	check_int(wh_mapreduce(&job, NULL), 0);
	check(combined.calls > 20);
	text_is(&combined, plain.text.bytes);
	row_text_fini(&plain.text);
	free(text);
	return 0;
}

static size_t three_bytes(void *arg, struct wh_mr_bytes data, bool last)
{
	(void)arg;
	(void)last;
	return data.len >= 3 ? 3 : 0;
}

static int custom_records_are_cut_by_the_job(void *arg)
{
	char path[128];
	const char *const paths[] = {file_path(path, "threes")};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("threes", "aaabbbaaacccab", 14);
	job.records = WH_MR_CUSTOM;
	job.record = three_bytes;
	job.split_bytes = 4;
	check_int(wh_mapreduce(&job, NULL), 0);
	text_is(&world, "aaa\t2\nab\t1\nbbb\t1\nccc\t1\n");
	return 0;
}

static int rows_max_keeps_the_first_rows(void *arg)
{
	enum { WORDS = 5000 };
	char path[128], *text = malloc(WORDS * WORDS / 2), *expected, *end;
	const char *const paths[] = {file_path(path, "many")};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 1, &world);
	size_t len = 0, expected_len;

	(void)arg;
	for (unsigned i = 0; i < WORDS; i++)
		for (unsigned j = 0; j <= i % 50; j++)
			len += (size_t)sprintf(text + len, "w%u ", i);
	write_file("many", text, len);
	expected = oracle_count(text, len, &expected_len);
	end = expected;
	for (job.rows_max = 1; job.rows_max <= 150; job.rows_max++) {
		end = strchr(end, '\n') + 1;
		if (job.rows_max % 49 > 1)
			continue;
		check_int(wh_mapreduce(&job, NULL), 0);
		check_int(world.text.len, end - expected);
		check(memcmp(world.text.bytes, expected, world.text.len) == 0);
		row_text_fini(&world.text);
	}
	free(expected);
	free(text);
	return 0;
}

/* Ends before the end */

static int fail_map(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;

	(void)record;
	(void)emitter;
	return ++world->calls == 10 ? -EPROTO : 0;
}

static int fail_output(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	(void)rows;
	(void)count;
	return -EPIPE;
}

static int an_error_of_a_function_is_the_job_s(void *arg)
{
	char path[128];
	const char *const paths[] = {file_path(path, "verse")};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("verse", verse, sizeof(verse) - 1);
	job.map = fail_map;
	check_int(wh_mapreduce(&job, NULL), -EPROTO);
	check_int(world.text.rows, 0);
	job.map = NULL;
	job.output = fail_output;
	check_int(wh_mapreduce(&job, NULL), -EPIPE);
	return 0;
}

static int options_that_make_no_sense_are_refused(void *arg)
{
	struct wh_mr_job job = {.reduce = longest};

	(void)arg;
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	job = (struct wh_mr_job){.record = three_bytes};
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	job = (struct wh_mr_job){.records = WH_MR_CUSTOM};
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	job = (struct wh_mr_job){.isa = "abacus"};
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	return 0;
}

static int a_record_longer_than_the_limit_is_an_error(void *arg)
{
	enum { SIZE = 3 << 20 };
	char path[128], *text = malloc(SIZE);
	const char *const paths[] = {file_path(path, "long")};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	memset(text, 'x', SIZE);
	write_file("long", text, SIZE);
	job.record_max = 1 << 20;
	check_int(wh_mapreduce(&job, NULL), -EMSGSIZE);
	free(text);
	return 0;
}

static int shrink(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;

	if (world->calls++ == 0)
		check_int(truncate(world->path, 1000), 0);
	return wh_mr_emit_sum(emitter, line.data, line.len, 1);
}

static int a_file_that_shrinks_is_counted_as_far_as_read(void *arg)
{
	enum { SIZE = 4 << 20 };
	char path[128], *text = malloc(SIZE);
	const char *const paths[] = {file_path(path, "shrinking")};
	struct world world = {.path = path};
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	memset(text, '\n', SIZE);
	write_file("shrinking", text, SIZE);
	job.records = WH_MR_LINES;
	job.map = shrink;
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.files_failed, 0);
	check_int(world.text.rows, 1);
	check(stats.records >= 1000 && stats.records <= SIZE);
	row_text_fini(&world.text);
	free(text);
	return 0;
}

struct cancelling {
	struct wh_mr_job *job;
	struct wh_mr_stats stats;
	int result;
};

static int run_cancelled(void *arg)
{
	struct cancelling *cancelling = arg;

	cancelling->result = wh_mapreduce(cancelling->job, &cancelling->stats);
	return 0;
}

/* On a pipe that gets no more and does not end. */
static int cancel_on_pipe(struct wh_mr_job *job)
{
	struct cancelling cancelling = {.job = job};
	struct wh_scope scope;
	struct wh_task *task;
	int fds[2], kept = dup(0);

	check_int(pipe2(fds, O_CLOEXEC), 0);
	check_int(dup2(fds[0], 0), 0);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, run_cancelled, &cancelling, .ret_task = &task), 0);
	settle();
	wh_task_cancel(task);
	wh_scope_close(&scope);
	if (kept >= 0)
		check_int(dup2(kept, 0), 0);
	close(kept);
	close(fds[0]);
	close(fds[1]);
	return cancelling.result;
}

static int a_cancelled_job_puts_out_nothing(void *arg)
{
	char path[128];
	const char *const paths[] = {file_path(path, "verse"), "-"};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 2, &world);

	(void)arg;
	write_file("verse", verse, sizeof(verse) - 1);
	check_int(cancel_on_pipe(&job), -ECANCELED);
	check_int(world.text.rows, 0);
	return 0;
}

static int a_partial_job_puts_out_what_it_has(void *arg)
{
	struct world world = {0};
	struct wh_mr_job job = job_on((const char *const[]){"-"}, 1, &world);

	(void)arg;
	job.partial = true;
	check_int(cancel_on_pipe(&job), -ECANCELED);
	check_int(world.text.rows, 0);
	return 0;
}

static int endless(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;

	(void)emitter;
	(void)record;
	world->calls++;
	return 0;
}

static int a_job_on_threads_stops_when_its_deadline_passes(void *arg)
{
	struct world world = {0};
	struct wh_mr_job job = job_on((const char *const[]){"/dev/zero"}, 1, &world);
	struct wh_scope scope;

	(void)arg;
	job.records = WH_MR_CUSTOM;
	job.record = three_bytes;
	job.map = endless;
	wh_scope_open(&scope, &(struct wh_scope_opts){.timeout_ns = 20 * WH_MS});
	check_int(wh_mapreduce(&job, NULL), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static int failing_allocations_end_the_job_and_leak_nothing(void *arg)
{
	char verse_path[128], words_path[128];
	const char *const paths[] = {file_path(verse_path, "verse"),
				     file_path(words_path, "words")};
	struct world world = {.text.has_values = true};
	struct wh_mr_job job = job_on(paths, 2, &world);
	unsigned failures = 0;
	int r = -ENOMEM;

	(void)arg;
	write_file("verse", verse, sizeof(verse) - 1);
	write_file("words", verse, sizeof(verse) - 1);
	for (unsigned bytes = 0; bytes < 2; bytes++, r = -ENOMEM) {
		job.value = bytes ? WH_MR_BYTES : WH_MR_SUM;
		job.map = bytes ? by_letter : NULL;
		job.reduce = bytes ? longest : NULL;
		job.combine = job.reduce;
		for (uint64_t nth = 1; r == -ENOMEM; nth += 1 + nth / 16) {
			row_text_fini(&world.text);
			whi_alloc_fail_at(nth);
			r = wh_mapreduce(&job, NULL);
			whi_alloc_fail_at(0);
			failures += r == -ENOMEM;
		}
		check_int(r, 0);
		check(world.text.rows > 5);
	}
	check(failures > 20);
	row_text_fini(&world.text);
	return 0;
}

static int jobs_can_share_an_executor(void *arg)
{
	char path[128];
	const char *const paths[] = {file_path(path, "verse")};
	struct world world = {0};
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;
	size_t len;
	char *expected = oracle_count(verse, sizeof(verse) - 1, &len);

	(void)arg;
	write_file("verse", verse, sizeof(verse) - 1);
	check_int(wh_executor_open(&(struct wh_executor_opts){.threads = 3}, &job.executor), 0);
	for (int i = 0; i < 3; i++) {
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(stats.workers, 3);
		text_is(&world, expected);
	}
	wh_executor_close(job.executor);
	free(expected);
	return 0;
}

static int new_folder(void **state)
{
	(void)state;
	make_folder(folder);
	return 0;
}

static int old_folder(void **state)
{
	(void)state;
	remove_folder(folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(splits_of_any_size_give_the_same_count),
		task_test(many_files_in_folders_are_counted),
		task_test(what_cannot_be_read_is_named_and_the_rest_counted),
		task_test(files_without_a_length_are_read_to_their_end),
		task_test(no_input_gives_no_rows),
		task_test(a_pipe_is_counted_as_a_file_is),
		task_test(standard_input_may_be_a_file_read_in_part),
		task_test(numbers_of_equal_keys_are_added_up),
		task_test(lines_are_counted_without_a_map),
		task_test(values_of_equal_keys_are_reduced),
		task_test(without_reduce_every_value_is_a_row),
		task_test(combine_changes_the_work_not_the_result),
		task_test(custom_records_are_cut_by_the_job),
		task_test(rows_max_keeps_the_first_rows),
		task_test(an_error_of_a_function_is_the_job_s),
		task_test(options_that_make_no_sense_are_refused),
		task_test(a_record_longer_than_the_limit_is_an_error),
		task_test(a_file_that_shrinks_is_counted_as_far_as_read),
		task_test(a_cancelled_job_puts_out_nothing),
		task_test(a_partial_job_puts_out_what_it_has),
		task_test(a_job_on_threads_stops_when_its_deadline_passes),
		task_test(failing_allocations_end_the_job_and_leak_nothing),
		task_test(jobs_can_share_an_executor),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
