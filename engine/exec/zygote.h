/*
 * Where worker processes come from.
 *
 * The zygote is this program, started anew by wh_run, or by the first pool if there was no reason
 * to at that time. It has one thread and no ring, and stays so. For each pool it forks a nursery,
 * which forks the pool's workers, kills them when asked to, and tells how they ended. A pool talks
 * to its nursery alone, by a socket.
 *
 *     program  --- channel ---  zygote
 *        |                        | fork
 *        +------- channel ----- nursery        one a pool
 *        |                        | fork
 *        +--- rings, doorbell --- worker       many
 *
 * Who dies with whom: a worker with its nursery and a nursery with the zygote, by PR_SET_PDEATHSIG;
 * the zygote and the nurseries with the program, by the end of their channels.
 */
#pragma once

#include <stdint.h>
#include <whorl/pool.h>

enum whi_nursery_kind {
	WHI_NURSERY_OPEN = 1, /* to the zygote: one descriptor, the nursery's channel */
	WHI_NURSERY_HELLO,   /* from the nursery, first of all. `value`: 0, or -errno and the end */
	WHI_NURSERY_START,   /* to the nursery: a worker; descriptors as WHI_START_ has them */
	WHI_NURSERY_STARTED, /* back; `value`: its process number or -errno */
	WHI_NURSERY_KILL,    /* to the nursery; nothing if it has ended */
	WHI_NURSERY_ENDED,   /* from the nursery; `value`: status as of wait(2) */
};

/* The descriptors of a worker. */
enum { WHI_START_MEMORY, WHI_START_BELL, WHI_START_SOCK, WHI_START_FDS };

struct whi_worker_limits {
	uint64_t memory_bytes;
	uint64_t job_cpu_ns;
	uint64_t jobs_max;
	uint64_t resident_bytes;
};

/* Both sides are the same program, so this is no format; but its libraries may have been replaced
 * meanwhile, and then `version` tells. */
enum { WHI_NURSERY_VERSION = 0x77680001 };

struct whi_nursery_message {
	uint32_t version;
	uint32_t kind;
	uint32_t worker; /* the pool's number for it, never used twice */
	int32_t value;
	union {
		struct whi_worker_limits limits; /* START */
		struct {
			uint64_t user_ns, system_ns, resident_bytes;
		} used; /* ENDED */
	};
};

/* Have a nursery made; its hello comes later. 0 with its channel in `*ret`, or -errno as
 * wh_pool_open says. May start the zygote, for which it blocks about a millisecond. */
int whi_nursery_open(int *ret);

/* The zygote's main function, in its own process; `channel` is its end. nursery.c */
_Noreturn void whi_zygote_main(int channel);

/* A worker's main function, in its own process. process_worker.c */
_Noreturn void whi_worker_main(const int fds[WHI_START_FDS],
			       const struct whi_worker_limits *limits);
