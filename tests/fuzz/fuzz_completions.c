/*
 * A program of tasks on a kernel that does what the input says: sockets that receive in each way,
 * echo, send and are closed under their users, listeners, polls, timers, deadlines, cancellations.
 *
 * Besides what kernel.c checks: bytes arrive and are sent in order, none lost before an error; no
 * task sees an error that its call does not document; sleeps and deadlines are never early; all
 * tasks end.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <whorl/scope.h>
#include <whorl/sock.h>
#include <whorl/task.h>

#include "fuzz/kernel.h"
#include "support/task_test.h"

enum { TASKS_MAX = 6, ROUNDS_MAX = 16, SEND_MAX = 300, BUFS_MIN_LOG2 = 1, BUFS_LOG2 = 3 };

static struct wh_loop loop;
static struct kernel kernel;
static struct bytes input;

static unsigned below(unsigned limit)
{
	return bytes_below(&input, limit);
}

/* Short and long: 0 to 4 ms, mostly below 250 us. */
static uint64_t some_time(void)
{
	uint64_t unit = below(4) ? WH_US : 16 * WH_US;

	return unit * bytes_next(&input);
}

static void check_status(ssize_t r)
{
	check(r == 0 || r == -ECANCELED || r == -ETIMEDOUT);
}

static void check_socket_error(ssize_t r)
{
	check(r == -ECANCELED || r == -ETIMEDOUT || r == -ECONNRESET || r == -EPIPE ||
	      r == -ENOMEM || r == -EAGAIN || r == -EHOSTUNREACH);
}

/* Bytes `from` and on of what `fd` receives. Returns where the next ones begin. */
static uint64_t check_bytes(int fd, uint64_t from, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		check_int(bytes[i], kernel_pattern(fd, from + i));
	return from + len;
}

static struct wh_sock *new_sock(void)
{
	struct wh_sock *sock;

	check_int(wh_sock_from_fd(kernel_fd(&kernel), &sock), 0);
	return sock;
}

/* False: the loop has as many tasks as it may. */
static bool spawn(struct wh_scope *scope, wh_task_fn fn, void *arg)
{
	int r = wh_spawn(scope, fn, arg);

	check(r == 0 || r == -EAGAIN);
	return r == 0;
}

/* Tasks that own a socket */

