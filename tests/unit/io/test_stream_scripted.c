/*
 * Receive streams on a fake backend: what the kernel can do to a multishot receive, in every order
 * that matters. tests/unit/io/test_stream.c has the same on real sockets.
 */
#include <errno.h>
#include <string.h>

#include "io/stream.h"
#include "support/fake_backend.h"

enum { BUFS = 32, CHAIN_MAX = 16, RACES = TEST_ROUNDS };

static struct wh_loop loop;
static struct fake fake;
static struct whi_stream stream;

struct receiver {
	struct whi_stream *stream;
	char text[256]; /* the byte of each message */
	unsigned count;
	ssize_t end; /* what ended it */
	bool over;
};

static int open_stream(void **state)
{
	(void)state;
	fake_loop_open(&loop, &fake, BUFS);
	whi_stream_init(&stream, &loop, 5);
	return 0;
}

static int stop_stream(void *arg)
{
	whi_stream_stop(arg);
	return 0;
}

static int close_stream(void **state)
{
	(void)state;
	fake_spawn(&loop, stop_stream, &stream);
	fake_run(&loop);
	fake_loop_close(&loop);
	return 0;
}

/* Take until the stream ends or the task is cancelled; one byte a message is remembered. */
static int receive(void *arg)
{
	struct receiver *receiver = arg;
	uint16_t index;
	void *data;
	ssize_t r;

	for (;;) {
		while ((r = whi_stream_take(receiver->stream, &data, &index)) == -EAGAIN) {
			r = whi_stream_wait(receiver->stream);
			if (r < 0)
				break;
		}
		if (r <= 0)
			break;
		receiver->text[receiver->count++] = *(char *)data;
		whi_stream_give(&loop, data, index);
	}
	receiver->end = r;
	receiver->over = true;
	return 0;
}

static struct whi_op *armed(void)
{
	struct whi_op *op = fake_find(&fake, WHI_OP_RECV_MULTI);

	assert_non_null(op);
	return op;
}

static void cancel_all(void)
{
	whi_scope_cancel(&loop.sched.root, -ECANCELED);
	fake_run(&loop);
	loop.sched.root.status = 0;
}

/* Data */

static void nothing_is_armed_before_somebody_waits(void **state)
{
	(void)state;
	fake_settle(&loop);
	assert_int_equal(fake.submits[WHI_OP_RECV_MULTI], 0);
	assert_int_equal(fake.buf_count, 0);
}

static void messages_arrive_in_order_with_one_submission(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	for (char c = 'a'; c <= 'z'; c++) {
		assert_true(fake_receive(&fake, armed(), c, 10, WHI_OP_MORE));
		if (c % 3 == 0)
			fake_settle(&loop);
	}
	fake_settle(&loop);
	assert_string_equal(receiver.text, "abcdefghijklmnopqrstuvwxyz");
	assert_int_equal(fake.submits[WHI_OP_RECV_MULTI], 1);
	cancel_all();
}

static void receive_that_ends_without_more_is_armed_again(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	for (char c = 'a'; c <= 'j'; c++) {
		fake_settle(&loop);
		assert_true(fake_receive(&fake, armed(), c, 10, 0));
	}
	fake_settle(&loop);
	assert_string_equal(receiver.text, "abcdefghij");
	assert_int_equal(fake.submits[WHI_OP_RECV_MULTI], 11);
	assert_false(receiver.over);
	cancel_all();
}

static void interrupted_receive_is_armed_again(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	fake_complete(&fake, armed(), -EINTR, 0);
	fake_settle(&loop);
	assert_false(receiver.over);
	assert_true(fake_receive(&fake, armed(), 'x', 1, WHI_OP_MORE));
	fake_settle(&loop);
	assert_string_equal(receiver.text, "x");
	cancel_all();
}

static int copy_in_threes(void *arg)
{
	char *text = arg;
	ssize_t r;

	while ((r = whi_stream_copy(&stream, text + strlen(text), 3)) != 0) {
		if (r == -EAGAIN)
			check_int(whi_stream_wait(&stream), 0);
		else
			check(r > 0 && r <= 3);
	}
	return 0;
}

