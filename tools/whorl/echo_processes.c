/*
 * whorl echo --processes: the supervisor, which says what becomes of its processes, and what each
 * of these does before it serves. What they count lies in memory that they share with it, so that
 * it outlives them.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/shared.h>
#include <whorl/supervise.h>

#include "cli.h"
#include "echo.h"

/* The supervisor */

struct office {
	struct wh_shared_array *servers;
	unsigned loops;
	bool listens;
	bool serves; /* somebody did */
};

static uint32_t process_count(void)
{
	return (uint32_t)echo_config.processes;
}

static void say_end(const struct wh_supervise_event *event)
{
	const struct wh_job_death *death = &event->death;
	char how[64];

	/* It may not have begun to listen to signals. */
	if (event->expected && (!death->signal || death->signal == SIGTERM) && !death->exit_code)
		return;
	if (death->signal)
		snprintf(how, sizeof(how), "was ended by signal %d (%s)", death->signal,
			 strsignal(death->signal));
	else
		snprintf(how, sizeof(how), "ended with status %d", death->exit_code);
	cli_error("process %d %s after %.1f s, %.1f s of CPU time and at most %llu MiB",
		  (int)event->pid, how, (double)event->life_ns / (double)WH_SEC,
		  (double)(death->user_ns + death->system_ns) / (double)WH_SEC,
		  (unsigned long long)(death->resident_bytes >> 20));
}

static void say_ready(struct office *office, const struct wh_supervise_event *event)
{
	char text[WH_ADDR_TEXT_MAX];

	if (event->generation > 1)
		cli_error("process %d serves in place %u", (int)event->pid, event->slot);
	if (office->serves)
		return;
	office->serves = true;
	fprintf(stderr, "whorl: listening on %s (%s, %u processes of %u loops)\n",
		wh_addr_format(&echo_config.addr, text), wh_backend_name(), process_count(),
		office->loops);
}

static const char *why(int err)
{
	if (err == -ECHILD)
		return "it ended before it was ready";
	return err == -ETIME ? "it was not ready in time" : strerror(-err);
}

static void on_event(void *arg, const struct wh_supervise_event *event)
{
	struct office *office = arg;

	switch (event->kind) {
	case WH_SUPERVISE_LISTENS:
		office->listens = true;
		return;
	case WH_SUPERVISE_READY:
		say_ready(office, event);
		return;
	case WH_SUPERVISE_UNSTARTED:
		cli_error("cannot start a process: %s", strerror(-event->err));
		return;
	case WH_SUPERVISE_LATE:
		cli_error("process %d is not ready in time, and is killed", (int)event->pid);
		return;
	case WH_SUPERVISE_ENDED:
		say_end(event);
		return;
	case WH_SUPERVISE_WAITS:
		cli_error("the next process for place %u starts in %.2f s", event->slot,
			  (double)event->delay_ns / (double)WH_SEC);
		return;
	case WH_SUPERVISE_RESTARTS:
		cli_error("exchanging all processes");
		return;
	case WH_SUPERVISE_RETIRES:
		return;
	case WH_SUPERVISE_RESTARTED:
		cli_error("all processes have been exchanged");
		return;
	case WH_SUPERVISE_ABANDONED:
		cli_error("processes are not exchanged: a new one does not serve: %s",
			  why(event->err));
		return;
	case WH_SUPERVISE_OVERDUE:
		cli_error("process %d does not end, and is killed", (int)event->pid);
		return;
	}
}

static int supervise(void *arg)
{
	struct office *office = arg;
	const int fd = wh_shared_array_fd(office->servers);
	struct wh_supervise_opts opts = {
		.processes = process_count(),
		.loops = office->loops,
		.addrs = &echo_config.addr,
		.addr_count = 1,
		.fds = &fd,
		.fd_count = 1,
		.retire_ns = (uint64_t)(echo_config.retire_s * (double)WH_SEC),
		.on_event = on_event,
		.arg = office,
	};
	int r = wh_supervise(&opts, NULL);

	if (r == -ECANCELED)
		return r;
	if (office->listens)
		cli_error("no process can serve: %s", why(r));
	else
		echo_cannot_listen(r);
	return r;
}

static int run_supervisor(struct office *office, const struct wh_run_opts *given)
{
	struct wh_run_opts opts = *given;
	int result = 0;
	int r;

	opts.loops = 1;
	opts.pin = false;
	r = cli_run(supervise, office, &opts, &result);
	if (r < 0)
		return cli_run_failed(r);
	if (!(result == -ECANCELED && wh_run_signal()))
		return EXIT_FAILED;
	if (echo_config.stats)
		echo_print_stats(wh_shared_array_at(office->servers, 0),
				 wh_shared_array_count(office->servers));
	return cli_flush() ? EXIT_DONE : EXIT_FAILED;
}

int echo_supervise(const struct wh_run_opts *opts)
{
	struct office office = { .loops = opts->loops ? opts->loops : 1 };
	/* Two processes may be in one place for a while. */
	int r = wh_shared_array_open((size_t)2 * process_count() * office.loops,
				     sizeof(struct echo_server), &office.servers);

	if (r < 0) {
		cli_error("cannot share memory with processes: %s", strerror(-r));
		return EXIT_FAILED;
	}
	r = run_supervisor(&office, opts);
	wh_shared_array_close(office.servers);
	return r;
}

/* A process */

/* Its part of the CPUs, as if all loops of all processes were those of one. */
static void take_cpus(uint32_t loops)
{
	cpu_set_t all, own;
	unsigned count, number = 0, first;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	count = (unsigned)CPU_COUNT(&all);
	first = (unsigned)wh_supervised_slot() * loops % count;
	CPU_ZERO(&own);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && (number++ + count - first) % count < loops)
			CPU_SET(cpu, &own);
	sched_setaffinity(0, sizeof(own), &own);
}

int echo_work(struct wh_run_opts *opts)
{
	struct wh_shared_array *servers;
	int result = 0;
	int r;

	opts->loops = opts->loops ? opts->loops : 1;
	r = wh_shared_array_from_fd(wh_supervised_fd(0), &servers);
	if (r < 0) {
		cli_error("cannot share memory with the supervisor: %s", strerror(-r));
		return EXIT_FAILED;
	}
	if (opts->pin)
		take_cpus(opts->loops);
	/* The supervisor has said which backend runs. */
	r = wh_run(echo_run,
		   wh_shared_array_at(servers, (size_t)wh_supervised_seat() * opts->loops), opts,
		   &result);
	wh_shared_array_close(servers);
	if (r < 0)
		return cli_run_failed(r);
	return result == 0 || (result == -ECANCELED && wh_run_signal()) ? EXIT_DONE : EXIT_FAILED;
}
