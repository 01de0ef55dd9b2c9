/*
 * The ring: operations in, completions out, as a loop sees them.
 *
 * Invariants
 * 1. A turn never waits: it begins what was submitted, cancels what is to be cancelled, delivers
 *    what is completed, and notes when the loop wants to be turned again.
 * 2. Nothing here runs user code: `done` only makes tasks ready or queues more operations.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "backend/sim_world.h"
#include "base/assert.h"
#include "base/clock.h"

static struct whi_sim_ring *ring_of(struct whi_backend *backend)
{
	return (struct whi_sim_ring *)(void *)backend;
}
/* Delivering */

static void deliver(struct whi_sim_ring *ring, struct whi_sim_cqe *cqe)
{
	struct whi_sim_req *req = cqe->req;
	struct whi_op *op = req->op;
	int32_t result = cqe->result;
	unsigned flags = cqe->flags;

	whi_sim_trace_done(ring->host, op, result, flags);
	ring->base.stats.completions++;
	op->buffer = cqe->buffer;
	req->posted--;
	if (flags & WHI_OP_MORE)
		whi_list_append(&ring->world->cqes, &cqe->link);
	else
		whi_sim_req_free(req);
	whi_op_complete(op, result, flags);
}

static struct whi_sim_cqe *cqe_at(struct whi_sim_ring *ring, uint64_t place)
{
	struct whi_list *node = ring->completed.next;

	while (place-- > 0)
		node = node->next;
	return whi_container_of(node, struct whi_sim_cqe, link);
}

/* Some that are the only ones of their request go to the end. */
static void reorder(struct whi_sim_ring *ring, uint32_t count)
{
	uint64_t draw = whi_sim_strike(ring->world, WHI_FAULT_REORDER, NULL);

	for (unsigned i = 0; draw && i < 3; i++, draw >>= 16) {
		struct whi_sim_cqe *cqe = cqe_at(ring, draw % count);

		if (cqe->req->posted > 1)
			continue;
		whi_list_remove(&cqe->link);
		whi_list_append(&ring->completed, &cqe->link);
	}
}

/* True if there was any. */
static bool deliver_all(struct whi_sim_ring *ring)
{
	uint32_t count = 0, take;
	uint64_t overflow;

	for (struct whi_list *node = ring->completed.next; node != &ring->completed;
	     node = node->next)
		count++;
	if (count > 1)
		reorder(ring, count);
	take = count < ring->opts.cq_entries ? count : ring->opts.cq_entries;
	overflow = count > 1 ? whi_sim_strike(ring->world, WHI_FAULT_OVERFLOW, NULL) : 0;
	if (overflow)
		take = 1 + (uint32_t)(overflow % (count - 1));
	if (take < count)
		ring->base.stats.cq_overflows++;
	while (take-- > 0)
		deliver(ring,
			whi_container_of(whi_list_pop(&ring->completed), struct whi_sim_cqe, link));
	return count > 0;
}
/* Submitting */

static void begin_all(struct whi_sim_ring *ring)
{
	struct whi_list *node;

	while ((node = whi_list_pop(&ring->queued))) {
		ring->base.stats.submitted++;
		whi_sim_req_begin(whi_container_of(node, struct whi_sim_req, link));
	}
}

/* Without room for it: a descriptor can still be closed. */
static int without_request(struct whi_sim_ring *ring, const struct whi_op *op)
{
	const struct whi_sim_row *row = whi_sim_row(op->kind);

	if (ring->host->down)
		return whi_sim_result_when_down(op);
	return row->now && whi_opdefs[op->kind].instant ? row->now(ring->host, op) : -EAGAIN;
}

static void sim_submit(struct whi_backend *backend, struct whi_op *op)
{
	struct whi_sim_ring *ring = ring_of(backend);
	struct whi_sim_req *req;

	op->cancel_wanted = false;
	whi_op_enter(op, WHI_OP_QUEUED);
	ring->world->ops++;
	if (ring->slots_used >= ring->opts.ops_max) {
		int r = without_request(ring, op);

		whi_sim_trace_done(ring->host, op, r, 0);
		whi_op_complete(op, r, 0);
		return;
	}
	req = whi_sim_req_new(ring, op);
	whi_list_append(&ring->queued, &req->link);
	whi_op_enter(op, WHI_OP_INFLIGHT);
}

