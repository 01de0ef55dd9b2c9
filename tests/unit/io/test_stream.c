/*
 * The receive stream behind wh_sock_recv_view: order, end, closing, few buffers, slow consumers;
 * what takes time is in test_stream_sim. What is sent is a stream of bytes whose value tells their
 * place, so that a byte lost, doubled or out of place shows.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/task_test.h"

enum { PERIOD = 251, PATTERN = 256 * PERIOD };

static uint64_t seed;

/* What the stream repeats, and once more: from each place in a period on, PATTERN bytes. */
static uint8_t pattern[PATTERN + PERIOD];

/* The byte at `place` of the stream. */
static uint8_t byte_at(uint64_t place)
{
	return (uint8_t)(place % PERIOD);
}

static void make_pattern(void)
{
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = byte_at(i);
}

static void fill(uint8_t *buf, size_t len, uint64_t place)
{
	for (size_t at = 0; at < len; at += PATTERN)
		memcpy(buf + at, pattern + place % PERIOD, len - at < PATTERN ? len - at : PATTERN);
}

static void check_bytes(const uint8_t *buf, size_t len, uint64_t place)
{
	for (size_t at = 0; at < len; at += PATTERN)
		check(memcmp(buf + at, pattern + place % PERIOD,
			     len - at < PATTERN ? len - at : PATTERN) == 0);
}

/* A sender of `total` bytes in pieces of random size, then the end of the stream. */
struct source {
	struct wh_sock *sock;
	uint64_t total;
	uint32_t piece_max;
};

static int send_stream(void *arg)
{
	const struct source *source = arg;
	uint8_t *buf = malloc(source->piece_max);
	uint64_t state = seed, place = 0;

	check(buf);
	while (place < source->total) {
		size_t len = 1 + random_next(&state) % source->piece_max;

		if (len > source->total - place)
			len = source->total - place;
		fill(buf, len, place);
		check_int(wh_sock_send(source->sock, buf, len), len);
		place += len;
	}
	free(buf);
	return wh_sock_shutdown(source->sock, SHUT_WR);
}

static uint64_t receive_views(struct wh_sock *sock)
{
	struct wh_view view;
	uint64_t place = 0;
	ssize_t r;

	while ((r = wh_sock_recv_view(sock, &view)) > 0) {
		check_int(view.len, r);
		check_bytes(view.data, view.len, place);
		place += view.len;
		wh_view_release(&view);
	}
	check_int(r, 0);
	return place;
}

static int views_bring_every_byte_in_order(void *arg)
{
	struct wh_sock *pair[2];
	struct source source = { .total = 20000000, .piece_max = 30000 };
	struct wh_scope scope;

	(void)arg;
	tcp_pair(pair);
	source.sock = pair[0];
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, send_stream, &source);
	check_int(receive_views(pair[1]), source.total);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	return 0;
}

/* One after the other at random: a view, a copy of a few bytes, what is there already. */
static int all_ways_to_receive_keep_the_order(void *arg)
{
	struct wh_sock *pair[2];
	struct source source = { .total = 3000000, .piece_max = 9000 };
	struct wh_scope scope;
	uint64_t state = seed, place = 0;
	uint8_t buf[6000];

	(void)arg;
	tcp_pair(pair);
	source.sock = pair[0];
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, send_stream, &source);
	for (ssize_t r = 1; r != 0;) {
		unsigned way = (unsigned)(random_next(&state) % 3);
		struct wh_view view = { .data = buf };

		if (way == 0)
			r = wh_sock_recv(pair[1], buf, 1 + random_next(&state) % sizeof(buf));
		else if (way == 1)
			r = wh_sock_recv_view(pair[1], &view);
		else if ((r = wh_sock_try_recv_view(pair[1], &view)) == -EAGAIN)
			continue;
		check(r >= 0);
		check_bytes(view.data, (size_t)r, place);
		place += (uint64_t)r;
		if (way > 0 && r > 0)
			wh_view_release(&view);
	}
	check_int(place, source.total);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	return 0;
}

