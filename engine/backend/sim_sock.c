/*
 * Sockets: their life, and what becomes of them when hosts crash.
 *
 * Invariants
 * 1. `refs` of a socket counts its owner (its open file; its listener, before it is accepted), its
 *    peer, and segments to and from it. It is freed with the last.
 * 2. `peer` is set from the moment when both ends know of each other until the connection has ended
 *    on this side.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "backend/sim_net.h"
#include "base/assert.h"

static void closed_by_all(struct whi_sim_file *file);
static short readiness(struct whi_sim_file *file);
static void describe(const struct whi_sim_file *file, char *text, size_t size);

static const struct whi_sim_file_ops sock_ops = {
	.release = closed_by_all,
	.poll = readiness,
	.describe = describe,
};

struct whi_sim_sock *whi_sim_sock_new(struct whi_sim_host *host, int domain, int type)
{
	struct whi_sim_sock *sock = whi_sim_calloc(sizeof(*sock));

	whi_sim_file_init(&sock->file, host, WHI_SIM_SOCKET, &sock_ops);
	sock->world = host->world;
	sock->refs = 1;
	sock->domain = (uint8_t)domain;
	sock->type = (uint8_t)type;
	sock->sndbuf = host->world->sndbuf;
	sock->rcvbuf = host->world->rcvbuf;
	whi_list_init(&sock->accepted);
	whi_list_init(&sock->accept_link);
	whi_list_init(&sock->senders);
	whi_list_init(&sock->way);
	whi_list_init(&sock->received);
	whi_list_init(&sock->held);
	whi_list_init(&sock->receivers);
	sock->retry.fire = whi_sim_retry_fired;
	sock->timer.fire = whi_sim_timer_fired;
	whi_list_append(&host->sockets, &sock->link);
	return sock;
}

static void free_segs(struct whi_list *segs)
{
	while (!whi_list_empty(segs))
		whi_sim_seg_free(whi_container_of(segs->next, struct whi_sim_seg, link));
}

static void unset_events(struct whi_sim_sock *sock)
{
	whi_sim_event_unset(sock->world, &sock->retry);
	whi_sim_event_unset(sock->world, &sock->timer);
	whi_sim_event_unset(sock->world, &sock->ack);
}

void whi_sim_sock_unref(struct whi_sim_sock *sock)
{
	whi_assert(sock->refs > 0);
	if (--sock->refs > 0)
		return;
	unset_events(sock);
	whi_list_remove(&sock->link);
	whi_sim_free(sock);
}

void whi_sim_sock_pair(struct whi_sim_sock *a, struct whi_sim_sock *b)
{
	a->peer = b;
	b->peer = a;
	whi_sim_sock_ref(a);
	whi_sim_sock_ref(b);
}

static void drop_peer(struct whi_sim_sock *sock)
{
	struct whi_sim_sock *peer = sock->peer;

	sock->peer = NULL;
	if (peer)
		whi_sim_sock_unref(peer);
}

static void drop_listener(struct whi_sim_sock *sock)
{
	struct whi_sim_sock *listener = sock->listener;

	if (!listener)
		return;
	sock->listener = NULL;
	listener->pending--;
	whi_sim_sock_unref(listener);
}

void whi_sim_sock_changed(struct whi_sim_sock *sock)
{
	if (!whi_list_empty(&sock->file.polls))
		whi_sim_file_changed(&sock->file);
}

int whi_sim_sock_take_error(struct whi_sim_sock *sock)
{
	int error = sock->error;

	sock->error = 0;
	return error;
}

void whi_sim_sock_end(struct whi_sim_sock *sock, int error)
{
	bool embryo = sock->state == WHI_SOCK_EMBRYO;

	whi_sim_sock_ref(sock);
	sock->state = WHI_SOCK_CLOSED;
	sock->error = error;
	unset_events(sock);
	drop_peer(sock);
	free_segs(&sock->held);
	if (embryo) {
		/* Nobody has heard of it: it goes with its last segment. */
		drop_listener(sock);
		whi_sim_sock_unref(sock);
	} else {
		whi_sim_serve_receivers(sock);
		whi_sim_serve_senders(sock);
		whi_sim_sock_changed(sock);
	}
	whi_sim_sock_unref(sock);
}

void whi_sim_sock_reset(struct whi_sim_sock *sock, int error)
{
	if (sock->peer)
		whi_sim_seg_tell(sock, sock->peer, WHI_SEG_RST);
	whi_sim_sock_end(sock, error);
}

/* What was taken in counts as acknowledged, so that the peer goes on and learns of the end. */
static void acknowledge_now(struct whi_sim_sock *sock)
{
	struct whi_sim_sock *peer = sock->peer;

	peer->unacked -= sock->ack_bytes;
	sock->ack_bytes = 0;
	whi_sim_serve_senders(peer);
	whi_sim_sock_changed(peer);
}

static void close_connected(struct whi_sim_sock *sock)
{
	if (!whi_list_empty(&sock->received) || !whi_list_empty(&sock->held)) {
		whi_sim_sock_reset(sock, 0);
		return;
	}
	if (sock->peer && !sock->fin_sent)
		whi_sim_seg_tell(sock, sock->peer, WHI_SEG_FIN);
	if (sock->peer)
		acknowledge_now(sock);
	/* A reset may have come of what the peer then sent. */
	if (sock->state == WHI_SOCK_CONNECTED)
		whi_sim_sock_end(sock, 0);
}

