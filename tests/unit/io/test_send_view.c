/* Sending views: in order, one at a time, and what becomes of them when something goes wrong. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/task_test.h"

enum { TOTAL = 8 << 20, PERIOD = 251 };

static char bytes[TOTAL];

static void close_both(struct wh_sock *pair[2])
{
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
}

/* A view with `len` bytes in it, which come through a pair of sockets of its own. */
static struct wh_view make_view(struct wh_sock *feed[2], size_t len)
{
	struct wh_view view;

	check_int(wh_sock_send(feed[0], bytes, len), len);
	check_int(wh_sock_recv_view(feed[1], &view), len);
	return view;
}

static int send_bytes(void *arg)
{
	check_int(wh_sock_send(arg, bytes, TOTAL), TOTAL);
	return wh_sock_shutdown(arg, SHUT_WR);
}

static int echo_until_end(void *arg)
{
	struct wh_view view;
	ssize_t r;

	while ((r = wh_sock_recv_view(arg, &view)) > 0)
		check_int(wh_sock_send_view(arg, &view), r);
	check_int(r, 0);
	return wh_sock_shutdown(arg, SHUT_WR);
}

static int views_arrive_in_order_and_whole(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;
	static char buf[70000];
	size_t total = 0;
	ssize_t r;

	(void)arg;
	for (size_t i = 0; i < TOTAL; i++)
		bytes[i] = (char)(i % PERIOD);
	tcp_pair(pair);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, send_bytes, pair[0]);
	wh_spawn(&scope, echo_until_end, pair[1]);
	while ((r = wh_sock_recv(pair[0], buf, sizeof(buf))) > 0) {
		check(memcmp(buf, bytes + total, (size_t)r) == 0);
		total += (size_t)r;
	}
	check_int(r, 0);
	check_int(total, TOTAL);
	check_int(wh_scope_close(&scope), 0);
	check_int(wh_sock_bytes_sent(pair[1]), TOTAL);
	close_both(pair);
	return 0;
}

static int a_view_and_then_a_buffer_keep_their_order(void *arg)
{
	struct wh_sock *pair[2], *feed[2];
	char buf[8];

	(void)arg;
	sock_pair(pair);
	sock_pair(feed);
	for (int i = 0; i < 100; i++) {
		struct wh_view view = make_view(feed, 3);

		check_int(wh_sock_send_view(pair[0], &view), 3);
		check(!view.data);
		check_int(wh_sock_send(pair[0], "abc", 3), 3);
		check_int(wh_sock_recv(pair[1], buf, 3), 3);
		check(memcmp(buf, bytes, 3) == 0);
		check_int(wh_sock_recv(pair[1], buf, sizeof(buf)), 3);
		check(memcmp(buf, "abc", 3) == 0);
	}
	close_both(feed);
	close_both(pair);
	return 0;
}

static int flush_waits_for_the_kernel_only(void *arg)
{
	struct wh_sock *pair[2], *feed[2];
	struct wh_view view;

	(void)arg;
	sock_pair(pair);
	sock_pair(feed);
	check_int(wh_sock_flush(pair[0]), 0);
	view = make_view(feed, 10);
	check_int(wh_sock_send_view(pair[0], &view), 10);
	check_int(wh_sock_flush(pair[0]), 0);
	check_int(wh_sock_bytes_sent(pair[0]), 10);
	close_both(feed);
	close_both(pair);
	return 0;
}

static int a_view_goes_also_when_cancelled_if_it_need_not_wait(void *arg)
{
	struct wh_sock *pair[2], *feed[2];
	struct wh_scope scope;
	struct wh_view view;
	char buf[8];

	(void)arg;
	sock_pair(pair);
	sock_pair(feed);
	view = make_view(feed, 5);
	wh_scope_open(&scope, NULL);
	wh_scope_cancel(&scope);
	check_int(wh_sock_send_view(pair[0], &view), 5);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(wh_sock_recv(pair[1], buf, sizeof(buf)), 5);
	close_both(feed);
	close_both(pair);
	return 0;
}

static int an_error_shows_up_in_the_next_call(void *arg)
{
	struct wh_sock *pair[2], *feed[2];
	struct wh_view view;

	(void)arg;
	sock_pair(pair);
	sock_pair(feed);
	wh_sock_close(pair[1]);
	view = make_view(feed, 5);
	check_int(wh_sock_send_view(pair[0], &view), 5);
	check_int(wh_sock_flush(pair[0]), -EPIPE);
	check_int(wh_sock_send(pair[0], "x", 1), -EPIPE);
	view = make_view(feed, 5);
	check_int(wh_sock_send_view(pair[0], &view), -EPIPE);
	wh_view_release(&view);
	wh_sock_close(pair[0]);
	close_both(feed);
	return 0;
}

/* Let a task do what it can until it waits, and cancel it then. */
static void run_until_it_waits(wh_task_fn fn, void *arg)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, fn, arg), 0);
	settle();
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
}

static int send_much(void *arg)
{
	check_int(wh_sock_send(arg, bytes, TOTAL), -ECANCELED);
	return 0;
}