static void copying_takes_pieces_of_messages_in_order(void **state)
{
	static char text[64];

	(void)state;
	memset(text, 0, sizeof(text));
	fake_spawn(&loop, copy_in_threes, text);
	fake_settle(&loop);
	assert_true(fake_receive(&fake, armed(), 'a', 7, WHI_OP_MORE));
	assert_true(fake_receive(&fake, armed(), 'b', 3, WHI_OP_MORE));
	assert_true(fake_receive(&fake, armed(), 'c', 1, WHI_OP_MORE));
	fake_complete(&fake, armed(), 0, 0);
	fake_run(&loop);
	assert_string_equal(text, "aaaaaaabbbc");
}

static void slow_consumer_stops_the_receive(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	cancel_all();
	for (int i = 0; i < CHAIN_MAX; i++)
		assert_true(fake_receive(&fake, armed(), 'x', 1, WHI_OP_MORE));
	fake_settle(&loop);
	assert_int_equal(fake.cancels, 1);
	assert_null(fake_find(&fake, WHI_OP_RECV_MULTI));
	assert_int_equal(loop.bufs.lent, CHAIN_MAX);
}

static void stopped_receive_goes_on_when_the_consumer_does(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	slow_consumer_stops_the_receive(NULL);
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	assert_int_equal(receiver.count, CHAIN_MAX);
	assert_true(fake_receive(&fake, armed(), 'y', 1, WHI_OP_MORE));
	fake_settle(&loop);
	assert_int_equal(receiver.text[CHAIN_MAX], 'y');
	cancel_all();
}

/* The end */

static void data_before_the_end_is_delivered_first(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	assert_true(fake_receive(&fake, armed(), 'a', 1, WHI_OP_MORE));
	fake_complete(&fake, armed(), 0, 0);
	fake_run(&loop);
	assert_string_equal(receiver.text, "a");
	assert_int_equal(receiver.end, 0);
}

static void end_of_stream_stays(void **state)
{
	struct receiver receiver = { .stream = &stream };
	uint16_t index;
	void *data;

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	fake_complete(&fake, armed(), 0, 0);
	fake_run(&loop);
	for (int i = 0; i < 3; i++)
		assert_int_equal(whi_stream_take(&stream, &data, &index), 0);
	assert_int_equal(fake.submits[WHI_OP_RECV_MULTI], 1);
}

static void error_stays(void **state)
{
	struct receiver receiver = { .stream = &stream };
	uint16_t index;
	void *data;

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	fake_complete(&fake, armed(), -ECONNRESET, 0);
	fake_run(&loop);
	assert_int_equal(receiver.end, -ECONNRESET);
	assert_int_equal(whi_stream_take(&stream, &data, &index), -ECONNRESET);
}

/* The kernel may take a buffer for nothing. */
static void buffer_of_an_empty_completion_is_given_back(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	assert_true(fake_receive(&fake, armed(), 'a', 0, 0));
	fake_run(&loop);
	assert_int_equal(receiver.end, 0);
	assert_int_equal(loop.bufs.lent, 0);
}

static void receive_that_cannot_be_queued_is_an_error(void **state)
{
	static const struct fake_rule rules[] = { { WHI_OP_RECV_MULTI, FAKE_INSIDE,
						    .result = -ENOMEM, .times = 1 } };
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_rules(&fake, rules, 1);
	fake_spawn(&loop, receive, &receiver);
	fake_run(&loop);
	assert_int_equal(receiver.end, -ENOMEM);
}

static void buffers_that_cannot_be_made_are_an_error(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake.bufs_open_result = -EINVAL;
	fake_spawn(&loop, receive, &receiver);
	fake_run(&loop);
	assert_int_equal(receiver.end, -EINVAL);
	assert_null(loop.bufs.memory);
	fake.bufs_open_result = 0;
}

/* Cancellation */

static void cancelled_receiver_leaves_the_receive_armed(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	cancel_all();
	assert_int_equal(receiver.end, -ECANCELED);
	assert_non_null(armed());
	assert_int_equal(fake.cancels, 0);
}

static void data_for_a_cancelled_receiver_is_kept_for_the_next(void **state)
{
	struct receiver first = { .stream = &stream }, second = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &first);
	fake_settle(&loop);
	cancel_all();
	assert_true(fake_receive(&fake, armed(), 'k', 1, WHI_OP_MORE));
	fake_spawn(&loop, receive, &second);
	fake_settle(&loop);
	assert_string_equal(first.text, "");
	assert_string_equal(second.text, "k");
	assert_int_equal(fake.submits[WHI_OP_RECV_MULTI], 1);
	cancel_all();
}

