/* Waiting for child processes. A child that is to go on reads from a pipe until its other end is
 * closed, so that nothing here depends on time. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <whorl/process.h>

#include "support/task_test.h"

/* A child that ends at once. */
static pid_t child(int status)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(status);
	check(pid > 0);
	return pid;
}

/* A child that ends when `ends[1]` is closed, here and in children that were made later. */
static pid_t waiting_child(int status, int ends[2])
{
	pid_t pid;

	check_int(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		char byte;

		close(ends[1]);
		(void)!read(ends[0], &byte, 1);
		_exit(status);
	}
	check(pid > 0);
	close(ends[0]);
	return pid;
}

static int wait_tells_how_it_exited(void *arg)
{
	int status = 0;

	(void)arg;
	check_int(wh_process_wait(child(42), &status), 0);
	check(WIFEXITED(status));
	check_int(WEXITSTATUS(status), 42);
	return 0;
}

static int wait_tells_which_signal_killed_it(void *arg)
{
	int status = 0, ends[2];
	pid_t pid = waiting_child(0, ends);

	(void)arg;
	check_int(kill(pid, SIGKILL), 0);
	check_int(wh_process_wait(pid, &status), 0);
	check(WIFSIGNALED(status));
	check_int(WTERMSIG(status), SIGKILL);
	close(ends[1]);
	return 0;
}

static int status_is_optional(void *arg)
{
	(void)arg;
	check_int(wh_process_wait(child(1), NULL), 0);
	return 0;
}

struct waiter {
	pid_t pid;
	int status;
	int result;
};

static int wait_for_it(void *arg)
{
	struct waiter *waiter = arg;

	waiter->result = wh_process_wait(waiter->pid, &waiter->status);
	return 0;
}

static int wait_suspends_until_the_end(void *arg)
{
	struct waiter waiter = { .result = 1 };
	struct wh_scope scope;
	int ends[2];

	(void)arg;
	waiter.pid = waiting_child(7, ends);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, wait_for_it, &waiter), 0);
	settle();
	check_int(waiter.result, 1);
	close(ends[1]);
	wh_scope_close(&scope);
	check_int(waiter.result, 0);
	check_int(WEXITSTATUS(waiter.status), 7);
	return 0;
}

static int several_children_are_told_apart(void *arg)
{
	struct waiter waiters[8] = { 0 };
	struct wh_scope scope;
	int ends[8][2];

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < 8; i++) {
		waiters[i].pid = waiting_child(i, ends[i]);
		/* A later child has inherited the earlier ones' write ends: it does not matter
		 * which way round they end, since the last one goes first. */
		check_int(wh_spawn(&scope, wait_for_it, &waiters[i]), 0);
	}
	settle();
	for (int i = 7; i >= 0; i--)
		close(ends[i][1]);
	wh_scope_close(&scope);
	for (int i = 0; i < 8; i++) {
		check_int(waiters[i].result, 0);
		check_int(WEXITSTATUS(waiters[i].status), i);
	}
	return 0;
}

static int cancelled_wait_leaves_the_child(void *arg)
{
	struct waiter waiter = { 0 };
	struct wh_scope scope;
	int ends[2];

	(void)arg;
	waiter.pid = waiting_child(3, ends);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, wait_for_it, &waiter), 0);
	settle();
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	check_int(waiter.result, -ECANCELED);
	close(ends[1]);
	check_int(wh_process_wait(waiter.pid, &waiter.status), 0);
	check_int(WEXITSTATUS(waiter.status), 3);
	return 0;
}

static int who_is_no_child_is_not_waited_for(void *arg)
{
	pid_t pid = child(0);

	(void)arg;
	check_int(wh_process_wait(getpid(), NULL), -ECHILD);
	check_int(wh_process_wait(0, NULL), -EINVAL);
	check_int(wh_process_wait(-5, NULL), -EINVAL);
	check_int(wh_process_wait(pid, NULL), 0);
	check_int(wh_process_wait(pid, NULL), -ESRCH);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(wait_tells_how_it_exited),
		task_test(wait_tells_which_signal_killed_it),
		task_test(status_is_optional),
		task_test(wait_suspends_until_the_end),
		task_test(several_children_are_told_apart),
		task_test(cancelled_wait_leaves_the_child),
		task_test(who_is_no_child_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
