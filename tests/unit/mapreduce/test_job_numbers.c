/* Keys with numbers: sums, counts, least and greatest, of keys of any bytes and length. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

enum { KEYS = 60, KEY_MAX = 2000, EMITS = 30 * 1000, BLOCKS = 8 };

/* What is to be emitted, and what must come of it. */
struct numbers {
	struct world world;
	struct {
		uint8_t bytes[KEY_MAX];
		size_t len;
		uint64_t sum, count, least, greatest;
	} keys[KEYS];
};

/* Any length around what tables tell apart, with zeros or without, short ones in prefixes. */
static void make_keys(struct numbers *numbers, uint64_t *random)
{
	static const size_t lens[] = {
		0, 1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 17, 31, 1024, 1025, 2000
	};

	for (unsigned i = 0; i < KEYS; i++) {
		numbers->keys[i].len = lens[i % 16];
		for (size_t at = 0; at < numbers->keys[i].len; at++)
			numbers->keys[i].bytes[at] = (uint8_t)(1 + random_next(random) % 255);
		if (i >= 16 && i % 3 == 0 && numbers->keys[i].len)
			numbers->keys[i].bytes[random_next(random) % numbers->keys[i].len] = 0;
		numbers->keys[i].least = UINT64_MAX;
	}
}

/* Every block is a seed. */
static ssize_t make_seed(void *arg, uint64_t index, void *data, size_t room)
{
	(void)arg;
	(void)room;
	memcpy(data, &index, sizeof(index));
	return sizeof(index);
}

static void emit_of(uint64_t *random, unsigned *ret_key, uint64_t *ret_number)
{
	*ret_key = (unsigned)(random_next(random) % KEYS);
	*ret_number = random_next(random) >> (random_next(random) % 64);
}

static int map_seed(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	struct numbers *numbers = arg;
	uint64_t random, number;
	unsigned key;

	memcpy(&random, record.data, sizeof(random));
	for (unsigned i = 0; i < EMITS; i++) {
		emit_of(&random, &key, &number);
		check_int(wh_mr_emit_number(emitter, numbers->keys[key].bytes,
					    numbers->keys[key].len, number),
			  0);
	}
	return 0;
}

static int key_of(const struct numbers *numbers, const uint8_t *bytes, size_t len)
{
	for (int i = 0; i < KEYS; i++)
		if (numbers->keys[i].len == len && memcmp(numbers->keys[i].bytes, bytes, len) == 0)
			return i;
	return -1;
}

static void expect(struct numbers *numbers)
{
	for (uint64_t block = 0; block < BLOCKS; block++) {
		uint64_t random = block, number;
		unsigned key;

		for (unsigned i = 0; i < EMITS; i++) {
			emit_of(&random, &key, &number);
			/* Some keys are there twice. */
			key = (unsigned)key_of(numbers, numbers->keys[key].bytes,
					       numbers->keys[key].len);
			numbers->keys[key].sum += number;
			numbers->keys[key].count++;
			if (number < numbers->keys[key].least)
				numbers->keys[key].least = number;
			if (number > numbers->keys[key].greatest)
				numbers->keys[key].greatest = number;
		}
	}
}

struct wanted {
	struct numbers *numbers;
	enum wh_mr_value value;
	uint64_t last;
	unsigned rows;
};

static uint64_t wanted_number(const struct wanted *wanted, int key)
{
	switch (wanted->value) {
	case WH_MR_SUM:
		return wanted->numbers->keys[key].sum;
	case WH_MR_COUNT:
		return wanted->numbers->keys[key].count;
	case WH_MR_MIN:
		return wanted->numbers->keys[key].least;
	case WH_MR_MAX:
		return wanted->numbers->keys[key].greatest;
	case WH_MR_BYTES:
		break;
	}
	abort();
}

static struct wanted wanted; /* by check_rows; `arg` is the numbers, for map_seed */

static int check_rows(void *arg, const struct wh_mr_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int key = key_of(arg, rows[i].key.data, rows[i].key.len);

		check(key >= 0);
		check(rows[i].number == wanted_number(&wanted, key));
		check(rows[i].number <= wanted.last);
		wanted.last = rows[i].number;
	}
	wanted.rows += (unsigned)count;
	return 0;
}

