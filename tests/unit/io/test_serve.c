/*
 * Servers, and what a shortage of descriptors does to whoever accepts or connects. In simulated
 * worlds: what waits here waits for milliseconds, and backs off by the clock. The same shortage on
 * real kernels is the integration tests'.
 */
#include <errno.h>
#include <stdio.h>

#include "support/sim_test.h"

enum { CLIENTS = 20 };

static struct wh_sock *connected(const struct wh_addr *addr)
{
	struct wh_sock *sock;

	check_int(wh_connect(addr, &sock), 0);
	return sock;
}

/* Out of descriptors */

static int accept_one(void *arg)
{
	struct wh_sock *sock;

	check_int(wh_accept(arg, &sock), 0);
	wh_sock_close(sock);
	return 0;
}

static uint64_t backoffs(uint64_t *ret_turns)
{
	struct wh_loop_stats stats;

	wh_loop_stats(&stats);
	*ret_turns = stats.turns;
	return stats.accept_backoffs;
}

static int accept_waits_for_descriptors_without_spinning(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	uint64_t before, after, turns;
	struct wh_scope scope;
	struct wh_sock *client = connected(&addr);

	(void)arg;
	/* The listener's and the client's. */
	check_int(wh_sim_set_fds_max(0, 2), 0);
	before = backoffs(&turns);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, accept_one, listener);
	do {
		check_int(wh_sleep(WH_MS), 0);
		after = backoffs(&(uint64_t){ 0 });
	} while (after < before + 4);
	before = turns;
	backoffs(&turns);
	/* About 80 ms in steps of one: a loop that spins turns many thousand times. */
	check(turns - before < 1000);
	check_int(wh_sim_set_fds_max(0, 0), 0);
	check_int(wh_scope_close(&scope), 0);
	wh_sock_close(client);
	wh_listener_close(listener);
	return 0;
}

struct vain {
	struct wh_listener *listener;
	int r;
};

static int accept_in_vain(void *arg)
{
	struct vain *vain = arg;
	struct wh_sock *sock;

	vain->r = wh_accept(vain->listener, &sock);
	return 0;
}

/* What comes of an accept that waits for descriptors while `interrupt` happens. */
static int interrupted_accept(void (*interrupt)(struct wh_scope *scope, struct vain *vain))
{
	struct wh_addr addr;
	struct vain vain = { tcp_listener(&addr), 0 };
	struct wh_sock *client = connected(&addr);
	struct wh_scope scope;
	uint64_t turns;

	/* The listener's and the client's. */
	check_int(wh_sim_set_fds_max(0, 2), 0);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, accept_in_vain, &vain);
	while (backoffs(&turns) == 0)
		check_int(wh_sleep(WH_MS), 0);
	interrupt(&scope, &vain);
	wh_scope_close(&scope);
	check_int(wh_sim_set_fds_max(0, 0), 0);
	wh_sock_close(client);
	wh_listener_close(vain.listener);
	return vain.r;
}

static void by_cancelling(struct wh_scope *scope, struct vain *vain)
{
	(void)vain;
	wh_scope_cancel(scope);
}

static int an_accept_that_waits_for_descriptors_can_be_cancelled(void *arg)
{
	(void)arg;
	check_int(interrupted_accept(by_cancelling), -ECANCELED);
	return 0;
}

static void by_stopping(struct wh_scope *scope, struct vain *vain)
{
	(void)scope;
	wh_listener_stop(vain->listener);
	check_int(wh_sim_set_fds_max(0, 0), 0);
}

/* And does not begin anew: the connection is another's. */
static int an_accept_that_waits_for_descriptors_ends_when_stopped(void *arg)
{
	(void)arg;
	check_int(interrupted_accept(by_stopping), -ESHUTDOWN);
	return 0;
}

static int connect_without_descriptors_is_emfile(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_sock *sock;

	(void)arg;
	check_int(wh_sim_set_fds_max(0, 1), 0);
	check_int(wh_connect(&addr, &sock), -EMFILE);
	check_int(wh_listen(&addr, NULL, &(struct wh_listener *){ NULL }), -EMFILE);
	check_int(wh_sim_set_fds_max(0, 0), 0);
	wh_listener_close(listener);
	return 0;
}

/* Serving */

struct site {
	struct wh_listener *listener;
	struct wh_serve_opts opts;
	bool patient; /* connections last until the client closes, also when cancelled */
	unsigned now, most, ever;
};

static int until_closed(struct wh_sock *sock, void *arg)
{
	struct site *site = arg;
	struct wh_scope scope;
	char byte;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = site->patient });
	site->ever++;
	if (++site->now > site->most)
		site->most = site->now;
	while (wh_sock_recv(sock, &byte, 1) > 0)
		;
	site->now--;
	wh_sock_close(sock);
	wh_scope_close(&scope);
	/* One connection's failure is not the server's. */
	return -EIO;
}

static int run_site(void *arg)
{
	struct site *site = arg;
	int r = wh_serve(site->listener, until_closed, site, &site->opts);

	check_int(site->now, 0);
	return r;
}