/* Data and cancellation in one turn: `data_first` says which is seen first. The next receiver gets
 * what the cancelled one did not. */
static void race(bool data_first, unsigned long *ret_first, unsigned long *ret_second)
{
	struct receiver first = { .stream = &stream }, second = { .stream = &stream };

	fake_spawn(&loop, receive, &first);
	assert_int_equal(whi_loop_turn(&loop, false), 0);
	assert_true(fake_receive(&fake, armed(), 'd', 1, WHI_OP_MORE));
	if (data_first)
		assert_int_equal(loop.backend->ops->turn(loop.backend, 0), 0);
	cancel_all();
	assert_int_equal(first.end, -ECANCELED);
	fake_spawn(&loop, receive, &second);
	assert_int_equal(whi_loop_turn(&loop, false), 0);
	assert_int_equal(whi_loop_turn(&loop, false), 0);
	*ret_first += first.count;
	*ret_second += second.count;
	cancel_all();
}

static void data_that_beats_the_cancellation_goes_to_the_receiver(void **state)
{
	unsigned long first = 0, second = 0;

	(void)state;
	for (int i = 0; i < RACES; i++)
		race(true, &first, &second);
	assert_int_equal(first, RACES);
	assert_int_equal(second, 0);
}

static void data_that_loses_to_the_cancellation_is_not_lost(void **state)
{
	unsigned long first = 0, second = 0;

	(void)state;
	for (int i = 0; i < RACES; i++)
		race(false, &first, &second);
	assert_int_equal(first + second, RACES);
}

/* Out of buffers */

static void receive_without_a_buffer_is_parked(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	loop.bufs.lent = BUFS;
	fake_complete(&fake, armed(), -ENOBUFS, 0);
	/* One turn only: settling moves the clock on, past its patience. */
	whi_loop_turn(&loop, true);
	assert_int_equal(stream.state, WHI_STREAM_PARKED);
	assert_int_equal(loop.bufs.exhausted, 1);
	assert_null(fake_find(&fake, WHI_OP_RECV_MULTI));
	assert_false(receiver.over);
	loop.bufs.lent = 0;
	fake_settle(&loop);
	assert_non_null(armed());
	cancel_all();
}

static void parked_for_too_long_it_receives_into_memory_of_its_own(void **state)
{
	struct receiver receiver = { .stream = &stream };
	struct whi_op *op;

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	loop.bufs.lent = BUFS;
	fake_complete(&fake, armed(), -ENOBUFS, 0);
	fake_settle(&loop);
	assert_true(whi_list_empty(&loop.bufs.parked));
	op = fake_find(&fake, WHI_OP_RECV);
	assert_non_null(op);
	memcpy(op->rw.buf, "own", 3);
	fake_complete(&fake, op, 3, 0);
	fake_settle(&loop);
	assert_string_equal(receiver.text, "o");
	/* And then the ordinary way again. */
	assert_non_null(armed());
	loop.bufs.lent = 0;
	cancel_all();
}

static void own_memory_is_given_up_when_the_stream_is_stopped(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	loop.bufs.lent = BUFS;
	fake_complete(&fake, armed(), -ENOBUFS, 0);
	fake_settle(&loop);
	assert_non_null(fake_find(&fake, WHI_OP_RECV));
	cancel_all();
	assert_int_equal(receiver.end, -ECANCELED);
	fake_spawn(&loop, stop_stream, &stream);
	fake_run(&loop);
	assert_null(stream.own);
	loop.bufs.lent = 0;
}

static void parked_receiver_can_be_cancelled(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	loop.bufs.lent = BUFS;
	fake_complete(&fake, armed(), -ENOBUFS, 0);
	whi_loop_turn(&loop, true);
	cancel_all();
	assert_int_equal(receiver.end, -ECANCELED);
	assert_true(whi_list_empty(&loop.bufs.parked));
	loop.bufs.lent = 0;
}

static void refused_receive_without_a_receiver_is_armed_by_the_next(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	cancel_all();
	fake_complete(&fake, armed(), -ENOBUFS, 0);
	fake_settle(&loop);
	assert_int_equal(stream.state, WHI_STREAM_OFF);
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	assert_non_null(armed());
	cancel_all();
}

