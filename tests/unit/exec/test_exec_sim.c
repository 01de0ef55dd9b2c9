/*
 * Executors in simulated worlds: jobs end at any time and in any order, tasks are cancelled at any
 * time, and deadlines pass; every job runs once or is known never to have. Pools of processes too,
 * whose workers die at any time: before a job is begun, in it, after it, and after its reply.
 */
#include <errno.h>
#include <whorl/pool.h>

#include "support/sim_test.h"

enum { TASKS = 12, ITEMS = 60 };

#define CALM_NS (40 * WH_MS)

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

/* Pools of processes */

/* What a call did, seen from both ends. */
struct deed {
	struct wh_executor *executor;
	struct wh_call call;
	struct deed *self; /* the arguments: simulated jobs run in this memory */
	bool kill, over;
	int ran, r;
};

WH_JOB(do_deed)
{
	struct deed *deed = *(struct deed *const *)io->args;

	/* Its task waits, whatever becomes of the worker. */
	check(!deed->over);
	deed->ran++;
	return wh_job_answer(io, &deed->ran, sizeof(deed->ran));
}

static struct deed new_deed(struct wh_executor *executor)
{
	return (struct deed){ .executor = executor,
			      .call = { .job = "do_deed",
					.args_len = sizeof(struct deed *),
					.idempotent = sim_below(2) },
			      .kill = sim_below(2) };
}

/* What a call may say of how often it was done. */
static void check_deed(const struct deed *deed, bool refusals)
{
	unsigned attempts = deed->call.attempts;

	check(deed->ran <= (int)attempts);
	check(attempts <= (deed->call.idempotent ? WH_CALL_ATTEMPTS_MAX : 1));
	switch (deed->r) {
	case 0:
		check(deed->ran > 0 && deed->call.result_len == sizeof(deed->ran));
		return;
	case -EOWNERDEAD:
		check(!deed->call.idempotent && attempts == 1);
		return;
	case -ENOTRECOVERABLE:
		check(deed->call.idempotent && attempts == WH_CALL_ATTEMPTS_MAX);
		return;
	case -ECANCELED:
		check(deed->kill || attempts < WH_CALL_ATTEMPTS_MAX);
		return;
	default:
		check(refusals && (deed->r == -EAGAIN || deed->r == -ECONNRESET));
	}
}

static int do_some_time(void *arg)
{
	struct deed *deed = arg;
	const struct wh_offload_opts opts = { .kill = deed->kill };
	int answer = 0;

	deed->self = deed;
	deed->call.args = &deed->self;
	deed->call.result = &answer;
	deed->call.result_max = sizeof(answer);
	sim_pause(5 * WH_MS);
	deed->r = wh_offload_opts(deed->executor, wh_job_run, &deed->call, &opts, NULL);
	deed->over = true;
	check(deed->r < 0 || answer == deed->ran);
	return 0;
}

static struct wh_executor *open_pool_of(const struct wh_pool_opts *opts)
{
	struct wh_executor *executor;
	int r;

	do
		r = wh_pool_open(opts, &executor);
	while (r == -EAGAIN || r == -ECONNRESET);
	check_int(r, 0);
	return executor;
}

struct sums {
	unsigned done, lost;
};

static void check_stats(struct wh_executor *executor, const struct sums *sums)
{
	struct wh_pool_stats stats;

	wh_pool_stats(executor, &stats);
	check_int(stats.done, sums->done);
	check_int(stats.lost, sums->lost);
	/* A death costs one job at most, and none that was only waiting. */
	check(stats.lost + stats.retried <= stats.died);
}

/* Once there are no more faults all is well again. */
static void check_recovery(struct wh_executor *executor, uint32_t processes)
{
	struct deed deed = new_deed(executor);
	struct wh_pool_stats stats;

	check_int(wh_sleep(WH_SEC), 0);
	do_some_time(&deed);
	check_int(deed.r, 0);
	check_int(deed.ran, 1);
	wh_pool_stats(executor, &stats);
	check(stats.live == processes || stats.recycled > 0);
}

