/* How a job ends early, and what it leaves behind. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/exec.h>

#include "base/alloc.h"
#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

static int fail_map(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;

	(void)record;
	(void)emitter;
	return ++world->calls == 10 ? -EPROTO : 0;
}

static int fail_output(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	(void)rows;
	(void)count;
	return -EPIPE;
}

static int an_error_of_a_function_is_the_job_s(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "verse") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("verse", verse, verse_len);
	job.map = fail_map;
	check_int(wh_mapreduce(&job, NULL), -EPROTO);
	check_int(world.text.rows, 0);
	job.map = NULL;
	job.output = fail_output;
	check_int(wh_mapreduce(&job, NULL), -EPIPE);
	return 0;
}

static int options_that_make_no_sense_are_refused(void *arg)
{
	struct wh_mr_job job = { .reduce = longest };

	(void)arg;
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	job = (struct wh_mr_job){ .record = three_bytes };
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	job = (struct wh_mr_job){ .records = WH_MR_CUSTOM };
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	job = (struct wh_mr_job){ .isa = "abacus" };
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	return 0;
}

static int a_record_longer_than_the_limit_is_an_error(void *arg)
{
	enum { SIZE = 3 << 20 };
	char path[128], *text = malloc(SIZE);
	const char *const paths[] = { file_path(path, "long") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	memset(text, 'x', SIZE);
	write_file("long", text, SIZE);
	job.record_max = 1 << 20;
	check_int(wh_mapreduce(&job, NULL), -EMSGSIZE);
	free(text);
	return 0;
}

struct cancelling {
	struct wh_mr_job *job;
	struct wh_mr_stats stats;
	int result;
};

static int run_cancelled(void *arg)
{
	struct cancelling *cancelling = arg;

	cancelling->result = wh_mapreduce(cancelling->job, &cancelling->stats);
	return 0;
}

/* On a pipe that gets no more and does not end. */
static int cancel_on_pipe(struct wh_mr_job *job)
{
	struct cancelling cancelling = { .job = job };
	struct wh_scope scope;
	struct wh_task *task;
	int fds[2], kept = dup(0);

	check_int(pipe2(fds, O_CLOEXEC), 0);
	check_int(dup2(fds[0], 0), 0);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, run_cancelled, &cancelling, .ret_task = &task), 0);
	settle();
	wh_task_cancel(task);
	wh_scope_close(&scope);
	if (kept >= 0)
		check_int(dup2(kept, 0), 0);
	close(kept);
	close(fds[0]);
	close(fds[1]);
	return cancelling.result;
}

static int a_cancelled_job_puts_out_nothing(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "verse"), "-" };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 2, &world);

	(void)arg;
	write_file("verse", verse, verse_len);
	check_int(cancel_on_pipe(&job), -ECANCELED);
	check_int(world.text.rows, 0);
	return 0;
}

static int a_partial_job_puts_out_what_it_has(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on((const char *const[]){ "-" }, 1, &world);

	(void)arg;
	job.partial = true;
	check_int(cancel_on_pipe(&job), -ECANCELED);
	check_int(world.text.rows, 0);
	return 0;
}

static int endless(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;

	(void)emitter;
	(void)record;
	world->calls++;
	return 0;
}

/* In real time, 20 ms, since real threads are at work that would never end. */
static int a_job_on_threads_stops_when_its_deadline_passes(void *arg)
{
	struct world world = { 0 };
	struct wh_mr_job job = job_on((const char *const[]){ "/dev/zero" }, 1, &world);
	struct wh_scope scope;

	(void)arg;
	job.records = WH_MR_CUSTOM;
	job.record = three_bytes;
	job.map = endless;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 20 * WH_MS });
	check_int(wh_mapreduce(&job, NULL), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static int failing_allocations_end_the_job_and_leak_nothing(void *arg)
{
	char verse_path[128], words_path[128];
	const char *const paths[] = { file_path(verse_path, "verse"),
				      file_path(words_path, "words") };
	struct world world = { .text.has_values = true };
	struct wh_mr_job job = job_on(paths, 2, &world);
	unsigned failures = 0;
	int r = -ENOMEM;

	(void)arg;
	write_file("verse", verse, verse_len);
	write_file("words", verse, verse_len);
	for (unsigned bytes = 0; bytes < 2; bytes++, r = -ENOMEM) {
		job.value = bytes ? WH_MR_BYTES : WH_MR_SUM;
		job.map = bytes ? by_letter : NULL;
		job.reduce = bytes ? longest : NULL;
		job.combine = job.reduce;
		for (uint64_t nth = 1; r == -ENOMEM; nth += 1 + nth / 16) {
			row_text_fini(&world.text);
			whi_alloc_fail_at(nth);
			r = wh_mapreduce(&job, NULL);
			whi_alloc_fail_at(0);
			failures += r == -ENOMEM;
		}
		check_int(r, 0);
		check(world.text.rows > 5);
	}
	check(failures > 20);
	row_text_fini(&world.text);
	return 0;
}

static int jobs_can_share_an_executor(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "verse") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;
	size_t len;
	char *expected = oracle_count(verse, verse_len, &len);

	(void)arg;
	write_file("verse", verse, verse_len);
	check_int(wh_executor_open(&(struct wh_executor_opts){ .threads = 3 }, &job.executor), 0);
	for (int i = 0; i < 3; i++) {
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(stats.workers, 3);
		text_is(&world, expected);
	}
	wh_executor_close(job.executor);
	free(expected);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(an_error_of_a_function_is_the_job_s),
		task_test(options_that_make_no_sense_are_refused),
		task_test(a_record_longer_than_the_limit_is_an_error),
		task_test(a_cancelled_job_puts_out_nothing),
		task_test(a_partial_job_puts_out_what_it_has),
		task_test(a_job_on_threads_stops_when_its_deadline_passes),
		task_test(failing_allocations_end_the_job_and_leak_nothing),
		task_test(jobs_can_share_an_executor),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
