/*
 * The services of the stressed server. Every error that a call returns is held against the list in
 * its header.
 */
#include "stress/services.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/exec.h>
#include <whorl/scope.h>
#include <whorl/task.h>

enum { VAST_BYTES = 256 * 1024 };

struct tally tally;

static struct wh_executor *executor;
static uint64_t idle_timeout_ns;
static char stream_bytes[STREAM_PERIOD];

void services_init(struct wh_executor *executor_to_use, uint64_t idle_ns)
{
	executor = executor_to_use;
	idle_timeout_ns = idle_ns;
	for (size_t i = 0; i < STREAM_PERIOD; i++)
		stream_bytes[i] = (char)(i * 7 + i / 256);
}

/* Receiving and sending document the same ones, but for these two. */
static bool documented(int error, bool sending)
{
	if (error == -EPIPE)
		return sending;
	if (error == -ENOTCONN)
		return !sending;
	return error == -ECONNRESET || error == -ECANCELED || error == -ETIMEDOUT;
}

static void ended(ssize_t result, bool sending)
{
	int none = 0;

	if (result >= 0)
		return;
	tally.errors++;
	if (documented((int)result, sending))
		return;
	tally.surprises++;
	atomic_compare_exchange_strong(&tally.first_surprise, &none, (int)result);
}

static void begin(void)
{
	tally.connections++;
	tally.accepted++;
}

static int leave(struct wh_sock *sock)
{
	wh_sock_close(sock);
	tally.connections--;
	return 0;
}

static int echo(struct wh_sock *sock, void *arg)
{
	struct wh_view view = { 0 };
	ssize_t r, sent = 0;

	(void)arg;
	begin();
	while ((r = wh_sock_recv_view(sock, &view)) > 0) {
		sent = wh_sock_send_view(sock, &view);
		if (sent < 0)
			break;
		tally.bytes += (uint64_t)sent;
	}
	ended(r, false);
	if (r == 0)
		sent = wh_sock_flush(sock);
	ended(sent, true);
	wh_view_release(&view);
	return leave(sock);
}

/* Frames */

static ssize_t receive_all(struct wh_sock *sock, void *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t r = wh_sock_recv(sock, (char *)buf + got, len - got);

		if (r <= 0)
			return r;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

struct body {
	const char *bytes;
	size_t len;
};

static int add_up(void *arg)
{
	const struct body *body = arg;
	unsigned sum = 0;

	for (int round = 0; round < 4; round++)
		for (size_t i = 0; i < body->len; i++)
			sum = sum * 31 + (unsigned char)body->bytes[i];
	return (int)(sum >> 1);
}

static int act(unsigned action, const char *bytes, size_t len)
{
	struct body body = { bytes, len };

	switch ((enum frame_action)action) {
	case FRAME_BACK:
		return 0;
	case FRAME_SLEEP:
		return wh_sleep(WH_MS);
	case FRAME_OFFLOAD:
		return wh_offload(executor, add_up, &body, NULL);
	case FRAME_ACTIONS:
		break;
	}
	return -EPROTO;
}

/* 1: there may be more; otherwise how the connection ends. */
static ssize_t one_frame(struct wh_sock *sock, char *frame)
{
	uint32_t head;
	size_t len;
	ssize_t r = receive_all(sock, frame, sizeof(head));

	ended(r, false);
	if (r <= 0)
		return r;
	memcpy(&head, frame, sizeof(head));
	len = head & FRAME_LEN_MASK;
	if (len == 0 || len > FRAME_BODY_MAX || head >> FRAME_ACTION_SHIFT >= FRAME_ACTIONS)
		return -EPROTO;
	r = receive_all(sock, frame + sizeof(head), len);
	ended(r, false);
	if (r <= 0)
		return r;
	r = act(head >> FRAME_ACTION_SHIFT, frame + sizeof(head), len);
	if (r < 0)
		return r;
	r = wh_sock_send(sock, frame, sizeof(head) + len);
	ended(r, true);
	if (r < 0)
		return r;
	tally.bytes += (uint64_t)r;
	return 1;
}

static int frames(struct wh_sock *sock, void *arg)
{
	char *frame = malloc(sizeof(uint32_t) + FRAME_BODY_MAX);
	struct wh_scope scope;
	ssize_t r = frame ? 1 : -ENOMEM;

	(void)arg;
	begin();
	while (r > 0) {
		wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = idle_timeout_ns });
		r = one_frame(sock, frame);
		wh_scope_close(&scope);
	}
	free(frame);
	return leave(sock);
}

static int stream(struct wh_sock *sock, void *arg)
{
	ssize_t r;

	(void)arg;
	begin();
	do {
		r = wh_sock_send(sock, stream_bytes, sizeof(stream_bytes));
		if (r > 0)
			tally.bytes += (uint64_t)r;
	} while (r > 0);
	ended(r, true);
	return leave(sock);
}

/* Overflows */

/* Small frames, so that none steps over the guard. */
__attribute__((noinline)) static int recurse(int depth)
{
	volatile char frame[256];

	frame[0] = (char)depth;
	return depth < 0 ? 0 : recurse(depth + 1) + frame[0];
}

static int overflow(struct wh_sock *sock, void *arg)
{
	(void)arg;
	begin();
	recurse(0);
	return leave(sock);
}

/* A frame larger than the stack: the compiler probes it page by page, see stress.cmake. */
__attribute__((noinline)) static int use_vast_frame(int at)
{
	volatile char frame[VAST_BYTES];

	frame[at] = 1;
	return frame[at];
}

static int vast(struct wh_sock *sock, void *arg)
{
	(void)arg;
	begin();
	use_vast_frame(0);
	return leave(sock);
}

const struct service services[] = {
	{ "echo", echo },	  { "frames", frames }, { "stream", stream },
	{ "overflow", overflow }, { "vast", vast },	{ 0 },
};
