/* How rows come out of whole jobs: the same bytes from `output`, from `format` and `write`, on any
 * number of workers, from memory and from disk; and how that ends early. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

enum {
	BLOCKS = 200,
	BLOCK_WORDS = 200,
	WORDS = BLOCKS * BLOCK_WORDS,
	BLOCK_BYTES = BLOCK_WORDS * 48,
	KEYS = WORDS * 3 / 4, /* enough for a few slices */
	WORKERS = 4,
};

/* What a job writes. The world comes first, for the functions that know only that. */
struct sink {
	struct world world;
	char *bytes;
	size_t len;
	size_t room;
	_Atomic unsigned formatted; /* rows */
	_Atomic unsigned writing;
	unsigned fail_format_at; /* rows; 0: never */
	size_t fail_write_at;	 /* bytes; 0: never */
};

/* Words of block `index`: each fourth one is met in the block before too, and some are long. */
static size_t block_text(uint64_t index, char *text)
{
	size_t len = 0;

	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		uint64_t number = index * BLOCK_WORDS + i;

		if (i % 4 == 0 && index > 0)
			number -= BLOCK_WORDS - 1;
		number = number * 0x9e3779b97f4a7c15u >> 40;
		len += (size_t)sprintf(text + len, "%s%llu ",
				       number % 8 ? "w" : "one-that-is-longer-than-most-",
				       (unsigned long long)number);
	}
	return len;
}

static ssize_t make_block(void *arg, uint64_t index, void *data, size_t room)
{
	(void)arg;
	if (index >= BLOCKS)
		return 0;
	if (room < BLOCK_BYTES)
		return -ENOBUFS;
	return (ssize_t)block_text(index, data);
}

static char *expected_rows(void)
{
	char *text = malloc((size_t)BLOCKS * BLOCK_BYTES), *rows;
	size_t len = 0, rows_len;

	for (unsigned i = 0; i < BLOCKS; i++)
		len += block_text(i, text + len);
	rows = oracle_count(text, len, &rows_len);
	free(text);
	return rows;
}

static int format(void *arg, const struct wh_mr_row *rows, size_t count, struct wh_mr_text *text)
{
	struct sink *sink = arg;

	if (sink->fail_format_at && sink->formatted + count > sink->fail_format_at)
		return -EPROTO;
	sink->formatted += (unsigned)count;
	for (size_t i = 0; i < count; i++) {
		int r = wh_mr_text_more(text, rows[i].key.len + 24);

		if (r < 0)
			return r;
		text->len += (size_t)sprintf((char *)text->bytes + text->len, "%.*s\t%llu\n",
					     (int)rows[i].key.len, (const char *)rows[i].key.data,
					     (unsigned long long)rows[i].number);
	}
	return 0;
}

static int write_bytes(void *arg, const void *bytes, size_t len)
{
	struct sink *sink = arg;

	check_int(sink->writing++, 0);
	if (sink->fail_write_at && sink->len + len > sink->fail_write_at)
		return -ENOSPC;
	if (sink->len + len + 1 > sink->room) {
		sink->room = (sink->len + len + 1) * 2;
		sink->bytes = realloc(sink->bytes, sink->room);
	}
	memcpy(sink->bytes + sink->len, bytes, len);
	sink->len += len;
	sink->bytes[sink->len] = 0;
	sink->writing--;
	return 0;
}

static void sink_fini(struct sink *sink)
{
	free(sink->bytes);
	*sink = (struct sink){ 0 };
}

static int by_text(const void *a, const void *b)
{
	const char *const *left = a, *const *right = b;

	return strcmp(*left, *right);
}

static struct wh_mr_job job_to(struct sink *sink)
{
	struct wh_mr_job job = job_on(NULL, 0, &sink->world);

	job.arg = sink;
	job.generate = make_block;
	job.output = NULL;
	job.format = format;
	job.write = write_bytes;
	return job;
}

static void sink_is(struct sink *sink, const char *expected, size_t len)
{
	check_int(sink->len, len);
	if (len)
		check_int(memcmp(sink->bytes, expected, len), 0);
	sink_fini(sink);
}

