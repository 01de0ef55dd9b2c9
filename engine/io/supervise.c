/*
 * A supervisor: keeps a process in each slot, exchanges them when asked.
 *
 * One task a slot starts processes, waits until they are ready, and waits for their end; one asks
 * the slots one by one to replace theirs; each process has a task besides (supervise_worker.c).
 *
 * Invariants
 * 1. Who accepts from a socket starts only when who did before has stopped: a connection may wake
 *    the one while the other is looking, and then waits for the next.
 * 2. A slot has two processes at most, so two seats are enough: a third is not started while one
 *    serves and one retires.
 * 3. There is one supervisor a process, as there is one SIGHUP.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "io/supervise.h"
#include "loop/runtime.h"
#include "loop/sim.h"

enum { VAIN_MAX = 3, NOBODY = -1 };

/* For one that retires to say that it accepts no more; it may be busy. */
#define STOPPED_NS WH_SEC

static _Atomic int asked_fd = NOBODY; /* the supervisor's eventfd */
static _Atomic bool occupied;
static _Atomic unsigned asking;

void whi_supervisor_say(struct whi_supervisor *supervisor, struct wh_supervise_event event)
{
	if (supervisor->opts.on_event)
		supervisor->opts.on_event(supervisor->opts.arg, &event);
}

/* Being asked to exchange all */

int wh_supervise_restart(void)
{
	const uint64_t one = 1;
	int fd, r = -ESRCH;

	/* The descriptor is closed when nobody is here. */
	atomic_fetch_add(&asking, 1);
	fd = atomic_load(&asked_fd);
	/* A counter that is full says so already. */
	if (fd != NOBODY && (write(fd, &one, sizeof(one)) > 0 || errno == EAGAIN))
		r = 0;
	atomic_fetch_sub(&asking, 1);
	return r;
}

static void on_hangup(int signal)
{
	int saved = errno;

	(void)signal;
	wh_supervise_restart();
	errno = saved;
}

static void catch_hangup(struct sigaction *old)
{
	const struct sigaction action = { .sa_handler = on_hangup, .sa_flags = SA_RESTART };

	sigaction(SIGHUP, NULL, old);
	/* As for a shell's background jobs: who ignores a signal goes on ignoring it. */
	if (old->sa_handler != SIG_IGN)
		sigaction(SIGHUP, &action, NULL);
}

/* A slot */

static void answer(struct whi_slot *slot, int error)
{
	if (slot->replacing != WHI_REPLACING_ASKED)
		return;
	slot->error = error;
	slot->replacing = error < 0 ? WHI_NOT_REPLACED : WHI_REPLACED;
	whi_notice_give(&slot->supervisor->replaced);
}

static uint32_t free_seat(const struct whi_slot *slot)
{
	const struct whi_worker *other = slot->worker ? slot->worker : slot->retired;

	return 2 * slot->index + (other && other->seat % 2 == 0);
}

/* It does not serve, and is about to end. Why, once its slot is free. */
static int await_failure(struct whi_slot *slot, const struct whi_worker *worker)
{
	int r = 0;

	while (r == 0 && slot->starting == worker)
		r = whi_notice_wait(&slot->changed, "process to end");
	if (r < 0)
		return r;
	return worker->late ? -ETIME : -ECHILD;
}

/* 0, or why it ended before it was ready. */
static int await_ready(struct whi_slot *slot, struct whi_worker *worker)
{
	int r;

	/* It is killed when it is late. It may close what it does not need. */
	do
		r = whi_worker_hear(worker, 0);
	while (r == WHI_SUPERVISED_STOPPED);
	if (r == WHI_SUPERVISED_READY)
		return 0;
	/* What says anything else is not what was to be started. */
	if (r >= 0)
		whi_worker_enter(worker, WHI_WORKER_KILLED);
	return await_failure(slot, worker);
}

