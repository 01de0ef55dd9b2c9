/*
 * Segments: what is on its way from one socket to another.
 *
 * Invariants
 * 1. Segments of one socket arrive in the order in which they were sent, also when a cut has held
 *    some of them; those of different sockets overtake each other, and so do datagrams.
 * 2. A segment references both of its sockets, so they stay for as long as it is on its way.
 * 3. What a sender may have outstanding is what its peer has not taken in: a segment that finds the
 *    receive buffer full is held, and not acknowledged.
 */
#include <errno.h>
#include <string.h>

#include "backend/sim_net.h"
#include "base/assert.h"

static void arrive(struct whi_sim_event *event);

struct whi_sim_seg *whi_sim_seg_new(struct whi_sim_sock *from, struct whi_sim_sock *to,
				    uint8_t type, uint32_t len)
{
	struct whi_sim_seg *seg = whi_sim_alloc(sizeof(*seg) + len);

	memset(seg, 0, sizeof(*seg));
	whi_list_init(&seg->link);
	whi_list_init(&seg->way);
	seg->event.fire = arrive;
	seg->from = from;
	seg->to = to;
	seg->type = type;
	seg->len = len;
	seg->from_host = from->file.host->index;
	seg->to_host = to ? to->file.host->index : 0;
	whi_sim_sock_ref(from);
	if (to)
		whi_sim_sock_ref(to);
	return seg;
}

void whi_sim_seg_free(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *from = seg->from, *to = seg->to;

	whi_list_remove(&seg->way);
	whi_sim_event_unset(from->world, &seg->event);
	whi_list_remove(&seg->link);
	whi_sim_free(seg);
	whi_sim_sock_unref(from);
	if (to)
		whi_sim_sock_unref(to);
}

/* A fault in the network, by the way. */
static bool strike(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *from = seg->from;
	struct whi_world *world = from->world;
	uint64_t cut;

	if (seg->type == WHI_SEG_DATA && from->domain != AF_UNIX &&
	    whi_sim_strike(world, WHI_FAULT_RESET, NULL)) {
		/* Something between the two says to each that the other wants no more. */
		whi_sim_seg_tell(from, seg->to, WHI_SEG_RST);
		whi_sim_seg_tell(seg->to, from, WHI_SEG_RST);
		return true;
	}
	if (seg->from_host == seg->to_host || seg->type == WHI_SEG_RST)
		return false;
	cut = whi_sim_strike(world, WHI_FAULT_CUT, NULL);
	if (cut)
		whi_sim_fault_cut(world, seg->from_host, seg->to_host,
				  cut % 16 ? (cut >> 8) % (2 * WH_SEC) : 40 * WH_SEC);
	return false;
}

void whi_sim_seg_send(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *from = seg->from;
	struct whi_world *world = from->world;
	uint64_t delay;

	if (strike(seg)) {
		whi_sim_seg_free(seg);
		return;
	}
	delay = whi_sim_travel_ns(world, seg->from_host, seg->to_host, seg->len);
	if (seg->type != WHI_SEG_DATAGRAM) {
		whi_list_append(&from->way, &seg->way);
		if (world->now_ns + delay < from->last_arrival_ns)
			delay = from->last_arrival_ns - world->now_ns;
		from->last_arrival_ns = world->now_ns + delay;
	}
	whi_sim_event_set(world, &seg->event, delay);
}

void whi_sim_seg_tell(struct whi_sim_sock *from, struct whi_sim_sock *to, uint8_t type)
{
	whi_sim_seg_send(whi_sim_seg_new(from, to, type, 0));
}

/* Credit */

static void acknowledge(struct whi_sim_event *event)
{
	struct whi_sim_sock *sock = whi_container_of(event, struct whi_sim_sock, ack);
	struct whi_sim_sock *peer = sock->peer;
	uint32_t bytes = sock->ack_bytes;

	if (!peer)
		return;
	if (whi_sim_is_cut(sock->world, sock->file.host->index, peer->file.host->index))
		return; /* whi_sim_segs_resume sees to it */
	sock->ack_bytes = 0;
	whi_assert(peer->unacked >= bytes);
	peer->unacked -= bytes;
	whi_sim_serve_senders(peer);
	whi_sim_sock_changed(peer);
}

