/*
 * The thread executor: results, order, bounds, cancellation, closing. Jobs wait for gates, not for
 * time.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <whorl/exec.h>

#include "base/alloc.h"
#include "support/task_test.h"
#include "unit/exec/gate.h"

enum { TASKS = 100, JOBS_EACH = 50, RACES = 2000 };

static struct wh_executor *open_executor(uint32_t threads, uint32_t queue_max)
{
	const struct wh_executor_opts opts = { .threads = threads, .queue_max = queue_max };
	struct wh_executor *executor;

	check_int(wh_executor_open(&opts, &executor), 0);
	return executor;
}

/* A job in a task of its own. */
struct offload {
	struct wh_executor *executor;
	wh_job_fn fn;
	void *arg;
	int r, result;
};

static int offload(void *arg)
{
	struct offload *offload = arg;

	offload->r = wh_offload(offload->executor, offload->fn, offload->arg, &offload->result);
	return 0;
}

static int return_arg(void *arg)
{
	return (int)(intptr_t)arg;
}

/* Results */

static int result_comes_back(void *arg)
{
	struct wh_executor *executor = open_executor(1, 0);
	int result = 0;

	(void)arg;
	check_int(wh_offload(executor, return_arg, (void *)42, &result), 0);
	check_int(result, 42);
	check_int(wh_offload(executor, return_arg, (void *)-EIO, &result), 0);
	check_int(result, -EIO);
	check_int(wh_offload(executor, return_arg, NULL, NULL), 0);
	wh_executor_close(executor);
	return 0;
}

static int not_this_thread(void *arg)
{
	return pthread_equal(*(pthread_t *)arg, pthread_self()) ? -EIO : 0;
}

static int job_runs_on_another_thread(void *arg)
{
	struct wh_executor *executor = open_executor(1, 0);
	pthread_t mine = pthread_self();
	int result = -1;

	(void)arg;
	check_int(wh_offload(executor, not_this_thread, &mine, &result), 0);
	wh_executor_close(executor);
	return result;
}

static int signals_are_blocked(void *arg)
{
	sigset_t set;

	(void)arg;
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	return sigismember(&set, SIGINT) && sigismember(&set, SIGTERM) ? 0 : -EIO;
}

static int workers_leave_signals_to_others(void *arg)
{
	struct wh_executor *executor = open_executor(1, 0);
	int result = -1;

	(void)arg;
	check_int(wh_offload(executor, signals_are_blocked, NULL, &result), 0);
	wh_executor_close(executor);
	return result;
}

static int let_through(void *arg)
{
	struct gate *gates = arg;

	/* Both run at once, or this never returns. */
	gate_await(&gates[0]);
	gate_await(&gates[1]);
	gate_open(&gates[0]);
	gate_open(&gates[1]);
	return 0;
}

static int every_thread_works(void *arg)
{
	struct wh_executor *executor = open_executor(3, 0);
	struct offload offloads[3];
	struct gate gates[2];
	struct wh_scope scope;

	(void)arg;
	check_int(wh_executor_threads(executor), 3);
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < 2; i++) {
		gate_init(&gates[i]);
		offloads[i] = (struct offload){ executor, gate_pass, &gates[i], 0, 0 };
		check_int(wh_spawn(&scope, offload, &offloads[i]), 0);
	}
	offloads[2] = (struct offload){ executor, let_through, gates, 0, 0 };
	check_int(wh_spawn(&scope, offload, &offloads[2]), 0);
	check_int(wh_scope_close(&scope), 0);
	wh_executor_close(executor);
	return 0;
}

/* Order and bounds */

static int order[64];
static int order_count;

static int note_order(void *arg)
{
	order[order_count++] = (int)(intptr_t)arg;
	return 0;
}

/* More jobs than the queue holds: those in line keep their order behind it. */
static int jobs_begin_in_the_order_asked_for(void *arg)
{
	struct wh_executor *executor = open_executor(1, 2);
	struct offload first, offloads[20];
	struct wh_scope scope;
	struct gate gate;

	(void)arg;
	order_count = 0;
	gate_init(&gate);
	first = (struct offload){ executor, gate_pass, &gate, 0, 0 };
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, offload, &first), 0);
	next_turn();
	gate_await(&gate);
	for (intptr_t i = 0; i < 20; i++) {
		offloads[i] = (struct offload){ executor, note_order, (void *)i, 0, 0 };
		check_int(wh_spawn(&scope, offload, &offloads[i]), 0);
	}
	next_turn();
	check_int(order_count, 0);
	gate_open(&gate);
	check_int(wh_scope_close(&scope), 0);
	check_int(order_count, 20);
	for (int i = 0; i < 20; i++)
		check_int(order[i], i);
	wh_executor_close(executor);
	return 0;
}

/* Cancellation */

static int cancelled_task_submits_nothing(void *arg)
{
	struct wh_executor *executor = open_executor(1, 0);
	struct wh_scope scope;

	(void)arg;
	order_count = 0;
	wh_scope_open(&scope, NULL);
	wh_scope_cancel(&scope);
	check_int(wh_offload(executor, note_order, NULL, NULL), -ECANCELED);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(order_count, 0);
	wh_executor_close(executor);
	return 0;
}

