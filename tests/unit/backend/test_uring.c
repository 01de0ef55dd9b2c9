/*
 * A backend beyond single operations: small queues, many operations, full completion
 * queues, waking, closing with operations in flight.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "support/ring.h"

enum { MANY = 5000, CANCELS = 10000 };

static struct ring_op ops[MANY];

static int clear_and_setup(void **state)
{
	memset(ops, 0, sizeof(ops));
	return ring_setup(state);
}

static void only_uring(const char *why)
{
	if (ring->ops == &whi_backend_uring)
		return;
	print_message("skipped: %s\n", why);
	skip();
}

/* nop, timer */

static void nop_completes_with_zero(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_NOP };

	(void)state;
	assert_int_equal(ring_run(&op), 0);
}

static void set_timer(struct ring_op *op, uint64_t at_ns)
{
	op->op.timer.at.tv_sec = (int64_t)(at_ns / WHI_NS_PER_SEC);
	op->op.timer.at.tv_nsec = (long long)(at_ns % WHI_NS_PER_SEC);
}

static void timer_ends_when_its_time_has_come(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_TIMER };
	uint64_t at_ns = whi_clock_ns() + 2 * WH_MS;

	(void)state;
	set_timer(&op, at_ns);
	assert_int_equal(ring_run(&op), -ETIME);
	assert_true(whi_clock_ns() >= at_ns);
}

static void timer_can_be_cancelled(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_TIMER };

	(void)state;
	set_timer(&op, whi_clock_ns() + 3600 * WH_SEC);
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

static void timer_of_no_time_fails(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_TIMER };

	(void)state;
	op.op.timer.at.tv_sec = -1;
	assert_int_equal(ring_run(&op), -EINVAL);
}

/* Many */

static void submit_nops(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		ops[i].op.kind = WHI_OP_NOP;
		ring_submit(&ops[i]);
	}
}

static void assert_all_done_once(unsigned count, int32_t result)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(ops[i].op.state, WHI_OP_DONE);
		assert_int_equal(ops[i].completions, 1);
		assert_int_equal(ops[i].op.result, result);
	}
}

static void small_queue_takes_thousands_of_operations(void **state)
{
	(void)state;
	submit_nops(MANY);
	for (unsigned i = 0; i < MANY; i++)
		ring_wait(&ops[i]);
	assert_all_done_once(MANY, 0);
	assert_int_equal(ring->stats.submitted, MANY);
	assert_int_equal(ring->stats.completions, MANY);
}

/* No turn in between: the kernel has to keep what does not fit. */
static void overflowing_completion_queue_loses_nothing_and_is_counted(void **state)
{
	(void)state;
	only_uring("epoll has no completion queue");
	submit_nops(MANY);
	while (ring->stats.inflight)
		ring_poke();
	assert_all_done_once(MANY, 0);
	assert_in_range(ring->stats.cq_overflows, 1, MANY);
}

static void resubmit(struct whi_op *op)
{
	struct ring_op *noted = op->owner;

	if (++noted->completions == 100)
		return;
	op->state = WHI_OP_IDLE;
	ring->ops->submit(ring, op);
}

static void operations_can_be_submitted_while_others_complete(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		ops[i].op =
			(struct whi_op){ .kind = WHI_OP_NOP, .done = resubmit, .owner = &ops[i] };
		ring->ops->submit(ring, &ops[i].op);
	}
	for (unsigned i = 0; i < 200; i++)
		ring_wait(&ops[i]);
	assert_int_equal(ring->stats.completions, 200 * 100);
}

static void operations_beyond_the_limit_are_refused_at_once(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (unsigned i = 0; i < 301; i++) {
		ops[i].op.kind = WHI_OP_POLL;
		ops[i].op.fd = pair[0];
		ops[i].op.arg.value = 1;
		ring_submit(&ops[i]);
	}
	assert_int_equal(ops[300].completions, 1);
	assert_int_equal(ops[300].op.result, -EAGAIN);
	assert_int_equal(ring->stats.inflight, 300);
	for (unsigned i = 0; i < 300; i++)
		ring_cancel(&ops[i]);
	for (unsigned i = 0; i < 300; i++)
		ring_wait(&ops[i]);
	assert_all_done_once(300, -ECANCELED);
	close(pair[0]);
	close(pair[1]);
}

