/*
 * A backend whose kernel does whatever the fuzzer's input says, within what a kernel may do:
 * operations complete in any order, late, short, with every error they can have, more than once if
 * they are multishot, and before or after a cancellation takes hold. Time is virtual.
 *
 * It checks what the engine owes a kernel: an operation is submitted when it is idle and on a
 * descriptor that is open, a descriptor is closed when no operation is left on it, memory lent for
 * an operation stays readable until that has completed, a buffer is given once.
 *
 * What a socket receives and what it should send is a sequence of its own, so that a byte that is
 * lost, doubled or of another socket shows.
 */
#pragma once

#include "backend/backend.h"
#include "fuzz/bytes.h"
#include "loop/loop.h"

enum { KERNEL_OPS_MAX = 1024, KERNEL_BUFS_MAX = 16, KERNEL_FDS_MAX = 1024 };
enum { KERNEL_FD_FIRST = 1000 };

struct kernel_op {
	struct whi_op *op;
	uint64_t serial;
	uint32_t age; /* turns since it was submitted, or since it was cancelled */
};

struct kernel_buf {
	uint16_t index;
	char *memory;
	uint32_t len;
};

/* Descriptor KERNEL_FD_FIRST + its index; no number is used twice. */
struct kernel_fd {
	bool open;
	uint64_t received, sent; /* bytes */
};

struct kernel {
	struct whi_backend base; /* must be first */
	struct bytes *input;
	uint64_t serial;
	struct kernel_op ops[KERNEL_OPS_MAX]; /* pending, in order of submission */
	unsigned op_count;
	struct kernel_buf bufs[KERNEL_BUFS_MAX]; /* given, in order */
	unsigned buf_count;
	struct kernel_fd fds[KERNEL_FDS_MAX];
	unsigned fd_count;
	uint64_t file_bytes; /* length of files */
	bool woken;
};

extern const struct whi_backend_ops kernel_ops;

/* A loop on `kernel`, fed by `input`, with `bufs` receive buffers. */
void kernel_loop_open(struct wh_loop *loop, struct kernel *kernel, struct bytes *input,
		      uint32_t bufs);

/* Run `fn(arg)` as a task until no task is left, then close the loop. Aborts if it does not end, or
 * leaves an operation, a buffer or a descriptor behind. */
void kernel_loop_run(struct wh_loop *loop, wh_task_fn fn, void *arg);

/* A new descriptor: a connected socket, a listener or the file, as it is used. */
int kernel_fd(struct kernel *kernel);

/* Byte `offset` of what `fd` receives and should send, or of the file. */
uint8_t kernel_pattern(int fd, uint64_t offset);
