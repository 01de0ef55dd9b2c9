/*
 * The network of the simulated kernel: what programs on its hosts see of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <whorl/file.h>

#include "loop/loop.h"
#include "support/sim_test.h"

enum { PORT = 80, BYTES = 20000 };

static char byte_at(size_t at)
{
	return (char)(at * 7 + at / 251);
}

/* Listening on host 1 is done by a task there; the test is the first task, on host 0. */
struct server {
	wh_conn_fn fn;
	struct wh_listener *listener;
	int backlog;
	bool closed;
};

static struct server server;

static int serve(void *arg)
{
	struct wh_sock *sock;

	(void)arg;
	while (wh_accept(server.listener, &sock) == 0)
		server.fn(sock, NULL);
	wh_listener_close(server.listener);
	return 0;
}

static int start(void *arg)
{
	const struct wh_listen_opts opts = { .backlog = server.backlog };
	struct wh_addr addr;

	(void)arg;
	wh_sim_addr(1, PORT, &addr);
	check_int(wh_listen(&addr, &opts, &server.listener), 0);
	return 0;
}

static int listen_only(void *arg)
{
	(void)arg;
	start(NULL);
	wh_sleep(UINT64_MAX);
	wh_listener_close(server.listener);
	return 0;
}

/* `fn` closes its connection. */
static void start_server(wh_conn_fn fn)
{
	server = (struct server){ .fn = fn };
	check_int(wh_loop_call(wh_loop_at(1), start, NULL, NULL), 0);
	check_int(wh_loop_spawn(wh_loop_at(1), serve, NULL, NULL), 0);
}

static void stop_server(void)
{
	check_int(wh_sim_signal(1, SIGTERM), 0);
}

static int dial(struct wh_sock **ret)
{
	struct wh_addr addr;

	wh_sim_addr(1, PORT, &addr);
	return wh_connect(&addr, ret);
}

/* Streams */

static int send_bytes(struct wh_sock *sock, void *arg)
{
	char buf[BYTES];

	(void)arg;
	for (size_t i = 0; i < BYTES; i++)
		buf[i] = byte_at(i);
	check_int(wh_sock_send(sock, buf, BYTES), BYTES);
	wh_sock_close(sock);
	return 0;
}

static int bytes_arrive_in_order_and_then_the_end(void *arg)
{
	struct wh_sock *sock;
	char buf[700];
	size_t got = 0;
	ssize_t r;

	(void)arg;
	start_server(send_bytes);
	check_int(dial(&sock), 0);
	while ((r = wh_sock_recv(sock, buf, 1 + sim_below(sizeof(buf)))) > 0)
		for (ssize_t i = 0; i < r; i++)
			check_int(buf[i], byte_at(got++));
	check_int(r, 0);
	check_int(got, BYTES);
	check_int(wh_sock_recv(sock, buf, 1), 0);
	wh_sock_close(sock);
	stop_server();
	return 0;
}

/* Receives until the end, then answers with how much that was. */
static int count_bytes(struct wh_sock *sock, void *arg)
{
	uint32_t count = 0;
	char buf[512];
	ssize_t r;

	(void)arg;
	while ((r = wh_sock_recv(sock, buf, sizeof(buf))) > 0)
		count += (uint32_t)r;
	check_int(r, 0);
	check_int(wh_sock_send(sock, &count, sizeof(count)), sizeof(count));
	wh_sock_close(sock);
	return 0;
}

static uint32_t recv_count(struct wh_sock *sock)
{
	uint32_t count = 0;

	for (size_t got = 0; got < sizeof(count);) {
		ssize_t r = wh_sock_recv(sock, (char *)&count + got, sizeof(count) - got);

		check(r > 0);
		got += (size_t)r;
	}
	return count;
}

