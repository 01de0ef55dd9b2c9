/* Jobs whose memory is not enough: whatever goes to disk, and however small the pieces are, the
 * rows are those of a job that fits. The text is random; its seed is printed, and taken back as an
 * argument. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "mapreduce/budget.h"
#include "mapreduce/hash.h"
#include "support/faulty_io.h"
#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

enum {
	WORDS = 20000 + TEST_ROUNDS * 3,
	DISTINCT = WORDS / 5 * 3,
	TEXT_BYTES = WORDS * 32,
	TWINS = 600,
	TWIN_BYTES = 200,
	LETTERS = 3,
};

static uint64_t seed;
static char *text;
static size_t text_len;
static char text_path[128];
static char twins_path[128];

/* Budgets from one that all fits in down to none at all. */
static const uint64_t budgets[] = { 1 << 30, 4 << 20, 2 << 20, 1 << 20, 300000, 50000, 1 };

/* Words of 1 to 28 bytes, short ones and long ones, some of them often. */
static int make_text(void)
{
	uint64_t state = seed;

	text = malloc(TEXT_BYTES);
	check(text);
	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t random = random_next(&state);
		unsigned which = (unsigned)(random % DISTINCT) >> (random >> 60);

		text_len += (size_t)sprintf(text + text_len, "%.*s%x\n", (int)(which * 7 % 21),
					    "abcdefghijklmnopqrstuvwxyz", which);
	}
	write_file("text", text, text_len);
	file_path(text_path, "text");
	return 0;
}

/* Lines whose hashes are all the same: the second factor of the last multiplication is zero. Each
 * comes twice. */
static void make_twins(void)
{
	static const uint64_t zero = 0xe7037ed1a0b428dbu;
	char *lines = malloc((size_t)TWINS * 2 * (TWIN_BYTES + 1));
	size_t len = 0;

	check(lines);
	for (unsigned i = 0; i < TWINS * 2; i++) {
		char number[9];

		snprintf(number, sizeof(number), "%08u", i % TWINS);
		memset(lines + len, 'x', TWIN_BYTES);
		memcpy(lines + len, number, 8);
		memcpy(lines + len + TWIN_BYTES - 16, &zero, 8);
		lines[len + TWIN_BYTES] = '\n';
		check_int(whi_hash_bytes((const uint8_t *)lines + len, TWIN_BYTES), 0);
		len += TWIN_BYTES + 1;
	}
	write_file("twins", lines, len);
	file_path(twins_path, "twins");
	free(lines);
}

static int setup(void **state)
{
	new_folder(state);
	/* Twins are made for this secret. */
	whi_hash_adopt(0);
	make_text();
	make_twins();
	return 0;
}

static int teardown(void **state)
{
	free(text);
	return old_folder(state);
}

/* Run the job with enough memory, then with each budget, and compare. */
static void same_with_all_budgets(struct wh_mr_job *job, struct world *world,
				  struct wh_mr_spill *ret_worst)
{
	struct row_text expected;
	struct wh_mr_stats stats;

	for (unsigned i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
		job->memory_max = budgets[i];
		check_int(wh_mapreduce(job, &stats), 0);
		check_int(stats.spill.error, 0);
		check_int(stats.rows, world->text.rows);
		if (i == 0) {
			check_int(stats.spill.bytes_written, 0);
			expected = world->text;
		} else {
			check_int(world->text.len, expected.len);
			check(memcmp(world->text.bytes, expected.bytes, expected.len) == 0);
			row_text_fini(&world->text);
		}
		memset(&world->text, 0, sizeof(world->text));
		world->text.has_values = expected.has_values;
	}
	check(stats.spill.bytes_written > 0 && stats.spill.partitions > 0);
	row_text_fini(&expected);
	*ret_worst = stats.spill;
}

static const enum wh_mr_order orders[] = { WH_MR_BY_KEY, WH_MR_BY_VALUE };

static int words_are_those_of_the_oracle(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	size_t len;
	char *expected = oracle_count(text, text_len, &len);

	(void)arg;
	for (unsigned i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
		job.memory_max = budgets[i];
		check_int(wh_mapreduce(&job, NULL), 0);
		check_int(world.text.len, len);
		check(memcmp(world.text.bytes, expected, len) == 0);
		row_text_fini(&world.text);
	}
	free(expected);
	return 0;
}

