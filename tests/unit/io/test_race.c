/*
 * Cancellation against completion, many times and in every order that one loop and one other thread
 * can bring about: what has arrived is delivered, now or by the next call, and nothing is lost.
 * The bytes sent are a counter, so a missing or doubled one shows. On the real kernel, because its
 * own races are what is tried here; test_race_sim has the same in simulated worlds.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "support/task_test.h"

enum { ROUNDS = TEST_ROUNDS, TURNS_MAX = 4 };

static uint64_t seed;

/* Four ways to receive one byte or more; the result is as wh_sock_recv's. */
static ssize_t receive(struct wh_sock *sock, unsigned way, uint8_t *buf, size_t len)
{
	struct iovec iov = { buf, len };
	struct wh_view view;
	ssize_t r;

	switch (way) {
	case 0:
		return wh_sock_recv(sock, buf, len);
	case 1:
		return wh_sock_recvmsg(sock, &(struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 },
				       0);
	default:
		r = wh_sock_recv_view(sock, &view);
		if (r <= 0)
			return r;
		check(view.len <= len);
		memcpy(buf, view.data, view.len);
		wh_view_release(&view);
		return r;
	}
}

struct receiver {
	struct wh_sock *sock;
	unsigned way;
	uint8_t expected;
	unsigned received;
	_Atomic unsigned *tell; /* how many there are now; may be NULL */
};

static void take(struct receiver *receiver, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		check_int(buf[i], receiver->expected++);
	receiver->received += (unsigned)len;
	if (receiver->tell)
		*receiver->tell = receiver->received;
}

static int receive_once(void *arg)
{
	struct receiver *receiver = arg;
	uint8_t buf[4096];
	ssize_t r = receive(receiver->sock, receiver->way, buf, sizeof(buf));

	if (r > 0)
		take(receiver, buf, (size_t)r);
	else
		check_int(r, -ECANCELED);
	return 0;
}

static void turn_some(uint64_t *state)
{
	for (uint64_t i = random_next(state) % TURNS_MAX; i > 0; i--)
		next_turn();
}

static int race_one_way(unsigned way)
{
	struct receiver receiver = { .way = way };
	struct wh_sock *pair[2];
	uint64_t state = seed;
	unsigned sent = 0, cancelled = 0;

	sock_pair(pair);
	receiver.sock = pair[1];
	for (int round = 0; round < ROUNDS; round++) {
		bool data_first = random_next(&state) & 1;
		struct wh_scope scope;
		uint8_t byte = (uint8_t)sent++;

		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, receive_once, &receiver);
		turn_some(&state);
		if (!data_first)
			wh_scope_cancel(&scope);
		turn_some(&state);
		check_int(write(wh_sock_fd(pair[0]), &byte, 1), 1);
		turn_some(&state);
		wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), -ECANCELED);
		if (receiver.received == sent)
			continue;
		cancelled++;
		check_int(receiver.received, sent - 1);
		receive_once(&receiver);
		check_int(receiver.received, sent);
	}
	/* Both outcomes were seen. */
	check(cancelled > 0 && cancelled < ROUNDS);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	return 0;
}

static int a_cancelled_recv_loses_no_byte(void *arg)
{
	(void)arg;
	return race_one_way(0);
}

static int a_cancelled_recvmsg_loses_no_byte(void *arg)
{
	(void)arg;
	return race_one_way(1);
}

static int a_cancelled_recv_view_loses_no_byte(void *arg)
{
	(void)arg;
	return race_one_way(2);
}

/* The same with a writer that knows nothing of the loop's turns. It keeps within AHEAD_MAX bytes of
 * the receiver, so that the socket is empty again and again: a receiver that always finds bytes
 * hardly ever waits, and it is its waiting that is to be interrupted. */

enum { AHEAD_MAX = 64 };

struct writer {
	int fd;
	_Atomic unsigned sent, received;
	_Atomic bool stop;
};

static void *write_bytes(void *arg)
{
	struct writer *writer = arg;

	while (!atomic_load(&writer->stop)) {
		uint8_t byte = (uint8_t)writer->sent;

		if (writer->sent - writer->received >= AHEAD_MAX) {
			sched_yield();
			continue;
		}
		check_int(write(writer->fd, &byte, 1), 1);
		writer->sent++;
	}
	shutdown(writer->fd, SHUT_WR);
	return NULL;
}

static int receive_until_cancelled(void *arg)
{
	struct receiver *receiver = arg;
	uint8_t buf[4096];
	ssize_t r;

	while ((r = receive(receiver->sock, receiver->way, buf, sizeof(buf))) > 0)
		take(receiver, buf, (size_t)r);
	if (r == 0)
		return 0;
	check_int(r, -ECANCELED);
	return 1;
}

/* `interrupt` runs one round: receive, and be stopped soon. */
static int race_a_writer(void (*interrupt)(struct receiver *receiver, uint64_t *state))
{
	struct writer writer = { 0 };
	struct receiver receiver = { .tell = &writer.received };
	struct wh_sock *pair[2];
	uint64_t state = seed;
	pthread_t thread;

	sock_pair(pair);
	receiver.sock = pair[1];
	writer.fd = wh_sock_fd(pair[0]);
	check_int(pthread_create(&thread, NULL, write_bytes, &writer), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		/* Once a view was asked for, wh_sock_recv takes from the stream too. */
		receiver.way = round < ROUNDS / 2 ? round % 2 : round % 2 * 2;
		interrupt(&receiver, &state);
	}
	atomic_store(&writer.stop, true);
	receiver.way = 2;
	check_int(receive_until_cancelled(&receiver), 0);
	check_int(pthread_join(thread, NULL), 0);
	check_int(receiver.received, writer.sent);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	return 0;
}

