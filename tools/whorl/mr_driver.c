/* Owns the talk with a driver, a program that knows a scheduler. A line each, words parted by
 * blanks:
 *
 *     to it:    map|reduce TASK ATTEMPT        run this task
 *               flush                          that is all for now
 *     from it:  map|reduce TASK ATTEMPT STATUS WHERE TEXT
 *               note TEXT                      for the user
 *
 * STATUS is the exit code, or -1 if there is none. WHERE and TEXT have %XX for what is no printable
 * ASCII, and for blanks. At the end of its input the driver takes back what has not started, and
 * ends; when it cannot go on, it says why on standard error and ends by itself. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mr_engine.h"

enum {
	SLOTS = 4096, /* enough to keep a scheduler busy, and not more than it likes */
	LINE_BYTES = 4 * MR_TEXT_BYTES,
	NUMBER_BYTES = 24,
	END_MS = 5000, /* for the driver to take back what it can */
};

struct driver {
	struct mr_engine engine;
	const char *name;
	pid_t pid;
	int to;
	int from;
	size_t len;
	char line[LINE_BYTES];
};

static int tell(struct driver *driver, const char *line)
{
	int r = mr_write(driver->to, line, strlen(line));

	/* A driver that has ended is noticed, and said, where it is waited for. */
	return r == -EPIPE ? 0 : r;
}

static int submit(struct mr_engine *engine, enum mr_phase phase, uint32_t task, uint32_t attempt)
{
	char line[3 * NUMBER_BYTES];

	snprintf(line, sizeof(line), "%s %" PRIu32 " %" PRIu32 "\n",
		 phase == MR_MAP ? "map" : "reduce", task, attempt);
	return tell((struct driver *)(void *)engine, line);
}

static int flush(struct mr_engine *engine)
{
	return tell((struct driver *)(void *)engine, "flush\n");
}

static void unescape(char *to, size_t room, const char *from)
{
	for (; *from && room > 1; from++, room--) {
		unsigned byte;

		if (*from == '%' && sscanf(from + 1, "%2x", &byte) == 1 && from[1] && from[2]) {
			*to++ = (char)byte;
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	*to = 0;
}

/* Returns 1 with an outcome, 0 for a note, -EPROTO for anything else. */
static int understand(const char *line, struct mr_outcome *ret)
{
	char phase[8], where[3 * MR_WHERE_BYTES], text[MR_TEXT_BYTES];
	int at = 0;

	*ret = (struct mr_outcome){ 0 };
	if (strncmp(line, "note ", 5) == 0) {
		unescape(text, sizeof(text), line + 5);
		cli_error("mr run: %s", text);
		return 0;
	}
	if (sscanf(line, "%7s %" SCNu32 " %" SCNu32 " %d %383s %n", phase, &ret->task,
		   &ret->attempt, &ret->status, where, &at) != 5)
		return -EPROTO;
	ret->phase = strcmp(phase, "map") == 0 ? MR_MAP : MR_REDUCE;
	unescape(ret->where, sizeof(ret->where), where);
	unescape(ret->text, sizeof(ret->text), at > 0 ? line + at : "");
	return 1;
}

/* Take a line off what has been read. Returns as `understand`, or -EAGAIN. */
static int take_line(struct driver *driver, struct mr_outcome *ret)
{
	char *newline = memchr(driver->line, '\n', driver->len);
	size_t len;
	int r;

	if (!newline)
		return driver->len == sizeof(driver->line) ? -EPROTO : -EAGAIN;
	*newline = 0;
	r = understand(driver->line, ret);
	len = (size_t)(newline - driver->line) + 1;
	driver->len -= len;
	memmove(driver->line, driver->line + len, driver->len);
	return r;
}

static int wait_line(struct mr_engine *engine, int timeout_ms, struct mr_outcome *ret)
{
	struct driver *driver = (struct driver *)(void *)engine;
	struct pollfd poll_fd = { .fd = driver->from, .events = POLLIN };
	int r = take_line(driver, ret);
	ssize_t n;

	if (r != -EAGAIN)
		return r;
	r = poll(&poll_fd, 1, timeout_ms);
	if (r <= 0)
		return r < 0 && errno != EINTR ? -errno : 0;
	n = read(driver->from, driver->line + driver->len, sizeof(driver->line) - driver->len);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	driver->len += (size_t)n;
	return n == 0 ? -ECONNABORTED : 0;
}

static bool has_ended(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG) != 0;
}

static void close_driver(struct mr_engine *engine)
{
	struct driver *driver = (struct driver *)(void *)engine;
	const struct timespec tick = { .tv_nsec = 10 * 1000 * 1000 };
	int ticks = END_MS / 10;

	close(driver->to);
	while (ticks-- > 0 && !has_ended(driver->pid))
		nanosleep(&tick, NULL);
	if (ticks < 0) {
		kill(-driver->pid, SIGKILL);
		waitpid(driver->pid, NULL, 0);
	}
	close(driver->from);
	free(driver);
}

/* Beside this program, or where it was installed to. */
static bool find_driver(char path[MR_PATH_BYTES], const char *own, const char *name)
{
	int len = (int)(strrchr(own, '/') - own);

	snprintf(path, MR_PATH_BYTES, "%.*s/%s", len, own, name);
	if (access(path, X_OK) == 0)
		return true;
	snprintf(path, MR_PATH_BYTES, "%.*s/../libexec/whorl/%s", len, own, name);
	if (access(path, X_OK) == 0)
		return true;
	cli_error("mr run: cannot find the driver %s beside %s, nor in ../libexec/whorl", name,
		  own);
	return false;
}

static int start(struct driver *driver, const struct mr_engine_opts *opts, const char *path,
		 const char *own)
{
	char workers[NUMBER_BYTES], memory[NUMBER_BYTES];
	/* An empty value is for the driver to leave out. */
	const char *argv[] = { path,
			       "--whorl",
			       own,
			       "--dir",
			       opts->dir,
			       "--workers",
			       workers,
			       "--memory",
			       opts->memory ? memory : "",
			       "--tmp",
			       opts->tmp ? opts->tmp : "",
			       opts->address,
			       NULL };
	int to[2], from[2];

	snprintf(workers, sizeof(workers), "%" PRIu64, opts->workers);
	snprintf(memory, sizeof(memory), "%" PRIu64, opts->memory);
	if (pipe2(to, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(from, O_CLOEXEC) < 0) {
		close(to[0]);
		close(to[1]);
		return -errno;
	}
	driver->pid = mr_spawn(argv, (int[]){ to[0], from[1], STDERR_FILENO });
	close(to[0]);
	close(from[1]);
	driver->to = to[1];
	driver->from = from[0];
	if (driver->pid > 0)
		return 0;
	close(to[1]);
	close(from[0]);
	return driver->pid;
}

int mr_driver_open(const struct mr_engine_opts *opts, struct mr_engine **ret)
{
	static const struct mr_engine_ops ops = { submit, flush, wait_line, close_driver };
	char own[MR_PATH_BYTES], path[MR_PATH_BYTES];
	struct driver *driver;
	int r;

	if (!mr_own_path(own) || !find_driver(path, own, opts->driver))
		return EXIT_MACHINE;
	driver = calloc(1, sizeof(*driver));
	if (!driver) {
		cli_error("mr run: out of memory");
		return EXIT_FAILED;
	}
	driver->engine = (struct mr_engine){ &ops, SLOTS };
	r = start(driver, opts, path, own);
	if (r < 0) {
		cli_error("mr run: cannot start %s: %s", path, strerror(-r));
		free(driver);
		return EXIT_MACHINE;
	}
	*ret = &driver->engine;
	return 0;
}
