/*
 * The zygote and its nurseries, in processes of their own: one thread, no ring, no loop. They do
 * nothing but fork, wait and speak with the program, and run none of its code; workers do.
 *
 * A nursery waits for its workers itself, so that a wait(2) of the program's for any child finds
 * none of them, what they used is told exactly, and a number is never signalled after it may have
 * become another process's.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exec/passing.h"
#include "exec/zygote.h"

struct child {
	uint32_t worker;
	pid_t pid;
};

static struct child children[WH_POOL_PROCESSES_MAX];
static unsigned child_count;

static void say(int channel, const struct whi_nursery_message *message)
{
	/* Whoever does not listen any more is gone, which the next receive tells. */
	whi_pass(channel, message, sizeof(*message), NULL, 0);
}

static void say_value(int channel, enum whi_nursery_kind kind, uint32_t worker, int value)
{
	const struct whi_nursery_message message = {
		.version = WHI_NURSERY_VERSION, .kind = kind, .worker = worker, .value = value
	};

	say(channel, &message);
}

/* Workers */

/* The one whose parent may have died before it could say that it wants to die with it. */
static void die_with_parent(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
}

static _Noreturn void be_worker(int channel, pid_t parent, const int fds[WHI_START_FDS],
				const struct whi_worker_limits *limits)
{
	sigset_t none;

	die_with_parent(parent);
	close(channel);
	prctl(PR_SET_NAME, "whorl-worker");
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	whi_worker_main(fds, limits);
}

static int start(int channel, const struct whi_nursery_message *order, const int *fds)
{
	pid_t parent = getpid(), pid;

	if (child_count == WH_POOL_PROCESSES_MAX)
		return -EAGAIN;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		be_worker(channel, parent, fds, &order->limits);
	children[child_count++] = (struct child){ order->worker, pid };
	return pid;
}

static void kill_child(uint32_t worker)
{
	for (unsigned i = 0; i < child_count; i++)
		if (children[i].worker == worker)
			kill(children[i].pid, SIGKILL);
}

static uint64_t nanoseconds(struct timeval time)
{
	return (uint64_t)time.tv_sec * WH_SEC + (uint64_t)time.tv_usec * WH_US;
}

static void tell_end(int channel, unsigned index, int status, const struct rusage *used)
{
	const struct whi_nursery_message message = {
		.version = WHI_NURSERY_VERSION,
		.kind = WHI_NURSERY_ENDED,
		.worker = children[index].worker,
		.value = status,
		.used = { .user_ns = nanoseconds(used->ru_utime),
			  .system_ns = nanoseconds(used->ru_stime),
			  .resident_bytes = (uint64_t)used->ru_maxrss * 1024 },
	};

	children[index] = children[--child_count];
	say(channel, &message);
}

static void reap(int channel)
{
	struct rusage used;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0)
		for (unsigned i = 0; i < child_count; i++)
			if (children[i].pid == pid) {
				tell_end(channel, i, status, &used);
				break;
			}
}

/* A nursery */

static _Noreturn void end_nursery(void)
{
	for (unsigned i = 0; i < child_count; i++)
		kill(children[i].pid, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	_exit(0);
}

static void obey(int channel, const struct whi_nursery_message *order, const int *fds,
		 unsigned fd_count)
{
	if (order->kind == WHI_NURSERY_KILL)
		kill_child(order->worker);
	else if (order->kind == WHI_NURSERY_START && fd_count == WHI_START_FDS)
		say_value(channel, WHI_NURSERY_STARTED, order->worker, start(channel, order, fds));
}

static void take_order(int channel)
{
	struct whi_nursery_message order;
	int fds[WHI_PASSED_MAX];
	unsigned fd_count;
	ssize_t n = whi_accept_passed_now(channel, &order, sizeof(order), fds, &fd_count);

	if (n == -EAGAIN)
		return;
	if (n <= 0)
		end_nursery();
	if ((size_t)n == sizeof(order) && order.version == WHI_NURSERY_VERSION)
		obey(channel, &order, fds, fd_count);
	while (fd_count)
		close(fds[--fd_count]);
}

static void on_child(int signal)
{
	(void)signal;
}

static _Noreturn void nurse(int channel)
{
	const struct sigaction action = { .sa_handler = on_child, .sa_flags = SA_NOCLDSTOP };
	struct pollfd fd = { .fd = channel, .events = POLLIN };
	sigset_t child, none;

	sigemptyset(&none);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	sigaction(SIGCHLD, &action, NULL);
	say_value(channel, WHI_NURSERY_HELLO, 0, 0);
	for (;;) {
		reap(channel);
		/* SIGCHLD comes here or not at all, so none is missed. */
		if (ppoll(&fd, 1, NULL, &none) > 0)
			take_order(channel);
	}
}

/* The zygote */

static void close_others(int kept)
{
	int null;

	/* What the program has closed of these stays taken. */
	do
		null = open("/dev/null", O_RDWR);
	while (null >= 0 && null <= STDERR_FILENO);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		close(null);
	}
	if (kept > STDERR_FILENO + 1)
		syscall(SYS_close_range, STDERR_FILENO + 1, kept - 1, 0);
	/* Linux before 5.9 knows no such call: there descriptors without O_CLOEXEC stay open. */
	syscall(SYS_close_range, kept + 1, INT_MAX, 0);
}

static void make_nursery(int zygote, int channel)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		say_value(channel, WHI_NURSERY_HELLO, 0, -errno);
	if (pid != 0)
		return;
	die_with_parent(parent);
	close(zygote);
	prctl(PR_SET_NAME, "whorl-nursery");
	nurse(channel);
}

_Noreturn void whi_zygote_main(int channel)
{
	struct whi_nursery_message order;
	int fds[WHI_PASSED_MAX];
	unsigned fd_count;

	close_others(channel);
	fcntl(channel, F_SETFD, FD_CLOEXEC);
	prctl(PR_SET_NAME, "whorl-zygote");
	/* Ctrl-C is for the program, which ends us if it wants to. */
	signal(SIGINT, SIG_IGN);
	/* Nobody asks how a nursery ended. */
	signal(SIGCHLD, SIG_IGN);
	while (whi_accept_passed(channel, &order, sizeof(order), fds, &fd_count) > 0) {
		if (order.kind == WHI_NURSERY_OPEN && fd_count == 1)
			make_nursery(channel, fds[0]);
		while (fd_count)
			close(fds[--fd_count]);
	}
	_exit(0);
}
