/* Jobs that are gone on with after they have failed: with the hash that they were begun with, taken
 * over from a process that had another seed, or with another instruction set's, which makes all
 * that was kept be dealt anew. All of it in one process. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"
#include "unit/mapreduce/world.h"

enum { TEXT_BYTES = 100 * 1000 + 30 * TEST_ROUNDS, SPLIT_BYTES = 4 * 1000, CALLS_MAX = 60 * 1000 };

static unsigned calls_left; /* of `map`, until it fails */
static char state[80];
static const char *const paths[] = { folder };

static void make_text(void)
{
	char *text = malloc(TEXT_BYTES);
	uint64_t random = 47;

	remove_folder(folder);
	check_int(mkdir(folder, 0700), 0);
	for (size_t i = 0; i < TEXT_BYTES; i++)
		text[i] = "abcdeFGhij \n"[random_next(&random) % 12];
	write_file("text", text, TEXT_BYTES);
	free(text);
	snprintf(state, sizeof(state), "%s.state", folder);
	wh_mr_resume_remove(state);
}

/* May run on several threads: one call more or less does not matter. */
static int count_line(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	(void)arg;
	if (__atomic_fetch_sub(&calls_left, 1, __ATOMIC_RELAXED) - 1 > CALLS_MAX)
		return -EPIPE;
	return wh_mr_emit_number(emitter, line.data, line.len, line.len + 1);
}

static int count_lines(void *arg, const struct wh_mr_bytes *lines, size_t count,
		       struct wh_mr_emitter *emitter)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = count_line(arg, lines[i], emitter);
	return r;
}

static int letter_of_word(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	if (__atomic_fetch_sub(&calls_left, 1, __ATOMIC_RELAXED) - 1 > CALLS_MAX)
		return -EPIPE;
	return by_letter(arg, word, emitter);
}

/* The rows of a job that nothing stops. */
static char *rows_of(struct wh_mr_job job, struct world *world)
{
	char *rows;

	job.resume_dir = NULL;
	calls_left = CALLS_MAX;
	check_int(wh_mapreduce(&job, NULL), 0);
	rows = world->text.bytes;
	world->text = (struct row_text){ .has_values = world->text.has_values };
	return rows;
}

/* Fails again and again, further on each time, each time on another instruction set. */
static void fail_and_go_on(struct wh_mr_job job, struct world *world, const char *const isas[2])
{
	char *expected = rows_of(job, world);
	struct wh_mr_stats stats;
	unsigned failed = 0, calls = 3000;
	uint64_t done = 0;
	int r;

	for (;; calls += 3000, failed++) {
		job.isa = isas[failed % 2];
		calls_left = calls;
		r = wh_mapreduce(&job, &stats);
		if (r == 0)
			break;
		check_int(r, -EPIPE);
		check(stats.bytes_done >= done);
		done = stats.bytes_done;
	}
	check(failed >= 2);
	check_int(stats.bytes_done, TEXT_BYTES);
	text_is(world, expected);
	free(expected);
	check_int(wh_mr_resume_remove(state), 0);
}

static struct wh_mr_job resumed_job(struct world *world)
{
	struct wh_mr_job job = job_on(paths, 1, world);

	job.resume_dir = state;
	job.split_bytes = SPLIT_BYTES;
	return job;
}

static const char *const one_isa[2] = { "scalar", "scalar" };
static const char *const two_isas[2] = { "scalar", NULL };

static int numbers_are_counted_once(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = resumed_job(&world);

	(void)arg;
	make_text();
	job.records = WH_MR_LINES;
	job.map = count_line;
	for (unsigned value = WH_MR_SUM; value < WH_MR_BYTES; value++) {
		job.value = (enum wh_mr_value)value;
		fail_and_go_on(job, &world, one_isa);
		fail_and_go_on(job, &world, two_isas);
	}
	job.memory_max = 1000 * 1000;
	fail_and_go_on(job, &world, two_isas);
	job.map = NULL;
	job.map_batch = count_lines;
	fail_and_go_on(job, &world, two_isas);
	return 0;
}

static int values_are_reduced_once(void *arg)
{
	struct world world = { .text.has_values = true };
	struct wh_mr_job job = resumed_job(&world);

	(void)arg;
	make_text();
	job.value = WH_MR_BYTES;
	job.order = WH_MR_BY_KEY;
	job.map = letter_of_word;
	fail_and_go_on(job, &world, two_isas);
	job.reduce = longest;
	fail_and_go_on(job, &world, one_isa);
	fail_and_go_on(job, &world, two_isas);
	return 0;
}

static int no_output(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	(void)rows;
	(void)count;
	return -EPIPE;
}

static int what_fails_while_all_is_dealt_anew_can_be_tried_again(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = resumed_job(&world), whole = job;
	uint64_t failed = 0;
	char *expected;
	int r;

	(void)arg;
	make_text();
	expected = rows_of(job, &world);
	whole.isa = "scalar";
	whole.output = no_output;
	check_int(wh_mapreduce(&whole, NULL), -EPIPE);
	/* From the first allocation on to the last one, with longer and longer steps. */
	for (uint64_t nth = 1;; nth += 1 + nth / 4) {
		whi_alloc_fail_at(nth);
		r = wh_mapreduce(&job, NULL);
		whi_alloc_fail_at(0);
		if (r == 0)
			break;
		check(r == -ENOMEM || r == -EAGAIN);
		row_text_fini(&world.text);
		failed++;
	}
	check(failed > 10);
	text_is(&world, expected);
	free(expected);
	check_int(wh_mr_resume_remove(state), 0);
	return 0;
}

