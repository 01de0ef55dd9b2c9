/* Listening and accepting. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/task_test.h"

/* "unix:FOLDER/s" */
static void path_in(const char *folder, struct wh_addr *ret, char text[WH_ADDR_TEXT_MAX])
{
	snprintf(text, WH_ADDR_TEXT_MAX, "unix:%s/s", folder);
	check_int(wh_addr_parse(text, ret), 0);
}

/* Listening */

static int listen_tells_why_it_could_not(void *arg)
{
	struct wh_addr addr, other;
	struct wh_listener *listener = tcp_listener(&addr), *second;

	(void)arg;
	check_int(wh_listen(&addr, NULL, &second), -EADDRINUSE);
	/* A documentation address, RFC 5737. */
	check_int(wh_addr_parse("192.0.2.1:0", &other), 0);
	check_int(wh_listen(&other, NULL, &second), -EADDRNOTAVAIL);
	check_int(wh_addr_parse("unix:/nonexistent/s", &other), 0);
	check_int(wh_listen(&other, NULL, &second), -ENOENT);
	other.storage.ss_family = 12345;
	check_int(wh_listen(&other, NULL, &second), -EAFNOSUPPORT);
	wh_listener_close(listener);
	return 0;
}

static int a_port_is_free_again_after_closing(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_sock *client, *server;

	(void)arg;
	check_int(wh_connect(&addr, &client), 0);
	check_int(wh_accept(listener, &server), 0);
	wh_listener_close(listener);
	/* The connections, one of which the server closes first, do not keep it. */
	check_int(wh_listen(&addr, NULL, &listener), 0);
	wh_sock_close(server);
	wh_sock_close(client);
	wh_listener_close(listener);
	check_int(wh_listen(&addr, NULL, &listener), 0);
	wh_listener_close(listener);
	return 0;
}

static int reuse_port_lets_two_listen(void *arg)
{
	const struct wh_listen_opts opts = { .reuse_port = true };
	struct wh_listener *first, *second;
	struct wh_addr addr;

	(void)arg;
	check_int(wh_addr_parse("127.0.0.1:0", &addr), 0);
	check_int(wh_listen(&addr, &opts, &first), 0);
	check_int(wh_listener_addr(first, &addr), 0);
	check_int(wh_listen(&addr, &opts, &second), 0);
	check_int(wh_listen(&addr, NULL, &(struct wh_listener *){ NULL }), -EADDRINUSE);
	wh_listener_close(first);
	wh_listener_close(second);
	return 0;
}

static int the_first_of_those_that_share_has_to_be_alone(void *arg)
{
	const struct wh_listen_opts first = { .reuse_port = true, .first = true };
	const struct wh_listen_opts next = { .reuse_port = true };
	struct wh_listener *listeners[2], *none;
	struct wh_addr addr;

	(void)arg;
	check_int(wh_addr_parse("127.0.0.1:0", &addr), 0);
	check_int(wh_listen(&addr, &first, &listeners[0]), 0);
	check_int(wh_listener_addr(listeners[0], &addr), 0);
	check_int(wh_listen(&addr, &first, &none), -EADDRINUSE);
	check_int(wh_listen(&addr, &next, &listeners[1]), 0);
	wh_listener_close(listeners[0]);
	check_int(wh_listen(&addr, &first, &none), -EADDRINUSE);
	wh_listener_close(listeners[1]);
	return 0;
}

