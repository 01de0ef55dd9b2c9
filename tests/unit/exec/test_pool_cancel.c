/*
 * A pool of processes: jobs that are cancelled while they wait or run, by force or not, and jobs
 * that go to another worker. Jobs wait for gates, not for time. What they do is in
 * support/pool_jobs.c.
 */
#include <errno.h>

#include "support/pool_jobs.h"
#include "support/task_test.h"

static int cancelled_jobs_that_wait_are_never_begun(void *arg)
{
	enum { WAITING = 20 };
	/* Some are in the ring, the others on the queue. */
	struct wh_executor *executor =
		open_pool(&(struct wh_pool_opts){ .processes = 1, .ahead_max = 10 });
	const struct tally_args args[2] = { { .index = 0 }, { .index = 1 } };
	struct offload first = { .executor = executor }, rest[WAITING];
	struct wh_task *tasks[WAITING];
	struct wh_scope scope;
	struct tally tally;
	struct gate gate;

	(void)arg;
	gate_open(&gate);
	tally_open(&tally);
	first.call = gate_call(&gate);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, run_offload, &first), 0);
	next_turn();
	gate_await(&gate);
	for (int i = 0; i < WAITING; i++) {
		rest[i] = (struct offload){ .executor = executor,
					    .call = tally_call(&tally, &args[i % 2]) };
		check_int(wh_spawn(&scope, run_offload, &rest[i], .ret_task = &tasks[i]), 0);
	}
	next_turn();
	/* They return while the only worker is still busy. */
	for (int i = 0; i < WAITING; i += 2) {
		wh_task_cancel(tasks[i]);
		check_int(wh_task_join(tasks[i], NULL), 0);
		check_int(rest[i].r, -ECANCELED);
	}
	gate_let_through(&gate);
	check_int(wh_scope_close(&scope), 0);
	check_int(first.result, 7);
	check_int(tally.counts[0], 0);
	check_int(tally.counts[1], WAITING / 2);
	gate_close(&gate);
	tally_close(&tally);
	wh_executor_close(executor);
	return 0;
}

static int running_job_is_waited_for_unless_it_is_to_be_killed(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct offload job = { .executor = executor, .r = -1 };
	struct wh_scope scope;
	struct gate gate;

	(void)arg;
	gate_open(&gate);
	job.call = gate_call(&gate);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, run_offload, &job), 0);
	next_turn();
	gate_await(&gate);
	wh_scope_cancel(&scope);
	next_turn();
	check_int(job.r, -1);
	gate_let_through(&gate);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(job.r, 0);
	check_int(job.result, 7);
	gate_close(&gate);
	wh_executor_close(executor);
	return 0;
}

static int killed_job_takes_no_other_along(void *arg)
{
	enum { WAITING = 20 };
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	const struct tally_args args = { .index = 0 };
	struct offload victim = { .executor = executor, .kill = true }, rest[WAITING];
	struct wh_pool_stats stats;
	struct wh_scope outer, inner;
	struct tally tally;
	struct gate gate;

	(void)arg;
	gate_open(&gate);
	tally_open(&tally);
	victim.call = gate_call(&gate);
	wh_scope_open(&outer, NULL);
	wh_scope_open(&inner, NULL);
	check_int(wh_spawn(&inner, run_offload, &victim), 0);
	next_turn();
	gate_await(&gate);
	for (int i = 0; i < WAITING; i++) {
		rest[i] = (struct offload){ .executor = executor,
					    .call = tally_call(&tally, &args) };
		check_int(wh_spawn(&outer, run_offload, &rest[i]), 0);
	}
	next_turn();
	wh_scope_cancel(&inner);
	check_int(wh_scope_close(&inner), -ECANCELED);
	check_int(victim.r, -ECANCELED);
	check_int(wh_scope_close(&outer), 0);
	for (int i = 0; i < WAITING; i++)
		check_int(rest[i].r, 0);
	check_int(tally.counts[0], WAITING);
	wh_pool_stats(executor, &stats);
	check_int(stats.killed, 1);
	check_int(stats.died, 0);
	check_int(stats.moved, WAITING);
	gate_close(&gate);
	tally_close(&tally);
	wh_executor_close(executor);
	return 0;
}

