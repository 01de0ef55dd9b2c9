/*
 * The receive stream behind wh_sock_recv_view: order, end, interruption, few buffers, slow
 * consumers. What is sent is a stream of bytes whose value tells their place, so that a byte lost,
 * doubled or out of place shows.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/task_test.h"

enum { PERIOD = 251 };

static uint64_t seed;

/* The byte at `place` of the stream. */
static uint8_t byte_at(uint64_t place)
{
	return (uint8_t)(place % PERIOD);
}

static void fill(uint8_t *buf, size_t len, uint64_t place)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = byte_at(place + i);
}

static void check_bytes(const uint8_t *buf, size_t len, uint64_t place)
{
	for (size_t i = 0; i < len; i++)
		check_int(buf[i], byte_at(place + i));
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

enum { CLIENTS = 1000, ROUNDS = 10, MESSAGE = 600 };

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

/* Of all that wait for a buffer, each gets one in the end, and none is lost when some give up. */
static int view_or_interrupted(void *arg)
{
	struct wh_view view;
	ssize_t r = wh_sock_recv_view(arg, &view);

	if (r > 0)
		wh_view_release(&view);
	else
		check(r == -ECANCELED || r == -ETIMEDOUT);
	return r > 0 ? 0 : (int)r;
}

enum { PARKED = 20 };

static int interruption_while_no_buffer_is_free(void *arg)
{
	struct wh_sock *pairs[PARKED][2];
	struct wh_view lent[4];
	struct wh_scope scope;

	(void)arg;
	for (int i = 0; i < PARKED; i++) {
		sock_pair(pairs[i]);
		check_int(wh_sock_send(pairs[i][1], "x", 1), 1);
		if (i < 4)
			check_int(wh_sock_recv_view(pairs[i][0], &lent[i]), 1);
	}
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 2 * WH_MS });
	for (int i = 4; i < PARKED; i++)
		wh_spawn(&scope, view_or_interrupted, pairs[i][0]);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	for (int i = 0; i < 4; i++)
		wh_view_release(&lent[i]);
	wh_scope_open(&scope, NULL);
	for (int i = 4; i < PARKED; i++)
		wh_spawn(&scope, view_or_interrupted, pairs[i][0]);
	check_int(wh_scope_close(&scope), 0);
	for (int i = 0; i < PARKED; i++) {
		wh_sock_close(pairs[i][0]);
		wh_sock_close(pairs[i][1]);
	}
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

/* When buffers do not come back: two are lent all the time, which is all there are. */

struct hogs {
	struct wh_sock *pair[2];
	struct wh_view views[2];
};

static void hog_all_buffers(struct hogs *hogs)
{
	sock_pair(hogs->pair);
	for (int i = 0; i < 2; i++) {
		check_int(wh_sock_send(hogs->pair[1], "x", 1), 1);
		check_int(wh_sock_recv_view(hogs->pair[0], &hogs->views[i]), 1);
	}
}

static void stop_hogging(struct hogs *hogs)
{
	for (int i = 0; i < 2; i++) {
		wh_view_release(&hogs->views[i]);
		wh_sock_close(hogs->pair[i]);
	}
}

static int without_buffers_all_ways_to_receive_go_on(void *arg)
{
	struct wh_sock *pair[2];
	struct source source = { .total = 20000, .piece_max = 900 };
	struct wh_scope scope;
	struct hogs hogs;
	uint64_t place = 0;
	uint8_t buf[300];
	ssize_t r = 1;

	(void)arg;
	hog_all_buffers(&hogs);
	tcp_pair(pair);
	source.sock = pair[0];
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, send_stream, &source);
	for (unsigned i = 0; r > 0; i++) {
		struct wh_view view = { .data = buf };

		/* The first call arms the stream; each memory of its own costs 20 ms. */
		r = i % 3 ? wh_sock_recv(pair[1], buf, sizeof(buf))
			  : wh_sock_recv_view(pair[1], &view);
		check(r >= 0);
		check_bytes(view.data, (size_t)r, place);
		place += (uint64_t)r;
		if (i % 3 == 0 && r > 0)
			wh_view_release(&view);
	}
	check_int(place, source.total);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	stop_hogging(&hogs);
	return 0;
}

static int without_buffers_views_can_be_sent_on(void *arg)
{
	struct wh_sock *pair[2], *other[2];
	struct wh_view view;
	struct hogs hogs;
	char buf[10];

	(void)arg;
	hog_all_buffers(&hogs);
	sock_pair(pair);
	sock_pair(other);
	for (int i = 0; i < 3; i++) {
		check_int(wh_sock_send(pair[0], "hello", 5), 5);
		check_int(wh_sock_recv_view(pair[1], &view), 5);
		check_int(wh_sock_send_view(other[0], &view), 5);
		check_int(wh_sock_recv(other[1], buf, sizeof(buf)), 5);
		check(memcmp(buf, "hello", 5) == 0);
	}
	for (int i = 0; i < 2; i++) {
		wh_sock_close(pair[i]);
		wh_sock_close(other[i]);
	}
	stop_hogging(&hogs);
	return 0;
}

/* Cancelled and closed while parked, receiving into memory of its own, and with data there. */
static int without_buffers_interruption_loses_nothing(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;
	struct wh_view view;
	struct hogs hogs;

	(void)arg;
	hog_all_buffers(&hogs);
	for (unsigned ms = 5; ms < 60; ms += 10) {
		sock_pair(pair);
		wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = ms * WH_MS });
		check_int(wh_sock_recv_view(pair[1], &view), -ETIMEDOUT);
		check_int(wh_scope_close(&scope), -ETIMEDOUT);
		check_int(wh_sock_send(pair[0], "abc", 3), 3);
		settle();
		if (ms % 20 == 5) {
			check_int(wh_sock_recv_view(pair[1], &view), 3);
			wh_view_release(&view);
		}
		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, recv_view_canceled, pair[1]);
		if (ms % 20 == 5)
			settle();
		wh_sock_close(pair[1]);
		check(wh_scope_close(&scope) == 0);
		wh_sock_close(pair[0]);
	}
	stop_hogging(&hogs);
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
		task_test(interruption_while_no_buffer_is_free, .buf_count = 4),
		task_test(closing_while_no_buffer_is_free, .buf_count = 2),
		task_test(a_consumer_that_does_not_read_holds_its_peer_up),
		task_test(consumers_that_do_not_read_leave_buffers_to_others),
		task_test(consumers_that_do_not_read_leave_buffers_to_others, .buf_count = 16),
		task_test(without_buffers_all_ways_to_receive_go_on, .buf_count = 2,
			  .buf_bytes = 2000),
		task_test(without_buffers_views_can_be_sent_on, .buf_count = 2),
		task_test(without_buffers_interruption_loses_nothing, .buf_count = 2),
		task_test(no_room_for_operations_is_an_error_not_a_hang, .ops_max = OPS),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
