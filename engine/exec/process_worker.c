/*
 * A worker process: takes requests from its ring, runs jobs, puts replies into the other ring. One
 * thread, unless jobs start more. Forked by a nursery; ends by _exit, and never returns into what
 * was before the fork.
 *
 * What it finds wrong with its surroundings ends it: the program replaces it.
 */
#include "exec/process_worker.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "exec/jobs.h"
#include "exec/passing.h"

/* Status of a worker that could not begin. */
enum { EXIT_NO_START = 125 };

static int statm = -1; /* what is resident is read from it, if that is limited */
static timer_t cpu_timer;

static void leave(void)
{
	fflush(NULL);
	_exit(0);
}

/* Limits */

enum { STATM_RESIDENT = 1, STATM_DATA = 5 };

/* A field of /proc/self/statm, in bytes; 0 if it cannot be read. */
static uint64_t memory_now(unsigned field)
{
	char text[128];
	ssize_t n = pread(statm, text, sizeof(text) - 1, 0);
	char *at = text;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	while (field-- > 0)
		strtoull(at, &at, 10);
	return strtoull(at, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* RLIMIT_DATA rather than RLIMIT_AS: what is only mapped, or shared, costs no memory. */
static void limit_memory(uint64_t bytes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_DATA, &limit);
	limit.rlim_cur = memory_now(STATM_DATA) + bytes;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_DATA, &limit) < 0)
		_exit(EXIT_NO_START);
}

static void limit_cpu(uint64_t ns)
{
	const struct itimerspec when = { .it_value = { .tv_sec = (time_t)(ns / WH_SEC),
						       .tv_nsec = (long)(ns % WH_SEC) } };

	timer_settime(cpu_timer, 0, &when, NULL);
}

static void begin_limits(const struct whi_worker_limits *limits)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGXCPU };

	if (limits->memory_bytes || limits->resident_bytes) {
		statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
		if (statm < 0)
			_exit(EXIT_NO_START);
	}
	if (limits->memory_bytes)
		limit_memory(limits->memory_bytes);
	if (limits->job_cpu_ns && timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &cpu_timer) < 0)
		_exit(EXIT_NO_START);
}

bool whi_worker_used_up(const struct whi_worker_process *worker)
{
	const struct whi_worker_limits *limits = &worker->limits;

	if (limits->jobs_max && worker->jobs_done >= limits->jobs_max)
		return true;
	return limits->resident_bytes && memory_now(STATM_RESIDENT) >= limits->resident_bytes;
}

/* Jobs */

void whi_worker_define(struct whi_worker_process *worker, const struct whi_request *request)
{
	const char *name = (const char *)(request + 1);
	const char *library = name + strlen(name) + 1;
	struct whi_worker_job *known = &worker->known[request->job];
	struct wh_job *job;
	int r = whi_job_find(name, &job);

	/* Its constructors register the library's jobs. */
	if (r == -ENOSYS && *library) {
		r = dlopen(library, RTLD_NOW | RTLD_LOCAL) ? whi_job_find(name, &job) : -ELIBACC;
	}
	known->fn = r < 0 ? NULL : job->fn;
	known->error = r;
}

/* The descriptor that comes with `request`; 0: none. */
static int take_fd(const struct whi_worker_process *worker, const struct whi_request *request)
{
	int fds[WHI_PASSED_MAX];
	unsigned fd_count;
	uint32_t ticket;

	if (!(request->flags & WHI_RECORD_HAS_FD))
		return 0;
	if (whi_accept_passed(worker->sock, &ticket, sizeof(ticket), fds, &fd_count) !=
		    sizeof(ticket) ||
	    ticket != request->ticket || fd_count != 1)
		_exit(EXIT_NO_START);
	return fds[0];
}

static void drop_fd(const struct whi_worker_process *worker, const struct whi_request *request)
{
	int fd = take_fd(worker, request);

	if (fd)
		close(fd);
}

static void give_fd(const struct whi_worker_process *worker, struct whi_reply *reply, int fd)
{
	if (whi_pass(worker->sock, &reply->ticket, sizeof(reply->ticket), &fd, 1) == 0) {
		reply->flags = WHI_RECORD_HAS_FD;
	} else {
		reply->result = -EBADF;
		reply->result_len = 0;
	}
	close(fd);
}

