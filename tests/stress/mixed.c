/*
 * Honest clients of all services, who now and then behave badly.
 *
 * usage: stress_mixed ECHO_PORT FRAMES_PORT STREAM_PORT CONNECTIONS SECONDS FAULTS SEED IDLE_MS
 *
 * CONNECTIONS threads each open a connection, exchange some messages over it, compare every byte,
 * and begin again. FAULTS of 1,000 exchanges go wrong on purpose: the client resets, half-closes,
 * reads or writes byte by byte, stalls, talks garbage, or never says a word. Whatever it does, what
 * it did not break itself must work. One that the machine kept from sending its frame within
 * IDLE_MS, after which the server closes, has broken it itself. Prints what was done.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stress/client.h"
#include "stress/services.h"

enum {
	CONNECTIONS_MAX = 4096,
	THREAD_STACK_BYTES = 256 * 1024,
	MESSAGE_MAX = 20000,
	TINY_MAX = 200,
	EXCHANGES_MAX = 50, /* per connection */
	STREAM_MAX = 300000,
	STALL_MS_MAX = 200,
	GARBAGE_MAX = 1000,
};

enum fault { NONE, RESET, HALF_CLOSE, TINY_READS, TINY_WRITES, STALL, GARBAGE, SILENCE, FAULTS };

enum kind { ECHO, FRAMES, STREAM, KINDS };

struct client {
	pthread_t thread;
	uint64_t random;
	uint64_t index;
	uint64_t at; /* where in the pattern the next message begins */
	enum kind kind;
	int fd;
	double sent_s;	    /* when its last message had left; 0: not all of it has */
	double sent_before; /* when the one before had, or when it began to connect */
	char out[sizeof(uint32_t) + MESSAGE_MAX];
	char in[sizeof(uint32_t) + MESSAGE_MAX];
};

static unsigned ports[KINDS];
static unsigned faults_per_1000;
static double end_s, idle_s;
static _Atomic uint64_t exchanges, connections, late, faults[FAULTS];

static uint64_t below(struct client *client, uint64_t limit)
{
	return random_next(&client->random) % limit;
}

_Noreturn static void broken(const struct client *client, const char *what, ssize_t r)
{
	static const char *const names[] = { "echo", "frames", "stream" };

	fail("%s: %s: %s", names[client->kind], what, r < 0 ? strerror(errno) : "closed");
}

/* The server has closed. It began to wait for this message after the one before had left. */
static void ended(const struct client *client, const char *what, ssize_t r)
{
	double sent_s = client->sent_s > 0 ? client->sent_s : now_s();

	if (client->kind != FRAMES || sent_s - client->sent_before < idle_s)
		broken(client, what, r);
	late++;
}

/* Sending and receiving: 0 if the server has rightly closed. */

static int send_all(struct client *client, const char *buf, size_t len, size_t piece)
{
	if (client->sent_s > 0)
		client->sent_before = client->sent_s;
	client->sent_s = 0;
	while (len > 0) {
		ssize_t r = send(client->fd, buf, len < piece ? len : piece, MSG_NOSIGNAL);

		if (r < 0) {
			ended(client, "send", r);
			return 0;
		}
		buf += r;
		len -= (size_t)r;
	}
	client->sent_s = now_s();
	return 1;
}

static int expect(struct client *client, size_t len, size_t piece)
{
	size_t got = 0;

	while (got < len) {
		size_t want = len - got < piece ? len - got : piece;
		ssize_t r = recv(client->fd, client->in + got, want, 0);

		if (r <= 0) {
			ended(client, "recv", r);
			return 0;
		}
		got += (size_t)r;
	}
	if (memcmp(client->in, client->out, len) != 0)
		fail("connection %llu: wrong bytes", (unsigned long long)client->index);
	return 1;
}

static void expect_end(struct client *client)
{
	ssize_t r = recv(client->fd, client->in, sizeof(client->in), 0);

	if (r > 0)
		fail("bytes after the end");
	if (r < 0)
		broken(client, "end", r);
}

/* A message in `out`; returns its length. */
static size_t compose(struct client *client, size_t len_max)
{
	size_t len = 1 + below(client, len_max), head_len = 0;

	if (client->kind == FRAMES) {
		uint32_t action = (uint32_t)below(client, FRAME_ACTIONS);
		uint32_t head = (uint32_t)len | action << FRAME_ACTION_SHIFT;

		head_len = sizeof(head);
		memcpy(client->out, &head, head_len);
	}
	memcpy(client->out + head_len, pattern(client->index, client->at), len);
	client->at += len;
	return head_len + len;
}

/* Exchanges. Each returns whether the connection can be used further. */

static int exchange(struct client *client, size_t len_max, size_t send_piece, size_t recv_piece)
{
	size_t len = compose(client, len_max);

	if (!send_all(client, client->out, len, send_piece) || !expect(client, len, recv_piece))
		return 0;
	exchanges++;
	return 1;
}

static int stall(struct client *client)
{
	size_t len = compose(client, MESSAGE_MAX);

	if (!send_all(client, client->out, len, len))
		return 0;
	usleep((useconds_t)(1000 * below(client, STALL_MS_MAX)));
	return expect(client, len, len);
}

static int half_close(struct client *client)
{
	size_t len = compose(client, MESSAGE_MAX);

	if (!send_all(client, client->out, len, len))
		return 0;
	shutdown(client->fd, SHUT_WR);
	if (expect(client, len, len))
		expect_end(client);
	return 0;
}

