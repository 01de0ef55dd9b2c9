/*
 * Requests: from an operation's submission to its last completion.
 *
 * Invariants
 * 1. A request lives from submission to the delivery of its last completion. Completions of one
 *    request are delivered in the order in which they were posted, late or not.
 * 2. A request lets go of its file when its last completion is posted.
 */
#include <errno.h>
#include <string.h>

#include "backend/sim_world.h"
#include "base/assert.h"

static uint32_t take_slot(struct whi_sim_ring *ring)
{
	uint32_t i = ring->slot_low;

	while (i < ring->slot_count && ring->slots[i])
		i++;
	if (i == ring->slot_count) {
		ring->slot_count = ring->slot_count ? 2 * ring->slot_count : 16;
		ring->slots = whi_sim_realloc(ring->slots,
					      ring->slot_count * sizeof(ring->slots[0]));
		memset(ring->slots + i, 0, (ring->slot_count - i) * sizeof(ring->slots[0]));
	}
	ring->slot_low = i + 1;
	return i;
}

static void cancel_again(struct whi_sim_event *event);

struct whi_sim_req *whi_sim_req_new(struct whi_sim_ring *ring, struct whi_op *op)
{
	struct whi_sim_req *req = ring->free_reqs;

	if (req)
		ring->free_reqs = req->next_free;
	else
		req = whi_sim_alloc(sizeof(*req));
	memset(req, 0, sizeof(*req));
	req->op = op;
	req->ring = ring;
	req->host = ring->host;
	req->world = ring->world;
	req->index = take_slot(ring);
	whi_list_init(&req->link);
	whi_list_init(&req->cancel_link);
	whi_list_init(&req->cqe.link);
	req->cancel_event.fire = cancel_again;
	req->cqe.event.fire = whi_sim_deliver_late;
	req->cqe.req = req;
	ring->slots[req->index] = req;
	ring->slots_used++;
	op->slot = req->index;
	whi_list_append(&ring->requests, &req->all);
	ring->base.stats.inflight++;
	return req;
}

void whi_sim_req_free(struct whi_sim_req *req)
{
	struct whi_sim_ring *ring = req->ring;

	whi_sim_event_unset(req->world, &req->event);
	whi_sim_event_unset(req->world, &req->cancel_event);
	whi_sim_event_unset(req->world, &req->cqe.event);
	whi_list_remove(&req->link);
	whi_list_remove(&req->cancel_link);
	whi_list_remove(&req->cqe.link);
	whi_list_remove(&req->all);
	if (req->file)
		whi_sim_file_unref(req->file);
	ring->slots[req->index] = NULL;
	ring->slots_used--;
	if (req->index < ring->slot_low)
		ring->slot_low = req->index;
	ring->base.stats.inflight--;
	req->next_free = ring->free_reqs;
	ring->free_reqs = req;
}

/* Completions */

static struct whi_sim_cqe *take_cqe(struct whi_sim_req *req, unsigned flags)
{
	struct whi_list *node;
	struct whi_sim_cqe *cqe;

	if (!(flags & WHI_OP_MORE))
		return &req->cqe;
	node = whi_list_pop(&req->world->cqes);
	cqe = node ? whi_container_of(node, struct whi_sim_cqe, link) : whi_sim_alloc(sizeof(*cqe));
	*cqe = (struct whi_sim_cqe){ .req = req, .event.fire = whi_sim_deliver_late };
	whi_list_init(&cqe->link);
	return cqe;
}

void whi_sim_deliver_late(struct whi_sim_event *event)
{
	struct whi_sim_cqe *cqe = whi_container_of(event, struct whi_sim_cqe, event);

	cqe->req->late--;
	whi_list_remove(&cqe->link);
	whi_list_append(&cqe->req->ring->completed, &cqe->link);
}

static void make_late(struct whi_sim_req *req)
{
	uint64_t late = whi_sim_strike(req->world, WHI_FAULT_LATE, req);

	if (late && req->late_until_ns < req->world->now_ns + late % WHI_SIM_LATE_NS)
		req->late_until_ns = req->world->now_ns + late % WHI_SIM_LATE_NS;
}

static void hold_back(struct whi_sim_cqe *cqe)
{
	struct whi_sim_req *req = cqe->req;
	uint64_t now_ns = req->world->now_ns;

	req->late++;
	whi_list_append(&req->ring->late, &cqe->link);
	whi_sim_event_set(req->world, &cqe->event,
			  req->late_until_ns > now_ns ? req->late_until_ns - now_ns : 0);
}

void whi_sim_post_buffer(struct whi_sim_req *req, int32_t result, unsigned flags, uint16_t buffer)
{
	struct whi_sim_cqe *cqe = take_cqe(req, flags);

	whi_assert(req->state != WHI_REQ_ENDED);
	cqe->result = result;
	cqe->flags = (uint16_t)flags;
	cqe->buffer = buffer;
	req->posted++;
	if (!(flags & WHI_OP_MORE)) {
		req->state = WHI_REQ_ENDED;
		whi_sim_event_unset(req->world, &req->event);
		if (req->file)
			whi_sim_file_unref(req->file);
		req->file = NULL;
	}
	/* A quiet operation has been tried in this turn, and that is that. */
	if (!req->op->quiet && !req->host->down)
		make_late(req);
	if (req->late || req->late_until_ns > req->world->now_ns)
		hold_back(cqe);
	else
		whi_list_append(&req->ring->completed, &cqe->link);
}

void whi_sim_post(struct whi_sim_req *req, int32_t result, unsigned flags)
{
	whi_sim_post_buffer(req, result, flags, 0);
}