static int half_closed_connection_still_receives(void *arg)
{
	char buf[BYTES] = { 0 };
	struct wh_sock *sock;
	uint32_t count;

	(void)arg;
	start_server(count_bytes);
	check_int(dial(&sock), 0);
	check_int(wh_sock_send(sock, buf, sizeof(buf)), sizeof(buf));
	check_int(wh_sock_shutdown(sock, SHUT_WR), 0);
	check_int(wh_sock_send(sock, buf, 1), -EPIPE);
	count = recv_count(sock);
	check_int(count, BYTES);
	wh_sock_close(sock);
	stop_server();
	return 0;
}

static int close_unread(struct wh_sock *sock, void *arg)
{
	(void)arg;
	wh_sleep(WH_SEC);
	wh_sock_close(sock);
	return 0;
}

static int closing_with_unread_bytes_resets(void *arg)
{
	struct wh_sock *sock;
	char byte = 1;

	(void)arg;
	start_server(close_unread);
	check_int(dial(&sock), 0);
	check_int(wh_sock_send(sock, &byte, 1), 1);
	check_int(wh_sock_recv(sock, &byte, 1), -ECONNRESET);
	check_int(wh_sock_recv(sock, &byte, 1), 0);
	check_int(wh_sock_send(sock, &byte, 1), -EPIPE);
	wh_sock_close(sock);
	stop_server();
	return 0;
}

static int read_late(struct wh_sock *sock, void *arg)
{
	static char buf[65536];
	size_t got = 0;
	ssize_t r;

	(void)arg;
	wh_sleep(10 * WH_SEC);
	while ((r = wh_sock_recv(sock, buf, sizeof(buf))) > 0)
		got += (size_t)r;
	check_int(got, 1 << 20);
	wh_sock_close(sock);
	return 0;
}

static int sender_waits_for_a_reader_that_is_late(void *arg)
{
	static char buf[1 << 20];
	uint64_t begin = wh_now_ns();
	struct wh_sock *sock;

	(void)arg;
	start_server(read_late);
	check_int(dial(&sock), 0);
	check_int(wh_sock_send(sock, buf, sizeof(buf)), sizeof(buf));
	check(wh_now_ns() - begin >= 9 * WH_SEC);
	check_int(wh_sock_shutdown(sock, SHUT_WR), 0);
	check_int(wh_sock_recv(sock, buf, 1), 0);
	wh_sock_close(sock);
	stop_server();
	return 0;
}

/* As a program without wh_sock_send would see it, which goes on by itself. */
static int send_of_all_that_waits_may_end_short(void *arg)
{
	static char buf[1 << 20];
	struct whi_op op = { .kind = WHI_OP_SEND };
	struct wh_sock *sock;
	ssize_t sent;

	(void)arg;
	start_server(read_late);
	check_int(dial(&sock), 0);
	op.fd = wh_sock_fd(sock);
	op.rw.buf = buf;
	op.rw.len = sizeof(buf);
	op.rw.flags = MSG_WAITALL;
	sent = whi_await(&op);
	check(sent > 0 && (size_t)sent < sizeof(buf));
	check_int(wh_sock_send(sock, buf, sizeof(buf) - (size_t)sent), sizeof(buf) - (size_t)sent);
	check_int(wh_sock_shutdown(sock, SHUT_WR), 0);
	check_int(wh_sock_recv(sock, buf, 1), 0);
	wh_sock_close(sock);
	stop_server();
	return 0;
}

static int bandwidth_takes_time(void *arg)
{
	const struct wh_sim_link link = { .latency_ns = WH_MS, .bytes_per_s = BYTES };
	uint64_t begin = wh_now_ns();
	struct wh_sock *sock;
	char buf[BYTES];
	ssize_t r;

	(void)arg;
	check_int(wh_sim_set_link(1, 0, &link), 0);
	start_server(send_bytes);
	check_int(dial(&sock), 0);
	while ((r = wh_sock_recv(sock, buf, sizeof(buf))) > 0)
		;
	check_int(r, 0);
	check(wh_now_ns() - begin >= WH_SEC);
	check(wh_now_ns() - begin < 2 * WH_SEC);
	wh_sock_close(sock);
	stop_server();
	return 0;
}

