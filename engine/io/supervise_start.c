/*
 * Starting processes for a supervisor: the program by its name, with the arguments that it was
 * given itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "exec/anew.h"
#include "io/supervise.h"
#include "loop/runtime.h"

enum { TEXT_BYTES = 4096 };

/* What is started */

/* The file may have been replaced since this process was started from it. */
static int own_path(char **ret)
{
	static const char deleted[] = " (deleted)";
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	size_t tail = sizeof(deleted) - 1;

	if (len < 0)
		return -errno;
	path[len] = '\0';
	if ((size_t)len > tail && strcmp(path + len - tail, deleted) == 0 && access(path, F_OK) < 0)
		path[(size_t)len - tail] = '\0';
	*ret = whi_strdup(path);
	return *ret ? 0 : -ENOMEM;
}

/* All of a file whose length nobody knows, and a zero byte. */
static int read_file(const char *path, char **ret, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t room = TEXT_BYTES, len = 0;
	char *text = NULL;
	ssize_t n;

	if (fd < 0)
		return -errno;
	do {
		char *more = whi_realloc(text, room *= 2);

		if (!more) {
			errno = ENOMEM;
			n = -1;
			break;
		}
		text = more;
		while ((n = read(fd, text + len, room - len - 1)) > 0)
			len += (size_t)n;
	} while (n == 0 && len == room - 1);
	close(fd);
	if (n < 0) {
		whi_free(text);
		return -errno;
	}
	text[len] = '\0';
	*ret = text;
	*ret_len = len;
	return 0;
}

static int own_arguments(struct whi_program *program)
{
	size_t len = 0, count = 0, at = 0;
	int r = read_file("/proc/self/cmdline", &program->argv_text, &len);

	if (r < 0)
		return r;
	for (size_t i = 0; i < len; i++)
		count += program->argv_text[i] == '\0';
	program->argv = whi_calloc(count + 2, sizeof(*program->argv));
	if (!program->argv)
		return -ENOMEM;
	for (size_t i = 0; i < len; i += strlen(program->argv_text + i) + 1)
		program->argv[at++] = program->argv_text + i;
	return 0;
}

int whi_program_init(struct whi_program *program, const struct wh_supervise_opts *opts)
{
	int r = 0;

	*program = (struct whi_program){ 0 };
	if (opts->path)
		program->path = whi_strdup(opts->path);
	else
		r = own_path(&program->path);
	if (r == 0 && !program->path)
		r = -ENOMEM;
	if (r == 0 && opts->argv)
		program->argv = (char **)(uintptr_t)opts->argv;
	else if (r == 0)
		r = own_arguments(program);
	if (r == 0)
		program->environment = whi_anew_environment(WHI_SUPERVISED_VARIABLE);
	if (r == 0 && !program->environment)
		r = -ENOMEM;
	if (r < 0)
		whi_program_fini(program);
	return r;
}

void whi_program_fini(struct whi_program *program)
{
	whi_free(program->path);
	whi_free(program->environment);
	if (program->argv_text)
		whi_free(program->argv);
	whi_free(program->argv_text);
	*program = (struct whi_program){ 0 };
}

/* Starting it */

/* In two steps: a number that is still to be given away may be that of a descriptor to come. */
static int set_files(posix_spawn_file_actions_t *files, const int *fds, unsigned count)
{
	int above = WHI_SUPERVISED_FD + (int)count;
	int r = 0;

	for (unsigned i = 0; i < count; i++)
		if (fds[i] >= above)
			above = fds[i] + 1;
	for (unsigned i = 0; r == 0 && i < count; i++)
		r = posix_spawn_file_actions_adddup2(files, fds[i], above + (int)i);
	for (unsigned i = 0; r == 0 && i < count; i++)
		r = posix_spawn_file_actions_adddup2(files, above + (int)i,
						     WHI_SUPERVISED_FD + (int)i);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(files, WHI_SUPERVISED_FD + (int)count);
	return r;
}

/* A terminal's signals may come before the process knows that they are not for it. That it can be
 * told to end must not depend on how this process was started. */
static void set_signals(struct whi_anew *anew)
{
	pthread_sigmask(SIG_SETMASK, NULL, &anew->blocked);
	sigaddset(&anew->blocked, SIGINT);
	sigaddset(&anew->blocked, SIGHUP);
	sigdelset(&anew->blocked, SIGTERM);
	sigemptyset(&anew->standard);
	sigaddset(&anew->standard, SIGTERM);
}

static int spawn(const struct whi_program *program, const int *fds, unsigned count, pid_t *ret)
{
	struct whi_anew anew = { .path = program->path,
				 .argv = program->argv,
				 .environment = program->environment };
	posix_spawn_file_actions_t files;
	int r = posix_spawn_file_actions_init(&files);

	if (r != 0)
		return -r;
	anew.files = &files;
	set_signals(&anew);
	r = -set_files(&files, fds, count);
	if (r == 0)
		r = whi_anew_start(&anew, ret);
	posix_spawn_file_actions_destroy(&files);
	return r;
}

pid_t whi_program_start(const struct whi_program *program, const struct whi_supervised_mark *mark,
			const int *fds, unsigned fd_count)
{
	char text[WHI_SUPERVISED_TEXT_MAX];
	cpu_set_t own, all;
	bool pinned;
	pid_t pid = 0;
	int r;

	whi_supervised_format(mark, text);
	program->environment[0] = text;
	/* Not tied to the one CPU that this loop may be tied to. */
	whi_runtime_affinity(&all);
	pinned = sched_getaffinity(0, sizeof(own), &own) == 0 && !CPU_EQUAL(&own, &all);
	if (pinned)
		sched_setaffinity(0, sizeof(all), &all);
	r = spawn(program, fds, fd_count, &pid);
	if (pinned)
		sched_setaffinity(0, sizeof(own), &own);
	return r < 0 ? r : pid;
}

uint64_t whi_supervise_delay(const struct wh_supervise_opts *opts, unsigned quick, uint64_t random)
{
	uint64_t delay = opts->backoff_ns;

	if (quick < 2)
		return 0;
	while (--quick > 1 && delay < opts->backoff_max_ns)
		delay *= 2;
	if (delay > opts->backoff_max_ns)
		delay = opts->backoff_max_ns;
	/* A quarter more or less, so that those that fall together do not get up together. */
	return delay - delay / 4 + random % (delay / 2 + 1);
}
