/*
 * Every operation on sockets on the real kernel: what it does, how it fails, how it is cancelled.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/ring.h"

static int pair[2];

static int setup(void **state)
{
	check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	return ring_setup(state);
}

static int teardown(void **state)
{
	close(pair[0]);
	close(pair[1]);
	return ring_teardown(state);
}

static struct sockaddr_in loopback(int fd)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0)
		check_int(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	return in;
}

static int run_socket(int domain, int type)
{
	struct ring_op op = {.op.kind = WHI_OP_SOCKET,
			     .op.socket = {domain, type | SOCK_CLOEXEC, 0}};

	return ring_run(&op);
}

static int run_bind(int fd, const struct sockaddr_in *in)
{
	struct ring_op op = {.op.kind = WHI_OP_BIND, .op.fd = fd};

	op.op.addr.addr = (struct sockaddr *)(uintptr_t)in;
	op.op.addr.len = sizeof(*in);
	return ring_run(&op);
}

static int run_listen(int fd)
{
	struct ring_op op = {.op.kind = WHI_OP_LISTEN, .op.fd = fd, .op.arg.value = 16};

	return ring_run(&op);
}

static int run_close(int fd)
{
	struct ring_op op = {.op.kind = WHI_OP_CLOSE, .op.fd = fd};

	return ring_run(&op);
}

static int new_listener(void)
{
	struct sockaddr_in in = loopback(-1);
	int fd = run_socket(AF_INET, SOCK_STREAM);

	check(fd >= 0);
	check_int(run_bind(fd, &in), 0);
	check_int(run_listen(fd), 0);
	return fd;
}

static struct ring_op connect_op(int fd, const struct sockaddr_in *in)
{
	struct ring_op op = {.op.kind = WHI_OP_CONNECT, .op.fd = fd};

	op.op.addr.addr = (struct sockaddr *)(uintptr_t)in;
	op.op.addr.len = sizeof(*in);
	return op;
}

static int connect_to(int listener)
{
	struct sockaddr_in in = loopback(listener);
	int fd = run_socket(AF_INET, SOCK_STREAM);
	struct ring_op op = connect_op(fd, &in);

	check(fd >= 0);
	check_int(ring_run(&op), 0);
	return fd;
}

/* socket, bind, listen, close */

static void socket_makes_one(void **state)
{
	int fd = run_socket(AF_UNIX, SOCK_STREAM);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(run_close(fd), 0);
}

static void socket_of_no_family_fails(void **state)
{
	(void)state;
	assert_int_equal(run_socket(9999, SOCK_STREAM), -EAFNOSUPPORT);
}

static void bind_fails_on_an_address_in_use(void **state)
{
	int one = new_listener(), two = run_socket(AF_INET, SOCK_STREAM);
	struct sockaddr_in in = loopback(one);

	(void)state;
	assert_int_equal(run_bind(two, &in), -EADDRINUSE);
	run_close(one);
	run_close(two);
}

static void listen_fails_on_what_is_no_socket(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(run_listen(ends[0]), -ENOTSOCK);
	close(ends[0]);
	close(ends[1]);
}

static void close_closes_once(void **state)
{
	int fd = dup(pair[0]);

	(void)state;
	assert_int_equal(run_close(fd), 0);
	assert_int_equal(run_close(fd), -EBADF);
}

/* connect, accept */

static struct ring_op accept_op(int fd, bool multishot)
{
	return (struct ring_op){.op.kind = multishot ? WHI_OP_ACCEPT_MULTI : WHI_OP_ACCEPT,
				.op.fd = fd, .op.addr.flags = SOCK_CLOEXEC};
}

static void accept_brings_the_connection(void **state)
{
	int listener = new_listener();
	struct ring_op op = accept_op(listener, false);
	int client;

	(void)state;
	ring_submit(&op);
	client = connect_to(listener);
	ring_wait(&op);
	assert_true(op.op.result >= 0);
	run_close(op.op.result);
	run_close(client);
	run_close(listener);
}