/* One thread, which is busy; two places on the queue; the third waits in line. `victim` of the
 * three is cancelled, and the other two run. */
static void cancel_one(int victim)
{
	struct wh_executor *executor = open_executor(1, 2);
	struct offload first, offloads[3];
	struct wh_task *tasks[3];
	struct wh_scope scope;
	struct gate gate;

	order_count = 0;
	gate_init(&gate);
	first = (struct offload){ executor, gate_pass, &gate, 0, 0 };
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, offload, &first), 0);
	next_turn();
	gate_await(&gate);
	for (intptr_t i = 0; i < 3; i++) {
		offloads[i] = (struct offload){ executor, note_order, (void *)i, 0, 0 };
		check_int(wh_spawn(&scope, offload, &offloads[i], .ret_task = &tasks[i]), 0);
	}
	next_turn();
	wh_task_cancel(tasks[victim]);
	/* It returns while the only thread is still busy. */
	check_int(wh_task_join(tasks[victim], NULL), 0);
	check_int(offloads[victim].r, -ECANCELED);
	gate_open(&gate);
	check_int(wh_scope_close(&scope), 0);
	check_int(order_count, 2);
	check(order[0] < order[1] && order[0] != victim && order[1] != victim);
	wh_executor_close(executor);
}

static int cancelled_job_in_the_queue_never_runs(void *arg)
{
	(void)arg;
	cancel_one(0);
	cancel_one(1);
	return 0;
}

static int cancelled_job_in_line_never_runs(void *arg)
{
	(void)arg;
	cancel_one(2);
	return 0;
}

static int places_of_cancelled_jobs_are_free_again(void *arg)
{
	struct wh_executor *executor = open_executor(1, 1);

	(void)arg;
	for (int i = 0; i < 10; i++) {
		struct offload first, second;
		struct wh_scope outer, inner;
		struct gate gate;

		gate_init(&gate);
		first = (struct offload){ executor, gate_pass, &gate, 0, 0 };
		second = (struct offload){ executor, return_arg, NULL, 0, 0 };
		wh_scope_open(&outer, NULL);
		check_int(wh_spawn(&outer, offload, &first), 0);
		next_turn();
		gate_await(&gate);
		wh_scope_open(&inner, NULL);
		check_int(wh_spawn(&inner, offload, &second), 0);
		next_turn();
		wh_scope_cancel(&inner);
		check_int(wh_scope_close(&inner), -ECANCELED);
		gate_open(&gate);
		check_int(wh_scope_close(&outer), 0);
	}
	wh_executor_close(executor);
	return 0;
}

static int running_job_is_waited_for_and_its_result_delivered(void *arg)
{
	struct wh_executor *executor = open_executor(1, 0);
	struct wh_scope scope;
	struct offload job;
	struct gate gate;

	(void)arg;
	gate_init(&gate);
	job = (struct offload){ executor, gate_pass, &gate, -1, -1 };
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, offload, &job), 0);
	next_turn();
	gate_await(&gate);
	wh_scope_cancel(&scope);
	check_int(job.r, -1);
	gate_open(&gate);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(job.r, 0);
	check_int(job.result, 7);
	wh_executor_close(executor);
	return 0;
}

/* The job has ended, but its task has not run since. */
static int task_cancelled_after_the_executor_was_closed_gets_its_result(void *arg)
{
	struct wh_executor *executor = open_executor(1, 0);
	struct offload job = { executor, return_arg, (void *)7, -1, -1 };
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, offload, &job), 0);
	next_turn();
	wh_executor_close(executor);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(job.r, 0);
	check_int(job.result, 7);
	return 0;
}

static int offload_blocking(void *arg)
{
	return wh_offload_blocking(arg, return_arg, NULL, NULL);
}

/* Threads leave at once when they find no work, and others are started by those that do. */
static int lane_can_be_closed_while_its_threads_come_and_go(void *arg)
{
	const struct wh_executor_opts opts = { .threads = 1,
					       .blocking_max = 8,
					       .blocking_idle_ns = 1 };

	(void)arg;
	for (int round = 0; round < 100; round++) {
		struct wh_executor *executor;
		struct wh_scope scope;

		check_int(wh_executor_open(&opts, &executor), 0);
		wh_scope_open(&scope, NULL);
		for (int i = 0; i < 3 * (int)opts.blocking_max; i++) {
			check_int(wh_spawn(&scope, offload_blocking, executor), 0);
			if (i % 8 == round % 8)
				next_turn();
		}
		check_int(wh_yield(), 0);
		wh_executor_close(executor);
		check_int(wh_scope_close(&scope), 0);
	}
	return 0;
}

