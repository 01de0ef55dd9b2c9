/* Emitted numbers, against a list that is searched from its beginning: keys of every length up to
 * 40, with zeros and without, from inside of the record and from elsewhere, on every instruction
 * set, by threads and by processes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/jobs.h>

#include "unit/mapreduce/world.h"

enum { KEY_MAX = 40, ALIKE = 5, KEYS = (KEY_MAX + 1) * ALIKE, EMITS_MAX = 2600, BLOCKS = 24 };

/* A record says what to emit, and how. */
struct emission {
	uint64_t number;
	uint8_t len;
	uint8_t way;
	uint8_t key[KEY_MAX];
	uint8_t padding[6];
};

enum { INSIDE, ELSEWHERE, AS_A_CALL, WAYS };

struct key {
	uint8_t bytes[KEY_MAX];
	size_t len;
	uint64_t sum, count, least, greatest;
};

/* Of each length: none with a zero, one that ends in a zero, and zeros anywhere; prefixes alike. */
static void make_key(struct key *key, unsigned number)
{
	uint64_t random = number % 3;

	*key = (struct key){ .len = number / ALIKE, .least = UINT64_MAX };
	for (size_t i = 0; i < key->len; i++)
		key->bytes[i] = (uint8_t)(1 + random_next(&random) % 255);
	random = number;
	if (key->len && number % ALIKE == 3)
		key->bytes[key->len - 1] = 0;
	if (key->len && number % ALIKE == 4)
		key->bytes[random_next(&random) % key->len] = 0;
}

/* Around what records, registers and sums hold. */
static uint64_t make_number(uint64_t *random)
{
	static const uint64_t borders[] = { 0, UINT32_MAX, WH_SEC, UINT64_C(1) << 40, UINT64_MAX };
	uint64_t border = borders[random_next(random) % 5];

	return random_next(random) % 3 ? border + random_next(random) % 3 - 1 : random_next(random);
}

/* As many as gather at once, a few more or less, or one. */
static size_t emits_of(uint64_t block)
{
	static const size_t around[] = { 2, 1024, 2048, 2560 };

	return around[block / 3 % 4] + block % 3 - 1;
}

static ssize_t make_block(void *arg, uint64_t index, void *data, size_t room)
{
	struct emission *emission = data;
	size_t count = emits_of(index);
	uint64_t random = 1000 + index;

	(void)arg;
	if (room < count * sizeof(*emission))
		return -ENOBUFS;
	for (size_t i = 0; i < count; i++) {
		struct key key;

		make_key(&key, (unsigned)(random_next(&random) % KEYS));
		emission[i] = (struct emission){ .len = (uint8_t)key.len };
		memcpy(emission[i].key, key.bytes, sizeof(key.bytes));
		emission[i].number = make_number(&random);
		/* Blocks of keys that are all inside gather without an interruption. */
		emission[i].way = (uint8_t)(index % 2 ? random_next(&random) % WAYS : INSIDE);
	}
	return (ssize_t)(count * sizeof(*emission));
}

/* With nothing behind it that may be read. */
static int emit_elsewhere(const struct emission *emission, struct wh_mr_emitter *emitter)
{
	uint8_t *key = malloc(emission->len);
	int r;

	memcpy(key, emission->key, emission->len);
	r = wh_mr_emit_number(emitter, key, emission->len, emission->number);
	memset(key, '?', emission->len);
	free(key);
	return r;
}

static int map_emission(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	const struct emission *emission = record.data;

	(void)arg;
	if (emission->way == ELSEWHERE)
		return emit_elsewhere(emission, emitter);
	if (emission->way == AS_A_CALL)
		return wh_mr_emit_number_now(emitter, emission->key, emission->len,
					     emission->number);
	return wh_mr_emit_number(emitter, emission->key, emission->len, emission->number);
}

static struct key keys[KEYS]; /* what is expected */

static struct key *find_key(const void *bytes, size_t len)
{
	for (unsigned i = 0; i < KEYS; i++)
		if (keys[i].len == len && memcmp(keys[i].bytes, bytes, len) == 0)
			return &keys[i];
	return NULL;
}

