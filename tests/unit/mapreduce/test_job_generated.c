/* Input that a function makes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

enum { BLOCKS = 300, BLOCK_WORDS = 40 };

/* Words of block `index`, which are no longer than `room` allows. */
static size_t block_text(uint64_t index, char *text)
{
	uint64_t random = index;
	size_t len = 0;

	for (int i = 0; i < BLOCK_WORDS; i++)
		len += (size_t)sprintf(text + len, "w%u ", (unsigned)(random_next(&random) % 97));
	return len;
}

static ssize_t make_block(void *arg, uint64_t index, void *data, size_t room)
{
	char text[BLOCK_WORDS * 24];
	size_t len = block_text(index, text);

	(void)arg;
	if (index >= BLOCKS)
		return 0;
	check(len <= room);
	memcpy(data, text, len);
	return (ssize_t)len;
}

/* What the oracle counts in blocks 0 to `blocks` - 1. */
static char *expected_rows(unsigned blocks, const char *more)
{
	char *text = malloc((size_t)blocks * BLOCK_WORDS * 24 + 64), *rows;
	size_t len = 0, rows_len;

	for (unsigned i = 0; i < blocks; i++)
		len += block_text(i, text + len);
	len += (size_t)sprintf(text + len, "%s", more);
	rows = oracle_count(text, len, &rows_len);
	free(text);
	return rows;
}

static int blocks_are_mapped_until_there_is_none(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on(NULL, 0, &world);
	struct wh_mr_stats stats;
	char *rows = expected_rows(BLOCKS, "");

	(void)arg;
	job.generate = make_block;
	for (job.workers = 1; job.workers <= 4; job.workers++) {
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(stats.records, BLOCKS * BLOCK_WORDS);
		text_is(&world, rows);
	}
	free(rows);
	return 0;
}

static int as_many_blocks_are_made_as_asked_for(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on(NULL, 0, &world);

	(void)arg;
	job.generate = make_block;
	for (job.generate_count = 1; job.generate_count < 20; job.generate_count += 6) {
		char *rows = expected_rows((unsigned)job.generate_count, "");

		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, rows);
		free(rows);
	}
	return 0;
}

static int files_and_blocks_are_one_input(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "more") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	char *rows = expected_rows(BLOCKS, "w5 more");

	(void)arg;
	write_file("more", "w5 more", 7);
	job.generate = make_block;
	check_int(wh_mapreduce(&job, NULL), 0);
	text_is(&world, rows);
	free(rows);
	return 0;
}

/* One word that is longer than the room at first. */
static ssize_t make_large(void *arg, uint64_t index, void *data, size_t room)
{
	enum { LARGE = 3 * 1000 * 1000 };
	struct world *world = arg;

	if (index > 0)
		return 0;
	world->calls++;
	if (room < LARGE)
		return -ENOBUFS;
	memset(data, 'x', LARGE);
	return LARGE;
}

static int a_block_is_given_more_room_if_it_asks(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on(NULL, 0, &world);
	struct wh_mr_stats stats;

	(void)arg;
	job.generate = make_large;
	job.output = NULL;
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.records, 1);
	check(world.calls > 1);
	return 0;
}

static ssize_t fail_late(void *arg, uint64_t index, void *data, size_t room)
{
	return index == 7 ? -EIO : make_block(arg, index, data, room);
}

static ssize_t ask_for_ever(void *arg, uint64_t index, void *data, size_t room)
{
	(void)arg;
	(void)index;
	(void)data;
	(void)room;
	return -ENOBUFS;
}

static ssize_t claim_too_much(void *arg, uint64_t index, void *data, size_t room)
{
	(void)arg;
	(void)index;
	(void)data;
	return (ssize_t)room + 1;
}

static int a_block_that_fails_is_named(void *arg)
{
	static const struct {
		wh_mr_generate_fn generate;
		int error;
		const char *why;
	} cases[] = {
		{ fail_late, -EIO, "block 7" },
		{ ask_for_ever, -EMSGSIZE, "make its blocks smaller" },
		{ claim_too_much, -EOVERFLOW, "more of block" },
	};
	struct world world = { 0 };
	struct wh_mr_job job = job_on(NULL, 0, &world);
	struct wh_mr_stats stats;

	(void)arg;
	job.workers = 1;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		job.generate = cases[i].generate;
		check_int(wh_mapreduce(&job, &stats), cases[i].error);
		check(strstr(stats.why, cases[i].why));
		check_int(world.text.rows, 0);
	}
	return 0;
}

static ssize_t make_numbers(void *arg, uint64_t index, void *data, size_t room)
{
	(void)arg;
	(void)room;
	memcpy(data, "aabbc", 5);
	return index < 3 ? 4 + (index == 2) : 0;
}

static int blocks_hold_whole_records(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on(NULL, 0, &world);
	struct wh_mr_stats stats;

	(void)arg;
	job.generate = make_numbers;
	job.generate_count = 2;
	job.records = WH_MR_FIXED;
	job.record_bytes = 2;
	check_int(wh_mapreduce(&job, &stats), 0);
	text_is(&world, "aa\t2\nbb\t2\n");
	job.generate_count = 0;
	check_int(wh_mapreduce(&job, &stats), -ENODATA);
	check(strstr(stats.why, "at byte 4 of generated block 2"));
	return 0;
}

static int record_of_block(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	struct wh_mr_origin origin;
	char text[BLOCK_WORDS * 24];

	(void)arg;
	wh_mr_origin(emitter, &origin);
	check(!origin.path);
	check(origin.offset < block_text(origin.block, text));
	check(memcmp(text + origin.offset, word.data, word.len) == 0);
	return wh_mr_emit_number(emitter, word.data, word.len, 1);
}

static int a_generated_record_knows_its_block(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on(NULL, 0, &world);
	char *rows = expected_rows(BLOCKS, "");

	(void)arg;
	job.generate = make_block;
	job.map = record_of_block;
	check_int(wh_mapreduce(&job, NULL), 0);
	text_is(&world, rows);
	free(rows);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(blocks_are_mapped_until_there_is_none),
		task_test(as_many_blocks_are_made_as_asked_for),
		task_test(files_and_blocks_are_one_input),
		task_test(a_block_is_given_more_room_if_it_asks),
		task_test(a_block_that_fails_is_named),
		task_test(blocks_hold_whole_records),
		task_test(a_generated_record_knows_its_block),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
