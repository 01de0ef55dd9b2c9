/*
 * A pool of processes whose workers live: results, sizes, descriptors, opening and closing. What
 * jobs do is in support/pool_jobs.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support/pool_jobs.h"
#include "support/task_test.h"

enum { TASKS = 60, JOBS_EACH = 50 };

/* Results */

static struct wh_executor *open_threads(void)
{
	struct wh_executor *executor = NULL;

	check_int(wh_executor_open(&(struct wh_executor_opts){ .threads = 1 }, &executor), 0);
	return executor;
}

/* On whatever `executor` is made of. */
static void check_alike(struct wh_executor *executor)
{
	char answer[8] = { 0 };
	struct wh_call call = {
		.job = "echo", .args = "whorl", .args_len = 6, .result = answer, .result_max = 8
	};
	int result = -1;

	check_int(wh_offload(executor, wh_job_run, &call, &result), 0);
	check_int(result, 0);
	check_int(call.result_len, 6);
	check_int(call.attempts, 1);
	check_int(strcmp(answer, "whorl"), 0);
	call.result_max = 5;
	check_int(wh_offload(executor, wh_job_run, &call, &result), 0);
	check_int(result, -EMSGSIZE);
	check_int(call.result_len, 0);
	check_int(result_of(executor, "claim_too_much"), -EMSGSIZE);
	check_int(result_of(executor, "no such job"), -ENOSYS);
	check_int(result_of(executor, "nothing"), 0);
}

static int threads_and_processes_answer_alike(void *arg)
{
	struct wh_executor *pool = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct wh_executor *threads = open_threads();

	(void)arg;
	check_alike(threads);
	check_alike(pool);
	check_int(result_of(threads, "tell_pid"), getpid());
	wh_executor_close(threads);
	wh_executor_close(pool);
	return 0;
}

static int jobs_run_in_the_workers(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	pid_t pid = 0;

	(void)arg;
	check_int(wh_pool_pids(executor, &pid, 1), 1);
	check_int(result_of(executor, "tell_pid"), pid);
	check(pid != getpid());
	check_int(wh_executor_threads(executor), 1);
	wh_executor_close(executor);
	await_end(pid);
	return 0;
}

static int other_job(struct wh_job_io *io)
{
	(void)io;
	return 0;
}

static int name_of_two_jobs_reaches_neither(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct wh_job first = { .name = "twice", .fn = other_job };
	struct wh_job second = { .name = "twice", .fn = other_job };

	(void)arg;
	check_int(wh_job_register(&first), 0);
	/* The workers are older than it. */
	check_int(result_of(executor, "twice"), -ENOSYS);
	check_int(wh_job_register(&second), -EEXIST);
	check_int(result_of(executor, "twice"), -ENOTUNIQ);
	wh_job_unregister(&second);
	wh_job_unregister(&first);
	check_int(result_of(executor, "twice"), -ENOSYS);
	wh_executor_close(executor);
	return 0;
}

static int not_named(void *arg)
{
	(void)arg;
	return 0;
}

static int what_cannot_be_sent_is_refused(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct wh_call call = { .job = "echo", .args_len = WH_CALL_BYTES_MAX + 1 };

	(void)arg;
	check_int(wh_offload(executor, not_named, NULL, NULL), -EINVAL);
	check_int(wh_offload(executor, wh_job_run, &call, NULL), -EMSGSIZE);
	call = (struct wh_call){ .job = "echo", .result_max = WH_CALL_BYTES_MAX + 1 };
	check_int(wh_offload(executor, wh_job_run, &call, NULL), -EMSGSIZE);
	call = (struct wh_call){ .job = "nothing", .args_fd = 12345 };
	check_int(wh_offload(executor, wh_job_run, &call, NULL), -EBADF);
	check_int(result_of(executor, "nothing"), 0);
	wh_executor_close(executor);
	return 0;
}

/* Sizes */

struct sized {
	struct wh_executor *executor;
	uint32_t seed;
};

