/*
 * What the parts of the epoll backend share. Operations wait in one of three places: on the queue
 * of a descriptor, in the wheel, or with the executor. What has been done and only has to be told
 * is on a list of the backend's until the next turn.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "backend/backend.h"
#include "base/list.h"
#include "base/queue.h"
#include "base/wheel.h"

enum {
	WHI_EPOLL_EVENTS = 512, /* taken from the kernel at a time */
	WHI_EPOLL_CHUNK = 256,	/* descriptors, and slots, that are allocated together */
	WHI_EPOLL_THREADS = 4,	/* of a loop's executor */
	WHI_EPOLL_NO_SLOT = -1,
};

enum whi_epoll_place {
	WHI_EPOLL_FREE,
	WHI_EPOLL_ON_FD, /* on a queue of its descriptor */
	WHI_EPOLL_TIMED, /* in the wheel */
	WHI_EPOLL_WORK,	 /* with the executor */
};

/* An operation that waits. One line of the cache. */
struct whi_epoll_slot {
	_Alignas(64) struct whi_op *op;
	struct whi_epoll *e;
	union {
		struct whi_list link;	/* on a queue, a descriptor's or the executor's */
		struct whi_timer timer; /* the operation's, or until it is tried again */
	};
	uint32_t next_free;
	uint8_t place;	 /* enum whi_epoll_place */
	bool working;	 /* a thread has it; the executor's, under its lock */
	bool poll_first; /* the file does not know how not to wait: ask poll(2) before trying */
};

/* A descriptor by its number. The table says what the kernel does not tell again. What a receive
 * needs is one line of the cache. */
struct whi_epoll_fd {
	_Alignas(64) struct whi_list in, out, polls; /* slots, first come first served */
	int fd;
	uint32_t mask; /* events it was registered for; 0: was not */
	bool in_ready; /* an attempt may succeed; false: not before the next edge */
	bool out_ready;
	bool unsure; /* the end or an error is there, and its edge has been: not `exact` any more */
	bool ours;   /* cannot be closed or replaced without our knowing */
	bool socket; /* and is a socket: registered once, edge-triggered */
	bool stream; /* and one of bytes without borders */
	bool exact;  /* and a receive that got less than it asked for has emptied it */
	bool hot;    /* on the list of these */
	struct whi_qnode hot_link;
	bool file;   /* ours, and one that epoll does not take: always ready, may wait for a disk */
	bool shared; /* may have other descriptors: closing does not end its registration */
	bool nonblock; /* O_NONBLOCK is known to be set */
};

struct whi_epoll_buf {
	void *data;
	uint32_t len;
	uint16_t index;
};

struct whi_epoll_executor {
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct whi_list queue; /* slots */
	unsigned queued, idle, threads;
	bool stop;
	pthread_t ids[WHI_EPOLL_THREADS];
};

/* What every turn touches comes first and lies together. */
struct whi_epoll {
	struct whi_backend base; /* must be first */
	int epoll_fd;
	int wake_fd; /* never read: each write is an edge */
	bool no_pwait2;
	/* A turn's. */
	bool hurried;	      /* the next turn must not sleep */
	bool starved;	      /* a receive ended for want of a buffer since one was last lent */
	unsigned told;	      /* completions that may have made somebody ready */
	unsigned skipped;     /* turns in a row that did not ask the kernel */
	unsigned event_next;  /* of `events`, the one to serve next */
	unsigned event_count; /* and how many there are */
	struct whi_fifo done; /* operations with a result */
	struct whi_fifo hot;  /* descriptors to be tried */
	struct whi_epoll_buf *bufs; /* a stack: the last one given is the one in the cache */
	uint32_t buf_count;
	uint32_t fd_chunks;
	/* Tables, in chunks so that nothing in them moves. */
	struct whi_epoll_fd **fds;
	struct whi_epoll_slot **slots;
	uint32_t slot_count;
	uint32_t free_slot;
	struct whi_backend_opts opts;
	/* Others write these. */
	_Alignas(64) _Atomic uint32_t asleep; /* 1: waits in the kernel and must be woken */
	_Atomic uint32_t message_count;
	struct whi_mpsc messages;
	struct whi_mpsc finished; /* operations of the executor, their results set */
	_Alignas(64) struct epoll_event events[WHI_EPOLL_EVENTS];
	struct whi_wheel wheel;
	struct whi_epoll_executor work;
	struct whi_list peers; /* on the list of all backends of this kind */
};

