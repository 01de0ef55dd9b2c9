/*
 * Servers: a listener, and a task for each connection that it accepts.
 */
#include <errno.h>

#include "io/sock.h"
#include "io/supervise.h"

enum { CONNECTIONS_MAX = 1000000 };

struct server {
	struct wh_listener *listener;
	wh_conn_fn fn;
	void *arg;
	uint32_t connections;
	uint32_t connections_max;
	size_t stack_bytes;
	struct whi_wait *waiter; /* the accepting task, while at the maximum */
	struct wh_scope scope;
};

static void wake_server(struct server *server)
{
	struct whi_wait *waiter = server->waiter;

	server->waiter = NULL;
	if (waiter)
		whi_task_wake(waiter);
}

static int serve_connection(void *arg)
{
	struct wh_sock *sock = arg;
	struct server *server = sock->server;

	server->fn(sock, server->arg);
	server->connections--;
	wake_server(server);
	return 0;
}

struct pause {
	struct whi_wait wait;
	struct server *server;
};

static void pause_interrupted(struct whi_wait *wait)
{
	wake_server(whi_container_of(wait, struct pause, wait)->server);
}

static int wait_for_room(struct server *server)
{
	struct pause pause = { { .what = "connections_max", .interrupt = pause_interrupted },
			       server };

	while (server->connections >= server->connections_max) {
		int r = whi_task_check();

		if (r < 0)
			return r;
		server->waiter = &pause.wait;
		whi_task_suspend(&pause.wait);
	}
	return 0;
}

static int start_connection(struct server *server, struct wh_sock *sock)
{
	int r;

	sock->server = server;
	r = wh_spawn(&server->scope, serve_connection, sock, .name = "connection",
		     .stack_bytes = server->stack_bytes);
	server->connections += r == 0;
	return r;
}

/* Out of memory or at the limit of tasks: the connection waits until there is room again. */
static int start_in_time(struct server *server, struct wh_sock *sock)
{
	int r;

	while ((r = start_connection(server, sock)) == -ENOMEM || r == -EAGAIN) {
		sock->loop->accept_backoffs++;
		r = wh_sleep(WHI_ACCEPT_PAUSE_NS);
		if (r < 0)
			break;
	}
	return r;
}

static int accept_all(struct server *server)
{
	struct wh_sock *sock = NULL;
	int r;

	for (;;) {
		r = wait_for_room(server);
		if (r == 0)
			r = wh_accept(server->listener, &sock);
		if (r < 0)
			return r;
		r = start_in_time(server, sock);
		if (r < 0) {
			whi_sock_discard(sock);
			return r;
		}
	}
}

/* Whom the kernel has accepted until it lets go is served, also if that only means to hear that the
 * server ends. */
static void accept_last(struct server *server)
{
	struct wh_scope scope;
	struct wh_sock *sock;

	wh_listener_stop(server->listener);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = true });
	while (wh_accept(server->listener, &sock) == 0)
		if (server->connections >= server->connections_max ||
		    start_connection(server, sock) < 0)
			whi_sock_discard(sock);
	wh_scope_close(&scope);
}

int wh_serve(struct wh_listener *listener, wh_conn_fn fn, void *arg,
	     const struct wh_serve_opts *opts)
{
	const struct wh_serve_opts defaults = { 0 };
	struct server server = { .listener = listener, .fn = fn, .arg = arg };
	int r;

	opts = opts ? opts : &defaults;
	server.connections_max = opts->connections_max ? opts->connections_max : CONNECTIONS_MAX;
	server.stack_bytes = opts->stack_bytes;
	wh_scope_open(&server.scope, &(struct wh_scope_opts){ .keep_siblings = true });
	if (whi_supervised_here())
		whi_listener_retires(listener);
	r = accept_all(&server);
	if (opts->close_listener) {
		accept_last(&server);
		wh_listener_close(listener);
	}
	wh_scope_close(&server.scope);
	return r == -ESHUTDOWN ? 0 : r;
}
