/*
 * whorl echo: what serves. One listener a loop; the kernel spreads connections.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/scope.h>
#include <whorl/supervise.h>
#include <whorl/task.h>

#include "cli.h"
#include "echo.h"
#include "filter.h"

/* How long a connection may take, once the server is told to stop, for what it already has. */
#define DRAIN_NS (5 * WH_SEC)

/* Connections */

/* On failure the view stays the caller's. */
static int send_back(struct wh_sock *sock, struct echo_server *server, struct wh_view *view)
{
	ssize_t r = wh_sock_send_view(sock, view);

	if (r < 0)
		return (int)r;
	server->echoes++;
	server->bytes += (uint64_t)r;
	return 0;
}

/* Told to stop: send back what has arrived until now, `view` first, then say goodbye. */
static void drain(struct wh_sock *sock, struct echo_server *server, struct wh_view *view)
{
	struct wh_scope scope;
	int r = 0;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = true, .timeout_ns = DRAIN_NS });
	if (view->data)
		r = send_back(sock, server, view);
	/* A turn of the loop brings in what the kernel has. */
	wh_sleep(1);
	while (r == 0 && wh_sock_try_recv_view(sock, view) > 0)
		r = send_back(sock, server, view);
	wh_sock_shutdown(sock, SHUT_WR);
	wh_scope_close(&scope);
}

/* A client's doings are its own; that we lack memory people must know. */
static void failed(struct echo_server *server, int err)
{
	static _Atomic bool said;

	server->errors++;
	if (err == -ENOMEM && !said) {
		said = true;
		cli_error("cannot serve a connection: %s: %s", strerror(-err), wh_run_advice(err));
	}
}

/* A loop's, added to what those before it in the same place have counted. */
struct serving {
	struct echo_server *server;
	uint64_t enters_before;
};

static void count_enters(const struct serving *serving)
{
	struct wh_loop_stats stats;

	wh_loop_stats(&stats);
	serving->server->enters = serving->enters_before + stats.enters;
}