static int sim_perform(struct whi_backend *backend, struct whi_op *op)
{
	struct whi_sim_ring *ring = ring_of(backend);
	const struct whi_sim_row *row = whi_sim_row(op->kind);
	int r;

	if (ring->host->down)
		r = whi_sim_result_when_down(op);
	else
		r = row->now ? row->now(ring->host, op) : -EOPNOTSUPP;
	whi_sim_trace_done(ring->host, op, r, 0);
	return r;
}
static void sim_cancel(struct whi_backend *backend, struct whi_op *op)
{
	struct whi_sim_ring *ring = ring_of(backend);

	if (op->cancel_wanted || !whi_opdefs[op->kind].cancellable)
		return;
	op->cancel_wanted = true;
	if (op->state != WHI_OP_INFLIGHT)
		return;
	whi_op_enter(op, WHI_OP_CANCELLING);
	whi_list_append(&ring->cancels, &ring->slots[op->slot]->cancel_link);
}

static void cancel_all(struct whi_sim_ring *ring)
{
	struct whi_list *node;

	while ((node = whi_list_pop(&ring->cancels))) {
		struct whi_sim_req *req = whi_container_of(node, struct whi_sim_req, cancel_link);
		uint64_t late = 0;

		whi_sim_trace_op(ring->host, req->op, "cancel");
		if (req->state != WHI_REQ_ENDED)
			late = whi_sim_strike(ring->world, WHI_FAULT_CANCEL_LATE, req);
		if (late)
			whi_sim_event_set(ring->world, &req->cancel_event, late % WHI_SIM_LATE_NS);
		else
			whi_sim_req_cancel(req);
	}
}

/* Turns */

static int sim_turn(struct whi_backend *backend, uint64_t timeout_ns)
{
	struct whi_sim_ring *ring = ring_of(backend);

	ring->woken = false;
	ring->hurried = false;
	ring->base.stats.enters++;
	begin_all(ring);
	cancel_all(ring);
	/* What would end a real turn's wait makes the loop turn again. */
	if (deliver_all(ring))
		timeout_ns = 0;
	ring->wake_at_ns = whi_clock_add(ring->world->now_ns, timeout_ns);
	return 0;
}

bool whi_sim_ring_ready(const struct whi_sim_ring *ring)
{
	return ring->woken || ring->hurried || !whi_list_empty(&ring->queued) ||
	       !whi_list_empty(&ring->cancels) || !whi_list_empty(&ring->completed) ||
	       ring->wake_at_ns <= ring->world->now_ns;
}

static void sim_hurry(struct whi_backend *backend)
{
	ring_of(backend)->hurried = true;
}

static void sim_wake(struct whi_backend *backend)
{
	ring_of(backend)->woken = true;
}

static void sim_wake_from(struct whi_backend *backend, struct whi_backend *from)
{
	(void)from;
	ring_of(backend)->woken = true;
}

/* Buffers */

static int sim_bufs_open(struct whi_backend *backend, uint32_t count)
{
	struct whi_sim_ring *ring = ring_of(backend);

	ring->bufs = whi_sim_alloc(count * sizeof(ring->bufs[0]));
	ring->buf_here = whi_sim_calloc(count * sizeof(ring->buf_here[0]));
	ring->buf_room = count;
	return 0;
}

static void sim_buf_give(struct whi_backend *backend, uint16_t index, void *buf, uint32_t len)
{
	struct whi_sim_ring *ring = ring_of(backend);

	whi_assert(index < ring->buf_room && !ring->buf_here[index]);
	ring->buf_here[index] = true;
	ring->bufs[(ring->buf_head + ring->buf_count++) % ring->buf_room] =
		(struct whi_sim_buf){ .memory = buf, .len = len, .index = index };
}

const struct whi_sim_buf *whi_sim_buf_take(struct whi_sim_ring *ring)
{
	struct whi_sim_buf *buf = &ring->bufs[ring->buf_head];

	if (ring->buf_count == 0)
		return NULL;
	ring->buf_head = (ring->buf_head + 1) % ring->buf_room;
	ring->buf_count--;
	ring->buf_here[buf->index] = false;
	return buf;
}

/* Life */

