/* Several tasks at one socket, and what ends a call early: closing and cancelling. */
#include <errno.h>
#include <poll.h>
#include <sys/uio.h>

#include "support/task_test.h"

enum { BIG = 16 << 20 };

static char big[BIG];

static void close_both(struct wh_sock *pair[2])
{
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
}

/* Two tasks at one socket */

static int recv_canceled(void *arg)
{
	char byte;

	check_int(wh_sock_recv(arg, &byte, 1), -ECANCELED);
	return 0;
}

static int view_canceled(void *arg)
{
	struct wh_view view;

	check_int(wh_sock_recv_view(arg, &view), -ECANCELED);
	return 0;
}

static int message_canceled(void *arg)
{
	struct iovec iov = { big, 1 };

	check_int(wh_sock_recvmsg(arg, &(struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 }, 0),
		  -ECANCELED);
	return 0;
}

static int send_canceled(void *arg)
{
	check_int(wh_sock_send(arg, big, BIG), -ECANCELED);
	return 0;
}

static int a_second_receiver_is_ebusy(void *arg)
{
	static const wh_task_fn firsts[] = { recv_canceled, view_canceled, message_canceled };
	struct wh_sock *pair[2];
	struct wh_scope scope;
	struct wh_view view;
	char byte;

	(void)arg;
	for (int i = 0; i < 3; i++) {
		sock_pair(pair);
		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, firsts[i], pair[0]);
		settle();
		check_int(wh_sock_recv(pair[0], &byte, 1), -EBUSY);
		check_int(wh_sock_recv_view(pair[0], &view), -EBUSY);
		if (firsts[i] != view_canceled)
			check_int(wh_sock_recvmsg(pair[0], &(struct msghdr){ 0 }, 0), -EBUSY);
		wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), -ECANCELED);
		close_both(pair);
	}
	return 0;
}

static int a_second_sender_is_ebusy(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;

	(void)arg;
	sock_pair(pair);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, send_canceled, pair[0]);
	settle();
	check_int(wh_sock_send(pair[0], "x", 1), -EBUSY);
	check_int(wh_sock_sendmsg(pair[0], &(struct msghdr){ 0 }, 0), -EBUSY);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check(wh_sock_bytes_sent(pair[0]) > 0);
	close_both(pair);
	return 0;
}

static int close_ends_what_others_do(wh_task_fn first, wh_task_fn second)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;

	tcp_pair(pair);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, first, pair[0]);
	if (second)
		wh_spawn(&scope, second, pair[0]);
	settle();
	wh_sock_close(pair[0]);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(pair[1]);
	return 0;
}

static int close_ends_a_recv(void *arg)
{
	(void)arg;
	return close_ends_what_others_do(recv_canceled, NULL);
}

static int close_ends_a_recv_view(void *arg)
{
	(void)arg;
	return close_ends_what_others_do(view_canceled, NULL);
}

static int close_ends_a_recvmsg(void *arg)
{
	(void)arg;
	return close_ends_what_others_do(message_canceled, NULL);
}

static int close_ends_a_send_of_which_a_part_has_gone(void *arg)
{
	(void)arg;
	return close_ends_what_others_do(send_canceled, NULL);
}

static int close_ends_both_ways_at_once(void *arg)
{
	(void)arg;
	close_ends_what_others_do(send_canceled, view_canceled);
	return close_ends_what_others_do(recv_canceled, send_canceled);
}

/* Descriptors that somebody had made non-blocking. */

static void nonblocking_pair(struct wh_sock *pair[2])
{
	int fds[2];

	check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		check_int(wh_sock_from_fd(fds[i], &pair[i]), 0);
}

static int nonblocking_close(wh_task_fn other)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;

	nonblocking_pair(pair);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, other, pair[0]);
	settle();
	wh_sock_close(pair[0]);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(pair[1]);
	return 0;
}

static int close_ends_a_nonblocking_recv(void *arg)
{
	(void)arg;
	return nonblocking_close(recv_canceled);
}

static int close_ends_a_nonblocking_recv_view(void *arg)
{
	(void)arg;
	return nonblocking_close(view_canceled);
}

static int close_ends_a_nonblocking_send(void *arg)
{
	(void)arg;
	return nonblocking_close(send_canceled);
}

/* Cancelled before */

static int calls_in_a_cancelled_scope_fail_at_once(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_sock *pair[2], *sock;
	struct wh_scope scope;
	struct wh_view view;
	char byte;

	(void)arg;
	tcp_pair(pair);
	wh_scope_open(&scope, NULL);
	wh_scope_cancel(&scope);
	check_int(wh_connect(&addr, &sock), -ECANCELED);
	check_int(wh_accept(listener, &sock), -ECANCELED);
	check_int(wh_sock_recv(pair[0], &byte, 1), -ECANCELED);
	check_int(wh_sock_recv_view(pair[0], &view), -ECANCELED);
	check_int(wh_sock_try_recv_view(pair[0], &view), -EAGAIN);
	check_int(wh_sock_send(pair[0], "x", 1), -ECANCELED);
	check_int(wh_listen(&addr, NULL, &listener), -ECANCELED);
	check_int(wh_sock_shutdown(pair[0], SHUT_WR), 0);
	close_both(pair);
	wh_listener_close(listener);
	check_int(wh_scope_close(&scope), -ECANCELED);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(a_second_receiver_is_ebusy),
		task_test(a_second_sender_is_ebusy),
		task_test(close_ends_a_recv),
		task_test(close_ends_a_recv_view),
		task_test(close_ends_a_recvmsg),
		task_test(close_ends_a_send_of_which_a_part_has_gone),
		task_test(close_ends_both_ways_at_once),
		task_test(close_ends_a_nonblocking_recv),
		task_test(close_ends_a_nonblocking_recv_view),
		task_test(close_ends_a_nonblocking_send),
		task_test(calls_in_a_cancelled_scope_fail_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
