/*
 * Question: what does one echoed message cost a server written on epoll by hand?
 *
 * One thread, level-triggered, non-blocking sockets. A readable connection is received from once
 * and answered at once from the same shared buffer; level triggering brings it back if more is
 * there, so nobody starves. What the socket does not take is kept for that connection, which is
 * not read again until it is gone. On SIGTERM or SIGINT the program prints one line of JSON.
 *
 * Not measured: more than one thread, TLS, the cost of opening connections, and network cards
 * (on loopback, sending also pays for the receiver's half of the TCP stack).
 */
#include "echo_common.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BUFFER_BYTES (64 * 1024)
#define EVENTS_MAX 512
#define ACCEPTS_MAX 64 /* a turn, so that a storm cannot starve the connected */
#define ACCEPT_RETRY_MS 100
#define CONNECTIONS_MAX (1u << 20)

/* Indexed by descriptor. `pending` is set only while the socket takes no more. */
struct conn {
	char *pending;
	uint32_t offset;
	uint32_t len;
};

struct server {
	int epoll_fd;
	int listen_fd;
	int signal_fd;
	bool accept_paused;
	bool stopping;
	uint32_t conns_max;
	struct conn *conns;
	struct echo_stats stats;
	char buffer[BUFFER_BYTES];
};

static int watch(struct server *server, int op, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	server->stats.syscalls++;
	return epoll_ctl(server->epoll_fd, op, fd, &event) < 0 ? -errno : 0;
}

static void accept_resume(struct server *server)
{
	if (server->accept_paused && !watch(server, EPOLL_CTL_MOD, server->listen_fd, EPOLLIN))
		server->accept_paused = false;
}

static void conn_close(struct server *server, int fd, bool failed)
{
	struct conn *conn = &server->conns[fd];

	free(conn->pending);
	*conn = (struct conn){ 0 };
	server->stats.syscalls++;
	server->stats.errors += failed;
	close(fd);
	accept_resume(server);
}

static ssize_t conn_send(struct server *server, int fd, const char *buf, size_t len)
{
	ssize_t n;

	server->stats.syscalls++;
	n = send(fd, buf, len, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	server->stats.bytes += (uint64_t)n;
	return n;
}

/* Keep what the socket did not take, and wait for room instead of for more to read. */
static int conn_keep(struct server *server, int fd, const char *buf, size_t len)
{
	struct conn *conn = &server->conns[fd];

	conn->pending = malloc(len);
	if (!conn->pending)
		return -ENOMEM;
	memcpy(conn->pending, buf, len);
	conn->offset = 0;
	conn->len = (uint32_t)len;
	return watch(server, EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void conn_readable(struct server *server, int fd)
{
	ssize_t received, sent;

	server->stats.syscalls++;
	received = recv(fd, server->buffer, BUFFER_BYTES, 0);
	if (received <= 0) {
		if (received < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		conn_close(server, fd, received < 0);
		return;
	}
	server->stats.echoes++;
	sent = conn_send(server, fd, server->buffer, (size_t)received);
	if (sent == received)
		return;
	if (sent >= 0)
		sent = conn_keep(server, fd, server->buffer + sent, (size_t)(received - sent));
	if (sent < 0)
		conn_close(server, fd, true);
}

static void conn_writable(struct server *server, int fd)
{
	struct conn *conn = &server->conns[fd];
	ssize_t sent = conn_send(server, fd, conn->pending + conn->offset,
				 conn->len - conn->offset);

	if (sent < 0) {
		conn_close(server, fd, true);
		return;
	}
	conn->offset += (uint32_t)sent;
	if (conn->offset < conn->len)
		return;
	free(conn->pending);
	conn->pending = NULL;
	if (watch(server, EPOLL_CTL_MOD, fd, EPOLLIN) < 0)
		conn_close(server, fd, true);
}

static void conn_open(struct server *server, int fd)
{
	if ((uint32_t)fd < server->conns_max && !watch(server, EPOLL_CTL_ADD, fd, EPOLLIN)) {
		server->stats.connections++;
		return;
	}
	server->stats.syscalls++;
	server->stats.errors++;
	close(fd);
}

/* The listener would stay readable and wake us for ever: leave it alone until something closes. */
static void accept_pause(struct server *server)
{
	server->stats.errors++;
	if (!watch(server, EPOLL_CTL_MOD, server->listen_fd, 0))
		server->accept_paused = true;
}

static void accept_ready(struct server *server)
{
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		int fd;

		server->stats.syscalls++;
		fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			conn_open(server, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			accept_pause(server);
		if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

static void dispatch(struct server *server, int fd)
{
	if (fd == server->listen_fd)
		accept_ready(server);
	else if (fd == server->signal_fd)
		server->stopping = true;
	else if (server->conns[fd].pending)
		conn_writable(server, fd);
	else
		conn_readable(server, fd);
}

static int serve(struct server *server)
{
	struct epoll_event events[EVENTS_MAX];

	while (!server->stopping) {
		int timeout_ms = server->accept_paused ? ACCEPT_RETRY_MS : -1;
		int count;

		server->stats.syscalls++;
		count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, timeout_ms);
		if (count < 0 && errno != EINTR)
			return -errno;
		if (count == 0)
			accept_resume(server);
		for (int i = 0; i < count; i++)
			dispatch(server, events[i].data.fd);
	}
	return 0;
}

static int server_init(struct server *server, const struct endpoint *endpoint)
{
	uint64_t files = file_limit_raise();
	int r;

	server->conns_max = files < CONNECTIONS_MAX ? (uint32_t)files : CONNECTIONS_MAX;
	server->conns = calloc(server->conns_max, sizeof(*server->conns));
	if (!server->conns)
		return -ENOMEM;
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->epoll_fd < 0)
		return -errno;
	server->signal_fd = termination_fd_open();
	if (server->signal_fd < 0)
		return server->signal_fd;
	server->listen_fd = endpoint_listen(endpoint);
	if (server->listen_fd < 0)
		return server->listen_fd;
	r = watch(server, EPOLL_CTL_ADD, server->signal_fd, EPOLLIN);
	if (r < 0)
		return r;
	r = watch(server, EPOLL_CTL_ADD, server->listen_fd, EPOLLIN);
	server->stats = (struct echo_stats){ 0 };
	return r;
}

static const char *arguments_parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ 0 },
	};
	const char *listen = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'l')
			return NULL;
		listen = optarg;
	}
	return optind == argc ? listen : NULL;
}

int main(int argc, char **argv)
{
	static struct server server;
	const char *listen = arguments_parse(argc, argv);
	struct endpoint endpoint;
	int r;

	if (!listen || endpoint_parse(listen, &endpoint)) {
		fprintf(stderr, "usage: epoll_echo --listen ADDR:PORT|unix:PATH\n");
		return 2;
	}
	r = server_init(&server, &endpoint);
	if (r < 0) {
		fprintf(stderr, "epoll_echo: cannot serve on %s: %s\n", listen, strerror(-r));
		return 1;
	}
	r = serve(&server);
	endpoint_unlink(&endpoint);
	echo_stats_print("epoll_echo", &server.stats);
	free(server.conns);
	if (r < 0)
		fprintf(stderr, "epoll_echo: waiting failed: %s\n", strerror(-r));
	return r < 0;
}
