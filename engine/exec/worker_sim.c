/*
 * What stands for the threads of a lane in a simulated world: workers are things that happen at
 * virtual times, and a job runs on the thread of its world, outside of any task. Queue, line and
 * waking are those of threads.
 */
#include "base/assert.h"
#include "exec/lane.h"

#define START_NS (50 * WH_US)
#define JOB_NS (2 * WH_MS)

static void look(struct whi_sim_call *call);

static void ended(struct whi_sim_call *call)
{
	struct whi_worker *worker = whi_container_of(call, struct whi_worker, call);
	struct whi_exec_job *job = worker->job;

	worker->job = NULL;
	call->fn = look;
	whi_sim_call_after(call, whi_sim_choose(START_NS));
	job->result = job->fn(job->arg);
	whi_exec_finish(job, NULL);
}

static void look(struct whi_sim_call *call)
{
	struct whi_worker *worker = whi_container_of(call, struct whi_worker, call);
	struct whi_lane *lane = worker->lane;
	struct whi_call next;

	worker->job = whi_lane_take(lane);
	if (!worker->job) {
		whi_lane_rest(lane, worker);
		return;
	}
	call->fn = ended;
	whi_sim_call_after(call, whi_sim_choose(JOB_NS));
	next = whi_lane_call(lane);
	if (next.worker)
		whi_worker_rouse(next);
}

void whi_sim_worker_rouse(struct whi_worker *worker)
{
	worker->call.fn = look;
	whi_sim_call_after(&worker->call, whi_sim_choose(START_NS));
}

void whi_sim_workers_end(struct whi_lane *lane)
{
	for (uint32_t i = 0; i < lane->opts.workers; i++) {
		whi_assert(!lane->workers[i].job);
		whi_sim_call_unset(&lane->workers[i].call);
	}
}
