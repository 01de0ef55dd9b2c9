/*
 * One process of a supervisor's, from its start to its end. A task of its own waits for that end,
 * and takes the next harder measure when a state has lasted for long enough.
 *
 * Invariants
 * 1. `state` is changed by whi_worker_enter only, along the table of what may follow what.
 * 2. A process is waited for by its task. It is signalled by its descriptor, which no other has.
 * 3. The task goes on when the supervisor is cancelled. It ends with its process.
 * 4. Its slot has it until the kernel has let go of its sockets.
 * 5. A worker's memory and descriptors stay for as long as somebody uses it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "io/sock.h"
#include "io/supervise.h"

/* For the kernel to take a ring apart. */
#define RELEASE_NS WH_SEC

/* Row: the state that it is in. Bit: a state that it may enter. */
static const uint8_t allowed[] = {
	[WHI_WORKER_STARTING] = 1u << WHI_WORKER_SERVING | 1u << WHI_WORKER_STOPPING |
				1u << WHI_WORKER_KILLED | 1u << WHI_WORKER_ENDED,
	[WHI_WORKER_SERVING] = 1u << WHI_WORKER_RETIRING | 1u << WHI_WORKER_STOPPING |
			       1u << WHI_WORKER_ENDED,
	[WHI_WORKER_RETIRING] = 1u << WHI_WORKER_STOPPING | 1u << WHI_WORKER_ENDED,
	[WHI_WORKER_STOPPING] = 1u << WHI_WORKER_KILLED | 1u << WHI_WORKER_ENDED,
	[WHI_WORKER_KILLED] = 1u << WHI_WORKER_ENDED,
	[WHI_WORKER_ENDED] = 0,
};

/* Notices */

struct noticing {
	struct whi_wait wait;
	struct whi_notice *notice;
};

static void wake(struct whi_notice *notice)
{
	struct whi_wait *waiter = notice->waiter;

	notice->waiter = NULL;
	if (waiter)
		whi_task_wake(waiter);
}

static void noticing_interrupted(struct whi_wait *wait)
{
	wake(whi_container_of(wait, struct noticing, wait)->notice);
}

int whi_notice_wait(struct whi_notice *notice, const char *what)
{
	struct noticing noticing = { { .what = what, .interrupt = noticing_interrupted }, notice };
	int r = whi_task_check();

	if (r < 0)
		return r;
	if (!notice->given) {
		notice->waiter = &noticing.wait;
		whi_task_suspend(&noticing.wait);
	}
	notice->given = false;
	return whi_task_check();
}

void whi_notice_give(struct whi_notice *notice)
{
	notice->given = true;
	wake(notice);
}

/* What is said of it */

static void say(struct whi_worker *worker, struct wh_supervise_event event)
{
	event.slot = worker->slot->index;
	event.generation = worker->generation;
	event.pid = worker->pid;
	event.life_ns = wh_now_ns() - worker->started_ns;
	whi_supervisor_say(worker->slot->supervisor, event);
}

static uint64_t nanoseconds(struct timeval time)
{
	return (uint64_t)time.tv_sec * WH_SEC + (uint64_t)time.tv_usec * WH_US;
}

static void say_end(struct whi_worker *worker, int status, const struct rusage *used)
{
	say(worker, (struct wh_supervise_event){
			    .kind = WH_SUPERVISE_ENDED,
			    .expected = worker->state > WHI_WORKER_SERVING,
			    .death = { .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
				       .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
				       .user_ns = nanoseconds(used->ru_utime),
				       .system_ns = nanoseconds(used->ru_stime),
				       .resident_bytes = (uint64_t)used->ru_maxrss * 1024 } });
}

/* States */

/* Not by its number, which is another's once somebody's wait for any child has taken its end. */
static void send_signal(const struct whi_worker *worker, int signal)
{
	syscall(SYS_pidfd_send_signal, worker->pidfd, signal, NULL, 0);
}

