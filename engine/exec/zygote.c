/*
 * The program's side of the zygote: starting it, recognising it, ending it.
 *
 * The process that is to be the zygote finds WHORL_ZYGOTE=DESCRIPTOR:PROCESS in its environment,
 * and believes it if that descriptor is one end of a pair of sockets which that process has made.
 * Nobody comes by such a descriptor by accident; and whoever passes one on purpose could have run
 * another program just as well.
 *
 * Invariants
 * 1. The variable is gone before anything else runs, so it reaches no further process.
 * 2. There is a zygote only in a process whose main calls wh_jobs_main: so what is started anew
 *    does call it too.
 * 3. `lock` is held while the zygote is started or spoken to; no process is ever forked here.
 */
#include "exec/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "exec/anew.h"
#include "exec/jobs.h"
#include "exec/passing.h"
#include "loop/runtime.h"

#define VARIABLE "WHORL_ZYGOTE"

enum { MARK_MAX = 64, NO_FD = -1 };

static struct {
	pthread_mutex_t lock;
	bool main_calls; /* wh_jobs_main */
	int channel;	 /* NO_FD: there is no zygote */
	pid_t pid;
	unsigned users; /* runtimes */
} zygote = { .lock = PTHREAD_MUTEX_INITIALIZER, .channel = NO_FD };

/* Starting it */

/* As a process that nobody has touched: no signal blocked, none ignored. */
static int spawn(int its_end, char **environment)
{
	char *arguments[] = { program_invocation_name, NULL };
	struct whi_anew anew = { .path = "/proc/self/exe",
				 .argv = arguments,
				 .environment = environment };
	posix_spawn_file_actions_t files;
	int r = posix_spawn_file_actions_init(&files);

	if (r != 0)
		return -r;
	sigemptyset(&anew.blocked);
	sigfillset(&anew.standard);
	anew.files = &files;
	/* Onto itself: it stays open over the exec. */
	r = -posix_spawn_file_actions_adddup2(&files, its_end, its_end);
	if (r == 0)
		r = whi_anew_start(&anew, &zygote.pid);
	posix_spawn_file_actions_destroy(&files);
	return r;
}

static int start_with(int its_end)
{
	char **environment = whi_anew_environment(VARIABLE);
	char mark[MARK_MAX];
	cpu_set_t cpus;
	int r;

	if (!environment)
		return -ENOMEM;
	snprintf(mark, sizeof(mark), VARIABLE "=%d:%d", its_end, (int)getpid());
	environment[0] = mark;
	r = spawn(its_end, environment);
	whi_free(environment);
	if (r < 0)
		return r;
	/* Not tied to the one CPU that this loop may be tied to. */
	whi_runtime_affinity(&cpus);
	sched_setaffinity(zygote.pid, sizeof(cpus), &cpus);
	return 0;
}

static int start(void)
{
	int ends[2], its_end;
	int r;

	if (!zygote.main_calls)
		return -ENOEXEC;
	/* Its environment must not decide what a program with other people's rights does. */
	if (getauxval(AT_SECURE))
		return -EPERM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	/* Not where its standard input and output will be. */
	its_end = fcntl(ends[1], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	r = its_end < 0 ? -errno : start_with(its_end);
	if (its_end >= 0)
		close(its_end);
	close(ends[1]);
	if (r < 0)
		close(ends[0]);
	else
		zygote.channel = ends[0];
	return r;
}

/* It ends by itself when its channel does. Somebody else's wait(2) may have been quicker. */
static void stop(void)
{
	if (zygote.channel == NO_FD)
		return;
	close(zygote.channel);
	zygote.channel = NO_FD;
	while (waitpid(zygote.pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Recognising it */

/* The zygote's end of the channel, if this process is to be it. */
static int claim(void)
{
	const char *mark = getenv(VARIABLE);
	int fd = NO_FD, pid = 0, end = 0;
	bool valid = mark && sscanf(mark, "%d:%d%n", &fd, &pid, &end) == 2 && mark[end] == '\0';

	if (!mark)
		return NO_FD;
	unsetenv(VARIABLE);
	return valid && !getauxval(AT_SECURE) && whi_anew_channel(fd, pid) ? fd : NO_FD;
}

/* Between wh_run and pools */

static void runtime_begins(bool wanted)
{
	pthread_mutex_lock(&zygote.lock);
	zygote.users++;
	/* If it cannot be started, whoever opens a pool is told. */
	if (zygote.channel == NO_FD && (wanted || whi_jobs_count() > 0))
		start();
	pthread_mutex_unlock(&zygote.lock);
}

static void runtime_ends(void)
{
	pthread_mutex_lock(&zygote.lock);
	if (--zygote.users == 0)
		stop();
	pthread_mutex_unlock(&zygote.lock);
}

static const struct whi_runtime_hook hook = { runtime_begins, runtime_ends };

void wh_jobs_main(void)
{
	int channel = claim();

	if (channel != NO_FD)
		whi_zygote_main(channel);
	zygote.main_calls = true;
	whi_runtime_hook = &hook;
}

/* `its_end` goes to the zygote, which may have died: then to another. */
static int ask(int its_end)
{
	const struct whi_nursery_message message = { .version = WHI_NURSERY_VERSION,
						     .kind = WHI_NURSERY_OPEN };
	int r = -EPIPE;

	if (zygote.channel != NO_FD)
		r = whi_pass(zygote.channel, &message, sizeof(message), &its_end, 1);
	if (r != -EPIPE && r != -ECONNRESET)
		return r;
	stop();
	r = start();
	return r < 0 ? r : whi_pass(zygote.channel, &message, sizeof(message), &its_end, 1);
}

int whi_nursery_open(int *ret)
{
	int ends[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pthread_mutex_lock(&zygote.lock);
	r = ask(ends[1]);
	pthread_mutex_unlock(&zygote.lock);
	close(ends[1]);
	if (r < 0)
		close(ends[0]);
	else
		*ret = ends[0];
	return r;
}