static int try_recv_view_does_not_wait(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_view view;

	(void)arg;
	sock_pair(pair);
	check_int(wh_sock_try_recv_view(pair[0], &view), -EAGAIN);
	check_int(wh_sock_send(pair[1], "ab", 2), 2);
	check_int(wh_sock_recv_view(pair[0], &view), 2);
	wh_view_release(&view);
	check_int(wh_sock_send(pair[1], "c", 1), 1);
	settle();
	check_int(wh_sock_try_recv_view(pair[0], &view), 1);
	wh_view_release(&view);
	wh_sock_close(pair[1]);
	check_int(wh_sock_recv_view(pair[0], &view), 0);
	check_int(wh_sock_try_recv_view(pair[0], &view), 0);
	wh_sock_close(pair[0]);
	return 0;
}

/* Many clients, few buffers. */

enum { CLIENTS = 1000, ROUNDS = TEST_ROUNDS < 10000 ? 2 : 10, MESSAGE = 600 };

static int echo_views(struct wh_sock *sock, void *arg)
{
	struct wh_view view;
	ssize_t r;

	(void)arg;
	while ((r = wh_sock_recv_view(sock, &view)) > 0) {
		check_int(wh_sock_send(sock, view.data, view.len), r);
		wh_view_release(&view);
	}
	/* The client has closed, which may not have been seen before the server was stopped. */
	check(r == 0 || r == -ECANCELED);
	wh_sock_close(sock);
	return 0;
}

static int serve(void *arg)
{
	check_int(wh_serve(arg, echo_views, NULL, NULL), -ECANCELED);
	wh_listener_close(arg);
	return 0;
}

static void recv_exactly(struct wh_sock *sock, uint8_t *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t r = wh_sock_recv(sock, buf + got, len - got);

		check(r > 0);
		got += (size_t)r;
	}
}

static int client(void *arg)
{
	uint8_t out[MESSAGE], in[MESSAGE];
	struct wh_sock *sock;

	check_int(wh_connect(arg, &sock), 0);
	for (int i = 0; i < ROUNDS; i++) {
		fill(out, sizeof(out), (uintptr_t)sock + (uint64_t)i);
		check_int(wh_sock_send(sock, out, sizeof(out)), sizeof(out));
		recv_exactly(sock, in, sizeof(in));
		check(memcmp(in, out, sizeof(in)) == 0);
	}
	wh_sock_close(sock);
	return 0;
}

static int many_clients_share_few_buffers(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_loop_stats stats;
	struct wh_scope server, clients;

	(void)arg;
	wh_scope_open(&server, NULL);
	wh_spawn(&server, serve, listener);
	wh_scope_open(&clients, NULL);
	for (int i = 0; i < CLIENTS; i++)
		check_int(wh_spawn(&clients, client, &addr), 0);
	check_int(wh_scope_close(&clients), 0);
	wh_scope_cancel(&server);
	check_int(wh_scope_close(&server), -ECANCELED);
	wh_loop_stats(&stats);
	check(stats.bufs_exhausted > 0);
	check_int(stats.ops_inflight, 0);
	return 0;
}

static int recv_view_canceled(void *arg)
{
	struct wh_view view;

	check_int(wh_sock_recv_view(arg, &view), -ECANCELED);
	return 0;
}

static int closing_while_no_buffer_is_free(void *arg)
{
	struct wh_sock *pair[2], *other[2];
	struct wh_view lent[2];
	struct wh_scope scope;

	(void)arg;
	sock_pair(pair);
	sock_pair(other);
	for (int i = 0; i < 2; i++) {
		check_int(wh_sock_send(pair[1], "x", 1), 1);
		check_int(wh_sock_recv_view(pair[0], &lent[i]), 1);
	}
	check_int(wh_sock_send(other[1], "x", 1), 1);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, recv_view_canceled, other[0]);
	settle();
	wh_sock_close(other[0]);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(other[1]);
	for (int i = 0; i < 2; i++)
		wh_view_release(&lent[i]);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	return 0;
}

/* Slow consumers */

/* The kernel's own buffers hold some megabytes; beyond them the sender must stop. */
static int flood(void *arg)
{
	static char bytes[64 << 20];

	check_int(wh_sock_send(arg, bytes, sizeof(bytes)), -ECANCELED);
	check(wh_sock_bytes_sent(arg) < sizeof(bytes) / 2);
	return 0;
}