/* Its last user is gone. */
static void closed_by_all(struct whi_sim_file *file)
{
	struct whi_sim_sock *sock = whi_sim_sock_of(file);

	if (sock->stale)
		whi_sim_sock_end(sock, 0);
	else if (sock->state == WHI_SOCK_LISTENING)
		whi_sim_listener_closed(sock);
	else if (sock->state == WHI_SOCK_CONNECTED)
		close_connected(sock);
	sock->state = WHI_SOCK_CLOSED;
	sock->local = (struct whi_sim_addr){ 0 };
	unset_events(sock);
	free_segs(&sock->received);
	drop_listener(sock);
	whi_sim_sock_unref(sock);
}

static short readiness(struct whi_sim_file *file)
{
	const struct whi_sim_sock *sock = whi_sim_sock_of(file);
	short events = 0;

	if (!whi_list_empty(&sock->received) || !whi_list_empty(&sock->accepted) ||
	    sock->fin_received || sock->shut_read)
		events |= POLLIN | POLLRDNORM;
	if (sock->fin_received)
		events |= POLLRDHUP;
	if (sock->fin_received && sock->fin_sent)
		events |= POLLHUP;
	if (sock->error)
		events |= POLLERR;
	if (sock->state == WHI_SOCK_CLOSED)
		events |= POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP | POLLRDHUP;
	if (sock->type == SOCK_DGRAM ||
	    (sock->state == WHI_SOCK_CONNECTED && sock->unacked < sock->sndbuf))
		events |= POLLOUT | POLLWRNORM;
	if (sock->state == WHI_SOCK_NEW && sock->type == SOCK_STREAM)
		events |= POLLOUT | POLLHUP;
	return events;
}

static void describe(const struct whi_sim_file *file, char *text, size_t size)
{
	static const char *const states[] = {
		[WHI_SOCK_NEW] = "new",
		[WHI_SOCK_LISTENING] = "listening",
		[WHI_SOCK_CONNECTING] = "connecting",
		[WHI_SOCK_EMBRYO] = "half open",
		[WHI_SOCK_CONNECTED] = "connected",
		[WHI_SOCK_CLOSED] = "whose connection has ended",
	};
	const struct whi_sim_sock *sock = (const struct whi_sim_sock *)(const void *)file;

	snprintf(text, size, "a socket, %s, port %u, peer: host %u port %u", states[sock->state],
		 sock->local.port, sock->remote.host, sock->remote.port);
}

/* Crashes */

/* The peer of `sock`, whose host loses power, hears of it at once, or when it is back, or never. */
static void leave_peer(struct whi_sim_sock *sock)
{
	struct whi_world *world = sock->world;
	struct whi_sim_sock *peer = sock->peer;

	if (!peer || peer->file.host == sock->file.host || peer->state != WHI_SOCK_CONNECTED)
		return;
	if (whi_rng_below(&world->net_rng, 2)) {
		whi_sim_seg_tell(sock, peer, WHI_SEG_RST);
		return;
	}
	peer->silent_host = sock->file.host->index + 1;
	if (peer->timer.place == 0)
		whi_sim_event_set(world, &peer->timer, WHI_SIM_SILENCE_NS);
}

void whi_sim_net_crash(struct whi_sim_host *host)
{
	for (struct whi_list *node = host->sockets.next; node != &host->sockets;
	     node = node->next) {
		struct whi_sim_sock *sock = whi_container_of(node, struct whi_sim_sock, link);

		if (!sock->stale)
			leave_peer(sock);
		sock->stale = true;
	}
}

void whi_sim_net_reboot(struct whi_sim_host *host)
{
	struct whi_world *world = host->world;

	for (uint32_t i = 0; i < world->host_count; i++) {
		struct whi_list *head = &world->hosts[i].sockets;

		for (struct whi_list *node = head->next; node != head; node = node->next) {
			struct whi_sim_sock *sock = whi_container_of(node, struct whi_sim_sock,
								     link);

			if (sock->stale || sock->silent_host != host->index + 1)
				continue;
			/* Its next segment is answered by a reset; a program that only listens has
			 * the kernel ask. */
			sock->reset_comes = true;
			whi_sim_event_unset(world, &sock->timer);
			whi_sim_event_set(world, &sock->timer,
					  whi_sim_travel_ns(world, host->index, i, 0));
		}
	}
}

/* What is left when a world is taken apart: nobody refers to anything any more. */
void whi_sim_net_fini(struct whi_sim_host *host)
{
	struct whi_list *node;

	while ((node = whi_list_pop(&host->sockets))) {
		struct whi_sim_sock *sock = whi_container_of(node, struct whi_sim_sock, link);
		struct whi_list segs[2];

		unset_events(sock);
		for (unsigned i = 0; i < 2; i++) {
			whi_list_init(&segs[i]);
			whi_list_splice(&segs[i], i ? &sock->held : &sock->received);
			while ((node = whi_list_pop(&segs[i])))
				whi_sim_free(whi_container_of(node, struct whi_sim_seg, link));
		}
		whi_sim_free(sock);
	}
}