static int echo_many_sizes(void *arg)
{
	const struct sized *sized = arg;
	unsigned char *bytes = malloc(WH_CALL_BYTES_MAX), *answer = malloc(WH_CALL_BYTES_MAX);
	uint64_t state = sized->seed;

	check(bytes && answer);
	for (int i = 0; i < JOBS_EACH; i++) {
		size_t max = i % 4 ? 200 : WH_CALL_BYTES_MAX;
		struct wh_call call = { .job = "echo",
					.args = bytes,
					.args_len = random_next(&state) % (max + 1),
					.result = answer };
		int result = -1;

		/* Often with more room than the answer takes. */
		call.result_max = i % 3 ? call.args_len : max;
		memset(bytes, (int)(i + sized->seed), call.args_len);
		memset(answer, 0xee, call.args_len);
		check_int(wh_offload(sized->executor, wh_job_run, &call, &result), 0);
		check_int(result, 0);
		check_int(call.result_len, call.args_len);
		check_int(memcmp(bytes, answer, call.args_len), 0);
	}
	free(bytes);
	free(answer);
	return 0;
}

/* More than the rings hold, so that they wrap, and are full at times. */
static int bytes_of_every_size_come_back(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 2 });
	struct sized sized[TASKS];
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (uint32_t i = 0; i < TASKS; i++) {
		sized[i] = (struct sized){ executor, i };
		check_int(wh_spawn(&scope, echo_many_sizes, &sized[i]), 0);
	}
	check_int(wh_scope_close(&scope), 0);
	wh_executor_close(executor);
	return 0;
}

/* Many */

struct crowd {
	struct wh_executor *executor;
	struct tally *tally;
	_Atomic uint32_t next;
};

static int count_often(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < JOBS_EACH; i++) {
		const struct tally_args args = { .index = crowd->next++ };
		struct wh_call call = tally_call(crowd->tally, &args);
		int result = -1;

		check_int(wh_offload(crowd->executor, wh_job_run, &call, &result), 0);
		check_int(result, args.index);
	}
	return 0;
}

static int crowd_of_one_loop(void *arg)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	for (int i = 0; i < TASKS / 2; i++)
		check_int(wh_spawn(&scope, count_often, arg), 0);
	return wh_scope_close(&scope);
}

static int tasks_of_two_loops_share_a_pool(void *arg)
{
	struct tally tally;
	struct crowd crowd = { .executor = open_pool(&(struct wh_pool_opts){ .processes = 2 }),
			       .tally = &tally };
	struct wh_scope scope;

	(void)arg;
	tally_open(&tally);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, crowd_of_one_loop, &crowd), 0);
	check_int(wh_loop_call(wh_loop_at(1), crowd_of_one_loop, &crowd, NULL), 0);
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < TASKS * JOBS_EACH; i++)
		check_int(tally.counts[i], 1);
	tally_close(&tally);
	wh_executor_close(crowd.executor);
	return 0;
}

static int each_of_map(void *arg, const struct wh_map_done *done)
{
	const struct wh_call *call = done->item;
	uint64_t *next = arg;

	check_int(done->status, 0);
	check_int(done->index, (*next)++);
	check_int(done->result, ((const struct tally_args *)call->args)->index);
	return 0;
}

static int map_works_over_processes(void *arg)
{
	enum { CALLS = 1000 };
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 2 });
	struct tally_args *args = calloc(CALLS, sizeof(*args));
	struct wh_call *calls = calloc(CALLS, sizeof(*calls));
	struct tally tally;
	uint64_t told = 0;

	(void)arg;
	check(args && calls);
	tally_open(&tally);
	for (uint32_t i = 0; i < CALLS; i++) {
		args[i].index = i;
		calls[i] = tally_call(&tally, &args[i]);
	}
	check_int(wh_map(executor, &(struct wh_map){ .fn = wh_job_run,
						     .items = calls,
						     .item_bytes = sizeof(*calls),
						     .count = CALLS,
						     .each = each_of_map,
						     .arg = &told }),
		  0);
	check_int(told, CALLS);
	for (int i = 0; i < CALLS; i++)
		check_int(tally.counts[i], 1);
	free(calls);
	free(args);
	tally_close(&tally);
	wh_executor_close(executor);
	return 0;
}

/* Descriptors */

static int memory_is_handed_over_both_ways(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct wh_call call = { .job = "turn_round", .args_fd = fd };
	char bytes[8] = { 0 };
	int result = 0, fds = result_of(executor, "tell_fds");

	(void)arg;
	check_int(write(fd, "whorl", 5), 5);
	for (int i = 0; i < 100; i++) {
		check_int(wh_offload(executor, wh_job_run, &call, &result), 0);
		check_int(result, 5);
		check(call.result_fd > 0);
		check_int(pread(call.result_fd, bytes, 5, 0), 5);
		check_int(strcmp(bytes, "lrohw"), 0);
		close(call.result_fd);
	}
	check_int(result_of(executor, "tell_fds"), fds);
	check_int(result_of(executor, "give_nonsense"), -EBADF);
	close(fd);
	wh_executor_close(executor);
	return 0;
}

