/*
 * Datagrams: they arrive whole, or not at all, in any order. A receive buffer that is full drops
 * what arrives.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

#include "backend/sim_net.h"

enum { DATAGRAM_MAX = 65507 };

static size_t message_of(const struct whi_op *op, struct iovec *one, struct msghdr *ret)
{
	size_t len = 0;

	if (op->kind == WHI_OP_SENDMSG || op->kind == WHI_OP_RECVMSG) {
		*ret = *op->msg.msg;
	} else if (op->kind == WHI_OP_READV || op->kind == WHI_OP_WRITEV) {
		*ret = (struct msghdr){ .msg_iov = (struct iovec *)(uintptr_t)op->vec.iov,
					.msg_iovlen = op->vec.iov_count };
	} else {
		*one = (struct iovec){ op->rw.buf, op->rw.len };
		*ret = (struct msghdr){ .msg_iov = one, .msg_iovlen = 1 };
	}
	for (size_t i = 0; i < ret->msg_iovlen; i++)
		len += ret->msg_iov[i].iov_len;
	return len;
}

static int send_datagram(struct whi_sim_req *req)
{
	struct whi_sim_sock *sock = whi_sim_sock_of(req->file);
	struct whi_sim_addr dest = sock->remote;
	struct whi_sim_seg *seg;
	struct iovec one;
	struct msghdr msg;
	size_t len = message_of(req->op, &one, &msg);
	char *to;
	int r = 0;

	if (msg.msg_name)
		r = whi_sim_addr_read(req->host, msg.msg_name, msg.msg_namelen, &dest);
	if (r < 0)
		return r;
	if (dest.family == 0)
		return sock->domain == AF_UNIX ? -ENOTCONN : -EDESTADDRREQ;
	if (len > DATAGRAM_MAX)
		return -EMSGSIZE;
	if (sock->domain != AF_UNIX && sock->local.family == 0)
		r = whi_sim_bind_port(sock);
	if (r < 0)
		return -EAGAIN;
	if (sock->domain == AF_UNIX && !whi_sim_find_bound(sock->world, &dest, SOCK_DGRAM))
		return -ECONNREFUSED;
	seg = whi_sim_seg_new(sock, NULL, WHI_SEG_DATAGRAM, (uint32_t)len);
	seg->dest = dest;
	seg->to_host = dest.host;
	to = seg->data;
	for (size_t i = 0; i < msg.msg_iovlen; i++) {
		memcpy(to, msg.msg_iov[i].iov_base, msg.msg_iov[i].iov_len);
		to += msg.msg_iov[i].iov_len;
	}
	if (sock->domain != AF_UNIX && whi_sim_strike(req->world, WHI_FAULT_DROP, req))
		whi_sim_seg_free(seg);
	else
		whi_sim_seg_send(seg);
	return (int)len;
}

void whi_sim_dgram_send(struct whi_sim_req *req)
{
	whi_sim_post(req, send_datagram(req), 0);
}

void whi_sim_dgram_arrived(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *to = whi_sim_find_bound(seg->from->world, &seg->dest, SOCK_DGRAM);

	if (!to ||
	    (to->remote.family && !(to->remote.port == seg->from->local.port &&
				    to->remote.host == seg->from->local.host)) ||
	    to->rcv_bytes + seg->len > to->rcvbuf) {
		whi_sim_seg_free(seg);
		return;
	}
	whi_list_append(&to->received, &seg->link);
	to->rcv_bytes += seg->len;
	whi_sim_serve_datagrams(to);
	whi_sim_sock_changed(to);
}

static int receive(struct whi_sim_req *req, struct whi_sim_seg *seg)
{
	const struct whi_op *op = req->op;
	struct iovec one;
	struct msghdr msg;
	size_t len = message_of(op, &one, &msg);
	const char *from = seg->data;
	size_t left = seg->len < len ? seg->len : len;
	int r = (int)left;

	for (size_t i = 0; left > 0; i++) {
		size_t part = msg.msg_iov[i].iov_len < left ? msg.msg_iov[i].iov_len : left;

		memcpy(msg.msg_iov[i].iov_base, from, part);
		from += part;
		left -= part;
	}
	if (op->kind != WHI_OP_RECVMSG)
		return r;
	op->msg.msg->msg_flags = seg->len > len ? MSG_TRUNC : 0;
	op->msg.msg->msg_controllen = 0;
	if (op->msg.msg->msg_name)
		whi_sim_addr_write(&seg->from->local, seg->from->domain, op->msg.msg->msg_name,
				   &op->msg.msg->msg_namelen);
	return r;
}

/* A multishot receive: a buffer a datagram. */
static int receive_buffer(struct whi_sim_req *req, struct whi_sim_seg *seg, uint16_t *ret)
{
	const struct whi_sim_buf *buf = whi_sim_buf_take(req->ring);
	uint32_t len;

	if (!buf)
		return -ENOBUFS;
	len = seg->len < buf->len ? seg->len : buf->len;
	memcpy(buf->memory, seg->data, len);
	*ret = buf->index;
	return (int)len;
}

static bool must_wait(const struct whi_sim_req *req)
{
	int flags = req->op->kind == WHI_OP_RECVMSG ? req->op->msg.flags
		    : req->op->kind == WHI_OP_RECV  ? req->op->rw.flags
						    : 0;

	return !(flags & MSG_DONTWAIT) && !(req->file->flags & O_NONBLOCK);
}

static void take(struct whi_sim_sock *sock, struct whi_sim_req *req)
{
	struct whi_sim_seg *seg = whi_container_of(sock->received.next, struct whi_sim_seg, link);
	bool multi = req->op->kind == WHI_OP_RECV_MULTI;
	uint16_t buffer = 0;
	int r = multi ? receive_buffer(req, seg, &buffer) : receive(req, seg);
	bool more = multi && r >= 0 && !req->op->once &&
		    !whi_sim_strike(req->world, WHI_FAULT_NOMORE, req);

	if (r >= 0) {
		sock->rcv_bytes -= seg->len;
		whi_sim_seg_free(seg);
	}
	if (!more)
		whi_list_remove(&req->link);
	whi_sim_post_buffer(
		req, r, (more ? WHI_OP_MORE : 0) | (multi && r >= 0 ? WHI_OP_BUFFER : 0), buffer);
}

void whi_sim_serve_datagrams(struct whi_sim_sock *sock)
{
	while (!whi_list_empty(&sock->receivers)) {
		struct whi_sim_req *req = whi_container_of(sock->receivers.next, struct whi_sim_req,
							   link);

		if (!whi_list_empty(&sock->received)) {
			take(sock, req);
		} else if (must_wait(req)) {
			return;
		} else {
			whi_list_remove(&req->link);
			whi_sim_post(req, -EAGAIN, 0);
		}
	}
}