static void accept_tells_who_connected(void **state)
{
	int listener = new_listener();
	struct ring_op op = accept_op(listener, false);
	struct sockaddr_in peer = {0}, mine;
	socklen_t len = sizeof(peer);
	int client;

	(void)state;
	op.op.addr.addr = (struct sockaddr *)&peer;
	op.op.addr.len_ptr = &len;
	client = connect_to(listener);
	assert_true(ring_run(&op) >= 0);
	mine = loopback(client);
	assert_int_equal(peer.sin_port, mine.sin_port);
	run_close(op.op.result);
	run_close(client);
	run_close(listener);
}

static void accept_fails_on_a_socket_that_does_not_listen(void **state)
{
	struct ring_op op = accept_op(pair[0], false);

	(void)state;
	assert_in_set(ring_run(&op), ((unsigned long[]){-EINVAL, -EOPNOTSUPP}), 2);
}

static void accept_can_be_cancelled(void **state)
{
	int listener = new_listener();
	struct ring_op op = accept_op(listener, false);

	(void)state;
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
	run_close(listener);
}

static void accept_multishot_brings_every_connection(void **state)
{
	int listener = new_listener(), clients[5];
	struct ring_op op = accept_op(listener, true);

	(void)state;
	ring_submit(&op);
	for (unsigned i = 0; i < 5; i++) {
		clients[i] = connect_to(listener);
		ring_wait_for(&op, i + 1);
		assert_true(op.results[i] >= 0);
		run_close(op.results[i]);
	}
	ring_cancel(&op);
	ring_wait(&op);
	assert_int_equal(op.op.result, -ECANCELED);
	for (unsigned i = 0; i < 5; i++)
		run_close(clients[i]);
	run_close(listener);
}

static void accept_multishot_completes_for_good_once(void **state)
{
	int listener = new_listener();
	struct ring_op op = accept_op(listener, true);

	(void)state;
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
	assert_int_equal(op.flags[0] & WHI_OP_MORE, 0);
	run_close(listener);
}

static void connect_to_nobody_is_refused(void **state)
{
	int listener = new_listener(), fd = run_socket(AF_INET, SOCK_STREAM);
	struct sockaddr_in in = loopback(listener);
	struct ring_op op = connect_op(fd, &in);

	(void)state;
	run_close(listener);
	assert_int_equal(ring_run(&op), -ECONNREFUSED);
	run_close(fd);
}

/* A Unix listener whose backlog is full makes a connect wait. */
static void connect_can_be_cancelled(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(sa_family_t), full = sizeof(un);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), clients[3];
	struct ring_op op = {.op.kind = WHI_OP_CONNECT};

	(void)state;
	assert_int_equal(bind(listener, (struct sockaddr *)&un, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&un, &full), 0);
	for (int i = 0; i < 3; i++)
		clients[i] = socket(AF_UNIX, SOCK_STREAM, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(connect(clients[i], (struct sockaddr *)&un, full), 0);
	op.op.fd = clients[2];
	op.op.addr.addr = (struct sockaddr *)&un;
	op.op.addr.len = full;
	assert_in_set(ring_run_cancelled(&op),
		      ((unsigned long[]){-ECANCELED, -EINTR, -EAGAIN}), 3);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	close(listener);
}

/* recv, send */

static struct ring_op recv_op(int fd, char *buf, size_t len)
{
	return (struct ring_op){.op.kind = WHI_OP_RECV, .op.fd = fd,
				.op.rw = {.buf = buf, .len = len}};
}

static struct ring_op send_op(int fd, const char *buf, size_t len)
{
	return (struct ring_op){.op.kind = WHI_OP_SEND, .op.fd = fd,
				.op.rw = {.buf = (char *)(uintptr_t)buf, .len = len,
					  .flags = MSG_WAITALL}};
}

static void recv_waits_for_what_send_sends(void **state)
{
	char buf[16] = "";
	struct ring_op in = recv_op(pair[0], buf, sizeof(buf)), out = send_op(pair[1], "hello", 5);

	(void)state;
	ring_submit(&in);
	ring_poke();
	assert_int_equal(in.completions, 0);
	assert_int_equal(ring_run(&out), 5);
	ring_wait(&in);
	assert_int_equal(in.op.result, 5);
	assert_string_equal(buf, "hello");
}

static void recv_after_the_peer_has_closed_is_zero(void **state)
{
	char buf[16];
	struct ring_op op = recv_op(pair[0], buf, sizeof(buf));

	(void)state;
	shutdown(pair[1], SHUT_WR);
	assert_int_equal(ring_run(&op), 0);
}

