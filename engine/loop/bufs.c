/*
 * Receive buffers.
 *
 * Invariants
 * 1. A buffer is the backend's or lent; count - lent are the backend's, some of which may already
 *    hold data whose completion has not been seen.
 * 2. Arming a receive takes no buffer, data does. So a receive that was unparked may leave its
 *    buffer untouched: the loop goes on unparking while both buffers and parked receives remain.
 * 3. While buffers are scarce, a receive takes one at a time, and one that finds others waiting
 *    waits behind them. Otherwise those that are armed would take every buffer that comes back
 *    before the parked ones get to ask.
 */
#include "loop/bufs.h"

#include <errno.h>
#include <string.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"

enum {
	LINE = 64,
	PAGE = 4096,
	COUNT_MIN = 16,
	/* How often all buffers are used without anybody waiting before they are not scarce. */
	SCARCE_ROUNDS = 8,
};

void whi_bufs_init(struct whi_bufs *bufs, struct whi_backend *backend, uint32_t count,
		   uint32_t bytes)
{
	memset(bufs, 0, sizeof(*bufs));
	bufs->backend = backend;
	bufs->count = count;
	bufs->bytes = bytes;
	/* One line more than a round size: the first bytes of all buffers, which are what small
	 * messages fill, then spread over all cache sets instead of a few. */
	bufs->stride = (bytes + LINE - 1) / LINE * LINE + LINE;
	whi_list_init(&bufs->parked);
}

void whi_bufs_fini(struct whi_bufs *bufs)
{
	whi_free(bufs->memory);
	whi_free(bufs->meta);
}

int whi_bufs_open(struct whi_bufs *bufs)
{
	int r = -ENOMEM;

	if (whi_likely(bufs->memory))
		return 0;
	bufs->meta = whi_calloc(bufs->count, sizeof(*bufs->meta));
	if (!bufs->meta)
		return -ENOMEM;
	bufs->memory = whi_aligned_alloc(PAGE, (size_t)bufs->count * bufs->stride);
	if (!bufs->memory)
		goto err_meta;
	r = bufs->backend->ops->bufs_open(bufs->backend, bufs->count);
	/* Where locked memory is short, fewer do. */
	for (; r == -ENOMEM && bufs->count > COUNT_MIN; bufs->count /= 2)
		r = bufs->backend->ops->bufs_open(bufs->backend, bufs->count / 2);
	if (r < 0)
		goto err_memory;
	for (uint32_t i = 0; i < bufs->count; i++)
		bufs->backend->ops->buf_give(bufs->backend, (uint16_t)i,
					     whi_bufs_data(bufs, (uint16_t)i), bufs->bytes);
	return 0;

err_memory:
	whi_free(bufs->memory);
	bufs->memory = NULL;
err_meta:
	whi_free(bufs->meta);
	bufs->meta = NULL;
	return r;
}

void *whi_bufs_data(const struct whi_bufs *bufs, uint16_t index)
{
	return bufs->memory + (size_t)index * bufs->stride;
}

void whi_bufs_took(struct whi_bufs *bufs)
{
	bufs->lent++;
	if (whi_unlikely(bufs->scarce > 0))
		bufs->scarce--;
}

void whi_bufs_give(struct whi_bufs *bufs, uint16_t index)
{
	whi_assert(bufs->lent > 0 && index < bufs->count);
	bufs->lent--;
	bufs->stuck_since_ns = 0;
	bufs->backend->ops->buf_give(bufs->backend, index, whi_bufs_data(bufs, index), bufs->bytes);
}

void whi_bufs_park(struct whi_bufs *bufs, struct whi_parked *parked)
{
	bufs->exhausted++;
	bufs->scarce = SCARCE_ROUNDS * bufs->count;
	whi_list_append(&bufs->parked, &parked->link);
}

bool whi_bufs_unpark(struct whi_bufs *bufs)
{
	uint32_t free = bufs->count - bufs->lent;
	struct whi_list *node;

	for (; free > 0 && (node = whi_list_pop(&bufs->parked)); free--) {
		struct whi_parked *parked = whi_container_of(node, struct whi_parked, link);

		parked->retry(parked);
	}
	return bufs->count > bufs->lent && !whi_list_empty(&bufs->parked);
}

static void despair(struct whi_bufs *bufs)
{
	struct whi_list all, *node;

	whi_list_init(&all);
	whi_list_splice(&all, &bufs->parked);
	while ((node = whi_list_pop(&all))) {
		struct whi_parked *parked = whi_container_of(node, struct whi_parked, link);

		if (parked->despair)
			parked->despair(parked);
		else
			whi_list_append(&bufs->parked, node);
	}
}

uint64_t whi_bufs_patience(struct whi_bufs *bufs, uint64_t now_ns)
{
	if (bufs->lent < bufs->count)
		return WHI_NEVER;
	if (bufs->stuck_since_ns == 0)
		bufs->stuck_since_ns = now_ns;
	/* And as long as none comes back nobody else needs to find that out by waiting. */
	if (now_ns - bufs->stuck_since_ns >= WHI_BUFS_PATIENCE_NS)
		despair(bufs);
	return whi_list_empty(&bufs->parked) ? WHI_NEVER : WHI_BUFS_PATIENCE_NS;
}
