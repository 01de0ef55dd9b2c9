/*
 * How connections come about: the handshake of TCP with its segments, Unix sockets at once; and how
 * they are accepted.
 *
 * Invariant: `pending` of a listener counts its embryos and the connections in its queue, and is at
 * most `backlog`. A segment that asks for one more is lost, and asked again after a second.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "backend/sim_net.h"
#include "base/assert.h"

#define RETRY_NS WH_SEC

/* The end of an attempt */

void whi_sim_connected(struct whi_sim_sock *sock, int result)
{
	struct whi_sim_req *req = sock->connector;

	sock->state = result == 0 ? WHI_SOCK_CONNECTED : WHI_SOCK_NEW;
	sock->connector = NULL;
	whi_sim_event_unset(sock->world, &sock->retry);
	whi_sim_event_unset(sock->world, &sock->timer);
	if (req)
		whi_sim_post(req, result, 0);
	else
		sock->error = result;
	whi_sim_sock_changed(sock);
}

void whi_sim_timer_fired(struct whi_sim_event *event)
{
	struct whi_sim_sock *sock = whi_container_of(event, struct whi_sim_sock, timer);

	if (sock->state == WHI_SOCK_CONNECTING)
		whi_sim_connected(sock, -ETIMEDOUT);
	else if (sock->state == WHI_SOCK_CONNECTED)
		whi_sim_sock_end(sock, sock->reset_comes ? -ECONNRESET : -ETIMEDOUT);
}

/* The handshake */

static void ask(struct whi_sim_sock *sock)
{
	struct whi_sim_seg *seg = whi_sim_seg_new(sock, NULL, WHI_SEG_SYN, 0);

	seg->dest = sock->remote;
	seg->to_host = sock->remote.host;
	whi_sim_seg_send(seg);
	whi_sim_event_set(sock->world, &sock->retry, RETRY_NS);
}

void whi_sim_retry_fired(struct whi_sim_event *event)
{
	struct whi_sim_sock *sock = whi_container_of(event, struct whi_sim_sock, retry);

	if (sock->state == WHI_SOCK_CONNECTING)
		ask(sock);
}

/* A connection's other end, on the listener's side. */
static struct whi_sim_sock *new_child(struct whi_sim_sock *listener, struct whi_sim_sock *client)
{
	struct whi_sim_sock *child = whi_sim_sock_new(listener->file.host, listener->domain,
						      listener->type);

	child->state = WHI_SOCK_EMBRYO;
	child->local = listener->local;
	child->local.any = false;
	child->remote = client->local;
	memcpy(child->options, listener->options, sizeof(child->options));
	child->listener = listener;
	whi_sim_sock_ref(listener);
	listener->pending++;
	return child;
}

/* A segment that was sent again may find its connection there already. */
static bool has_child(const struct whi_sim_sock *listener, const struct whi_sim_sock *client)
{
	struct whi_list *head = &listener->file.host->sockets;

	for (struct whi_list *node = head->next; node != head; node = node->next)
		if (whi_container_of(node, struct whi_sim_sock, link)->peer == client)
			return true;
	return false;
}

void whi_sim_syn_arrived(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *client = seg->from, *listener, *child;

	if (client->state == WHI_SOCK_CONNECTING) {
		listener = whi_sim_find_bound(client->world, &seg->dest, SOCK_STREAM);
		if (!listener || listener->state != WHI_SOCK_LISTENING) {
			struct whi_sim_seg *answer = whi_sim_seg_new(client, client,
								     WHI_SEG_REFUSED, 0);

			answer->from_host = seg->to_host;
			whi_sim_seg_send(answer);
		} else if (listener->pending < listener->backlog && !has_child(listener, client)) {
			child = new_child(listener, client);
			child->peer = client;
			whi_sim_sock_ref(client);
			whi_sim_seg_tell(child, client, WHI_SEG_SYNACK);
		}
	}
	whi_sim_seg_free(seg);
}

void whi_sim_synack_arrived(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *client = seg->to, *child = seg->from;

	if (client->state == WHI_SOCK_CONNECTING && child->state == WHI_SOCK_EMBRYO) {
		client->peer = child;
		whi_sim_sock_ref(child);
		/* The host behind it may have crashed meanwhile. */
		if (child->stale)
			client->silent_host = child->file.host->index + 1;
		whi_sim_connected(client, 0);
		if (child->stale)
			whi_sim_event_set(client->world, &client->timer, WHI_SIM_SILENCE_NS);
		whi_sim_seg_tell(client, child, WHI_SEG_ESTABLISHED);
	} else if (child->state == WHI_SOCK_EMBRYO) {
		whi_sim_seg_tell(client, child, WHI_SEG_RST);
	}
	whi_sim_seg_free(seg);
}

static void enqueue(struct whi_sim_sock *child)
{
	struct whi_sim_sock *listener = child->listener;

	child->state = WHI_SOCK_CONNECTED;
	whi_list_append(&listener->accepted, &child->accept_link);
	whi_sim_serve_accepts(listener);
	whi_sim_sock_changed(listener);
}

