/*
 * Question: how many requests does an echo server answer, and how soon, under a closed loop?
 *
 * A load generator that shares no code with the engine and keeps every latency as it was, so that
 * it can also check the engine's own. One thread, edge-triggered epoll; every connection has one
 * request out, its bytes differ from request to request, and every echoed byte is compared.
 *
 * Not measured: what happens at a rate the server does not set itself. A closed loop asks less of
 * a server that stalls, so its high percentiles flatter. Generator and server must not share a
 * core; when the generator is the slower one, compare the server's CPU time, not the rate.
 */
#include "echo_common.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_MAX 512
#define SCRATCH_BYTES (64 * 1024)
#define SIZE_MAX_BYTES (16u << 20)
#define SAMPLES_FIRST (1u << 20)
#define SAMPLES_MAX (1u << 28)
#define NS_PER_S 1000000000ull
#define DRAIN_NS (2 * NS_PER_S)

struct conn {
	int fd;
	bool waiting;  /* a request is out */
	uint32_t sent; /* bytes of the request, up to `size` */
	uint32_t received;
	uint64_t sequence;
	uint64_t started_ns;
	char *request;
};

/* Latencies in nanoseconds, in order of arrival; beyond SAMPLES_MAX they are only counted. */
struct samples {
	uint32_t *values;
	size_t count;
	size_t capacity;
};

struct options {
	const char *connect;
	uint64_t connections;
	uint64_t size;
	uint64_t duration_ms;
	uint64_t warmup_ms;
};

struct load {
	struct options options;
	int epoll_fd;
	bool draining;	  /* the time is over: answers are awaited, nothing new is sent */
	uint32_t waiting; /* connections with a request out */
	uint64_t measure_from_ns;
	uint64_t end_ns;
	uint64_t requests;     /* answered between measure_from_ns and end_ns */
	uint64_t requests_all; /* answered, with those of the warm-up and the drain */
	uint64_t errors;       /* connections lost */
	uint64_t mismatches;   /* connections that got a wrong byte */
	struct conn *conns;
	struct samples samples;
	char scratch[SCRATCH_BYTES];
};

static void sample_add(struct samples *samples, uint64_t latency_ns)
{
	if (samples->count == samples->capacity) {
		size_t capacity = samples->capacity ? samples->capacity * 2 : SAMPLES_FIRST;
		uint32_t *values = NULL;

		if (capacity <= SAMPLES_MAX)
			values = realloc(samples->values, capacity * sizeof(*values));
		if (!values)
			return;
		samples->values = values;
		samples->capacity = capacity;
	}
	samples->values[samples->count++] = latency_ns > UINT32_MAX ? UINT32_MAX
								    : (uint32_t)latency_ns;
}

/* Bytes that tell connection, request and place apart, so that no stale answer passes. */
static void request_fill(const struct load *load, struct conn *conn)
{
	uint64_t word = ((uint64_t)(conn - load->conns) << 40 ^ ++conn->sequence) *
			UINT64_C(0x9e3779b97f4a7c15);
	size_t at = 0;

	for (; at + sizeof(word) <= load->options.size; at += sizeof(word)) {
		memcpy(conn->request + at, &word, sizeof(word));
		word += UINT64_C(0xd1342543de82ef95);
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): conns_open has allocated it */
	memcpy(conn->request + at, &word, load->options.size - at);
}

static void conn_drop(struct load *load, struct conn *conn, uint64_t *counter)
{
	(*counter)++;
	load->waiting -= conn->waiting;
	conn->waiting = false;
	close(conn->fd);
	conn->fd = -1;
}

static void conn_send(struct load *load, struct conn *conn)
{
	ssize_t n;

	while (conn->sent < load->options.size) {
		n = send(conn->fd, conn->request + conn->sent, load->options.size - conn->sent,
			 MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			conn_drop(load, conn, &load->errors);
			return;
		}
		conn->sent += (uint32_t)n;
	}
}

static void conn_ask(struct load *load, struct conn *conn, uint64_t started_ns)
{
	request_fill(load, conn);
	conn->sent = 0;
	conn->received = 0;
	conn->started_ns = started_ns;
	conn->waiting = true;
	load->waiting++;
	conn_send(load, conn);
}

static void conn_answered(struct load *load, struct conn *conn)
{
	uint64_t now = now_ns();

	conn->waiting = false;
	load->waiting--;
	load->requests_all++;
	if (now >= load->measure_from_ns && now < load->end_ns) {
		load->requests++;
		sample_add(&load->samples, now - conn->started_ns);
	}
	if (now >= load->end_ns)
		load->draining = true;
	if (!load->draining)
		conn_ask(load, conn, now);
}

/* Receive once. Returns whether the socket may hold more. */
static bool conn_receive_some(struct load *load, struct conn *conn)
{
	size_t wanted = SCRATCH_BYTES;
	ssize_t n = recv(conn->fd, load->scratch, wanted, 0);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		conn_drop(load, conn, &load->errors);
		return false;
	}
	if ((size_t)n > conn->sent - conn->received ||
	    memcmp(load->scratch, conn->request + conn->received, (size_t)n) != 0) {
		conn_drop(load, conn, &load->mismatches);
		return false;
	}
	conn->received += (uint32_t)n;
	if (conn->received == load->options.size)
		conn_answered(load, conn);
	return conn->fd >= 0 && (size_t)n == wanted;
}

