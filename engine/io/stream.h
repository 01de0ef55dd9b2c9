/*
 * The receive stream of a socket: one multishot receive whose many completions are chained up until
 * somebody takes them. It stays armed between calls, so a busy connection costs one submission for
 * many messages; it is stopped when too much is waiting, and parked when the loop has no buffer.
 * While buffers are scarce it takes one at a time, and queues up behind others for the next.
 * When these do not come back, because other peers do not read, it receives once into memory of its
 * own: nobody can keep a connection waiting but its own peer.
 */
#pragma once

#include "loop/bufs.h"
#include "loop/loop.h"
#include "op/op.h"

enum whi_stream_state {
	WHI_STREAM_OFF,	     /* nothing in the kernel */
	WHI_STREAM_ARMED,    /* the multishot receive is */
	WHI_STREAM_STOPPING, /* it has been asked to end */
	WHI_STREAM_PARKED,   /* no buffer: waits for its turn */
};

struct whi_stream {
	struct whi_op op;
	struct whi_parked parked;
	struct wh_loop *loop;
	struct whi_wait *waiter; /* the task that receives, or that closes */
	uint8_t state;		 /* enum whi_stream_state */
	bool started;		 /* was armed once: data may be here instead of in the socket */
	bool ended;		 /* end of stream or a lasting error, in `end` */
	int32_t end;
	int32_t refused;     /* 0, or why it could not be armed just now: no room, no memory */
	uint16_t head, tail; /* buffers in order of arrival; WHI_BUF_NONE: none */
	uint32_t chained;    /* how many */
	uint32_t consumed;   /* bytes of the first one that have been copied out */
	uint32_t own_len;    /* bytes in `own` */
	char *own; /* memory of its own: the kernel's while the operation is a RECV, then data */
};

void whi_stream_init(struct whi_stream *stream, struct wh_loop *loop, int fd);

/* The first buffer's bytes, without suspending. -EAGAIN: nothing is here. 0 or another error: the
 * stream has ended. The caller owes whi_stream_give. */
ssize_t whi_stream_take(struct whi_stream *stream, void **ret_data, uint16_t *ret_index);

/* Give back what whi_stream_take returned on this loop. */
void whi_stream_give(struct wh_loop *loop, void *data, uint16_t index);

/* Up to `len` bytes, copied. Otherwise as whi_stream_take. */
ssize_t whi_stream_copy(struct whi_stream *stream, void *buf, size_t len);

/* Suspend the calling task until whi_stream_take may have something. 0, -ECANCELED, -ETIMEDOUT or
 * what prevents receiving. */
int whi_stream_wait(struct whi_stream *stream);

/* Make the task in whi_stream_wait leave; the receive stays armed for the next one. */
void whi_stream_leave(struct whi_stream *stream);

/* Stop the receive, suspend until the kernel has let go, and give back what was not taken. No task
 * waits. */
void whi_stream_stop(struct whi_stream *stream);