/* Until it accepts no more; or, if it has died, until the kernel has let go of its sockets. */
static void retire(struct whi_slot *slot, struct whi_worker *old)
{
	old->users++;
	slot->worker = NULL;
	slot->retired = old;
	/* What it has said before was about something else. */
	while (whi_worker_heard(old) > 0)
		;
	whi_worker_enter(old, WHI_WORKER_RETIRING);
	if (old->state == WHI_WORKER_RETIRING)
		whi_supervisor_say(slot->supervisor,
				   (struct wh_supervise_event){ .kind = WH_SUPERVISE_RETIRES,
								.slot = slot->index,
								.generation = old->generation,
								.pid = old->pid });
	whi_worker_hear(old, STOPPED_NS);
	whi_worker_release(old);
}

/* The new one is ready. The old one stops accepting, and then the new one begins. */
static void hand_over(struct whi_slot *slot, struct whi_worker *worker)
{
	if (slot->worker)
		retire(slot, slot->worker);
	if (slot->starting != worker || worker->state == WHI_WORKER_ENDED)
		return;
	slot->starting = NULL;
	slot->worker = worker;
	whi_worker_enter(worker, WHI_WORKER_SERVING);
}

static void begun(struct whi_slot *slot, const struct whi_worker *worker)
{
	struct whi_supervisor *supervisor = slot->supervisor;

	whi_supervisor_say(supervisor, (struct wh_supervise_event){
					       .kind = WH_SUPERVISE_READY,
					       .slot = slot->index,
					       .generation = worker->generation,
					       .pid = worker->pid,
					       .life_ns = wh_now_ns() - worker->started_ns });
	if (!supervisor->began) {
		supervisor->began = true;
		whi_notice_give(&supervisor->turned);
	}
}

static int start_one(struct whi_slot *slot)
{
	struct whi_worker *worker;
	int r = whi_worker_start(slot, free_seat(slot), &worker);

	if (r < 0) {
		whi_supervisor_say(slot->supervisor,
				   (struct wh_supervise_event){ .kind = WH_SUPERVISE_UNSTARTED,
								.slot = slot->index,
								.err = r });
		return r;
	}
	whi_assert(worker);
	slot->starting = worker;
	r = await_ready(slot, worker);
	if (r == 0) {
		hand_over(slot, worker);
		if (slot->worker == worker)
			begun(slot, worker);
		else
			r = await_failure(slot, worker);
	}
	whi_worker_release(worker);
	return r;
}

static void failed(struct whi_slot *slot, int error)
{
	struct whi_supervisor *supervisor = slot->supervisor;

	slot->quick++;
	answer(slot, error);
	if (supervisor->began || ++supervisor->vain < VAIN_MAX)
		return;
	supervisor->failure = error;
	whi_notice_give(&supervisor->turned);
}

