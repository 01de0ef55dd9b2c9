#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <whorl/exec.h>
#include <whorl/mapreduce.h>
#include <whorl/process.h>

#include "outcome.h"
#include "scenarios.h"
#include "support/task_test.h"

enum { WORKERS = 2, CHILD_STATUS = 7 };

/* Executors and loops */

static int add_one(void *arg)
{
	return ++*(int *)arg;
}

static int offload_and_map(struct wh_executor *executor)
{
	int number = 0, result = 0, numbers[4] = { 0 };
	const struct wh_map map = {
		.fn = add_one, .items = numbers, .item_bytes = sizeof(numbers[0]), .count = 4
	};
	int r = did(wh_offload_blocking, executor, add_one, &number, &result);

	if (r == 0)
		check_int(result, 1);
	if (r == 0)
		r = did(wh_map, executor, &map);
	for (int i = 0; i < 4 && r == 0; i++)
		check_int(numbers[i], 1);
	return r;
}

static int offload_some(void *arg)
{
	struct wh_executor *executor;
	const struct wh_executor_opts opts = { .threads = WORKERS };
	int result = 0, number = 0;
	int r = did(wh_executor_open, &opts, &executor);

	(void)arg;
	if (r < 0)
		return r;
	for (int i = 1; i <= 3 && r == 0; i++) {
		r = did(wh_offload, executor, add_one, &number, &result);
		if (r == 0)
			check_int(result, i);
	}
	if (r == 0)
		r = offload_and_map(executor);
	wh_executor_close(executor);
	return r;
}

int offloading(void *arg)
{
	return in_time(offload_some, arg);
}

static int call_others(void *arg)
{
	int number = 0, other = 0, result = 0, r = 0;

	(void)arg;
	for (unsigned i = 0; i < wh_loop_count() && r == 0; i++) {
		r = did(wh_loop_call, wh_loop_at(i), add_one, &number, &result);
		if (r == 0)
			check_int(result, i + 1);
		if (r == 0)
			r = did(wh_loop_spawn, wh_loop_at(i), add_one, &other, NULL);
		/* Until it has run: calls and spawns of one loop keep their order. */
		if (r == 0)
			r = did(wh_loop_call, wh_loop_at(i), add_one, &other, NULL);
	}
	return r;
}

int two_loops(void *arg)
{
	return in_time(call_others, arg);
}

/* MapReduce */

struct tally {
	uint64_t whorls; /* of the word that each second one is */
	uint64_t rows;
	unsigned failed; /* files */
};

static int add_rows(void *arg, const struct wh_mr_row *rows, size_t count)
{
	struct tally *tally = arg;

	for (size_t i = 0; i < count; i++)
		if (rows[i].key.len == 5 && memcmp(rows[i].key.data, "whorl", 5) == 0)
			tally->whorls += rows[i].number;
	tally->rows += count;
	return 0;
}

static void count_failure(void *arg, const char *path, int err)
{
	(void)path;
	check(err < 0);
	((struct tally *)arg)->failed++;
}

/* The file in /proc is not in the page cache, so its bytes come by way of the loop. */
static int count_words(void *arg)
{
	char words[128];
	const char *paths[] = { scenario_path(words, "words"), "/proc/version" };
	struct tally tally = { 0 };
	const struct wh_mr_job job = {
		.paths = paths,
		.path_count = 2,
		.arg = &tally,
		.workers = WORKERS,
		.split_bytes = 8192,
		.order = WH_MR_BY_VALUE,
		.output = add_rows,
		.file_error = count_failure,
	};
	struct wh_mr_stats stats;
	int r = did(wh_mapreduce, &job, &stats);

	(void)arg;
	check_int(stats.files_failed, tally.failed);
	if (r == 0 && tally.failed == 0) {
		check_int(tally.whorls, WORDS);
		check(tally.rows > WORDS);
	}
	return r;
}

int word_count(void *arg)
{
	return in_time(count_words, arg);
}

static int by_letter(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	(void)arg;
	return did(wh_mr_emit, emitter, (struct wh_mr_bytes){ line.data, 1 }, line);
}

/* The longest value stands for all. */
static int keep_one(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
		    struct wh_mr_emitter *emitter)
{
	struct wh_mr_bytes value;
	size_t longest = 0;
	char line[256];

	(void)arg;
	while (wh_mr_next(values, &value))
		if (value.len > longest && value.len <= sizeof(line)) {
			memcpy(line, value.data, value.len);
			longest = value.len;
		}
	return did(wh_mr_emit, emitter, key, (struct wh_mr_bytes){ line, longest });
}