void whi_sim_credit(struct whi_sim_sock *sock, uint32_t bytes)
{
	struct whi_sim_wire *wire;

	if (!sock->peer || bytes == 0)
		return;
	sock->ack_bytes += bytes;
	sock->ack.fire = acknowledge;
	wire = whi_sim_wire_of(sock->world, sock->file.host->index, sock->peer->file.host->index);
	if (sock->ack.place == 0)
		whi_sim_event_set(sock->world, &sock->ack, wire->link.latency_ns);
}

/* Arriving */

static void refuse(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *from = seg->from;

	if (from->state == WHI_SOCK_CONNECTED && from->peer == seg->to)
		whi_sim_seg_tell(seg->to, from, WHI_SEG_RST);
	whi_sim_seg_free(seg);
}

static void data_arrived(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *to = seg->to;

	whi_assert(to);
	if (to->state != WHI_SOCK_CONNECTED) {
		refuse(seg);
		return;
	}
	if (whi_list_empty(&to->held) &&
	    (to->rcv_bytes == 0 || to->rcv_bytes + seg->len <= to->rcvbuf)) {
		whi_list_append(&to->received, &seg->link);
		to->rcv_bytes += seg->len;
		whi_sim_credit(to, seg->len);
	} else {
		whi_list_append(&to->held, &seg->link);
	}
	whi_sim_serve_receivers(to);
	whi_sim_sock_changed(to);
}

static void fin_arrived(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *to = seg->to;

	whi_assert(to);
	if (to->state == WHI_SOCK_CONNECTED) {
		to->fin_received = true;
		whi_sim_serve_receivers(to);
		whi_sim_sock_changed(to);
	}
	whi_sim_seg_free(seg);
}

static void rst_arrived(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *to = seg->to;

	whi_assert(to);
	if (to->state == WHI_SOCK_CONNECTED || to->state == WHI_SOCK_EMBRYO)
		whi_sim_sock_end(to, to->fin_received ? -EPIPE : -ECONNRESET);
	whi_sim_seg_free(seg);
}

static void arrived(struct whi_sim_seg *seg)
{
	switch ((enum whi_sim_seg_type)seg->type) {
	case WHI_SEG_SYN:
		whi_sim_syn_arrived(seg);
		break;
	case WHI_SEG_SYNACK:
		whi_sim_synack_arrived(seg);
		break;
	case WHI_SEG_REFUSED:
		whi_assert(seg->to);
		if (seg->to->state == WHI_SOCK_CONNECTING)
			whi_sim_connected(seg->to, -ECONNREFUSED);
		whi_sim_seg_free(seg);
		break;
	case WHI_SEG_ESTABLISHED:
		whi_sim_established(seg);
		break;
	case WHI_SEG_DATA:
		data_arrived(seg);
		break;
	case WHI_SEG_FIN:
		fin_arrived(seg);
		break;
	case WHI_SEG_RST:
		rst_arrived(seg);
		break;
	case WHI_SEG_DATAGRAM:
		whi_sim_dgram_arrived(seg);
		break;
	}
}

static void deliver(struct whi_sim_seg *seg)
{
	struct whi_world *world = seg->from->world;

	whi_list_remove(&seg->way);
	whi_sim_hash(world, world->now_ns);
	whi_sim_hash(world, (uint64_t)seg->type << 56 | (uint64_t)seg->to_host << 40 | seg->len);
	if (world->hosts[seg->to_host].down)
		whi_sim_seg_free(seg);
	else if (seg->to && seg->to->stale)
		refuse(seg);
	else
		arrived(seg);
}

/* In the order in which they were sent, whatever has held some of them up. */
static void deliver_due(struct whi_sim_sock *from)
{
	whi_sim_sock_ref(from);
	while (!whi_list_empty(&from->way)) {
		struct whi_sim_seg *seg = whi_container_of(from->way.next, struct whi_sim_seg, way);

		if (!seg->due)
			break;
		deliver(seg);
	}
	whi_sim_sock_unref(from);
}

static void arrive(struct whi_sim_event *event)
{
	struct whi_sim_seg *seg = whi_container_of(event, struct whi_sim_seg, event);
	struct whi_world *world = seg->from->world;

	if (whi_sim_is_cut(world, seg->from_host, seg->to_host)) {
		whi_list_append(&whi_sim_pair_of(world, seg->from_host, seg->to_host)->held,
				&seg->link);
		return;
	}
	seg->due = true;
	if (seg->type == WHI_SEG_DATAGRAM)
		deliver(seg);
	else
		deliver_due(seg->from);
}

