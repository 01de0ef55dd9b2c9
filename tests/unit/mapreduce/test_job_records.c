/* What a record is: whatever the splits, the records of a file are those that a look at all of it
 * finds. Each record becomes a word of hexadecimal digits, so that the oracle can count them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

enum { RECORD_MAX = 300, FILE_BYTES = 257, SPLIT_STEP = TEST_ROUNDS < 10000 ? 29 : 3 };

/* Text for the oracle. */
struct expected {
	char text[FILE_BYTES * 4];
	size_t len;
};

/* Not empty, even for an empty record. */
static size_t to_hex(char *hex, const uint8_t *bytes, size_t len)
{
	size_t at = 0;

	hex[at++] = 'x';
	for (size_t i = 0; i < len; i++)
		at += (size_t)sprintf(hex + at, "%02x", bytes[i]);
	return at;
}

static int emit_hex(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	char hex[2 * RECORD_MAX + 2];

	(void)arg;
	check(record.len <= RECORD_MAX);
	return wh_mr_emit_number(emitter, hex, to_hex(hex, record.data, record.len), 1);
}

static void expect(struct expected *expected, const uint8_t *bytes, size_t len)
{
	expected->len += to_hex(expected->text + expected->len, bytes, len);
	expected->text[expected->len++] = ' ';
}

/* Run `job` with splits of all kinds of sizes, and in one piece from standard input. */
static void check_all_splits(struct wh_mr_job *job, struct world *world,
			     const struct expected *expected)
{
	size_t len;
	char *rows = oracle_count(expected->text, expected->len, &len);

	job->map = emit_hex;
	job->value = WH_MR_COUNT;
	for (job->split_bytes = 1; job->split_bytes <= FILE_BYTES + 1;
	     job->split_bytes += SPLIT_STEP) {
		check_int(wh_mapreduce(job, NULL), 0);
		text_is(world, rows);
	}
	free(rows);
}

static void random_bytes(uint8_t *bytes, size_t len, const char *alphabet, uint64_t *random)
{
	size_t letters = strlen(alphabet);

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)alphabet[random_next(random) % letters];
}

static int lines_are_those_of_the_whole_file(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "lines") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint8_t bytes[FILE_BYTES];
	uint64_t random = 11;

	(void)arg;
	job.records = WH_MR_LINES;
	for (int round = 0; round < 5; round++) {
		struct expected expected = { .len = 0 };
		size_t start = 0;

		random_bytes(bytes, sizeof(bytes), "\n\nab", &random);
		for (size_t i = 0; i < sizeof(bytes); i++)
			if (bytes[i] == '\n' || i + 1 == sizeof(bytes)) {
				expect(&expected, bytes + start, i - start + (bytes[i] != '\n'));
				start = i + 1;
			}
		write_file("lines", (const char *)bytes, sizeof(bytes));
		check_all_splits(&job, &world, &expected);
	}
	return 0;
}

static int fixed_records_are_those_of_the_whole_file(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "fixed") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint8_t bytes[FILE_BYTES];
	uint64_t random = 12;

	(void)arg;
	job.records = WH_MR_FIXED;
	job.short_records = true;
	random_bytes(bytes, sizeof(bytes), "ab", &random);
	write_file("fixed", (const char *)bytes, sizeof(bytes));
	for (job.record_bytes = 1; job.record_bytes <= FILE_BYTES + 1; job.record_bytes *= 3) {
		struct expected expected = { .len = 0 };

		for (size_t i = 0; i < sizeof(bytes); i += job.record_bytes)
			expect(&expected, bytes + i,
			       sizeof(bytes) - i < job.record_bytes ? sizeof(bytes) - i
								    : job.record_bytes);
		check_all_splits(&job, &world, &expected);
	}
	return 0;
}