static void operation_without_memory_is_refused_at_once(void **state)
{
	(void)state;
	only_uring("epoll needs no slot for what does not wait");
	submit_nops(256);
	whi_alloc_fail_at(1);
	ops[256].op.kind = WHI_OP_NOP;
	ring_submit(&ops[256]);
	whi_alloc_fail_at(0);
	assert_int_equal(ops[256].op.result, -ENOMEM);
	for (unsigned i = 0; i < 256; i++)
		ring_wait(&ops[i]);
	assert_all_done_once(256, 0);
}

/* Cancellation */

static void cancelling_twice_completes_once(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_TIMER };

	(void)state;
	set_timer(&op, whi_clock_ns() + 3600 * WH_SEC);
	ring_submit(&op);
	ring_poke();
	ring_cancel(&op);
	ring_cancel(&op);
	ring_poke();
	ring_cancel(&op);
	ring_wait(&op);
	assert_int_equal(op.completions, 1);
	assert_int_equal(op.op.result, -ECANCELED);
}

static void operation_is_cancelled_before_the_kernel_has_seen_it(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_TIMER };

	(void)state;
	set_timer(&op, whi_clock_ns() + 3600 * WH_SEC);
	ring_submit(&op);
	ring_cancel(&op);
	ring_wait(&op);
	assert_int_equal(op.completions, 1);
	assert_int_equal(op.op.result, -ECANCELED);
}

static void cancelling_what_cannot_be_is_ignored(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_NOP };

	(void)state;
	ring_submit(&op);
	ring_cancel(&op);
	ring_wait(&op);
	assert_int_equal(op.op.result, 0);
	assert_int_equal(op.completions, 1);
}

/* Data before or after the cancellation, by turns; what was received is never lost. */
static void receive_racing_its_cancellation_loses_nothing(void **state)
{
	unsigned received = 0, cancelled = 0;
	int pair[2];
	char byte;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (int i = 0; i < CANCELS; i++) {
		struct ring_op op = { .op.kind = WHI_OP_RECV,
				      .op.fd = pair[0],
				      .op.rw = { .buf = &byte, .len = 1 } };

		ring_submit(&op);
		if (i & 1)
			ring_poke();
		if (i & 2)
			assert_int_equal(write(pair[1], "x", 1), 1);
		ring_cancel(&op);
		if (i & 4)
			ring_poke();
		if (!(i & 2))
			assert_int_equal(write(pair[1], "x", 1), 1);
		ring_wait(&op);
		assert_int_equal(op.completions, 1);
		if (op.op.result == -ECANCELED) {
			cancelled++;
			assert_int_equal(read(pair[0], &byte, 1), 1);
		} else {
			assert_int_equal(op.op.result, 1);
			received++;
		}
	}
	assert_int_equal(received + cancelled, CANCELS);
	close(pair[0]);
	close(pair[1]);
}

static void thousands_of_operations_are_cancelled_through_a_small_queue(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		ops[i].op.kind = WHI_OP_TIMER;
		set_timer(&ops[i], whi_clock_ns() + 3600 * WH_SEC);
		ring_submit(&ops[i]);
	}
	for (unsigned i = 0; i < MANY; i++)
		ring_cancel(&ops[i]);
	for (unsigned i = 0; i < MANY; i++)
		ring_wait(&ops[i]);
	assert_all_done_once(MANY, -ECANCELED);
}

/* Waking */

static void *wake_ring(void *arg)
{
	struct whi_backend *backend = arg;

	backend->ops->wake(backend);
	return NULL;
}

static void wake_ends_a_turn_that_waits(void **state)
{
	pthread_t thread;

	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(pthread_create(&thread, NULL, wake_ring, ring), 0);
		assert_int_equal(ring->ops->turn(ring, WHI_NEVER), 0);
		pthread_join(thread, NULL);
	}
}

static void wake_before_the_turn_is_not_lost(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		ring->ops->wake(ring);
		assert_int_equal(ring->ops->turn(ring, WHI_NEVER), 0);
	}
}