static int any_number_of_workers_writes_the_same(void *arg)
{
	struct sink sink = { 0 };
	struct wh_mr_job job = job_to(&sink);
	char *rows = expected_rows();
	struct wh_mr_stats stats;

	(void)arg;
	for (job.workers = 1; job.workers <= WORKERS; job.workers++) {
		check_int(wh_mapreduce(&job, &stats), 0);
		check(stats.keys > 8192 * 3);
		check_int(stats.rows, stats.keys);
		check_int(stats.spill.runs, 0);
		sink_is(&sink, rows, strlen(rows));
	}
	free(rows);
	return 0;
}

static int output_gets_the_rows_that_are_written(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on(NULL, 0, &world);
	char *rows = expected_rows();

	(void)arg;
	job.generate = make_block;
	for (job.workers = 1; job.workers <= WORKERS; job.workers += 2) {
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, rows);
	}
	free(rows);
	return 0;
}

static size_t rows_len(const char *rows, uint64_t count)
{
	const char *at = rows;

	while (count-- > 0 && *at)
		at = strchr(at, '\n') + 1;
	return (size_t)(at - rows);
}

/* As many as are a merge of runs, as many as are some of the slices, and more than there are. */
static int no_more_rows_are_written_than_are_wanted(void *arg)
{
	const uint64_t most[] = { 1, 10, 511, 512, 2000, 8192, 9000, 20000, KEYS * 2 };
	struct sink sink = { 0 };
	struct wh_mr_job job = job_to(&sink);
	char *rows = expected_rows();
	struct wh_mr_stats stats;

	(void)arg;
	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		job.rows_max = most[i];
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(stats.rows, most[i] < stats.keys ? most[i] : stats.keys);
		sink_is(&sink, rows, rows_len(rows, most[i]));
	}
	free(rows);
	return 0;
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of `text`, in order of their bytes. */
static char *sorted_lines(const char *text)
{
	size_t len = strlen(text), count = 0, at = 0;
	char *copy = strdup(text), *rest = NULL, *sorted = malloc(len + 1);
	char **lines = malloc((len / 2 + 1) * sizeof(*lines));

	for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		lines[count++] = line;
	qsort(lines, count, sizeof(*lines), compare_lines);
	for (size_t i = 0; i < count; i++)
		at += (size_t)sprintf(sorted + at, "%s\n", lines[i]);
	sorted[at] = 0;
	free(lines);
	free(copy);
	return sorted;
}

static int rows_by_key_and_in_no_order_are_the_same_ones(void *arg)
{
	struct sink sink = { 0 };
	struct wh_mr_job job = job_to(&sink);
	char *rows = expected_rows(), *by_key = sorted_lines(rows), *sorted;

	(void)arg;
	/* No word holds a byte below the tab, so that lines sort as their words do. */
	job.order = WH_MR_BY_KEY;
	check_int(wh_mapreduce(&job, NULL), 0);
	sink_is(&sink, by_key, strlen(by_key));
	job.order = WH_MR_UNORDERED;
	check_int(wh_mapreduce(&job, NULL), 0);
	sorted = sorted_lines(sink.bytes);
	check_int(strcmp(sorted, by_key), 0);
	sink_fini(&sink);
	job.rows_max = 20000;
	check_int(wh_mapreduce(&job, NULL), 0);
	free(sorted);
	sorted = sorted_lines(sink.bytes);
	check_int(rows_len(sorted, UINT64_MAX), sink.len);
	check_int(sink.formatted, 20000);
	sink_fini(&sink);
	free(sorted);
	free(by_key);
	free(rows);
	return 0;
}

/* From little of it on disk to nearly all. */
static int rows_on_disk_are_written_as_rows_in_memory_are(void *arg)
{
	struct sink sink = { 0 };
	struct wh_mr_job job = job_to(&sink);
	char *rows = expected_rows();
	struct wh_mr_stats stats;
	unsigned mixed = 0;

	(void)arg;
	for (job.memory_max = 64 << 10; job.memory_max <= 8 << 20; job.memory_max *= 2) {
		check_int(wh_mapreduce(&job, &stats), 0);
		mixed += stats.spill.partitions > 0 && stats.spill.partitions < 256;
		sink_is(&sink, rows, strlen(rows));
	}
	check(mixed > 0);
	free(rows);
	return 0;
}