/* The number of a word is its length times its first byte, and 2^33 so that sums need 64 bits. */
static int number_of(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	const uint8_t *bytes = word.data;

	(void)arg;
	return wh_mr_emit_number(emitter, bytes, word.len < LETTERS ? word.len : LETTERS,
				 (UINT64_C(1) << 33) + word.len * bytes[0]);
}

static int all_kinds_of_numbers_survive(void *arg)
{
	static const enum wh_mr_value values[] = { WH_MR_SUM, WH_MR_COUNT, WH_MR_MIN, WH_MR_MAX };
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_spill spill;

	(void)arg;
	job.map = number_of;
	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		for (unsigned j = 0; j < sizeof(orders) / sizeof(orders[0]); j++) {
			job.value = values[i];
			job.order = orders[j];
			same_with_all_budgets(&job, &world, &spill);
		}
	return 0;
}

static int by_word(const void *a, const void *b)
{
	const char *const *left = a, *const *right = b;

	return strcmp(*left, *right);
}

/* The words of the text in order, zero-terminated; `*ret_copy` holds their bytes. */
static char **sorted_words(char **ret_copy)
{
	char **words = malloc(WORDS * sizeof(*words)), *copy = malloc(text_len), *at = copy;

	check(words && copy);
	memcpy(copy, text, text_len);
	for (unsigned i = 0; i < WORDS; i++) {
		words[i] = at;
		at = memchr(at, '\n', text_len);
		*at++ = '\0';
	}
	qsort(words, WORDS, sizeof(*words), by_word);
	*ret_copy = copy;
	return words;
}

static uint64_t brought_together(enum wh_mr_value value, uint64_t number, uint64_t other)
{
	if (value == WH_MR_MIN)
		return number < other ? number : other;
	if (value == WH_MR_MAX)
		return number > other ? number : other;
	return number + other;
}

/* Counted without the engine: the rows of number_of_place, by key. */
static void expect_numbers(enum wh_mr_value value, struct row_text *rows)
{
	char *copy, **words = sorted_words(&copy);
	uint64_t so_far = 0;

	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t number = value == WH_MR_COUNT ? 1 : number_at((uint64_t)(words[i] - copy));
		bool last = i + 1 == WORDS || strcmp(words[i], words[i + 1]) != 0;

		if (i > 0 && strcmp(words[i], words[i - 1]) == 0)
			number = brought_together(value, so_far, number);
		so_far = number;
		if (last)
			row_text_add(rows,
				     &(struct wh_mr_row){ .key = { words[i], strlen(words[i]) },
							  .number = number },
				     1);
	}
	free(words);
	free(copy);
}

static int all_kinds_of_numbers_are_those_of_a_count_without_the_engine(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	job.map = number_of_place;
	job.order = WH_MR_BY_KEY;
	for (unsigned value = WH_MR_SUM; value < WH_MR_BYTES; value++) {
		struct row_text expected = { 0 };

		job.value = (enum wh_mr_value)value;
		expect_numbers(job.value, &expected);
		for (unsigned i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i += 2) {
			job.memory_max = budgets[i];
			check_int(wh_mapreduce(&job, NULL), 0);
			check_int(world.text.len, expected.len);
			check(memcmp(world.text.bytes, expected.bytes, expected.len) == 0);
			row_text_fini(&world.text);
		}
		row_text_fini(&expected);
	}
	return 0;
}

static int pairs_without_reduce_survive(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { .text.has_values = true };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_spill spill;

	(void)arg;
	job.value = WH_MR_BYTES;
	job.map = by_letter;
	for (unsigned i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		job.order = orders[i];
		same_with_all_budgets(&job, &world, &spill);
	}
	job.rows_max = 1000;
	same_with_all_budgets(&job, &world, &spill);
	return 0;
}

/* The first letters of a word are the key, the word the value. */
static int by_letters(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	const char *end = (const char *)word.data + word.len;
	size_t len = word.len < LETTERS ? word.len : LETTERS;

	(void)arg;
	return wh_mr_emit(emitter, (struct wh_mr_bytes){ end - len, len }, word);
}

/* How many values a key has, and the sum of their hashes: any order of them will do. */
static int summarise(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
		     struct wh_mr_emitter *emitter)
{
	struct wh_mr_bytes value;
	uint64_t count = 0, sum = 0;
	char row[64];
	int len;

