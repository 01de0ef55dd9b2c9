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
};

/* setup.c: the ring itself, with the best profile that the kernel takes. */
int whi_uring_ring_open(struct whi_uring *u);
void whi_uring_ring_close(struct whi_uring *u);
