/*
 * The worker's side of being supervised: what it was given, and when it is to go.
 *
 * Invariants
 * 1. The mark is gone from the environment before anything else runs, so it reaches no further
 *    process; and so are the descriptors, which are closed on exec.
 * 2. The channel is never read to its end, which is what all who wait for retirement see.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "exec/anew.h"
#include "io/supervise.h"
#include "loop/runtime.h"

enum { FIELDS = 8, MS_MAX = 1000 * 1000 * 1000 };

static struct {
	pthread_once_t once;
	int result; /* of wh_supervised */
	struct whi_supervised_mark mark;
	timer_t killer;
	_Atomic bool ready;
	_Atomic uint32_t accepting; /* listeners handed out that have not stopped */
	_Atomic bool taken[WH_SUPERVISE_FDS_MAX];
} self = { .once = PTHREAD_ONCE_INIT };

/* The mark */

void whi_supervised_format(const struct whi_supervised_mark *mark,
			   char text[WHI_SUPERVISED_TEXT_MAX])
{
	snprintf(text, WHI_SUPERVISED_TEXT_MAX, "%s=%d:%u:%u:%u:%u:%u:%u:%u",
		 WHI_SUPERVISED_VARIABLE, WHI_SUPERVISED_VERSION, mark->pid, mark->slot, mark->seat,
		 mark->addrs, mark->loops, mark->fds, mark->stop_ms);
}

/* Digits up to `end`, and nothing else. */
static bool read_number(const char **text, char end, uint32_t *ret)
{
	const char *at = *text;
	uint64_t number = 0;

	while (*at >= '0' && *at <= '9' && number <= UINT32_MAX)
		number = number * 10 + (uint64_t)(*at++ - '0');
	if (at == *text || *at != end || number > UINT32_MAX)
		return false;
	*ret = (uint32_t)number;
	*text = at + (end != '\0');
	return true;
}

static bool is_possible(const struct whi_supervised_mark *mark)
{
	uint64_t sockets = (uint64_t)mark->addrs * mark->loops;

	return mark->pid > 0 && mark->slot < WH_SUPERVISE_PROCESSES_MAX &&
	       mark->seat / 2 == mark->slot && mark->loops > 0 &&
	       sockets + mark->fds <= WH_SUPERVISE_FDS_MAX && mark->stop_ms <= MS_MAX;
}

int whi_supervised_parse(const char *text, struct whi_supervised_mark *ret)
{
	struct whi_supervised_mark mark = { 0 };
	uint32_t version = 0;
	uint32_t *fields[FIELDS] = { &version,	  &mark.pid,   &mark.slot, &mark.seat,
				     &mark.addrs, &mark.loops, &mark.fds,  &mark.stop_ms };

	/* Of the others another version may have more or fewer. */
	if (!read_number(&text, ':', &version))
		return -EINVAL;
	if (version != WHI_SUPERVISED_VERSION)
		return -EPROTO;
	for (int i = 1; i < FIELDS; i++)
		if (!read_number(&text, i + 1 < FIELDS ? ':' : '\0', fields[i]))
			return -EINVAL;
	if (!is_possible(&mark))
		return -EINVAL;
	*ret = mark;
	return 0;
}

/* Recognising oneself */

static bool is_listening(int fd)
{
	int listening = 0;
	socklen_t len = sizeof(listening);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

static bool has_descriptors(const struct whi_supervised_mark *mark)
{
	int fd = WHI_SUPERVISED_FD, sockets = (int)(mark->addrs * mark->loops);

	if (!whi_anew_channel(WHI_SUPERVISED_FD, (pid_t)mark->pid))
		return false;
	for (int i = 1; i <= sockets; i++)
		if (!is_listening(fd + i))
			return false;
	for (int i = 0; i <= sockets + (int)mark->fds; i++)
		if (fcntl(fd + i, F_SETFD, FD_CLOEXEC) < 0)
			return false;
	return true;
}

/* In a signal handler. The supervisor may have sent the signal, or died: then nobody will see to it
 * that this process ends. */
static void end_for_sure(void)
{
	const struct itimerspec once = {
		.it_value.tv_sec = self.mark.stop_ms / 1000,
		.it_value.tv_nsec = self.mark.stop_ms % 1000 * (long)WH_MS + 1,
	};

	if (getppid() != (pid_t)self.mark.pid)
		timer_settime(self.killer, 0, &once, NULL);
}

static int end_with_supervisor(void)
{
	struct sigevent kill = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };

	if (timer_create(CLOCK_MONOTONIC, &kill, &self.killer) < 0)
		return -errno;
	whi_signals_also(end_for_sure);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	return getppid() == (pid_t)self.mark.pid ? 0 : -ESRCH;
}

