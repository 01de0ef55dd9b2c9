/* A map that is called for many records at once gives what one gives that is called for each: for
 * every kind of record and of value, on every instruction set, whatever the splits and the memory,
 * by threads and by processes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/jobs.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

enum { TEXT_BYTES = 60 * 1000 };

/* Words that were rewritten come from nearby: how near depends on the splits. */
static bool come_from_nearby;

/* What is emitted for a record: all of it, all but its last byte, or, of some, nothing. */
static bool key_of(struct wh_mr_bytes record, struct wh_mr_bytes *key)
{
	*key = record;
	key->len -= record.len > 3 && record.len % 2;
	return record.len % 11 != 7;
}

static uint64_t number_of(struct wh_mr_bytes record, const struct wh_mr_origin *origin)
{
	return number_at(come_from_nearby ? record.len : origin->offset);
}

static int emit_one(struct wh_mr_bytes record, const struct wh_mr_origin *origin,
		    struct wh_mr_emitter *emitter)
{
	uint64_t number = number_of(record, origin);
	struct wh_mr_bytes key;

	if (!key_of(record, &key))
		return 0;
	/* Who may emit what is refused otherwise; and the others must be told apart here. */
	if (wh_mr_emit_number(emitter, key.data, key.len, number) == 0)
		return 0;
	return wh_mr_emit(emitter, key, (struct wh_mr_bytes){ &number, sizeof(number) });
}

static int map_one(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	struct wh_mr_origin origin;

	(void)arg;
	wh_mr_origin(emitter, &origin);
	return emit_one(record, &origin, emitter);
}

static int map_in_turn(void *arg, const struct wh_mr_bytes *records, size_t count,
		       struct wh_mr_emitter *emitter)
{
	struct wh_mr_origin first;
	int r = 0;

	(void)arg;
	check(count >= 1 && count <= WH_MR_BATCH_MAX);
	wh_mr_origin(emitter, &first);
	for (size_t i = 0; i < count && r == 0; i++) {
		struct wh_mr_origin origin;

		wh_mr_origin_of(emitter, records[i].data, &origin);
		check(i > 0 || origin.offset == first.offset);
		check(origin.path == first.path);
		r = emit_one(records[i], &origin, emitter);
	}
	return r;
}

/* Some keys are copies, which are overwritten at once. */
static int map_at_once(void *arg, const struct wh_mr_bytes *records, size_t count,
		       struct wh_mr_emitter *emitter)
{
	struct wh_mr_bytes keys[WH_MR_BATCH_MAX];
	uint64_t numbers[WH_MR_BATCH_MAX];
	uint8_t copy[32];
	size_t kept = 0;
	int r;

	(void)arg;
	for (size_t i = 0; i < count; i++) {
		struct wh_mr_origin origin;

		wh_mr_origin_of(emitter, records[i].data, &origin);
		numbers[kept] = number_of(records[i], &origin);
		kept += key_of(records[i], &keys[kept]);
	}
	if (kept && kept % 3 == 0 && keys[kept / 2].len <= sizeof(copy)) {
		memcpy(copy, keys[kept / 2].data, keys[kept / 2].len);
		keys[kept / 2].data = copy;
	}
	r = wh_mr_emit_numbers(emitter, keys, numbers, kept);
	memset(copy, '?', sizeof(copy));
	return r;
}

/* Words and lines of all lengths, some of them with zeros, a few very long. */
static void make_text(uint8_t *text, uint64_t seed)
{
	static const uint8_t letters[] = "aAbBcde\0\xc3\x84\xe2\x82\xac    \n.";
	uint64_t random = seed;

	for (size_t at = 0; at < TEXT_BYTES;) {
		size_t run = 1 + random_next(&random) % 24;
		bool same = random_next(&random) % 2;
		uint64_t letter = random_next(&random);

		for (; run && at < TEXT_BYTES; run--, at++) {
			letter = same ? letter : random_next(&random);
			text[at] = letters[letter % (sizeof(letters) - 1)];
		}
	}
	memset(text + TEXT_BYTES / 2, 'y', 20 * 1000);
}

