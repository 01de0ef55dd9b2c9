/* Jobs that are mapped in other processes: the same result as on threads, whatever becomes of the
 * processes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <whorl/jobs.h>

#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

enum { FILES = 40, FILE_BYTES = 30 * 1000 };

static void random_text(char *text, size_t len, uint64_t *random)
{
	for (size_t i = 0; i < len; i++)
		text[i] = "abcdeFG \n\t"[random_next(random) % 10];
}

/* Files of different lengths, one of them long. */
static void make_files(void)
{
	char name[32], *text = malloc((size_t)FILE_BYTES * FILES);
	uint64_t random = 41;

	remove_folder(folder);
	check_int(mkdir(folder, 0700), 0);
	for (unsigned i = 0; i < FILES; i++) {
		size_t len = i ? random_next(&random) % FILE_BYTES : (size_t)FILE_BYTES * FILES;

		random_text(text, len, &random);
		snprintf(name, sizeof(name), "file%u", i);
		write_file(name, text, len);
	}
	free(text);
}

/* Rows and figures of both ways are the same. */
static void check_alike(struct wh_mr_job *job, struct world *world)
{
	struct wh_mr_stats threads, processes;
	char *rows;

	job->processes = 0;
	check_int(wh_mapreduce(job, &threads), 0);
	rows = world->text.bytes;
	world->text = (struct row_text){ .has_values = world->text.has_values };
	job->processes = 2;
	check_int(wh_mapreduce(job, &processes), 0);
	check_int(processes.records, threads.records);
	check_int(processes.bytes_done, threads.bytes_done);
	check_int(processes.keys, threads.keys);
	check_int(processes.processes_died, 0);
	text_is(world, rows);
	free(rows);
}

static int words_are_counted_alike(void *arg)
{
	const char *const paths[] = { folder };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	make_files();
	for (job.split_bytes = 50 * 1000; job.split_bytes < 9000 * 1000; job.split_bytes *= 12)
		check_alike(&job, &world);
	return 0;
}

/* Files of all lengths, with sums of all sizes. */
static void make_ngrams(void)
{
	uint64_t random = 43;

	remove_folder(folder);
	check_int(mkdir(folder, 0700), 0);
	for (unsigned i = 0; i < FILES / 4; i++) {
		char name[32], *text = NULL;
		size_t len = 0;
		FILE *file = open_memstream(&text, &len);

		for (uint64_t lines = random_next(&random) % 9000; lines > 0; lines--)
			fprintf(file, "gram %" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t1\n",
				random_next(&random) % 700, 1900 + random_next(&random) % 99,
				random_next(&random) >> 20 >> random_next(&random) % 40);
		check_int(fclose(file), 0);
		snprintf(name, sizeof(name), "file%u", i);
		write_file(name, text, len);
		free(text);
	}
}

static int ngrams_are_added_up_alike(void *arg)
{
	const char *const paths[] = { folder };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	make_ngrams();
	job.records = WH_MR_NGRAMS;
	for (unsigned key = 0; key <= WH_MR_BY_NGRAM_AND_YEAR; key++) {
		job.ngram_key = (enum wh_mr_ngram_key)key;
		job.split_bytes = 20 * 1000 << key;
		check_alike(&job, &world);
	}
	return 0;
}

/* Of the test's own, and static: found in the processes by where it is. */
static int by_line_len(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	const unsigned *modulus = arg;
	char key[24];
	int len = snprintf(key, sizeof(key), "%zu", line.len % *modulus);

	return wh_mr_emit_number(emitter, key, (size_t)len, line.len);
}

static struct row_text rows_of_numbers;

static int add_rows(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	return row_text_add(&rows_of_numbers, rows, count);
}

static int functions_and_what_they_are_given_travel(void *arg)
{
	const char *const paths[] = { folder };
	unsigned modulus = 7;
	struct wh_mr_job job = {
		.paths = paths,
		.path_count = 1,
		.arg = &modulus,
		.arg_bytes = sizeof(modulus),
		.records = WH_MR_LINES,
		.map = by_line_len,
		.order = WH_MR_BY_KEY,
		.output = add_rows,
		.workers = 2,
	};
	char *expected;

	(void)arg;
	make_files();
	for (unsigned value = WH_MR_SUM; value < WH_MR_BYTES; value++) {
		job.value = (enum wh_mr_value)value;
		job.processes = 0;
		check_int(wh_mapreduce(&job, NULL), 0);
		expected = rows_of_numbers.bytes;
		rows_of_numbers = (struct row_text){ 0 };
		job.processes = 3;
		check_int(wh_mapreduce(&job, NULL), 0);
		check(strcmp(rows_of_numbers.bytes, expected) == 0);
		row_text_fini(&rows_of_numbers);
		free(expected);
	}
	return 0;
}

