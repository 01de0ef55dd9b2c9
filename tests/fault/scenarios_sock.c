#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "outcome.h"
#include "scenarios.h"
#include "support/task_test.h"

enum { MESSAGE = 9000, MESSAGES = 3, CROWD = 12, SMALL = 1500 };

static char message[MESSAGE];

/* Servers */

static int echo_views(struct wh_sock *sock, void *arg)
{
	struct wh_view view;
	ssize_t r;

	(void)arg;
	while ((r = did(wh_sock_recv_view, sock, &view)) > 0) {
		r = did(wh_sock_send_view, sock, &view);
		if (r < 0) {
			wh_view_release(&view);
			break;
		}
	}
	if (r == 0)
		did(wh_sock_shutdown, sock, SHUT_WR);
	wh_sock_close(sock);
	return (int)r;
}

static int echo_copies(struct wh_sock *sock, void *arg)
{
	char buf[4000];
	ssize_t r;

	(void)arg;
	while ((r = did(wh_sock_recv, sock, buf, sizeof(buf))) > 0) {
		r = did(wh_sock_send, sock, buf, (size_t)r);
		if (r < 0)
			break;
	}
	wh_sock_close(sock);
	return (int)r;
}

static int serve_views(void *arg)
{
	return did(wh_serve, arg, echo_views, NULL, NULL);
}

static int accept_and_copy(void *arg)
{
	struct wh_sock *sock;
	int r;

	for (;;) {
		r = did(wh_accept, arg, &sock);
		if (r < 0)
			return r;
		echo_copies(sock, NULL);
	}
}

/* Visitors */

/* A connection that ends early has been dropped by a server that could not serve it. */
static int recv_exactly(struct wh_sock *sock, char *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t r = did(wh_sock_recv, sock, buf + got, len - got);

		if (r <= 0)
			return r < 0 ? (int)r : -EPIPE;
		got += (size_t)r;
	}
	return 0;
}

static int exchange(struct wh_sock *sock)
{
	char buf[MESSAGE];

	for (int i = 0; i < MESSAGES; i++) {
		ssize_t r;

		memset(message, 'a' + i, sizeof(message));
		r = did(wh_sock_send, sock, message, sizeof(message));
		if (r == (ssize_t)sizeof(message))
			r = recv_exactly(sock, buf, sizeof(buf));
		if (r < 0)
			return (int)r;
		check(memcmp(buf, message, sizeof(buf)) == 0);
	}
	return 0;
}

static int visit(const struct wh_addr *addr)
{
	struct wh_sock *sock;
	int r = did(wh_connect, addr, &sock);

	if (r < 0)
		return r;
	r = exchange(sock);
	if (r == 0)
		r = did(wh_sock_shutdown, sock, SHUT_WR);
	wh_sock_close(sock);
	return r;
}

static int visit_once(void *arg)
{
	return visit(arg);
}

static int visit_shortly(void *arg)
{
	char sent[SMALL], got[SMALL];
	struct wh_sock *sock;
	ssize_t r = did(wh_connect, arg, &sock);

	if (r < 0)
		return (int)r;
	memset(sent, 's', sizeof(sent));
	r = did(wh_sock_send, sock, sent, sizeof(sent));
	if (r > 0)
		r = recv_exactly(sock, got, sizeof(got));
	if (r == 0)
		check(memcmp(sent, got, sizeof(got)) == 0);
	wh_sock_close(sock);
	return (int)r;
}

static int visit_together(void *arg)
{
	struct wh_scope scope;
	int r = 0, closed;

	wh_scope_open(&scope, NULL);
	for (int i = 0; i < CROWD && r == 0; i++)
		r = did_spawn(&scope, visit_shortly, arg);
	closed = wh_scope_close(&scope);
	return r < 0 ? r : closed;
}

/* A server and who visits it */

struct house {
	const char *address;
	wh_task_fn server;
	wh_task_fn visitors; /* of the address */
};

/* Visit until done, then end the server. */
static int visit_listener(const struct house *house, struct wh_listener *listener)
{
	struct wh_scope scope;
	struct wh_addr addr;
	int r, closed;

	wh_scope_open(&scope, NULL);
	r = did(wh_listener_addr, listener, &addr);
	if (r == 0)
		r = did_spawn(&scope, house->server, listener);
	if (r == 0)
		r = house->visitors(&addr);
	wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	return first_failure(r, closed);
}

static int visit_house(void *arg)
{
	const struct house *house = arg;
	struct wh_listener *listener;
	struct wh_addr addr;
	int r;

	r = did(wh_addr_parse, house->address, &addr);
	if (r == 0)
		r = did(wh_listen, &addr, &(struct wh_listen_opts){ .reuse_port = true },
			&listener);
	if (r < 0)
		return r;
	r = visit_listener(house, listener);
	wh_listener_close(listener);
	return r;
}

int echo_over_tcp(void *arg)
{
	(void)arg;
	return in_time(visit_house, &(struct house){ "127.0.0.1:0", serve_views, visit_once });
}

/* To a path in the scenarios' folder. */
static const char *unix_address(char text[WH_ADDR_TEXT_MAX])
{
	snprintf(text, WH_ADDR_TEXT_MAX, "unix:%s/socket", scenario_folder);
	return text;
}

int echo_over_unix(void *arg)
{
	char text[WH_ADDR_TEXT_MAX], path[128];

	(void)arg;
	/* A run in which it could not be removed. */
	unlink(scenario_path(path, "socket"));
	return in_time(visit_house,
		       &(struct house){ unix_address(text), accept_and_copy, visit_once });
}

