/*
 * What the stressed server offers, a service a listener; and what happened to its connections.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <whorl/sock.h>

struct wh_executor;

/* A frame is a head and a body that come back unchanged. The head's highest byte says what to do
 * in between, the others how long the body is. Anything else ends the connection. */
enum frame_action { FRAME_BACK, FRAME_SLEEP, FRAME_OFFLOAD, FRAME_ACTIONS };

enum { FRAME_BODY_MAX = 65536, FRAME_LEN_MASK = 0xffffff, FRAME_ACTION_SHIFT = 24 };

/* The stream repeats this many bytes: the one at offset i is i * 7 + i / 256, modulo 256. */
enum { STREAM_PERIOD = 65536 };

struct service {
	const char *name;
	wh_conn_fn fn;
};

/* echo, frames, stream, overflow, vast; ends with a name that is NULL. */
extern const struct service services[];

struct tally {
	_Atomic uint64_t connections; /* now */
	_Atomic uint64_t accepted;    /* since the start */
	_Atomic uint64_t bytes;	      /* sent back */
	_Atomic uint64_t errors;      /* connections that ended with an error of their peer's */
	_Atomic uint64_t surprises;   /* ... with one that the call's header does not name */
	_Atomic int first_surprise;
};

extern struct tally tally;

/* Once, before the first connection. `idle_ns` is how long a peer may take for a frame. */
void services_init(struct wh_executor *executor, uint64_t idle_ns);
