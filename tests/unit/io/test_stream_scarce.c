/*
 * Receive streams on a fake backend while there are not enough buffers for all: everyone takes one
 * and queues up again.
 */
#include <errno.h>

#include "io/sock.h"
#include "io/stream.h"
#include "support/fake_backend.h"

enum { BUFS = 4 };

static struct wh_loop loop;
static struct fake fake;
static struct whi_stream stream;
static struct whi_parked other; /* a receive that waits for a buffer */
static unsigned other_retried;
static unsigned received;

static void retry_other(struct whi_parked *parked)
{
	(void)parked;
	other_retried++;
}

static int open_stream(void **state)
{
	(void)state;
	fake_loop_open(&loop, &fake, BUFS);
	whi_stream_init(&stream, &loop, 5);
	other = (struct whi_parked){ .retry = retry_other };
	other_retried = received = 0;
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
	whi_scope_cancel(&loop.sched.root, -ECANCELED);
	fake_run(&loop);
	loop.sched.root.status = 0;
	fake_spawn(&loop, stop_stream, &stream);
	fake_run(&loop);
	fake_loop_close(&loop);
	return 0;
}

static int receive(void *arg)
{
	uint16_t index = WHI_BUF_NONE;
	void *data = NULL;

	(void)arg;
	while (whi_stream_wait(&stream) == 0)
		while (whi_stream_take(&stream, &data, &index) > 0) {
			received++;
			whi_stream_give(&loop, data, index);
		}
	return 0;
}

static struct whi_op *armed(void)
{
	struct whi_op *op = fake_find(&fake, WHI_OP_RECV_MULTI);

	assert_non_null(op);
	return op;
}

static void make_scarce(void)
{
	whi_bufs_park(&loop.bufs, &other);
	fake_settle(&loop);
	assert_int_equal(other_retried, 1);
	assert_true(whi_bufs_scarce(&loop.bufs));
}

static void with_enough_buffers_a_receive_takes_many(void **state)
{
	(void)state;
	fake_spawn(&loop, receive, NULL);
	fake_settle(&loop);
	assert_false(armed()->once);
}

static void while_they_are_scarce_it_takes_one(void **state)
{
	(void)state;
	fake_spawn(&loop, receive, NULL);
	fake_settle(&loop);
	assert_true(fake_receive(&fake, armed(), 'a', 1, 0));
	make_scarce();
	assert_true(armed()->once);
	assert_int_equal(received, 1);
}

static void one_that_takes_many_is_stopped_when_they_become_scarce(void **state)
{
	(void)state;
	fake_spawn(&loop, receive, NULL);
	fake_settle(&loop);
	make_scarce();
	assert_int_equal(fake.cancels, 0);
	assert_true(fake_receive(&fake, armed(), 'a', 1, WHI_OP_MORE));
	fake_settle(&loop);
	assert_int_equal(fake.cancels, 1);
	assert_int_equal(received, 1);
	/* And goes on with one at a time. */
	assert_true(armed()->once);
}

static void one_that_comes_later_waits_behind_those_that_wait(void **state)
{
	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	loop.bufs.lent = BUFS;
	whi_bufs_park(&loop.bufs, &other);
	fake_spawn(&loop, receive, NULL);
	whi_loop_turn(&loop, false);
	assert_int_equal(stream.state, WHI_STREAM_PARKED);
	assert_int_equal(fake.submits[WHI_OP_RECV_MULTI], 0);
	/* One buffer: it is the other's. */
	loop.bufs.lent = BUFS - 1;
	assert_true(whi_bufs_unpark(&loop.bufs));
	assert_int_equal(other_retried, 1);
	assert_int_equal(stream.state, WHI_STREAM_PARKED);
	loop.bufs.lent = 0;
	fake_settle(&loop);
	assert_non_null(armed());
}

static void enough_again_it_takes_many_again(void **state)
{
	(void)state;
	make_scarce();
	fake_spawn(&loop, receive, NULL);
	fake_settle(&loop);
	for (int i = 0; i < 1000 && armed()->once; i++) {
		assert_true(fake_receive(&fake, armed(), 'a', 1, 0));
		fake_settle(&loop);
	}
	assert_false(armed()->once);
}

/* A view's buffer is free once the kernel has looked at its send, of which nothing tells: the loop
 * must not sleep until something else happens. */
static int send_view(void *arg)
{
	struct wh_sock *sock = whi_sock_new(7);
	uint16_t index = fake.bufs[--fake.buf_count].index;
	struct wh_view view = { .data = whi_bufs_data(&loop.bufs, index), .len = 1, .buf = index };

	(void)arg;
	whi_bufs_took(&loop.bufs);
	check(sock);
	check_int(wh_sock_send_view(sock, &view), 1);
	check_int(wh_sleep(1), 0);
	wh_sock_close(sock);
	return 0;
}

static void send_of_a_view(bool awaited)
{
	static const struct fake_rule rules[] = {
		{ WHI_OP_SEND, FAKE_TURNS, .turns = 1, .result = 1 },
		{ WHI_OP_CLOSE, FAKE_TURNS, .turns = 1 },
	};

	fake_rules(&fake, rules, 2);
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	if (awaited)
		whi_bufs_park(&loop.bufs, &other);
	fake_spawn(&loop, send_view, NULL);
	fake_run(&loop);
	assert_int_equal(fake.hurries, awaited);
	assert_int_equal(loop.bufs.lent, 0);
}

static void view_that_others_wait_for_is_hurried(void **state)
{
	(void)state;
	send_of_a_view(true);
	assert_int_equal(other_retried, 1);
}

static void view_that_nobody_waits_for_is_not(void **state)
{
	(void)state;
	send_of_a_view(false);
}

#define SCARCE_TEST(function) cmocka_unit_test_setup_teardown(function, open_stream, close_stream)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCARCE_TEST(with_enough_buffers_a_receive_takes_many),
		SCARCE_TEST(while_they_are_scarce_it_takes_one),
		SCARCE_TEST(one_that_takes_many_is_stopped_when_they_become_scarce),
		SCARCE_TEST(one_that_comes_later_waits_behind_those_that_wait),
		SCARCE_TEST(enough_again_it_takes_many_again),
		SCARCE_TEST(view_that_others_wait_for_is_hurried),
		SCARCE_TEST(view_that_nobody_waits_for_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
