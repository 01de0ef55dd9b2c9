/*
 * Echo under faults. A server on host 0 sends back what it receives, over views or over plain
 * receives and sends in turn. On each client host some flows push a stream of bytes through a
 * connection of their own, in pieces and with pauses, and compare what comes back; some are slow to
 * read, some give up after a while. A flow whose connection fails begins again with a new one and
 * new bytes. Receive buffers are few, so that they run out.
 *
 * Invariants
 * 1. What a flow receives is what it sent, in order, however its connection ends.
 * 2. A flow that sees the end of the stream has all of its bytes back, unless it or the server was
 *    told of an error on that connection.
 * 3. Every error is one that the call documents.
 * 4. Once faults have stopped every flow gets all of its bytes back: in time, or the world says
 *    -ETIME.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/echo.h"

enum {
	CLIENTS = 2,
	FLOWS = 4, /* of a client */
	STREAM_MAX = 30000,
	PIECE_MAX = 6000,
	RECV_MAX = 4000,
};

/* A flow */

struct flow {
	struct echo *echo;
	struct wh_sock *sock;
	uint32_t id;
	size_t len;
	bool early;	  /* saw the end before it had all back */
	bool push_failed; /* was told of an error, which is told once */
};

static void fill(const struct flow *flow, size_t at, uint8_t *buf, size_t len)
{
	pattern_fill(flow->id, at, buf, len);
	for (; at < ECHO_HEAD && len > 0; at++, len--)
		*buf++ = ((const uint8_t *)&flow->id)[at];
}

static int push(void *arg)
{
	struct flow *flow = arg;
	uint8_t buf[PIECE_MAX];
	int r = 0;

	for (size_t at = 0; r == 0 && at < flow->len;) {
		size_t len = between(1, PIECE_MAX);

		len = len < flow->len - at ? len : flow->len - at;
		fill(flow, at, buf, len);
		r = send_all(flow->sock, buf, len);
		at += len;
		if (r == 0 && wh_sim_random(4) == 0)
			r = pause_up_to(5 * WH_MS);
	}
	if (r == 0)
		r = wh_sock_shutdown(flow->sock, SHUT_WR);
	flow->push_failed = r < 0;
	/* A failure ends the receiver too: the server may wait for more. */
	return r;
}

static int compare(const struct flow *flow, size_t at, const uint8_t *got, size_t len)
{
	uint8_t sent[RECV_MAX];

	for (size_t done = 0; done < len;) {
		size_t part = len - done < sizeof(sent) ? len - done : sizeof(sent);

		if (at + done + part > flow->len)
			return wh_sim_fail("flow %u sent %zu bytes and got more back", flow->id,
					   flow->len);
		fill(flow, at + done, sent, part);
		if (memcmp(sent, got + done, part) != 0)
			return wh_sim_fail("flow %u got wrong bytes after %zu", flow->id,
					   at + done);
		done += part;
	}
	return 0;
}

/* Into memory of its own, or where the loop has it. Once a view was received, the former takes from
 * the latter. */
static ssize_t pull_some(struct flow *flow, size_t at)
{
	struct wh_view view = { 0 };
	uint8_t buf[RECV_MAX];
	ssize_t r;

	if (flow->id % 2 == 0 || wh_sim_random(2) == 0) {
		r = documented(CALL_RECV, wh_sock_recv(flow->sock, buf, between(1, RECV_MAX)));
		if (r > 0 && compare(flow, at, buf, (size_t)r) < 0)
			return -EBADMSG;
		return r;
	}
	r = documented(CALL_RECV, wh_sock_recv_view(flow->sock, &view));
	if (r > 0 && compare(flow, at, view.data, (size_t)r) < 0)
		r = -EBADMSG;
	wh_view_release(&view);
	return r;
}

/* 0 if all came back. */
static int pull(struct flow *flow)
{
	bool slow = wh_sim_random(4) == 0;
	size_t got = 0;
	ssize_t r;

	while ((r = pull_some(flow, got)) > 0) {
		got += (size_t)r;
		if (slow)
			pause_up_to(WH_MS);
	}
	if (r < 0)
		return (int)r;
	if (got == flow->len)
		return 0;
	flow->early = got >= ECHO_HEAD;
	return -EPIPE;
}

static int push_and_pull(struct flow *flow)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, push, flow);
	if (r == 0)
		r = pull(flow);
	if (r < 0)
		wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	/* The server may hear of an error later than we see the end. */
	flow->echo->cut[flow->id] = flow->early && !flow->push_failed;
	return r;
}

/* Some have little patience: their time may be over at any place. */
static int try_flow(struct flow *flow)
{
	struct wh_scope_opts opts = { 0 };
	struct wh_scope scope;
	int r;

	if (wh_sim_random(4) == 0)
		opts.timeout_ns = between(1, wh_sim_random(2) ? WH_MS : 10 * WH_MS);
	wh_scope_open(&scope, &opts);
	r = dial(0, ECHO_PORT, &flow->sock);
	if (r == 0) {
		r = push_and_pull(flow);
		wh_sock_close(flow->sock);
	}
	wh_scope_close(&scope);
	return r;
}

static int run_flow(void *arg)
{
	struct echo *echo = arg;

	while (wh_cancelled() == 0 && echo->flows < ECHO_IDS_MAX) {
		struct flow flow = { .echo = echo,
				     .id = echo->flows++,
				     .len = between(ECHO_HEAD, STREAM_MAX) };

		if (try_flow(&flow) == 0)
			return 0;
		pause_up_to(100 * WH_MS);
	}
	return wh_sim_fail("a flow never got through");
}

static int client(void *arg)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	for (int i = 0; i < FLOWS; i++)
		if (wh_spawn(&scope, run_flow, arg) < 0)
			wh_sim_fail("a client could not spawn");
	return wh_scope_close(&scope);
}

static int judge(const struct echo *echo)
{
	for (uint32_t id = 0; id < echo->flows; id++)
		if (echo->cut[id] && !echo->failed[id])
			return wh_sim_fail("flow %u ended early, without an error", id);
	return 0;
}

static int run(void *arg)
{
	struct echo *echo = calloc(1, sizeof(*echo));
	struct wh_scope scope;
	int r;

	if (!echo)
		return -ENOMEM;
	echo->cuts_short = planted(arg, "short");
	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, echo_serve, echo);
	if (r == 0)
		r = run_on_hosts(1, CLIENTS, client, echo);
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	if (r == 0)
		r = judge(echo);
	free(echo);
	return r;
}

static const struct wh_run_opts few_bufs = { .buf_count = 8, .buf_bytes = 2048 };

#define WORLD                                                                                      \
	{                                                                                          \
		.hosts = 1 + CLIENTS, .faults = "storm", .calm_after_ns = 2 * WH_SEC,              \
		.time_max_ns = 300 * WH_SEC, .run = &few_bufs,                                     \
	}

const struct wh_sim_scenario sim_echo = {
	.name = "echo",
	.about = "streams of bytes through an echo server",
	.fn = run,
	.opts = WORLD,
};

const struct wh_sim_scenario sim_echo_short = {
	.name = "echo:short",
	.about = "the server takes a short send for a whole one",
	.fn = run,
	.arg = (char[]){ "short" },
	.opts = WORLD,
};