/* Stopping */

static void stop_waits_until_the_kernel_has_let_go(void **state)
{
	static const struct fake_rule rules[] = { { WHI_OP_RECV_MULTI, FAKE_HELD,
						    .cancel = FAKE_CANCEL_IGNORED } };
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_rules(&fake, rules, 1);
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	cancel_all();
	fake_spawn(&loop, stop_stream, &stream);
	fake_settle(&loop);
	assert_int_equal(loop.sched.tasks_live, 1);
	fake_complete(&fake, armed(), -ECANCELED, 0);
	fake_run(&loop);
}

static void stop_gives_back_what_nobody_took(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	cancel_all();
	for (int i = 0; i < 5; i++)
		assert_true(fake_receive(&fake, armed(), 'x', 1, WHI_OP_MORE));
	fake_settle(&loop);
	fake_spawn(&loop, stop_stream, &stream);
	fake_run(&loop);
	assert_int_equal(loop.bufs.lent, 0);
	assert_int_equal(fake.buf_count, BUFS);
}

static void data_that_beats_the_stop_is_given_back(void **state)
{
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	cancel_all();
	fake_spawn(&loop, stop_stream, &stream);
	assert_true(fake_receive(&fake, armed(), 'x', 1, WHI_OP_MORE));
	fake_run(&loop);
	assert_int_equal(loop.bufs.lent, 0);
}

/* Out of buffers just when the stream is stopped: it must not be parked, and armed again later. */
static void stop_ends_though_the_receive_ran_out_of_buffers(void **state)
{
	static const struct fake_rule rules[] = { { WHI_OP_RECV_MULTI, FAKE_HELD,
						    .cancel = FAKE_CANCEL_LOSES, .result = -ENOBUFS,
						    .times = 1 } };
	struct receiver receiver = { .stream = &stream };

	(void)state;
	fake_rules(&fake, rules, 1);
	fake_spawn(&loop, receive, &receiver);
	fake_settle(&loop);
	cancel_all();
	fake_spawn(&loop, stop_stream, &stream);
	fake_run(&loop);
	assert_int_equal(stream.state, WHI_STREAM_OFF);
	assert_int_equal(fake.submits[WHI_OP_RECV_MULTI], 1);
}

#define STREAM_TEST(function) cmocka_unit_test_setup_teardown(function, open_stream, close_stream)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STREAM_TEST(nothing_is_armed_before_somebody_waits),
		STREAM_TEST(messages_arrive_in_order_with_one_submission),
		STREAM_TEST(receive_that_ends_without_more_is_armed_again),
		STREAM_TEST(interrupted_receive_is_armed_again),
		STREAM_TEST(copying_takes_pieces_of_messages_in_order),
		STREAM_TEST(slow_consumer_stops_the_receive),
		STREAM_TEST(stopped_receive_goes_on_when_the_consumer_does),
		STREAM_TEST(data_before_the_end_is_delivered_first),
		STREAM_TEST(end_of_stream_stays),
		STREAM_TEST(error_stays),
		STREAM_TEST(buffer_of_an_empty_completion_is_given_back),
		STREAM_TEST(receive_that_cannot_be_queued_is_an_error),
		STREAM_TEST(buffers_that_cannot_be_made_are_an_error),
		STREAM_TEST(cancelled_receiver_leaves_the_receive_armed),
		STREAM_TEST(data_for_a_cancelled_receiver_is_kept_for_the_next),
		STREAM_TEST(data_that_beats_the_cancellation_goes_to_the_receiver),
		STREAM_TEST(data_that_loses_to_the_cancellation_is_not_lost),
		STREAM_TEST(receive_without_a_buffer_is_parked),
		STREAM_TEST(parked_for_too_long_it_receives_into_memory_of_its_own),
		STREAM_TEST(own_memory_is_given_up_when_the_stream_is_stopped),
		STREAM_TEST(parked_receiver_can_be_cancelled),
		STREAM_TEST(refused_receive_without_a_receiver_is_armed_by_the_next),
		STREAM_TEST(stop_waits_until_the_kernel_has_let_go),
		STREAM_TEST(stop_gives_back_what_nobody_took),
		STREAM_TEST(data_that_beats_the_stop_is_given_back),
		STREAM_TEST(stop_ends_though_the_receive_ran_out_of_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
