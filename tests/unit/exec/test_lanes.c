/*
 * The lanes of an executor of threads: neither holds up the other, the one for jobs that wait grows
 * and shrinks, full queues, closing. Jobs wait for gates, not for time.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <whorl/exec.h>

#include "support/task_test.h"
#include "unit/exec/gate.h"

enum { JOBS = 20, BLOCKING = 4, MANY = 50, OFTEN = TEST_ROUNDS / 5 };

/* The linker puts this before the C library's. */
static bool no_threads;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

static struct wh_executor *open_executor(const struct wh_executor_opts *opts)
{
	struct wh_executor *executor;

	check_int(wh_executor_open(opts, &executor), 0);
	return executor;
}

/* A job in a task of its own. */
struct offload {
	struct wh_executor *executor;
	wh_job_fn fn;
	void *arg;
	struct wh_offload_opts opts;
	int r, result;
};

static int offload(void *arg)
{
	struct offload *offload = arg;

	offload->r = wh_offload_opts(offload->executor, offload->fn, offload->arg, &offload->opts,
				     &offload->result);
	return 0;
}

static void spawn_gates(struct wh_scope *scope, struct offload *offloads, struct gate *gates,
			int count)
{
	for (int i = 0; i < count; i++) {
		gate_init(&gates[i]);
		offloads[i].fn = gate_pass;
		offloads[i].arg = &gates[i];
		check_int(wh_spawn(scope, offload, &offloads[i]), 0);
	}
	next_turn();
}

static int count_job(void *arg)
{
	++*(_Atomic int *)arg;
	return 0;
}

/* The lane has all the threads that it may have, and more jobs than these. */
static int blocking_jobs_do_not_hold_up_computing_ones(void *arg)
{
	struct wh_executor *executor =
		open_executor(&(struct wh_executor_opts){ .threads = 1, .blocking_max = BLOCKING });
	struct offload offloads[BLOCKING + 2];
	struct gate gates[BLOCKING + 2];
	struct wh_scope scope;
	_Atomic int ran = 0;

	(void)arg;
	for (int i = 0; i < BLOCKING + 2; i++)
		offloads[i] = (struct offload){ .executor = executor,
						.opts.lane = WH_LANE_BLOCKING };
	wh_scope_open(&scope, NULL);
	spawn_gates(&scope, offloads, gates, BLOCKING + 2);
	for (int i = 0; i < JOBS; i++)
		check_int(wh_offload(executor, count_job, &ran, NULL), 0);
	check_int(ran, JOBS);
	for (int i = 0; i < BLOCKING + 2; i++)
		gate_open(&gates[i]);
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < BLOCKING + 2; i++)
		check_int(offloads[i].result, 7);
	wh_executor_close(executor);
	return 0;
}

static int computing_jobs_do_not_hold_up_blocking_ones(void *arg)
{
	struct wh_executor *executor = open_executor(&(struct wh_executor_opts){ .threads = 1 });
	struct offload job = { .executor = executor };
	struct wh_scope scope;
	struct gate gate;
	_Atomic int ran = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	spawn_gates(&scope, &job, &gate, 1);
	gate_await(&gate);
	for (int i = 0; i < JOBS; i++)
		check_int(wh_offload_blocking(executor, count_job, &ran, NULL), 0);
	check_int(ran, JOBS);
	gate_open(&gate);
	check_int(wh_scope_close(&scope), 0);
	wh_executor_close(executor);
	return 0;
}

static int blocking_jobs_run_together_up_to_their_bound(void *arg)
{
	struct wh_executor *executor =
		open_executor(&(struct wh_executor_opts){ .threads = 1, .blocking_max = BLOCKING });
	struct offload offloads[BLOCKING + 1];
	struct gate gates[BLOCKING + 1];
	struct wh_scope scope;

	(void)arg;
	for (int i = 0; i < BLOCKING + 1; i++)
		offloads[i] = (struct offload){ .executor = executor,
						.opts.lane = WH_LANE_BLOCKING };
	wh_scope_open(&scope, NULL);
	spawn_gates(&scope, offloads, gates, BLOCKING + 1);
	for (int i = 0; i < BLOCKING; i++)
		gate_await(&gates[i]);
	check(sem_trywait(&gates[BLOCKING].entered) < 0);
	gate_open(&gates[1]);
	gate_await(&gates[BLOCKING]);
	for (int i = 0; i < BLOCKING + 1; i++)
		gate_open(&gates[i]);
	check_int(wh_scope_close(&scope), 0);
	wh_executor_close(executor);
	return 0;
}