/* Connecting */

static int nobody_listens_means_refused(void *arg)
{
	struct wh_sock *sock;

	(void)arg;
	check_int(dial(&sock), -ECONNREFUSED);
	return 0;
}

static int two_listeners_on_a_port_conflict(void *arg)
{
	const struct wh_listen_opts share = { .reuse_port = true };
	struct wh_listener *a, *b;
	struct wh_addr addr, other;

	(void)arg;
	wh_sim_addr(0, PORT, &addr);
	check_int(wh_listen(&addr, NULL, &a), 0);
	check_int(wh_listen(&addr, NULL, &b), -EADDRINUSE);
	wh_listener_close(a);
	check_int(wh_listen(&addr, &share, &a), 0);
	check_int(wh_listen(&addr, &share, &b), 0);
	wh_listener_close(a);
	wh_listener_close(b);
	wh_sim_addr(1, PORT, &addr);
	check_int(wh_listen(&addr, NULL, &a), -EADDRNOTAVAIL);
	wh_sim_addr(0, 0, &addr);
	check_int(wh_listen(&addr, NULL, &a), 0);
	check_int(wh_listen(&addr, NULL, &b), 0);
	check_int(wh_listener_addr(a, &addr), 0);
	check_int(wh_listener_addr(b, &other), 0);
	check(memcmp(&addr.storage, &other.storage, sizeof(struct sockaddr_in)) != 0);
	wh_listener_close(a);
	wh_listener_close(b);
	return 0;
}

static int full_backlog_makes_connecting_wait(void *arg)
{
	uint64_t begin = wh_now_ns();
	struct wh_sock *socks[3];

	(void)arg;
	server = (struct server){ .backlog = 1 };
	check_int(wh_loop_spawn(wh_loop_at(1), listen_only, NULL, NULL), 0);
	wh_sleep(WH_SEC);
	check_int(dial(&socks[0]), 0);
	check_int(dial(&socks[1]), 0);
	check(wh_now_ns() - begin < 2 * WH_SEC);
	check_int(dial(&socks[2]), -ETIMEDOUT);
	check(wh_now_ns() - begin > 30 * WH_SEC);
	wh_sock_close(socks[0]);
	wh_sock_close(socks[1]);
	stop_server();
	return 0;
}

static int connecting_that_is_cancelled_leaves_nothing(void *arg)
{
	struct wh_scope scope;
	struct wh_sock *sock;

	(void)arg;
	start_server(close_unread);
	check_int(wh_sim_cut(0, 1, true), 0);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = WH_SEC });
	check_int(dial(&sock), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	check_int(wh_sim_cut(0, 1, false), 0);
	wh_sleep(WH_SEC);
	stop_server();
	return 0;
}

/* Cut links */

static int short_cut_only_delays(void *arg)
{
	char buf[BYTES] = { 0 };
	struct wh_sock *sock;
	uint32_t count;

	(void)arg;
	start_server(count_bytes);
	check_int(dial(&sock), 0);
	check_int(wh_sim_cut(0, 1, true), 0);
	check_int(wh_sock_send(sock, buf, 1000), 1000);
	check_int(wh_sock_shutdown(sock, SHUT_WR), 0);
	wh_sleep(20 * WH_SEC);
	check_int(wh_sim_cut(0, 1, false), 0);
	count = recv_count(sock);
	check_int(count, 1000);
	wh_sock_close(sock);
	stop_server();
	return 0;
}

static int expect_timeout(struct wh_sock *sock, void *arg)
{
	char byte;

	(void)arg;
	check_int(wh_sock_recv(sock, &byte, 1), -ETIMEDOUT);
	wh_sock_close(sock);
	return 0;
}