static size_t find_dot(void *arg, struct wh_mr_bytes data, size_t from)
{
	const uint8_t *dot = from <= data.len ? memchr((const uint8_t *)data.data + from - 1, '.',
						       data.len - from + 1)
					      : NULL;

	(void)arg;
	return dot ? (size_t)(dot - (const uint8_t *)data.data) + 1 : 0;
}

static size_t to_dot(void *arg, struct wh_mr_bytes data, bool last)
{
	(void)last;
	return find_dot(arg, data, 1);
}

static const struct wh_mr_words no_b = {
	.bytes = { ~(UINT64_C(1) << ' ' | UINT64_C(1) << '\n'), ~(UINT64_C(1) << ('b' - 64)),
		   UINT64_MAX, UINT64_MAX },
	.keep_case = true,
};
static const struct wh_mr_words of_unicode = {
	.bytes = { ~UINT64_C(0x1ffffffff), UINT64_MAX, UINT64_MAX, UINT64_MAX },
	.unicode = true,
};

/* The kinds of records. */
static const struct wh_mr_job kinds[] = {
	{ .records = WH_MR_WORDS },
	{ .records = WH_MR_WORDS, .words = &no_b },
	{ .records = WH_MR_WORDS, .words = &of_unicode },
	{ .records = WH_MR_LINES },
	{ .records = WH_MR_FIXED, .record_bytes = 13, .short_records = true },
	{ .records = WH_MR_CUSTOM, .record = to_dot, .find = find_dot },
	{ .records = WH_MR_CUSTOM, .record = to_dot },
};

static struct wh_mr_job job_of_kind(size_t kind, const char *const *paths, struct world *world)
{
	struct wh_mr_job job = job_on(paths, 1, world);

	job.records = kinds[kind].records;
	job.words = kinds[kind].words;
	job.record_bytes = kinds[kind].record_bytes;
	job.short_records = kinds[kind].short_records;
	job.record = kinds[kind].record;
	job.find = kinds[kind].find;
	job.order = WH_MR_BY_KEY;
	return job;
}

static uint64_t hash_of(struct row_text *text)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < text->len; i++)
		hash = (hash ^ (uint8_t)text->bytes[i]) * 1099511628211u;
	hash += text->rows;
	row_text_fini(text);
	return hash;
}

/* What a job puts out and how many values it has emitted, as a number. */
static uint64_t result_of(const struct wh_mr_job *job, struct world *world)
{
	struct wh_mr_stats stats;

	world->text.has_values = job->value == WH_MR_BYTES;
	check_int(wh_mapreduce(job, &stats), 0);
	check(world->text.rows > 0 && stats.records > 0);
	return hash_of(&world->text) ^ stats.records;
}

static void check_ways(struct wh_mr_job job, struct world *world, uint64_t expected)
{
	job.map_batch = map_in_turn;
	check(result_of(&job, world) == expected);
	job.map_batch = map_at_once;
	if (job.value != WH_MR_BYTES)
		check(result_of(&job, world) == expected);
}

static int batches_give_what_single_records_give(void *arg)
{
	static const char *const isas[] = { "avx512", "avx2", "sse2", "neon", "scalar" };
	static const uint32_t splits[] = { 0, 777, 20 * 1000 };
	static uint8_t text[TEXT_BYTES];
	char path[128];
	const char *const paths[] = { file_path(path, "text") };
	struct world world = { 0 };

	(void)arg;
	make_text(text, 71);
	write_file("text", (const char *)text, sizeof(text));
	for (size_t kind = 0; kind < sizeof(kinds) / sizeof(*kinds); kind++)
		for (unsigned value = WH_MR_SUM; value <= WH_MR_BYTES; value++) {
			struct wh_mr_job job = job_of_kind(kind, paths, &world);
			uint64_t expected;

			come_from_nearby = job.words == &of_unicode;
			job.value = (enum wh_mr_value)value;
			job.isa = "scalar";
			job.map = map_one;
			expected = result_of(&job, &world);
			job.map = NULL;
			job.split_bytes = splits[(kind + value) % 3];
			job.isa = isas[(kind + value) % 5];
			if (wh_mapreduce(&(struct wh_mr_job){ .isa = job.isa }, NULL) < 0)
				job.isa = NULL; /* of another processor */
			check_ways(job, &world, expected);
		}
	return 0;
}