void whi_sim_established(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *child = seg->to;

	if (child->state == WHI_SOCK_EMBRYO && child->listener->state == WHI_SOCK_LISTENING)
		enqueue(child);
	else if (child->state == WHI_SOCK_EMBRYO)
		whi_sim_sock_reset(child, 0);
	whi_sim_seg_free(seg);
}

/* Connecting */

static int connect_unix(struct whi_sim_sock *sock)
{
	struct whi_sim_sock *listener = whi_sim_find_bound(sock->world, &sock->remote, sock->type);
	struct whi_sim_sock *child;
	char path[sizeof(sock->remote.name) + 1] = "";
	uint64_t inode;
	int r = 0;

	memcpy(path, sock->remote.name, sock->remote.name_len);
	if (path[0])
		r = whi_sim_disk_find_socket(sock->file.host, path, &inode);
	if (r < 0)
		return r;
	if (!listener || listener->state != WHI_SOCK_LISTENING)
		return -ECONNREFUSED;
	if (listener->pending >= listener->backlog)
		return -EAGAIN;
	child = new_child(listener, sock);
	whi_sim_sock_pair(sock, child);
	sock->state = WHI_SOCK_CONNECTED;
	enqueue(child);
	return 0;
}

/* 0: connected; -EINPROGRESS: on its way. */
static int start(struct whi_sim_sock *sock, const struct whi_op *op)
{
	struct whi_sim_addr remote;
	int r = whi_sim_addr_read(sock->file.host, op->addr.addr, op->addr.len, &remote);

	if (r == 0 && remote.family != sock->domain)
		r = -EAFNOSUPPORT;
	if (r < 0)
		return r;
	if (sock->type == SOCK_DGRAM) {
		if (sock->domain != AF_UNIX && sock->local.family == 0)
			r = whi_sim_bind_port(sock);
		sock->remote = remote;
		return r;
	}
	if (sock->state == WHI_SOCK_CONNECTED)
		return -EISCONN;
	if (sock->state == WHI_SOCK_CONNECTING)
		return -EALREADY;
	if (sock->state != WHI_SOCK_NEW)
		return -EINVAL;
	sock->remote = remote;
	if (sock->domain == AF_UNIX)
		return connect_unix(sock);
	if (sock->local.family == 0)
		r = whi_sim_bind_port(sock);
	if (r < 0)
		return r == -EADDRINUSE ? -EADDRNOTAVAIL : r;
	sock->state = WHI_SOCK_CONNECTING;
	whi_sim_event_set(sock->world, &sock->timer, WHI_SIM_SILENCE_NS);
	ask(sock);
	return -EINPROGRESS;
}

int whi_sim_connect_now(struct whi_sim_host *host, const struct whi_op *op)
{
	struct whi_sim_file *file = whi_sim_fd_get(host, op->fd);

	if (!file || file->kind != WHI_SIM_SOCKET)
		return file ? -ENOTSOCK : -EBADF;
	return start(whi_sim_sock_of(file), op);
}

static void refused(struct whi_sim_req *req)
{
	whi_sim_post(req, -ECONNREFUSED, 0);
}

/* A Unix socket whose listener has no room: it waits. */
static void connect_again(struct whi_sim_req *req)
{
	int r = connect_unix(whi_sim_sock_of(req->file));

	if (r == -EAGAIN)
		whi_sim_after(req, WH_MS, connect_again);
	else
		whi_sim_post(req, r, 0);
}

void whi_sim_connect(struct whi_sim_req *req)
{
	struct whi_sim_sock *sock;
	int r;

	if (req->file->kind != WHI_SIM_SOCKET) {
		whi_sim_post(req, -ENOTSOCK, 0);
		return;
	}
	sock = whi_sim_sock_of(req->file);
	if (sock->type == SOCK_STREAM && sock->state == WHI_SOCK_NEW &&
	    whi_sim_strike(req->world, WHI_FAULT_REFUSE, req)) {
		whi_sim_after(req, 2 * sock->world->wires[0].link.latency_ns, refused);
		return;
	}
	r = start(sock, req->op);
	if (r == -EAGAIN && !(sock->file.flags & O_NONBLOCK))
		whi_sim_after(req, WH_MS, connect_again);
	else if (r == -EINPROGRESS && !(sock->file.flags & O_NONBLOCK))
		sock->connector = req;
	else
		whi_sim_post(req, r, 0);
}

int whi_sim_connect_cancel(struct whi_sim_req *req)
{
	struct whi_sim_sock *sock = whi_sim_sock_of(req->file);

	if (sock->connector != req)
		return -ECANCELED;
	sock->connector = NULL;
	sock->state = WHI_SOCK_NEW;
	whi_sim_event_unset(sock->world, &sock->retry);
	whi_sim_event_unset(sock->world, &sock->timer);
	return -ECANCELED;
}

/* Listening and accepting */

enum { BACKLOG_MAX = 4096 }; /* somaxconn */

