/*
 * Waiting for an operation, on a fake backend: whatever the order of completion, cancellation and
 * failure, the operation completes once, the task goes on once, and the result is what a program
 * was promised.
 */
#include <errno.h>

#include "support/fake_backend.h"

enum { RACES = TEST_ROUNDS };

static struct wh_loop loop;
static struct fake fake;

static int open_loop(void **state)
{
	(void)state;
	fake_loop_open(&loop, &fake, 4);
	return 0;
}

static int close_loop(void **state)
{
	(void)state;
	fake_loop_close(&loop);
	return 0;
}

#define RULES(...)                                                                                 \
	static const struct fake_rule rules[] = { __VA_ARGS__ };                                   \
	fake_rules(&fake, rules, sizeof(rules) / sizeof(rules[0]))

struct waiter {
	struct wh_scope *scope; /* the one it waits in */
	uint8_t kind;
	int result;
	bool over;
};

static int await_once(void *arg)
{
	struct waiter *waiter = arg;
	struct whi_op op = { .kind = waiter->kind };
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	waiter->scope = &scope;
	waiter->result = whi_await(&op);
	waiter->over = true;
	check(!whi_op_pending(&op));
	wh_scope_close(&scope);
	return 0;
}

static int await_nop(void)
{
	struct whi_op op = { .kind = WHI_OP_NOP };

	return whi_await(&op);
}

static int await_read(void)
{
	struct whi_op op = { .kind = WHI_OP_READ };

	return whi_await(&op);
}

/* Results */

static void completion_resumes_the_task_with_its_result(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_READ };

	(void)state;
	fake_spawn(&loop, await_once, &waiter);
	fake_settle(&loop);
	assert_false(waiter.over);
	fake_complete(&fake, fake_find(&fake, WHI_OP_READ), 123, 0);
	fake_run(&loop);
	assert_int_equal(waiter.result, 123);
}

static void error_is_passed_on(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_READ };

	(void)state;
	RULES({ WHI_OP_READ, FAKE_TURNS, .turns = 3, .result = -EIO });
	fake_spawn(&loop, await_once, &waiter);
	fake_run(&loop);
	assert_int_equal(waiter.result, -EIO);
}

static void completion_inside_submit_does_not_suspend(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_READ };

	(void)state;
	RULES({ WHI_OP_READ, FAKE_INSIDE, .result = -ENOMEM });
	fake_spawn(&loop, await_once, &waiter);
	assert_int_equal(whi_loop_turn(&loop, false), 0);
	assert_true(waiter.over);
	assert_int_equal(waiter.result, -ENOMEM);
}

static void interrupted_call_is_made_again(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_READ };

	(void)state;
	RULES({ WHI_OP_READ, FAKE_TURNS, .result = -EINTR, .times = 3 },
	      { WHI_OP_READ, FAKE_TURNS, .result = 8 });
	fake_spawn(&loop, await_once, &waiter);
	fake_run(&loop);
	assert_int_equal(waiter.result, 8);
	assert_int_equal(fake.submits[WHI_OP_READ], 4);
}

/* Linux has closed the descriptor all the same: again would be somebody else's. */
static void interrupted_close_is_not_made_again(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_CLOSE };

	(void)state;
	RULES({ WHI_OP_CLOSE, FAKE_TURNS, .result = -EINTR });
	fake_spawn(&loop, await_once, &waiter);
	fake_run(&loop);
	assert_int_equal(fake.submits[WHI_OP_CLOSE], 1);
}

static int await_many(void *arg)
{
	int *sum = arg;

	for (int i = 0; i < 100; i++)
		*sum += await_nop();
	return 0;
}

static void tasks_wait_independently(void **state)
{
	int sum = 0;

	(void)state;
	RULES({ WHI_OP_NOP, FAKE_TURNS, .result = 1 });
	for (int i = 0; i < 100; i++)
		fake_spawn(&loop, await_many, &sum);
	fake_run(&loop);
	assert_int_equal(sum, 100 * 100);
}

/* Cancellation */

static void cancellation_before_waiting_submits_nothing(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_READ };

	(void)state;
	whi_scope_cancel(&loop.sched.root, -ECANCELED);
	fake_spawn(&loop, await_once, &waiter);
	fake_run(&loop);
	assert_int_equal(waiter.result, -ECANCELED);
	assert_int_equal(fake.submits[WHI_OP_READ], 0);
}

static void cancelled_task_goes_on_only_after_the_completion(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_FSYNC };

	(void)state;
	RULES({ WHI_OP_FSYNC, FAKE_HELD, .cancel = FAKE_CANCEL_IGNORED });
	fake_spawn(&loop, await_once, &waiter);
	fake_settle(&loop);
	wh_scope_cancel(waiter.scope);
	fake_settle(&loop);
	assert_int_equal(fake.cancels, 1);
	assert_false(waiter.over);
	fake_complete(&fake, fake_find(&fake, WHI_OP_FSYNC), 0, 0);
	fake_run(&loop);
	assert_int_equal(waiter.result, 0);
}

