/*
 * Deadlines and sleeps through the public API, in simulated worlds: each call ends at its deadline
 * and not before, whatever the kernel does meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <whorl/file.h>

#include "support/sim_test.h"

enum { BIG = 16 << 20 };

static char big[BIG];

static int a_deadline_ends_each_call(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_scope scope;
	struct wh_view view;
	char byte;

	(void)arg;
	sim_pair(pair);
	for (int i = 0; i < 4; i++) {
		ssize_t r = 0;

		wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 2 * WH_MS });
		switch (i) {
		case 0:
			r = wh_sock_recv(pair[0], &byte, 1);
			break;
		case 1:
			r = wh_sock_recv_view(pair[0], &view);
			break;
		case 2:
			r = wh_sock_send(pair[0], big, BIG);
			break;
		case 3:
			r = wh_fd_poll(wh_sock_fd(pair[0]), POLLIN);
			break;
		}
		check_int(r, -ETIMEDOUT);
		check_int(wh_scope_close(&scope), -ETIMEDOUT);
	}
	check(wh_sock_bytes_sent(pair[0]) > 0);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	return 0;
}

/* The backlog of this listener is full, so the handshake gets no answer. */
static int a_deadline_ends_a_connect(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener;
	struct wh_sock *socks[3] = { NULL };
	struct wh_scope scope;
	int r = 0, connected = 0;

	(void)arg;
	check_int(wh_addr_parse("127.0.0.1:0", &addr), 0);
	check_int(wh_listen(&addr, &(struct wh_listen_opts){ .backlog = 1 }, &listener), 0);
	check_int(wh_listener_addr(listener, &addr), 0);
	while (connected < 3 && r == 0) {
		wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 50 * WH_MS });
		r = wh_connect(&addr, &socks[connected]);
		connected += r == 0;
		check_int(wh_scope_close(&scope), r);
	}
	check_int(r, -ETIMEDOUT);
	while (connected > 0)
		wh_sock_close(socks[--connected]);
	wh_listener_close(listener);
	return 0;
}

static int a_deadline_ends_an_accept(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_scope scope;
	struct wh_sock *sock;
	struct wh_sock *client;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 2 * WH_MS });
	check_int(wh_accept(listener, &sock), -ETIMEDOUT);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	check_int(wh_connect(&addr, &client), 0);
	check_int(wh_accept(listener, &sock), 0);
	wh_sock_close(sock);
	wh_sock_close(client);
	wh_listener_close(listener);
	return 0;
}

static int sleep_until_cancelled(void *arg)
{
	int r = wh_sleep_until(UINT64_MAX);

	*(int *)arg = r;
	return r;
}

static int a_deadline_travels_along_a_call(void *arg)
{
	struct wh_scope scope;
	int result = 0, seen_there = 0;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = WH_MS });
	check_int(wh_loop_call(wh_loop_at(1), sleep_until_cancelled, &seen_there, &result), 0);
	check_int(result, -ECANCELED);
	check_int(seen_there, -ECANCELED);
	check_int(wh_scope_close(&scope), -ETIMEDOUT);
	return 0;
}

static unsigned timeouts;

/* Of a file: what a slow disk does not do in time. */
static int a_deadline_ends_a_read(void *arg)
{
	struct wh_scope scope;
	struct wh_file *file;
	char byte;
	int r;

	(void)arg;
	check_int(wh_file_open("f", O_RDWR | O_CREAT, 0600, &file), 0);
	check_int(wh_file_write(file, "x", 1, 0), 1);
	for (int i = 0; i < 20; i++) {
		uint64_t begin_ns = wh_now_ns();

		wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 20 * WH_US });
		r = (int)wh_file_read(file, &byte, 1, 0);
		check(r == 1 || (r == -ETIMEDOUT && wh_now_ns() >= begin_ns + 20 * WH_US));
		wh_scope_close(&scope);
		timeouts += r < 0;
	}
	wh_file_close(file);
	return 0;
}

static void reads_were_ended(void **state)
{
	(void)state;
	assert_true(timeouts > 0);
}

/* In virtual time, many tasks: each wakes at its moment, and in the order of the moments. */
enum { SLEEPERS = 100 };

struct sleeper {
	uint64_t until_ns;
	uint64_t *last_ns;
};

static int sleep_until(void *arg)
{
	struct sleeper *sleeper = arg;

	check_int(wh_sleep_until(sleeper->until_ns), 0);
	check(wh_now_ns() >= sleeper->until_ns);
	check(wh_now_ns() < sleeper->until_ns + WH_MS);
	check(sleeper->until_ns + 2 * WH_US > *sleeper->last_ns);
	*sleeper->last_ns = sleeper->until_ns;
	return 0;
}

static int sleepers_wake_in_order_and_not_before(void *arg)
{
	struct sleeper sleepers[SLEEPERS];
	struct wh_scope scope;
	uint64_t last_ns = 0, begin_ns = wh_now_ns();

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < SLEEPERS; i++) {
		uint64_t span_ns = 1ull << sim_below(36);

		sleepers[i] = (struct sleeper){ begin_ns + WH_MS + wh_sim_random(span_ns),
						&last_ns };
		check_int(wh_spawn(&scope, sleep_until, &sleepers[i]), 0);
	}
	check_int(wh_scope_close(&scope), 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sim_test(a_deadline_ends_each_call, .seeds = 50, .opts.faults = SIM_HIDDEN),
		sim_test(a_deadline_ends_a_connect),
		sim_test(a_deadline_ends_an_accept, .opts.faults = SIM_HIDDEN),
		sim_test(a_deadline_ends_a_read),
		cmocka_unit_test(reads_were_ended),
		sim_test(a_deadline_travels_along_a_call, .opts.hosts = 2),
		sim_test(sleepers_wake_in_order_and_not_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