/* splitmix64 (Steele, Lea, Flood), of the time. */
static uint64_t any_number(void)
{
	uint64_t z = wh_now_ns() + UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int back_off(struct whi_slot *slot)
{
	uint64_t delay = whi_supervise_delay(&slot->supervisor->opts, slot->quick, any_number());

	if (delay == 0)
		return 0;
	whi_supervisor_say(slot->supervisor,
			   (struct wh_supervise_event){ .kind = WH_SUPERVISE_WAITS,
							.slot = slot->index,
							.delay_ns = delay });
	return wh_sleep(delay);
}

static int start_next(struct whi_slot *slot)
{
	bool asked = slot->replacing == WHI_REPLACING_ASKED;
	int r = 0;

	while (r == 0 && slot->worker && slot->retired)
		r = whi_notice_wait(&slot->changed, "process to retire");
	if (r == 0 && !slot->worker)
		r = back_off(slot);
	if (r == 0)
		r = wh_cancelled();
	if (r < 0)
		return r;
	r = start_one(slot);
	if (wh_cancelled() < 0)
		return wh_cancelled();
	if (r < 0)
		failed(slot, r);
	else if (asked)
		answer(slot, 0);
	return 0;
}

static int keep_slot(void *arg)
{
	struct whi_slot *slot = arg;
	int r = 0;

	while (r == 0 && !slot->supervisor->failure)
		r = slot->worker && slot->replacing != WHI_REPLACING_ASKED
			    ? whi_notice_wait(&slot->changed, "process")
			    : start_next(slot);
	return 0;
}

/* Exchanging all */

static int replace(struct whi_slot *slot)
{
	int r = 0;

	slot->replacing = WHI_REPLACING_ASKED;
	whi_notice_give(&slot->changed);
	while (r == 0 && slot->replacing == WHI_REPLACING_ASKED)
		r = whi_notice_wait(&slot->supervisor->replaced, "slot");
	return r == 0 && slot->replacing == WHI_NOT_REPLACED ? slot->error : r;
}

static void exchange_all(struct whi_supervisor *supervisor)
{
	struct wh_supervise_event event = { .kind = WH_SUPERVISE_RESTARTED };
	uint32_t slot = 0;
	int r = 0;

	whi_supervisor_say(supervisor,
			   (struct wh_supervise_event){ .kind = WH_SUPERVISE_RESTARTS });
	for (; r == 0 && slot < supervisor->opts.processes; slot++)
		r = replace(&supervisor->slots[slot]);
	if (wh_cancelled() < 0)
		return;
	if (r < 0) {
		event.kind = WH_SUPERVISE_ABANDONED;
		event.slot = slot - 1;
		event.err = r;
		supervisor->stats.abandoned++;
	} else {
		supervisor->stats.restarts++;
	}
	whi_supervisor_say(supervisor, event);
}

static int exchange_when_asked(void *arg)
{
	struct whi_supervisor *supervisor = arg;
	uint64_t count;

	while (whi_supervise_poll(supervisor->asked, POLLIN) > 0)
		if (read(supervisor->asked, &count, sizeof(count)) > 0)
			exchange_all(supervisor);
	return 0;
}

/* The whole */

static int start_slots(struct whi_supervisor *supervisor)
{
	int r = wh_spawn(&supervisor->scope, keep_slot, &supervisor->slots[0], .name = "slot");

	/* One alone, first: what is wrong with it is wrong with all. */
	while (r == 0 && !supervisor->began && !supervisor->failure)
		r = whi_notice_wait(&supervisor->turned, "first process");
	if (supervisor->failure)
		return supervisor->failure;
	for (unsigned i = 1; r == 0 && i < supervisor->opts.processes; i++)
		r = wh_spawn(&supervisor->scope, keep_slot, &supervisor->slots[i], .name = "slot");
	if (r == 0)
		r = wh_spawn(&supervisor->scope, exchange_when_asked, supervisor,
			     .name = "restart");
	return r;
}

static int keep_all(struct whi_supervisor *supervisor)
{
	int r;

	wh_scope_open(&supervisor->scope, &(struct wh_scope_opts){ .keep_siblings = true });
	r = start_slots(supervisor);
	while (r == 0)
		r = whi_notice_wait(&supervisor->turned, "the end");
	wh_scope_cancel(&supervisor->scope);
	for (struct whi_list *at = supervisor->workers.next; at != &supervisor->workers;
	     at = at->next)
		whi_worker_enter(whi_container_of(at, struct whi_worker, link),
				 WHI_WORKER_STOPPING);
	/* Each process's task sees to its end. */
	wh_scope_close(&supervisor->scope);
	return r;
}

static int keep_all_with_hangups(struct whi_supervisor *supervisor)
{
	struct sigaction old = { .sa_handler = SIG_IGN };
	int r;

	supervisor->asked = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (supervisor->asked < 0)
		return -errno;
	atomic_store(&asked_fd, supervisor->asked);
	if (!supervisor->opts.keep_sighup)
		catch_hangup(&old);
	r = keep_all(supervisor);
	if (old.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &old, NULL);
	atomic_store(&asked_fd, NOBODY);
	while (atomic_load(&asking))
		sched_yield();
	close(supervisor->asked);
	return r;
}

static void fini(struct whi_supervisor *supervisor)
{
	whi_supervisor_unlisten(supervisor);
	for (unsigned i = 0; supervisor->slots && i < supervisor->opts.processes; i++)
		whi_free(supervisor->slots[i].fds);
	whi_free(supervisor->slots);
	whi_program_fini(&supervisor->program);
}

static int init_slot(struct whi_supervisor *supervisor, uint32_t index, unsigned sockets)
{
	struct whi_slot *slot = &supervisor->slots[index];
	const struct wh_supervise_opts *opts = &supervisor->opts;

	slot->supervisor = supervisor;
	slot->index = index;
	slot->fds = whi_calloc(1 + sockets + opts->fd_count, sizeof(*slot->fds));
	if (!slot->fds)
		return -ENOMEM;
	for (unsigned i = 0; i < opts->fd_count; i++)
		slot->fds[1 + sockets + i] = opts->fds[i];
	return 0;
}

static int init(struct whi_supervisor *supervisor)
{
	const struct wh_supervise_opts *opts = &supervisor->opts;
	unsigned sockets = opts->addr_count * opts->loops;
	int r;

	whi_list_init(&supervisor->workers);
	supervisor->slots = whi_calloc(opts->processes, sizeof(*supervisor->slots));
	r = supervisor->slots ? 0 : -ENOMEM;
	if (r == 0)
		r = whi_program_init(&supervisor->program, opts);
	for (uint32_t i = 0; r == 0 && i < opts->processes; i++)
		r = init_slot(supervisor, i, sockets);
	return r;
}

static int supervise(struct whi_supervisor *supervisor)
{
	int r = init(supervisor);

	if (r == 0)
		r = whi_supervisor_listen(supervisor);
	if (r == 0) {
		whi_supervisor_say(supervisor,
				   (struct wh_supervise_event){ .kind = WH_SUPERVISE_LISTENS });
		r = keep_all_with_hangups(supervisor);
	}
	fini(supervisor);
	return r;
}

/* Options */

static void or_default(uint64_t *value, uint64_t fallback)
{
	if (*value == 0)
		*value = fallback;
}

static void fill_in(struct wh_supervise_opts *opts)
{
	if (opts->processes == 0)
		opts->processes = whi_runtime_cpus();
	if (opts->loops == 0)
		opts->loops = 1;
	opts->listen.reuse_port = false;
	or_default(&opts->ready_ns, 10 * WH_SEC);
	or_default(&opts->retire_ns, 60 * WH_SEC);
	or_default(&opts->stop_ns, 10 * WH_SEC);
	or_default(&opts->healthy_ns, 5 * WH_SEC);
	or_default(&opts->backoff_ns, 50 * WH_MS);
	or_default(&opts->backoff_max_ns, 5 * WH_SEC);
}

static bool is_valid(const struct wh_supervise_opts *opts)
{
	uint64_t sockets = (uint64_t)opts->addr_count * opts->loops;

	return opts->processes > 0 && opts->processes <= WH_SUPERVISE_PROCESSES_MAX &&
	       sockets + opts->fd_count > 0 && sockets + opts->fd_count <= WH_SUPERVISE_FDS_MAX &&
	       opts->stop_ns < UINT64_C(1000000) * WH_SEC;
}

int wh_supervise(const struct wh_supervise_opts *opts, struct wh_supervise_stats *ret_stats)
{
	struct whi_supervisor supervisor = { .opts = *opts };
	int r;

	if (ret_stats)
		*ret_stats = supervisor.stats;
	fill_in(&supervisor.opts);
	if (whi_sim_self())
		return -ENOTSUP;
	/* Its environment must not decide what a program with other people's rights does. */
	if (getauxval(AT_SECURE))
		return -EPERM;
	if (!is_valid(&supervisor.opts))
		return -EINVAL;
	if (atomic_exchange(&occupied, true))
		return -EBUSY;
	r = supervise(&supervisor);
	atomic_store(&occupied, false);
	if (ret_stats)
		*ret_stats = supervisor.stats;
	return r;
}
