/*
 * The receive stream when buffers do not come back, in simulated worlds: a stream that is parked
 * gets memory of its own after 20 ms, and may be interrupted before and after. What is sent
 * is a stream of bytes whose value tells their place, so that a byte lost, doubled or out of place
 * shows.
 */
#include <errno.h>
#include <string.h>

#include "support/sim_test.h"

enum { PERIOD = 251 };

/* What a stream must hide, but for short transfers, which these tests would see. */
#define FAULTS "late=0.1,reorder=0.2,cancel_late=0.2,nomore=0.1,overflow=0.05,empty=0.2"

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
	uint8_t buf[1000];
	uint64_t place = 0;

	check(source->piece_max <= sizeof(buf));
	while (place < source->total) {
		size_t len = 1 + sim_below(source->piece_max);

		if (len > source->total - place)
			len = source->total - place;
		fill(buf, len, place);
		check_int(wh_sock_send(source->sock, buf, len), len);
		place += len;
	}
	return wh_sock_shutdown(source->sock, SHUT_WR);
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
		sim_pair(pairs[i]);
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

/* When buffers do not come back: two are lent all the time, which is all there are. */

struct hogs {
	struct wh_sock *pair[2];
	struct wh_view views[2];
};

static void hog_all_buffers(struct hogs *hogs)
{
	sim_pair(hogs->pair);
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
	sim_pair(pair);
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
	sim_pair(pair);
	sim_pair(other);
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
		uint64_t timeout_ns = ms * WH_MS + wh_sim_random(WH_MS);

		sim_pair(pair);
		wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = timeout_ns });
		check_int(wh_sock_recv_view(pair[1], &view), -ETIMEDOUT);
		check_int(wh_scope_close(&scope), -ETIMEDOUT);
		check_int(wh_sock_send(pair[0], "abc", 3), 3);
		sim_pause(2 * WH_MS);
		if (ms % 20 == 5) {
			check_int(wh_sock_recv_view(pair[1], &view), 3);
			wh_view_release(&view);
		}
		wh_scope_open(&scope, NULL);
		wh_spawn(&scope, recv_view_canceled, pair[1]);
		if (ms % 20 == 5)
			sim_pause(2 * WH_MS);
		wh_sock_close(pair[1]);
		check(wh_scope_close(&scope) == 0);
		wh_sock_close(pair[0]);
	}
	stop_hogging(&hogs);
	return 0;
}

/* A connection that is closed, or reset as one is that leaves bytes unread. */
static void see_the_end(bool reset)
{
	struct wh_sock *pair[2];
	struct wh_view view;

	sim_pair(pair);
	check_int(wh_sock_send(pair[0], "abc", 3), 3);
	check_int(wh_sock_recv_view(pair[1], &view), 3);
	wh_view_release(&view);
	if (reset)
		check_int(wh_sock_send(pair[1], "x", 1), 1);
	sim_pause(WH_MS);
	wh_sleep(WH_MS);
	wh_sock_close(pair[0]);
	check_int(wh_sock_recv_view(pair[1], &view), reset ? -ECONNRESET : 0);
	wh_sock_close(pair[1]);
}

static int buffers_that_come_with_an_end_are_given_back(void *arg)
{
	struct wh_loop_stats stats;

	(void)arg;
	for (unsigned i = 0; i < 10; i++)
		see_the_end(i % 2);
	wh_loop_stats(&stats);
	check_int(stats.bufs_exhausted, 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sim_test(interruption_while_no_buffer_is_free, .run.buf_count = 4,
			 .opts.faults = FAULTS),
		sim_test(without_buffers_all_ways_to_receive_go_on, .run.buf_count = 2,
			 .run.buf_bytes = 2000, .opts.faults = SIM_HIDDEN),
		sim_test(without_buffers_views_can_be_sent_on, .run.buf_count = 2,
			 .opts.faults = FAULTS),
		sim_test(without_buffers_interruption_loses_nothing, .run.buf_count = 2,
			 .opts.faults = FAULTS),
		sim_test(buffers_that_come_with_an_end_are_given_back, .run.buf_count = 2,
			 .opts.faults = "empty=1"),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
