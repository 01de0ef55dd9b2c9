#include "support/child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/task_test.h"

enum { CHILD_SECONDS_MAX = 240 };

const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
	return "handle_segv=0:handle_sigbus=0:handle_abort=0";
}

const char *__tsan_default_options(void)
{
	return "handle_segv=0:handle_sigbus=0:handle_abort=0";
}

_Noreturn static void be_child(int out, void (*fn)(void *arg), void *arg)
{
	const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
	const struct rlimit no_core = { 0, 0 };

	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(CHILD_SECONDS_MAX);
	dup2(out, STDERR_FILENO);
	/* cmocka catches them, and would go on with its tests in here. */
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		signal(faults[i], SIG_DFL);
	fn(arg);
	/* Not exit: the parent's buffers and its leak check are not the child's. */
	_exit(0);
}

static void read_all(int in, char *text, size_t max)
{
	size_t len = 0;
	ssize_t r;

	while (len < max - 1 && (r = read(in, text + len, max - 1 - len)) > 0)
		len += (size_t)r;
	text[len] = '\0';
}

void run_child(struct child *ret, void (*fn)(void *arg), void *arg)
{
	int ends[2], status;
	pid_t pid;

	check_int(pipe(ends), 0);
	fflush(NULL);
	pid = fork();
	check(pid >= 0);
	if (pid == 0)
		be_child(ends[1], fn, arg);
	close(ends[1]);
	read_all(ends[0], ret->text, sizeof(ret->text));
	close(ends[0]);
	check_int(waitpid(pid, &status, 0), pid);
	ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	ret->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}