/* The worker did nothing wrong, and goes on. */
static int descriptor_without_room_for_it_is_emfile(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct wh_call call = { .job = "turn_round", .args_fd = fd };
	int result = -1, worker = result_of(executor, "tell_pid");
	struct rlimit old, none;

	(void)arg;
	check_int(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = old.rlim_max };
	check_int(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (int i = 0; i < 3; i++) {
		check_int(wh_offload(executor, wh_job_run, &call, &result), -EMFILE);
		check_int(call.result_fd, 0);
		check_int(result, -1);
	}
	check_int(setrlimit(RLIMIT_NOFILE, &old), 0);
	check_int(wh_offload(executor, wh_job_run, &call, &result), 0);
	check(call.result_fd > 0);
	close(call.result_fd);
	check_int(result_of(executor, "tell_pid"), worker);
	close(fd);
	wh_executor_close(executor);
	return 0;
}

/* A worker has its memory, doorbell and socket, and what it began with. */
static int workers_have_none_of_our_descriptors(void *arg)
{
	int leak = dup(STDERR_FILENO); /* without O_CLOEXEC */
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 2 });

	(void)arg;
	/* Standard input, output and error, doorbell and socket; and what looking takes: the
	 * directory, and the names of it and its parent. */
	check_int(result_of(executor, "tell_fds"), 5 + 3);
	close(leak);
	wh_executor_close(executor);
	return 0;
}

/* Opening and closing */

static int pool_without_jobs_can_be_closed(void *arg)
{
	(void)arg;
	for (uint32_t processes = 0; processes <= 4; processes++)
		wh_executor_close(open_pool(&(struct wh_pool_opts){ .processes = processes }));
	wh_executor_close(open_pool(NULL));
	return 0;
}

static int closing_waits_for_jobs(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	const struct tally_args args = { .index = 0 };
	struct offload jobs[20];
	struct wh_scope scope;
	struct tally tally;

	(void)arg;
	tally_open(&tally);
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < 20; i++) {
		jobs[i] = (struct offload){ .executor = executor,
					    .call = tally_call(&tally, &args) };
		check_int(wh_spawn(&scope, run_offload, &jobs[i]), 0);
	}
	check_int(wh_yield(), 0);
	wh_executor_close(executor);
	check_int(tally.counts[0], 20);
	check_int(wh_scope_close(&scope), 0);
	tally_close(&tally);
	return 0;
}

static int options_out_of_range_are_refused(void *arg)
{
	struct wh_executor *executor = NULL;

	(void)arg;
	check_int(wh_pool_open(&(struct wh_pool_opts){ .processes = 257 }, &executor), -EINVAL);
	check_int(wh_pool_open(&(struct wh_pool_opts){ .ahead_max = 1024 }, &executor), -EINVAL);
	check(executor == NULL);
	return 0;
}

static int open_cancelled(void *arg)
{
	struct wh_executor *executor = NULL;
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_scope_cancel(&scope);
	check_int(wh_pool_open(NULL, &executor), -ECANCELED);
	check_int(wh_scope_close(&scope), -ECANCELED);
	/* While the workers are being started. */
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 1 });
	check_int(wh_pool_open(NULL, &executor), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	check(executor == NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(threads_and_processes_answer_alike),
		task_test(jobs_run_in_the_workers),
		task_test(name_of_two_jobs_reaches_neither),
		task_test(what_cannot_be_sent_is_refused),
		task_test(bytes_of_every_size_come_back),
		task_test(tasks_of_two_loops_share_a_pool, .loops = 2),
		task_test(map_works_over_processes),
		task_test(memory_is_handed_over_both_ways),
		task_test(descriptor_without_room_for_it_is_emfile),
		task_test(workers_have_none_of_our_descriptors),
		task_test(pool_without_jobs_can_be_closed),
		task_test(closing_waits_for_jobs),
		task_test(options_out_of_range_are_refused),
		task_test(open_cancelled),
	};

	wh_jobs_main();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
