/*
 * Cancellation against completion in simulated worlds: the order in which bytes, cancellations,
 * deadlines and completions come is the seed's, and what a kernel shows once a month happens all
 * the time. What was sent is a counter, so that a byte that is missing or doubled shows. Races with
 * the real kernel are test_race's.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "support/sim_test.h"

enum { ROUNDS = 60, BYTES = 400, CONNECTIONS = 30 };

/* Bytes */

struct stream {
	struct wh_sock *sock;
	uint8_t expected;
	unsigned received;
	bool ended;
};

/* Three ways to receive; once a view was asked for, the others take from the stream too. */
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

/* Receive by `way` until told to stop, or the end. */
static int receive_some(struct stream *stream, unsigned way)
{
	static uint8_t buf[8192];
	ssize_t r;

	while ((r = receive(stream->sock, way, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < r; i++, stream->received++)
			check_int(buf[i], stream->expected++);
	stream->ended |= r == 0;
	return (int)r;
}

static int send_slowly(void *arg)
{
	uint8_t next = 0;

	for (unsigned sent = 0; sent < BYTES;) {
		uint8_t bytes[16];
		unsigned count = 1 + sim_below(16);

		if (count > BYTES - sent)
			count = BYTES - sent;
		for (unsigned i = 0; i < count; i++)
			bytes[i] = next++;
		check_int(wh_sock_send(arg, bytes, count), count);
		sent += count;
		sim_pause(300 * WH_US);
	}
	return wh_sock_shutdown(arg, SHUT_WR);
}

struct round {
	struct stream *stream;
	unsigned way;
};

static int receive_in_task(void *arg)
{
	struct round *round = arg;
	int r = receive_some(round->stream, round->way);

	check(r == 0 || r == -ECANCELED);
	return 0;
}

static void cancel_a_receiver(struct stream *stream, unsigned way)
{
	struct round round = { stream, way };
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, receive_in_task, &round), 0);
	sim_pause(400 * WH_US);
	wh_scope_cancel(&scope);
	r = wh_scope_close(&scope);
	check(r == 0 || r == -ECANCELED);
}

static void let_a_deadline_pass(struct stream *stream, unsigned way)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 1 + wh_sim_random(400000) });
	r = receive_some(stream, way);
	check(r == 0 || r == -ETIMEDOUT);
	wh_scope_close(&scope);
}

static int interrupt_a_stream(void (*interrupt)(struct stream *stream, unsigned way))
{
	struct stream stream = { 0 };
	struct wh_sock *pair[2];
	struct wh_scope scope;

	sim_pair(pair);
	stream.sock = pair[1];
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, send_slowly, pair[0]), 0);
	for (unsigned i = 0; !stream.ended && i < ROUNDS; i++)
		interrupt(&stream, i < ROUNDS / 4 ? sim_below(2) : sim_below(2) * 2);
	if (!stream.ended)
		check_int(receive_some(&stream, 2), 0);
	check_int(stream.received, BYTES);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	return 0;
}

static int cancelling_while_bytes_arrive_loses_none(void *arg)
{
	(void)arg;
	return interrupt_a_stream(cancel_a_receiver);
}

static int deadlines_while_bytes_arrive_lose_none(void *arg)
{
	(void)arg;
	return interrupt_a_stream(let_a_deadline_pass);
}

/* Connections. A world that ends with a descriptor left has failed. */

struct acceptor {
	struct wh_listener *listener;
	unsigned accepted;
};

static int accept_some(void *arg)
{
	struct acceptor *acceptor = arg;
	struct wh_sock *sock;
	int r;

	while ((r = wh_accept(acceptor->listener, &sock)) == 0) {
		acceptor->accepted++;
		wh_sock_close(sock);
	}
	check_int(r, -ECANCELED);
	return 0;
}

static int connect_and_close(void *arg)
{
	struct wh_sock *sock;
	int r = wh_connect(arg, &sock);

	if (r == 0)
		wh_sock_close(sock);
	else
		check_int(r, -ECANCELED);
	return 0;
}

static int connect_all(void *arg)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		check_int(connect_and_close(arg), 0);
		sim_pause(200 * WH_US);
	}
	return 0;
}

static void accept_for_a_while(struct acceptor *acceptor)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, accept_some, acceptor), 0);
	sim_pause(400 * WH_US);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
}

static int a_cancelled_accept_loses_no_connection(void *arg)
{
	struct wh_addr addr;
	struct acceptor acceptor = { .listener = tcp_listener(&addr) };
	struct wh_scope scope;
	unsigned rounds = 0;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, connect_all, &addr), 0);
	while (acceptor.accepted < CONNECTIONS && rounds++ < 1000)
		accept_for_a_while(&acceptor);
	check_int(acceptor.accepted, CONNECTIONS);
	check_int(wh_scope_close(&scope), 0);
	wh_listener_close(acceptor.listener);
	return 0;
}

static int a_listener_that_closes_leaves_no_connection(void *arg)
{
	struct wh_addr addr;
	struct acceptor acceptor = { .listener = tcp_listener(&addr) };
	struct wh_sock *clients[3];
	char byte;

	(void)arg;
	for (int i = 0; i < 3; i++)
		check_int(wh_connect(&addr, &clients[i]), 0);
	accept_for_a_while(&acceptor);
	sim_pause(200 * WH_US);
	wh_listener_close(acceptor.listener);
	/* Closed, reset, or never accepted: it does not hang. */
	for (int i = 0; i < 3; i++) {
		check(wh_sock_recv(clients[i], &byte, 1) <= 0);
		wh_sock_close(clients[i]);
	}
	return 0;
}

static int a_cancelled_connect_leaves_no_descriptor(void *arg)
{
	struct wh_addr addr;
	struct acceptor acceptor = { .listener = tcp_listener(&addr) };

	(void)arg;
	for (int i = 0; i < CONNECTIONS; i++) {
		struct wh_scope scope;

		wh_scope_open(&scope, NULL);
		check_int(wh_spawn(&scope, connect_and_close, &addr), 0);
		check_int(wh_spawn(&scope, accept_some, &acceptor), 0);
		sim_pause(400 * WH_US);
		wh_scope_cancel(&scope);
		check_int(wh_scope_close(&scope), -ECANCELED);
	}
	wh_listener_close(acceptor.listener);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sim_test(cancelling_while_bytes_arrive_loses_none, .seeds = 2000,
			 .opts.faults = SIM_HIDDEN),
		sim_test(deadlines_while_bytes_arrive_lose_none, .seeds = 2000,
			 .opts.faults = SIM_HIDDEN),
		sim_test(a_cancelled_accept_loses_no_connection, .seeds = 1000,
			 .opts.faults = SIM_HIDDEN),
		sim_test(a_listener_that_closes_leaves_no_connection, .seeds = 2000,
			 .opts.faults = SIM_HIDDEN),
		sim_test(a_cancelled_connect_leaves_no_descriptor, .seeds = 1000,
			 .opts.faults = SIM_HIDDEN),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