static void fire_then(struct whi_sim_event *event)
{
	struct whi_sim_req *req = whi_container_of(event, struct whi_sim_req, event);

	req->then(req);
}

void whi_sim_after(struct whi_sim_req *req, uint64_t delay_ns, void (*then)(struct whi_sim_req *))
{
	req->then = then;
	req->event.fire = fire_then;
	whi_sim_event_set(req->world, &req->event, delay_ns);
}
/* Beginning */

/* What an operation has on a machine without power: nothing. */
int whi_sim_result_when_down(const struct whi_op *op)
{
	switch (op->kind) {
	case WHI_OP_CLOSE:
	case WHI_OP_SHUTDOWN:
	case WHI_OP_UNLINKAT:
	case WHI_OP_NOP:
		return 0;
	case WHI_OP_RECV:
	case WHI_OP_RECV_MULTI:
	case WHI_OP_RECVMSG:
	case WHI_OP_SEND:
	case WHI_OP_SENDMSG:
		return -ECONNRESET;
	case WHI_OP_ACCEPT:
	case WHI_OP_ACCEPT_MULTI:
		return -EBADF; /* -ECANCELED would make a listener try again */
	default:
		return -ECANCELED;
	}
}

static int fault_to_begin_with(struct whi_sim_req *req, uint32_t may)
{
	static const struct {
		enum whi_sim_fault fault;
		int result;
	} begins[] = {
		{ WHI_FAULT_EINTR, -EINTR },
		{ WHI_FAULT_EAGAIN, -EAGAIN },
		{ WHI_FAULT_ENOMEM, -ENOMEM },
		{ WHI_FAULT_EMFILE, -EMFILE },
	};

	for (unsigned i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
		if (may & 1u << begins[i].fault && whi_sim_strike(req->world, begins[i].fault, req))
			return begins[i].result;
	return 0;
}

/* Reading and writing a socket is receiving and sending. */
static const struct whi_sim_row *row_of(const struct whi_sim_req *req)
{
	unsigned kind = req->op->kind;

	if (req->file && req->file->kind == WHI_SIM_SOCKET) {
		if (kind == WHI_OP_READ)
			kind = WHI_OP_RECV;
		else if (kind == WHI_OP_WRITE)
			kind = WHI_OP_SEND;
		else if (kind == WHI_OP_READV)
			kind = WHI_OP_RECVMSG;
		else if (kind == WHI_OP_WRITEV)
			kind = WHI_OP_SENDMSG;
	}
	return whi_sim_row(kind);
}

void whi_sim_req_begin_row(struct whi_sim_req *req)
{
	const struct whi_sim_row *row = row_of(req);

	req->state = WHI_REQ_BEGUN;
	if (row->begin)
		row->begin(req);
	else
		whi_sim_post(req, row->now(req->host, req->op), 0);
}

static bool get_file(struct whi_sim_req *req)
{
	if (!whi_opdefs[req->op->kind].needs_fd || req->op->kind == WHI_OP_MESSAGE ||
	    req->op->kind == WHI_OP_CLOSE)
		return true;
	req->file = whi_sim_fd_get(req->host, req->op->fd);
	if (req->file)
		whi_sim_file_ref(req->file);
	return req->file != NULL;
}

void whi_sim_req_begin(struct whi_sim_req *req)
{
	const struct whi_op *op = req->op;
	uint32_t may = 0;
	int r = 0;

	whi_sim_trace_op(req->host, op, "begin");
	if (req->host->down)
		r = whi_sim_result_when_down(op);
	else if (!get_file(req))
		r = -EBADF;
	else
		may = row_of(req)->faults;
	if (req->host->down || r < 0) {
		whi_sim_post(req, r, 0);
		return;
	}
	if (op->quiet)
		may |= 1u << WHI_FAULT_EAGAIN;
	r = fault_to_begin_with(req, may);
	if (r < 0)
		whi_sim_post(req, r, 0);
	else if (may & 1u << WHI_FAULT_STALL && !op->quiet &&
		 whi_sim_strike(req->world, WHI_FAULT_STALL, req))
		req->state = WHI_REQ_STALLED;
	else
		whi_sim_req_begin_row(req);
}
/* Cancelling */

void whi_sim_req_cancel(struct whi_sim_req *req)
{
	const struct whi_sim_row *row;
	int r = -ECANCELED;

	if (req->state == WHI_REQ_ENDED)
		return;
	if (req->state == WHI_REQ_BEGUN) {
		row = row_of(req);
		if (row->cancel)
			r = row->cancel(req);
		else if (req->event.place == 0)
			r = WHI_SIM_GOES_ON;
	}
	if (r != WHI_SIM_GOES_ON)
		whi_sim_post(req, r, 0);
}

static void cancel_again(struct whi_sim_event *event)
{
	whi_sim_req_cancel(whi_container_of(event, struct whi_sim_req, cancel_event));
}
/* Cut off by a crash: late completions come now, whatever waits ends. */
void whi_sim_req_crash(struct whi_sim_req *req)
{
	whi_sim_event_unset(req->world, &req->cancel_event);
	whi_list_remove(&req->cancel_link);
	if (req->state == WHI_REQ_BEGUN) {
		const struct whi_sim_row *row = row_of(req);

		if (row->cancel)
			row->cancel(req);
		whi_list_remove(&req->link);
	}
	if (req->state == WHI_REQ_QUEUED)
		return; /* its turn comes, and finds the machine down */
	req->late_until_ns = 0;
	if (req->state != WHI_REQ_ENDED)
		whi_sim_post(req, -ECANCELED, 0);
}