static int what_cannot_be_gone_on_with_is_refused(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = resumed_job(&world);
	struct wh_mr_stats stats;

	(void)arg;
	make_text();
	job.records = WH_MR_FILES;
	job.map = by_letter;
	check_int(wh_mapreduce(&job, &stats), -EINVAL);
	check(strstr(stats.why, "nor for files as records"));
	return 0;
}

/* Leave a folder of which nothing but the output is missing. */
static void leave_folder(const struct wh_mr_job *job)
{
	struct wh_mr_job failing = *job;

	wh_mr_resume_remove(state);
	failing.output = no_output;
	check_int(wh_mapreduce(&failing, NULL), -EPIPE);
}

/* Go on as a process with another seed. Returns whether all had to be dealt anew. */
static bool go_on(const struct wh_mr_job *job, struct world *world, const char *expected)
{
	struct wh_mr_stats stats;

	whi_hash_adopt(whi_hash_seed() + 1);
	check_int(wh_mapreduce(job, &stats), 0);
	check_int(stats.bytes_done, TEXT_BYTES);
	text_is(world, expected);
	return stats.spill.bytes_written > 0;
}

static int another_process_takes_over_the_seed(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = resumed_job(&world);
	const uint64_t seed = whi_hash_seed();
	char *expected, manifest[128];

	(void)arg;
	make_text();
	expected = rows_of(job, &world);
	leave_folder(&job);
	check(!go_on(&job, &world, expected));
	check_int(whi_hash_seed(), seed);

	/* Not while another job hashes by its own, */
	whi_hash_begin();
	check(go_on(&job, &world, expected));
	check_int(whi_hash_seed(), seed + 1);
	whi_hash_end();

	/* nor one that others may have read. */
	snprintf(manifest, sizeof(manifest), "%s/manifest", state);
	check_int(chmod(manifest, 0604), 0);
	check(go_on(&job, &world, expected));
	check_int(whi_hash_seed(), seed + 2);
	check_int(chmod(manifest, 0600), 0);
	check(!go_on(&job, &world, expected));
	check_int(whi_hash_seed(), seed);
	free(expected);
	check_int(wh_mr_resume_remove(state), 0);
	return 0;
}

static void is_refused(const struct wh_mr_job *job, int error, const char *why)
{
	struct wh_mr_stats stats;

	check_int(wh_mapreduce(job, &stats), error);
	check(strstr(stats.why, state) && strstr(stats.why, why));
}

static int a_folder_that_others_may_write_to_is_refused(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = resumed_job(&world);
	struct stat st;

	(void)arg;
	make_text();
	leave_folder(&job);
	check_int(stat(state, &st), 0);
	check_int(st.st_mode & 0777, 0700);
	check_int(chmod(state, 0720), 0);
	is_refused(&job, -EPERM, "chmod go-w");
	check_int(chmod(state, 0702), 0);
	is_refused(&job, -EPERM, "chmod go-w");
	check_int(chmod(state, 0755), 0);
	check_int(wh_mapreduce(&job, NULL), 0);
	row_text_fini(&world.text);
	check_int(wh_mr_resume_remove(state), 0);
	return 0;
}

static void write_manifest(const char *bytes, size_t len)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/manifest", state);
	file = fopen(path, "wb");
	check(file && fwrite(bytes, 1, len, file) == len);
	check_int(fclose(file), 0);
}

static int manifests_that_are_none_are_refused(void *arg)
{
	static const char old[] = "whorl job 2\0004000 2\0001 0 0 0 0 0 0";
	static const char no_seed[] = "whorl job 3\0004000 2\000a secret";
	static const char no_end[] = { 'w', 'h', 'o', 'r', 'l', ' ', 'j', 'o', 'b', ' ', '3' };
	static const char no_cut[] = "whorl job 3\0000 99\00000000000000000ff";
	struct world world = { 0 };
	struct wh_mr_job job = resumed_job(&world);
	const uint64_t seed = whi_hash_seed();

	(void)arg;
	make_text();
	leave_folder(&job);
	write_manifest(old, sizeof(old));
	is_refused(&job, -ESTALE, "another version");
	write_manifest(no_seed, sizeof(no_seed));
	is_refused(&job, -ESTALE, "not one of this program");
	write_manifest(no_end, sizeof(no_end));
	is_refused(&job, -ESTALE, "not one of this program");
	write_manifest(no_cut, sizeof(no_cut));
	is_refused(&job, -ESTALE, "not one of this program");
	write_manifest("\377\0\0\377", 4);
	is_refused(&job, -ESTALE, "not one of this program");
	write_manifest("", 0);
	is_refused(&job, -EINVAL, "manifest");
	check_int(whi_hash_seed(), seed);
	check_int(wh_mr_resume_remove(state), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(numbers_are_counted_once),
		task_test(values_are_reduced_once),
		task_test(what_fails_while_all_is_dealt_anew_can_be_tried_again),
		task_test(what_cannot_be_gone_on_with_is_refused),
		task_test(another_process_takes_over_the_seed),
		task_test(a_folder_that_others_may_write_to_is_refused),
		task_test(manifests_that_are_none_are_refused),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