static int numbers_of_equal_keys_come_together(void *arg)
{
	struct numbers *numbers = calloc(1, sizeof(*numbers));
	uint64_t random = 21;

	(void)arg;
	make_keys(numbers, &random);
	expect(numbers);
	for (unsigned value = WH_MR_SUM; value < WH_MR_BYTES; value++) {
		struct wh_mr_job job = {
			.generate = make_seed,
			.generate_count = BLOCKS,
			.arg = numbers,
			.records = WH_MR_FIXED,
			.record_bytes = 8,
			.value = (enum wh_mr_value)value,
			.map = map_seed,
			.order = WH_MR_BY_VALUE,
			.output = check_rows,
			.workers = 3,
		};
		struct wh_mr_stats stats;
		unsigned different = 0;

		for (int i = 0; i < KEYS; i++)
			different += numbers->keys[i].count > 0;
		wanted = (struct wanted){ numbers, job.value, UINT64_MAX, 0 };
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(wanted.rows, different);
		check_int(stats.records, EMITS * BLOCKS);
	}
	free(numbers);
	return 0;
}

/* Some words of a line as text, others one by one. */
static int map_line(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	const char *text = line.data;
	size_t half = line.len / 2, at;
	int r;

	(void)arg;
	while (half < line.len && text[half] != ' ')
		half++;
	r = wh_mr_emit_words(emitter, (struct wh_mr_bytes){ text, half });
	for (size_t start = half; start < line.len && r == 0; start = at + 1) {
		for (at = start; at < line.len && text[at] != ' ';)
			at++;
		if (at > start)
			r = wh_mr_emit_number(emitter, text + start, at - start, 77);
	}
	return r;
}

static int words_and_keys_count_together(void *arg)
{
	enum { SIZE = 2 * 1000 * 1000 };
	char path[128], *text = malloc(SIZE), *rows;
	const char *const paths[] = { file_path(path, "text") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;
	uint64_t random = 22;
	size_t len, words = 0;

	(void)arg;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = "aaaabbbc   \n"[random_next(&random) % 12];
	/* Lines and words that are longer than what gathers at once. */
	memset(text + SIZE / 4, 'x', 40000);
	for (size_t i = 0; i < 100000; i++)
		text[SIZE / 2 + i] = i % 5 ? 'a' : ' ';
	for (size_t i = 0; i < SIZE; i++)
		words += text[i] > ' ' && (i == 0 || text[i - 1] <= ' ');
	write_file("text", text, SIZE);
	rows = oracle_count(text, SIZE, &len);
	job.records = WH_MR_LINES;
	job.value = WH_MR_COUNT;
	job.map = map_line;
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.records, words);
	text_is(&world, rows);
	free(rows);
	free(text);
	return 0;
}

static int emit_word(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	(void)arg;
	return wh_mr_emit_number(emitter, word.data, word.len, 1);
}

static int words_are_mapped_as_they_are_counted(void *arg)
{
	enum { SIZE = 300 * 1000 };
	static const char *const isas[] = { "scalar", NULL };
	char path[128], *text = malloc(SIZE), *rows;
	const char *const paths[] = { file_path(path, "text") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint64_t random = 23;
	size_t len;

	(void)arg;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = "abCDe\n \t"[random_next(&random) % 8];
	memset(text + SIZE / 3, 'Y', 50000);
	memset(text + SIZE / 2, 'Z', 30);
	write_file("text", text, SIZE);
	rows = oracle_count(text, SIZE, &len);
	job.map = emit_word;
	for (unsigned i = 0; i < 4; i++) {
		job.value = i % 2 ? WH_MR_COUNT : WH_MR_SUM;
		job.isa = isas[i / 2];
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, rows);
	}
	free(rows);
	free(text);
	return 0;
}

static int emit_wrong_kind(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;
	int expected = world->error;

	check_int(wh_mr_emit(emitter, word, word), expected ? 0 : -EINVAL);
	check_int(wh_mr_emit_number(emitter, word.data, word.len, 1), expected);
	check_int(wh_mr_emit_words(emitter, word), -EINVAL);
	check_int(wh_mr_read(emitter, &word), -EINVAL);
	return 0;
}

static int what_is_no_value_of_the_job_is_refused(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "text") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("text", "a b", 3);
	job.map = emit_wrong_kind;
	job.output = NULL;
	check_int(wh_mapreduce(&job, NULL), 0);
	job.value = WH_MR_BYTES;
	world.error = -EINVAL;
	check_int(wh_mapreduce(&job, NULL), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(numbers_of_equal_keys_come_together),
		task_test(words_and_keys_count_together),
		task_test(words_are_mapped_as_they_are_counted),
		task_test(what_is_no_value_of_the_job_is_refused),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