static void cancelled_operation_returns_canceled(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_READ };

	(void)state;
	fake_spawn(&loop, await_once, &waiter);
	fake_settle(&loop);
	wh_scope_cancel(waiter.scope);
	fake_run(&loop);
	assert_int_equal(waiter.result, -ECANCELED);
}

static void interrupted_and_cancelled_operation_returns_canceled(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_READ };

	(void)state;
	RULES({ WHI_OP_READ, FAKE_HELD, .cancel = FAKE_CANCEL_LOSES, .result = -EINTR });
	fake_spawn(&loop, await_once, &waiter);
	fake_settle(&loop);
	wh_scope_cancel(waiter.scope);
	fake_run(&loop);
	assert_int_equal(waiter.result, -ECANCELED);
	assert_int_equal(fake.submits[WHI_OP_READ], 1);
}

/* The interruption has woken the task, so the cancellation finds nobody waiting. */
static void cancellation_of_an_interrupted_operation_is_not_lost(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_READ };

	(void)state;
	fake_spawn(&loop, await_once, &waiter);
	fake_settle(&loop);
	fake_complete(&fake, fake_find(&fake, WHI_OP_READ), -EINTR, 0);
	assert_int_equal(loop.backend->ops->turn(loop.backend, 0), 0);
	wh_scope_cancel(waiter.scope);
	fake_run(&loop);
	assert_int_equal(waiter.result, -ECANCELED);
	assert_int_equal(fake.submits[WHI_OP_READ], 1);
}

static int await_within_a_second(void *arg)
{
	struct whi_op op = { .kind = WHI_OP_READ };
	struct wh_scope scope;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = loop.sched.now_ns + WH_SEC });
	*(int *)arg = whi_await(&op);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static void operation_at_its_deadline_returns_timedout(void **state)
{
	int result = 0;

	(void)state;
	fake_spawn(&loop, await_within_a_second, &result);
	fake_run(&loop);
	assert_int_equal(result, -ETIMEDOUT);
}

static void operation_that_cannot_be_cancelled_is_waited_for(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_CLOSE };

	(void)state;
	RULES({ WHI_OP_CLOSE, FAKE_TURNS, .turns = 5, .result = 0 });
	fake_spawn(&loop, await_once, &waiter);
	assert_int_equal(whi_loop_turn(&loop, false), 0);
	wh_scope_cancel(waiter.scope);
	fake_run(&loop);
	assert_int_equal(waiter.result, 0);
	assert_int_equal(fake.cancels, 0);
}

static void operation_on_the_backlog_can_be_cancelled(void **state)
{
	struct waiter waiter = { .kind = WHI_OP_READ };

	(void)state;
	RULES({ WHI_OP_READ, FAKE_BACKLOG, .turns = 100 });
	fake_spawn(&loop, await_once, &waiter);
	assert_int_equal(whi_loop_turn(&loop, false), 0);
	wh_scope_cancel(waiter.scope);
	fake_run(&loop);
	assert_int_equal(waiter.result, -ECANCELED);
}

static int await_shielded(void *arg)
{
	struct whi_op op = { .kind = WHI_OP_SHUTDOWN };

	*(int *)arg = whi_await_shielded(&op);
	return 0;
}

static void shielded_wait_is_not_prevented_by_cancellation(void **state)
{
	int result = -1;

	(void)state;
	RULES({ WHI_OP_SHUTDOWN, FAKE_TURNS, .turns = 2, .result = 0 });
	whi_scope_cancel(&loop.sched.root, -ECANCELED);
	fake_spawn(&loop, await_shielded, &result);
	fake_run(&loop);
	assert_int_equal(result, 0);
}

static void shielded_wait_is_not_interrupted_by_cancellation(void **state)
{
	int result = -1;

	(void)state;
	RULES({ WHI_OP_SHUTDOWN, FAKE_TURNS, .turns = 5, .result = 0 });
	fake_spawn(&loop, await_shielded, &result);
	assert_int_equal(whi_loop_turn(&loop, false), 0);
	whi_scope_cancel(&loop.sched.root, -ECANCELED);
	fake_run(&loop);
	assert_int_equal(result, 0);
	assert_int_equal(fake.cancels, 0);
}

/* Races. Within one turn the backend delivers the completion first, and the task is cancelled
 * before it runs; or it is cancelled first, and the completion has happened already. */

