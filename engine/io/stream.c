/*
 * Receive streams.
 *
 * Invariants
 * 1. The multishot receive is in the kernel exactly while the state is ARMED or STOPPING.
 * 2. It is armed only by a task that waits and finds nothing: a slow consumer stops taking buffers
 *    at CHAIN_MAX, and what it has not taken stays in the socket, where it slows the sender down.
 * 3. A buffer with data is on one chain or lent to a user.
 * 4. The operation is a RECV instead of a RECV_MULTI exactly while it receives into `own`, which
 *    happens only while nothing is chained; so `own` with data comes before the chain.
 */
#include "io/stream.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

/* Buffers that one socket may hold undelivered before its receive is stopped. */
enum { CHAIN_MAX = 16 };

static void arm(struct whi_stream *stream)
{
	struct whi_backend *backend = stream->loop->backend;

	stream->state = WHI_STREAM_ARMED;
	stream->started = true;
	stream->op.state = WHI_OP_IDLE;
	stream->op.once = whi_bufs_scarce(&stream->loop->bufs);
	backend->ops->submit(backend, &stream->op);
}

static void park(struct whi_stream *stream)
{
	stream->state = WHI_STREAM_PARKED;
	whi_bufs_park(&stream->loop->bufs, &stream->parked);
}

static void retry(struct whi_parked *parked)
{
	arm(whi_container_of(parked, struct whi_stream, parked));
}

static void wake_waiter(struct whi_stream *stream)
{
	struct whi_wait *waiter = stream->waiter;

	stream->waiter = NULL;
	/* Without a task it is about to suspend: the completion came inside submit. */
	if (waiter && waiter->task)
		whi_task_wake(waiter);
}

static void chain(struct whi_stream *stream, uint16_t index, uint32_t len)
{
	struct whi_buf_meta *meta = stream->loop->bufs.meta;

	meta[index] = (struct whi_buf_meta){ .next = WHI_BUF_NONE, .len = len };
	if (stream->head == WHI_BUF_NONE)
		stream->head = index;
	else
		meta[stream->tail].next = index;
	stream->tail = index;
	stream->chained++;
}

static void accept_buffer(struct whi_stream *stream, const struct whi_op *op)
{
	whi_bufs_took(&stream->loop->bufs);
	if (op->result > 0)
		chain(stream, op->buffer, (uint32_t)op->result);
	else
		whi_bufs_give(&stream->loop->bufs, op->buffer);
}

/* Parked for so long that buffers seem not to come back. */
static void receive_own(struct whi_parked *parked)
{
	struct whi_stream *stream = whi_container_of(parked, struct whi_stream, parked);
	size_t bytes = stream->loop->bufs.bytes;

	stream->own = whi_alloc(bytes);
	if (!stream->own) {
		whi_bufs_park(&stream->loop->bufs, parked);
		return;
	}
	stream->op.kind = WHI_OP_RECV;
	stream->op.rw.buf = stream->own;
	stream->op.rw.len = bytes;
	arm(stream);
}

static void accept_own(struct whi_stream *stream, const struct whi_op *op)
{
	stream->op.kind = WHI_OP_RECV_MULTI;
	stream->op.rw.buf = NULL;
	stream->op.rw.len = 0;
	if (op->result > 0) {
		stream->own_len = (uint32_t)op->result;
		return;
	}
	whi_free(stream->own);
	stream->own = NULL;
}

/* The receive has left the kernel. */
static void disarmed(struct whi_stream *stream, int result)
{
	stream->state = WHI_STREAM_OFF;
	/* Not one that is being stopped: who stops it waits for its end, not for a buffer. */
	if (result == -ENOBUFS && stream->waiter && stream->chained == 0 &&
	    !stream->op.cancel_wanted) {
		park(stream);
	} else if (result == -EAGAIN || result == -ENOMEM) {
		stream->refused = result;
	} else if (result <= 0 && result != -ENOBUFS && result != -ECANCELED && result != -EINTR) {
		stream->ended = true;
		stream->end = result;
	}
}

/* When buffers have become scarce, one that takes many must not go on. */
static bool must_stop(const struct whi_stream *stream)
{
	return stream->chained >= CHAIN_MAX || whi_bufs_scarce(&stream->loop->bufs);
}

static void received(struct whi_op *op)
{
	struct whi_stream *stream = whi_container_of(op, struct whi_stream, op);

	if (op->flags & WHI_OP_BUFFER)
		accept_buffer(stream, op);
	else if (whi_unlikely(op->kind == WHI_OP_RECV))
		accept_own(stream, op);
	if (!whi_op_pending(op)) {
		disarmed(stream, op->result);
		if (stream->state == WHI_STREAM_PARKED)
			return;
	} else if (stream->state == WHI_STREAM_ARMED && must_stop(stream)) {
		stream->state = WHI_STREAM_STOPPING;
		stream->loop->backend->ops->cancel(stream->loop->backend, op);
	}
	wake_waiter(stream);
}

