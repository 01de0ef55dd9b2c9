/* What the parts of the io_uring backend share. */
#pragma once

#include <liburing.h>
#include <stdatomic.h>

#include "backend/backend.h"

/* Maps an entry's user_data to its operation. */
struct whi_uring_slot {
	struct whi_op *op; /* NULL: free */
	uint32_t generation;
	uint32_t next_free;
};

struct whi_uring {
	struct whi_backend base; /* must be first */
	struct io_uring ring;
	struct whi_backend_opts opts;
	struct whi_uring_slot *slots;
	uint32_t slot_count;
	uint32_t free_slot;
	uint32_t enter_flags;
	struct whi_fifo backlog; /* operations for which the queue had no room */
	struct whi_fifo quiet;	 /* quiet operations that were given an entry */
	bool hurried;		 /* somebody waits for one of them */
	bool cancels_deferred;	 /* some operation's cancel_wanted waits for room */
	bool cancels_missed;	 /* some cancellation did not find its operation */
	bool wake_armed;
	int wake_fd;
	uint64_t wake_value; /* what the read of wake_fd puts there */
	struct io_uring_buf_ring *bufs;
	uint32_t buf_count;
	bool supported[IORING_OP_LAST];
	uint32_t off; /* a bit for each enum whi_uring_feature that is not used */
	bool plain;   /* some operations are done in a plainer way for that */
	struct whi_uring_bufs *plain_bufs; /* instead of `bufs`, without buffer rings */
};

/* The result of a quiet operation as long as no completion says otherwise. */
#define WHI_QUIET_SUCCESS INT32_MIN

/* uring.c: the next entry, all zero. NULL: the queue is full, and the kernel takes nothing until
 * completions are reaped. */
struct io_uring_sqe *whi_uring_entry(struct whi_uring *u);

/* Fill in `sqe` for `op`, which has a slot. */
void whi_uring_prepare(const struct whi_uring *u, const struct whi_op *op,
		       struct io_uring_sqe *sqe);

/* uring_reap.c: turn everything that has completed into results of operations. */
void whi_uring_reap(struct whi_uring *u);

/* uring_setup.c: the ring itself, with the best profile that the kernel takes. -EOPNOTSUPP: the
 * kernel's io_uring lacks something that cannot be done without. */
int whi_uring_ring_open(struct whi_uring *u);
void whi_uring_ring_close(struct whi_uring *u);

/* What the last ring that could not be opened with -EOPNOTSUPP lacked, for a person. Any thread. */
const char *whi_uring_missing(void);

/* uring_restrict.c: have the kernel refuse what opts.restrict_ops does not declare. The ring is
 * still disabled. 0 or -errno. */
int whi_uring_restrict(struct whi_uring *u);

/* Whether a ring restricted to `allow` takes io_uring's operation `opcode`. */
bool whi_uring_allows(uint32_t allow, uint8_t opcode);

/* uring_plain.c: doing without the features that are off. Everything here may be called with all
 * of them on, too. */
bool whi_uring_plain_needed(const struct whi_uring *u);
void whi_uring_plain_prep(const struct whi_uring *u, const struct whi_op *op,
			  struct io_uring_sqe *sqe);

/* `op` was prepared as an operation for one result, and goes on with the next. */
bool whi_uring_plain_repeats(const struct whi_uring *u, const struct whi_op *op);

/* `op` is a receive that was prepared as a poll. Once that has fired: receive into a free buffer.
 * Returns the operation's result, -EAGAIN if nothing is there; `*ret_empty`: nor will be. */
bool whi_uring_plain_polls(const struct whi_uring *u, const struct whi_op *op);
int32_t whi_uring_plain_recv(struct whi_uring *u, struct whi_op *op, unsigned *flags,
			     bool *ret_empty);

int whi_uring_bufs_open(struct whi_uring *u, uint32_t count);
void whi_uring_plain_give(struct whi_uring *u, uint16_t index, void *buf, uint32_t len);
void whi_uring_bufs_close(struct whi_uring *u);