/* Rows of `processes` with little memory are those of threads with enough. */
static void check_with_little_memory(struct wh_mr_job *job, struct world *world)
{
	static const uint64_t budgets[] = { 2000000, 100000, 1 };
	struct wh_mr_stats stats;
	char *rows;

	job->processes = 0;
	job->memory_max = 1 << 30;
	check_int(wh_mapreduce(job, &stats), 0);
	check_int(stats.spill.bytes_written, 0);
	rows = world->text.bytes;
	world->text = (struct row_text){ .has_values = world->text.has_values };
	job->processes = 2;
	for (unsigned i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
		job->memory_max = budgets[i];
		check_int(wh_mapreduce(job, &stats), 0);
		check_int(stats.spill.error, 0);
		text_is(world, rows);
	}
	check(stats.spill.bytes_written > 0 && stats.spill.partitions > 0);
	free(rows);
}

static int results_with_little_memory_are_the_same(void *arg)
{
	enum { BYTES = 40 * 1000 + 20 * TEST_ROUNDS };
	char path[128], *text = malloc(BYTES), *expected;
	const char *const paths[] = { file_path(path, "spill") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint64_t random = 44;
	size_t len;

	(void)arg;
	random_text(text, BYTES, &random);
	write_file("spill", text, BYTES);
	expected = oracle_count(text, BYTES, &len);
	job.split_bytes = 20 * 1000;
	job.processes = 2;
	for (job.memory_max = 1; job.memory_max < 1 << 30; job.memory_max *= 1000) {
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, expected);
	}
	free(expected);
	free(text);
	job.map = number_of_place;
	for (unsigned value = WH_MR_SUM; value < WH_MR_BYTES; value++) {
		job.value = (enum wh_mr_value)value;
		check_with_little_memory(&job, &world);
	}
	job.value = WH_MR_BYTES;
	job.map = by_letter;
	world.text.has_values = true;
	check_with_little_memory(&job, &world);
	return 0;
}

/* As longest, which counts its calls at `arg`; in a process there is nothing there. */
static int longest_there(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
			 struct wh_mr_emitter *emitter)
{
	struct world nobody = { 0 };

	check(!arg);
	return longest(&nobody, key, values, emitter);
}

static int values_are_combined_there_and_reduced_here(void *arg)
{
	const char *const paths[] = { folder };
	struct world world = { .text.has_values = true };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	make_files();
	job.value = WH_MR_BYTES;
	job.map = by_letter;
	job.reduce = longest;
	check_alike(&job, &world);
	check(world.calls > 0);
	job.combine = longest_there;
	check_int(wh_mapreduce(&job, NULL), 0);
	row_text_fini(&world.text);
	return 0;
}

static int byte_count(void *arg, struct wh_mr_bytes path, struct wh_mr_emitter *emitter)
{
	struct wh_mr_bytes bytes;
	uint64_t len = 0;
	int r;

	(void)arg;
	while ((r = wh_mr_read(emitter, &bytes)) > 0)
		len += bytes.len;
	return r < 0 ? r : wh_mr_emit_number(emitter, path.data, path.len, len);
}

static int whole_files_are_mapped_alike(void *arg)
{
	const char *const paths[] = { folder };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	make_files();
	job.records = WH_MR_FILES;
	job.map = byte_count;
	check_alike(&job, &world);
	return 0;
}

static ssize_t make_block(void *arg, uint64_t index, void *data, size_t room)
{
	(void)arg;
	return index < 99 ? snprintf(data, room, "all b%u", (unsigned)index % 10) : 0;
}

static int generated_blocks_are_mapped_alike(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on(NULL, 0, &world);

	(void)arg;
	job.generate = make_block;
	check_alike(&job, &world);
	job.generate_count = 33;
	check_alike(&job, &world);
	return 0;
}

static int files_that_cannot_be_read_are_named(void *arg)
{
	char good[128];
	const char *const paths[] = { file_path(good, "good"), "/proc/self/mem" };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 2, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("good", "x y x", 5);
	job.processes = 1;
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(world.errors, 1);
	check_int(world.error, -EIO);
	check(strcmp(world.failed_path, "/proc/self/mem") == 0);
	check_int(stats.files_failed, 1);
	text_is(&world, "x\t2\ny\t1\n");
	return 0;
}

static int fail_at_y(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	(void)arg;
	(void)emitter;
	return *(const char *)word.data == 'y' ? -EDOM : 0;
}

static int a_map_that_fails_tells_where(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "good") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("good", "x y x", 5);
	job.map = fail_at_y;
	job.processes = 2;
	check_int(wh_mapreduce(&job, &stats), -EDOM);
	check(strstr(stats.why, "at byte 2 of ") && strstr(stats.why, path));
	return 0;
}