/* Where there is hardly any memory, and where functions travel. */
static int batches_spill_and_travel(void *arg)
{
	static uint8_t text[TEXT_BYTES];
	char path[128];
	const char *const paths[] = { file_path(path, "text") };
	struct world world = { 0 };
	struct wh_mr_stats stats;

	(void)arg;
	come_from_nearby = false;
	make_text(text, 72);
	write_file("text", (const char *)text, sizeof(text));
	for (unsigned value = WH_MR_SUM; value <= WH_MR_BYTES; value += WH_MR_BYTES) {
		struct wh_mr_job job = job_of_kind(0, paths, &world);
		uint64_t expected;

		job.value = (enum wh_mr_value)value;
		job.map = map_one;
		expected = result_of(&job, &world);
		job.map = NULL;
		job.memory_max = 1;
		check_ways(job, &world, expected);
		job.processes = 2;
		check_ways(job, &world, expected);
		job.output = NULL;
		job.map_batch = map_in_turn;
		check_int(wh_mapreduce(&job, &stats), 0);
		check(stats.spill.bytes_written > 0);
	}
	return 0;
}

static int emit_all(void *arg, const struct wh_mr_bytes *records, size_t count,
		    struct wh_mr_emitter *emitter)
{
	(void)arg;
	check_int(wh_mr_emit_numbers(emitter, records, NULL, 0), 0);
	return wh_mr_emit_numbers(emitter, records, NULL, count);
}

static int emitted_words_are_those_of_the_oracle(void *arg)
{
	enum { SIZE = 300 * 1000 };
	static const char *const isas[] = { "scalar", "sse2", "avx2", NULL };
	char path[128], *text = malloc(SIZE), *rows;
	const char *const paths[] = { file_path(path, "words") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint64_t random = 73;
	size_t len;

	(void)arg;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = "abCDe\n \t"[random_next(&random) % 8];
	memset(text + SIZE / 3, 'Y', 50000);
	memset(text + SIZE / 2, 'Z', 30);
	write_file("words", text, SIZE);
	rows = oracle_count(text, SIZE, &len);
	job.map_batch = emit_all;
	for (unsigned i = 0; i < 8; i++) {
		int r;

		job.value = i % 2 ? WH_MR_COUNT : WH_MR_SUM;
		job.isa = isas[i / 2];
		job.split_bytes = i % 3 * 10007;
		r = wh_mapreduce(&job, NULL);
		if (r == 0)
			text_is(&world, rows);
		else
			check(job.isa && (r == -EINVAL || r == -ENOTSUP)); /* of another one */
	}
	free(rows);
	free(text);
	return 0;
}

static int fail_in_the_middle(void *arg, const struct wh_mr_bytes *records, size_t count,
			      struct wh_mr_emitter *emitter)
{
	(void)arg;
	for (size_t i = 0; i < count; i++) {
		if (records[i].len == 3 && memcmp(records[i].data, "god", 3) == 0)
			return -EDOM;
		check_int(wh_mr_emit_numbers(emitter, &records[i], NULL, 1), 0);
	}
	return 0;
}

static int an_error_in_the_middle_is_the_job_s_and_nothing_is_put_out(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "verse") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("verse", verse, verse_len);
	job.map_batch = fail_in_the_middle;
	for (job.processes = 0; job.processes <= 1; job.processes++)
		for (unsigned partial = 0; partial <= 1; partial++) {
			job.partial = partial;
			check_int(wh_mapreduce(&job, &stats), -EDOM);
			check_int(world.text.rows, 0);
			check(strstr(stats.why, "map_batch failed for one of 23 records, the first "
						"at byte 0 of "));
			check(strstr(stats.why, path));
		}
	return 0;
}