static int a_fixed_record_that_is_not_whole_is_an_error_of_its_file(void *arg)
{
	char path[128], good[128];
	const char *const paths[] = { file_path(path, "cut"), file_path(good, "good") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 2, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("cut", "aaaabbbbccc", 11);
	write_file("good", "bbbb", 4);
	job.records = WH_MR_FIXED;
	job.record_bytes = 4;
	for (job.split_bytes = 1; job.split_bytes < 14; job.split_bytes++) {
		world.errors = 0;
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(world.errors, 1);
		check_int(world.error, -ENODATA);
		check_int(stats.files_failed, 1);
		check(strcmp(world.failed_path, path) == 0);
		check(strstr(stats.why, "at byte 8 of ") && strstr(stats.why, path));
		text_is(&world, "bbbb\t2\naaaa\t1\n");
	}
	return 0;
}

/* A record begins with ># at the beginning of a line. */
static bool begins(const uint8_t *data, size_t at)
{
	return data[at - 1] == '\n' && data[at] == '>' && data[at + 1] == '#';
}

static size_t find_begin(void *arg, struct wh_mr_bytes data, size_t from)
{
	(void)arg;
	for (size_t at = from; at + 1 < data.len; at++)
		if (begins(data.data, at))
			return at;
	return 0;
}

static size_t record_len(void *arg, struct wh_mr_bytes data, bool last)
{
	(void)last;
	return find_begin(arg, data, 1);
}

static int custom_records_that_can_be_found_are_those_of_the_whole_file(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "custom") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint8_t bytes[FILE_BYTES];
	uint64_t random = 13;

	(void)arg;
	job.records = WH_MR_CUSTOM;
	job.record = record_len;
	for (int round = 0; round < 10; round++) {
		struct expected expected = { .len = 0 };
		size_t start = 0;

		random_bytes(bytes, sizeof(bytes), "\n\n>>##a", &random);
		for (size_t i = 1; i + 1 < sizeof(bytes); i++)
			if (begins(bytes, i)) {
				expect(&expected, bytes + start, i - start);
				start = i;
			}
		expect(&expected, bytes + start, sizeof(bytes) - start);
		write_file("custom", (const char *)bytes, sizeof(bytes));
		job.find = round % 5 ? find_begin : NULL;
		check_all_splits(&job, &world, &expected);
	}
	return 0;
}

/* The same where records and the ways to their beginnings are longer than what is read at once. */
static int long_custom_records_are_found(void *arg)
{
	enum { LONG = 700 * 1000, RECORDS = 5 };
	char path[128], *text = malloc((size_t)LONG * RECORDS);
	const char *const paths[] = { file_path(path, "long") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	memset(text, '>', (size_t)LONG * RECORDS);
	for (size_t i = 0; i < RECORDS; i++)
		memcpy(text + i * LONG + (i ? 0 : 1), i ? "\n>#" : ">#", i ? 3 : 2);
	write_file("long", text, (size_t)LONG * RECORDS);
	job.records = WH_MR_CUSTOM;
	job.record = record_len;
	job.find = find_begin;
	job.output = NULL;
	job.split_bytes = 100 * 1000;
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.records, RECORDS);
	free(text);
	return 0;
}

struct place {
	struct world world; /* first: what job_on and world.c use */
	const char *bytes;
	const char *path;
	_Atomic unsigned seen;
};

static int check_origin(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	struct place *place = arg;
	struct wh_mr_origin origin;

	wh_mr_origin(emitter, &origin);
	check(strcmp(origin.path, place->path) == 0);
	check(memcmp(place->bytes + origin.offset, line.data, line.len) == 0);
	check(origin.offset == 0 || place->bytes[origin.offset - 1] == '\n');
	place->seen++;
	return 0;
}

static int a_record_knows_where_it_comes_from(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "lines") };
	struct place place = { .bytes = verse, .path = path };
	struct wh_mr_job job = job_on(paths, 1, &place.world);

	(void)arg;
	write_file("lines", verse, verse_len);
	job.records = WH_MR_LINES;
	job.map = check_origin;
	for (job.split_bytes = 1; job.split_bytes < 150; job.split_bytes += 7) {
		place.seen = 0;
		check_int(wh_mapreduce(&job, NULL), 0);
		check_int(place.seen, 2);
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(lines_are_those_of_the_whole_file),
		task_test(fixed_records_are_those_of_the_whole_file),
		task_test(a_fixed_record_that_is_not_whole_is_an_error_of_its_file),
		task_test(custom_records_that_can_be_found_are_those_of_the_whole_file),
		task_test(long_custom_records_are_found),
		task_test(a_record_knows_where_it_comes_from),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