static void run(const struct whi_worker_process *worker, const struct whi_request *request,
		struct whi_reply *reply, wh_job_main_fn fn)
{
	struct wh_job_io io = {
		.args = request + 1,
		.args_len = request->args_len,
		.args_fd = take_fd(worker, request),
		.result = reply + 1,
		.result_max = request->result_max,
	};
	uint64_t cpu_ns = worker->limits.job_cpu_ns;

	if (cpu_ns)
		limit_cpu(cpu_ns);
	reply->result = fn(&io);
	if (cpu_ns)
		limit_cpu(0);
	reply->result_len = (uint32_t)io.result_len;
	if (io.result_len > io.result_max) {
		reply->result = -EMSGSIZE;
		reply->result_len = 0;
	}
	if (io.result_fd)
		give_fd(worker, reply, io.result_fd);
	if (io.args_fd)
		close(io.args_fd);
}

static void refuse(const struct whi_worker_process *worker, const struct whi_request *request,
		   struct whi_reply *reply, int error)
{
	drop_fd(worker, request);
	reply->result = error;
	reply->result_len = 0;
}

bool whi_worker_begin(struct whi_worker_process *worker, struct whi_request *request)
{
	uint32_t expected = WHI_REQUEST_WAITS;

	if (atomic_compare_exchange_strong(&request->state, &expected, WHI_REQUEST_BEGUN))
		return true;
	drop_fd(worker, request);
	return false;
}

struct whi_reply *whi_worker_run(struct whi_worker_process *worker,
				 const struct whi_request *request)
{
	const struct whi_worker_job *job = &worker->known[request->job];
	struct whi_reply *reply = whi_worker_rings_room(&worker->rings, request->result_max);

	reply->flags = 0;
	reply->ticket = request->ticket;
	if (job->fn)
		run(worker, request, reply, job->fn);
	else
		refuse(worker, request, reply, job->error);
	worker->jobs_done++;
	return reply;
}

void whi_worker_ring_bell(const struct whi_worker_process *worker)
{
	const uint64_t one = 1;

	if (write(worker->bell, &one, sizeof(one)) < 0)
		_exit(EXIT_NO_START);
}

static void do_call(struct whi_worker_process *worker, struct whi_request *request)
{
	if (!whi_worker_begin(worker, request))
		return;
	if (whi_worker_rings_send(&worker->rings, whi_worker_run(worker, request)))
		whi_worker_ring_bell(worker);
	if (whi_worker_used_up(worker))
		leave();
}

/* What jobs have printed is not to wait for the worker's end, which may be sudden. */
static void rest(struct whi_worker_process *worker)
{
	if (__fpending(stdout) > 0)
		fflush(stdout);
	if (whi_worker_rings_nudged(&worker->rings))
		whi_worker_ring_bell(worker);
	whi_worker_rings_doze(&worker->rings);
}

int whi_worker_process_init(struct whi_worker_process *worker, const int fds[WHI_START_FDS],
			    const struct whi_worker_limits *limits)
{
	worker->limits = *limits;
	worker->bell = fds[WHI_START_BELL];
	worker->sock = fds[WHI_START_SOCK];
	return whi_worker_rings_open(&worker->rings, fds[WHI_START_MEMORY]);
}

_Noreturn void whi_worker_main(const int fds[WHI_START_FDS], const struct whi_worker_limits *limits)
{
	static struct whi_worker_process worker;

	if (whi_worker_process_init(&worker, fds, limits) < 0)
		_exit(EXIT_NO_START);
	close(fds[WHI_START_MEMORY]);
	begin_limits(limits);
	for (;;) {
		struct whi_request *request = whi_worker_rings_next(&worker.rings);

		if (!request) {
			rest(&worker);
			continue;
		}
		if (request->kind == WHI_RECORD_CALL)
			do_call(&worker, request);
		else if (request->kind == WHI_RECORD_DEFINE)
			whi_worker_define(&worker, request);
		whi_worker_rings_drop(&worker.rings, request);
	}
}