/* They were blocked for this process to begin with. */
static void leave_terminal_to_supervisor(void)
{
	sigset_t set;

	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int recognise(const char *text)
{
	int r = whi_supervised_parse(text, &self.mark);

	if (r < 0)
		return r;
	if (getauxval(AT_SECURE))
		return -EPERM;
	if (!has_descriptors(&self.mark))
		return -ENOTCONN;
	leave_terminal_to_supervisor();
	r = end_with_supervisor();
	return r < 0 ? r : 1;
}

static void find_out(void)
{
	const char *text = getenv(WHI_SUPERVISED_VARIABLE);

	self.result = text ? recognise(text) : 0;
	unsetenv(WHI_SUPERVISED_VARIABLE);
}

int wh_supervised(void)
{
	pthread_once(&self.once, find_out);
	return self.result;
}

bool whi_supervised_here(void)
{
	return self.result == 1;
}

int wh_supervised_slot(void)
{
	return whi_supervised_here() ? (int)self.mark.slot : -1;
}

int wh_supervised_seat(void)
{
	return whi_supervised_here() ? (int)self.mark.seat : -1;
}

/* What was handed over */

int wh_supervised_listener(uint32_t index, struct wh_listener **ret)
{
	unsigned loop = whi_loop_self()->index, place;
	int r;

	if (!whi_supervised_here() || index >= self.mark.addrs || loop >= self.mark.loops)
		return -ENOENT;
	place = index * self.mark.loops + loop;
	if (atomic_exchange(&self.taken[place], true))
		return -EALREADY;
	r = wh_listen_fd(WHI_SUPERVISED_FD + 1 + (int)place, ret);
	if (r < 0) {
		atomic_store(&self.taken[place], false);
		return r;
	}
	atomic_fetch_add(&self.accepting, 1);
	whi_listener_supervised(*ret);
	return 0;
}

int wh_supervised_fd(uint32_t index)
{
	if (!whi_supervised_here() || index >= self.mark.fds)
		return -ENOENT;
	return (int)(WHI_SUPERVISED_FD + 1 + self.mark.addrs * self.mark.loops + index);
}

/* The channel */

static int say(enum whi_supervised_word word)
{
	char byte = (char)word;

	return send(WHI_SUPERVISED_FD, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

void whi_supervised_stopped(void)
{
	/* Who does not hear it is gone. */
	if (atomic_fetch_sub(&self.accepting, 1) == 1)
		say(WHI_SUPERVISED_STOPPED);
}

static int wait_for_go(void)
{
	char word;
	int r = whi_poll(WHI_SUPERVISED_FD, POLLIN);

	if (r < 0)
		return r;
	/* The end may be retirement already, or the supervisor's; anything else is no word. */
	return recv(WHI_SUPERVISED_FD, &word, 1, MSG_DONTWAIT) == 1 && word == WHI_SUPERVISED_GO
		       ? 0
		       : -EPIPE;
}

int wh_supervised_ready(void)
{
	int r;

	if (!whi_supervised_here())
		return -ENOENT;
	if (atomic_exchange(&self.ready, true))
		return -EALREADY;
	r = say(WHI_SUPERVISED_READY);
	return r < 0 ? -EPIPE : wait_for_go();
}

int wh_supervised_retire_wait(void)
{
	int r;

	if (!whi_supervised_here())
		return -ENOENT;
	r = whi_poll(WHI_SUPERVISED_FD, POLLRDHUP);
	return r < 0 ? r : 0;
}