struct outgoing {
	struct wh_sock *sock;
	struct wh_view view;
};

static int send_or_release(void *arg)
{
	struct outgoing *outgoing = arg;

	if (wh_sock_send_view(outgoing->sock, &outgoing->view) < 0)
		wh_view_release(&outgoing->view);
	return 0;
}

/* Until the kernel takes no more and a view is on its way. */
static void fill_up(struct wh_sock *sock, struct wh_sock *feed[2])
{
	run_until_it_waits(send_much, sock);
	for (int i = 0; i < 2; i++) {
		struct outgoing outgoing = { sock, make_view(feed, 4000) };

		run_until_it_waits(send_or_release, &outgoing);
	}
}

static int held_up(void *arg)
{
	struct outgoing *outgoing = arg;

	check_int(wh_sock_send_view(outgoing->sock, &outgoing->view), -ECANCELED);
	check_int(outgoing->view.len, 100);
	wh_view_release(&outgoing->view);
	check_int(wh_sock_flush(outgoing->sock), -ECANCELED);
	return 0;
}

static int a_view_that_a_peer_does_not_take_holds_the_next_one_up(void *arg)
{
	struct wh_sock *pair[2], *feed[2];
	struct outgoing outgoing;

	(void)arg;
	sock_pair(pair);
	sock_pair(feed);
	fill_up(pair[0], feed);
	outgoing = (struct outgoing){ pair[0], make_view(feed, 100) };
	run_until_it_waits(held_up, &outgoing);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	close_both(feed);
	return 0;
}

static int closing_gives_up_a_view_that_the_peer_does_not_take(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++) {
		struct wh_sock *pair[2], *feed[2];
		struct wh_view view;

		sock_pair(pair);
		sock_pair(feed);
		fill_up(pair[0], feed);
		for (int turns = 0; turns < i % 4; turns++)
			next_turn();
		wh_sock_close(pair[0]);
		wh_sock_close(pair[1]);

		/* The same with one that was only just handed over. */
		tcp_pair(pair);
		view = make_view(feed, 4000);
		check_int(wh_sock_send_view(pair[0], &view), 4000);
		for (int turns = 0; turns < i % 4; turns++)
			next_turn();
		wh_sock_close(pair[0]);
		wh_sock_close(pair[1]);
		close_both(feed);
	}
	return 0;
}

/* It has room for less than the view, so the rest is what waits. */
static int closing_right_after_a_view_that_goes_in_part(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++) {
		struct wh_sock *pair[2], *feed[2];
		struct wh_view view;
		static char taken[5000];

		tcp_pair(pair);
		sock_pair(feed);
		run_until_it_waits(send_much, pair[0]);
		check(wh_sock_recv(pair[1], taken, sizeof(taken)) > 0);
		view = make_view(feed, 4000);
		check_int(wh_sock_send_view(pair[0], &view), 4000);
		for (int turns = 0; turns < i % 5; turns++)
			next_turn();
		wh_sock_close(pair[0]);
		wh_sock_close(pair[1]);
		close_both(feed);
	}
	return 0;
}

static int flush_canceled(void *arg)
{
	check_int(wh_sock_flush(arg), -ECANCELED);
	return 0;
}

static int closing_ends_a_flush(void *arg)
{
	struct wh_sock *pair[2], *feed[2];
	struct wh_scope scope;

	(void)arg;
	sock_pair(pair);
	sock_pair(feed);
	fill_up(pair[0], feed);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, flush_canceled, pair[0]);
	settle();
	check_int(wh_sock_flush(pair[0]), -EBUSY);
	wh_sock_close(pair[0]);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(pair[1]);
	close_both(feed);
	return 0;
}

static int shutdown_comes_after_the_view(void *arg)
{
	struct wh_sock *pair[2], *feed[2];
	struct wh_view view;
	char buf[8];

	(void)arg;
	tcp_pair(pair);
	sock_pair(feed);
	view = make_view(feed, 5);
	check_int(wh_sock_send_view(pair[0], &view), 5);
	check_int(wh_sock_shutdown(pair[0], SHUT_WR), 0);
	check_int(wh_sock_recv(pair[1], buf, sizeof(buf)), 5);
	check_int(wh_sock_recv(pair[1], buf, sizeof(buf)), 0);
	close_both(feed);
	close_both(pair);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(views_arrive_in_order_and_whole),
		task_test(views_arrive_in_order_and_whole, .buf_count = 2, .buf_bytes = 700),
		task_test(views_arrive_in_order_and_whole, .sq_entries = 8, .cq_entries = 16),
		task_test(a_view_and_then_a_buffer_keep_their_order),
		task_test(flush_waits_for_the_kernel_only),
		task_test(a_view_goes_also_when_cancelled_if_it_need_not_wait),
		task_test(an_error_shows_up_in_the_next_call),
		task_test(a_view_that_a_peer_does_not_take_holds_the_next_one_up),
		task_test(closing_gives_up_a_view_that_the_peer_does_not_take),
		task_test(closing_right_after_a_view_that_goes_in_part),
		task_test(closing_ends_a_flush),
		task_test(shutdown_comes_after_the_view),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