	(void)arg;
	while (wh_mr_next(values, &value)) {
		count++;
		sum += whi_hash_bytes(value.data, value.len);
	}
	len = snprintf(row, sizeof(row), "%llu %llx", (unsigned long long)count,
		       (unsigned long long)sum);
	return wh_mr_emit(emitter, key, (struct wh_mr_bytes){ row, (size_t)len });
}

static int reduce_sees_every_value_once(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { .text.has_values = true };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_spill spill;

	(void)arg;
	job.value = WH_MR_BYTES;
	job.map = by_letters;
	job.reduce = summarise;
	for (unsigned i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		job.order = orders[i];
		same_with_all_budgets(&job, &world, &spill);
	}
	return 0;
}

static int one_key_may_have_more_values_than_memory(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { .text.has_values = true };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_spill spill;

	(void)arg;
	job.value = WH_MR_BYTES;
	job.map = by_letter;
	job.reduce = summarise;
	job.order = WH_MR_BY_KEY;
	same_with_all_budgets(&job, &world, &spill);
	check(spill.sorted > 0);
	return 0;
}

/* Takes only the first value, and emits a row for each letter of the key, and each of ten. */
static int multiply(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
		    struct wh_mr_emitter *emitter)
{
	struct wh_mr_bytes value;
	int r = 0;

	(void)arg;
	check(wh_mr_next(values, &value));
	for (unsigned i = 0; i < 10 && r == 0; i++) {
		char name[64];
		int len = snprintf(name, sizeof(name), "%.*s-%u", (int)key.len,
				   (const char *)key.data, i);

		r = wh_mr_emit(emitter, (struct wh_mr_bytes){ name, (size_t)len }, key);
	}
	return r;
}

static int reduce_may_emit_more_than_memory(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { .text.has_values = true };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_spill spill;

	(void)arg;
	job.value = WH_MR_BYTES;
	job.map = by_letters;
	job.reduce = multiply;
	job.order = WH_MR_BY_KEY;
	same_with_all_budgets(&job, &world, &spill);
	return 0;
}

