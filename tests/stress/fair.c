/*
 * Many busy connections to an echo server: does each get its share, and every byte back?
 *
 * usage: stress_fair PORT CONNECTIONS SECONDS WINDOW MESSAGE
 *
 * Each connection keeps WINDOW bytes on their way, in sends of at most MESSAGE bytes, and compares
 * what comes back. After a fifth of SECONDS, counting starts; after SECONDS nothing more is sent,
 * and everything must come back. It goes on for up to ten times as long on a machine so busy that
 * the connections have had few turns by then. Prints the least and the most bytes that a connection
 * got meanwhile. Not measured: how fast the server could be with a core of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stress/client.h"

enum { EVENTS_MAX = 1024, DRAIN_S_MAX = 60, TURNS_MIN = 50, TURN_BYTES = 4096, LONGER = 10 };

struct connection {
	int fd;
	uint64_t index;
	uint64_t sent, got;
	uint64_t counted_from; /* `got` when counting started */
	uint64_t counted;
};

struct run {
	int epoll;
	size_t window, message;
	uint64_t count;
	struct connection *connections;
	uint64_t on_their_way; /* bytes of all connections */
	uint64_t got;	       /* the same */
	int sending;
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void top_up(struct run *run, struct connection *connection)
{
	while (run->sending && connection->sent - connection->got < run->window) {
		size_t room = run->window - (size_t)(connection->sent - connection->got);
		size_t len = room < run->message ? room : run->message;
		ssize_t r = send(connection->fd, pattern(connection->index, connection->sent), len,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (r < 0 && errno == EAGAIN)
			return;
		if (r < 0)
			fail("connection %llu: send: %s", (unsigned long long)connection->index,
			     strerror(errno));
		connection->sent += (uint64_t)r;
		run->on_their_way += (uint64_t)r;
	}
}

static void take(struct run *run, struct connection *connection)
{
	static char buf[PATTERN_SPAN];
	ssize_t r = recv(connection->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (r < 0 && errno == EAGAIN)
		return;
	if (r <= 0)
		fail("connection %llu: ended after %llu of %llu bytes: %s",
		     (unsigned long long)connection->index, (unsigned long long)connection->got,
		     (unsigned long long)connection->sent, r < 0 ? strerror(errno) : "closed");
	if (connection->got + (uint64_t)r > connection->sent ||
	    memcmp(buf, pattern(connection->index, connection->got), (size_t)r) != 0)
		fail("connection %llu: wrong bytes after %llu",
		     (unsigned long long)connection->index, (unsigned long long)connection->got);
	connection->got += (uint64_t)r;
	run->on_their_way -= (uint64_t)r;
	run->got += (uint64_t)r;
}

static void turn(struct run *run)
{
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(run->epoll, events, EVENTS_MAX, 10);

	for (int i = 0; i < count; i++) {
		struct connection *connection = events[i].data.ptr;

		take(run, connection);
		top_up(run, connection);
	}
}

static void open_all(struct run *run, unsigned port)
{
	for (uint64_t i = 0; i < run->count; i++) {
		struct connection *connection = &run->connections[i];
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };

		connection->index = i;
		connection->fd = dial(port);
		if (connection->fd < 0)
			fail("connection %llu: %s", (unsigned long long)i,
			     strerror(-connection->fd));
		if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0)
			fail("epoll_ctl: %s", strerror(errno));
	}
}

static void go_on_until(struct run *run, double end)
{
	while (now_s() < end)
		turn(run);
}

static void measure(struct run *run, double seconds)
{
	uint64_t turn_bytes = run->message < TURN_BYTES ? run->message : TURN_BYTES;
	double start = now_s();
	uint64_t enough;

	run->sending = 1;
	for (uint64_t i = 0; i < run->count; i++)
		top_up(run, &run->connections[i]);
	go_on_until(run, start + seconds / 5);
	for (uint64_t i = 0; i < run->count; i++)
		run->connections[i].counted_from = run->connections[i].got;
	enough = run->got + run->count * turn_bytes * TURNS_MIN;
	go_on_until(run, start + seconds);
	while (run->got < enough && now_s() < start + seconds * LONGER)
		turn(run);
	for (uint64_t i = 0; i < run->count; i++)
		run->connections[i].counted = run->connections[i].got -
					      run->connections[i].counted_from;
	run->sending = 0;
}

static void drain(struct run *run)
{
	double end = now_s() + DRAIN_S_MAX;

	while (run->on_their_way > 0 && now_s() < end)
		turn(run);
}

static void report(const struct run *run)
{
	uint64_t *counted = calloc(run->count, sizeof(*counted));
	uint64_t sum = 0;

	if (!counted)
		fail("out of memory");
	for (uint64_t i = 0; i < run->count; i++) {
		counted[i] = run->connections[i].counted;
		sum += counted[i];
	}
	qsort(counted, run->count, sizeof(*counted), compare);
	printf("{\"connections\":%llu,\"bytes\":%llu,\"lost\":%llu,\"least\":%llu,"
	       "\"median\":%llu,\"most\":%llu}\n",
	       (unsigned long long)run->count, (unsigned long long)sum,
	       (unsigned long long)run->on_their_way, (unsigned long long)counted[0],
	       (unsigned long long)counted[run->count / 2],
	       (unsigned long long)counted[run->count - 1]);
	free(counted);
}

int main(int argc, char **argv)
{
	struct run run = { 0 };
	double seconds;

	if (argc != 6)
		fail("usage: stress_fair PORT CONNECTIONS SECONDS WINDOW MESSAGE");
	run.count = number("CONNECTIONS", argv[2], 1, 100000);
	seconds = (double)number("SECONDS", argv[3], 1, 100000);
	run.window = number("WINDOW", argv[4], 1, 1 << 20);
	run.message = number("MESSAGE", argv[5], 1, PATTERN_SPAN);
	run.epoll = epoll_create1(EPOLL_CLOEXEC);
	run.connections = calloc(run.count, sizeof(*run.connections));
	if (run.epoll < 0 || !run.connections)
		fail("out of memory or descriptors");
	open_all(&run, (unsigned)number("PORT", argv[1], 1, 65535));
	measure(&run, seconds);
	drain(&run);
	report(&run);
	for (uint64_t i = 0; i < run.count; i++)
		close(run.connections[i].fd);
	free(run.connections);
	return 0;
}
