/* Sockets inside the engine. */
#pragma once

#include <whorl/sock.h>

#include "io/stream.h"
#include "loop/loop.h"

/* How long to wait when descriptors, memory or tasks are out. */
#define WHI_ACCEPT_PAUSE_NS (20 * WH_MS)

struct wh_sock {
	int fd;
	bool closing;
	bool receiving; /* a task is in a receive call */
	bool sending;
	struct wh_loop *loop;
	struct whi_op *recv_op; /* what these tasks wait for, if it is an operation */
	struct whi_op *send_op;
	struct whi_wait *closer;
	uint64_t bytes_sent;
	struct whi_op view_op; /* the send of a view, while `view_pending` */
	bool view_pending;
	uint16_t view_buf;	  /* to be given back, with */
	void *view_data;	  /* its address */
	int32_t send_error;	  /* of a view, for the next send; 0: none */
	struct whi_wait *flusher; /* waits until no view is pending */
	struct whi_list link;	  /* on a listener, until accepted */
	void *server;		  /* wh_serve's, if it runs this connection */
	struct whi_stream stream;
};

/* Wrap `fd`. NULL: no memory; `fd` is still the caller's. */
struct wh_sock *whi_sock_new(int fd);

/* Integer options, that of SOL_SOCKET in one case. 0 or -errno. */
int whi_sock_get(int fd, int name, int *ret);
int whi_sock_set(int fd, int level, int name, int value);

/* Without waiting: for one that was never used. */
void whi_sock_discard(struct wh_sock *sock);

/* A task has left a call on a socket that is closing: let the closer go on if it was the last. */
void whi_sock_left(struct wh_sock *sock);

/* sock_send.c: `done` of view_op. */
void whi_sock_view_sent(struct whi_op *op);

/* Suspend until no view is pending, cancelled or not. */
void whi_sock_drain_views(struct wh_sock *sock);