static int break_off(struct client *client)
{
	size_t len = compose(client, MESSAGE_MAX);

	send_all(client, client->out, 1 + below(client, len), len);
	if (below(client, 2))
		usleep((useconds_t)below(client, 1000));
	reset(client->fd);
	client->fd = -1;
	return 0;
}

/* Bytes that are no frame; to an echo server all bytes are fine. */
static int talk_garbage(struct client *client)
{
	size_t len = sizeof(uint32_t) + below(client, GARBAGE_MAX);
	ssize_t r;

	if (client->kind == ECHO)
		return exchange(client, MESSAGE_MAX, MESSAGE_MAX, MESSAGE_MAX);
	for (size_t i = 0; i < len; i++)
		client->out[i] = (char)(below(client, 256) | 0x80);
	if (!send_all(client, client->out, len, len))
		return 0;
	r = recv(client->fd, client->in, sizeof(client->in), 0);
	if (r > 0 || (r < 0 && errno != ECONNRESET))
		broken(client, "garbage was answered", r);
	return 0;
}

/* The frames service loses its patience; an echo server has none to lose. */
static int say_nothing(struct client *client)
{
	if (client->kind == FRAMES)
		expect_end(client);
	else
		usleep((useconds_t)(1000 * below(client, STALL_MS_MAX)));
	return 0;
}

static enum fault choose(struct client *client)
{
	enum fault fault = NONE;

	if (below(client, 1000) < faults_per_1000)
		fault = (enum fault)(1 + below(client, FAULTS - 1));
	faults[fault]++;
	return fault;
}

static int exchange_somehow(struct client *client)
{
	switch (choose(client)) {
	case NONE:
	case FAULTS:
		break;
	case RESET:
		return break_off(client);
	case HALF_CLOSE:
		return half_close(client);
	case TINY_READS:
		return exchange(client, TINY_MAX, MESSAGE_MAX, 1);
	case TINY_WRITES:
		return exchange(client, TINY_MAX, 1, MESSAGE_MAX);
	case STALL:
		return stall(client);
	case GARBAGE:
		return talk_garbage(client);
	case SILENCE:
		return say_nothing(client);
	}
	return exchange(client, MESSAGE_MAX, MESSAGE_MAX, MESSAGE_MAX);
}

/* The stream: read some of it, compare, and leave, which resets it. */
static void read_stream(struct client *client)
{
	size_t total = below(client, STREAM_MAX), got = 0;
	int slow = choose(client) != NONE;

	while (got < total) {
		ssize_t r = recv(client->fd, client->in, slow ? TINY_MAX : MESSAGE_MAX, 0);

		if (r <= 0)
			broken(client, "recv", r);
		for (size_t i = 0; i < (size_t)r; i++) {
			size_t at = (got + i) % STREAM_PERIOD;

			if (client->in[i] != (char)(at * 7 + at / 256))
				fail("stream: wrong byte at %zu", got + i);
		}
		got += (size_t)r;
	}
	exchanges++;
}

static void converse(struct client *client)
{
	uint64_t left = 1 + below(client, EXCHANGES_MAX);

	client->sent_s = 0;
	client->sent_before = now_s();
	client->fd = dial(ports[client->kind]);
	if (client->fd < 0)
		fail("connect: %s", strerror(-client->fd));
	connections++;
	if (client->kind == STREAM)
		read_stream(client);
	else
		while (left-- > 0 && now_s() < end_s && exchange_somehow(client))
			;
	if (client->fd >= 0)
		close(client->fd);
}

static void *live(void *arg)
{
	struct client *client = arg;

	while (now_s() < end_s) {
		/* An eighth of them stream. */
		uint64_t choice = below(client, 8);

		client->kind = choice == 0 ? STREAM : choice < 4 ? FRAMES : ECHO;
		converse(client);
	}
	return NULL;
}

static void run(struct client *clients, size_t count, uint64_t seed)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	for (size_t i = 0; i < count; i++) {
		clients[i].index = i;
		clients[i].random = seed * CONNECTIONS_MAX + i;
		if (pthread_create(&clients[i].thread, &attr, live, &clients[i]) != 0)
			fail("cannot start a thread");
	}
	for (size_t i = 0; i < count; i++)
		pthread_join(clients[i].thread, NULL);
	pthread_attr_destroy(&attr);
}

int main(int argc, char **argv)
{
	uint64_t all_faults = 0;
	struct client *clients;
	size_t count;

	if (argc != 9)
		fail("usage: stress_mixed ECHO_PORT FRAMES_PORT STREAM_PORT CONNECTIONS SECONDS "
		     "FAULTS SEED IDLE_MS");
	for (int i = 0; i < KINDS; i++)
		ports[i] = (unsigned)number("a port", argv[1 + i], 1, 65535);
	count = number("CONNECTIONS", argv[4], 1, CONNECTIONS_MAX);
	end_s = now_s() + (double)number("SECONDS", argv[5], 1, 1000000);
	faults_per_1000 = (unsigned)number("FAULTS", argv[6], 0, 1000);
	idle_s = (double)number("IDLE_MS", argv[8], 1, 1000000) / 1000;
	clients = calloc(count, sizeof(*clients));
	if (!clients)
		fail("out of memory");
	run(clients, count, number("SEED", argv[7], 0, UINT64_MAX));
	free(clients);
	for (int i = 1; i < FAULTS; i++)
		all_faults += faults[i];
	printf("{\"connections\":%llu,\"exchanges\":%llu,\"faults\":%llu,\"late\":%llu}\n",
	       (unsigned long long)connections, (unsigned long long)exchanges,
	       (unsigned long long)all_faults, (unsigned long long)late);
	return 0;
}