int crowd(void *arg)
{
	(void)arg;
	return in_time(visit_house, &(struct house){ "127.0.0.1:0", serve_views, visit_together });
}

/* The file of a socket whose process has died: nobody listens on it. */
static int leave_socket_file(void)
{
	char path[128];
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check(fd >= 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", scenario_path(path, "socket"));
	unlink(un.sun_path);
	check_int(bind(fd, (const struct sockaddr *)&un, sizeof(un)), 0);
	return close(fd);
}

int stale_socket_file(void *arg)
{
	char text[WH_ADDR_TEXT_MAX], path[128];
	int r;

	(void)arg;
	check_int(leave_socket_file(), 0);
	r = in_time(visit_house, &(struct house){ unix_address(text), serve_views, visit_once });
	/* It is still there if it could not be found out whether somebody listens. */
	unlink(scenario_path(path, "socket"));
	return r == -EADDRINUSE ? 0 : r;
}

/* A listener from elsewhere. */
static int visit_adopted(void *arg)
{
	const struct house house = { NULL, accept_and_copy, visit_once };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct wh_listener *listener;
	int r;

	(void)arg;
	check(fd >= 0);
	/* Only the family: the kernel chooses an abstract name. */
	check_int(bind(fd, (const struct sockaddr *)&un, sizeof(un.sun_family)), 0);
	check_int(listen(fd, 1), 0);
	r = did(wh_listen_fd, fd, &listener);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = visit_listener(&house, listener);
	wh_listener_close(listener);
	return r;
}

int adopted_listener(void *arg)
{
	return in_time(visit_adopted, arg);
}

/* Both ends of a pair, taken over one after the other. */
static int adopt_pair(int type, struct wh_sock *ret[2])
{
	int fds[2];
	int r;

	check_int(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
	r = did(wh_sock_from_fd, fds[0], &ret[0]);
	if (r < 0)
		goto err_fds;
	r = did(wh_sock_from_fd, fds[1], &ret[1]);
	if (r < 0)
		goto err_first;
	return 0;

err_first:
	wh_sock_close(ret[0]);
	close(fds[1]);
	return r;
err_fds:
	close(fds[0]);
	close(fds[1]);
	return r;
}

static void close_pair(struct wh_sock *pair[2])
{
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
}

/* Nobody gives a buffer back, and one more wants some: it gets memory of its own. */
static int hold_all_buffers(void *arg)
{
	struct wh_sock *first[2], *second[2];
	struct wh_view views[2] = { 0 };
	char byte = 'x';
	ssize_t r;

	(void)arg;
	r = adopt_pair(SOCK_STREAM, first);
	if (r < 0)
		return (int)r;
	r = adopt_pair(SOCK_STREAM, second);
	if (r < 0)
		goto err_first;
	for (int i = 0; i < 2 && r >= 0; i++) {
		r = did(wh_sock_send, first[0], &byte, 1);
		if (r == 1)
			r = did(wh_sock_recv_view, first[1], &views[i]);
	}
	if (r >= 0)
		r = did(wh_sock_send, second[0], &byte, 1);
	if (r >= 0)
		r = recv_exactly(second[1], &byte, 1);
	wh_view_release(&views[0]);
	wh_view_release(&views[1]);
	close_pair(second);
err_first:
	close_pair(first);
	return r < 0 ? (int)r : 0;
}

/* As hold_all_buffers, but who waits for one receives views as well. */
static int wait_for_buffers(void *arg)
{
	struct wh_sock *pair[2];
	struct wh_view view;
	ssize_t r = adopt_pair(SOCK_STREAM, pair);

	(void)arg;
	if (r < 0)
		return (int)r;
	memset(message, 'w', sizeof(message));
	r = did(wh_sock_send, pair[0], message, sizeof(message));
	if (r > 0)
		r = did(wh_sock_shutdown, pair[0], SHUT_WR);
	while (r >= 0 && (r = did(wh_sock_recv_view, pair[1], &view)) > 0) {
		check(memcmp(view.data, message, view.len) == 0);
		wh_view_release(&view);
	}
	if (r == 0)
		check_int(did(wh_sock_try_recv_view, pair[1], &view), 0);
	close_pair(pair);
	return (int)r;
}

int scarce_buffers(void *arg)
{
	int r = in_time(hold_all_buffers, arg);

	return r == 0 ? in_time(wait_for_buffers, arg) : r;
}

static int send_datagrams(void *arg)
{
	struct wh_sock *pair[2];
	char out[] = "datagram", in[sizeof(out)];
	struct iovec to = { out, sizeof(out) }, from = { in, sizeof(in) };
	struct msghdr send = { .msg_iov = &to, .msg_iovlen = 1 };
	struct msghdr recv = { .msg_iov = &from, .msg_iovlen = 1 };
	ssize_t r = adopt_pair(SOCK_DGRAM, pair);

	(void)arg;
	if (r < 0)
		return (int)r;
	for (int i = 0; i < MESSAGES && r >= 0; i++) {
		r = did(wh_sock_sendmsg, pair[0], &send, 0);
		if (r >= 0)
			r = did(wh_sock_recvmsg, pair[1], &recv, 0);
		if (r >= 0)
			check(r == sizeof(out) && memcmp(in, out, sizeof(out)) == 0);
	}
	close_pair(pair);
	return r < 0 ? (int)r : 0;
}

int datagrams(void *arg)
{
	return in_time(send_datagrams, arg);
}