static int serve_ends_after_its_connections(void *arg)
{
	struct wh_addr addr;
	struct site site = { .listener = tcp_listener(&addr) };
	struct wh_scope scope;
	struct wh_sock *clients[CLIENTS];

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, run_site, &site);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = connected(&addr);
	while (site.now < CLIENTS)
		wh_sleep(WH_MS);
	for (int i = 0; i < 10; i++)
		wh_sock_close(clients[i]);
	while (site.now > 10)
		wh_sleep(WH_MS);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(site.ever, CLIENTS);
	for (int i = 10; i < CLIENTS; i++)
		wh_sock_close(clients[i]);
	wh_listener_close(site.listener);
	return 0;
}

static int serve_can_close_its_listener_before_its_connections_end(void *arg)
{
	struct wh_addr addr;
	struct site site = { .listener = tcp_listener(&addr), .opts.close_listener = true };
	struct wh_scope scope, shield;
	struct wh_sock *sock;
	struct wh_sock *client;

	(void)arg;
	wh_scope_open(&scope, NULL);
	site.patient = true;
	wh_spawn(&scope, run_site, &site);
	client = connected(&addr);
	while (site.now < 1)
		wh_sleep(WH_MS);
	wh_scope_cancel(&scope);
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	settle();
	check_int(wh_connect(&addr, &sock), -ECONNREFUSED);
	check_int(site.now, 1);
	wh_sock_close(client);
	wh_scope_close(&shield);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(site.now, 0);
	return 0;
}

static int serve_keeps_to_its_maximum(void *arg)
{
	struct wh_addr addr;
	struct site site = { .listener = tcp_listener(&addr), .opts.connections_max = 3 };
	struct wh_scope scope;
	struct wh_sock *clients[30];

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, run_site, &site);
	for (int i = 0; i < 30; i++)
		clients[i] = connected(&addr);
	for (int i = 0; i < 30; i++) {
		while (site.ever < (unsigned)i + 1)
			wh_sleep(WH_MS);
		wh_sock_close(clients[i]);
	}
	check_int(site.most, 3);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_listener_close(site.listener);
	return 0;
}

static int serve_at_its_maximum_can_be_cancelled(void *arg)
{
	struct wh_addr addr;
	struct site site = { .listener = tcp_listener(&addr), .opts.connections_max = 1 };
	struct wh_scope scope;
	struct wh_sock *clients[3];

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, run_site, &site);
	for (int i = 0; i < 3; i++)
		clients[i] = connected(&addr);
	while (site.ever < 1)
		wh_sleep(WH_MS);
	settle();
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_listener_close(site.listener);
	for (int i = 0; i < 3; i++)
		wh_sock_close(clients[i]);
	return 0;
}

/* tasks_max is 8 there: connections beyond wait, counted as backoffs, and are served in the end. */
static int serve_waits_for_room_for_tasks(void *arg)
{
	struct wh_addr addr;
	struct site site = { .listener = tcp_listener(&addr) };
	struct wh_scope scope;
	uint64_t turns;
	struct wh_sock *clients[CLIENTS];

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, run_site, &site);
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = connected(&addr);
	while (backoffs(&turns) == 0)
		wh_sleep(WH_MS);
	check(site.most <= 6);
	for (int i = 0; i < CLIENTS; i++) {
		while (site.ever < (unsigned)i + 1)
			wh_sleep(WH_MS);
		wh_sock_close(clients[i]);
	}
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_listener_close(site.listener);
	return 0;
}

static int serve_refuses_an_impossible_stack(void *arg)
{
	struct wh_addr addr;
	struct site site = { .listener = tcp_listener(&addr), .opts.stack_bytes = 1 };

	struct wh_sock *client = connected(&addr);

	(void)arg;
	check_int(wh_serve(site.listener, until_closed, &site, &site.opts), -EINVAL);
	wh_sock_close(client);
	wh_listener_close(site.listener);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sim_test(accept_waits_for_descriptors_without_spinning),
		sim_test(an_accept_that_waits_for_descriptors_can_be_cancelled,
			 .opts.faults = SIM_HIDDEN),
		sim_test(an_accept_that_waits_for_descriptors_ends_when_stopped,
			 .opts.faults = SIM_HIDDEN),
		sim_test(connect_without_descriptors_is_emfile, .opts.faults = SIM_HIDDEN),
		sim_test(serve_ends_after_its_connections, .opts.faults = SIM_HIDDEN),
		sim_test(serve_can_close_its_listener_before_its_connections_end),
		sim_test(serve_keeps_to_its_maximum, .opts.faults = SIM_HIDDEN),
		sim_test(serve_at_its_maximum_can_be_cancelled, .opts.faults = SIM_HIDDEN),
		sim_test(serve_waits_for_room_for_tasks, .run.tasks_max = 8,
			 .opts.faults = SIM_HIDDEN),
		sim_test(serve_refuses_an_impossible_stack, .opts.faults = SIM_HIDDEN),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