static int sim_open(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	struct whi_world *world = opts->sim_world;
	struct whi_sim_ring *ring;

	if (!world)
		return -EINVAL;
	ring = whi_sim_calloc(sizeof(*ring));
	ring->base.ops = &whi_backend_sim;
	ring->world = world;
	ring->index = opts->sim_index;
	ring->host = &world->hosts[opts->sim_index / (world->ring_count / world->host_count)];
	ring->opts = *opts;
	whi_list_init(&ring->requests);
	whi_list_init(&ring->queued);
	whi_list_init(&ring->cancels);
	whi_list_init(&ring->completed);
	whi_list_init(&ring->late);
	ring->wake_at_ns = world->now_ns;
	ring->open = true;
	world->rings[ring->index] = ring;
	*ret = &ring->base;
	return 0;
}

static struct whi_sim_req *first_req(struct whi_sim_ring *ring)
{
	return whi_list_empty(&ring->requests)
		       ? NULL
		       : whi_container_of(ring->requests.next, struct whi_sim_req, all);
}

uint32_t whi_sim_ring_pending(const struct whi_sim_ring *ring, char *text, size_t size)
{
	const struct whi_sim_req *req = first_req((struct whi_sim_ring *)(uintptr_t)ring);

	if (req)
		snprintf(text, size, "%s on descriptor %d", whi_opdefs[req->op->kind].name,
			 whi_opdefs[req->op->kind].needs_fd ? req->op->fd : -1);
	return ring->slots_used;
}

/* A completion that has not been delivered, and never will be. */
static void drop_cqe(struct whi_sim_cqe *cqe)
{
	struct whi_sim_req *req = cqe->req;

	whi_sim_event_unset(req->world, &cqe->event);
	whi_list_remove(&cqe->link);
	req->posted--;
	if (cqe != &req->cqe)
		whi_list_append(&req->world->cqes, &cqe->link);
}

void whi_sim_ring_abandon(struct whi_sim_ring *ring)
{
	struct whi_sim_req *req;

	whi_list_splice(&ring->completed, &ring->late);
	while (!whi_list_empty(&ring->completed))
		drop_cqe(whi_container_of(ring->completed.next, struct whi_sim_cqe, link));
	while ((req = first_req(ring)))
		whi_sim_req_free(req);
}
void whi_sim_ring_crash(struct whi_sim_ring *ring)
{
	struct whi_list *node = ring->requests.next;

	while (!whi_list_empty(&ring->late)) {
		struct whi_sim_cqe *cqe = whi_container_of(ring->late.next, struct whi_sim_cqe,
							   link);

		whi_sim_event_unset(ring->world, &cqe->event);
		whi_sim_deliver_late(&cqe->event);
	}
	for (; node != &ring->requests; node = node->next)
		whi_sim_req_crash(whi_container_of(node, struct whi_sim_req, all));
}

void whi_sim_ring_calm(struct whi_sim_ring *ring)
{
	struct whi_list *node = ring->requests.next;

	while (node != &ring->requests) {
		struct whi_sim_req *req = whi_container_of(node, struct whi_sim_req, all);

		node = node->next;
		if (req->state == WHI_REQ_STALLED)
			whi_sim_req_begin_row(req);
	}
}

static void sim_close(struct whi_backend *backend)
{
	struct whi_sim_ring *ring = ring_of(backend);

	whi_sim_ring_abandon(ring);
	while (ring->free_reqs) {
		struct whi_sim_req *req = ring->free_reqs;

		ring->free_reqs = req->next_free;
		whi_sim_free(req);
	}
	ring->world->rings[ring->index] = NULL;
	whi_sim_free(ring->slots);
	whi_sim_free(ring->bufs);
	whi_sim_free(ring->buf_here);
	whi_sim_free(ring);
}

static int sim_address(struct whi_backend *backend)
{
	return WHI_SIM_RING_BASE + (int)ring_of(backend)->index;
}

static uint64_t sim_now(struct whi_backend *backend)
{
	return ring_of(backend)->world->now_ns;
}

const struct whi_backend_ops whi_backend_sim = {
	.name = "sim",
	.open = sim_open,
	.close = sim_close,
	.submit = sim_submit,
	.perform = sim_perform,
	.cancel = sim_cancel,
	.turn = sim_turn,
	.hurry = sim_hurry,
	.wake = sim_wake,
	.wake_from = sim_wake_from,
	.bufs_open = sim_bufs_open,
	.buf_give = sim_buf_give,
	.address = sim_address,
	.now_ns = sim_now,
};