static void turn_ends_at_its_timeout(void **state)
{
	uint64_t before = whi_clock_ns();

	(void)state;
	assert_int_equal(ring->ops->turn(ring, WH_MS), 0);
	/* The first one may have been ended by a completion of the backend's own. */
	while (whi_clock_ns() < before + WH_MS)
		assert_int_equal(ring->ops->turn(ring, WH_MS), 0);
}

/* Closing */

static void closing_ends_operations_in_flight(void **state)
{
	static char bufs[64];
	int pair[2];

	(void)state;
	clear_and_setup(state);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (unsigned i = 0; i < 64; i++) {
		ops[i].op = (struct whi_op){ .kind = WHI_OP_RECV,
					     .fd = pair[0],
					     .rw = { .buf = &bufs[i], .len = 1 } };
		ring_submit(&ops[i]);
	}
	ring_poke();
	ring->ops->close(ring);
	assert_all_done_once(64, -ECANCELED);
	close(pair[0]);
	close(pair[1]);
}

static void closing_ends_operations_that_were_never_submitted(void **state)
{
	(void)state;
	clear_and_setup(state);
	submit_nops(10);
	ring->ops->close(ring);
	assert_all_done_once(10, 0);
}

static void closing_an_unused_ring_leaves_no_descriptor(void **state)
{
	unsigned before = open_fds();

	(void)state;
	for (int i = 0; i < 10; i++) {
		struct whi_backend *backend = ring_open(NULL);

		backend->ops->close(backend);
	}
	assert_int_equal(open_fds(), before);
}

static void opening_without_memory_leaves_nothing(void **state)
{
	const struct whi_backend_opts opts = { .sq_entries = 8, .cq_entries = 16, .ops_max = 1 };
	struct whi_backend *backend = NULL;
	unsigned before = open_fds();
	int r = -ENOMEM;

	(void)state;
	for (uint64_t nth = 1; r == -ENOMEM; nth++) {
		whi_alloc_fail_at(nth);
		r = ring_ops()->open(&opts, &backend);
		whi_alloc_fail_at(0);
		if (r == -ENOMEM)
			assert_int_equal(open_fds(), before);
	}
	assert_int_equal(r, 0);
	backend->ops->close(backend);
	assert_int_equal(open_fds(), before);
}

#define URING_TEST(function, ...)                                                                  \
	{                                                                                          \
#function, function, clear_and_setup, ring_teardown, &(struct whi_backend_opts)    \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		URING_TEST(nop_completes_with_zero),
		URING_TEST(timer_ends_when_its_time_has_come),
		URING_TEST(timer_can_be_cancelled),
		URING_TEST(timer_of_no_time_fails),
		URING_TEST(small_queue_takes_thousands_of_operations, .sq_entries = 8),
		URING_TEST(overflowing_completion_queue_loses_nothing_and_is_counted,
			   .sq_entries = 8, .cq_entries = 16),
		URING_TEST(operations_can_be_submitted_while_others_complete, .sq_entries = 8,
			   .cq_entries = 16),
		URING_TEST(operations_beyond_the_limit_are_refused_at_once, .ops_max = 300),
		URING_TEST(operation_without_memory_is_refused_at_once),
		URING_TEST(cancelling_twice_completes_once),
		URING_TEST(operation_is_cancelled_before_the_kernel_has_seen_it),
		URING_TEST(cancelling_what_cannot_be_is_ignored),
		URING_TEST(receive_racing_its_cancellation_loses_nothing),
		URING_TEST(thousands_of_operations_are_cancelled_through_a_small_queue,
			   .sq_entries = 8, .cq_entries = 16),
		URING_TEST(wake_ends_a_turn_that_waits),
		URING_TEST(wake_before_the_turn_is_not_lost),
		URING_TEST(turn_ends_at_its_timeout),
		cmocka_unit_test(closing_ends_operations_in_flight),
		cmocka_unit_test(closing_ends_operations_that_were_never_submitted),
		cmocka_unit_test(closing_an_unused_ring_leaves_no_descriptor),
		cmocka_unit_test(opening_without_memory_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