/* Sorted by lines, in place: rows of no order can be compared then. */
static void sort_lines(struct sink *sink)
{
	char **lines = malloc(WORDS * sizeof(*lines)), *copy = malloc(sink->len), *at = copy;
	unsigned count = 0;

	check(lines && copy);
	memcpy(copy, sink->bytes, sink->len);
	for (char *end; at < copy + sink->len; at = end + 1) {
		end = memchr(at, '\n', (size_t)(copy + sink->len - at));
		*end = '\0';
		check(count < WORDS);
		lines[count++] = at;
	}
	qsort(lines, count, sizeof(*lines), by_text);
	at = sink->bytes;
	for (unsigned i = 0; i < count; i++)
		at += sprintf(at, "%s\n", lines[i]);
	free(lines);
	free(copy);
}

static int rows_of_any_order_and_number_are_those_of_memory_on_disk_too(void *arg)
{
	struct sink sink = { 0 }, small = { 0 };
	struct wh_mr_job job = job_to(&sink);
	struct wh_mr_stats stats;

	(void)arg;
	for (unsigned order = WH_MR_UNORDERED; order <= WH_MR_BY_VALUE; order++)
		for (unsigned i = 0; i < 3; i++) {
			job = job_to(&sink);
			job.order = (enum wh_mr_order)order;
			/* All, most, and few of them. */
			job.rows_max = order == WH_MR_UNORDERED ? 0 : i * 20 + (i == 1) * KEYS / 2;
			check_int(wh_mapreduce(&job, NULL), 0);
			job.arg = &small;
			job.memory_max = 1 << 20;
			check_int(wh_mapreduce(&job, &stats), 0);
			check(stats.spill.bytes_written > 0);
			if (order == WH_MR_UNORDERED) {
				sort_lines(&sink);
				sort_lines(&small);
			}
			sink_is(&small, sink.bytes, sink.len);
			sink_fini(&sink);
		}
	return 0;
}

/* What workers meet in: nobody goes on before two of them are there. */
static pthread_barrier_t meeting;
static __thread bool has_met;

static int format_with_another(void *arg, const struct wh_mr_row *rows, size_t count,
			       struct wh_mr_text *text)
{
	if (!has_met) {
		has_met = true;
		pthread_barrier_wait(&meeting);
	}
	return format(arg, rows, count, text);
}

static int two_workers_put_out_what_was_spilled(void *arg)
{
	struct sink sink = { 0 };
	struct wh_mr_job job = job_to(&sink);
	char *rows = expected_rows();
	struct wh_mr_stats stats;

	(void)arg;
	check_int(pthread_barrier_init(&meeting, NULL, 2), 0);
	job.workers = 2;
	job.memory_max = 1 << 20;
	job.format = format_with_another;
	check_int(wh_mapreduce(&job, &stats), 0);
	check(stats.spill.partitions > 0);
	sink_is(&sink, rows, strlen(rows));
	pthread_barrier_destroy(&meeting);
	free(rows);
	return 0;
}

static int an_error_of_format_is_the_job_s(void *arg)
{
	struct sink sink = { 0 };
	struct wh_mr_job job = job_to(&sink);

	(void)arg;
	for (unsigned at = 1; at < KEYS / 2; at = at * 8) {
		sink.fail_format_at = at;
		for (job.rows_max = 0; job.rows_max <= 2000; job.rows_max += 2000) {
			sink.formatted = 0;
			check_int(wh_mapreduce(&job, NULL),
				  at < 2000 || !job.rows_max ? -EPROTO : 0);
		}
		sink_fini(&sink);
	}
	return 0;
}