/* The first ends while nobody listens, and is to be killed when the second runs already. */
static int kill_of_a_job_that_has_ended_hits_no_other(void *arg)
{
	enum { JOBS = 3 };
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct offload jobs[JOBS];
	struct wh_task *first;
	struct wh_pool_stats stats;
	struct wh_scope scope;
	struct gate gates[JOBS];

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < JOBS; i++) {
		gate_open(&gates[i]);
		jobs[i] = (struct offload){ .executor = executor,
					    .call = gate_call(&gates[i]),
					    .kill = i == 0 };
		check_int(wh_spawn(&scope, run_offload, &jobs[i],
				   .ret_task = i == 0 ? &first : NULL),
			  0);
	}
	next_turn();
	gate_await(&gates[0]);
	gate_let_through(&gates[0]);
	gate_await(&gates[1]);
	wh_task_cancel(first);
	check_int(wh_task_join(first, NULL), 0);
	for (int i = 1; i < JOBS; i++)
		gate_let_through(&gates[i]);
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < JOBS; i++) {
		check_int(jobs[i].r, 0);
		check_int(jobs[i].result, 7);
		gate_close(&gates[i]);
	}
	wh_pool_stats(executor, &stats);
	check_int(stats.killed + stats.died, 0);
	wh_executor_close(executor);
	return 0;
}

/* One real millisecond passes: the processes are real. */
static int deadline_ends_a_running_job_if_asked_to(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	const struct wh_offload_opts opts = { .kill = true };
	struct wh_call call = { .job = "burn" };
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = WH_MS });
	check_int(wh_offload_opts(executor, wh_job_run, &call, &opts, NULL), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	check_int(result_of(executor, "nothing"), 0);
	wh_executor_close(executor);
	return 0;
}

/* Arguments of which few fill a ring: what is taken back makes room, or else nobody does. */
static int cancelling_in_bulk_stalls_nobody(void *arg)
{
	enum { CROWD = 40, ROUNDS = 200 };
	static unsigned char bytes[WH_CALL_BYTES_MAX];
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 2 });
	struct offload jobs[CROWD];
	uint64_t seed = 1;

	(void)arg;
	for (int round = 0; round < ROUNDS; round++) {
		struct wh_scope lasting, cancelled;

		wh_scope_open(&lasting, NULL);
		wh_scope_open(&cancelled, NULL);
		for (int i = 0; i < CROWD; i++) {
			jobs[i] = (struct offload){ .executor = executor,
						    .call = { .job = "nothing",
							      .args = bytes,
							      .args_len = sizeof(bytes) } };
			check_int(wh_spawn(random_next(&seed) % 4 ? &cancelled : &lasting,
					   run_offload, &jobs[i]),
				  0);
		}
		if (random_next(&seed) % 2)
			next_turn();
		else
			check_int(wh_yield(), 0);
		wh_scope_cancel(&cancelled);
		check_int(wh_scope_close(&cancelled), -ECANCELED);
		check_int(wh_scope_close(&lasting), 0);
		for (int i = 0; i < CROWD; i++)
			if (jobs[i].r != -ECANCELED)
				check_int(jobs[i].r, 0);
	}
	wh_executor_close(executor);
	return 0;
}

/* Jobs behind one that takes long go to a worker that has nothing to do. */
static int idle_worker_takes_jobs_over(void *arg)
{
	enum { WAITING = 10 };
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 2 });
	const struct tally_args args = { .index = 0 };
	struct offload stuck[2] = { { .executor = executor }, { .executor = executor } };
	struct offload rest[WAITING];
	struct gate gates[2];
	struct wh_scope scope, inner;
	struct tally tally;

	(void)arg;
	tally_open(&tally);
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < 2; i++) {
		gate_open(&gates[i]);
		stuck[i].call = gate_call(&gates[i]);
		check_int(wh_spawn(&scope, run_offload, &stuck[i]), 0);
	}
	next_turn();
	gate_await(&gates[0]);
	gate_await(&gates[1]);
	wh_scope_open(&inner, NULL);
	for (int i = 0; i < WAITING; i++) {
		rest[i] = (struct offload){ .executor = executor,
					    .call = tally_call(&tally, &args) };
		check_int(wh_spawn(&inner, run_offload, &rest[i]), 0);
	}
	next_turn();
	/* Half of them stand behind the job that goes on. */
	gate_let_through(&gates[0]);
	check_int(wh_scope_close(&inner), 0);
	check_int(tally.counts[0], WAITING);
	gate_let_through(&gates[1]);
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < 2; i++)
		gate_close(&gates[i]);
	tally_close(&tally);
	wh_executor_close(executor);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(cancelled_jobs_that_wait_are_never_begun),
		task_test(running_job_is_waited_for_unless_it_is_to_be_killed),
		task_test(killed_job_takes_no_other_along),
		task_test(kill_of_a_job_that_has_ended_hits_no_other),
		task_test(deadline_ends_a_running_job_if_asked_to),
		task_test(cancelling_in_bulk_stalls_nobody),
		task_test(idle_worker_takes_jobs_over),
	};

	wh_jobs_main();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
