/* Sockets: what each call does, each of its errors, and interruption. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support/task_test.h"

enum { BIG = 16 << 20 };

static char big[BIG];

static void close_both(struct wh_sock *pair[2])
{
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
}

static void reset_peer(struct wh_sock *sock)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	check_int(setsockopt(wh_sock_fd(sock), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	wh_sock_close(sock);
}

/* Plain transfer */

static int recv_returns_what_was_sent(void *arg)
{
	struct wh_sock *pair[2];
	char buf[16];

	(void)arg;
	tcp_pair(pair);
	check_int(wh_sock_send(pair[0], "hello", 5), 5);
	check_int(wh_sock_recv(pair[1], buf, sizeof(buf)), 5);
	check(memcmp(buf, "hello", 5) == 0);
	check_int(wh_sock_bytes_sent(pair[0]), 5);
	close_both(pair);
	return 0;
}

static int send_of_nothing_is_nothing(void *arg)
{
	struct wh_sock *pair[2];

	(void)arg;
	sock_pair(pair);
	check_int(wh_sock_send(pair[0], "", 0), 0);
	close_both(pair);
	return 0;
}

static int read_all(void *arg)
{
	static char buf[100000];
	size_t total = 0;
	ssize_t r;

	while ((r = wh_sock_recv(arg, buf, sizeof(buf))) > 0)
		total += (size_t)r;
	check_int(r, 0);
	check_int(total, BIG);
	return 0;
}

static int send_sends_all_of_a_large_buffer(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;

	(void)arg;
	tcp_pair(pair);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, read_all, pair[1]);
	check_int(wh_sock_send(pair[0], big, BIG), BIG);
	check_int(wh_sock_shutdown(pair[0], SHUT_WR), 0);
	check_int(wh_scope_close(&scope), 0);
	close_both(pair);
	return 0;
}

static int half_close_still_lets_the_other_way_through(void *arg)
{
	struct wh_sock *pair[2];
	char buf[4];

	(void)arg;
	tcp_pair(pair);
	check_int(wh_sock_shutdown(pair[0], SHUT_WR), 0);
	check_int(wh_sock_recv(pair[1], buf, sizeof(buf)), 0);
	check_int(wh_sock_recv(pair[1], buf, sizeof(buf)), 0);
	check_int(wh_sock_send(pair[1], "late", 4), 4);
	check_int(wh_sock_recv(pair[0], buf, sizeof(buf)), 4);
	close_both(pair);
	return 0;
}

static int datagrams_keep_their_borders(void *arg)
{
	struct wh_sock *socks[2];
	char one[4], two[4];
	char ab[] = "ab", cd[] = "cd";
	struct iovec iov[2] = { { ab, 2 }, { cd, 2 } };
	struct msghdr out = { .msg_iov = iov, .msg_iovlen = 2 };
	struct iovec into[2] = { { one, 3 }, { two, 4 } };
	struct msghdr in = { .msg_iov = into, .msg_iovlen = 2 };
	int fds[2];

	(void)arg;
	check_int(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		check_int(wh_sock_from_fd(fds[i], &socks[i]), 0);
	check_int(wh_sock_sendmsg(socks[0], &out, 0), 4);
	check_int(wh_sock_send(socks[0], "x", 1), 1);
	check_int(wh_sock_bytes_sent(socks[0]), 5);
	check_int(wh_sock_recvmsg(socks[1], &in, 0), 4);
	check(memcmp(one, "abc", 3) == 0 && two[0] == 'd');
	check_int(wh_sock_recvmsg(socks[1], &in, 0), 1);
	close_both(socks);
	return 0;
}

static int a_descriptor_can_be_sent(void *arg)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { big, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct wh_sock *pair[2];
	int received;

	(void)arg;
	sock_pair(pair);
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.head), &(int){ 1 }, sizeof(int));
	check_int(wh_sock_sendmsg(pair[0], &msg, 0), 1);
	memset(&control, 0, sizeof(control));
	check_int(wh_sock_recvmsg(pair[1], &msg, MSG_CMSG_CLOEXEC), 1);
	memcpy(&received, CMSG_DATA(&control.head), sizeof(int));
	check(fcntl(received, F_GETFD) >= 0);
	close(received);
	close_both(pair);
	return 0;
}

/* Errors */

static int recvmsg_does_not_mix_with_views(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_view view;

	(void)arg;
	sock_pair(pair);
	check_int(wh_sock_send(pair[0], "x", 1), 1);
	check_int(wh_sock_recv_view(pair[1], &view), 1);
	wh_view_release(&view);
	check_int(wh_sock_recvmsg(pair[1], &(struct msghdr){ 0 }, 0), -EINVAL);
	close_both(pair);
	return 0;
}

