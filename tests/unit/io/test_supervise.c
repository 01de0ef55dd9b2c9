/*
 * Supervisors: which events come in which order, and what workers find. Workers are this
 * program, started again with the name of what they are to do.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <whorl/shared.h>

#include "io/supervise.h"
#include "support/task_test.h"

enum { EVENTS_MAX = 2048, MANY = 100 };

/* What a worker does */

static int work_until_retired(void *arg)
{
	struct wh_listener *listener;
	int r = wh_supervised_listener(0, &listener);

	(void)arg;
	if (r == 0)
		r = wh_supervised_ready();
	if (r < 0)
		return r;
	r = wh_supervised_retire_wait();
	wh_listener_close(listener);
	return r;
}

static int accept_until_stopped(void *listener)
{
	struct wh_sock *sock;
	int r;

	while ((r = wh_accept(listener, &sock)) == 0)
		wh_sock_close(sock);
	return r == -ESHUTDOWN ? 0 : r;
}

/* Accepts by itself, and has its listener for longer than it accepts. */
static int work_by_itself(void *arg)
{
	struct wh_listener *listener;
	struct wh_scope scope;
	int r = wh_supervised_listener(0, &listener);

	(void)arg;
	if (r == 0)
		r = wh_supervised_ready();
	if (r < 0)
		return r;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, accept_until_stopped, listener);
	r = wh_scope_close(&scope);
	if (r == 0)
		wh_fd_poll(wh_listener_fd(listener), POLLIN);
	wh_listener_close(listener);
	return r;
}

static int work_shortly(void *arg)
{
	(void)arg;
	return wh_supervised_ready();
}

/* Busy for ever, and deaf. */
static int work_on(void *arg)
{
	int r = work_shortly(arg);

	while (r == 0)
		wh_now_ns();
	return r;
}

/* Finds all that was handed over, and says so in shared memory, `places` of it. */
static int look_around(void *arg)
{
	struct wh_shared_counter *places = arg;
	struct wh_listener *listener;
	struct wh_addr addr;

	check_int(wh_supervised_slot(), 0);
	check(wh_supervised_seat() == 0 || wh_supervised_seat() == 1);
	check_int(wh_supervised_fd(1), -ENOENT);
	check_int(wh_supervised_listener(2, &listener), -ENOENT);
	for (uint32_t i = 0; i < 2; i++) {
		check_int(wh_supervised_listener(i, &listener), 0);
		check_int(wh_listener_addr(listener, &addr), 0);
		check_int(addr.storage.ss_family, i == 0 ? AF_INET : AF_UNIX);
		check_int(wh_supervised_listener(i, &(struct wh_listener *){ NULL }), -EALREADY);
		wh_listener_close(listener);
	}
	check(!getenv(WHI_SUPERVISED_VARIABLE));
	check_int(wh_supervised(), 1);
	wh_shared_counter_add(&places[wh_supervised_seat()], 1);
	check_int(wh_supervised_ready(), 0);
	check_int(wh_supervised_ready(), -EALREADY);
	return wh_supervised_retire_wait();
}

static int run_worker(wh_task_fn fn, void *arg)
{
	const struct wh_run_opts opts = { .loops = 1 };
	int result = 0, r = wh_run(fn, arg, &opts, &result);

	return r < 0 || (result < 0 && result != -ECANCELED);
}

static int run_looking(void)
{
	struct wh_shared_array *array;
	int r;

	check_int(wh_shared_array_from_fd(wh_supervised_fd(0), &array), 0);
	r = run_worker(look_around, wh_shared_array_at(array, 0));
	wh_shared_array_close(array);
	return r;
}

static int be_worker(const char *what)
{
	if (strcmp(what, "exit") == 0)
		return 3;
	if (strcmp(what, "mute") == 0)
		return pause();
	if (strcmp(what, "shortly") == 0)
		return run_worker(work_shortly, NULL);
	if (strcmp(what, "on") == 0)
		return run_worker(work_on, NULL);
	if (strcmp(what, "itself") == 0)
		return run_worker(work_by_itself, NULL);
	if (strcmp(what, "look") == 0)
		return run_looking();
	return run_worker(work_until_retired, NULL);
}

