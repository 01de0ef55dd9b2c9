/* What a job's functions are given, and what becomes of what they emit. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

static int add_number(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	const char *space = memchr(line.data, ' ', line.len);
	const char *start = line.data;

	(void)arg;
	if (!space)
		return 0;
	return wh_mr_emit_number(emitter, start, (size_t)(space - start),
				 strtoull(space + 1, NULL, 10));
}

static int numbers_of_equal_keys_are_added_up(void *arg)
{
	static const char lines[] = "a 9223372036854775807\nb 5\na 9223372036854775807\n"
				    "b 4294967295\n 1\nb 1\n";
	char path[128];
	const char *const paths[] = { file_path(path, "lines") };
	struct world world = { 0 };
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
	const char *const paths[] = { file_path(path, "lines") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("lines", "B b\n\nB b\n\n\nlast", 15);
	job.records = WH_MR_LINES;
	job.split_bytes = 2;
	check_int(wh_mapreduce(&job, NULL), 0);
	text_is(&world, "\t3\nB b\t2\nlast\t1\n");
	return 0;
}

static int values_of_equal_keys_are_reduced(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "words") };
	struct world world = { .text.has_values = true };
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
	const char *const paths[] = { file_path(path, "words") };
	struct world world = { .text.has_values = true };
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

/* Keys and values that differ late, are prefixes of each other, or are equal. */
static int rows_of_equal_keys_are_in_the_order_of_their_values(void *arg)
{
	enum { ROWS = 2000 };
	char path[128], *text = malloc(ROWS * 40);
	const char *const paths[] = { file_path(path, "words") };
	struct world world = { .text.has_values = true };
	struct wh_mr_job job = job_on(paths, 1, &world);
	const char *last = NULL;
	uint64_t random = 1;
	size_t len = 0;

	(void)arg;
	for (unsigned i = 0; i < ROWS; i++)
		len += (size_t)sprintf(text + len, "a%.*s%u ", (int)(random_next(&random) % 20),
				       "aaaaaaaaaaaaaaaaaaaa", (unsigned)random % 30);
	write_file("words", text, len);
	job.value = WH_MR_BYTES;
	job.map = by_letter;
	for (unsigned order = WH_MR_BY_KEY; order <= WH_MR_BY_VALUE; order++) {
		job.order = (enum wh_mr_order)order;
		check_int(wh_mapreduce(&job, NULL), 0);
		check_int(world.text.rows, ROWS);
		last = strtok(world.text.bytes, "\n");
		for (const char *row; (row = strtok(NULL, "\n")) != NULL; last = row)
			check(strcmp(last, row) <= 0);
		row_text_fini(&world.text);
	}
	free(text);
	return 0;
}

/* More values than fit into a block, so that combine has something to do. */
static int combine_changes_the_work_not_the_result(void *arg)
{
	enum { WORDS = 60 * 1000 };
	char path[128], *text = malloc(WORDS * 12);
	const char *const paths[] = { file_path(path, "many") };
	struct world plain = { .text.has_values = true }, combined = plain;
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

static int custom_records_are_cut_by_the_job(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "threes") };
	struct world world = { 0 };
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
	const char *const paths[] = { file_path(path, "many") };
	struct world world = { 0 };
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(numbers_of_equal_keys_are_added_up),
		task_test(lines_are_counted_without_a_map),
		task_test(values_of_equal_keys_are_reduced),
		task_test(without_reduce_every_value_is_a_row),
		task_test(rows_of_equal_keys_are_in_the_order_of_their_values),
		task_test(combine_changes_the_work_not_the_result),
		task_test(custom_records_are_cut_by_the_job),
		task_test(rows_max_keeps_the_first_rows),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
