/* The world: what only the simulated kernel's own files and the runner know of it. */
#pragma once

#include <stdio.h>
#include <whorl/sim.h>

#include "backend/sim.h"

/* When a world begins: not at 0, which stands for "none" in deadlines. */
#define WHI_SIM_START_NS (1000 * WH_SEC)
/* Silence for so long ends a connection, and an attempt to make one. */
#define WHI_SIM_SILENCE_NS (30 * WH_SEC)

/* One direction between two hosts. */
struct whi_sim_wire {
	struct wh_sim_link link;
	uint64_t free_at_ns; /* its bandwidth is used up until then */
};

/* Two hosts. */
struct whi_sim_pair {
	struct whi_world *world;
	uint32_t a, b;
	bool cut;	      /* by the program */
	bool fault_cut;	      /* by a fault, until `mend` */
	struct whi_list held; /* segments on their way */
	struct whi_sim_event mend;
	struct whi_sim_event silence;
};

struct whi_world {
	uint64_t now_ns;
	uint64_t sequence;
	uint64_t events;
	uint64_t ops;
	uint64_t hash;
	struct whi_sim_event **heap;
	uint32_t heap_count, heap_room;
	struct whi_rng schedule_rng, net_rng, disk_rng, program_rng;
	/* Faults: sim_fault.c */
	uint64_t fault_key;
	uint64_t decisions;
	uint64_t calm_at_ns;		/* WHI_NEVER: none */
	uint64_t chance[WHI_FAULT_MAX]; /* of 2^64 */
	const uint64_t *only;
	size_t only_count, only_next;
	uint32_t faults_count;
	struct whi_sim_event calm;
	/* Machines */
	struct whi_sim_host *hosts;
	uint32_t host_count;
	struct whi_sim_ring **rings; /* by index; NULL: not opened, or closed */
	uint32_t ring_count;
	struct whi_sim_wire *wires; /* from * host_count + to */
	struct whi_sim_pair *pairs; /* the same, a < b */
	struct whi_list cqes;	    /* to be used again */
	struct whi_list messages;   /* between rings, on their way */
	uint32_t sndbuf, rcvbuf;    /* of new sockets */
	/* Report */
	const struct wh_sim_opts *opts;
	bool broken; /* a rule of the engine's */
	bool failed; /* wh_sim_fail */
	bool over;   /* it is being taken apart: nothing is reported any more */
	char text[WH_SIM_TEXT_MAX];
};

/* Make a world. -EINVAL: `opts->faults`, said in `error`. */
int whi_world_new(uint64_t seed, const struct wh_sim_opts *opts, uint32_t rings_per_host,
		  char error[WH_SIM_TEXT_MAX], struct whi_world **ret);

/* Its rings are closed. */
void whi_world_free(struct whi_world *world);

/* Let all events happen that are due. */
void whi_world_run_due(struct whi_world *world);

/* When the next event is; WHI_NEVER: there is none. */
uint64_t whi_world_next_ns(const struct whi_world *world);

/* Something waits for the ring's loop to turn. */
bool whi_sim_ring_ready(const struct whi_sim_ring *ring);

/* How many requests a ring has, and a description of the first. */
uint32_t whi_sim_ring_pending(const struct whi_sim_ring *ring, char *text, size_t size);

/* Descriptors that `host` has left open: a violation each. */
void whi_sim_host_check(struct whi_sim_host *host);

/* Power fails. Operations in flight end with -ECANCELED, later ones have no effect. */
void whi_sim_host_crash(struct whi_sim_host *host);
void whi_sim_host_reboot(struct whi_sim_host *host);

/* What comes late comes within this. */
#define WHI_SIM_LATE_NS (2 * WH_MS)

/* sim_req.c */
struct whi_sim_req *whi_sim_req_new(struct whi_sim_ring *ring, struct whi_op *op);
void whi_sim_req_free(struct whi_sim_req *req);
void whi_sim_req_begin(struct whi_sim_req *req);
/* Without what may come in between. */
void whi_sim_req_begin_row(struct whi_sim_req *req);
void whi_sim_req_cancel(struct whi_sim_req *req);
/* Cut off by a crash: whatever it waits for does not come. */
void whi_sim_req_crash(struct whi_sim_req *req);
/* What an operation has on a machine without power: nothing. */
int whi_sim_result_when_down(const struct whi_op *op);
/* A completion has been held back for long enough. */
void whi_sim_deliver_late(struct whi_sim_event *event);

/* sim_ring.c: end every operation in flight. */
void whi_sim_ring_crash(struct whi_sim_ring *ring);
/* Begin what WHI_FAULT_STALL has kept. */
void whi_sim_ring_calm(struct whi_sim_ring *ring);
/* Forget all operations in flight: nobody waits for them any more. */
void whi_sim_ring_abandon(struct whi_sim_ring *ring);

/* sim_link.c */
void whi_sim_links_init(struct whi_world *world);
void whi_sim_links_fini(struct whi_world *world);
void whi_sim_links_calm(struct whi_world *world);
struct whi_sim_pair *whi_sim_pair_of(struct whi_world *world, uint32_t a, uint32_t b);
struct whi_sim_wire *whi_sim_wire_of(struct whi_world *world, uint32_t from, uint32_t to);
bool whi_sim_is_cut(struct whi_world *world, uint32_t a, uint32_t b);
void whi_sim_cut(struct whi_world *world, uint32_t a, uint32_t b, bool cut);
void whi_sim_fault_cut(struct whi_world *world, uint32_t a, uint32_t b, uint64_t for_ns);

/* sim_net.c */
void whi_sim_net_crash(struct whi_sim_host *host);
void whi_sim_net_reboot(struct whi_sim_host *host);
/* Nobody refers to anything any more. */
void whi_sim_net_fini(struct whi_sim_host *host);

/* Unset all events, and free all segments on their way. */
void whi_sim_segs_fini(struct whi_world *world);

/* sim_misc.c */
void whi_sim_messages_fini(struct whi_world *world);
/* -EAGAIN: too many. */
int whi_sim_child_new(struct whi_sim_host *host, uint64_t after_ns, int status);
void whi_sim_children_fini(struct whi_sim_host *host);

/* sim_fault.c: -EINVAL: unknown, said in `error`. */
int whi_sim_faults_parse(struct whi_world *world, const char *text, char error[WH_SIM_TEXT_MAX]);

/* sim_trace.c */
static inline void whi_sim_hash(struct whi_world *world, uint64_t x)
{
	uint64_t h = world->hash ^ x;

	world->hash = (h << 29 | h >> 35) * 0x9e3779b97f4a7c15ull;
}
void whi_sim_trace_op(const struct whi_sim_host *host, const struct whi_op *op, const char *what);
void whi_sim_trace_done(const struct whi_sim_host *host, const struct whi_op *op, int32_t result,
			unsigned flags);
void whi_sim_trace_fault(struct whi_world *world, const struct wh_sim_fault *fault);
void whi_sim_trace_text(struct whi_world *world, const char *text);