/* A supervisor that is looked at */

struct trial {
	struct wh_supervise_opts opts;
	struct wh_addr addrs[2];
	struct wh_scope scope;
	struct wh_supervise_stats stats;
	struct wh_supervise_event events[EVENTS_MAX];
	unsigned count;
	/* It is over when the last of these events has come; `asks` exchanges before. */
	enum wh_supervise_event_kind last;
	unsigned lasts, asks;
};

static struct trial trial;

static unsigned times(enum wh_supervise_event_kind kind)
{
	unsigned n = 0;

	for (unsigned i = 0; i < trial.count; i++)
		n += trial.events[i].kind == kind;
	return n;
}

static void on_event(void *arg, const struct wh_supervise_event *event)
{
	(void)arg;
	check(trial.count < EVENTS_MAX);
	trial.events[trial.count++] = *event;
	if (event->kind == WH_SUPERVISE_READY && trial.asks &&
	    times(WH_SUPERVISE_READY) == trial.opts.processes) {
		trial.asks--;
		check_int(wh_supervise_restart(), 0);
	}
	if (event->kind == trial.last && times(trial.last) == trial.lasts)
		wh_scope_cancel(&trial.scope);
}

/* What workers that are started from now on do. */
static char *arguments[3];

static void be(const char *what)
{
	static char name[] = "worker";

	arguments[0] = name;
	arguments[1] = (char *)(uintptr_t)what;
}

static void prepare(const char *what, uint32_t processes, enum wh_supervise_event_kind last,
		    unsigned lasts)
{
	memset(&trial, 0, sizeof(trial));
	be(what);
	check_int(wh_addr_parse("127.0.0.1:0", &trial.addrs[0]), 0);
	trial.last = last;
	trial.lasts = lasts;
	trial.opts = (struct wh_supervise_opts){ .processes = processes,
						 .addrs = trial.addrs,
						 .addr_count = 1,
						 .argv = arguments,
						 .on_event = on_event };
}

static int supervise(void)
{
	int r;

	wh_scope_open(&trial.scope, NULL);
	r = wh_supervise(&trial.opts, &trial.stats);
	wh_scope_close(&trial.scope);
	check_int(wh_supervise_restart(), -ESRCH);
	return r;
}

/* Where in the order of events the `nth` (from 1 on) of its kind was. */
static unsigned place(enum wh_supervise_event_kind kind, unsigned nth)
{
	unsigned i = 0;

	for (; i < trial.count; i++)
		if (trial.events[i].kind == kind && --nth == 0)
			break;
	check(i < trial.count);
	return i;
}

static const struct wh_supervise_event *event(enum wh_supervise_event_kind kind, unsigned nth)
{
	return &trial.events[place(kind, nth)];
}

/* Lives */

static int a_life_is_told_in_order(void *arg)
{
	(void)arg;
	prepare("serve", 2, WH_SUPERVISE_READY, 2);
	check_int(supervise(), -ECANCELED);
	check_int(trial.count, 5);
	check_int(trial.events[0].kind, WH_SUPERVISE_LISTENS);
	for (unsigned i = 1; i <= 2; i++) {
		const struct wh_supervise_event *ready = event(WH_SUPERVISE_READY, i);
		const struct wh_supervise_event *ended = event(WH_SUPERVISE_ENDED, i);

		check_int(ready->slot, i - 1);
		check_int(ready->generation, 1);
		check(ended->expected && ended->pid > 0 && ended->life_ns > 0);
		check_int(ended->death.signal, 0);
		check_int(ended->death.exit_code, 0);
		check(ended->death.resident_bytes > 0);
	}
	check_int(trial.stats.started, 2);
	check_int(trial.stats.deaths + trial.stats.killed, 0);
	check(trial.addrs[0].len > 0);
	return 0;
}

static int who_ends_before_it_is_ready_is_tried_three_times(void *arg)
{
	(void)arg;
	prepare("exit", 3, WH_SUPERVISE_READY, 1);
	trial.opts.backoff_ns = WH_MS;
	check_int(supervise(), -ECHILD);
	check_int(times(WH_SUPERVISE_ENDED), 3);
	check_int(times(WH_SUPERVISE_READY), 0);
	check_int(event(WH_SUPERVISE_ENDED, 3)->death.exit_code, 3);
	check(!event(WH_SUPERVISE_ENDED, 3)->expected);
	check_int(trial.stats.started, 3);
	return 0;
}