static int accepted_tcp_connections_do_not_delay_small_messages(void *arg)
{
	struct wh_sock *pair[2];
	socklen_t len = sizeof(int);

	(void)arg;
	tcp_pair(pair);
	for (int i = 0; i < 2; i++) {
		int nodelay = 0, fd = wh_sock_fd(pair[i]);

		check_int(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
		check(nodelay);
		check(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		wh_sock_close(pair[i]);
	}
	return 0;
}

/* Socket files */

static int a_socket_file_goes_with_its_listener(void *arg)
{
	char folder[64], text[WH_ADDR_TEXT_MAX];
	struct wh_listener *listener;
	struct wh_addr addr;

	(void)arg;
	path_in(make_folder(folder), &addr, text);
	check_int(wh_listen(&addr, NULL, &listener), 0);
	check_int(access(text + 5, F_OK), 0);
	close(connect_raw(&addr));
	wh_listener_close(listener);
	check_int(access(text + 5, F_OK), -1);
	remove_folder(folder);
	return 0;
}

/* As a process leaves it behind that was killed. */
static void leave_stale_socket(const struct wh_addr *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check_int(bind(fd, (const struct sockaddr *)&addr->storage, addr->len), 0);
	check_int(listen(fd, 1), 0);
	close(fd);
}

static int a_stale_socket_file_is_replaced(void *arg)
{
	char folder[64], text[WH_ADDR_TEXT_MAX];
	struct wh_listener *listener;
	struct wh_addr addr;

	(void)arg;
	path_in(make_folder(folder), &addr, text);
	leave_stale_socket(&addr);
	check_int(wh_listen(&addr, &(struct wh_listen_opts){ .keep_path = true }, &listener),
		  -EADDRINUSE);
	check_int(wh_listen(&addr, NULL, &listener), 0);
	close(connect_raw(&addr));
	/* One that somebody listens on is not. */
	check_int(wh_listen(&addr, NULL, &(struct wh_listener *){ NULL }), -EADDRINUSE);
	close(connect_raw(&addr));
	wh_listener_close(listener);
	remove_folder(folder);
	return 0;
}

static int a_file_that_is_no_socket_is_left_alone(void *arg)
{
	char folder[64], text[WH_ADDR_TEXT_MAX];
	struct wh_listener *listener;
	struct wh_addr addr;
	int fd;

	(void)arg;
	path_in(make_folder(folder), &addr, text);
	fd = open(text + 5, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	check_int(write(fd, "precious", 8), 8);
	close(fd);
	check_int(wh_listen(&addr, NULL, &listener), -EADDRINUSE);
	check_int(access(text + 5, F_OK), 0);
	remove_folder(folder);
	return 0;
}

static int listen_fd_wants_a_listening_socket(void *arg)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct wh_listener *listener;
	struct wh_sock *sock;
	struct wh_addr addr;
	int client;

	(void)arg;
	check_int(wh_listen_fd(-1, &listener), -EBADF);
	check_int(wh_listen_fd(fd, &listener), -EINVAL);
	check_int(listen(fd, 5), 0);
	check_int(wh_listen_fd(fd, &listener), 0);
	check_int(wh_listener_fd(listener), fd);
	check_int(wh_listener_addr(listener, &addr), 0);
	client = connect_raw(&addr);
	check_int(wh_accept(listener, &sock), 0);
	wh_sock_close(sock);
	close(client);
	wh_listener_close(listener);
	return 0;
}

/* Accepting */

static int accept_gives_connections_in_order(void *arg)
{
	struct wh_addr addr, peer;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_sock *sock;
	int fds[10];

	(void)arg;
	for (int i = 0; i < 10; i++)
		fds[i] = connect_raw(&addr);
	for (int i = 0; i < 10; i++) {
		check_int(wh_accept(listener, &sock), 0);
		addr.len = peer.len = sizeof(addr.storage);
		getsockname(fds[i], (struct sockaddr *)&addr.storage, &addr.len);
		getpeername(wh_sock_fd(sock), (struct sockaddr *)&peer.storage, &peer.len);
		check_int(peer.len, addr.len);
		check(memcmp(&peer.storage, &addr.storage, peer.len) == 0);
		wh_sock_close(sock);
		close(fds[i]);
	}
	wh_listener_close(listener);
	return 0;
}

static int accept_canceled(void *arg)
{
	struct wh_sock *sock;

	check_int(wh_accept(arg, &sock), -ECANCELED);
	return 0;
}

static int connection_of_no_use(struct wh_sock *sock, void *arg)
{
	(void)arg;
	wh_sock_close(sock);
	return 0;
}

static int a_second_acceptor_is_ebusy(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_scope scope;
	struct wh_sock *sock;

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, accept_canceled, listener);
	settle();
	check_int(wh_accept(listener, &sock), -EBUSY);
	check_int(wh_serve(listener, connection_of_no_use, NULL, NULL), -EBUSY);
	wh_scope_cancel(&scope);
	check_int(wh_scope_close(&scope), -ECANCELED);
	wh_listener_close(listener);
	return 0;
}

static int closing_ends_an_accept(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, accept_canceled, listener);
	settle();
	wh_listener_close(listener);
	check_int(wh_scope_close(&scope), 0);
	return 0;
}