static unsigned expect(void)
{
	struct emission *block = malloc(EMITS_MAX * sizeof(*block));
	unsigned different = 0;

	for (unsigned i = 0; i < KEYS; i++)
		make_key(&keys[i], i);
	for (uint64_t index = 0; index < BLOCKS; index++) {
		check(make_block(NULL, index, block, EMITS_MAX * sizeof(*block)) > 0);
		for (size_t i = 0; i < emits_of(index); i++) {
			struct key *key = find_key(block[i].key, block[i].len);
			uint64_t number = block[i].number;

			key->sum += number;
			different += key->count++ == 0;
			key->least = number < key->least ? number : key->least;
			key->greatest = number > key->greatest ? number : key->greatest;
		}
	}
	free(block);
	return different;
}

static struct {
	enum wh_mr_value value;
	unsigned rows;
} seen;

static uint64_t expected_number(const struct key *key)
{
	switch (seen.value) {
	case WH_MR_SUM:
		return key->sum;
	case WH_MR_COUNT:
		return key->count;
	case WH_MR_MIN:
		return key->least;
	case WH_MR_MAX:
		return key->greatest;
	case WH_MR_BYTES:
		break;
	}
	abort();
}

static int check_rows(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	for (size_t i = 0; i < count; i++) {
		const struct key *key = find_key(rows[i].key.data, rows[i].key.len);

		check(key != NULL);
		check(rows[i].number == expected_number(key));
	}
	seen.rows += (unsigned)count;
	return 0;
}

static void check_job(struct wh_mr_job *job, unsigned different)
{
	struct wh_mr_stats stats;
	uint64_t emits = 0;
	int r;

	for (uint64_t block = 0; block < BLOCKS; block++)
		emits += emits_of(block);
	seen.value = job->value;
	seen.rows = 0;
	r = wh_mapreduce(job, &stats);
	if (r == -EINVAL || r == -ENOTSUP) {
		check(job->isa != NULL); /* of another processor */
		return;
	}
	check_int(r, 0);
	check_int(seen.rows, different);
	check_int(stats.records, emits);
}

static struct wh_mr_job emitting_job(void)
{
	return (struct wh_mr_job){
		.generate = make_block,
		.generate_count = BLOCKS,
		.records = WH_MR_FIXED,
		.record_bytes = sizeof(struct emission),
		.map = map_emission,
		.output = check_rows,
		.workers = 2,
	};
}

static int numbers_are_those_of_the_list_on_every_instruction_set(void *arg)
{
	static const char *const isas[] = { "avx512", "avx2", "sse2", "neon", "scalar" };
	struct wh_mr_job job = emitting_job();
	unsigned different = expect();

	(void)arg;
	for (size_t i = 0; i < sizeof(isas) / sizeof(*isas); i++)
		for (unsigned value = WH_MR_SUM; value < WH_MR_BYTES; value++) {
			job.isa = isas[i];
			job.value = (enum wh_mr_value)value;
			job.workers = 1 + value % 2;
			check_job(&job, different);
		}
	return 0;
}

static int numbers_are_those_of_the_list_in_processes(void *arg)
{
	struct wh_mr_job job = emitting_job();
	unsigned different = expect();

	(void)arg;
	job.processes = 2;
	for (unsigned value = WH_MR_SUM; value < WH_MR_BYTES; value++) {
		job.value = (enum wh_mr_value)value;
		check_job(&job, different);
	}
	return 0;
}

/* Two blocks of a record each; `arg` says what the second one is worth. */
static ssize_t make_two(void *arg, uint64_t index, void *data, size_t room)
{
	(void)arg;
	if (room < 1)
		return -ENOBUFS;
	*(char *)data = (char)('0' + index);
	return 1;
}

static int map_two(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	const uint64_t *second = arg;
	const uint64_t number = *(const char *)record.data == '0' ? UINT64_MAX - 9 : *second;
	int r = wh_mr_emit_number(emitter, "short", 5, number);

	return r < 0 ? r : wh_mr_emit_number(emitter, "longer than 16 bytes", 20, number);
}

static int check_largest(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	for (size_t i = 0; i < count; i++)
		check(rows[i].number == UINT64_MAX - 1);
	seen.rows += (unsigned)count;
	return 0;
}