/* Cut links */

static void acknowledge_all(struct whi_sim_host *host)
{
	for (struct whi_list *node = host->sockets.next; node != &host->sockets;
	     node = node->next) {
		struct whi_sim_sock *sock = whi_container_of(node, struct whi_sim_sock, link);

		if (sock->ack_bytes && sock->peer && sock->ack.place == 0)
			whi_sim_event_set(sock->world, &sock->ack, 0);
	}
}

static void resume(struct whi_sim_seg *seg)
{
	struct whi_world *world = seg->from->world;

	whi_sim_event_set(world, &seg->event,
			  whi_sim_wire_of(world, seg->from_host, seg->to_host)->link.latency_ns);
}

void whi_sim_segs_resume(struct whi_sim_pair *pair)
{
	struct whi_world *world = pair->world;
	struct whi_list *node;

	while ((node = whi_list_pop(&pair->held)))
		resume(whi_container_of(node, struct whi_sim_seg, link));
	acknowledge_all(&world->hosts[pair->a]);
	acknowledge_all(&world->hosts[pair->b]);
}

static void silence_between(struct whi_sim_host *host, uint32_t other)
{
	struct whi_list *node = host->sockets.next;

	while (node != &host->sockets) {
		struct whi_sim_sock *sock = whi_container_of(node, struct whi_sim_sock, link);

		node = node->next;
		if (!sock->peer || sock->peer->file.host->index != other ||
		    (sock->state != WHI_SOCK_CONNECTED && sock->state != WHI_SOCK_EMBRYO))
			continue;
		/* `node` may go with it: begin again, its state has changed. */
		whi_sim_sock_end(sock, -ETIMEDOUT);
		node = host->sockets.next;
	}
}

/* Those behind it go on. */
static void lose(struct whi_sim_seg *seg)
{
	struct whi_sim_sock *from = seg->from;

	whi_sim_sock_ref(from);
	whi_sim_seg_free(seg);
	deliver_due(from);
	whi_sim_sock_unref(from);
}

void whi_sim_net_silence(struct whi_sim_pair *pair)
{
	struct whi_world *world = pair->world;
	struct whi_list *node = pair->held.next;

	whi_sim_note(world, NULL, "silence", pair->a, pair->b);
	while (node != &pair->held) {
		struct whi_sim_seg *seg = whi_container_of(node, struct whi_sim_seg, link);

		node = node->next;
		/* Attempts to connect have a time limit of their own. */
		if (seg->type != WHI_SEG_SYN)
			lose(seg);
	}
	silence_between(&world->hosts[pair->a], pair->b);
	silence_between(&world->hosts[pair->b], pair->a);
}

static void free_way(struct whi_sim_host *host)
{
	for (struct whi_list *node = host->sockets.next; node != &host->sockets;
	     node = node->next) {
		struct whi_list *way = &whi_container_of(node, struct whi_sim_sock, link)->way;
		struct whi_list *seg;

		while ((seg = whi_list_pop(way)))
			whi_sim_free(whi_container_of(seg, struct whi_sim_seg, way));
	}
}

/* No event happens any more. Datagrams are on no socket's list. */
void whi_sim_segs_fini(struct whi_world *world)
{
	for (uint32_t i = 0; i < world->host_count * world->host_count; i++) {
		struct whi_list *node;

		while ((node = whi_list_pop(&world->pairs[i].held))) {
			struct whi_sim_seg *seg = whi_container_of(node, struct whi_sim_seg, link);

			if (seg->type == WHI_SEG_DATAGRAM)
				whi_sim_free(seg);
		}
	}
	for (uint32_t i = 0; i < world->heap_count; i++) {
		struct whi_sim_event *event = world->heap[i];
		struct whi_sim_seg *seg = whi_container_of(event, struct whi_sim_seg, event);

		event->place = 0;
		if (event->fire == arrive && seg->type == WHI_SEG_DATAGRAM)
			whi_sim_free(seg);
	}
	world->heap_count = 0;
	for (uint32_t i = 0; i < world->host_count; i++)
		free_way(&world->hosts[i]);
}
