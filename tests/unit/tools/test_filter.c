/*
 * The seccomp allow-list of the servers: what it leaves and what it takes, in a process of its own
 * each time. That a server runs under it is for the integration tests.
 */
#include "filter.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/child.h"
#include "support/task_test.h"

static char *const no_words[] = { NULL };

static void refused(long r, const char *what)
{
	if (r >= 0 || errno != EPERM) {
		fprintf(stderr, "%s: %ld, errno %d\n", what, r, errno);
		_exit(1);
	}
}

static void install(void)
{
	int r = filter_install();

	if (r < 0) {
		fprintf(stderr, "no filter: %s\n", strerror(-r));
		_exit(77);
	}
}

static void try_forbidden_calls(void *arg)
{
	char path[] = "/dev/null";
	void *page;

	(void)arg;
	install();
	refused(open(path, O_RDONLY), "open");
	refused(syscall(SYS_openat2, AT_FDCWD, path, NULL, 0), "openat2");
	refused(creat("/tmp/whorl-filter", 0600), "creat");
	refused(execve("/bin/true", no_words, no_words), "execve");
	refused(syscall(SYS_fork), "fork");
	refused(syscall(SYS_clone3, NULL, 0), "clone3");
	refused(kill(getppid(), SIGKILL), "kill");
	refused(syscall(SYS_tgkill, getppid(), getppid(), SIGKILL), "tgkill");
	refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL), "ptrace");
	refused(syscall(SYS_io_uring_setup, 8, NULL), "io_uring_setup");
	refused(chmod("/tmp", 0777), "chmod");
	refused(setuid(0), "setuid");
	refused(rename("/tmp/a", "/tmp/b"), "rename");
	refused(prctl(PR_SET_DUMPABLE, 1), "prctl");
	page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	refused(page == MAP_FAILED ? -1 : 0, "mmap of code");
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	refused(mprotect(page, 4096, PROT_READ | PROT_EXEC), "mprotect to code");
}

static void try_allowed_calls(void *arg)
{
	int fds[2];
	char buf[4];

	(void)arg;
	install();
	check_int(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), -1);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(fds[0] >= 0);
	check_int(recv(fds[0], buf, sizeof(buf), 0), -1);
	check_int(errno, ENOTCONN);
	check_int(close(fds[0]), 0);
	check(malloc(1 << 24) != NULL);
	check(fprintf(stderr, "and it can say so\n") > 0);
}

static void *open_later(void *arg)
{
	int *ready = arg;

	while (__atomic_load_n(ready, __ATOMIC_ACQUIRE) == 0)
		sched_yield();
	refused(open("/dev/null", O_RDONLY), "open on another thread");
	return NULL;
}

static void try_on_an_older_thread(void *arg)
{
	pthread_t thread;
	int ready = 0;

	(void)arg;
	check_int(pthread_create(&thread, NULL, open_later, &ready), 0);
	install();
	__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
	check_int(pthread_join(thread, NULL), 0);
}

static void expect_success(void (*fn)(void *arg))
{
	struct child child;

	run_child(&child, fn, NULL);
	if (child.status == 77)
		skip();
	if (child.status != 0)
		fail_msg("status %d, signal %d: %s", child.status, child.signal, child.text);
}

static void what_a_server_does_not_need_is_refused(void **state)
{
	(void)state;
	expect_success(try_forbidden_calls);
}

static void what_a_server_needs_is_left(void **state)
{
	(void)state;
	expect_success(try_allowed_calls);
}

static void threads_that_run_already_are_bound_too(void **state)
{
	(void)state;
	expect_success(try_on_an_older_thread);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_server_does_not_need_is_refused),
		cmocka_unit_test(what_a_server_needs_is_left),
		cmocka_unit_test(threads_that_run_already_are_bound_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