static int echo(struct wh_sock *sock, void *arg)
{
	const struct serving *serving = arg;
	struct echo_server *server = serving->server;
	struct wh_view view = { 0 };
	ssize_t r;

	server->connections++;
	while ((r = wh_sock_recv_view(sock, &view)) > 0) {
		r = send_back(sock, server, &view);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = wh_sock_flush(sock);
	if (r == -ECANCELED)
		drain(sock, server, &view);
	else if (r < 0)
		failed(server, (int)r);
	wh_view_release(&view);
	wh_sock_close(sock);
	count_enters(serving);
	return 0;
}

static int serve(struct wh_listener *listener, struct echo_server *server)
{
	struct serving serving = { server, server->enters };
	int r = wh_serve(listener, echo, &serving,
			 &(struct wh_serve_opts){ .close_listener = true });

	count_enters(&serving);
	return r;
}

/* Listening */

int echo_cannot_listen(int err)
{
	const char *hint = "";

	if (err == -EADDRINUSE)
		hint = " (another program listens there; end it, or choose another address)";
	else if (err == -EACCES)
		hint = " (ports below 1024 need root; a path needs a folder that can be written)";
	else if (err == -EADDRNOTAVAIL)
		hint = " (this machine has no such address)";
	else if (err == -ENOENT)
		hint = " (there is no such folder)";
	if (err != -ECANCELED)
		cli_error("cannot listen on %s: %s%s", echo_config.text, strerror(-err), hint);
	return err;
}

/* With port 0 the kernel has chosen: the other loops need to know. */
static int listen_first(struct wh_listener **ret)
{
	const struct wh_listen_opts opts = { .reuse_port = wh_loop_count() > 1, .first = true };
	int r = wh_listen(&echo_config.addr, &opts, ret);

	return r < 0 ? r : wh_listener_addr(*ret, &echo_config.addr);
}

static int share(int first_fd, struct wh_listener **ret)
{
	int fd = fcntl(first_fd, F_DUPFD_CLOEXEC, 0);
	int r = fd < 0 ? -errno : wh_listen_fd(fd, ret);

	if (r < 0 && fd >= 0)
		close(fd);
	return r;
}

/* A loop but the first. */
struct other {
	struct wh_loop *loop;
	int first_fd;
	struct echo_server *server;
	struct wh_listener *listener; /* until it is served */
};

/* On its loop. TCP: a listener of its own, the kernel spreads connections. Unix: there is one
 * socket, which all accept from. */
static int listen_too(void *arg)
{
	struct other *other = arg;
	const struct wh_listen_opts opts = { .reuse_port = true };
	int r;

	if (wh_supervised() == 1)
		r = wh_supervised_listener(0, &other->listener);
	else if (echo_config.addr.storage.ss_family == AF_UNIX)
		r = share(other->first_fd, &other->listener);
	else
		r = wh_listen(&echo_config.addr, &opts, &other->listener);
	return r < 0 ? echo_cannot_listen(r) : 0;
}

static int serve_too(void *arg)
{
	struct other *other = arg;
	struct wh_listener *listener = other->listener;

	other->listener = NULL;
	return serve(listener, other->server);
}

static int close_too(void *arg)
{
	wh_listener_close(arg);
	return 0;
}

static int on_its_loop(const struct other *other, wh_task_fn fn, void *arg)
{
	int result = 0;
	int r = wh_loop_call(other->loop, fn, arg, &result);

	return r < 0 ? r : result;
}

static int run_other(void *arg)
{
	return on_its_loop(arg, serve_too, arg);
}

/* Before any is served, or clients could take the descriptors that the others need. */
static int listen_others(struct other *others, struct echo_server *servers, int first_fd)
{
	for (unsigned i = 1; i < wh_loop_count(); i++) {
		int r;

		others[i] = (struct other){ .loop = wh_loop_at(i),
					    .first_fd = first_fd,
					    .server = &servers[i] };
		r = on_its_loop(&others[i], listen_too, &others[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int spawn_others(struct wh_scope *scope, struct other *others)
{
	for (unsigned i = 1; i < wh_loop_count(); i++) {
		int r = wh_spawn(scope, run_other, &others[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Those that were not served. */
static void close_others(struct other *others)
{
	struct wh_scope scope;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = true });
	for (unsigned i = 1; i < wh_loop_count(); i++)
		if (others[i].listener)
			on_its_loop(&others[i], close_too, others[i].listener);
	wh_scope_close(&scope);
}

/* All of it */

/* All loops run by now, so what is left to do needs few system calls. */
static int forbid_the_rest(void)
{
	int r = echo_config.seccomp ? filter_install() : 0;

	if (r < 0)
		cli_error("cannot install the seccomp filter: %s", strerror(-r));
	return r;
}

/* A supervisor says it for all of its processes. */
static int announce(void)
{
	char text[WH_ADDR_TEXT_MAX];

	if (wh_supervised() == 1)
		return wh_supervised_ready();
	fprintf(stderr, "whorl: listening on %s (%s, %u loops)\n",
		wh_addr_format(&echo_config.addr, text), wh_backend_name(), wh_loop_count());
	return 0;
}

static int serve_all(struct wh_listener *listener, struct other *others,
		     struct echo_server *servers)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	r = listen_others(others, servers, wh_listener_fd(listener));
	if (r == 0)
		r = announce();
	if (r == 0)
		r = spawn_others(&scope, others);
	if (r == 0)
		r = serve(listener, &servers[0]);
	else
		wh_listener_close(listener);
	/* Having retired: the others end by themselves, with their connections. */
	if (r < 0)
		wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	close_others(others);
	return r;
}

int echo_run(void *servers)
{
	struct wh_listener *listener;
	struct other *others;
	int r = wh_supervised() == 1 ? wh_supervised_listener(0, &listener)
				     : listen_first(&listener);

	if (r < 0)
		return echo_cannot_listen(r);
	r = forbid_the_rest();
	others = r == 0 ? calloc(wh_loop_count(), sizeof(*others)) : NULL;
	if (!others) {
		wh_listener_close(listener);
		return r < 0 ? r : -ENOMEM;
	}
	r = serve_all(listener, others, servers);
	free(others);
	return r;
}