static int an_error_of_write_is_the_job_s_and_the_last_it_hears(void *arg)
{
	struct sink sink = { 0 };
	struct wh_mr_job job = job_to(&sink);
	char *rows = expected_rows();

	(void)arg;
	for (job.workers = 1; job.workers <= WORKERS; job.workers += 3)
		for (size_t at = 1; at < strlen(rows); at = at * 16) {
			sink.fail_write_at = at;
			check_int(wh_mapreduce(&job, NULL), -ENOSPC);
			check(sink.len <= at);
			check(memcmp(sink.bytes ? sink.bytes : rows, rows, sink.len) == 0);
			/* It was in the middle of a call, and there was no other one. */
			check_int(sink.writing, 1);
			sink_fini(&sink);
		}
	free(rows);
	return 0;
}

static int format_without_write_is_refused(void *arg)
{
	struct wh_mr_job job = { .format = format };

	(void)arg;
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	job = (struct wh_mr_job){ .write = write_bytes };
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	job = (struct wh_mr_job){ .format = format, .write = write_bytes, .output = row_text_add };
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	return 0;
}

struct cancelling {
	struct wh_mr_job *job;
	int result;
};

/* Waits on a thread until the loop has cancelled the job: what is still to be written is not. */
static int write_and_wait(void *arg, const void *bytes, size_t len)
{
	struct sink *sink = arg;

	check_int(sink->len, 0);
	write_bytes(arg, bytes, len);
	sink->world.calls = 1;
	while (sink->world.calls == 1)
		sched_yield();
	return 0;
}

static int run_cancelled(void *arg)
{
	struct cancelling *cancelling = arg;

	cancelling->result = wh_mapreduce(cancelling->job, NULL);
	return 0;
}

static int a_job_cancelled_while_it_writes_writes_no_more(void *arg)
{
	struct sink sink = { 0 };
	struct wh_mr_job job = job_to(&sink);
	struct cancelling cancelling = { .job = &job };
	struct wh_scope scope;
	struct wh_task *task;

	(void)arg;
	job.write = write_and_wait;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, run_cancelled, &cancelling, .ret_task = &task), 0);
	while (sink.world.calls == 0)
		wh_yield();
	wh_task_cancel(task);
	/* The job's own task sees it, and tells its threads. */
	for (int i = 0; i < 8; i++)
		wh_yield();
	sink.world.calls = 2;
	wh_scope_close(&scope);
	check_int(cancelling.result, -ECANCELED);
	check(sink.len > 0);
	sink_fini(&sink);
	return 0;
}

static int failing_allocations_end_the_job_and_leak_nothing(void *arg)
{
	struct sink sink = { 0 };
	struct wh_mr_job job = job_to(&sink);
	unsigned failures = 0;
	uint64_t all;
	int r = -ENOMEM;

	(void)arg;
	whi_alloc_fail_at(UINT64_MAX);
	check_int(wh_mapreduce(&job, NULL), 0);
	all = whi_alloc_count();
	/* The last ones are those of the end; others fail in other tests. */
	for (uint64_t nth = all - all / 8; r == -ENOMEM || nth < all - 4; nth += 1 + all / 320) {
		sink_fini(&sink);
		whi_alloc_fail_at(nth);
		r = wh_mapreduce(&job, NULL);
		whi_alloc_fail_at(0);
		check(r == 0 || r == -ENOMEM);
		failures += r == -ENOMEM;
	}
	check(failures > 10);
	sink_fini(&sink);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(any_number_of_workers_writes_the_same),
		task_test(output_gets_the_rows_that_are_written),
		task_test(no_more_rows_are_written_than_are_wanted),
		task_test(rows_by_key_and_in_no_order_are_the_same_ones),
		task_test(rows_on_disk_are_written_as_rows_in_memory_are),
		task_test(rows_of_any_order_and_number_are_those_of_memory_on_disk_too),
		task_test(two_workers_put_out_what_was_spilled),
		task_test(an_error_of_format_is_the_job_s),
		task_test(an_error_of_write_is_the_job_s_and_the_last_it_hears),
		task_test(format_without_write_is_refused),
		task_test(a_job_cancelled_while_it_writes_writes_no_more),
		task_test(failing_allocations_end_the_job_and_leak_nothing),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
