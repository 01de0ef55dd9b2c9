/*
 * The memory that the program shares with one worker process: a ring of requests and a ring of
 * replies, each with one writer and one reader, and two words to sleep by. Nothing in it is a lock,
 * and no two workers share any of it.
 *
 * The program believes nothing that it reads here: each index, length and ticket is checked
 * against what it keeps for itself, headers are copied before they are checked, and the memory
 * cannot be made smaller (memfd seals). A worker trusts the program.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/jobs.h>

enum {
	WHI_RING_BYTES = 256 * 1024,
	WHI_RING_GRAIN = 32,		      /* records begin and end at multiples of it */
	WHI_REPLIES_MAX = WHI_RING_BYTES / 4, /* bytes of replies that may be on their way: with
						 padding they always find room */
};

/* What a record is. Requests: PAD to START; replies: PAD and REPLY. */
enum whi_record_kind {
	WHI_RECORD_PAD = 1, /* nothing, up to the ring's end */
	WHI_RECORD_DEFINE,  /* job `job` is the one of this name: a zero-terminated string, and a
			       second one: the library that has it, "" if the program has */
	WHI_RECORD_CALL,
	WHI_RECORD_REPLY,
};

enum whi_request_state {
	WHI_REQUEST_WAITS, /* not begun: the program may take it back */
	WHI_REQUEST_BEGUN, /* by the worker */
	WHI_REQUEST_TAKEN_BACK,
};

enum { WHI_RECORD_HAS_FD = 1 /* a descriptor comes by the socket */ };

struct whi_request {
	_Atomic uint32_t state; /* both sides change it, by compare and exchange */
	uint32_t bytes;		/* of the record with this header, and of what fills it up */
	uint16_t kind;
	uint16_t flags;
	uint32_t ticket;
	uint32_t job;
	uint32_t args_len; /* bytes that follow */
	uint32_t result_max;
	uint32_t unused;
};

struct whi_reply {
	uint32_t bytes;
	uint16_t kind;
	uint16_t flags;
	uint32_t ticket;
	int32_t result;
	uint32_t result_len; /* bytes that follow */
	uint32_t unused[3];
};

/* The memory. Positions count bytes since the beginning and wrap at 2^32. */
struct whi_rings_shared {
	_Alignas(64) _Atomic uint32_t request_tail; /* the program's */
	_Atomic uint32_t reply_head;
	_Alignas(64) _Atomic uint32_t request_head; /* the worker's */
	_Atomic uint32_t reply_tail;
	/* 1: the worker sleeps on it, or is about to. Set before it looks at request_tail for the
	 * last time; the program looks at it after having moved request_tail. */
	_Alignas(64) _Atomic uint32_t dozes;
	/* 1: the program wants its doorbell rung. The same, the other way round. */
	_Alignas(64) _Atomic uint32_t bell;
	/* 1: the same once the worker has read all requests, though it replies to none of them. */
	_Atomic uint32_t nudge;
	_Alignas(4096) unsigned char requests[WHI_RING_BYTES];
	unsigned char replies[WHI_RING_BYTES];
};

static inline uint32_t whi_record_bytes(size_t payload)
{
	return (uint32_t)((WHI_RING_GRAIN + payload + WHI_RING_GRAIN - 1) / WHI_RING_GRAIN *
			  WHI_RING_GRAIN);
}

/* The program's end. */
struct whi_rings {
	struct whi_rings_shared *shared;
	uint32_t request_tail; /* the true one; the shared one follows in whi_rings_publish */
	uint32_t request_head; /* as last seen and found right */
	uint32_t reply_head;
	bool padded; /* the last reply was padding */
};

/* Make the memory, and a descriptor of it for the worker. 0, or -errno as memfd_create(2),
 * ftruncate(2), mmap(2). */
int whi_rings_open(struct whi_rings *rings, int *ret_fd);
void whi_rings_close(struct whi_rings *rings);

/* Copy in a request with `head->args_len` bytes of `args`. 0 with its position in `*ret_position`,
 * -EAGAIN: there is no room; -EPROTO. */
int whi_rings_put(struct whi_rings *rings, const struct whi_request *head, const void *args,
		  uint32_t *ret_position);

/* Forget the request at `position`, which was put last and has not been published. */
void whi_rings_unput(struct whi_rings *rings, uint32_t position);

/* Let the worker see what was put; wake it if it sleeps. */
void whi_rings_publish(struct whi_rings *rings);

/* The request at `position` is not to be begun any more. False: it has been, or was read. */
bool whi_rings_take_back(struct whi_rings *rings, uint32_t position);

/* The next reply: 1, with a copy of its header in `*ret` and its bytes in `*ret_bytes`; 0: there is
 * none; -EPROTO: the memory is nonsense. The bytes may change while they are read. */
int whi_rings_next_reply(struct whi_rings *rings, struct whi_reply *ret, const void **ret_bytes);

/* Through with the reply that whi_rings_next_reply gave last. */
void whi_rings_drop_reply(struct whi_rings *rings, const struct whi_reply *reply);

/* Have the doorbell rung at the next reply. True: there is one already. */
bool whi_rings_want_bell(struct whi_rings *rings);

/* Have the doorbell rung once all requests have been read. To be called when there was no room for
 * one, and that one to be put again after it. */
void whi_rings_want_nudge(struct whi_rings *rings);

/* The worker's end. */
struct whi_worker_rings {
	struct whi_rings_shared *shared;
	uint32_t request_head;
	uint32_t reply_tail;
};

/* 0, or -errno as mmap(2). */
int whi_worker_rings_open(struct whi_worker_rings *rings, int fd);

/* The next request, which is kept until whi_worker_rings_drop; NULL: there is none. */
struct whi_request *whi_worker_rings_next(struct whi_worker_rings *rings);
void whi_worker_rings_drop(struct whi_worker_rings *rings, const struct whi_request *request);

/* All requests have been read. True: the program wants the doorbell rung for that. */
bool whi_worker_rings_nudged(struct whi_worker_rings *rings);

/* Sleep until there may be a request. */
void whi_worker_rings_doze(struct whi_worker_rings *rings);

/* For one that cannot sleep: announce it. False: there is a request. */
bool whi_worker_rings_lie_down(struct whi_worker_rings *rings);

void whi_worker_rings_close(struct whi_worker_rings *rings);

/* Room for a reply of up to `result_max` bytes, behind its header. */
struct whi_reply *whi_worker_rings_room(struct whi_worker_rings *rings, uint32_t result_max);

/* The reply in that room is done: `result_len` and the rest are filled in. True: the program wants
 * the doorbell rung. */
bool whi_worker_rings_send(struct whi_worker_rings *rings, struct whi_reply *reply);