static int who_is_late_is_killed(void *arg)
{
	(void)arg;
	prepare("mute", 2, WH_SUPERVISE_READY, 1);
	trial.opts.backoff_ns = WH_MS;
	trial.opts.ready_ns = 5 * WH_MS;
	check_int(supervise(), -ETIME);
	check_int(times(WH_SUPERVISE_LATE), 3);
	check_int(times(WH_SUPERVISE_ENDED), 3);
	for (unsigned i = 1; i <= 3; i++) {
		check(place(WH_SUPERVISE_LATE, i) < place(WH_SUPERVISE_ENDED, i));
		check_int(event(WH_SUPERVISE_ENDED, i)->death.signal, SIGKILL);
	}
	check_int(trial.stats.killed, 3);
	return 0;
}

static int a_program_that_is_not_there_is_named_so(void *arg)
{
	(void)arg;
	prepare("serve", 2, WH_SUPERVISE_READY, 1);
	trial.opts.path = "/nonexistent/program";
	trial.opts.backoff_ns = WH_MS;
	check_int(supervise(), -ENOENT);
	check_int(times(WH_SUPERVISE_UNSTARTED), 3);
	check_int(event(WH_SUPERVISE_UNSTARTED, 1)->err, -ENOENT);
	check_int(trial.stats.started, 0);
	return 0;
}

static int short_lives_are_followed_by_longer_and_longer_waits(void *arg)
{
	uint64_t expected = WH_MS;

	(void)arg;
	prepare("shortly", 1, WH_SUPERVISE_WAITS, 5);
	trial.opts.backoff_ns = WH_MS;
	trial.opts.backoff_max_ns = 4 * WH_MS;
	check_int(supervise(), -ECANCELED);
	/* The first successor comes at once. */
	check(place(WH_SUPERVISE_WAITS, 1) > place(WH_SUPERVISE_ENDED, 2));
	for (unsigned i = 1; i <= 5; i++) {
		uint64_t delay = event(WH_SUPERVISE_WAITS, i)->delay_ns;

		check(delay >= expected * 3 / 4 && delay <= expected * 5 / 4);
		expected = expected < 4 * WH_MS ? 2 * expected : expected;
	}
	check_int(trial.stats.deaths, 6);
	return 0;
}

/* Nor does one leave a descriptor, which is what run_task_test looks at. */
static int who_has_lived_for_long_enough_is_replaced_at_once(void *arg)
{
	(void)arg;
	prepare("shortly", 2, WH_SUPERVISE_ENDED, MANY);
	trial.opts.healthy_ns = 1;
	check_int(supervise(), -ECANCELED);
	check_int(times(WH_SUPERVISE_WAITS), 0);
	check(trial.stats.started >= MANY);
	return 0;
}

/* Exchanging */

static int successors_begin_after_their_predecessors_retired(void *arg)
{
	(void)arg;
	prepare("serve", 3, WH_SUPERVISE_RESTARTED, 1);
	trial.asks = 1;
	check_int(supervise(), -ECANCELED);
	check_int(times(WH_SUPERVISE_READY), 6);
	check_int(times(WH_SUPERVISE_RETIRES), 3);
	check_int(times(WH_SUPERVISE_ENDED), 6);
	check(place(WH_SUPERVISE_RESTARTS, 1) < place(WH_SUPERVISE_RETIRES, 1));
	for (unsigned i = 1; i <= 3; i++) {
		check_int(event(WH_SUPERVISE_RETIRES, i)->slot, i - 1);
		check_int(event(WH_SUPERVISE_RETIRES, i)->generation, 1);
		check_int(event(WH_SUPERVISE_READY, 3 + i)->slot, i - 1);
		check_int(event(WH_SUPERVISE_READY, 3 + i)->generation, 2);
		check(place(WH_SUPERVISE_RETIRES, i) < place(WH_SUPERVISE_READY, 3 + i));
		/* One slot after the other. */
		check(i == 3 ||
		      place(WH_SUPERVISE_READY, 3 + i) < place(WH_SUPERVISE_RETIRES, i + 1));
	}
	check_int(trial.stats.restarts, 1);
	check_int(trial.stats.deaths + trial.stats.killed, 0);
	return 0;
}

