/*
 * Sending and receiving on stream sockets; making them and shutting them down.
 *
 * Invariants
 * 1. A request that waits is on its socket's list of receivers or senders, and is tried again, in
 *    order, whenever the socket changes.
 * 2. What was received stays readable after the connection has ended; its error comes after it,
 *    once; then the end of the stream.
 */
#include "backend/sim_net.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

#include "base/assert.h"

enum { SEGMENT_MAX = 16384 };

/* "It waits": no result. */
#define WAITS INT32_MIN

/* The memory of a transfer */

struct span {
	struct iovec one;
	const struct iovec *iov;
	size_t count;
	size_t len;
	int flags;
};

static void span_of(const struct whi_op *op, struct span *span)
{
	*span = (struct span){ .count = 1 };
	switch (op->kind) {
	case WHI_OP_RECVMSG:
	case WHI_OP_SENDMSG:
		span->iov = op->msg.msg->msg_iov;
		span->count = op->msg.msg->msg_iovlen;
		span->flags = op->msg.flags;
		break;
	case WHI_OP_READV:
	case WHI_OP_WRITEV:
		span->iov = op->vec.iov;
		span->count = op->vec.iov_count;
		break;
	default:
		span->one = (struct iovec){ op->rw.buf, op->rw.len };
		span->flags = op->kind == WHI_OP_READ || op->kind == WHI_OP_WRITE ? 0
										  : op->rw.flags;
		break;
	}
	if (!span->iov)
		span->iov = &span->one;
	for (size_t i = 0; i < span->count; i++)
		span->len += span->iov[i].iov_len;
}