static void recv_can_be_cancelled(void **state)
{
	char buf[16];
	struct ring_op op = recv_op(pair[0], buf, sizeof(buf));

	(void)state;
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

static void send_to_a_closed_peer_fails_without_a_signal(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	close(pair[1]);
	assert_int_equal(ring_run(&op), -EPIPE);
	pair[1] = dup(pair[0]);
}

static size_t fill_socket(int fd)
{
	static const char block[4096];
	size_t sent = 0;
	ssize_t r;

	while ((r = send(fd, block, sizeof(block), MSG_DONTWAIT)) > 0)
		sent += (size_t)r;
	return sent;
}

static void send_into_a_full_socket_can_be_cancelled(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	fill_socket(pair[0]);
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

static void bad_descriptor_fails(void **state)
{
	char buf[4];
	struct ring_op in = recv_op(-1, buf, 4), out = send_op(12345, "x", 1);

	(void)state;
	assert_int_equal(ring_run(&in), -EBADF);
	assert_int_equal(ring_run(&out), -EBADF);
}

static void bad_memory_fails(void **state)
{
	struct ring_op op = send_op(pair[0], (const char *)16, 100);

	(void)state;
	assert_int_equal(ring_run(&op), -EFAULT);
}

/* quiet sends */

static void quiet_send_completes_once_with_its_length(void **state)
{
	char buf[8] = "";
	struct ring_op op = send_op(pair[0], "quiet", 5);

	(void)state;
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	ring_submit(&op);
	ring_poke();
	assert_int_equal(op.completions, 1);
	assert_int_equal(op.op.result, 5);
	assert_int_equal(read(pair[1], buf, sizeof(buf)), 5);
	assert_string_equal(buf, "quiet");
}

static void quiet_send_into_a_full_socket_says_so(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	fill_socket(pair[0]);
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	assert_int_equal(ring_run(&op), -EAGAIN);
}

static void quiet_send_to_a_closed_peer_says_so(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	close(pair[1]);
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	assert_int_equal(ring_run(&op), -EPIPE);
	pair[1] = dup(pair[0]);
}

static int tcp_pair_of(int *ret_client)
{
	int listener = new_listener();
	struct ring_op op = accept_op(listener, false);

	*ret_client = connect_to(listener);
	check(ring_run(&op) >= 0);
	run_close(listener);
	return op.op.result;
}

/* What does not fit is reported, byte for byte: nothing is lost and nothing sent twice. */
static void quiet_send_that_fits_in_part_tells_how_much(void **state)
{
	static char block[8 * 1024 * 1024];
	int client, server = tcp_pair_of(&client);
	struct ring_op op = send_op(client, block, sizeof(block));
	ssize_t r, got = 0;

	(void)state;
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	assert_in_range(ring_run(&op), 1, sizeof(block) - 1);
	run_close(client);
	while ((r = read(server, block, sizeof(block))) > 0)
		got += r;
	assert_int_equal(got, op.op.result);
	run_close(server);
}

static void quiet_sends_keep_their_order(void **state)
{
	struct ring_op ops[26];
	char text[26], got[32] = "";

	(void)state;
	for (int i = 0; i < 26; i++) {
		text[i] = (char)('a' + i);
		ops[i] = send_op(pair[0], &text[i], 1);
		ops[i].op.quiet = true;
		ops[i].op.rw.flags |= MSG_DONTWAIT;
		ring_submit(&ops[i]);
	}
	ring_poke();
	for (int i = 0; i < 26; i++)
		assert_int_equal(ops[i].completions, 1);
	assert_int_equal(read(pair[1], got, sizeof(got)), 26);
	assert_string_equal(got, "abcdefghijklmnopqrstuvwxyz");
}

static void quiet_send_can_be_cancelled(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	ring_submit(&op);
	ring_cancel(&op);
	ring_wait(&op);
	assert_int_equal(op.completions, 1);
	assert_int_equal(op.op.result, 1);
}

/* recv multishot with buffers */

enum { BUFS = 4, BUF_BYTES = 64 };

static char memory[BUFS][BUF_BYTES];

static void lend_all(void)
{
	check_int(ring->ops->bufs_open(ring, BUFS), 0);
	for (uint16_t i = 0; i < BUFS; i++)
		ring->ops->buf_give(ring, i, memory[i], BUF_BYTES);
}

static struct ring_op recv_multi_op(int fd)
{
	return (struct ring_op){.op.kind = WHI_OP_RECV_MULTI, .op.fd = fd};
}

static void end(struct ring_op *op, int32_t result)
{
	ring_cancel(op);
	ring_wait(op);
	assert_int_equal(op->op.result, result);
}

static void recv_multishot_takes_a_buffer_a_message(void **state)
{
	struct ring_op op = recv_multi_op(pair[0]);

	(void)state;
	lend_all();
	ring_submit(&op);
	for (unsigned i = 0; i < 12; i++) {
		char byte = (char)('a' + i);

		assert_int_equal(write(pair[1], &byte, 1), 1);
		ring_wait_for(&op, i + 1);
		assert_int_equal(op.op.result, 1);
		assert_true(op.op.flags & WHI_OP_BUFFER);
		assert_int_equal(memory[op.op.buffer][0], byte);
		ring->ops->buf_give(ring, op.op.buffer, memory[op.op.buffer], BUF_BYTES);
	}
	end(&op, -ECANCELED);
}

static void recv_multishot_out_of_buffers_says_so_and_loses_nothing(void **state)
{
	struct ring_op op = recv_multi_op(pair[0]);
	static char sent[BUFS * BUF_BYTES + 10];
	char rest[sizeof(sent)];

	(void)state;
	lend_all();
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)i;
	assert_int_equal(write(pair[1], sent, sizeof(sent)), sizeof(sent));
	ring_submit(&op);
	ring_wait(&op);
	assert_int_equal(op.op.result, -ENOBUFS);
	assert_int_equal(op.completions, BUFS + 1);
	assert_int_equal(read(pair[0], rest, sizeof(rest)), 10);
	assert_memory_equal(rest, sent + BUFS * BUF_BYTES, 10);
}

static void recv_multishot_ends_with_zero_at_the_end(void **state)
{
	struct ring_op op = recv_multi_op(pair[0]);

	(void)state;
	lend_all();
	ring_submit(&op);
	shutdown(pair[1], SHUT_WR);
	ring_wait(&op);
	assert_int_equal(op.op.result, 0);
	assert_int_equal(op.completions, 1);
}

static void recv_multishot_can_be_cancelled(void **state)
{
	struct ring_op op = recv_multi_op(pair[0]);

	(void)state;
	lend_all();
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

/* sendmsg, recvmsg, shutdown, poll */

static void messages_carry_vectors(void **state)
{
	char one[3], two[8] = "", abc[] = "abc", defgh[] = "defgh";
	struct iovec out[2] = {{abc, 3}, {defgh, 5}}, in[2] = {{one, 3}, {two, 8}};
	struct msghdr to = {.msg_iov = out, .msg_iovlen = 2}, from = {.msg_iov = in,
								       .msg_iovlen = 2};
	struct ring_op send = {.op.kind = WHI_OP_SENDMSG, .op.fd = pair[0], .op.msg.msg = &to};
	struct ring_op recv = {.op.kind = WHI_OP_RECVMSG, .op.fd = pair[1], .op.msg.msg = &from};

	(void)state;
	ring_submit(&recv);
	assert_int_equal(ring_run(&send), 8);
	ring_wait(&recv);
	assert_int_equal(recv.op.result, 8);
	assert_memory_equal(one, "abc", 3);
	assert_string_equal(two, "defgh");
}

static void sendmsg_to_a_closed_peer_fails_without_a_signal(void **state)
{
	char byte = 'x';
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct ring_op op = {.op.kind = WHI_OP_SENDMSG, .op.fd = pair[0], .op.msg.msg = &msg};

	(void)state;
	close(pair[1]);
	assert_int_equal(ring_run(&op), -EPIPE);
	pair[1] = dup(pair[0]);
}

static void recvmsg_can_be_cancelled(void **state)
{
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct ring_op op = {.op.kind = WHI_OP_RECVMSG, .op.fd = pair[0], .op.msg.msg = &msg};

	(void)state;
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

static void shutdown_ends_the_stream_for_the_peer(void **state)
{
	struct ring_op op = {.op.kind = WHI_OP_SHUTDOWN, .op.fd = pair[0],
			     .op.arg.value = SHUT_WR};
	char byte;

	(void)state;
	assert_int_equal(ring_run(&op), 0);
	assert_int_equal(read(pair[1], &byte, 1), 0);
}

static void shutdown_of_what_is_not_connected_fails(void **state)
{
	int fd = run_socket(AF_INET, SOCK_STREAM);
	struct ring_op op = {.op.kind = WHI_OP_SHUTDOWN, .op.fd = fd, .op.arg.value = SHUT_WR};

	(void)state;
	assert_int_equal(ring_run(&op), -ENOTCONN);
	run_close(fd);
}

static struct ring_op poll_op(int fd, int events)
{
	return (struct ring_op){.op.kind = WHI_OP_POLL, .op.fd = fd, .op.arg.value = events};
}

static void poll_tells_which_events(void **state)
{
	struct ring_op in = poll_op(pair[0], POLLIN), out = poll_op(pair[0], POLLOUT);

	(void)state;
	assert_true(ring_run(&out) & POLLOUT);
	ring_submit(&in);
	ring_poke();
	assert_int_equal(in.completions, 0);
	assert_int_equal(write(pair[1], "x", 1), 1);
	ring_wait(&in);
	assert_true(in.op.result & POLLIN);
}

static void poll_of_a_bad_descriptor_fails(void **state)
{
	struct ring_op op = poll_op(-1, POLLIN);

	(void)state;
	assert_int_equal(ring_run(&op), -EBADF);
}

static void poll_can_be_cancelled(void **state)
{
	struct ring_op op = poll_op(pair[0], POLLIN);

	(void)state;
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

#define NET_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NET_TEST(socket_makes_one),
		NET_TEST(socket_of_no_family_fails),
		NET_TEST(bind_fails_on_an_address_in_use),
		NET_TEST(listen_fails_on_what_is_no_socket),
		NET_TEST(close_closes_once),
		NET_TEST(accept_brings_the_connection),
		NET_TEST(accept_tells_who_connected),
		NET_TEST(accept_fails_on_a_socket_that_does_not_listen),
		NET_TEST(accept_can_be_cancelled),
		NET_TEST(accept_multishot_brings_every_connection),
		NET_TEST(accept_multishot_completes_for_good_once),
		NET_TEST(connect_to_nobody_is_refused),
		NET_TEST(connect_can_be_cancelled),
		NET_TEST(recv_waits_for_what_send_sends),
		NET_TEST(recv_after_the_peer_has_closed_is_zero),
		NET_TEST(recv_can_be_cancelled),
		NET_TEST(send_to_a_closed_peer_fails_without_a_signal),
		NET_TEST(send_into_a_full_socket_can_be_cancelled),
		NET_TEST(bad_descriptor_fails),
		NET_TEST(bad_memory_fails),
		NET_TEST(quiet_send_completes_once_with_its_length),
		NET_TEST(quiet_send_into_a_full_socket_says_so),
		NET_TEST(quiet_send_to_a_closed_peer_says_so),
		NET_TEST(quiet_send_that_fits_in_part_tells_how_much),
		NET_TEST(quiet_sends_keep_their_order),
		NET_TEST(quiet_send_can_be_cancelled),
		NET_TEST(recv_multishot_takes_a_buffer_a_message),
		NET_TEST(recv_multishot_out_of_buffers_says_so_and_loses_nothing),
		NET_TEST(recv_multishot_ends_with_zero_at_the_end),
		NET_TEST(recv_multishot_can_be_cancelled),
		NET_TEST(messages_carry_vectors),
		NET_TEST(sendmsg_to_a_closed_peer_fails_without_a_signal),
		NET_TEST(recvmsg_can_be_cancelled),
		NET_TEST(shutdown_ends_the_stream_for_the_peer),
		NET_TEST(shutdown_of_what_is_not_connected_fails),
		NET_TEST(poll_tells_which_events),
		NET_TEST(poll_of_a_bad_descriptor_fails),
		NET_TEST(poll_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
