/*
 * A worker of the executor scenario: asks the supervisor for jobs and does them, in the task or on
 * a thread. Meanwhile it gives its thread more jobs than it can do and takes them back: a job that
 * was taken back must not run, one that was not must have run once.
 */
#include <errno.h>
#include <whorl/exec.h>

#include "sim/executor.h"

enum { EXTRA_JOBS = 4 };

struct work {
	uint64_t job;
	uint64_t result;
};

static int do_job(void *arg)
{
	struct work *work = arg;

	work->result = job_result(work->job);
	return (int)work->job;
}

static int do_request(struct wh_executor *executor, const struct job_request *request,
		      struct work *work)
{
	int result = -1;
	int r;

	work->job = request->job;
	if (!request->offload) {
		do_job(work);
		return pause_up_to(10 * WH_MS);
	}
	r = wh_offload(executor, do_job, work, &result);
	if (r == 0 && result != (int)request->job)
		return wh_sim_fail("job %ju returned %d", (uintmax_t)request->job, result);
	return r;
}

/* Jobs that are taken back */

struct extra {
	struct wh_executor *executor;
	unsigned ran;
};

static int run_extra(void *arg)
{
	((struct extra *)arg)->ran++;
	return 0;
}

static int offload_extra(void *arg)
{
	struct extra *extra = arg;
	int r = wh_offload(extra->executor, run_extra, extra, NULL);

	if (r == 0 && extra->ran != 1)
		wh_sim_fail("a job that is done ran %u times", extra->ran);
	else if ((r == -ECANCELED || r == -ETIMEDOUT) && extra->ran != 0)
		wh_sim_fail("a job that was taken back has run");
	else if (r != 0 && r != -ECANCELED && r != -ETIMEDOUT)
		wh_sim_fail("wh_offload returned %d", r);
	return 0;
}

static int take_back(void *arg)
{
	while (wh_cancelled() == 0) {
		struct extra extras[EXTRA_JOBS] = { 0 };
		struct wh_scope scope;

		wh_scope_open(&scope,
			      &(struct wh_scope_opts){ .timeout_ns = between(1, 200) * WH_US });
		for (int i = 0; i < EXTRA_JOBS; i++) {
			extras[i].executor = arg;
			if (wh_spawn(&scope, offload_extra, &extras[i]) < 0)
				break;
		}
		wh_scope_close(&scope);
		pause_up_to(50 * WH_MS);
	}
	return 0;
}

/* The connection */

static int do_requests(struct wh_sock *sock, struct wh_executor *executor)
{
	struct job_request request;
	struct work work;
	int r;

	while ((r = recv_exactly(sock, &request, sizeof(request))) == 0) {
		r = do_request(executor, &request, &work);
		if (r == 0)
			r = send_all(sock,
				     &(struct job_answer){ .job = work.job, .result = work.result },
				     sizeof(struct job_answer));
		if (r < 0)
			break;
	}
	return r;
}

static int work_for(const struct supervisor *supervisor, struct wh_executor *executor)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, take_back, executor);
	while (r == 0 && supervisor->done_count < EXECUTOR_JOBS && wh_cancelled() == 0) {
		struct wh_sock *sock;

		if (dial(0, EXECUTOR_PORT, &sock) == 0) {
			do_requests(sock, executor);
			wh_sock_close(sock);
		}
		pause_up_to(20 * WH_MS);
	}
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	return 0;
}

int executor_worker(void *arg)
{
	struct wh_executor *executor;
	int r = wh_executor_open(&(struct wh_executor_opts){ .threads = 1, .queue_max = 2 },
				 &executor);

	if (r == -ENOMEM || r == -EAGAIN)
		return 0;
	if (r < 0)
		return wh_sim_fail("wh_executor_open returned %d", r);
	work_for(arg, executor);
	wh_executor_close(executor);
	return 0;
}