/* The second is how long a successor waits for one that says nothing. */
static int who_accepts_by_itself_stops_at_once_too(void *arg)
{
	uint64_t quickest = UINT64_MAX;

	(void)arg;
	prepare("itself", 3, WH_SUPERVISE_RESTARTED, 1);
	trial.asks = 1;
	check_int(supervise(), -ECANCELED);
	for (unsigned i = 4; i <= 6; i++) {
		const struct wh_supervise_event *ready = event(WH_SUPERVISE_READY, i);

		check_int(ready->generation, 2);
		quickest = ready->life_ns < quickest ? ready->life_ns : quickest;
	}
	check(quickest < WH_SEC);
	check_int(trial.stats.deaths + trial.stats.killed, 0);
	return 0;
}

static int who_does_not_retire_is_stopped_and_then_killed(void *arg)
{
	const struct wh_supervise_event *ended;

	(void)arg;
	prepare("on", 1, WH_SUPERVISE_OVERDUE, 1);
	trial.asks = 1;
	trial.opts.retire_ns = WH_MS;
	trial.opts.stop_ns = 5 * WH_MS;
	check_int(supervise(), -ECANCELED);
	check(place(WH_SUPERVISE_RETIRES, 1) < place(WH_SUPERVISE_OVERDUE, 1));
	/* Its successor may end before it does. */
	ended = event(WH_SUPERVISE_ENDED, 1);
	if (ended->generation != 1)
		ended = event(WH_SUPERVISE_ENDED, 2);
	check_int(ended->generation, 1);
	check_int(ended->death.signal, SIGKILL);
	check(ended->expected);
	check(trial.stats.killed >= 1);
	return 0;
}

static void become_broken(void *arg, const struct wh_supervise_event *event)
{
	on_event(arg, event);
	if (event->kind == WH_SUPERVISE_RESTARTS)
		be("exit");
}

static int a_successor_that_does_not_get_ready_changes_nothing(void *arg)
{
	(void)arg;
	prepare("serve", 2, WH_SUPERVISE_ABANDONED, 1);
	trial.asks = 1;
	trial.opts.on_event = become_broken;
	check_int(supervise(), -ECANCELED);
	check_int(times(WH_SUPERVISE_RETIRES), 0);
	check_int(times(WH_SUPERVISE_READY), 2);
	check_int(event(WH_SUPERVISE_ABANDONED, 1)->err, -ECHILD);
	check_int(event(WH_SUPERVISE_ABANDONED, 1)->slot, 0);
	check(place(WH_SUPERVISE_ENDED, 1) < place(WH_SUPERVISE_ABANDONED, 1));
	check_int(event(WH_SUPERVISE_ENDED, 1)->death.exit_code, 3);
	check_int(trial.stats.abandoned, 1);
	return 0;
}

/* What is handed over */

static int workers_find_what_was_handed_over(void *arg)
{
	struct wh_shared_array *array;
	struct wh_shared_counter *places;
	int fd;

	(void)arg;
	check_int(wh_shared_array_open(2, sizeof(*places), &array), 0);
	places = wh_shared_array_at(array, 0);
	fd = wh_shared_array_fd(array);
	prepare("look", 1, WH_SUPERVISE_RESTARTED, 1);
	trial.asks = 1;
	check_int(wh_addr_parse("unix:@whorl-test-supervise", &trial.addrs[1]), 0);
	snprintf(((struct sockaddr_un *)(void *)&trial.addrs[1].storage)->sun_path + 1, 32,
		 "whorl-test-%d", (int)getpid());
	trial.opts.addr_count = 2;
	trial.opts.fds = &fd;
	trial.opts.fd_count = 1;
	check_int(supervise(), -ECANCELED);
	/* While two live they have different seats. */
	check_int(wh_shared_counter_get(&places[0]), 1);
	check_int(wh_shared_counter_get(&places[1]), 1);
	wh_shared_array_close(array);
	return 0;
}

