/*
 * The operation: one thing asked of the kernel. It lives with whoever waits for it, goes through a
 * backend, and completes exactly once; a multishot one delivers many results before that.
 *
 * Contract
 * 1. From whi_op_submitted until its state is DONE the operation, and every buffer it names, stays
 *    valid and where it is: the kernel may touch them. Asking for cancellation does not end that.
 * 2. `result` is the kernel's: >= 0, or -errno.
 * 3. A quiet send is tried once, without waiting for room in the socket, in the next turn at the
 *    latest. If it took everything it costs no completion of the kernel's; the backend knows all
 *    the same and completes it, at once where it tries at once. Otherwise its result says how far
 *    it came, or -EAGAIN.
 * 4. `done` is called for every completion and must not suspend. In its last call the state is
 *    DONE, and the operation may be used again or go away.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/queue.h"

struct io_uring_sqe;
struct iovec;
struct statx;

enum whi_op_kind {
	WHI_OP_NOP,
	/* net */
	WHI_OP_SOCKET,
	WHI_OP_BIND,
	WHI_OP_LISTEN,
	WHI_OP_ACCEPT,
	WHI_OP_ACCEPT_MULTI,
	WHI_OP_CONNECT,
	WHI_OP_RECV,
	WHI_OP_RECV_MULTI,
	WHI_OP_SEND,
	WHI_OP_RECVMSG,
	WHI_OP_SENDMSG,
	WHI_OP_SHUTDOWN,
	WHI_OP_CLOSE,
	/* file */
	WHI_OP_OPENAT,
	WHI_OP_READ,
	WHI_OP_WRITE,
	WHI_OP_READV,
	WHI_OP_WRITEV,
	WHI_OP_FSYNC,
	WHI_OP_STATX,
	WHI_OP_FALLOCATE,
	WHI_OP_UNLINKAT,
	WHI_OP_RENAMEAT,
	WHI_OP_MKDIRAT,
	/* others */
	WHI_OP_TIMER,
	WHI_OP_POLL,
	WHI_OP_MESSAGE,
	/* performed only, never submitted: small calls that never wait */
	WHI_OP_PERFORMED,
	WHI_OP_SETSOCKOPT = WHI_OP_PERFORMED,
	WHI_OP_GETSOCKOPT,
	WHI_OP_GETSOCKNAME,
	WHI_OP_SEEK,
	WHI_OP_ADOPT, /* a descriptor from outside: make it wait as the backend likes it */
	WHI_OP_PIDFD_OPEN,
	WHI_OP_WAITID, /* of a pidfd: collect the status of a child that has ended */
	WHI_OP_MAX,
};

enum whi_op_state {
	WHI_OP_IDLE,
	WHI_OP_QUEUED,	   /* a backend has it, the kernel cannot know of it yet */
	WHI_OP_INFLIGHT,   /* the kernel may have it */
	WHI_OP_CANCELLING, /* the same, and has been asked to let go */
	WHI_OP_DONE,
};

/* What came with a completion besides the result. Numbered as io_uring's own. */
enum whi_op_flags {
	WHI_OP_BUFFER = 1,    /* `buffer` holds the data */
	WHI_OP_MORE = 2,      /* further completions of this multishot operation follow */
	WHI_OP_SOCK_MORE = 4, /* the socket has more data already */
};

struct whi_op {
	uint8_t kind;  /* enum whi_op_kind */
	uint8_t state; /* enum whi_op_state; changed by whi_op_enter only */
	uint8_t flags; /* enum whi_op_flags of the last completion */
	bool cancel_wanted;
	bool quiet;	 /* send: done as soon as it was tried, see below */
	bool once;	 /* recv_multi: takes one buffer, and ends with it */
	uint16_t buffer; /* with WHI_OP_BUFFER: index of the buffer */
	int32_t result;
	int32_t fd;
	uint32_t slot; /* the backend's, as are these two */
	union {
		uint32_t sq_index;
		uint32_t moved; /* bytes so far, of one that goes on: attempts start there */
	};
	void (*done)(struct whi_op *op);
	void *owner;	       /* for `done`, which touches it: a backend may prefetch it */
	struct whi_qnode link; /* the backend's, while it keeps the operation back */
	union {
		struct {
			void *buf;
			size_t len;
			uint64_t offset;
			int flags;
		} rw; /* read, write, recv, send; recv_multi uses flags only */
		struct {
			const struct iovec *iov;
			unsigned iov_count;
			uint64_t offset;
		} vec; /* readv, writev */
		struct {
			struct msghdr *msg;
			int flags;
		} msg; /* sendmsg, recvmsg */
		struct {
			struct sockaddr *addr;
			socklen_t len;
			socklen_t *len_ptr; /* accept */
			int flags;
		} addr; /* bind, connect, accept */
		struct {
			int domain, type, protocol;
		} socket;
		struct {
			int value;
		} arg; /* listen: backlog; shutdown: how; poll: events; fsync: data only;
			  pidfd_open: pid */
		struct {
			int level, name;
			int *value_ptr;
		} option; /* setsockopt, getsockopt: integers only */
		struct {
			int whence;
			int64_t offset;
		} seek; /* result: 0, not the position */
		struct {
			siginfo_t *info;
		} wait; /* waitid: -EAGAIN if it has not ended */
		struct {
			const char *path;
			const char *to; /* rename */
			int flags;
			unsigned mode; /* openat, mkdir; statx: mask */
			struct statx *statx;
		} path;
		struct {
			int mode;
			uint64_t offset, len;
		} allocate;
		struct {
			struct {
				int64_t tv_sec;
				long long tv_nsec;
			} at; /* as struct __kernel_timespec */
		} timer;      /* absolute, CLOCK_MONOTONIC */
		struct {
			uint64_t data; /* arrives as the peer ring's user_data */
			uint32_t value;
		} message; /* `fd` is the peer's ring */
	};
};

/* A row: all that a backend needs to know about an operation. */
struct whi_opdef {
	const char *name;
	bool needs_fd;
	bool cancellable; /* false: asking would not help, the kernel ends it soon by itself */
	bool multishot;
	bool makes_fd;	/* a result >= 0 is a descriptor that must not be lost */
	bool instant;	/* an attempt never waits for anything */
	uint8_t opcode; /* io_uring's */
	/* Fill in one submission queue entry. */
	void (*prep)(const struct whi_op *op, struct io_uring_sqe *sqe);
	short ready; /* poll(2)'s event after which an attempt that said -EAGAIN may succeed */
	/* Do it now: for kernels whose ring lacks it, and for backends without one. Returns the
	 * result. -EAGAIN: it would have to wait. NULL: there is no such way. */
	int (*attempt)(const struct whi_op *op);
	/* Do it, waiting for a disk as long as that takes: for threads that may be kept. NULL: it
	 * never waits for one. */
	int (*work)(const struct whi_op *op);
};

extern const struct whi_opdef whi_opdefs[WHI_OP_MAX];

/* Change state; aborts on a transition that is not in the table. */
void whi_op_enter(struct whi_op *op, enum whi_op_state state);

/* Backends call this for every completion: `flags` as enum whi_op_flags. */
void whi_op_complete(struct whi_op *op, int32_t result, unsigned flags);

/* Attempt `op`: what `perform` is in backends whose descriptors are the kernel's. */
int whi_op_attempt(const struct whi_op *op);

static inline bool whi_op_pending(const struct whi_op *op)
{
	return op->state != WHI_OP_IDLE && op->state != WHI_OP_DONE;
}