static int long_cut_ends_connections_on_both_sides(void *arg)
{
	struct wh_sock *sock, *other;
	uint64_t begin;
	char byte = 1;

	(void)arg;
	start_server(expect_timeout);
	check_int(dial(&sock), 0);
	check_int(wh_sim_cut(0, 1, true), 0);
	begin = wh_now_ns();
	check_int(wh_sock_recv(sock, &byte, 1), -ETIMEDOUT);
	check(wh_now_ns() - begin >= 30 * WH_SEC);
	check_int(dial(&other), -ETIMEDOUT);
	wh_sock_close(sock);
	stop_server();
	return 0;
}

/* Other sockets */

static int unix_sockets_by_path_and_name(void *arg)
{
	static const char *const names[] = { "unix:/socket", "unix:@name" };
	struct wh_listener *listener;
	struct wh_sock *a, *b;
	struct wh_addr addr;
	struct statx stat;
	char byte = 5;

	(void)arg;
	for (unsigned i = 0; i < 2; i++) {
		check_int(wh_addr_parse(names[i], &addr), 0);
		check_int(wh_connect(&addr, &a), i ? -ECONNREFUSED : -ENOENT);
		check_int(wh_listen(&addr, NULL, &listener), 0);
		check_int(wh_connect(&addr, &a), 0);
		check_int(wh_accept(listener, &b), 0);
		check_int(wh_sock_send(a, &byte, 1), 1);
		byte = 0;
		check_int(wh_sock_recv(b, &byte, 1), 1);
		check_int(byte, 5);
		wh_sock_close(a);
		check_int(wh_sock_recv(b, &byte, 1), 0);
		wh_sock_close(b);
		wh_listener_close(listener);
	}
	check_int(wh_path_stat("/socket", 0, &stat), -ENOENT);
	return 0;
}

static struct wh_sock *datagram_socket(struct wh_addr *addr)
{
	struct whi_op make = { .kind = WHI_OP_SOCKET,
			       .socket = { AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0 } };
	struct whi_op bind = { .kind = WHI_OP_BIND };
	struct wh_sock *sock;

	bind.fd = whi_await(&make);
	check(bind.fd >= 0);
	bind.addr.addr = (struct sockaddr *)&addr->storage;
	bind.addr.len = addr->len;
	check_int(whi_await(&bind), 0);
	check_int(wh_sock_from_fd(bind.fd, &sock), 0);
	return sock;
}

static int datagrams_arrive_whole_with_their_sender(void *arg)
{
	struct wh_addr from, to, sender;
	struct wh_sock *a, *b;
	char buf[64];
	struct iovec iov = { .iov_base = (char[]){ "whole" }, .iov_len = 5 };
	struct msghdr out = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct iovec into = { .iov_base = buf, .iov_len = sizeof(buf) };
	struct msghdr in = { .msg_iov = &into, .msg_iovlen = 1 };

	(void)arg;
	wh_sim_addr(0, 1000, &from);
	wh_sim_addr(0, 2000, &to);
	a = datagram_socket(&from);
	b = datagram_socket(&to);
	out.msg_name = &to.storage;
	out.msg_namelen = to.len;
	in.msg_name = &sender.storage;
	in.msg_namelen = sizeof(sender.storage);
	check_int(wh_sock_sendmsg(a, &out, 0), 5);
	check_int(wh_sock_sendmsg(a, &out, 0), 5);
	check_int(wh_sock_recvmsg(b, &in, 0), 5);
	check(memcmp(buf, "whole", 5) == 0);
	check(memcmp(&sender.storage, &from.storage, sizeof(struct sockaddr_in)) == 0);
	into.iov_len = 2;
	check_int(wh_sock_recvmsg(b, &in, 0), 2);
	check(in.msg_flags & MSG_TRUNC);
	wh_sock_close(a);
	wh_sock_close(b);
	return 0;
}