/* Options */

static int options_out_of_range_are_einval(void *arg)
{
	(void)arg;
	prepare("serve", WH_SUPERVISE_PROCESSES_MAX + 1, WH_SUPERVISE_READY, 1);
	trial.stats.started = 1;
	check_int(supervise(), -EINVAL);
	check_int(trial.stats.started, 0);
	prepare("serve", 1, WH_SUPERVISE_READY, 1);
	trial.opts.addr_count = 0;
	check_int(supervise(), -EINVAL);
	prepare("serve", 1, WH_SUPERVISE_READY, 1);
	trial.opts.loops = WH_SUPERVISE_FDS_MAX + 1;
	check_int(supervise(), -EINVAL);
	return 0;
}

static int an_address_in_use_is_an_error_and_leaves_nothing(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);

	(void)arg;
	prepare("serve", 2, WH_SUPERVISE_READY, 1);
	trial.addrs[0] = addr;
	check_int(supervise(), -EADDRINUSE);
	check_int(trial.count, 0);
	wh_listener_close(listener);
	return 0;
}

static void supervise_again(void *arg, const struct wh_supervise_event *event)
{
	if (event->kind == WH_SUPERVISE_READY)
		check_int(wh_supervise(&trial.opts, NULL), -EBUSY);
	on_event(arg, event);
}

static int there_is_one_supervisor(void *arg)
{
	(void)arg;
	prepare("serve", 1, WH_SUPERVISE_READY, 1);
	trial.opts.on_event = supervise_again;
	check_int(supervise(), -ECANCELED);
	return 0;
}

/* The supervisor's death */

static int tell_fd;

static void tell_worker(void *arg, const struct wh_supervise_event *event)
{
	(void)arg;
	if (event->kind == WH_SUPERVISE_READY)
		check_int(write(tell_fd, &event->pid, sizeof(event->pid)), sizeof(event->pid));
}

static int supervise_busy(void *arg)
{
	(void)arg;
	prepare("on", 1, WH_SUPERVISE_RESTARTED, 1);
	trial.opts.on_event = tell_worker;
	trial.opts.stop_ns = 20 * WH_MS;
	return wh_supervise(&trial.opts, NULL);
}

static void a_busy_worker_dies_with_its_supervisor(void **state)
{
	struct pollfd end = { .events = POLLIN };
	int ends[2];
	pid_t supervisor, worker;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	supervisor = fork();
	if (supervisor == 0) {
		tell_fd = ends[1];
		_exit(wh_run(supervise_busy, NULL, &(struct wh_run_opts){ .loops = 1 }, NULL));
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &worker, sizeof(worker)), sizeof(worker));
	close(ends[0]);
	end.fd = (int)syscall(SYS_pidfd_open, worker, 0);
	assert_true(end.fd >= 0);
	assert_int_equal(kill(supervisor, SIGKILL), 0);
	assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
	assert_int_equal(poll(&end, 1, 30 * 1000), 1);
	close(end.fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		task_test(a_life_is_told_in_order),
		task_test(who_ends_before_it_is_ready_is_tried_three_times),
		task_test(who_is_late_is_killed),
		task_test(a_program_that_is_not_there_is_named_so),
		task_test(short_lives_are_followed_by_longer_and_longer_waits),
		task_test(who_has_lived_for_long_enough_is_replaced_at_once),
		task_test(successors_begin_after_their_predecessors_retired),
		task_test(who_accepts_by_itself_stops_at_once_too),
		task_test(who_does_not_retire_is_stopped_and_then_killed),
		task_test(a_successor_that_does_not_get_ready_changes_nothing),
		task_test(workers_find_what_was_handed_over),
		task_test(options_out_of_range_are_einval),
		task_test(an_address_in_use_is_an_error_and_leaves_nothing),
		task_test(there_is_one_supervisor),
		cmocka_unit_test(a_busy_worker_dies_with_its_supervisor),
	};

	if (wh_supervised() != 0)
		return argc == 2 && wh_supervised() == 1 ? be_worker(argv[1]) : 2;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