static int deeds_are_done(const struct wh_pool_opts *opts, bool refusals)
{
	struct wh_executor *executor = open_pool_of(opts);
	struct wh_task *tasks[TASKS];
	struct deed deeds[TASKS];
	struct sums sums = { 0 };
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	for (int i = 0; i < TASKS; i++) {
		deeds[i] = new_deed(executor);
		check_int(wh_spawn(&scope, do_some_time, &deeds[i], .ret_task = &tasks[i]), 0);
	}
	for (int i = 0; i < TASKS; i += 1 + (int)sim_below(8)) {
		sim_pause(4 * WH_MS);
		wh_task_cancel(tasks[i]);
	}
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < TASKS; i++) {
		check_deed(&deeds[i], refusals);
		sums.done += deeds[i].r == 0;
		sums.lost += deeds[i].r == -EOWNERDEAD || deeds[i].r == -ENOTRECOVERABLE;
	}
	check_stats(executor, &sums);
	check_recovery(executor, opts->processes);
	wh_executor_close(executor);
	return 0;
}

static struct wh_pool_opts some_pool(void)
{
	return (struct wh_pool_opts){ .processes = 1 + sim_below(3),
				      .ahead_max = sim_below(2) ? 1 + sim_below(3) : 0,
				      .jobs_max = sim_below(4) ? 0 : 1 + sim_below(3) };
}

static int every_job_is_done_once_or_known_to_be_lost(void *arg)
{
	const struct wh_pool_opts opts = some_pool();

	(void)arg;
	return deeds_are_done(&opts, false);
}

/* Without processes for so long that jobs are refused, too. */
static int jobs_end_though_nothing_can_be_started(void *arg)
{
	const struct wh_pool_opts opts = some_pool();

	(void)arg;
	return deeds_are_done(&opts, true);
}

static int nobody_dies_without_a_fault(void *arg)
{
	const struct wh_pool_opts opts = { .processes = 2 };
	struct wh_executor *executor = open_pool_of(&opts);
	struct wh_pool_stats stats;

	(void)arg;
	for (int i = 0; i < TASKS; i++) {
		struct deed deed = new_deed(executor);

		do_some_time(&deed);
		check_int(deed.r, 0);
		check_int(deed.ran, 1);
	}
	wh_pool_stats(executor, &stats);
	check_int(stats.started, 2);
	check_int(stats.done, TASKS);
	wh_executor_close(executor);
	return 0;
}

static int tell_deed(void *arg, const struct wh_map_done *done)
{
	unsigned *told = arg;
	const struct wh_call *call = done->item;
	struct deed *deed = *(struct deed *const *)call->args;

	deed->call = *call;
	deed->r = done->status;
	deed->over = true;
	check_deed(deed, false);
	++*told;
	return 0;
}

/* Calls are the items; `each` hears of each of them, whatever has become of its worker. */
static int maps_go_on_over_deaths(void *arg)
{
	struct wh_executor *executor = open_pool_of(&(struct wh_pool_opts){ .processes = 3 });
	struct deed deeds[ITEMS];
	struct wh_call calls[ITEMS];
	int answers[ITEMS];
	unsigned told = 0;
	const struct wh_map map = { .fn = wh_job_run,
				    .items = calls,
				    .item_bytes = sizeof(calls[0]),
				    .count = ITEMS,
				    .each = tell_deed,
				    .arg = &told,
				    .as_they_finish = sim_below(2),
				    .in_flight = sim_below(2) ? 1 + sim_below(20) : 0,
				    .keep_going = true };

	(void)arg;
	for (int i = 0; i < ITEMS; i++) {
		deeds[i] = new_deed(executor);
		deeds[i].self = &deeds[i];
		calls[i] = deeds[i].call;
		calls[i].args = &deeds[i].self;
		calls[i].result = &answers[i];
		calls[i].result_max = sizeof(answers[i]);
	}
	check_int(wh_map(executor, &map), 0);
	check_int(told, ITEMS);
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
		sim_test(nobody_dies_without_a_fault, .seeds = 20),
		sim_test(every_job_is_done_once_or_known_to_be_lost, .seeds = 1000,
			 .opts.faults = "death=0.05", .opts.calm_after_ns = CALM_NS),
		sim_test(jobs_end_though_nothing_can_be_started, .seeds = 500,
			 .opts.faults = "death=0.05,fork=0.4,nursery=0.05",
			 .opts.calm_after_ns = CALM_NS),
		sim_test(maps_go_on_over_deaths, .seeds = 200, .opts.faults = "death=0.02"),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