static int send_to_a_closed_peer_is_epipe_without_a_signal(void *arg)
{
	struct wh_sock *pair[2];

	(void)arg;
	check(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	sock_pair(pair);
	wh_sock_close(pair[1]);
	check_int(wh_sock_send(pair[0], "x", 1), -EPIPE);
	check_int(wh_sock_sendmsg(pair[0], &(struct msghdr){ 0 }, 0), -EPIPE);
	wh_sock_close(pair[0]);
	return 0;
}

static int a_reset_is_told_to_the_receiver(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_view view;
	char byte;

	(void)arg;
	tcp_pair(pair);
	reset_peer(pair[0]);
	check_int(wh_sock_recv(pair[1], &byte, 1), -ECONNRESET);
	wh_sock_close(pair[1]);

	tcp_pair(pair);
	reset_peer(pair[0]);
	check_int(wh_sock_recv_view(pair[1], &view), -ECONNRESET);
	check_int(wh_sock_try_recv_view(pair[1], &view), -ECONNRESET);
	wh_sock_close(pair[1]);
	return 0;
}

static int send_until_reset(void *arg)
{
	ssize_t r = wh_sock_send(arg, big, BIG);

	check(r == -ECONNRESET || r == -EPIPE);
	return 0;
}

static int a_reset_ends_a_send_that_waits(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;

	(void)arg;
	tcp_pair(pair);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, send_until_reset, pair[0]);
	settle();
	reset_peer(pair[1]);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(pair[0]);
	return 0;
}

static int connect_tells_why_it_could_not(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_sock *sock;

	(void)arg;
	wh_listener_close(listener);
	check_int(wh_connect(&addr, &sock), -ECONNREFUSED);
	check_int(wh_addr_parse("unix:/nonexistent/socket", &addr), 0);
	check_int(wh_connect(&addr, &sock), -ENOENT);
	addr.storage.ss_family = 12345;
	check_int(wh_connect(&addr, &sock), -EAFNOSUPPORT);
	return 0;
}

static int from_fd_wants_a_socket(void *arg)
{
	struct wh_sock *sock;
	int pipes[2];

	(void)arg;
	check_int(pipe2(pipes, O_CLOEXEC), 0);
	check_int(wh_sock_from_fd(pipes[0], &sock), -ENOTSOCK);
	close(pipes[0]);
	close(pipes[1]);
	check_int(wh_sock_from_fd(pipes[0], &sock), -EBADF);
	return 0;
}

static int shutdown_of_an_unconnected_socket_is_enotconn(void *arg)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct wh_sock *sock;
	char byte;

	(void)arg;
	check_int(wh_sock_from_fd(fd, &sock), 0);
	check_int(wh_sock_recv(sock, &byte, 1), -ENOTCONN);
	check_int(wh_sock_shutdown(sock, 77), -EINVAL);
	check_int(wh_sock_shutdown(sock, SHUT_RDWR), -ENOTCONN);
	wh_sock_close(sock);
	return 0;
}

/* A descriptor that somebody made non-blocking: the kernel does not wait by itself then. */

static void nonblocking_pair(struct wh_sock *pair[2])
{
	int fds[2];

	check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	for (int i = 0; i < 2; i++)
		check_int(wh_sock_from_fd(fds[i], &pair[i]), 0);
}

static int nonblocking_sockets_wait_too(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;

	(void)arg;
	nonblocking_pair(pair);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, read_all, pair[1]);
	settle();
	check_int(wh_sock_send(pair[0], big, BIG), BIG);
	check_int(wh_sock_shutdown(pair[0], SHUT_WR), 0);
	check_int(wh_scope_close(&scope), 0);
	close_both(pair);
	return 0;
}

/* Without turning the loop's idle moments into work: it must sleep while nothing happens. For 20 ms
 * of real time, since what the real kernel does with such a descriptor is the question. */
static int a_nonblocking_recv_view_waits_without_spinning(void *arg)
{
	struct wh_loop_stats before, after;
	struct wh_sock *pair[2];
	struct wh_scope scope;
	struct wh_view view;

	(void)arg;
	nonblocking_pair(pair);
	wh_loop_stats(&before);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 20 * WH_MS });
	check_int(wh_sock_recv_view(pair[1], &view), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	wh_loop_stats(&after);
	check(after.turns - before.turns < 50);
	check_int(wh_sock_send(pair[0], "abc", 3), 3);
	check_int(wh_sock_recv_view(pair[1], &view), 3);
	wh_view_release(&view);
	close_both(pair);
	return 0;
}

static int poll_tells_what_is_ready(void *arg)
{
	struct wh_sock *pair[2];

	(void)arg;
	sock_pair(pair);
	check_int(wh_fd_poll(wh_sock_fd(pair[0]), POLLIN | POLLOUT), POLLOUT);
	check_int(wh_sock_send(pair[1], "x", 1), 1);
	check_int(wh_fd_poll(wh_sock_fd(pair[0]), POLLIN), POLLIN);
	check_int(wh_fd_poll(1 << 20, POLLIN), -EBADF);
	close_both(pair);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(recv_returns_what_was_sent),
		task_test(send_of_nothing_is_nothing),
		task_test(send_sends_all_of_a_large_buffer),
		task_test(half_close_still_lets_the_other_way_through),
		task_test(datagrams_keep_their_borders),
		task_test(a_descriptor_can_be_sent),
		task_test(recvmsg_does_not_mix_with_views),
		task_test(send_to_a_closed_peer_is_epipe_without_a_signal),
		task_test(a_reset_is_told_to_the_receiver),
		task_test(a_reset_ends_a_send_that_waits),
		task_test(connect_tells_why_it_could_not),
		task_test(from_fd_wants_a_socket),
		task_test(shutdown_of_an_unconnected_socket_is_enotconn),
		task_test(nonblocking_sockets_wait_too),
		task_test(a_nonblocking_recv_view_waits_without_spinning),
		task_test(poll_tells_what_is_ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
