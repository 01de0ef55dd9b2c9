/* Servers, and what a shortage of descriptors does to whoever accepts or connects. */
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support/task_test.h"

/* Out of descriptors */

static void limit_files(rlim_t count, struct rlimit *ret_old)
{
	struct rlimit limit;

	check_int(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (ret_old)
		*ret_old = limit;
	limit.rlim_cur = count;
	check_int(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

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
	struct rlimit old;
	int fd = connect_raw(&addr);

	(void)arg;
	limit_files((rlim_t)fd + 1, &old);
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
	setrlimit(RLIMIT_NOFILE, &old);
	check_int(wh_scope_close(&scope), 0);
	close(fd);
	wh_listener_close(listener);
	return 0;
}

static int accept_canceled(void *arg)
{
	struct wh_sock *sock;

	check_int(wh_accept(arg, &sock), -ECANCELED);
	return 0;
}

static int an_accept_that_waits_for_descriptors_can_be_cancelled(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_scope scope;
	struct rlimit old;
	int fd = connect_raw(&addr);
	uint64_t turns;

	(void)arg;
	limit_files((rlim_t)fd + 1, &old);
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, accept_canceled, listener);
	while (backoffs(&turns) == 0)
		check_int(wh_sleep(WH_MS), 0);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	setrlimit(RLIMIT_NOFILE, &old);
	close(fd);
	wh_listener_close(listener);
	return 0;
}

static int connect_without_descriptors_is_emfile(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_sock *sock;
	struct rlimit old;

	(void)arg;
	limit_files((rlim_t)wh_listener_fd(listener) + 1, &old);
	check_int(wh_connect(&addr, &sock), -EMFILE);
	check_int(wh_listen(&addr, NULL, &(struct wh_listener *){ NULL }), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
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
	int fds[20];

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, run_site, &site);
	for (int i = 0; i < 20; i++)
		fds[i] = connect_raw(&addr);
	while (site.now < 20)
		wh_sleep(WH_MS);
	for (int i = 0; i < 10; i++)
		close(fds[i]);
	while (site.now > 10)
		wh_sleep(WH_MS);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(site.ever, 20);
	for (int i = 10; i < 20; i++)
		close(fds[i]);
	wh_listener_close(site.listener);
	return 0;
}

static int serve_can_close_its_listener_before_its_connections_end(void *arg)
{
	struct wh_addr addr;
	struct site site = { .listener = tcp_listener(&addr), .opts.close_listener = true };
	struct wh_scope scope, shield;
	struct wh_sock *sock;
	int fd;

	(void)arg;
	wh_scope_open(&scope, NULL);
	site.patient = true;
	wh_spawn(&scope, run_site, &site);
	fd = connect_raw(&addr);
	while (site.now < 1)
		wh_sleep(WH_MS);
	wh_scope_cancel(&scope);
	wh_scope_open(&shield, &(struct wh_scope_opts){ .shield = true });
	settle();
	check_int(wh_connect(&addr, &sock), -ECONNREFUSED);
	check_int(site.now, 1);
	close(fd);
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
	int fds[30];

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, run_site, &site);
	for (int i = 0; i < 30; i++)
		fds[i] = connect_raw(&addr);
	for (int i = 0; i < 30; i++) {
		while (site.ever < (unsigned)i + 1)
			wh_sleep(WH_MS);
		close(fds[i]);
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
	int fds[3];

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, run_site, &site);
	for (int i = 0; i < 3; i++)
		fds[i] = connect_raw(&addr);
	while (site.ever < 1)
		wh_sleep(WH_MS);
	settle();
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_listener_close(site.listener);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	return 0;
}

/* tasks_max is 8 there: connections beyond wait, counted as backoffs, and are served in the end. */
static int serve_waits_for_room_for_tasks(void *arg)
{
	struct wh_addr addr;
	struct site site = { .listener = tcp_listener(&addr) };
	struct wh_scope scope;
	uint64_t turns;
	int fds[20];

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, run_site, &site);
	for (int i = 0; i < 20; i++)
		fds[i] = connect_raw(&addr);
	while (backoffs(&turns) == 0)
		wh_sleep(WH_MS);
	check(site.most <= 6);
	for (int i = 0; i < 20; i++) {
		while (site.ever < (unsigned)i + 1)
			wh_sleep(WH_MS);
		close(fds[i]);
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

	int fd = connect_raw(&addr);

	(void)arg;
	check_int(wh_serve(site.listener, until_closed, &site, &site.opts), -EINVAL);
	close(fd);
	wh_listener_close(site.listener);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(accept_waits_for_descriptors_without_spinning),
		task_test(an_accept_that_waits_for_descriptors_can_be_cancelled),
		task_test(connect_without_descriptors_is_emfile),
		task_test(serve_ends_after_its_connections),
		task_test(serve_can_close_its_listener_before_its_connections_end),
		task_test(serve_keeps_to_its_maximum),
		task_test(serve_at_its_maximum_can_be_cancelled),
		task_test(serve_waits_for_room_for_tasks, .tasks_max = 8),
		task_test(serve_refuses_an_impossible_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