static int a_consumer_that_does_not_read_holds_its_peer_up(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;
	struct wh_view view;

	(void)arg;
	tcp_pair(pair);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, flood, pair[0]);
	check(wh_sock_recv_view(pair[1], &view) > 0);
	wh_view_release(&view);
	for (int i = 0; i < 100; i++)
		settle();
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	return 0;
}

/* Peers that send without end and whose data nobody takes must leave buffers to the others. */
enum { GREEDY = 200 };

static int consumers_that_do_not_read_leave_buffers_to_others(void *arg)
{
	struct wh_sock *pairs[GREEDY][2], *polite[2];
	struct wh_scope scope;
	struct wh_view view;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < GREEDY; i++) {
		sock_pair(pairs[i]);
		wh_spawn(&scope, flood, pairs[i][0]);
	}
	for (int i = 0; i < GREEDY; i++) {
		check(wh_sock_recv_view(pairs[i][1], &view) > 0);
		wh_view_release(&view);
	}
	settle();
	sock_pair(polite);
	check_int(wh_sock_send(polite[0], "please", 6), 6);
	check_int(wh_sock_recv_view(polite[1], &view), 6);
	wh_view_release(&view);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	for (int i = 0; i < GREEDY; i++) {
		wh_sock_close(pairs[i][0]);
		wh_sock_close(pairs[i][1]);
	}
	wh_sock_close(polite[0]);
	wh_sock_close(polite[1]);
	return 0;
}

/* Limits */

/* A receive stays armed when its task leaves, so these sockets are closed before there is room. */
enum { OPS = 256, SOCKS = OPS + 20 };

static int no_room_for_operations_is_an_error_not_a_hang(void *arg)
{
	struct wh_sock *pairs[SOCKS][2];
	struct wh_loop_stats stats;
	struct wh_scope scope;
	struct wh_view view;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < SOCKS; i++) {
		sock_pair(pairs[i]);
		if (i < OPS)
			wh_spawn(&scope, recv_view_canceled, pairs[i][0]);
	}
	settle();
	wh_loop_stats(&stats);
	check_int(stats.ops_inflight, OPS);
	check_int(wh_sock_recv_view(pairs[OPS][0], &view), -EAGAIN);
	check_int(wh_sock_recv(pairs[OPS][0], &(char){ 0 }, 1), -EAGAIN);
	check_int(wh_sock_send(pairs[OPS][1], "x", 1), -EAGAIN);
	/* What needs no waiting still works, above all giving up. */
	check_int(wh_sock_shutdown(pairs[SOCKS - 1][0], SHUT_WR), 0);
	wh_sock_close(pairs[SOCKS - 1][0]);
	wh_sock_close(pairs[SOCKS - 1][1]);
	for (int i = 0; i < OPS; i++) {
		wh_sock_close(pairs[i][0]);
		wh_sock_close(pairs[i][1]);
	}
	check_int(wh_scope_close(&scope), 0);
	check_int(wh_sock_send(pairs[OPS][1], "x", 1), 1);
	check_int(wh_sock_recv_view(pairs[OPS][0], &view), 1);
	wh_view_release(&view);
	for (int i = OPS; i < SOCKS - 1; i++) {
		wh_sock_close(pairs[i][0]);
		wh_sock_close(pairs[i][1]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		task_test(views_bring_every_byte_in_order),
		task_test(all_ways_to_receive_keep_the_order),
		task_test(try_recv_view_does_not_wait),
		task_test(many_clients_share_few_buffers, .buf_count = 4),
		task_test(many_clients_share_few_buffers, .buf_count = 1, .buf_bytes = 64),
		task_test(many_clients_share_few_buffers, .buf_count = 4, .sq_entries = 8,
			  .cq_entries = 16),
		task_test(all_ways_to_receive_keep_the_order, .buf_count = 2, .buf_bytes = 100),
		task_test(closing_while_no_buffer_is_free, .buf_count = 2),
		task_test(a_consumer_that_does_not_read_holds_its_peer_up),
		task_test(consumers_that_do_not_read_leave_buffers_to_others),
		task_test(consumers_that_do_not_read_leave_buffers_to_others, .buf_count = 16),
		task_test(no_room_for_operations_is_an_error_not_a_hang, .ops_max = OPS),
	};

	seed = seed_from(argc, argv);
	make_pattern();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