static void echo(struct wh_sock *sock)
{
	struct wh_view view = { 0 };
	uint64_t offset = 0;
	ssize_t r;

	while ((r = wh_sock_recv_view(sock, &view)) > 0) {
		check_int(view.len, r);
		offset = check_bytes(wh_sock_fd(sock), offset, view.data, view.len);
		r = wh_sock_send_view(sock, &view);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = wh_sock_flush(sock);
	if (r < 0)
		check_socket_error(r);
	wh_view_release(&view);
	if (below(2))
		wh_sock_shutdown(sock, SHUT_WR);
	wh_sock_close(sock);
}

static int echo_task(void *arg)
{
	(void)arg;
	echo(new_sock());
	return 0;
}

/* Keeps views for a while, so that others run out of them. */
static int hoard_task(void *arg)
{
	struct wh_sock *sock = new_sock();
	struct wh_view views[4] = { 0 };
	uint64_t offset = 0;
	ssize_t r = 1;

	(void)arg;
	for (unsigned i = 0; i < 4 && r > 0; i++) {
		r = wh_sock_recv_view(sock, &views[i]);
		if (r > 0)
			offset = check_bytes(wh_sock_fd(sock), offset, views[i].data, views[i].len);
	}
	if (r < 0)
		check_socket_error(r);
	check_status(wh_sleep(some_time()));
	for (unsigned i = 4; i-- > 0;)
		wh_view_release(&views[i]);
	wh_sock_close(sock);
	return 0;
}

/* Copies into memory of its own, before and after a view was received. */
static int recv_task(void *arg)
{
	struct wh_sock *sock = new_sock();
	struct wh_view view;
	uint64_t offset = 0;
	char buf[48];
	ssize_t r;

	(void)arg;
	for (;;) {
		size_t len = 1 + below(sizeof(buf));

		if (below(4) == 0) {
			r = wh_sock_recv_view(sock, &view);
			if (r <= 0)
				break;
			offset = check_bytes(wh_sock_fd(sock), offset, view.data, view.len);
			wh_view_release(&view);
			continue;
		}
		r = wh_sock_recv(sock, buf, len);
		if (r <= 0)
			break;
		check((size_t)r <= len);
		offset = check_bytes(wh_sock_fd(sock), offset, buf, (size_t)r);
	}
	if (r < 0)
		check_socket_error(r);
	wh_sock_close(sock);
	return 0;
}

static int send_task(void *arg)
{
	struct wh_sock *sock = new_sock();
	char *buf = malloc(SEND_MAX);
	uint64_t offset = 0;
	ssize_t r = 0;

	(void)arg;
	for (unsigned round = 0; round < ROUNDS_MAX && r >= 0; round++) {
		size_t len = 1 + below(256) % SEND_MAX;

		for (size_t i = 0; i < len; i++)
			buf[i] = (char)kernel_pattern(wh_sock_fd(sock), offset + i);
		r = wh_sock_send(sock, buf, len);
		if (r < 0)
			check_socket_error(r);
		else
			check_int(r, len);
		offset += len;
		check(wh_sock_bytes_sent(sock) <= offset);
		check(r < 0 || wh_sock_bytes_sent(sock) == offset);
	}
	free(buf);
	wh_sock_close(sock);
	return 0;
}

/* Closed by somebody else, while its user waits or not. */
struct shared {
	struct wh_sock *sock;
	bool closing;
};

static int user_task(void *arg)
{
	struct shared *shared = arg;
	struct wh_view view = { 0 };
	bool echoes = below(2);
	uint64_t offset = 0;
	ssize_t r = 1;

	while (!shared->closing && r > 0) {
		r = wh_sock_recv_view(shared->sock, &view);
		if (r > 0)
			offset = check_bytes(wh_sock_fd(shared->sock), offset, view.data, view.len);
		if (r > 0 && !shared->closing && echoes)
			r = wh_sock_send_view(shared->sock, &view);
		wh_view_release(&view);
	}
	if (r < 0)
		check_socket_error(r);
	return 0;
}

static int closer_task(void *arg)
{
	struct shared shared = { .sock = new_sock() };
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = below(2) });
	spawn(&scope, user_task, &shared);
	check_status(wh_sleep(some_time()));
	shared.closing = true;
	wh_sock_close(shared.sock);
	check_status(wh_scope_close(&scope));
	return 0;
}

/* Listeners */

static int accepted_task(void *arg)
{
	echo(arg);
	return 0;
}

static int accept_task(void *arg)
{
	struct wh_listener *listener;
	struct wh_sock *sock;
	struct wh_scope scope;
	int r = 0;

	(void)arg;
	check_int(wh_listen_fd(kernel_fd(&kernel), &listener), 0);
	wh_scope_open(&scope, NULL);
	for (unsigned round = 0; round < ROUNDS_MAX && r == 0; round++) {
		r = wh_accept(listener, &sock);
		if (r == 0 && !(below(2) && spawn(&scope, accepted_task, sock)))
			wh_sock_close(sock);
	}
	check(r == 0 || r == -ECANCELED || r == -ETIMEDOUT || r == -EINVAL);
	wh_listener_close(listener);
	check_status(wh_scope_close(&scope));
	return 0;
}

static int serve_connection(struct wh_sock *sock, void *arg)
{
	(void)arg;
	echo(sock);
	return 0;
}

static int serve_task(void *arg)
{
	const struct wh_serve_opts opts = { .connections_max = 1 + below(4),
					    .close_listener = true };
	struct wh_listener *listener;
	int r;

	(void)arg;
	check_int(wh_listen_fd(kernel_fd(&kernel), &listener), 0);
	r = wh_serve(listener, serve_connection, NULL, &opts);
	check(r == -ECANCELED || r == -ETIMEDOUT || r == -EINVAL);
	return 0;
}