/* Kills its process at some words, the first time each is met: `arg` is the folder where that is
 * noted. */
static int die_once(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	const char *notes = arg;
	char path[256];
	int fd;

	if (word.len > 4 && memcmp(word.data, "kill", 4) == 0) {
		snprintf(path, sizeof(path), "%s/%.*s", notes, (int)word.len,
			 (const char *)word.data);
		fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
		if (fd >= 0)
			raise(SIGKILL);
	}
	return wh_mr_emit_number(emitter, word.data, word.len, 1);
}

static int processes_that_die_change_nothing(void *arg)
{
	enum { WORDS = 20 * 1000, KILLS = 10 };
	char path[128], *text = malloc(WORDS * 8), notes[64];
	const char *const paths[] = { file_path(path, "deadly") };
	struct wh_mr_job job = {
		.paths = paths,
		.path_count = 1,
		.arg = notes,
		.arg_bytes = sizeof(notes),
		.map = die_once,
		.value = WH_MR_COUNT,
		.order = WH_MR_BY_KEY,
		.output = add_rows,
		.processes = 2,
		.split_bytes = 4000,
		.workers = 2,
	};
	struct wh_mr_stats stats;
	size_t len = 0;

	(void)arg;
	make_folder(notes);
	for (unsigned i = 0; i < WORDS; i++)
		len += (size_t)sprintf(text + len, i % (WORDS / KILLS) ? "w%u " : "kill%u ",
				       i % (WORDS / KILLS) ? i % 10 : i);
	write_file("deadly", text, len);
	if (wh_mapreduce(&job, &stats) < 0)
		fprintf(stderr, "%s\n", stats.why);
	check_int(stats.processes_died, KILLS);
	check_int(stats.records, WORDS);
	check_int(rows_of_numbers.rows, 10 + KILLS);
	check(strstr(rows_of_numbers.bytes, "w1\t2000\n"));
	check(strstr(rows_of_numbers.bytes, "w0\t1990\n"));
	row_text_fini(&rows_of_numbers);
	remove_folder(notes);
	free(text);
	return 0;
}

static int die_always(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	(void)arg;
	(void)emitter;
	if (*(const char *)word.data == 'y')
		raise(SIGSEGV);
	return 0;
}

static int what_kills_every_process_is_named(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "poison") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("poison", "x y x", 5);
	job.map = die_always;
	job.processes = 2;
	check_int(wh_mapreduce(&job, &stats), -ENOTRECOVERABLE);
	check_int(stats.processes_died, 3);
	check(strstr(stats.why, path) && strstr(stats.why, "3 processes died"));
	check_int(world.text.rows, 0);
	return 0;
}

static int never_ends(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	(void)arg;
	(void)word;
	(void)emitter;
	while (pause() < 0)
		;
	return 0;
}

static int cancel_scope(void *arg)
{
	wh_scope_cancel(arg);
	return 0;
}

static int a_cancelled_job_ends_processes_that_do_not(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "good") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_scope scope;

	(void)arg;
	write_file("good", "x y x", 5);
	job.map = never_ends;
	job.processes = 2;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 300 * WH_MS });
	check_int(wh_mapreduce(&job, NULL), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, cancel_scope, &scope), 0);
	check_int(wh_mapreduce(&job, NULL), -ECANCELED);
	check_int(wh_scope_close(&scope), -ECANCELED);
	return 0;
}

static int what_processes_cannot_do_is_refused(void *arg)
{
	struct wh_mr_stats stats;

	(void)arg;
	check_int(wh_mapreduce(&(struct wh_mr_job){ .processes = 1, .direct = true }, &stats),
		  -EINVAL);
	check(strstr(stats.why, "leave processes or direct out"));
	check_int(wh_mapreduce(&(struct wh_mr_job){ .arg_bytes = 1 }, &stats), -EINVAL);
	check(strstr(stats.why, "arg_bytes"));
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(words_are_counted_alike),
		task_test(ngrams_are_added_up_alike),
		task_test(functions_and_what_they_are_given_travel),
		task_test(values_are_combined_there_and_reduced_here),
		task_test(results_with_little_memory_are_the_same),
		task_test(whole_files_are_mapped_alike),
		task_test(generated_blocks_are_mapped_alike),
		task_test(files_that_cannot_be_read_are_named),
		task_test(a_map_that_fails_tells_where),
		task_test(processes_that_die_change_nothing),
		task_test(what_kills_every_process_is_named),
		task_test(a_cancelled_job_ends_processes_that_do_not),
		task_test(what_processes_cannot_do_is_refused),
	};

	wh_jobs_main();
	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