static void completion_before_cancellation_is_delivered(void **state)
{
	(void)state;
	for (int i = 0; i < RACES; i++) {
		struct waiter waiter = { .kind = WHI_OP_ACCEPT };

		fake_spawn(&loop, await_once, &waiter);
		assert_int_equal(whi_loop_turn(&loop, false), 0);
		fake_complete(&fake, fake_find(&fake, WHI_OP_ACCEPT), 7, 0);
		assert_int_equal(loop.backend->ops->turn(loop.backend, 0), 0);
		wh_scope_cancel(waiter.scope);
		fake_run(&loop);
		assert_int_equal(waiter.result, 7);
	}
	assert_int_equal(fake.submits[WHI_OP_ACCEPT], RACES);
	assert_int_equal(fake.base.stats.completions, RACES);
	assert_int_equal(fake.cancels, 0);
}

static void completion_that_beats_its_cancellation_is_delivered(void **state)
{
	(void)state;
	RULES({ WHI_OP_ACCEPT, FAKE_HELD, .cancel = FAKE_CANCEL_LOSES, .result = 7 });
	for (int i = 0; i < RACES; i++) {
		struct waiter waiter = { .kind = WHI_OP_ACCEPT };

		fake_spawn(&loop, await_once, &waiter);
		assert_int_equal(whi_loop_turn(&loop, false), 0);
		wh_scope_cancel(waiter.scope);
		fake_run(&loop);
		assert_int_equal(waiter.result, 7);
	}
	assert_int_equal(fake.submits[WHI_OP_ACCEPT], RACES);
	assert_int_equal(fake.base.stats.completions, RACES);
	assert_int_equal(fake.cancels, RACES);
}

static void cancellation_that_beats_the_completion_completes_once(void **state)
{
	(void)state;
	for (int i = 0; i < RACES; i++) {
		struct waiter waiter = { .kind = WHI_OP_ACCEPT };

		fake_spawn(&loop, await_once, &waiter);
		assert_int_equal(whi_loop_turn(&loop, false), 0);
		wh_scope_cancel(waiter.scope);
		wh_scope_cancel(waiter.scope);
		fake_run(&loop);
		assert_int_equal(waiter.result, -ECANCELED);
	}
	assert_int_equal(fake.base.stats.completions, RACES);
}

/* The loop on a fake */

static int sleep_an_hour(void *arg)
{
	(void)arg;
	return wh_sleep_until(loop.sched.now_ns + 3600 * WH_SEC);
}

static void loop_waits_until_the_next_deadline(void **state)
{
	uint64_t before = fake.now_ns;

	(void)state;
	fake_spawn(&loop, sleep_an_hour, NULL);
	fake_run(&loop);
	assert_in_range(fake.now_ns - before, 3600 * WH_SEC, 3600 * WH_SEC + WH_SEC);
	assert_in_range(loop.turns, 1, 10);
}

static int read_twice(void *arg)
{
	int *reads = arg;

	*reads += await_read();
	*reads += await_read();
	return 0;
}

/* A task that became ready in submit, or by the backlog, is not left for a turn that waits. */
static void loop_does_not_wait_while_a_task_is_ready(void **state)
{
	int reads = 0;

	(void)state;
	RULES({ WHI_OP_READ, FAKE_INSIDE, .result = 1, .times = 1 },
	      { WHI_OP_READ, FAKE_TURNS, .result = 1 });
	fake_spawn(&loop, read_twice, &reads);
	fake_run(&loop);
	assert_int_equal(reads, 2);
}

#define LOOP_TEST(function) cmocka_unit_test_setup_teardown(function, open_loop, close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(completion_resumes_the_task_with_its_result),
		LOOP_TEST(error_is_passed_on),
		LOOP_TEST(completion_inside_submit_does_not_suspend),
		LOOP_TEST(interrupted_call_is_made_again),
		LOOP_TEST(interrupted_close_is_not_made_again),
		LOOP_TEST(tasks_wait_independently),
		LOOP_TEST(cancellation_before_waiting_submits_nothing),
		LOOP_TEST(cancelled_task_goes_on_only_after_the_completion),
		LOOP_TEST(cancelled_operation_returns_canceled),
		LOOP_TEST(interrupted_and_cancelled_operation_returns_canceled),
		LOOP_TEST(cancellation_of_an_interrupted_operation_is_not_lost),
		LOOP_TEST(operation_at_its_deadline_returns_timedout),
		LOOP_TEST(operation_that_cannot_be_cancelled_is_waited_for),
		LOOP_TEST(operation_on_the_backlog_can_be_cancelled),
		LOOP_TEST(shielded_wait_is_not_prevented_by_cancellation),
		LOOP_TEST(shielded_wait_is_not_interrupted_by_cancellation),
		LOOP_TEST(completion_before_cancellation_is_delivered),
		LOOP_TEST(completion_that_beats_its_cancellation_is_delivered),
		LOOP_TEST(cancellation_that_beats_the_completion_completes_once),
		LOOP_TEST(loop_waits_until_the_next_deadline),
		LOOP_TEST(loop_does_not_wait_while_a_task_is_ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