static void begin(struct whi_worker *worker)
{
	const struct wh_supervise_opts *opts = &worker->slot->supervisor->opts;
	const uint64_t lasts[] = { [WHI_WORKER_STARTING] = opts->ready_ns,
				   [WHI_WORKER_RETIRING] = opts->retire_ns,
				   [WHI_WORKER_STOPPING] = opts->stop_ns,
				   [WHI_WORKER_ENDED] = 0 };
	const char go = WHI_SUPERVISED_GO;

	worker->due_ns = lasts[worker->state] ? wh_now_ns() + lasts[worker->state] : 0;
	/* Who does not hear it ends, or is ended. */
	switch (worker->state) {
	case WHI_WORKER_STARTING:
	case WHI_WORKER_ENDED:
		return;
	case WHI_WORKER_SERVING:
		send(worker->channel, &go, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		return;
	case WHI_WORKER_RETIRING:
		shutdown(worker->channel, SHUT_WR);
		return;
	case WHI_WORKER_STOPPING:
		send_signal(worker, SIGTERM);
		return;
	case WHI_WORKER_KILLED:
		worker->slot->supervisor->stats.killed++;
		send_signal(worker, SIGKILL);
		return;
	}
}

void whi_worker_enter(struct whi_worker *worker, enum whi_worker_state state)
{
	if (!(allowed[worker->state] & 1u << state))
		return;
	worker->state = state;
	begin(worker);
	/* Its task looks at `due_ns` anew. */
	if (worker->watch)
		wh_scope_cancel(worker->watch);
}

/* The state has lasted for long enough. */
static void go_on(struct whi_worker *worker)
{
	if (worker->state == WHI_WORKER_RETIRING) {
		whi_worker_enter(worker, WHI_WORKER_STOPPING);
		return;
	}
	worker->late = worker->state == WHI_WORKER_STARTING;
	say(worker, (struct wh_supervise_event){ .kind = worker->late ? WH_SUPERVISE_LATE
								      : WH_SUPERVISE_OVERDUE });
	whi_worker_enter(worker, WHI_WORKER_KILLED);
}

/* Waiting */

int whi_supervise_poll(int fd, short events)
{
	int r, paused = 0;

	while ((r = whi_poll(fd, events)) < 0 && paused == 0 && r != -ECANCELED && r != -ETIMEDOUT)
		paused = wh_sleep(WHI_ACCEPT_PAUSE_NS);
	return paused < 0 ? paused : r;
}

/* Its end */

static int await_end(struct whi_worker *worker)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope,
		      &(struct wh_scope_opts){ .shield = true, .deadline_ns = worker->due_ns });
	worker->watch = &scope;
	r = whi_supervise_poll(worker->pidfd, POLLIN);
	worker->watch = NULL;
	wh_scope_close(&scope);
	return r;
}

/* The kernel takes a process's ring apart after its end, and until then a connection may wake an
 * accept that nobody hears of any more, instead of its successor's. The ring polls its end of the
 * channel too, which is closed with the rest, unless a process that it has forked still has it. */
static void await_release(struct whi_worker *worker)
{
	struct wh_scope scope;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = true, .timeout_ns = RELEASE_NS });
	whi_supervise_poll(worker->channel, POLLRDHUP);
	wh_scope_close(&scope);
}

/* Its slot has no use for it any more. */
static void leave_slot(struct whi_worker *worker, bool served)
{
	struct whi_slot *slot = worker->slot;

	if (slot->worker == worker) {
		bool quick = served && worker->life_ns < slot->supervisor->opts.healthy_ns;

		slot->worker = NULL;
		slot->quick = quick ? slot->quick + 1 : 1;
	}
	if (slot->starting == worker)
		slot->starting = NULL;
	if (slot->retired == worker)
		slot->retired = NULL;
	/* For whoever listens to it. */
	shutdown(worker->channel, SHUT_RDWR);
	whi_notice_give(&slot->changed);
}