/* Others */

static int connect_task(void *arg)
{
	struct wh_addr addr;
	struct wh_sock *sock;
	int r;

	(void)arg;
	check_int(wh_addr_parse("unix:@fuzz", &addr), 0);
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		r = wh_connect(&addr, &sock);
		check(r != -EINTR && r <= 0);
		if (r == -ECANCELED || r == -ETIMEDOUT)
			break;
		if (r == 0)
			wh_sock_close(sock);
	}
	return 0;
}

static int poll_task(void *arg)
{
	struct wh_sock *sock = new_sock();
	int r;

	(void)arg;
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		r = wh_fd_poll(wh_sock_fd(sock), POLLIN);
		check(r == POLLIN || r == -ENOMEM || r == -EAGAIN || r == -ECANCELED ||
		      r == -ETIMEDOUT);
		if (r == -ECANCELED || r == -ETIMEDOUT)
			break;
	}
	wh_sock_close(sock);
	return 0;
}

static int sleep_task(void *arg)
{
	(void)arg;
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		uint64_t span = below(8) ? some_time() : 0, began = loop.sched.now_ns;
		int r = span ? wh_sleep(span) : wh_yield();

		check_status(r);
		if (r < 0)
			return 0;
		check(loop.sched.now_ns - began >= span);
	}
	return 0;
}

/* Tasks of every kind, chosen by the input. */
static int scope_task(void *arg);

static const wh_task_fn kinds[] = { echo_task,	 recv_task,   send_task,  hoard_task,
				    closer_task, accept_task, serve_task, connect_task,
				    poll_task,	 sleep_task,  scope_task };

struct nest {
	unsigned depth;
};

static void spawn_some(struct wh_scope *scope, struct nest *nest)
{
	for (unsigned count = 1 + below(TASKS_MAX); count > 0; count--) {
		wh_task_fn fn = kinds[below(sizeof(kinds) / sizeof(kinds[0]))];

		if (fn == scope_task && nest->depth == 0)
			fn = sleep_task;
		spawn(scope, fn, nest);
	}
}

/* A scope with a deadline, of which some tasks are cancelled one by one, or all. */
static int scope_task(void *arg)
{
	const struct nest *outer = arg;
	struct nest nest = { .depth = outer->depth - 1 };
	struct wh_scope scope;
	uint64_t span = 1 + some_time();
	struct wh_task *task;
	int r;

	wh_scope_open(&scope,
		      &(struct wh_scope_opts){ .timeout_ns = span, .shield = below(4) == 0 });
	spawn_some(&scope, &nest);
	r = wh_spawn(&scope, echo_task, NULL, .ret_task = &task);
	check(r == 0 || r == -EAGAIN);
	check_status(wh_sleep(some_time()));
	if (r == 0 && below(2))
		wh_task_cancel(task);
	if (r == 0 && below(2))
		check_status(wh_task_join(task, NULL));
	if (below(4) == 0)
		wh_scope_cancel(&scope);
	check_status(wh_scope_close(&scope));
	return 0;
}

static int main_task(void *arg)
{
	struct nest nest = { .depth = 2 };
	struct wh_scope scope;

	(void)arg;
	/* So that everything ends, whatever the kernel keeps to itself. */
	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = 100 * WH_MS });
	spawn_some(&scope, &nest);
	check_status(wh_sleep(some_time()));
	if (below(4) == 0)
		wh_scope_cancel(&scope);
	check_status(wh_scope_close(&scope));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	input = (struct bytes){ data, size };
	kernel_loop_open(&loop, &kernel, &input, 1u << (BUFS_MIN_LOG2 + below(BUFS_LOG2)));
	kernel_loop_run(&loop, main_task, NULL);
	return 0;
}