static int sort_lines(void *arg)
{
	char words[128];
	const char *paths[] = { scenario_path(words, "words") };
	struct tally tally = { 0 };
	const struct wh_mr_job job = {
		.paths = paths,
		.path_count = 1,
		.arg = &tally,
		.workers = WORKERS,
		.records = WH_MR_LINES,
		.value = WH_MR_BYTES,
		.order = WH_MR_BY_KEY,
		.map = by_letter,
		.combine = keep_one,
		.reduce = keep_one,
		.output = add_rows,
		.file_error = count_failure,
	};
	int r = did(wh_mapreduce, &job, NULL);

	(void)arg;
	/* Words 0, 1, 11, 21 and so on begin a line: the first letter, and each second one. */
	if (r == 0 && tally.failed == 0)
		check_int(tally.rows, 1 + 26 / 2);
	return r;
}

int lines_by_first_letter(void *arg)
{
	return in_time(sort_lines, arg);
}

/* Time, and cancellation in the middle */

/* A pair of sockets on which nothing ever arrives. */
static int silent_pair(struct wh_sock **ret, int *ret_other)
{
	int fds[2];
	int r;

	check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	r = did(wh_sock_from_fd, fds[0], ret);
	if (r < 0) {
		close(fds[0]);
		close(fds[1]);
		return r;
	}
	*ret_other = fds[1];
	return 0;
}

/* `receive` in a scope whose deadline passes meanwhile. */
static int receive_in_vain(struct wh_sock *sock)
{
	struct wh_scope scope;
	struct wh_view view;
	char byte;
	ssize_t r;
	int closed;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = WH_MS / 4 });
	r = did(wh_sock_recv, sock, &byte, 1);
	if (r == -ETIMEDOUT) {
		r = did(wh_sock_recv_view, sock, &view);
		check_int(r, -ETIMEDOUT);
	}
	closed = wh_scope_close(&scope);
	if (r == -ETIMEDOUT)
		check_int(closed, -ETIMEDOUT);
	return r == -ETIMEDOUT ? 0 : (int)r;
}

static int let_deadlines_pass(void *arg)
{
	struct wh_sock *sock;
	int other;
	int r = silent_pair(&sock, &other);

	(void)arg;
	if (r < 0)
		return r;
	r = did(wh_sleep, WH_MS / 4);
	if (r == 0)
		r = did(wh_yield);
	if (r == 0)
		r = receive_in_vain(sock);
	wh_sock_close(sock);
	close(other);
	return r;
}

int deadlines(void *arg)
{
	return in_time(let_deadlines_pass, arg);
}

static int receive_for_ever(void *arg)
{
	struct wh_view view;

	return (int)did(wh_sock_recv_view, arg, &view);
}

static int sleep_for_ever(void *arg)
{
	(void)arg;
	return did(wh_sleep_until, UINT64_MAX);
}

static int poll_for_ever(void *arg)
{
	return did(wh_fd_poll, *(int *)arg, 1);
}

/* 0 if the task could not be started or was ended by us. */
static int end_of(struct wh_task *task)
{
	int result = 0, r;

	if (!task)
		return 0;
	wh_task_cancel(task);
	r = did(wh_task_join, task, &result);
	if (r < 0)
		return r;
	return result == -ECANCELED ? 0 : result;
}

/* Tasks that wait for all kinds of things, ended one by one. */
static int end_each(struct wh_sock *sock, int fd)
{
	struct wh_task *tasks[3] = { 0 };
	struct wh_scope scope;
	int r, closed;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .keep_siblings = true });
	r = did_spawn(&scope, receive_for_ever, sock, .ret_task = &tasks[0]);
	if (r == 0)
		r = did_spawn(&scope, sleep_for_ever, NULL, .ret_task = &tasks[1]);
	if (r == 0)
		r = did_spawn(&scope, poll_for_ever, &fd, .ret_task = &tasks[2]);
	if (r == 0)
		r = did(wh_sleep, 1);
	for (int i = 0; i < 3; i++) {
		int ended = end_of(tasks[i]);

		r = r == 0 ? ended : r;
	}
	closed = wh_scope_close(&scope);
	return first_failure(r, closed);
}

static int cancel_in_the_middle(void *arg)
{
	struct wh_sock *sock;
	int other;
	int r = silent_pair(&sock, &other);

	(void)arg;
	if (r < 0)
		return r;
	r = end_each(sock, other);
	wh_sock_close(sock);
	close(other);
	return r;
}

int cancellations(void *arg)
{
	return in_time(cancel_in_the_middle, arg);
}

static int await_child(void *arg)
{
	pid_t pid = fork();
	int status, r;

	(void)arg;
	check(pid >= 0);
	if (pid == 0)
		_exit(CHILD_STATUS);
	r = did(wh_process_wait, pid, &status);
	if (r == 0)
		check(WIFEXITED(status) && WEXITSTATUS(status) == CHILD_STATUS);
	else
		check_int(waitpid(pid, NULL, 0), pid);
	return r;
}

int a_process(void *arg)
{
	return in_time(await_child, arg);
}