static int thread_count(void)
{
	DIR *dir = opendir("/proc/self/task");
	int count = 0;

	check(dir != NULL);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static int idle_blocking_threads_go_and_come_again(void *arg)
{
	struct wh_executor *executor =
		open_executor(&(struct wh_executor_opts){ .threads = 1, .blocking_idle_ns = 1 });
	int before = thread_count();
	_Atomic int ran = 0;

	(void)arg;
	for (int i = 1; i <= 3; i++) {
		check_int(wh_offload_blocking(executor, count_job, &ran, NULL), 0);
		check_int(ran, i);
		while (thread_count() > before)
			next_turn();
	}
	wh_executor_close(executor);
	return 0;
}

static int job_fails_if_no_thread_can_be_had_for_it(void *arg)
{
	struct wh_executor *executor = open_executor(&(struct wh_executor_opts){ .threads = 1 });
	_Atomic int ran = 0;
	int result = 5;

	(void)arg;
	no_threads = true;
	check_int(wh_offload_blocking(executor, count_job, &ran, &result), -EAGAIN);
	check_int(ran, 0);
	check_int(result, 5);
	/* The other lane has its threads. */
	check_int(wh_offload(executor, count_job, &ran, NULL), 0);
	no_threads = false;
	check_int(wh_offload_blocking(executor, count_job, &ran, NULL), 0);
	check_int(ran, 2);
	wh_executor_close(executor);
	return 0;
}

static int jobs_wait_for_a_thread_if_no_more_can_be_had(void *arg)
{
	struct wh_executor *executor = open_executor(&(struct wh_executor_opts){ .threads = 1 });
	struct offload first = { .executor = executor, .opts.lane = WH_LANE_BLOCKING };
	struct offload second = { .executor = executor, .opts.lane = WH_LANE_BLOCKING };
	struct gate gates[2];
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	spawn_gates(&scope, &first, &gates[0], 1);
	gate_await(&gates[0]);
	no_threads = true;
	spawn_gates(&scope, &second, &gates[1], 1);
	gate_open(&gates[1]);
	gate_open(&gates[0]);
	check_int(wh_scope_close(&scope), 0);
	no_threads = false;
	check_int(second.r, 0);
	check_int(second.result, 7);
	wh_executor_close(executor);
	return 0;
}

/* All of them are handed over at once, which wakes one thread; it must see to the other. */
static int long_job_holds_up_none_behind_it(void *arg)
{
	bool no_spin = *(bool *)arg;
	struct wh_executor *executor =
		open_executor(&(struct wh_executor_opts){ .threads = 2, .no_spin = no_spin });
	_Atomic int ran = 0;

	for (int round = 0; round < MANY; round++) {
		struct offload first = { .executor = executor }, others[JOBS];
		struct wh_scope outer, inner;
		struct gate gate;

		gate_init(&gate);
		first.fn = gate_pass;
		first.arg = &gate;
		wh_scope_open(&outer, NULL);
		check_int(wh_spawn(&outer, offload, &first), 0);
		wh_scope_open(&inner, NULL);
		for (int i = 0; i < JOBS; i++) {
			others[i] = (struct offload){ .executor = executor,
						      .fn = count_job,
						      .arg = &ran };
			check_int(wh_spawn(&inner, offload, &others[i]), 0);
		}
		check_int(wh_scope_close(&inner), 0);
		check_int(ran, (round + 1) * JOBS);
		gate_open(&gate);
		check_int(wh_scope_close(&outer), 0);
	}
	wh_executor_close(executor);
	return 0;
}

static int long_jobs_hold_up_none(void *arg)
{
	(void)arg;
	long_job_holds_up_none_behind_it(&(bool){ true });
	long_job_holds_up_none_behind_it(&(bool){ false });
	return 0;
}

static int full_queue_refuses_who_will_not_wait(void *arg)
{
	struct wh_executor *executor =
		open_executor(&(struct wh_executor_opts){ .threads = 1, .queue_max = 2 });
	const struct wh_offload_opts unless_full = { .unless_full = true };
	struct offload first = { .executor = executor }, others[3];
	struct wh_scope scope;
	struct gate gate;
	_Atomic int ran = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	spawn_gates(&scope, &first, &gate, 1);
	gate_await(&gate);
	for (int i = 0; i < 3; i++) {
		others[i] = (struct offload){ executor, count_job, &ran, unless_full, 0, 0 };
		/* The last one waits after all. */
		others[i].opts.unless_full = i < 2;
		check_int(wh_spawn(&scope, offload, &others[i]), 0);
	}
	next_turn();
	check_int(wh_offload_opts(executor, count_job, &ran, &unless_full, NULL), -EAGAIN);
	check_int(ran, 0);
	gate_open(&gate);
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < 3; i++)
		check_int(others[i].r, 0);
	check_int(wh_offload_opts(executor, count_job, &ran, &unless_full, NULL), 0);
	check_int(ran, 4);
	wh_executor_close(executor);
	return 0;
}