static int lost_datagrams_are_nobodys_error(void *arg)
{
	enum { SENT = 50 };
	struct wh_addr from, to;
	struct wh_sock *a, *b;
	struct wh_scope scope;
	unsigned got = 0;
	char byte = 1;
	struct iovec iov = { &byte, 1 };
	struct msghdr out = { .msg_iov = &iov, .msg_iovlen = 1 };

	(void)arg;
	wh_sim_addr(0, 1000, &from);
	wh_sim_addr(0, 2000, &to);
	a = datagram_socket(&from);
	b = datagram_socket(&to);
	out.msg_name = &to.storage;
	out.msg_namelen = to.len;
	for (int i = 0; i < SENT; i++)
		check_int(wh_sock_sendmsg(a, &out, 0), 1);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = WH_SEC });
	while (wh_sock_recv(b, &byte, 1) == 1)
		got++;
	wh_scope_close(&scope);
	check(got > 0 && got < SENT);
	wh_sock_close(a);
	wh_sock_close(b);
	return 0;
}

static int poll_says_when_there_is_something(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;
	char byte = 1;

	(void)arg;
	sim_pair(pair);
	check_int(wh_fd_poll(wh_sock_fd(pair[0]), POLLOUT), POLLOUT);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = WH_SEC });
	check_int(wh_fd_poll(wh_sock_fd(pair[0]), POLLIN), -ETIMEDOUT);
	wh_scope_close(&scope);
	check_int(wh_sock_send(pair[1], &byte, 1), 1);
	check_int(wh_fd_poll(wh_sock_fd(pair[0]), POLLIN), POLLIN);
	check_int(wh_sock_recv(pair[0], &byte, 1), 1);
	wh_sock_close(pair[1]);
	check(wh_fd_poll(wh_sock_fd(pair[0]), POLLIN) & POLLIN);
	wh_sock_close(pair[0]);
	return 0;
}

static int limit_on_descriptors_counts(void *arg)
{
	struct wh_listener *listeners[2];
	struct wh_addr addr;

	(void)arg;
	check_int(wh_sim_set_fds_max(0, 1), 0);
	wh_sim_addr(0, 0, &addr);
	check_int(wh_listen(&addr, NULL, &listeners[0]), 0);
	check_int(wh_listen(&addr, NULL, &listeners[1]), -EMFILE);
	check_int(wh_sim_set_fds_max(0, 0), 0);
	check_int(wh_listen(&addr, NULL, &listeners[1]), 0);
	wh_listener_close(listeners[0]);
	wh_listener_close(listeners[1]);
	return 0;
}

#define two_hosts .seeds = 20, .opts.hosts = 2
#define hidden two_hosts, .opts.faults = SIM_HIDDEN ",eintr=0.05,slow=0.1,enobufs=0.05"

int main(void)
{
	const struct CMUnitTest tests[] = {
		sim_test(bytes_arrive_in_order_and_then_the_end, hidden),
		sim_test(half_closed_connection_still_receives, hidden),
		sim_test(closing_with_unread_bytes_resets, hidden),
		sim_test(sender_waits_for_a_reader_that_is_late, hidden),
		sim_test(send_of_all_that_waits_may_end_short, two_hosts, .opts.faults = "short=1"),
		sim_test(bandwidth_takes_time, two_hosts),
		sim_test(nobody_listens_means_refused, two_hosts),
		sim_test(two_listeners_on_a_port_conflict, two_hosts),
		sim_test(full_backlog_makes_connecting_wait, two_hosts),
		sim_test(connecting_that_is_cancelled_leaves_nothing, hidden),
		sim_test(short_cut_only_delays, hidden),
		sim_test(long_cut_ends_connections_on_both_sides, two_hosts),
		sim_test(unix_sockets_by_path_and_name, .seeds = 20),
		sim_test(datagrams_arrive_whole_with_their_sender, .seeds = 20),
		sim_test(lost_datagrams_are_nobodys_error, .seeds = 20, .opts.faults = "drop=0.3"),
		sim_test(poll_says_when_there_is_something, .seeds = 20),
		sim_test(limit_on_descriptors_counts, .seeds = 20),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