static int equal_hashes_are_told_apart_by_sorting(void *arg)
{
	const char *const paths[] = { twins_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_spill spill;

	(void)arg;
	job.records = WH_MR_LINES;
	for (unsigned i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		job.order = orders[i];
		same_with_all_budgets(&job, &world, &spill);
		check(spill.sorted > 0);
	}
	world.text.has_values = true;
	job.value = WH_MR_BYTES;
	job.reduce = summarise;
	same_with_all_budgets(&job, &world, &spill);
	check(spill.sorted > 0);
	return 0;
}

static int partitions_are_partitioned_again_and_again(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;
	unsigned deepest = 0, least = 256;

	(void)arg;
	for (job.memory_max = 1; job.memory_max < 16 << 20; job.memory_max *= 2) {
		check_int(wh_mapreduce(&job, &stats), 0);
		row_text_fini(&world.text);
		if (stats.spill.depth > deepest)
			deepest = stats.spill.depth;
		if (stats.spill.partitions > 0 && stats.spill.partitions < least)
			least = stats.spill.partitions;
	}
	check(deepest >= (DISTINCT < 20000 ? 1 : 2));
	check(least < 256);
	check_int(stats.spill.bytes_written, 0);
	return 0;
}

static int a_quarter_of_the_least_limit_is_the_default(void *arg)
{
	const uint64_t limit = UINT64_C(1) << 26;
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct rlimit before, now;
	struct wh_mr_stats stats;

	(void)arg;
	check_int(getrlimit(RLIMIT_AS, &before), 0);
	now = (struct rlimit){ limit, before.rlim_max };
	check_int(setrlimit(RLIMIT_AS, &now), 0);
	check_int(whi_budget_default(), limit / 4);
	check_int(setrlimit(RLIMIT_AS, &before), 0);
	check_int(wh_mapreduce(&job, &stats), 0);
	check(stats.spill.memory_max > 0 && stats.spill.memory_max < UINT64_MAX / 4);
	row_text_fini(&world.text);
	return 0;
}

static int a_folder_that_is_not_there_is_told_at_once(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	job.tmp_dir = "/nowhere/at/all";
	check_int(wh_mapreduce(&job, &stats), -ENOENT);
	check_int(stats.spill.error, -ENOENT);
	check(strstr(stats.why, "/nowhere/at/all") && strstr(stats.why, "No such file"));
	check_int(stats.bytes_done, 0);
	check_int(world.text.rows, 0);
	return 0;
}

static void fails_as(const struct faulty_io *fault, int expected, const char *why)
{
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;
	int r;

	job.memory_max = 100000;
	job.tmp_dir = folder;
	faulty_io_set(fault);
	r = wh_mapreduce(&job, &stats);
	if (faulty_io_failed() == 0) {
		check_int(r, 0);
	} else {
		check_int(r, expected);
		check_int(stats.spill.error, expected);
		check(strstr(stats.why, folder) && strstr(stats.why, why));
		/* Rows come only when all of them are sure, but for what is read back for them. */
		check(world.text.rows == 0 || fault->call == FAULTY_PREAD);
	}
	faulty_io_set(&(struct faulty_io){ 0 });
	row_text_fini(&world.text);
}

static int a_failing_disk_is_an_error_with_a_name(void *arg)
{
	(void)arg;
	for (uint64_t first = 1; first < 20000; first = first * 3 + 1) {
		fails_as(&(struct faulty_io){ .first = first, .how = -ENOSPC }, -ENOSPC,
			 "No space left");
		fails_as(&(struct faulty_io){ .first = first, .how = -EDQUOT }, -EDQUOT, "quota");
		fails_as(&(struct faulty_io){ .first = first, .how = -EIO }, -EIO, "cannot write");
		fails_as(&(struct faulty_io){ FAULTY_PREAD, first, -EIO, false, false }, -EIO,
			 "cannot read");
		fails_as(&(struct faulty_io){ FAULTY_PREAD, first, FAULTY_SHORT, false, false },
			 -EIO, "cannot read");
		fails_as(&(struct faulty_io){ FAULTY_PREAD, first, FAULTY_FLIPPED, false, false },
			 -EIO, "cannot read");
	}
	return 0;
}

static int short_writes_and_reads_are_gone_on_with(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_spill spill;

	(void)arg;
	faulty_io_set(&(struct faulty_io){ .first = 0, .halves = true });
	same_with_all_budgets(&job, &world, &spill);
	faulty_io_set(&(struct faulty_io){ 0 });
	return 0;
}

static int file_systems_without_nameless_files_will_do(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_spill spill;

	(void)arg;
	job.tmp_dir = folder;
	faulty_io_set(&(struct faulty_io){ .no_tmpfile = true });
	same_with_all_budgets(&job, &world, &spill);
	check(faulty_io_failed() > 0);
	faulty_io_set(&(struct faulty_io){ 0 });
	return 0;
}

static int memory_that_runs_out_is_an_error_too(void *arg)
{
	const char *const paths[] = { text_path };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint64_t failed = 1;

	(void)arg;
	job.memory_max = 200000;
	for (uint64_t first = 1; failed > 0; first = first * 5 / 4 + 1) {
		int r;

		faulty_alloc_set(&(struct faulty_pick){ .first = first });
		r = wh_mapreduce(&job, NULL);
		failed = faulty_alloc_failed();
		faulty_alloc_set(&(struct faulty_pick){ 0 });
		/* A stack or a list of idle extents can be done without. */
		check(r == -ENOMEM || r == 0 || r == -EAGAIN);
		row_text_fini(&world.text);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		task_test(words_are_those_of_the_oracle),
		task_test(all_kinds_of_numbers_survive),
		task_test(all_kinds_of_numbers_are_those_of_a_count_without_the_engine),
		task_test(pairs_without_reduce_survive),
		task_test(reduce_sees_every_value_once),
		task_test(one_key_may_have_more_values_than_memory),
		task_test(reduce_may_emit_more_than_memory),
		task_test(equal_hashes_are_told_apart_by_sorting),
		task_test(partitions_are_partitioned_again_and_again),
		task_test(a_quarter_of_the_least_limit_is_the_default),
		task_test(a_folder_that_is_not_there_is_told_at_once),
		task_test(a_failing_disk_is_an_error_with_a_name),
		task_test(short_writes_and_reads_are_gone_on_with),
		task_test(file_systems_without_nameless_files_will_do),
		task_test(memory_that_runs_out_is_an_error_too),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, setup, teardown);
}