static int what_cannot_be_is_refused(void *arg)
{
	struct wh_executor *executor = open_executor(&(struct wh_executor_opts){ .threads = 1 });
	const struct wh_offload_opts no_lane = { .lane = WH_LANES }, kill = { .kill = true };
	_Atomic int ran = 0;

	(void)arg;
	check_int(wh_offload_opts(executor, count_job, &ran, &no_lane, NULL), -EINVAL);
	check_int(wh_offload_opts(executor, count_job, &ran, &kill, NULL), -EINVAL);
	check_int(ran, 0);
	check_int(wh_offload_opts(executor, count_job, &ran, NULL, NULL), 0);
	check_int(ran, 1);
	wh_executor_close(executor);
	return 0;
}

/* Those handed over and those submitted in this very turn, of both lanes. */
static int closing_does_what_is_queued_first(void *arg)
{
	struct wh_executor *executor = open_executor(&(struct wh_executor_opts){ .threads = 1 });
	struct offload first = { .executor = executor }, others[JOBS];
	struct wh_scope scope;
	struct gate gate;
	_Atomic int ran = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	spawn_gates(&scope, &first, &gate, 1);
	gate_await(&gate);
	for (int i = 0; i < JOBS; i++) {
		others[i] = (struct offload){ .executor = executor, .fn = count_job, .arg = &ran };
		others[i].opts.lane = i % 2 ? WH_LANE_BLOCKING : WH_LANE_CPU;
		check_int(wh_spawn(&scope, offload, &others[i]), 0);
		if (i == JOBS / 2)
			next_turn();
	}
	check_int(wh_yield(), 0);
	gate_open(&gate);
	wh_executor_close(executor);
	check_int(ran, JOBS);
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < JOBS; i++)
		check_int(others[i].r, 0);
	return 0;
}

struct crowd {
	struct wh_executor *executor;
	_Atomic int ran;
};

static int offload_to_both(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < MANY; i++) {
		check_int(wh_offload(crowd->executor, count_job, &crowd->ran, NULL), 0);
		check_int(wh_offload_blocking(crowd->executor, count_job, &crowd->ran, NULL), 0);
	}
	return 0;
}

static int crowd_of_one_loop(void *arg)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	for (int i = 0; i < JOBS; i++)
		check_int(wh_spawn(&scope, offload_to_both, arg), 0);
	return wh_scope_close(&scope);
}

static int loops_share_both_lanes(void *arg)
{
	struct crowd crowd = { .executor = open_executor(&(struct wh_executor_opts){
				       .threads = 2, .blocking_max = 3, .queue_max = 4 }) };
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, crowd_of_one_loop, &crowd), 0);
	for (unsigned i = 1; i < wh_loop_count(); i++)
		check_int(wh_loop_call(wh_loop_at(i), crowd_of_one_loop, &crowd, NULL), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(crowd.ran, (int)wh_loop_count() * JOBS * MANY * 2);
	wh_executor_close(crowd.executor);
	return 0;
}

static int offload_blocking_often(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < OFTEN; i++)
		check_int(wh_offload_blocking(crowd->executor, count_job, &crowd->ran, NULL), 0);
	return 0;
}

/* The only thread leaves whenever it has no work, which is when a job comes; nobody comes after it
 * who could help. */
static int job_that_meets_a_leaving_thread_is_done(void *arg)
{
	struct crowd crowd = { .executor = open_executor(&(struct wh_executor_opts){
				       .threads = 1, .blocking_max = 1, .blocking_idle_ns = 1 }) };

	(void)arg;
	check_int(offload_blocking_often(&crowd), 0);
	check_int(crowd.ran, OFTEN);
	wh_executor_close(crowd.executor);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(blocking_jobs_do_not_hold_up_computing_ones),
		task_test(computing_jobs_do_not_hold_up_blocking_ones),
		task_test(blocking_jobs_run_together_up_to_their_bound),
		task_test(idle_blocking_threads_go_and_come_again),
		task_test(job_fails_if_no_thread_can_be_had_for_it),
		task_test(jobs_wait_for_a_thread_if_no_more_can_be_had),
		task_test(long_jobs_hold_up_none),
		task_test(full_queue_refuses_who_will_not_wait),
		task_test(what_cannot_be_is_refused),
		task_test(closing_does_what_is_queued_first),
		task_test(loops_share_both_lanes, .loops = 3),
		task_test(job_that_meets_a_leaving_thread_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
