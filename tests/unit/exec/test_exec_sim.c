/*
 * Executors in simulated worlds: jobs end at any time and in any order, tasks are cancelled at any
 * time, and deadlines pass; every job runs once or is known never to have.
 */
#include <errno.h>
#include <whorl/exec.h>

#include "support/sim_test.h"

enum { TASKS = 12, ITEMS = 60 };

static struct wh_executor *open_executor(uint32_t threads, uint32_t blocking_max)
{
	struct wh_executor *executor;

	check_int(wh_executor_open(&(struct wh_executor_opts){ .threads = threads,
							       .blocking_max = blocking_max },
				   &executor),
		  0);
	return executor;
}

static int count_run(void *arg)
{
	return ++*(int *)arg;
}

/* Offloading */

struct offload {
	struct wh_executor *executor;
	int ran, r;
};

static int offload_some_time(void *arg)
{
	struct offload *offload = arg;
	const struct wh_offload_opts opts = { .lane = sim_below(2) ? WH_LANE_BLOCKING
								   : WH_LANE_CPU };
	int result = 0;

	sim_pause(5 * WH_MS);
	offload->r = wh_offload_opts(offload->executor, count_run, &offload->ran, &opts, &result);
	check(offload->r < 0 ? offload->ran == 0 : offload->ran == 1 && result == 1);
	return 0;
}

static int cancelled_jobs_run_once_or_never(void *arg)
{
	struct offload offloads[TASKS];
	struct wh_task *tasks[TASKS];
	struct wh_executor *executor = open_executor(1 + sim_below(3), 1 + sim_below(3));
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < TASKS; i++) {
		offloads[i] = (struct offload){ .executor = executor };
		check_int(wh_spawn(&scope, offload_some_time, &offloads[i], .ret_task = &tasks[i]),
			  0);
	}
	for (int i = 0; i < TASKS; i += 1 + (int)sim_below(3)) {
		sim_pause(2 * WH_MS);
		wh_task_cancel(tasks[i]);
	}
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < TASKS; i++)
		check(offloads[i].r == 0 || offloads[i].r == -ECANCELED);
	wh_executor_close(executor);
	return 0;
}

static int deadlines_end_waiting_and_not_running(void *arg)
{
	struct offload offloads[TASKS];
	struct wh_executor *executor = open_executor(1, 1);
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = (1 + sim_below(10)) * WH_MS });
	for (int i = 0; i < TASKS; i++) {
		offloads[i] = (struct offload){ .executor = executor };
		check_int(wh_spawn(&scope, offload_some_time, &offloads[i]), 0);
	}
	wh_scope_close(&scope);
	for (int i = 0; i < TASKS; i++)
		check(offloads[i].r == 0 || offloads[i].r == -ETIMEDOUT);
	wh_executor_close(executor);
	return 0;
}

/* A map that keeps one lane busy until it is cancelled. */
struct flood {
	struct wh_executor *executor;
	enum wh_lane lane;
	int runs;
};

static int make_more(void *arg, void **ret_item)
{
	*ret_item = &((struct flood *)arg)->runs;
	return 1;
}

static int keep_busy(void *arg)
{
	struct flood *flood = arg;
	const struct wh_map map = {
		.fn = count_run, .next = make_more, .arg = flood, .lane = flood->lane
	};

	check_int(wh_map(flood->executor, &map), -ECANCELED);
	return 0;
}

/* One lane always has more to do than it can; a job of the other takes no longer than alone, which
 * is less than 50 us to begin and 2 ms to run in any world. */
static int lane_is_as_fast_beside_a_busy_one(void *arg)
{
	struct flood flood = { open_executor(1, 1), sim_below(2), 0 };
	const struct wh_offload_opts opts = { .lane = WH_LANE_BLOCKING - flood.lane };
	struct wh_scope scope;
	uint64_t began;
	int ran = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, keep_busy, &flood), 0);
	sim_pause(20 * WH_MS);
	for (int i = 1; i <= 10; i++) {
		began = wh_now_ns();
		check_int(wh_offload_opts(flood.executor, count_run, &ran, &opts, NULL), 0);
		check_int(ran, i);
		check(wh_now_ns() - began < 3 * WH_MS);
	}
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_executor_close(flood.executor);
	return 0;
}

/* Maps */

struct numbers {
	int runs[ITEMS];
	bool told[ITEMS];
	int made, told_count;
};

static int make_number(void *arg, void **ret_item)
{
	struct numbers *numbers = arg;
	int r = wh_cancelled();

	if (numbers->made == ITEMS || r < 0)
		return r;
	if (sim_below(8) == 0)
		sim_pause(WH_MS);
	*ret_item = &numbers->runs[numbers->made++];
	return 1;
}

static int tell_number(void *arg, const struct wh_map_done *done)
{
	struct numbers *numbers = arg;

	check_int(done->result, 1);
	check(done->item == &numbers->runs[done->index] && !numbers->told[done->index]);
	numbers->told[done->index] = true;
	numbers->told_count++;
	if (sim_below(8) == 0)
		sim_pause(WH_MS);
	return 0;
}

/* A deadline at any time of it, or none. */
static int maps_end_well_whenever_they_are_cancelled(void *arg)
{
	struct wh_executor *executor = open_executor(1 + sim_below(3), 2);
	uint64_t timeout_ns = sim_below(2) ? 1 + sim_below(100) * WH_MS : 0;
	struct numbers numbers = { 0 };
	const struct wh_map map = {
		.fn = count_run,
		.next = make_number,
		.each = tell_number,
		.arg = &numbers,
		.in_flight = sim_below(2) ? 1 + sim_below(20) : 0,
		.lane = sim_below(2) ? WH_LANE_CPU : WH_LANE_BLOCKING,
		.as_they_finish = sim_below(2),
	};
	struct wh_scope scope;
	int r;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = timeout_ns });
	r = wh_map(executor, &map);
	wh_scope_close(&scope);
	check(r == 0 || (r == -ETIMEDOUT && timeout_ns));
	for (int i = 0; i < ITEMS; i++) {
		check(numbers.runs[i] <= 1);
		check(!numbers.told[i] || numbers.runs[i] == 1);
	}
	if (r == 0)
		check_int(numbers.told_count, ITEMS);
	wh_executor_close(executor);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sim_test(cancelled_jobs_run_once_or_never, .seeds = 500),
		sim_test(deadlines_end_waiting_and_not_running, .seeds = 300),
		sim_test(lane_is_as_fast_beside_a_busy_one, .seeds = 50),
		sim_test(maps_end_well_whenever_they_are_cancelled, .seeds = 500),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