/* One real millisecond passes: the threads are real, and the job before it waits for its gate. */
static int deadline_ends_waiting_in_the_queue(void *arg)
{
	struct wh_executor *executor = open_executor(1, 1);
	struct wh_scope outer, inner;
	struct offload first;
	struct gate gate;

	(void)arg;
	order_count = 0;
	gate_init(&gate);
	first = (struct offload){ executor, gate_pass, &gate, 0, 0 };
	wh_scope_open(&outer, NULL);
	check_int(wh_spawn(&outer, offload, &first), 0);
	next_turn();
	gate_await(&gate);
	wh_scope_open(&inner, &(struct wh_scope_opts){ .timeout_ns = WH_MS });
	check_int(wh_offload(executor, note_order, NULL, NULL), -ETIMEDOUT);
	check_int(wh_scope_close(&inner), -ETIMEDOUT);
	gate_open(&gate);
	check_int(wh_scope_close(&outer), 0);
	check_int(order_count, 0);
	wh_executor_close(executor);
	return 0;
}

static int count_job(void *arg)
{
	++*(_Atomic unsigned *)arg;
	return 0;
}

/* Either the job ran and its result came, or it was removed and never ran. */
static int cancellation_that_races_the_start_is_all_or_nothing(void *arg)
{
	struct wh_executor *executor = open_executor(2, 2);
	_Atomic unsigned ran = 0;
	unsigned delivered = 0;

	(void)arg;
	for (int i = 0; i < RACES; i++) {
		struct offload job = { executor, count_job, &ran, 1, 0 };
		struct wh_scope scope;

		wh_scope_open(&scope, NULL);
		check_int(wh_spawn(&scope, offload, &job), 0);
		next_turn();
		for (int spin = 0; spin < i % 100; spin++)
			__asm__ volatile("" ::: "memory");
		wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), -ECANCELED);
		check(job.r == 0 || job.r == -ECANCELED);
		delivered += job.r == 0;
	}
	check_int(ran, delivered);
	wh_executor_close(executor);
	return 0;
}

/* Many */

struct crowd {
	struct wh_executor *executor;
	_Atomic unsigned ran;
};

static int offload_often(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < JOBS_EACH; i++)
		check_int(wh_offload(crowd->executor, count_job, &crowd->ran, NULL), 0);
	return 0;
}

static int crowd_of_one_loop(void *arg)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	for (int i = 0; i < TASKS; i++)
		check_int(wh_spawn(&scope, offload_often, arg), 0);
	return wh_scope_close(&scope);
}

static int tasks_of_two_loops_share_an_executor(void *arg)
{
	struct crowd crowd = { .executor = open_executor(2, 4) };
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, crowd_of_one_loop, &crowd), 0);
	check_int(wh_loop_call(wh_loop_at(1), crowd_of_one_loop, &crowd, NULL), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(crowd.ran, 2 * TASKS * JOBS_EACH);
	wh_executor_close(crowd.executor);
	return 0;
}

/* Opening and closing */

static void idle_executor_can_be_closed(void **state)
{
	(void)state;
	for (uint32_t threads = 1; threads <= 4; threads++)
		wh_executor_close(open_executor(threads, 0));
	wh_executor_close(open_executor(0, 0));
}

static void too_many_threads_are_refused(void **state)
{
	const struct wh_executor_opts opts = { .threads = 1025 };
	struct wh_executor *executor = NULL;

	(void)state;
	assert_int_equal(wh_executor_open(&opts, &executor), -EINVAL);
	assert_null(executor);
}

static void opening_without_memory_leaves_nothing(void **state)
{
	struct wh_executor *executor = NULL;

	(void)state;
	whi_alloc_fail_at(1);
	assert_int_equal(wh_executor_open(NULL, &executor), -ENOMEM);
	whi_alloc_fail_at(0);
	assert_null(executor);
}

static int offload_to(void *arg)
{
	return wh_offload(arg, return_arg, NULL, NULL);
}

static void executor_outlives_runtimes(void **state)
{
	struct wh_executor *executor = open_executor(2, 0);

	(void)state;
	for (int i = 0; i < 100; i++) {
		int result = -1;

		assert_int_equal(wh_run(offload_to, executor, &(struct wh_run_opts){ .loops = 1 },
					&result),
				 0);
		assert_int_equal(result, 0);
	}
	wh_executor_close(executor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(result_comes_back),
		task_test(job_runs_on_another_thread),
		task_test(workers_leave_signals_to_others),
		task_test(every_thread_works),
		task_test(jobs_begin_in_the_order_asked_for),
		task_test(cancelled_task_submits_nothing),
		task_test(cancelled_job_in_the_queue_never_runs),
		task_test(cancelled_job_in_line_never_runs),
		task_test(places_of_cancelled_jobs_are_free_again),
		task_test(running_job_is_waited_for_and_its_result_delivered),
		task_test(task_cancelled_after_the_executor_was_closed_gets_its_result),
		task_test(lane_can_be_closed_while_its_threads_come_and_go),
		task_test(deadline_ends_waiting_in_the_queue),
		task_test(cancellation_that_races_the_start_is_all_or_nothing),
		task_test(tasks_of_two_loops_share_an_executor, .loops = 2),
		cmocka_unit_test(idle_executor_can_be_closed),
		cmocka_unit_test(too_many_threads_are_refused),
		cmocka_unit_test(opening_without_memory_leaves_nothing),
		cmocka_unit_test(executor_outlives_runtimes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
