/*
 * The io_uring backend without a feature that failed its self-test or was turned off. Everything
 * that depends on one goes through here.
 *
 *   multiaccept off   an accept for one connection, again and again
 *   multirecv off     a poll; once it fires, receives without waiting into free buffers, which the
 *                     backend picks. So a connection that is idle holds none, as ever
 *   bufring off       the same: a multishot receive takes its buffers from a buffer ring
 *   msgring off       nothing here: loops are woken through their eventfd
 *
 * Each costs a submission, and a receive a system call, where the kernel would go on by itself.
 * Where the queue has no room for it the operation ends, as a multishot operation may at any time.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "backend/uring.h"
#include "backend/uring_selftest.h"
#include "base/alloc.h"
#include "base/assert.h"

/* Free buffers, the last one returned on top. */
struct whi_uring_bufs {
	uint32_t free_count;
	uint32_t count;
	struct {
		void *data;
		uint32_t len;
	} * all;
	uint16_t *free;
};

static bool is_off(const struct whi_uring *u, enum whi_uring_feature feature)
{
	return u->off & 1u << feature;
}

bool whi_uring_plain_needed(const struct whi_uring *u)
{
	return is_off(u, WHI_URING_MULTIRECV) || is_off(u, WHI_URING_MULTIACCEPT);
}

bool whi_uring_plain_repeats(const struct whi_uring *u, const struct whi_op *op)
{
	return op->kind == WHI_OP_ACCEPT_MULTI && is_off(u, WHI_URING_MULTIACCEPT);
}

bool whi_uring_plain_polls(const struct whi_uring *u, const struct whi_op *op)
{
	return op->kind == WHI_OP_RECV_MULTI && is_off(u, WHI_URING_MULTIRECV);
}

void whi_uring_plain_prep(const struct whi_uring *u, const struct whi_op *op,
			  struct io_uring_sqe *sqe)
{
	bool repeats = whi_uring_plain_repeats(u, op), polls = whi_uring_plain_polls(u, op);

	/* Filling in leaves flags of the first time alone. */
	if (repeats || polls)
		io_uring_initialize_sqe(sqe);
	if (repeats)
		io_uring_prep_accept(sqe, op->fd, NULL, NULL, op->addr.flags);
	if (polls)
		io_uring_prep_poll_add(sqe, op->fd, POLLIN | POLLRDHUP);
}

int32_t whi_uring_plain_recv(struct whi_uring *u, struct whi_op *op, unsigned *flags,
			     bool *ret_empty)
{
	struct whi_uring_bufs *bufs = u->plain_bufs;
	uint16_t index;
	ssize_t r;

	if (!bufs || bufs->free_count == 0)
		return -ENOBUFS;
	index = bufs->free[bufs->free_count - 1];
	r = recv(op->fd, bufs->all[index].data, bufs->all[index].len, op->rw.flags | MSG_DONTWAIT);
	/* Otherwise there may be more; the poll would fire again if it only looks as if not. */
	*ret_empty = r < (ssize_t)bufs->all[index].len;
	if (r < 0)
		return -errno;
	if (r > 0) {
		bufs->free_count--;
		op->buffer = index;
		*flags |= WHI_OP_BUFFER;
	}
	return (int32_t)r;
}

int whi_uring_bufs_open(struct whi_uring *u, uint32_t count)
{
	struct whi_uring_bufs *bufs;
	int r = 0;

	if (!is_off(u, WHI_URING_MULTIRECV)) {
		u->bufs = io_uring_setup_buf_ring(&u->ring, count, 0, 0, &r);
		if (!u->bufs)
			return r;
		u->buf_count = count;
		return 0;
	}
	bufs = whi_calloc(1, sizeof(*bufs) + count * (sizeof(*bufs->all) + sizeof(*bufs->free)));
	if (!bufs)
		return -ENOMEM;
	bufs->count = count;
	bufs->all = (void *)(bufs + 1);
	bufs->free = (void *)(bufs->all + count);
	u->plain_bufs = bufs;
	return 0;
}

void whi_uring_plain_give(struct whi_uring *u, uint16_t index, void *buf, uint32_t len)
{
	struct whi_uring_bufs *bufs = u->plain_bufs;

	whi_assert(index < bufs->count && bufs->free_count < bufs->count);
	bufs->all[index].data = buf;
	bufs->all[index].len = len;
	bufs->free[bufs->free_count++] = index;
}

void whi_uring_bufs_close(struct whi_uring *u)
{
	if (u->bufs)
		io_uring_free_buf_ring(&u->ring, u->bufs, u->buf_count, 0);
	whi_free(u->plain_bufs);
}