int whi_sim_listen_now(struct whi_sim_host *host, const struct whi_op *op)
{
	struct whi_sim_file *file = whi_sim_fd_get(host, op->fd);
	struct whi_sim_sock *sock, *other;

	if (!file || file->kind != WHI_SIM_SOCKET)
		return file ? -ENOTSOCK : -EBADF;
	sock = whi_sim_sock_of(file);
	if (sock->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	if (sock->state != WHI_SOCK_NEW && sock->state != WHI_SOCK_LISTENING)
		return -EINVAL;
	if (sock->local.family == 0) {
		int r = sock->domain == AF_UNIX ? -EINVAL : whi_sim_bind_port(sock);

		if (r < 0)
			return r;
	}
	other = whi_sim_find_bound(host->world, &sock->local, SOCK_STREAM);
	if (other && other != sock && other->state == WHI_SOCK_LISTENING &&
	    !(sock->reuse_port && other->reuse_port))
		return -EADDRINUSE;
	sock->state = WHI_SOCK_LISTENING;
	sock->backlog = op->arg.value < 0 || op->arg.value > BACKLOG_MAX
				? BACKLOG_MAX
				: (uint32_t)op->arg.value + 1;
	return 0;
}

static void release_child(struct whi_sim_sock *child)
{
	struct whi_sim_sock *listener = child->listener;

	whi_assert(listener);
	whi_list_remove(&child->accept_link);
	child->listener = NULL;
	listener->pending--;
	whi_sim_sock_unref(listener);
}

/* The first connection of the queue gets a descriptor. */
static int accept_first(struct whi_sim_sock *listener, const struct whi_op *op)
{
	struct whi_sim_sock *child = whi_container_of(listener->accepted.next, struct whi_sim_sock,
						      accept_link);
	int fd = whi_sim_fd_new(listener->file.host, &child->file);

	if (fd < 0)
		return fd;
	if (op->addr.flags & SOCK_NONBLOCK)
		child->file.flags |= O_NONBLOCK;
	child->file.flags |= O_RDWR;
	if (op->kind == WHI_OP_ACCEPT && op->addr.addr)
		whi_sim_addr_write(&child->remote, child->domain, op->addr.addr, op->addr.len_ptr);
	release_child(child);
	return fd;
}

/* Gone before anybody took it. */
static int abort_first(struct whi_sim_sock *listener)
{
	struct whi_sim_sock *child = whi_container_of(listener->accepted.next, struct whi_sim_sock,
						      accept_link);

	release_child(child);
	whi_sim_sock_reset(child, 0);
	whi_sim_sock_unref(child);
	return -ECONNABORTED;
}

static int accept_for(struct whi_sim_sock *listener, struct whi_sim_req *req)
{
	if (whi_sim_strike(req->world, WHI_FAULT_ABORTED, req))
		return abort_first(listener);
	if (whi_sim_strike(req->world, WHI_FAULT_EMFILE, req))
		return -EMFILE;
	return accept_first(listener, req->op);
}

void whi_sim_serve_accepts(struct whi_sim_sock *listener)
{
	while (!whi_list_empty(&listener->receivers) && !whi_list_empty(&listener->accepted)) {
		struct whi_sim_req *req = whi_container_of(listener->receivers.next,
							   struct whi_sim_req, link);
		int r = accept_for(listener, req);
		bool more = req->op->kind == WHI_OP_ACCEPT_MULTI && r >= 0 &&
			    !whi_sim_strike(req->world, WHI_FAULT_NOMORE, req);

		if (!more)
			whi_list_remove(&req->link);
		whi_sim_post(req, r, more ? WHI_OP_MORE : 0);
	}
}

void whi_sim_accept(struct whi_sim_req *req)
{
	struct whi_sim_sock *sock = whi_sim_sock_of(req->file);

	if (req->file->kind != WHI_SIM_SOCKET) {
		whi_sim_post(req, -ENOTSOCK, 0);
	} else if (sock->state != WHI_SOCK_LISTENING) {
		whi_sim_post(req, sock->type == SOCK_STREAM ? -EINVAL : -EOPNOTSUPP, 0);
	} else if (!whi_sim_fd_room(req->host)) {
		/* As the kernel, which takes the descriptor first. */
		whi_sim_post(req, -EMFILE, 0);
	} else if (whi_list_empty(&sock->accepted) && sock->file.flags & O_NONBLOCK) {
		whi_sim_post(req, -EAGAIN, 0);
	} else {
		whi_list_append(&sock->receivers, &req->link);
		whi_sim_serve_accepts(sock);
	}
}

void whi_sim_listener_closed(struct whi_sim_sock *listener)
{
	listener->state = WHI_SOCK_CLOSED;
	while (!whi_list_empty(&listener->accepted)) {
		struct whi_sim_sock *child = whi_container_of(listener->accepted.next,
							      struct whi_sim_sock, accept_link);

		release_child(child);
		whi_sim_sock_reset(child, 0);
		whi_sim_sock_unref(child);
	}
}
