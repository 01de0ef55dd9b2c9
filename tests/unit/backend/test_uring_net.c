/*
 * Operations on sockets on the real kernel, but for the data itself: what they do, how they fail,
 * how they are cancelled.
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
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0)
		check_int(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	return in;
}

static int run_socket(int domain, int type)
{
	struct ring_op op = { .op.kind = WHI_OP_SOCKET,
			      .op.socket = { domain, type | SOCK_CLOEXEC, 0 } };

	return ring_run(&op);
}

static int run_bind(int fd, const struct sockaddr_in *in)
{
	struct ring_op op = { .op.kind = WHI_OP_BIND, .op.fd = fd };

	op.op.addr.addr = (struct sockaddr *)(uintptr_t)in;
	op.op.addr.len = sizeof(*in);
	return ring_run(&op);
}

static int run_listen(int fd)
{
	struct ring_op op = { .op.kind = WHI_OP_LISTEN, .op.fd = fd, .op.arg.value = 16 };

	return ring_run(&op);
}

static int run_close(int fd)
{
	struct ring_op op = { .op.kind = WHI_OP_CLOSE, .op.fd = fd };

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
	struct ring_op op = { .op.kind = WHI_OP_CONNECT, .op.fd = fd };

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
	return (struct ring_op){ .op.kind = multishot ? WHI_OP_ACCEPT_MULTI : WHI_OP_ACCEPT,
				 .op.fd = fd,
				 .op.addr.flags = SOCK_CLOEXEC };
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
	struct sockaddr_in peer = { 0 }, mine;
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
	assert_in_set(ring_run(&op), ((unsigned long[]){ -EINVAL, -EOPNOTSUPP }), 2);
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
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sa_family_t), full = sizeof(un);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), clients[3];
	struct ring_op op = { .op.kind = WHI_OP_CONNECT };

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
	assert_in_set(ring_run_cancelled(&op), ((unsigned long[]){ -ECANCELED, -EINTR, -EAGAIN }),
		      3);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	close(listener);
}

/* shutdown, poll */

static void shutdown_ends_the_stream_for_the_peer(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_SHUTDOWN,
			      .op.fd = pair[0],
			      .op.arg.value = SHUT_WR };
	char byte;

	(void)state;
	assert_int_equal(ring_run(&op), 0);
	assert_int_equal(read(pair[1], &byte, 1), 0);
}

static void shutdown_of_what_is_not_connected_fails(void **state)
{
	int fd = run_socket(AF_INET, SOCK_STREAM);
	struct ring_op op = { .op.kind = WHI_OP_SHUTDOWN, .op.fd = fd, .op.arg.value = SHUT_WR };

	(void)state;
	assert_int_equal(ring_run(&op), -ENOTCONN);
	run_close(fd);
}

static struct ring_op poll_op(int fd, int events)
{
	return (struct ring_op){ .op.kind = WHI_OP_POLL, .op.fd = fd, .op.arg.value = events };
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
		NET_TEST(shutdown_ends_the_stream_for_the_peer),
		NET_TEST(shutdown_of_what_is_not_connected_fails),
		NET_TEST(poll_tells_which_events),
		NET_TEST(poll_of_a_bad_descriptor_fails),
		NET_TEST(poll_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
