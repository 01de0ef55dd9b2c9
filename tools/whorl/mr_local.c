/* Owns the tasks that run on this machine: processes, each with a pipe for what it says. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mr_engine.h"

extern char **environ;

enum { PROCESSES_MAX = 1024, NUMBER_BYTES = 24, ARGS = 13, ARGS_MAX = ARGS + 5 };

struct child {
	pid_t pid; /* 0: the slot is free */
	int fd;
	enum mr_phase phase;
	uint32_t task;
	uint32_t attempt;
	size_t len;
	char text[MR_TEXT_BYTES];
};

struct local {
	struct mr_engine engine;
	const char *dir;
	uint64_t workers;
	uint64_t memory;
	const char *tmp;
	char path[MR_PATH_BYTES];
	struct child *children; /* engine.slots of them */
};

bool mr_own_path(char path[MR_PATH_BYTES])
{
	ssize_t len = readlink("/proc/self/exe", path, MR_PATH_BYTES - 1);

	if (len < 0) {
		cli_error("mr run: cannot find this program: %s", strerror(errno));
		return false;
	}
	path[len] = 0;
	return true;
}

pid_t mr_spawn(const char *const *argv, const int fds[3])
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	pid_t pid = 0;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&actions, fds[i], i);
	r = posix_spawn(&pid, argv[0], &actions, &attributes, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return r ? -r : pid;
}

static int start(struct local *local, struct child *child, int null_fd)
{
	char task[NUMBER_BYTES], attempt[NUMBER_BYTES], workers[NUMBER_BYTES], memory[NUMBER_BYTES];
	size_t count = ARGS;
	bool is_map = child->phase == MR_MAP;
	const char *argv[ARGS_MAX] = { local->path, "mr",	 is_map ? "map" : "reduce",
				       "--dir",	    local->dir,	 is_map ? "--task" : "--part",
				       task,	    "--attempt", attempt,
				       "--workers", workers,	 "--progress",
				       "none" };
	int fds[2], r;

	snprintf(task, sizeof(task), "%" PRIu32, child->task);
	snprintf(attempt, sizeof(attempt), "%" PRIu32, child->attempt);
	snprintf(workers, sizeof(workers), "%" PRIu64, local->workers);
	snprintf(memory, sizeof(memory), "%" PRIu64, local->memory);
	if (local->memory) {
		argv[count++] = "--memory";
		argv[count++] = memory;
	}
	if (local->tmp) {
		argv[count++] = "--tmp";
		argv[count++] = local->tmp;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	r = mr_spawn(argv, (int[]){ null_fd, fds[1], fds[1] });
	close(fds[1]);
	if (r < 0) {
		close(fds[0]);
		return r;
	}
	child->pid = r;
	child->fd = fds[0];
	return 0;
}

static int submit(struct mr_engine *engine, enum mr_phase phase, uint32_t task, uint32_t attempt)
{
	struct local *local = (struct local *)(void *)engine;
	struct child *child = local->children;
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int r;

	if (null_fd < 0)
		return -errno;
	while (child->pid)
		child++;
	*child = (struct child){ .phase = phase, .task = task, .attempt = attempt };
	r = start(local, child, null_fd);
	close(null_fd);
	return r;
}

static int flush(struct mr_engine *engine)
{
	(void)engine;
	return 0;
}

/* Keep the last that it said. Returns false at the end. */
static bool hear(struct child *child)
{
	enum { HALF = MR_TEXT_BYTES / 2 };
	ssize_t n;

	if (child->len == MR_TEXT_BYTES - 1) {
		child->len -= HALF;
		memmove(child->text, child->text + HALF, child->len);
	}
	n = read(child->fd, child->text + child->len, MR_TEXT_BYTES - 1 - child->len);
	if (n < 0)
		return errno == EINTR;
	child->len += (size_t)n;
	return n > 0;
}

static void reap(struct child *child, struct mr_outcome *ret)
{
	int status = 0;

	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(child->fd);
	*ret = (struct mr_outcome){
		.phase = child->phase,
		.task = child->task,
		.attempt = child->attempt,
		.status = WIFEXITED(status) ? WEXITSTATUS(status) : MR_LOST,
		.where = "this machine",
	};
	memcpy(ret->text, child->text, child->len);
	if (WIFSIGNALED(status))
		snprintf(ret->text, sizeof(ret->text), "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	child->pid = 0;
}

static int wait_any(struct mr_engine *engine, int timeout_ms, struct mr_outcome *ret)
{
	struct local *local = (struct local *)(void *)engine;
	struct pollfd polls[PROCESSES_MAX];

	for (uint32_t i = 0; i < engine->slots; i++)
		polls[i] = (struct pollfd){
			.fd = local->children[i].pid ? local->children[i].fd : -1,
			.events = POLLIN,
		};
	if (poll(polls, engine->slots, timeout_ms) < 0)
		return errno == EINTR ? 0 : -errno;
	for (uint32_t i = 0; i < engine->slots; i++) {
		if (!polls[i].revents || hear(&local->children[i]))
			continue;
		reap(&local->children[i], ret);
		return 1;
	}
	return 0;
}

static void close_local(struct mr_engine *engine)
{
	struct local *local = (struct local *)(void *)engine;
	struct mr_outcome outcome;

	for (uint32_t i = 0; i < engine->slots; i++)
		if (local->children[i].pid) {
			kill(local->children[i].pid, SIGKILL);
			reap(&local->children[i], &outcome);
		}
	free(local->children);
	free(local);
}

static uint32_t cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (uint32_t)CPU_COUNT(&set);
}

int mr_local_open(const struct mr_engine_opts *opts, struct mr_engine **ret)
{
	static const struct mr_engine_ops ops = { submit, flush, wait_any, close_local };
	struct local *local = calloc(1, sizeof(*local));

	if (!local || !mr_own_path(local->path)) {
		free(local);
		return EXIT_FAILED;
	}
	local->engine.ops = &ops;
	local->engine.slots = opts->processes ? (uint32_t)opts->processes : cpus();
	if (local->engine.slots > PROCESSES_MAX)
		local->engine.slots = PROCESSES_MAX;
	local->dir = opts->dir;
	local->workers = opts->workers;
	local->memory = opts->memory;
	local->tmp = opts->tmp;
	local->children = calloc(local->engine.slots, sizeof(*local->children));
	if (!local->children) {
		free(local);
		cli_error("mr run: out of memory");
		return EXIT_FAILED;
	}
	*ret = &local->engine;
	return 0;
}