static void conn_ready(struct load *load, struct conn *conn, uint32_t events)
{
	if (conn->fd < 0)
		return;
	if (events & EPOLLOUT && conn->waiting)
		conn_send(load, conn);
	if (conn->fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	while (conn_receive_some(load, conn))
		;
}

/* True while an answer may still come in time. */
static bool load_goes_on(struct load *load)
{
	uint64_t now;

	if (!load->waiting)
		return false;
	now = now_ns();
	if (now >= load->end_ns)
		load->draining = true;
	return now < load->end_ns + DRAIN_NS;
}

static int load_run(struct load *load)
{
	struct epoll_event events[EVENTS_MAX];

	for (uint64_t i = 0; i < load->options.connections; i++)
		conn_ask(load, &load->conns[i], now_ns());
	while (load_goes_on(load)) {
		int count = epoll_wait(load->epoll_fd, events, EVENTS_MAX, 100);

		if (count < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < count; i++)
			conn_ready(load, events[i].data.ptr, events[i].events);
	}
	/* An answer that never came is as bad as a lost connection. */
	load->errors += load->waiting;
	return 0;
}

static int conns_open(struct load *load, const struct endpoint *endpoint)
{
	struct options *options = &load->options;

	load->conns = calloc(options->connections, sizeof(*load->conns));
	if (!load->conns)
		return -ENOMEM;
	for (uint64_t i = 0; i < options->connections; i++) {
		struct conn *conn = &load->conns[i];
		struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET,
					     .data.ptr = conn };

		conn->request = malloc(options->size);
		if (!conn->request)
			return -ENOMEM;
		conn->fd = endpoint_connect(endpoint);
		if (conn->fd < 0)
			return conn->fd;
		if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) < 0)
			return -errno;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* `parts` in millionths; the samples are sorted. */
static uint32_t percentile(const struct samples *samples, uint32_t parts)
{
	size_t rank = (samples->count * parts + 999999) / 1000000;

	return samples->count ? samples->values[rank ? rank - 1 : 0] : 0;
}

static void load_print(struct load *load)
{
	const struct options *options = &load->options;
	struct samples *samples = &load->samples;
	uint64_t per_s = load->requests * 1000 / options->duration_ms;

	qsort(samples->values, samples->count, sizeof(*samples->values), compare);
	printf("{\"name\":\"rawload\",\"connections\":%" PRIu64 ",\"size\":%" PRIu64
	       ",\"duration_ms\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"requests_all\":%" PRIu64
	       ",\"requests_per_s\":%" PRIu64,
	       options->connections, options->size, options->duration_ms, load->requests,
	       load->requests_all, per_s);
	printf(",\"p50_ns\":%u,\"p90_ns\":%u,\"p99_ns\":%u,\"p999_ns\":%u,\"max_ns\":%u",
	       percentile(samples, 500000), percentile(samples, 900000),
	       percentile(samples, 990000), percentile(samples, 999000),
	       percentile(samples, 1000000));
	printf(",\"errors\":%" PRIu64 ",\"mismatches\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 "}\n",
	       load->errors, load->mismatches, cpu_used_ns());
}

static int option_set(struct options *options, int name, const char *value)
{
	uint64_t seconds;

	switch (name) {
	case 'a':
		options->connect = value;
		return 0;
	case 'c':
		return number_parse(value, 1, 1000000, &options->connections);
	case 's':
		return number_parse(value, 1, SIZE_MAX_BYTES, &options->size);
	case 'd':
		if (number_parse(value, 1, 3600, &seconds))
			return -EINVAL;
		options->duration_ms = seconds * 1000;
		return 0;
	case 'w':
		return number_parse(value, 0, 60000, &options->warmup_ms);
	}
	return -EINVAL;
}

static int options_parse(int argc, char **argv, struct options *ret)
{
	static const struct option names[] = {
		{ "connect", required_argument, NULL, 'a' },
		{ "connections", required_argument, NULL, 'c' },
		{ "size", required_argument, NULL, 's' },
		{ "duration", required_argument, NULL, 'd' },
		{ "warmup-ms", required_argument, NULL, 'w' },
		{ 0 },
	};
	int c;

	*ret = (struct options){ .connections = 64, .size = 64, .duration_ms = 2000 };
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option_set(ret, c, optarg) < 0)
			return -EINVAL;
	}
	return ret->connect && optind == argc ? 0 : -EINVAL;
}

static int load_start(struct load *load, const struct endpoint *endpoint)
{
	int r;

	file_limit_raise();
	load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (load->epoll_fd < 0)
		return -errno;
	r = conns_open(load, endpoint);
	if (r < 0)
		return r;
	load->measure_from_ns = now_ns() + load->options.warmup_ms * 1000000;
	load->end_ns = load->measure_from_ns + load->options.duration_ms * 1000000;
	return load_run(load);
}

int main(int argc, char **argv)
{
	static struct load load;
	struct endpoint endpoint;
	int r;

	if (options_parse(argc, argv, &load.options) < 0 ||
	    endpoint_parse(load.options.connect, &endpoint) < 0) {
		fprintf(stderr, "usage: rawload --connect ADDR:PORT|unix:PATH [--connections N]"
				" [--size BYTES] [--duration SECONDS] [--warmup-ms N]\n");
		return 2;
	}
	r = load_start(&load, &endpoint);
	if (r < 0) {
		fprintf(stderr, "rawload: cannot load %s: %s\n", load.options.connect,
			strerror(-r));
		return 1;
	}
	load_print(&load);
	return load.errors || load.mismatches;
}