static void cancel_receiver(struct receiver *receiver, uint64_t *state)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, receive_until_cancelled, receiver);
	turn_some(state);
	if (random_next(state) % 8 == 0)
		settle();
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
}

static int cancelling_while_bytes_arrive_loses_none(void *arg)
{
	(void)arg;
	return race_a_writer(cancel_receiver);
}

static void receive_with_deadline(struct receiver *receiver, uint64_t *state)
{
	uint64_t timeout_ns = 1 + random_next(state) % (30 * WH_US);
	struct wh_scope scope;
	uint8_t buf[4096];
	ssize_t r;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = timeout_ns });
	r = receive(receiver->sock, receiver->way, buf, sizeof(buf));
	wh_scope_close(&scope);
	if (r > 0)
		take(receiver, buf, (size_t)r);
	else
		check_int(r, -ETIMEDOUT);
}

static int deadlines_while_bytes_arrive_lose_none(void *arg)
{
	(void)arg;
	return race_a_writer(receive_with_deadline);
}

/* Accept */

struct acceptor {
	struct wh_listener *listener;
	unsigned accepted;
};

static int accept_once(void *arg)
{
	struct acceptor *acceptor = arg;
	struct wh_sock *sock;
	int r = wh_accept(acceptor->listener, &sock);

	if (r < 0) {
		check_int(r, -ECANCELED);
		return 0;
	}
	acceptor->accepted++;
	wh_sock_close(sock);
	return 0;
}

/* Of this process alone: the test may run several times at once. */
static void own_addr(struct wh_addr *ret)
{
	char text[64];

	snprintf(text, sizeof(text), "unix:@whorl-test-race-%d", (int)getpid());
	check_int(wh_addr_parse(text, ret), 0);
}

/* run_task_test counts descriptors: a connection that was accepted and forgotten shows there. */
static int a_cancelled_accept_loses_no_connection(void *arg)
{
	struct acceptor acceptor = { 0 };
	struct wh_addr addr;
	uint64_t state = seed;
	unsigned connected = 0;

	(void)arg;
	own_addr(&addr);
	check_int(wh_listen(&addr, NULL, &acceptor.listener), 0);
	for (int round = 0; round < ROUNDS; round++) {
		bool connect_first = random_next(&state) & 1;
		struct wh_scope scope;

		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, accept_once, &acceptor);
		turn_some(&state);
		if (!connect_first)
			wh_scope_cancel(&scope);
		close(connect_raw(&addr));
		connected++;
		turn_some(&state);
		wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), -ECANCELED);
	}
	check(acceptor.accepted > 0 && acceptor.accepted < connected);
	while (acceptor.accepted < connected)
		accept_once(&acceptor);
	wh_listener_close(acceptor.listener);
	return 0;
}

static int a_listener_that_closes_leaves_no_connection(void *arg)
{
	struct wh_addr addr;
	uint64_t state = seed;

	(void)arg;
	own_addr(&addr);
	for (int round = 0; round < ROUNDS / 10; round++) {
		struct acceptor acceptor = { 0 };
		struct wh_scope scope;
		int fds[3];

		check_int(wh_listen(&addr, NULL, &acceptor.listener), 0);
		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, accept_once, &acceptor);
		turn_some(&state);
		for (int i = 0; i < 3; i++)
			fds[i] = connect_raw(&addr);
		turn_some(&state);
		wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), -ECANCELED);
		turn_some(&state);
		wh_listener_close(acceptor.listener);
		for (int i = 0; i < 3; i++) {
			char byte;

			/* Closed, reset, or never accepted: it does not hang. */
			check(read(fds[i], &byte, 1) <= 0);
			close(fds[i]);
		}
	}
	return 0;
}

/* Connect */

static int connect_and_close(void *arg)
{
	struct wh_sock *sock;
	int r = wh_connect(arg, &sock);

	check(r == 0 || r == -ECANCELED);
	if (r == 0)
		wh_sock_close(sock);
	return 0;
}

static int a_cancelled_connect_leaves_no_descriptor(void *arg)
{
	struct wh_addr addr;
	struct acceptor acceptor = { .listener = tcp_listener(&addr) };
	uint64_t state = seed;

	(void)arg;
	for (int round = 0; round < ROUNDS / 10; round++) {
		struct wh_scope scope;

		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, connect_and_close, &addr);
		wh_spawn(&scope, accept_once, &acceptor);
		turn_some(&state);
		wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), -ECANCELED);
	}
	wh_listener_close(acceptor.listener);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		task_test(a_cancelled_recv_loses_no_byte),
		task_test(a_cancelled_recvmsg_loses_no_byte),
		task_test(a_cancelled_recv_view_loses_no_byte),
		task_test(cancelling_while_bytes_arrive_loses_none),
		task_test(deadlines_while_bytes_arrive_lose_none),
		task_test(a_cancelled_accept_loses_no_connection),
		task_test(a_listener_that_closes_leaves_no_connection),
		task_test(a_cancelled_connect_leaves_no_descriptor),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