void whi_stream_init(struct whi_stream *stream, struct wh_loop *loop, int fd)
{
	memset(stream, 0, sizeof(*stream));
	stream->op.kind = WHI_OP_RECV_MULTI;
	stream->op.fd = fd;
	stream->op.done = received;
	stream->parked.retry = retry;
	stream->parked.despair = receive_own;
	whi_list_init(&stream->parked.link);
	stream->loop = loop;
	stream->head = WHI_BUF_NONE;
}

/* It is given back by its address, so what was consumed is moved out of the way. */
static ssize_t take_own(struct whi_stream *stream, void **ret_data, uint16_t *ret_index)
{
	uint32_t len = stream->own_len - stream->consumed;

	memmove(stream->own, stream->own + stream->consumed, len);
	*ret_data = stream->own;
	*ret_index = WHI_BUF_NONE;
	stream->own = NULL;
	stream->own_len = 0;
	stream->consumed = 0;
	return (ssize_t)len;
}

void whi_stream_give(struct wh_loop *loop, void *data, uint16_t index)
{
	if (whi_likely(index < loop->bufs.count)) {
		whi_bufs_give(&loop->bufs, index);
	} else {
		whi_assert(index == WHI_BUF_NONE);
		whi_free(data);
	}
}

ssize_t whi_stream_take(struct whi_stream *stream, void **ret_data, uint16_t *ret_index)
{
	const struct whi_bufs *bufs = &stream->loop->bufs;
	uint16_t index = stream->head;
	ssize_t len;

	if (whi_unlikely(stream->own_len))
		return take_own(stream, ret_data, ret_index);
	if (index == WHI_BUF_NONE)
		return stream->ended ? stream->end : -EAGAIN;
	len = (ssize_t)(bufs->meta[index].len - stream->consumed);
	*ret_data = (char *)whi_bufs_data(bufs, index) + stream->consumed;
	*ret_index = index;
	stream->head = bufs->meta[index].next;
	stream->consumed = 0;
	stream->chained--;
	return len;
}

/* The first bytes without taking them; 0: there are none. */
static size_t peek(const struct whi_stream *stream, const char **ret_data)
{
	const struct whi_bufs *bufs = &stream->loop->bufs;
	uint16_t index = stream->head;

	if (whi_unlikely(stream->own_len)) {
		*ret_data = stream->own + stream->consumed;
		return stream->own_len - stream->consumed;
	}
	if (index == WHI_BUF_NONE)
		return 0;
	*ret_data = (char *)whi_bufs_data(bufs, index) + stream->consumed;
	return bufs->meta[index].len - stream->consumed;
}

ssize_t whi_stream_copy(struct whi_stream *stream, void *buf, size_t len)
{
	const char *first;
	size_t there = peek(stream, &first);
	uint16_t index = WHI_BUF_NONE;
	void *data = NULL;

	if (there == 0)
		return stream->ended ? stream->end : -EAGAIN;
	if (len < there) {
		memcpy(buf, first, len);
		stream->consumed += (uint32_t)len;
		return (ssize_t)len;
	}
	memcpy(buf, first, there);
	whi_stream_take(stream, &data, &index);
	whi_stream_give(stream->loop, data, index);
	return (ssize_t)there;
}

static void unpark(struct whi_stream *stream)
{
	if (stream->state != WHI_STREAM_PARKED)
		return;
	whi_list_remove(&stream->parked.link);
	stream->state = WHI_STREAM_OFF;
}

struct receive {
	struct whi_wait wait;
	struct whi_stream *stream;
};

void whi_stream_leave(struct whi_stream *stream)
{
	unpark(stream);
	wake_waiter(stream);
}

static void receive_interrupted(struct whi_wait *wait)
{
	whi_stream_leave(whi_container_of(wait, struct receive, wait)->stream);
}

int whi_stream_wait(struct whi_stream *stream)
{
	struct receive receive = { { .what = "recv", .interrupt = receive_interrupted }, stream };
	int r = whi_task_check();

	if (r < 0)
		return r;
	r = whi_bufs_open(&stream->loop->bufs);
	if (r < 0)
		return r;
	stream->waiter = &receive.wait;
	stream->op.owner = &receive.wait;
	stream->refused = 0;
	if (stream->state == WHI_STREAM_OFF && whi_bufs_awaited(&stream->loop->bufs))
		park(stream);
	else if (stream->state == WHI_STREAM_OFF)
		arm(stream);
	/* Arming may have failed at once. */
	if (stream->waiter)
		whi_task_suspend(&receive.wait);
	stream->waiter = NULL;
	return receive.wait.interrupted ? whi_task_check() : stream->refused;
}

void whi_stream_stop(struct whi_stream *stream)
{
	struct whi_wait wait = { .what = "recv to stop" };
	uint16_t index = WHI_BUF_NONE;
	void *data = NULL;

	unpark(stream);
	while (stream->state != WHI_STREAM_OFF) {
		stream->loop->backend->ops->cancel(stream->loop->backend, &stream->op);
		stream->waiter = &wait;
		whi_task_suspend(&wait);
	}
	while (whi_stream_take(stream, &data, &index) > 0)
		whi_stream_give(stream->loop, data, index);
}