/* More than the listener keeps ready, so that accepting is stopped and taken up again. */
static int a_burst_of_connections_is_accepted_whole(void *arg)
{
	enum { BURST = 600 };
	static int fds[BURST];
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_sock *sock;

	(void)arg;
	for (int i = 0; i < BURST; i++)
		fds[i] = connect_raw(&addr);
	for (int i = 0; i < BURST; i++) {
		check_int(wh_accept(listener, &sock), 0);
		wh_sock_close(sock);
		close(fds[i]);
		if (i % 50 == 0)
			settle();
	}
	wh_listener_close(listener);
	return 0;
}

static int connections_nobody_took_are_closed(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_sock *sock;
	int fds[5];
	char byte;

	(void)arg;
	for (int i = 0; i < 5; i++)
		fds[i] = connect_raw(&addr);
	check_int(wh_accept(listener, &sock), 0);
	settle();
	wh_listener_close(listener);
	for (int i = 1; i < 5; i++)
		check(read(fds[i], &byte, 1) <= 0);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
	wh_sock_close(sock);
	return 0;
}

/* Whom the kernel has accepted is handed out, and who comes later is for whoever else has the
 * socket. */
static int a_stopped_listener_loses_nobody(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr), *heir;
	struct wh_sock *sock;
	int fds[6];

	(void)arg;
	fds[5] = fcntl(wh_listener_fd(listener), F_DUPFD_CLOEXEC, 0);
	check_int(wh_listen_fd(fds[5], &heir), 0);
	for (int i = 0; i < 3; i++)
		fds[i] = connect_raw(&addr);
	/* This arms it, and it goes on accepting. */
	check_int(wh_accept(listener, &sock), 0);
	wh_sock_close(sock);
	settle();
	wh_listener_stop(listener);
	for (int i = 1; i < 3; i++) {
		check_int(wh_accept(listener, &sock), 0);
		wh_sock_close(sock);
	}
	check_int(wh_accept(listener, &sock), -ESHUTDOWN);
	for (int i = 3; i < 5; i++)
		fds[i] = connect_raw(&addr);
	settle();
	check_int(wh_accept(listener, &sock), -ESHUTDOWN);
	wh_listener_close(listener);
	for (int i = 3; i < 5; i++) {
		check_int(wh_accept(heir, &sock), 0);
		wh_sock_close(sock);
	}
	wh_listener_close(heir);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
	return 0;
}

static int accept_until_stopped(void *arg)
{
	struct wh_sock *sock;

	check_int(wh_accept(arg, &sock), -ESHUTDOWN);
	return 0;
}

static int stopping_ends_an_accept(void *arg)
{
	struct wh_addr addr;
	struct wh_listener *listener = tcp_listener(&addr);
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, accept_until_stopped, listener), 0);
	settle();
	wh_listener_stop(listener);
	check_int(wh_scope_close(&scope), 0);
	wh_listener_close(listener);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(listen_tells_why_it_could_not),
		task_test(a_port_is_free_again_after_closing),
		task_test(reuse_port_lets_two_listen),
		task_test(the_first_of_those_that_share_has_to_be_alone),
		task_test(accepted_tcp_connections_do_not_delay_small_messages),
		task_test(a_socket_file_goes_with_its_listener),
		task_test(a_stale_socket_file_is_replaced),
		task_test(a_file_that_is_no_socket_is_left_alone),
		task_test(listen_fd_wants_a_listening_socket),
		task_test(accept_gives_connections_in_order),
		task_test(a_second_acceptor_is_ebusy),
		task_test(closing_ends_an_accept),
		task_test(a_burst_of_connections_is_accepted_whole),
		task_test(connections_nobody_took_are_closed),
		task_test(a_stopped_listener_loses_nobody),
		task_test(stopping_ends_an_accept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