static int exact_sums_that_are_too_large_are_refused(void *arg)
{
	uint64_t second = 8;
	struct wh_mr_job job = {
		.generate = make_two,
		.generate_count = 2,
		.arg = &second,
		.records = WH_MR_FIXED,
		.record_bytes = 1,
		.exact = true,
		.map = map_two,
		.output = check_largest,
	};

	(void)arg;
	for (job.workers = 1; job.workers <= 2; job.workers++) {
		seen.rows = 0;
		check_int(wh_mapreduce(&job, NULL), 0);
		check_int(seen.rows, 2);
	}
	second++;
	check_int(wh_mapreduce(&job, NULL), -EOVERFLOW);
	second += 100;
	check_int(wh_mapreduce(&job, NULL), -EOVERFLOW);
	job.value = WH_MR_MAX;
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	return 0;
}

/* More keys than any front table has room for: each twice, far from each other. */
enum { MANY = 100 * 1000, MANY_BLOCKS = 20 };

static uint64_t nth_key(uint64_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15u;
}

static ssize_t make_many(void *arg, uint64_t index, void *data, size_t room)
{
	const size_t count = MANY / MANY_BLOCKS * 2;
	uint64_t *to = data;

	(void)arg;
	if (room < count * sizeof(*to))
		return -ENOBUFS;
	for (size_t i = 0; i < count; i++)
		to[i] = nth_key((index * count + i) % MANY);
	return (ssize_t)(count * sizeof(*to));
}

/* 3 times and 4 times what the key is. */
static int map_many(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	uint64_t key;
	int r;

	(void)arg;
	memcpy(&key, record.data, sizeof(key));
	r = wh_mr_emit_number(emitter, record.data, record.len, key / 8 * 3);
	return r < 0 ? r : wh_mr_emit_number(emitter, record.data, record.len, key / 8 * 4);
}

static int check_many(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	for (size_t i = 0; i < count; i++) {
		uint64_t key;

		check_int(rows[i].key.len, sizeof(key));
		memcpy(&key, rows[i].key.data, sizeof(key));
		if (seen.value == WH_MR_SUM)
			check(rows[i].number == key / 8 * 14);
		else if (seen.value == WH_MR_COUNT)
			check(rows[i].number == 4);
		else
			check(rows[i].number == key / 8 * (seen.value == WH_MR_MIN ? 3 : 4));
	}
	seen.rows += (unsigned)count;
	return 0;
}

static int keys_that_fill_the_front_table_lose_nothing(void *arg)
{
	struct wh_mr_job job = {
		.generate = make_many,
		.generate_count = MANY_BLOCKS,
		.records = WH_MR_FIXED,
		.record_bytes = 8,
		.map = map_many,
		.output = check_many,
		.workers = 2,
	};

	(void)arg;
	for (unsigned value = WH_MR_SUM; value < WH_MR_BYTES; value++) {
		job.value = (enum wh_mr_value)value;
		seen.value = job.value;
		seen.rows = 0;
		check_int(wh_mapreduce(&job, NULL), 0);
		check_int(seen.rows, MANY);
	}
	return 0;
}

/* A combine, and a reduce: numbers are for `map`. */
static int emit_number_there(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
			     struct wh_mr_emitter *emitter)
{
	struct wh_mr_bytes value = { 0 };

	(void)arg;
	check(wh_mr_next(values, &value));
	check_int(wh_mr_emit_number(emitter, key.data, key.len, 1), -EINVAL);
	check_int(wh_mr_emit_number_now(emitter, key.data, key.len, 1), -EINVAL);
	return wh_mr_emit(emitter, key, value);
}

static int numbers_are_refused_but_from_map(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "text") };
	struct world world = { .text.has_values = true };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("text", "a b a", 5);
	job.value = WH_MR_BYTES;
	job.map = by_letter;
	job.combine = emit_number_there;
	job.reduce = emit_number_there;
	check_int(wh_mapreduce(&job, NULL), 0);
	check_int(world.text.rows, 2);
	row_text_fini(&world.text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(numbers_are_those_of_the_list_on_every_instruction_set),
		task_test(numbers_are_those_of_the_list_in_processes),
		task_test(exact_sums_that_are_too_large_are_refused),
		task_test(keys_that_fill_the_front_table_lose_nothing),
		task_test(numbers_are_refused_but_from_map),
	};

	wh_jobs_main();
	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
