/*
 * Signals: the first SIGINT or SIGTERM cancels a runtime, at any moment of its life.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "support/child.h"
#include "support/task_test.h"

static int return_arg(void *arg)
{
	return (int)(intptr_t)arg;
}

static int run(wh_task_fn fn, void *arg, uint32_t loops, int *ret_result)
{
	return wh_run(fn, arg, &(struct wh_run_opts){ .loops = loops }, ret_result);
}

static int raise_and_sleep(void *arg)
{
	check_int(raise((int)(intptr_t)arg), 0);
	return wh_sleep_until(UINT64_MAX);
}

static void signal_cancels_everything(void **state)
{
	const int signals[] = { SIGINT, SIGTERM };

	(void)state;
	for (uint32_t loops = 1; loops <= 2; loops++) {
		for (size_t i = 0; i < 2; i++) {
			int result = 0;

			assert_int_equal(run(raise_and_sleep, (void *)(intptr_t)signals[i], loops,
					     &result),
					 0);
			assert_int_equal(result, -ECANCELED);
			assert_int_equal(wh_run_signal(), signals[i]);
		}
	}
}

static void handlers_are_restored(void **state)
{
	struct sigaction before, after;

	(void)state;
	sigaction(SIGINT, NULL, &before);
	assert_int_equal(run(raise_and_sleep, (void *)SIGINT, 1, NULL), 0);
	sigaction(SIGINT, NULL, &after);
	assert_ptr_equal(before.sa_handler, after.sa_handler);
	assert_int_equal(run(return_arg, NULL, 1, NULL), 0);
	assert_int_equal(wh_run_signal(), 0);
}

static int raise_twice(void *arg)
{
	struct wh_scope shield;

	(void)arg;
	raise(SIGTERM);
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	check_int(wh_yield(), 0);
	raise(SIGTERM);
	wh_scope_close(&shield);
	return 0;
}

static void run_raise_twice(void *arg)
{
	(void)arg;
	run(raise_twice, NULL, 1, NULL);
}

static void second_signal_kills(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, run_raise_twice, NULL);
	assert_int_equal(child.signal, SIGTERM);
}

static _Atomic int kept;

static void keep(int signal)
{
	kept = signal;
}

static int raise_and_return(void *arg)
{
	raise(SIGINT);
	check_int(wh_yield(), 0);
	return (int)(intptr_t)arg;
}

static void signals_are_left_alone_on_request(void **state)
{
	const struct wh_run_opts opts = { .loops = 1, .keep_signals = true };
	void (*before)(int) = signal(SIGINT, keep);
	int result = 0;

	(void)state;
	kept = 0;
	assert_int_equal(wh_run(raise_and_return, (void *)5, &opts, &result), 0);
	assert_int_equal(result, 5);
	assert_int_equal(kept, SIGINT);
	signal(SIGINT, before);
}

static void ignored_signal_stays_ignored(void **state)
{
	void (*before)(int) = signal(SIGINT, SIG_IGN);
	int result = 0;

	(void)state;
	assert_int_equal(run(raise_and_return, (void *)6, 1, &result), 0);
	assert_int_equal(result, 6);
	signal(SIGINT, before);
}

/* One SIGINT and one SIGTERM a round, at any moment of a runtime that opens, runs and closes. */

enum { SIGNAL_ROUNDS = 300 };

struct rounds {
	_Atomic int begun, sent;
	uint64_t random;
};

static void *send_signals(void *arg)
{
	struct rounds *rounds = arg;

	for (int round = 1; round <= SIGNAL_ROUNDS; round++) {
		while (rounds->begun < round)
			sched_yield();
		for (uint64_t spin = random_next(&rounds->random) % 400; spin > 0; spin--)
			sched_yield();
		kill(getpid(), SIGINT);
		kill(getpid(), SIGTERM);
		rounds->sent = round;
	}
	return NULL;
}

static int yield_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++)
		if (wh_yield() < 0)
			break;
	return 0;
}

static void run_under_signals(void *arg)
{
	struct rounds rounds = { .random = (uint64_t)getpid() };
	pthread_t thread;

	(void)arg;
	signal(SIGINT, keep);
	signal(SIGTERM, keep);
	check_int(pthread_create(&thread, NULL, send_signals, &rounds), 0);
	for (int round = 1; round <= SIGNAL_ROUNDS; round++) {
		rounds.begun = round;
		check_int(run(yield_often, NULL, 2, NULL), 0);
		while (rounds.sent < round)
			sched_yield();
	}
	pthread_join(thread, NULL);
}

static void signals_at_any_moment_are_harmless(void **state)
{
	struct child child;

	(void)state;
	run_child(&child, run_under_signals, NULL);
	assert_string_equal(child.text, "");
	assert_int_equal(child.signal, 0);
	assert_int_equal(child.status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signal_cancels_everything),
		cmocka_unit_test(handlers_are_restored),
		cmocka_unit_test(second_signal_kills),
		cmocka_unit_test(signals_are_left_alone_on_request),
		cmocka_unit_test(ignored_signal_stays_ignored),
		cmocka_unit_test(signals_at_any_moment_are_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