static inline struct whi_epoll *whi_epoll_of(struct whi_backend *backend)
{
	return (struct whi_epoll *)(void *)backend;
}

static inline struct whi_epoll_slot *whi_epoll_slot(const struct whi_epoll *e, uint32_t index)
{
	return &e->slots[index / WHI_EPOLL_CHUNK][index % WHI_EPOLL_CHUNK];
}

/* epoll.c */

/* `op` has its result: tell now, which is for turns only, or in the next turn. The slot, if there
 * is one, is free then. */
void whi_epoll_tell(struct whi_epoll *e, struct whi_op *op, int32_t result, unsigned flags);
void whi_epoll_finish(struct whi_epoll *e, struct whi_op *op, int32_t result);

/* Any thread: something was put into `finished` or `messages`. */
void whi_epoll_notify(struct whi_epoll *e);

/* epoll_turn.c */
int whi_epoll_turn(struct whi_backend *backend, uint64_t timeout_ns);

/* epoll_fd.c: descriptors. */

/* Wait on the descriptor, from the next turn on. -ENOMEM, -EBADF. */
int whi_epoll_fd_wait(struct whi_epoll *e, struct whi_epoll_slot *slot);

/* Something may have happened to it. */
void whi_epoll_fd_run(struct whi_epoll *e, struct whi_epoll_fd *d);
void whi_epoll_fd_event(struct whi_epoll *e, struct whi_epoll_fd *d, uint32_t events);
void whi_epoll_fd_heat(struct whi_epoll *e, struct whi_epoll_fd *d);

/* `d` has an event that is served in `steps` steps, from 3 down to 1: have another line on
 * the way to its receiver. */
void whi_epoll_fd_prefetch(const struct whi_epoll_fd *d, unsigned steps);

/* The entry of `fd`; NULL: there is none yet. */
struct whi_epoll_fd *whi_epoll_fd_find(const struct whi_epoll *e, int fd);

/* `fd` was made here, or given to us for good. */
void whi_epoll_fd_made(struct whi_epoll *e, int fd, const struct whi_epoll_fd *as);

/* An operation that never waits; what it does to descriptors is noted. */
int whi_epoll_instant(struct whi_epoll *e, const struct whi_op *op);

void whi_epoll_fds_free(struct whi_epoll *e);

/* epoll_try.c: attempts. */
enum whi_epoll_outcome {
	WHI_EPOLL_GONE,	 /* it does not wait here any more */
	WHI_EPOLL_WAIT,	 /* for the descriptor to be ready */
	WHI_EPOLL_LATER, /* it had its share of this turn */
	WHI_EPOLL_RETRY, /* nothing will tell when: after a while */
};
enum whi_epoll_outcome whi_epoll_try(struct whi_epoll *e, struct whi_epoll_fd *d,
				     struct whi_epoll_slot *slot);

/* The same for a file that epoll does not take. */
enum whi_epoll_outcome whi_epoll_try_file(struct whi_epoll *e, struct whi_epoll_slot *slot);

/* epoll_work.c: the executor. */
int whi_epoll_work_init(struct whi_epoll *e);
void whi_epoll_work_fini(struct whi_epoll *e);

/* -EAGAIN and the like: there is no thread and none can be made. */
int whi_epoll_work_start(struct whi_epoll *e, struct whi_epoll_slot *slot);

/* True: it had not begun and is off the queue. */
bool whi_epoll_work_cancel(struct whi_epoll *e, struct whi_epoll_slot *slot);

/* epoll_peers.c: messages. */
void whi_epoll_peers_join(struct whi_epoll *e);
void whi_epoll_peers_leave(struct whi_epoll *e);
int whi_epoll_message(const struct whi_op *op);
void whi_epoll_read_messages(struct whi_epoll *e);
