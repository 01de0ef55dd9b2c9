/*
 * Receive buffers, shared by all sockets of a loop: an idle connection owns none. The backend takes
 * a buffer when data arrives; whoever got the data gives it back. When none is left, receives end
 * with -ENOBUFS and are parked, first come first served, until buffers return.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/api.h>

#include "base/list.h"

struct whi_backend;

/* A receive without a buffer. Lives in the socket's receive stream. */
struct whi_parked {
	struct whi_list link;
	void (*retry)(struct whi_parked *parked); /* there may be a buffer again */
	/* None has come back for WHI_BUFS_PATIENCE_NS: go on with memory of your own, or park
	 * again. NULL: goes on waiting. Called at once as long as that stays so. */
	void (*despair)(struct whi_parked *parked);
};

/* What lies in a lent buffer, chained per socket in order of arrival. */
struct whi_buf_meta {
	uint16_t next;
	uint32_t len;
};

enum { WHI_BUF_NONE = 0xffff, WHI_BUFS_MAX = 32768 };

/* Peers that never read can keep all buffers lent for as long as they like. */
#define WHI_BUFS_PATIENCE_NS (20 * WH_MS)

struct whi_bufs {
	struct whi_backend *backend;
	char *memory; /* NULL until the first receive that wants a buffer */
	struct whi_buf_meta *meta;
	struct whi_list parked;
	uint32_t count;
	uint32_t bytes;
	uint32_t stride;
	uint32_t lent;		 /* buffers with data, here or with users */
	uint32_t scarce;	 /* how many must be taken before there are enough again */
	uint64_t exhausted;	 /* receives parked so far */
	uint64_t stuck_since_ns; /* some were parked, and none has come back since; 0: not so */
};

/* `count` is a power of two up to WHI_BUFS_MAX. Allocates nothing yet. */
void whi_bufs_init(struct whi_bufs *bufs, struct whi_backend *backend, uint32_t count,
		   uint32_t bytes);
void whi_bufs_fini(struct whi_bufs *bufs);

/* Make the buffers, once. -ENOMEM, or what the backend says. */
int whi_bufs_open(struct whi_bufs *bufs);

void *whi_bufs_data(const struct whi_bufs *bufs, uint16_t index);

/* A completion came with buffer `index`. */
void whi_bufs_took(struct whi_bufs *bufs);

/* The user is done with it. */
void whi_bufs_give(struct whi_bufs *bufs, uint16_t index);

void whi_bufs_park(struct whi_bufs *bufs, struct whi_parked *parked);

/* Buffers run out these days: a receive takes one and queues up again, so that all get theirs. */
static inline bool whi_bufs_scarce(const struct whi_bufs *bufs)
{
	return bufs->scarce > 0;
}

/* Others wait for a buffer already. */
static inline bool whi_bufs_awaited(const struct whi_bufs *bufs)
{
	return !whi_list_empty(&bufs->parked);
}

/* Let parked receives try again, at most as many as there are buffers. True if some are left that
 * a next round may serve. */
bool whi_bufs_unpark(struct whi_bufs *bufs);

/* To be called in every turn while receives are parked: ends their patience when it is due. Returns
 * how long the loop may sleep until the next call; WHI_NEVER: as long as it likes. */
uint64_t whi_bufs_patience(struct whi_bufs *bufs, uint64_t now_ns);