/* Copy `len` bytes between `buf` and the span from `at` on. */
static void span_copy(const struct span *span, size_t at, char *buf, size_t len, bool into)
{
	for (size_t i = 0; i < span->count && len > 0; i++) {
		const struct iovec *iov = &span->iov[i];
		size_t part;

		if (at >= iov->iov_len) {
			at -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - at < len ? iov->iov_len - at : len;
		if (into)
			memcpy((char *)iov->iov_base + at, buf, part);
		else
			memcpy(buf, (char *)iov->iov_base + at, part);
		buf += part;
		len -= part;
		at = 0;
	}
}

static bool dont_wait(const struct whi_sim_req *req, int flags)
{
	return flags & MSG_DONTWAIT || req->file->flags & O_NONBLOCK;
}

/* Receiving */

/* Room has come about: take in what was held. */
static void take_in(struct whi_sim_sock *sock)
{
	uint32_t bytes = 0;

	while (!whi_list_empty(&sock->held)) {
		struct whi_sim_seg *seg = whi_container_of(sock->held.next, struct whi_sim_seg,
							   link);

		if (sock->rcv_bytes && sock->rcv_bytes + seg->len > sock->rcvbuf)
			break;
		whi_list_remove(&seg->link);
		whi_list_append(&sock->received, &seg->link);
		sock->rcv_bytes += seg->len;
		bytes += seg->len;
	}
	whi_sim_credit(sock, bytes);
}

/* Up to `len` bytes of what has been received, to place `at` of the span. */
static size_t take_bytes(struct whi_sim_sock *sock, const struct span *span, size_t at, size_t len)
{
	struct whi_list *node = sock->received.next;
	size_t taken = 0;

	while (taken < len && node != &sock->received) {
		struct whi_sim_seg *seg = whi_container_of(node, struct whi_sim_seg, link);
		size_t part = seg->len - seg->used;

		if (part > len - taken)
			part = len - taken;
		span_copy(span, at + taken, seg->data + seg->used, part, true);
		taken += part;
		node = node->next;
		if (span->flags & MSG_PEEK)
			continue;
		seg->used += (uint32_t)part;
		sock->rcv_bytes -= (uint32_t)part;
		if (seg->used == seg->len)
			whi_sim_seg_free(seg);
	}
	take_in(sock);
	return taken;
}

/* What there is to say when there are no bytes. */
static int without_bytes(const struct whi_sim_sock *sock)
{
	/* The peer has said that this is all: what comes after is for who sends. */
	if (sock->fin_received)
		return 0;
	if (sock->error)
		return sock->error;
	if (sock->shut_read || sock->state == WHI_SOCK_CLOSED)
		return 0;
	return sock->state == WHI_SOCK_CONNECTED ? WAITS : -ENOTCONN;
}

/* An error is told once. */
static void said(struct whi_sim_sock *sock, int result)
{
	if (result < 0 && result == sock->error)
		sock->error = 0;
}

static size_t maybe_short(struct whi_sim_req *req, size_t len)
{
	uint64_t draw = len > 1 ? whi_sim_strike(req->world, WHI_FAULT_SHORT, req) : 0;

	return draw ? 1 + draw % (len - 1) : len;
}

static int try_recv(struct whi_sim_sock *sock, struct whi_sim_req *req)
{
	struct span span;
	size_t want, there = sock->rcv_bytes;
	bool all;
	int r;

	span_of(req->op, &span);
	all = span.flags & MSG_WAITALL && !(span.flags & MSG_PEEK);
	want = span.len - req->done_bytes;
	if (want == 0)
		return (int)req->done_bytes;
	if (there == 0) {
		r = without_bytes(sock);
		if (r != WAITS && req->done_bytes)
			return (int)req->done_bytes;
		said(sock, r);
		return r == WAITS && dont_wait(req, span.flags) ? -EAGAIN : r;
	}
	want = want < there ? want : there;
	if (!all)
		want = maybe_short(req, want);
	req->done_bytes += take_bytes(sock, &span, req->done_bytes, want);
	if (req->op->kind == WHI_OP_RECVMSG) {
		req->op->msg.msg->msg_flags = 0;
		req->op->msg.msg->msg_namelen = 0;
		req->op->msg.msg->msg_controllen = 0;
	}
	return !all || req->done_bytes == span.len ? (int)req->done_bytes : WAITS;
}

/* One completion. True: the request goes on. */
static bool recv_multi_once(struct whi_sim_sock *sock, struct whi_sim_req *req)
{
	const struct whi_sim_buf *buf = NULL;
	struct span span = { .one = { 0 }, .count = 1 };
	size_t len;
	bool more;

	if (!whi_sim_strike(req->world, WHI_FAULT_ENOBUFS, req))
		buf = whi_sim_buf_take(req->ring);
	if (!buf) {
		whi_list_remove(&req->link);
		whi_sim_post(req, -ENOBUFS, 0);
		return false;
	}
	len = buf->len < sock->rcv_bytes ? buf->len : sock->rcv_bytes;
	len = maybe_short(req, len);
	span.one = (struct iovec){ buf->memory, len };
	span.iov = &span.one;
	take_bytes(sock, &span, 0, len);
	more = !req->op->once && !whi_sim_strike(req->world, WHI_FAULT_NOMORE, req);
	if (!more)
		whi_list_remove(&req->link);
	whi_sim_post_buffer(req, (int32_t)len,
			    WHI_OP_BUFFER | (more ? WHI_OP_MORE : 0) |
				    (sock->rcv_bytes ? WHI_OP_SOCK_MORE : 0),
			    buf->index);
	return more;
}

/* Kernels have been seen to hand out a buffer with nothing in it. */
static void end_multi(struct whi_sim_req *req, int result)
{
	const struct whi_sim_buf *buf = NULL;

	whi_list_remove(&req->link);
	if (req->ring->buf_count && whi_sim_strike(req->world, WHI_FAULT_EMPTY, req))
		buf = whi_sim_buf_take(req->ring);
	if (buf)
		whi_sim_post_buffer(req, result, WHI_OP_BUFFER, buf->index);
	else
		whi_sim_post(req, result, 0);
}

/* True: it waits. */
static bool serve_multi(struct whi_sim_sock *sock, struct whi_sim_req *req)
{
	int r;

	while (sock->rcv_bytes)
		if (!recv_multi_once(sock, req))
			return false;
	r = without_bytes(sock);
	if (r == WAITS)
		return true;
	said(sock, r);
	end_multi(req, r);
	return false;
}

static bool serve_receiver(struct whi_sim_sock *sock, struct whi_sim_req *req)
{
	int r;

	if (req->op->kind == WHI_OP_RECV_MULTI)
		return serve_multi(sock, req);
	r = try_recv(sock, req);
	if (r == WAITS)
		return true;
	whi_list_remove(&req->link);
	whi_sim_post(req, r, 0);
	return false;
}

void whi_sim_serve_receivers(struct whi_sim_sock *sock)
{
	if (sock->state == WHI_SOCK_LISTENING)
		return;
	while (!whi_list_empty(&sock->receivers) &&
	       !serve_receiver(sock,
			       whi_container_of(sock->receivers.next, struct whi_sim_req, link)))
		;
}

static bool is_socket(struct whi_sim_req *req)
{
	if (req->file->kind == WHI_SIM_SOCKET)
		return true;
	whi_sim_post(req, -ENOTSOCK, 0);
	return false;
}

void whi_sim_recv(struct whi_sim_req *req)
{
	struct whi_sim_sock *sock = whi_sim_sock_of(req->file);

	if (!is_socket(req))
		return;
	whi_list_append(&sock->receivers, &req->link);
	if (sock->type == SOCK_DGRAM)
		whi_sim_serve_datagrams(sock);
	else if (sock->state == WHI_SOCK_LISTENING)
		whi_sim_post(req, -ENOTCONN, 0);
	else
		whi_sim_serve_receivers(sock);
}

/* Sending */

/* Why nothing can be sent, for ever; 0: it can. */
static int cannot_send(const struct whi_sim_sock *sock)
{
	if (sock->state == WHI_SOCK_CONNECTED && !sock->fin_sent && !sock->error)
		return 0;
	if (sock->error)
		return sock->error;
	if (sock->state == WHI_SOCK_CLOSED || sock->fin_sent || sock->domain != AF_UNIX)
		return -EPIPE;
	return -ENOTCONN;
}

static void send_part(struct whi_sim_sock *sock, struct whi_sim_req *req, const struct span *span,
		      size_t len)
{
	struct whi_sim_seg *seg = whi_sim_seg_new(sock, sock->peer, WHI_SEG_DATA, (uint32_t)len);

	span_copy(span, req->done_bytes, seg->data, len, false);
	req->done_bytes += len;
	sock->unacked += (uint32_t)len;
	whi_sim_seg_send(seg);
}

/* MSG_WAITALL goes on by itself, unless something comes in between. */
static bool ends_early(const struct whi_sim_req *req)
{
	return req->done_bytes && whi_sim_strike(req->world, WHI_FAULT_SHORT, req);
}

static int try_send(struct whi_sim_sock *sock, struct whi_sim_req *req)
{
	struct span span;
	size_t limit;
	bool all;
	int r = 0;

	span_of(req->op, &span);
	all = span.flags & MSG_WAITALL && !req->op->quiet;
	limit = all ? span.len : maybe_short(req, span.len);
	while (req->done_bytes < limit && (r = cannot_send(sock)) == 0 &&
	       sock->unacked < sock->sndbuf) {
		size_t len = limit - req->done_bytes;

		len = len < SEGMENT_MAX ? len : SEGMENT_MAX;
		len = len < sock->sndbuf - sock->unacked ? len : sock->sndbuf - sock->unacked;
		send_part(sock, req, &span, len);
	}
	if (r < 0 && req->done_bytes)
		return (int)req->done_bytes;
	said(sock, r);
	if (r < 0)
		return r;
	if (req->done_bytes == limit || (req->done_bytes && !all))
		return (int)req->done_bytes;
	if (!dont_wait(req, span.flags))
		return ends_early(req) ? (int)req->done_bytes : WAITS;
	return req->done_bytes ? (int)req->done_bytes : -EAGAIN;
}

void whi_sim_serve_senders(struct whi_sim_sock *sock)
{
	while (!whi_list_empty(&sock->senders)) {
		struct whi_sim_req *req = whi_container_of(sock->senders.next, struct whi_sim_req,
							   link);
		int r = try_send(sock, req);

		if (r == WAITS)
			return;
		whi_list_remove(&req->link);
		whi_sim_post(req, r, 0);
	}
}

void whi_sim_send(struct whi_sim_req *req)
{
	struct whi_sim_sock *sock = whi_sim_sock_of(req->file);
	int r;

	if (!is_socket(req))
		return;
	if (sock->type == SOCK_DGRAM) {
		whi_sim_dgram_send(req);
		return;
	}
	r = try_send(sock, req);
	if (r == WAITS)
		whi_list_append(&sock->senders, &req->link);
	else
		whi_sim_post(req, r, 0);
}

/* A transfer that has begun says how far it came. */
int whi_sim_net_cancel(struct whi_sim_req *req)
{
	whi_list_remove(&req->link);
	return req->done_bytes ? (int)req->done_bytes : -ECANCELED;
}

/* Small calls */

int whi_sim_socket_now(struct whi_sim_host *host, const struct whi_op *op)
{
	int type = op->socket.type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
	int domain = op->socket.domain;
	struct whi_sim_sock *sock;

	if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX)
		return -EAFNOSUPPORT;
	if (type != SOCK_STREAM && type != SOCK_DGRAM)
		return -EPROTONOSUPPORT;
	if (!whi_sim_fd_room(host))
		return -EMFILE;
	sock = whi_sim_sock_new(host, domain, type);
	sock->file.flags = O_RDWR | (op->socket.type & SOCK_NONBLOCK ? O_NONBLOCK : 0);
	return whi_sim_fd_new(host, &sock->file);
}

int whi_sim_shutdown_now(struct whi_sim_host *host, const struct whi_op *op)
{
	int r, how = op->arg.value;
	struct whi_sim_sock *sock = whi_sim_find_socket(host, op->fd, &r);

	if (r < 0)
		return r;
	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return -EINVAL;
	if (sock->state != WHI_SOCK_CONNECTED)
		return -ENOTCONN;
	if (how != SHUT_RD && !sock->fin_sent) {
		sock->fin_sent = true;
		whi_sim_seg_tell(sock, sock->peer, WHI_SEG_FIN);
		whi_sim_serve_senders(sock);
	}
	if (how != SHUT_WR) {
		sock->shut_read = true;
		whi_sim_serve_receivers(sock);
	}
	whi_sim_sock_changed(sock);
	return 0;
}
