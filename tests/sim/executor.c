/*
 * The executor with dying workers. A supervisor on host 0 hands jobs to workers on three hosts over
 * sockets, one at a time each. A worker has a process of the supervisor's to its name; when that
 * ends its program does, or its host crashes, and is started again. A connection that fails or
 * brings no answer in time is given up and its job handed out again.
 *
 * Invariants
 * 1. Every job is done, and counted once; its result is right.
 * 2. On a worker's own thread executor: a job that was taken back before it began never runs, any
 *    other runs once.
 * 3. The end of a process is told once, not before it ended, and with the right status.
 * 4. Every error is documented, and once crashes and faults have stopped all jobs are done in time.
 */
#include <errno.h>
#include <stdlib.h>

#include "sim/executor.h"

#define PATIENCE_NS (60 * WH_MS)

/* The supervisor */

static bool next_job(struct supervisor *supervisor, uint32_t *ret)
{
	if (supervisor->again_count > 0)
		*ret = supervisor->again[--supervisor->again_count];
	else if (supervisor->next < EXECUTOR_JOBS)
		*ret = supervisor->next++;
	else
		return false;
	return true;
}

static int take_answer(struct supervisor *supervisor, struct wh_sock *sock, uint32_t job)
{
	struct job_answer answer;
	struct wh_scope scope;
	int r, closed;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = PATIENCE_NS });
	r = recv_exactly(sock, &answer, sizeof(answer));
	closed = wh_scope_close(&scope);
	if (r < 0)
		return closed == -ETIMEDOUT ? closed : r;
	if (answer.job != job || answer.result != job_result(job))
		return wh_sim_fail("job %u was answered wrongly", job);
	supervisor->done_count += supervisor->done[job] == 0;
	if (++supervisor->done[job] > 1)
		return wh_sim_fail("job %u was counted twice", job);
	return 0;
}

static int have_done(struct supervisor *supervisor, struct wh_sock *sock, uint32_t job)
{
	const struct job_request request = { .job = job, .offload = job % 2 };
	int r = send_all(sock, &request, sizeof(request));

	if (r == 0)
		r = take_answer(supervisor, sock, job);
	if (r < 0)
		supervisor->again[supervisor->again_count++] = job;
	if (r == -ETIMEDOUT && supervisor->believes_late)
		r = take_answer(supervisor, sock, job);
	return r;
}

static int employ(struct wh_sock *sock, void *arg)
{
	struct supervisor *supervisor = arg;
	uint32_t job;
	int r = 0;

	while (r == 0 && supervisor->done_count < EXECUTOR_JOBS)
		r = next_job(supervisor, &job) ? have_done(supervisor, sock, job)
					       : wh_sleep(5 * WH_MS);
	wh_sock_close(sock);
	return 0;
}

static int supervise(void *arg)
{
	struct wh_listener *listener;

	if (listen_on(EXECUTOR_PORT, &listener) < 0)
		return 0;
	wh_serve(listener, employ, arg, NULL);
	wh_listener_close(listener);
	return 0;
}

/* The hosts */

/* Keeps a worker's program running for as long as there are jobs. */
static int keep(void *arg)
{
	struct keeper *keeper = arg;
	struct supervisor *supervisor = keeper->supervisor;

	while (supervisor->done_count < EXECUTOR_JOBS && wh_cancelled() == 0) {
		struct wh_scope scope;

		wh_scope_open(&scope, NULL);
		keeper->program = &scope;
		if (!supervisor->down[keeper->host])
			wh_loop_call(wh_loop_at(keeper->host), executor_worker, supervisor, NULL);
		keeper->program = NULL;
		wh_scope_close(&scope);
		pause_up_to(10 * WH_MS);
	}
	return 0;
}

static int judge(const struct supervisor *supervisor)
{
	for (uint32_t i = 0; i < EXECUTOR_JOBS; i++)
		if (supervisor->done[i] != 1)
			return wh_sim_fail("job %u was done %u times", i, supervisor->done[i]);
	return 0;
}

static int run_jobs(struct supervisor *supervisor)
{
	struct keeper keepers[EXECUTOR_WORKERS];
	struct wh_scope workers;
	int r = 0;

	wh_scope_open(&workers, NULL);
	for (uint32_t i = 0; r == 0 && i < EXECUTOR_WORKERS; i++) {
		keepers[i] = (struct keeper){ .supervisor = supervisor, .host = i + 1 };
		r = wh_spawn(&workers, keep, &keepers[i]);
		if (r == 0)
			r = wh_spawn(&workers, executor_mind, &keepers[i]);
	}
	if (r < 0)
		wh_scope_cancel(&workers);
	return wh_scope_close(&workers);
}

static int run(void *arg)
{
	struct supervisor *supervisor = calloc(1, sizeof(*supervisor));
	struct wh_scope scope;
	int r;

	if (!supervisor)
		return -ENOMEM;
	supervisor->believes_late = planted(arg, "twice");
	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, supervise, supervisor);
	if (r == 0)
		r = run_jobs(supervisor);
	if (r == 0)
		r = judge(supervisor);
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	free(supervisor);
	return r;
}

#define WORLD                                                                                      \
	{                                                                                          \
		.hosts = 1 + EXECUTOR_WORKERS, .faults = "storm",                                  \
		.calm_after_ns = EXECUTOR_CALM_NS, .time_max_ns = 300 * WH_SEC,                    \
	}

const struct wh_sim_scenario sim_executor = {
	.name = "executor",
	.about = "jobs for workers whose hosts crash",
	.fn = run,
	.opts = WORLD,
};

const struct wh_sim_scenario sim_executor_twice = {
	.name = "executor:twice",
	.about = "an answer counts also after the job was handed out again",
	.fn = run,
	.arg = (char[]){ "twice" },
	.opts = WORLD,
};