/* Emits the first word, and then has much to do. */
static int wait_for_the_end(void *arg, const struct wh_mr_bytes *records, size_t count,
			    struct wh_mr_emitter *emitter)
{
	struct world *world = arg;

	(void)count;
	check_int(wh_mr_emit_numbers(emitter, records, NULL, 1), 0);
	world->calls++;
	while (!wh_mr_stopped(emitter))
		;
	return -ECANCELED;
}

struct stopped {
	struct world world; /* first: what job_on and world.c use */
	struct wh_mr_job job;
	struct wh_mr_stats stats;
	struct wh_task *task;
	int result;
};

static int run_stopped(void *arg)
{
	struct stopped *stopped = arg;

	stopped->result = wh_mapreduce(&stopped->job, &stopped->stats);
	return 0;
}

/* Once the batch is being mapped; until then it is asked again and again. */
static void cancel_meanwhile(void *arg, const struct wh_mr_stats *stats)
{
	struct stopped *stopped = arg;

	(void)stats;
	if (stopped->world.calls > 0)
		wh_task_cancel(stopped->task);
}

static int a_batch_that_takes_long_can_be_stopped(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "verse") };

	(void)arg;
	write_file("verse", verse, verse_len);
	for (unsigned partial = 0; partial <= 1; partial++) {
		struct stopped stopped = { .result = 0 };
		struct wh_scope scope;

		stopped.job = job_on(paths, 1, &stopped.world);
		stopped.job.map_batch = wait_for_the_end;
		stopped.job.partial = partial;
		stopped.job.progress = cancel_meanwhile;
		stopped.job.progress_ns = WH_MS;
		wh_scope_open(&scope, NULL);
		check_int(wh_spawn(&scope, run_stopped, &stopped, .ret_task = &stopped.task), 0);
		wh_scope_close(&scope);
		check_int(stopped.result, -ECANCELED);
		check_int(stopped.world.calls, 1);
		check(!stopped.stats.why[0]);
		text_is(&stopped.world, partial ? "in\t1\n" : "");
	}
	return 0;
}

static int emit_wrong_kind(void *arg, const struct wh_mr_bytes *records, size_t count,
			   struct wh_mr_emitter *emitter)
{
	struct wh_mr_bytes bytes;

	(void)arg;
	check_int(wh_mr_emit_numbers(emitter, records, NULL, count), -EINVAL);
	check_int(wh_mr_read(emitter, &bytes), -EINVAL);
	return 0;
}

static int what_makes_no_sense_is_refused(void *arg)
{
	const struct wh_mr_job wrong[] = {
		{ .map = map_one, .map_batch = emit_all },
		{ .records = WH_MR_FILES, .map_batch = emit_all },
		{ .records = WH_MR_NGRAMS, .map_batch = emit_all },
	};
	char path[128];
	const char *const paths[] = { file_path(path, "verse") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		check_int(wh_mapreduce(&wrong[i], &stats), -EINVAL);
		check(strstr(stats.why, "map"));
	}
	write_file("verse", verse, verse_len);
	job.value = WH_MR_BYTES;
	job.map_batch = emit_wrong_kind;
	job.output = NULL;
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.records, 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(batches_give_what_single_records_give),
		task_test(batches_spill_and_travel),
		task_test(emitted_words_are_those_of_the_oracle),
		task_test(an_error_in_the_middle_is_the_job_s_and_nothing_is_put_out),
		task_test(a_batch_that_takes_long_can_be_stopped),
		task_test(what_makes_no_sense_is_refused),
	};

	wh_jobs_main();
	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
