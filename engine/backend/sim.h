/*
 * The simulated kernel inside the engine. A *world* owns virtual time, events, hosts and the links
 * between them. A *host* is a machine: descriptors, sockets, a disk, children. A *ring* is what one
 * loop submits to, a struct whi_backend; a host has one or more. A *request* is an operation that a
 * ring has been given, from submission to its last completion.
 *
 * Everything here runs on the thread of its world, outside of tasks. Nothing depends on addresses,
 * on real time or on the thread, so that a seed is a schedule.
 *
 * How an op family plugs in: a row a kind in sim_ops.c. `now` is for kinds that never wait; it is
 * also what `perform` calls. `begin` is for those that wait: it posts the result at once or keeps
 * the request, on a list or with whi_sim_after, and posts later. `cancel` is called for a request
 * that was begun and has not posted its last result.
 */
#pragma once

#include "backend/backend.h"
#include "base/list.h"
#include "op/op.h"

struct whi_sim_disk;
struct whi_sim_host;
struct whi_sim_req;
struct whi_sim_ring;
struct whi_world;
struct wh_sim_link;
struct wh_sim_opts;

/* Numbers from a seed: splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */

struct whi_rng {
	uint64_t state;
};

static inline uint64_t whi_mix64(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static inline uint64_t whi_rng_next(struct whi_rng *rng)
{
	return whi_mix64(rng->state += 0x9e3779b97f4a7c15ull);
}

/* 0 <= it < `bound`; 0 if `bound` is 0. */
static inline uint64_t whi_rng_below(struct whi_rng *rng, uint64_t bound)
{
	return (uint64_t)((unsigned __int128)whi_rng_next(rng) * bound >> 64);
}

/* Events */

/* Lives in what it happens to; fires once a time it is set. */
struct whi_sim_event {
	uint64_t at_ns;
	uint64_t sequence; /* of events at the same time */
	void (*fire)(struct whi_sim_event *event);
	uint32_t place; /* in the heap, plus 1; 0: not set */
};

/* Set `event`, which is not set, to fire `delay_ns` from now; its `fire` is filled in. */
void whi_sim_event_set(struct whi_world *world, struct whi_sim_event *event, uint64_t delay_ns);

/* Harmless on one that is not set. */
void whi_sim_event_unset(struct whi_world *world, struct whi_sim_event *event);

/* Faults */

enum whi_sim_fault {
	WHI_FAULT_SHORT, /* fewer bytes than there could be, sockets */
	WHI_FAULT_EINTR,
	WHI_FAULT_EAGAIN,
	WHI_FAULT_ENOBUFS,
	WHI_FAULT_ENOMEM,
	WHI_FAULT_EMFILE,
	WHI_FAULT_LATE,	       /* a completion is held back */
	WHI_FAULT_REORDER,     /* completions of different operations change places */
	WHI_FAULT_CANCEL_LATE, /* a cancellation misses at first */
	WHI_FAULT_NOMORE,      /* a multishot operation ends with a success */
	WHI_FAULT_EMPTY,       /* a receive that ends takes a buffer for nothing */
	WHI_FAULT_OVERFLOW,    /* the completion queue overflows */
	WHI_FAULT_STALL,       /* an operation waits until it is cancelled, or calm */
	WHI_FAULT_PAUSE,       /* a loop does not get to run */
	WHI_FAULT_RESET,
	WHI_FAULT_REFUSE,
	WHI_FAULT_ABORTED, /* a connection is gone before it is accepted */
	WHI_FAULT_CUT,	   /* a link, for a while */
	WHI_FAULT_DROP,	   /* a datagram */
	WHI_FAULT_SLOW,	   /* something takes long on its way */
	WHI_FAULT_EIO,	   /* disk, from here on */
	WHI_FAULT_ENOSPC,
	WHI_FAULT_DISK_SHORT, /* fewer bytes read or written */
	WHI_FAULT_DISK_SLOW,
	WHI_FAULT_TORN,	   /* a crash leaves part of a write */
	WHI_FAULT_DEATH,   /* a pool's worker process ends */
	WHI_FAULT_FORK,	   /* none can be started */
	WHI_FAULT_NURSERY, /* what starts them dies with all of them */
	WHI_FAULT_MAX,
};

/* One place at which `fault` could be. Returns 0 if it is not; otherwise a number made from the
 * seed and this decision, for whatever about the fault is to be chosen. `req` is who it would
 * strike, or NULL. Ask only where the fault would make a difference. */
uint64_t whi_sim_strike(struct whi_world *world, enum whi_sim_fault fault,
			const struct whi_sim_req *req);

/* Memory of the simulated kernel. Never NULL: a simulation without memory cannot go on, and dies
 * with a sentence. `alloc` leaves the bytes as they are; `calloc` clears them. */
void *whi_sim_alloc(size_t len);
void *whi_sim_calloc(size_t len);
void *whi_sim_realloc(void *ptr, size_t len);
void whi_sim_free(void *ptr);

/* Open files */

enum whi_sim_file_kind {
	WHI_SIM_SOCKET,
	WHI_SIM_FILE, /* the disk's: regular files, directories */
	WHI_SIM_PIDFD,
};

struct whi_sim_file;

struct whi_sim_file_ops {
	/* No descriptor and no request refers to it any more: free it. */
	void (*release)(struct whi_sim_file *file);
	/* The last descriptor was closed; requests may still refer to it. May be NULL. */
	void (*closed)(struct whi_sim_file *file);
	/* Which of the events of poll(2) are there. NULL: always ready to read and write. */
	short (*poll)(struct whi_sim_file *file);
	/* In one line, for a report of what was left open. */
	void (*describe)(const struct whi_sim_file *file, char *text, size_t size);
};

/* An open file description. First in the family's own structure. */
struct whi_sim_file {
	enum whi_sim_file_kind kind;
	const struct whi_sim_file_ops *ops;
	struct whi_sim_host *host;
	uint32_t refs; /* descriptors and requests */
	uint32_t fds;
	int flags;	       /* O_NONBLOCK, O_APPEND, O_ACCMODE as opened */
	struct whi_list polls; /* requests of kind poll */
};

/* The lowest free number for `file`, whose first reference it becomes (`refs` 1). -EMFILE, at the
 * host's limit: `file` is still the caller's. */
int whi_sim_fd_new(struct whi_sim_host *host, struct whi_sim_file *file);

/* True if the next whi_sim_fd_new would succeed. */
bool whi_sim_fd_room(const struct whi_sim_host *host);

/* NULL: there is none of that number. */
struct whi_sim_file *whi_sim_fd_get(const struct whi_sim_host *host, int fd);

void whi_sim_file_init(struct whi_sim_file *file, struct whi_sim_host *host,
		       enum whi_sim_file_kind kind, const struct whi_sim_file_ops *ops);
static inline void whi_sim_file_ref(struct whi_sim_file *file)
{
	file->refs++;
}
void whi_sim_file_unref(struct whi_sim_file *file);

/* Its readiness may have changed: look at the polls. */
void whi_sim_file_changed(struct whi_sim_file *file);

/* Requests */

struct whi_sim_cqe {
	struct whi_list link;
	struct whi_sim_event event; /* while late */
	struct whi_sim_req *req;
	int32_t result;
	uint16_t flags; /* enum whi_op_flags */
	uint16_t buffer;
};

enum whi_sim_req_state {
	WHI_REQ_QUEUED,	 /* not begun */
	WHI_REQ_BEGUN,	 /* the family has it */
	WHI_REQ_STALLED, /* nobody has it: WHI_FAULT_STALL */
	WHI_REQ_ENDED,	 /* its last result is posted */
};

struct whi_sim_req {
	struct whi_op *op;
	struct whi_sim_req *next_free;
	struct whi_sim_ring *ring;
	struct whi_sim_host *host;
	struct whi_world *world;
	struct whi_sim_file *file; /* of op->fd if the kind needs one, referenced; else NULL */
	uint8_t state;		   /* enum whi_sim_req_state */
	bool cancelling;	   /* on the ring's list of these, or on its way there again */
	uint32_t index;		   /* among the ring's requests */
	struct whi_list link;	   /* the family's */
	struct whi_list all;	   /* of the ring's, in order of submission */
	struct whi_list cancel_link;
	struct whi_sim_event event; /* the family's: see whi_sim_after */
	struct whi_sim_event cancel_event;
	void (*then)(struct whi_sim_req *req);
	uint64_t late_until_ns; /* no completion of this one before that */
	uint32_t posted;	/* completions not yet delivered */
	uint32_t late;		/* of these, held back */
	uint64_t done_bytes;	/* the family's: of a transfer that goes on */
	uint64_t scratch[2];	/* the family's */
	struct whi_sim_cqe cqe; /* the last completion; earlier ones are allocated */
};

/* Post a completion of `req`: `flags` as enum whi_op_flags, the last one without WHI_OP_MORE. The
 * request is not the family's any more after the last one. */
void whi_sim_post(struct whi_sim_req *req, int32_t result, unsigned flags);
void whi_sim_post_buffer(struct whi_sim_req *req, int32_t result, unsigned flags, uint16_t buffer);

/* Call `then(req)` in `delay_ns`, which is to post. Cancelling unsets it. */
void whi_sim_after(struct whi_sim_req *req, uint64_t delay_ns, void (*then)(struct whi_sim_req *));

/* What `cancel` of a row returns if the request goes on and will post by itself. */
#define WHI_SIM_GOES_ON INT32_MIN

/* A kind of operation. */
struct whi_sim_row {
	/* Do it now; never waits. */
	int (*now)(struct whi_sim_host *host, const struct whi_op *op);
	/* Begin; NULL: post what `now` returns. */
	void (*begin)(struct whi_sim_req *req);
	/* Let go: take it off what it waits on (its `event` is unset by the caller if NULL or if
	 * this does not return WHI_SIM_GOES_ON). Returns its result, usually -ECANCELED. NULL: just
	 * that if it waits for its event, and it goes on otherwise. */
	int (*cancel)(struct whi_sim_req *req);
	uint32_t faults; /* 1 << enum whi_sim_fault: those that may strike as it begins:
			    EINTR, EAGAIN, ENOMEM, EMFILE, STALL */
};

/* The table's. */
const struct whi_sim_row *whi_sim_row(unsigned kind);

/* Families: `begin`, `cancel` and `now` functions of the rows. */

typedef void whi_sim_begin_fn(struct whi_sim_req *req);
typedef int whi_sim_cancel_fn(struct whi_sim_req *req);
typedef int whi_sim_now_fn(struct whi_sim_host *host, const struct whi_op *op);

/* sim_disk.c: of paths, and of descriptors of kind WHI_SIM_FILE. A `begin` of a kind that needs a
 * descriptor gets any kind of file and answers -EINVAL, -ESPIPE and so on where it is not its own;
 * reads and writes of sockets do not come here. */
whi_sim_begin_fn whi_sim_openat, whi_sim_read, whi_sim_write, whi_sim_readv, whi_sim_writev,
	whi_sim_fsync, whi_sim_statx, whi_sim_fallocate, whi_sim_unlinkat, whi_sim_renameat,
	whi_sim_mkdirat;
whi_sim_now_fn whi_sim_statx_now, whi_sim_unlinkat_now, whi_sim_seek_now;
whi_sim_cancel_fn whi_sim_disk_cancel;

void whi_sim_disk_init(struct whi_sim_host *host); /* fills in host->disk */
void whi_sim_disk_fini(struct whi_sim_host *host);
/* The machine loses power: what was not synced is lost, or kept in part, as world->disk_rng and
 * WHI_FAULT_TORN have it. Descriptors are closed by the caller, before. */
void whi_sim_disk_crash(struct whi_sim_host *host);
void whi_sim_disk_limit(struct whi_sim_host *host, uint64_t bytes); /* 0: none */

/* Socket files, for sim_net.c. Make one: 0, -EADDRINUSE if the path exists, -ENOENT and the like.
 * Find one: 0, -ENOENT, -ECONNREFUSED if it is something else. `ret` is its inode number. */
int whi_sim_disk_bind(struct whi_sim_host *host, const char *path, uint64_t *ret);
int whi_sim_disk_find_socket(struct whi_sim_host *host, const char *path, uint64_t *ret);

/* sim_net.c, sim_dgram.c */
whi_sim_now_fn whi_sim_socket_now, whi_sim_bind_now, whi_sim_listen_now, whi_sim_shutdown_now,
	whi_sim_connect_now, whi_sim_setsockopt_now, whi_sim_getsockopt_now,
	whi_sim_getsockname_now;
whi_sim_begin_fn whi_sim_accept, whi_sim_connect, whi_sim_recv, whi_sim_send;
whi_sim_cancel_fn whi_sim_net_cancel, whi_sim_connect_cancel;

/* sim_misc.c */
whi_sim_now_fn whi_sim_nop_now, whi_sim_close_now, whi_sim_adopt_now, whi_sim_pidfd_open_now,
	whi_sim_waitid_now;
whi_sim_begin_fn whi_sim_timer, whi_sim_poll, whi_sim_message;
whi_sim_cancel_fn whi_sim_poll_cancel;

/* Hosts, rings, worlds */

enum { WHI_SIM_FD_BASE = 1000, WHI_SIM_RING_BASE = 500 };

struct whi_sim_buf {
	void *memory;
	uint32_t len;
	uint16_t index;
};

struct whi_sim_ring {
	struct whi_backend base; /* must be first */
	struct whi_world *world;
	struct whi_sim_host *host;
	uint32_t index; /* of the world's rings */
	struct whi_backend_opts opts;
	struct whi_list requests;  /* all, in order of submission */
	struct whi_list queued;	   /* not begun: by `link` */
	struct whi_list cancels;   /* asked for since the last turn: by `cancel_link` */
	struct whi_list completed; /* completions to deliver */
	struct whi_list late;	   /* completions that are held back */
	struct whi_sim_req **slots;
	uint32_t slot_count, slots_used, slot_low;
	struct whi_sim_req *free_reqs;
	struct whi_sim_buf *bufs; /* those that are lent to us, first in first out */
	uint32_t buf_head, buf_count, buf_room;
	bool *buf_here;	     /* by index: it is lent to us */
	uint64_t wake_at_ns; /* the loop wants its next turn; WHI_NEVER: when something happens */
	bool woken;
	bool hurried;
	bool open;
};

struct whi_sim_child;

struct whi_sim_host {
	struct whi_world *world;
	uint32_t index;
	bool down;		   /* crashed: operations have no effect */
	struct whi_sim_file **fds; /* by number - WHI_SIM_FD_BASE; NULL: free */
	uint32_t fds_room;
	uint32_t fds_open;
	uint32_t fds_max; /* 0: no limit */
	uint32_t fd_low;  /* no free one below */
	struct whi_sim_disk *disk;
	struct whi_list sockets; /* all: sim_net.c */
	uint32_t port_next;
	struct whi_list children;
	uint32_t children_count;
	int pid_next;
};

/* The next of the buffers that are lent to receives; NULL: there is none. */
const struct whi_sim_buf *whi_sim_buf_take(struct whi_sim_ring *ring);

/* The world itself: sim_world.h. What families use of it: */
uint64_t whi_sim_now_ns(const struct whi_world *world);
/* The streams: for delays of the disk, and for those of the network. */
struct whi_rng *whi_sim_disk_rng(struct whi_world *world);
struct whi_rng *whi_sim_net_rng(struct whi_world *world);

/* A line of the trace that is not an operation's; hashed. `what` and the numbers. */
void whi_sim_note(struct whi_world *world, const struct whi_sim_host *host, const char *what,
		  uint64_t a, uint64_t b);

/* Something that must not be: the first one ends up in the report, and the run fails. */
void whi_sim_violation(struct whi_world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

extern const struct whi_backend_ops whi_backend_sim;