static void collect(struct whi_worker *worker)
{
	bool served = worker->state == WHI_WORKER_SERVING;
	struct rusage used = { 0 };
	int status = 0;

	/* Somebody's wait for any child may have been quicker: then nobody knows how it ended. */
	while (wait4(worker->pid, &status, 0, &used) < 0 && errno == EINTR)
		;
	worker->life_ns = wh_now_ns() - worker->started_ns;
	worker->slot->supervisor->stats.deaths += served;
	say_end(worker, status, &used);
	whi_worker_enter(worker, WHI_WORKER_ENDED);
	await_release(worker);
	leave_slot(worker, served);
}

static int follow(void *arg)
{
	struct whi_worker *worker = arg;

	if (worker->state != WHI_WORKER_ENDED) {
		while (await_end(worker) < 0)
			if (worker->due_ns && wh_now_ns() >= worker->due_ns)
				go_on(worker);
		collect(worker);
	}
	whi_worker_release(worker);
	return 0;
}

/* Its beginning */

void whi_worker_release(struct whi_worker *worker)
{
	if (--worker->users > 0)
		return;
	whi_list_remove(&worker->link);
	if (worker->channel >= 0)
		close(worker->channel);
	if (worker->pidfd >= 0)
		close(worker->pidfd);
	whi_free(worker);
}

static struct whi_worker *new_worker(struct whi_slot *slot, uint32_t seat)
{
	struct whi_worker *worker = whi_calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	worker->slot = slot;
	worker->seat = seat;
	worker->pidfd = -1;
	worker->channel = -1;
	worker->users = 1;
	worker->state = WHI_WORKER_STARTING;
	whi_list_append(&slot->supervisor->workers, &worker->link);
	return worker;
}

static int start_process(struct whi_worker *worker, int its_end)
{
	struct whi_slot *slot = worker->slot;
	struct whi_supervisor *supervisor = slot->supervisor;
	const struct wh_supervise_opts *opts = &supervisor->opts;
	const struct whi_supervised_mark mark = { .pid = (uint32_t)getpid(),
						  .slot = slot->index,
						  .seat = worker->seat,
						  .addrs = opts->addr_count,
						  .loops = opts->loops,
						  .fds = opts->fd_count,
						  .stop_ms = (uint32_t)(opts->stop_ns / WH_MS) };
	pid_t pid;

	slot->fds[0] = its_end;
	pid = whi_program_start(&supervisor->program, &mark, slot->fds,
				1 + opts->addr_count * opts->loops + opts->fd_count);
	if (pid < 0)
		return pid;
	worker->pidfd =
		whi_perform(&(struct whi_op){ .kind = WHI_OP_PIDFD_OPEN, .arg.value = pid });
	if (worker->pidfd < 0) {
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return worker->pidfd;
	}
	worker->pid = pid;
	worker->generation = ++slot->generation;
	worker->started_ns = wh_now_ns();
	supervisor->stats.started++;
	begin(worker);
	return 0;
}

static int start_with_channel(struct whi_worker *worker)
{
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	worker->channel = ends[0];
	r = start_process(worker, ends[1]);
	close(ends[1]);
	return r;
}

int whi_worker_start(struct whi_slot *slot, uint32_t seat, struct whi_worker **ret)
{
	struct whi_worker *worker = new_worker(slot, seat);
	int r;

	if (!worker)
		return -ENOMEM;
	/* The task first: without it nobody would wait for the process. */
	r = wh_spawn(&slot->supervisor->scope, follow, worker, .name = "process");
	if (r < 0) {
		whi_worker_release(worker);
		return r;
	}
	r = start_with_channel(worker);
	if (r < 0) {
		whi_worker_enter(worker, WHI_WORKER_ENDED);
		return r;
	}
	worker->users++;
	*ret = worker;
	return 0;
}

/* What it says */

int whi_worker_heard(const struct whi_worker *worker)
{
	char word;
	ssize_t n = recv(worker->channel, &word, 1, MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	return n > 0 ? (unsigned char)word : -EPIPE;
}

int whi_worker_hear(struct whi_worker *worker, uint64_t timeout_ns)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = timeout_ns });
	r = whi_supervise_poll(worker->channel, POLLIN);
	wh_scope_close(&scope);
	return r < 0 ? r : whi_worker_heard(worker);
}
