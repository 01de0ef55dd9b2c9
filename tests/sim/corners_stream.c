/*
 * The Unix sockets of the corners scenario: who connects names a transfer, gets its bytes, and then
 * the end. Some senders have little time, some are closed by another task while they send.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#include "sim/corners.h"

enum { PIECE_MAX = 7000 };

#define CLOSING_MAX_NS (5 * WH_SEC)

static const char *const addresses[] = { [PATH] = "unix:/socket", [NAME] = "unix:@name" };

/* Sending */

static ssize_t send_piece(struct wh_sock *sock, const uint8_t *bytes, size_t len)
{
	size_t half = wh_sim_random(len);
	struct iovec iov[] = { { (void *)(uintptr_t)bytes, half },
			       { (void *)(uintptr_t)(bytes + half), len - half } };
	const struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	return wh_sim_random(2) ? wh_sock_send(sock, bytes, len) : wh_sock_sendmsg(sock, &msg, 0);
}

static void send_under_deadline(struct wh_sock *sock, const uint8_t *bytes, struct transfer *it)
{
	struct wh_scope scope;
	size_t at = 0;
	ssize_t r = 0;

	wh_scope_open(&scope, &(struct wh_scope_opts){
				      .timeout_ns = wh_sim_random(3) ? 0 : between(1, 5 * WH_MS) });
	while (r >= 0 && at < it->len) {
		size_t len = between(1, PIECE_MAX);

		r = documented(CALL_SEND, send_piece(sock, bytes + at,
						     len < it->len - at ? len : it->len - at));
		at += r > 0 ? (size_t)r : 0;
	}
	wh_scope_close(&scope);
	it->sent = wh_sock_bytes_sent(sock);
	if (it->sent < at || it->sent > it->len || (r >= 0 && it->sent != at))
		wh_sim_fail("%zu bytes were sent, wh_sock_bytes_sent says %zu", at, it->sent);
}

struct sending {
	struct wh_sock *sock;
	const uint8_t *bytes;
	size_t len;
};

static int send_at_once(void *arg)
{
	struct sending *sending = arg;
	ssize_t r = wh_sock_send(sending->sock, sending->bytes, sending->len);

	if (r != -ECANCELED)
		documented(CALL_SEND, r);
	return 0;
}

static void close_while_sending(struct wh_sock *sock, const uint8_t *bytes, struct transfer *it)
{
	struct sending sending = { sock, bytes, it->len };
	struct wh_scope scope;
	uint64_t begun_ns;

	wh_scope_open(&scope, NULL);
	if (wh_spawn(&scope, send_at_once, &sending) < 0)
		wh_sim_fail("a sender could not be spawned");
	pause_up_to(5 * WH_MS);
	begun_ns = wh_now_ns();
	wh_sock_close(sock);
	wh_scope_close(&scope);
	if (wh_now_ns() - begun_ns > CLOSING_MAX_NS)
		wh_sim_fail("closing waited for a peer that does not read");
	it->closed = true;
}

static int answer(struct wh_sock *sock, void *arg)
{
	struct corners *corners = arg;
	struct transfer *it;
	uint32_t id;

	if (recv_exactly(sock, &id, sizeof(id)) < 0) {
		wh_sock_close(sock);
		return 0;
	}
	it = &corners->transfers[id];
	if (it->blind) {
		close_while_sending(sock, corners->bytes + it->from, it);
		return 0;
	}
	send_under_deadline(sock, corners->bytes + it->from, it);
	wh_sock_close(sock);
	return 0;
}

int corners_serve(void *arg)
{
	struct worker *worker = arg;
	struct wh_listener *listener;
	struct wh_addr addr;

	wh_addr_parse(addresses[worker->part], &addr);
	if (listen_at(&addr, &listener) < 0)
		return 0;
	wh_serve(listener, answer, worker->corners, NULL);
	wh_listener_close(listener);
	return 0;
}

/* Receiving */

static ssize_t poll_and_receive(struct wh_sock *sock, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r = documented(CALL_POLL, wh_fd_poll(wh_sock_fd(sock), POLLIN));

	if (r == 0 || (r > 0 && !(r & (POLLIN | POLLERR | POLLHUP))))
		return wh_sim_fail("wh_fd_poll returned %zd", r);
	return r < 0 ? r : documented(CALL_RECV, wh_sock_recvmsg(sock, &msg, MSG_DONTWAIT));
}

/* 0 if everything came. */
static int receive(struct wh_sock *sock, const uint8_t *bytes, const struct transfer *it)
{
	uint64_t begun_ns = wh_now_ns();
	uint8_t buf[PIECE_MAX];
	size_t got = 0;
	ssize_t r = 1;

	while (it->blind && !it->closed && wh_now_ns() - begun_ns < 2 * CLOSING_MAX_NS)
		if (wh_sleep(WH_MS) < 0)
			break;
	while (r > 0) {
		r = poll_and_receive(sock, buf, between(1, sizeof(buf)));
		if (r <= 0)
			break;
		if (got + (size_t)r > it->len || memcmp(buf, bytes + got, (size_t)r) != 0)
			return wh_sim_fail("wrong bytes after %zu", got);
		got += (size_t)r;
	}
	if (r == 0 && !it->blind && got != it->sent)
		return wh_sim_fail("%zu bytes were sent and %zu came", it->sent, got);
	return r < 0 || (got < it->len && !it->blind) ? -EPIPE : 0;
}

int corners_converse(struct worker *worker)
{
	struct corners *corners = worker->corners;
	uint32_t id = corners->tries++;
	struct transfer *it = &corners->transfers[id];
	struct wh_sock *sock;
	struct wh_addr addr;
	int r;

	*it = (struct transfer){ .from = wh_sim_random(CORNERS_LEN_MAX),
				 .len = between(1, CORNERS_LEN_MAX),
				 .blind = wh_sim_random(4) == 0 };
	wh_addr_parse(addresses[worker->part], &addr);
	r = wh_connect(&addr, &sock);
	if (r < 0)
		return r == -ENOENT ? r : (int)documented(CALL_CONNECT, r);
	r = send_all(sock, &id, sizeof(id));
	if (r == 0)
		r = receive(sock, corners->bytes + it->from, it);
	wh_sock_close(sock);
	return r;
}
