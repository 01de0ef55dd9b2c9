/*
 * A lane of an executor of threads: a queue of jobs and the workers that take them. Its workers are
 * threads (exec/worker.c), or things that happen in a simulated world (exec/worker_sim.c).
 */
#pragma once

#include <pthread.h>
#include <sched.h>

#include "base/spin.h"
#include "exec/executor.h"
#include "loop/sim.h"

struct whi_lane;

enum whi_worker_state {
	WHI_WORKER_NONE, /* no thread */
	WHI_WORKER_LIVE,
	WHI_WORKER_GONE, /* its thread has ended, or is about to, and is to be joined */
};

struct whi_worker {
	struct whi_list link; /* among the idle, or among those without a thread */
	struct whi_lane *lane;
	enum whi_worker_state state;
	bool idle;		 /* on lane->idle */
	bool fresh;		 /* its thread was started because jobs wait, or may */
	_Atomic uint32_t roused; /* what it sleeps on: 1 once it is to look */
	pthread_t thread;
	struct whi_awake *awake;  /* NULL: does not compute */
	struct whi_sim_call call; /* in a world: it looks for a job, or ends one */
	struct whi_exec_job *job; /* the same: what it does */
};

/* What a lane is made with. */
struct whi_lane_opts {
	const char *name; /* of its threads */
	uint32_t workers; /* at most */
	uint32_t queue_max;
	uint64_t idle_ns; /* how long a worker without work stays; WHI_NEVER: for good */
	bool computes;
	bool spins;
	bool simulated;
	cpu_set_t cpus;
};

struct whi_lane {
	/* Submitters write these two; one who spins looks at the first all the time. */
	_Alignas(64) struct whi_mpsc inbox; /* batches of jobs, each a ring of links */
	_Alignas(64) _Atomic uint64_t submitted;
	/* Workers, with the lock, and those who take jobs back. */
	_Alignas(64) pthread_mutex_t lock; /* of everything below but the options */
	struct whi_list queue;
	_Atomic uint64_t taken;	  /* of those submitted; read without the lock */
	_Atomic uint32_t at_hand; /* workers on `idle` and `without`: read without the lock */
	_Atomic bool spinning;	  /* one of the workers looks at the inbox all the time */
	struct whi_list idle;	  /* the one that fell idle last comes first */
	struct whi_list without;  /* workers that have no thread */
	uint32_t live;
	pthread_cond_t left; /* `live` is 0 */
	bool closing;
	struct whi_spin spin;
	struct whi_lane_opts opts;
	struct whi_worker *workers;
};

/* 0 or -ENOMEM. No worker is live yet. */
int whi_lane_init(struct whi_lane *lane, const struct whi_lane_opts *opts);
/* No worker is live any more. */
void whi_lane_fini(struct whi_lane *lane);

/* As the operations of executors. */
void whi_lane_submit(struct whi_lane *lane, struct whi_list *jobs, uint32_t count);
bool whi_lane_remove(struct whi_lane *lane, struct whi_exec_job *job);
bool whi_lane_full(const struct whi_lane *lane);

/* With the lock. The next job, which is taken now, or NULL. */
struct whi_exec_job *whi_lane_take(struct whi_lane *lane);

/* Whom to wake, outside of the lock. */
struct whi_call {
	struct whi_worker *worker; /* NULL: nobody */
	bool start;		   /* it has no thread */
	bool join;		   /* but has had one */
};

/* With the lock. If jobs wait and a worker is at hand: one that is to look, no longer at hand. */
struct whi_call whi_lane_call(struct whi_lane *lane);

/* With the lock. The next one without a thread, which counts as live from now on. */
struct whi_call whi_lane_enlist(struct whi_lane *lane);

/* With the lock. `worker`, who has found no job, is to be woken; false: look again first. */
bool whi_lane_rest(struct whi_lane *lane, struct whi_worker *worker);
/* With the lock. It is not, any more. */
void whi_lane_unrest(struct whi_lane *lane, struct whi_worker *worker);

/* Without the lock: nobody is left to do what is queued, and nobody can be had. All of it fails
 * with `err`. */
void whi_lane_fail(struct whi_lane *lane, int err);

/* The workers. */

/* Have the worker that was called look for a job: its thread is woken, or started. In a simulated
 * world an event. */
void whi_worker_rouse(struct whi_call call);

/* Start all workers. 0 or -errno as pthread_create(3), with some started. */
int whi_workers_start(struct whi_lane *lane);

/* Let the workers do what is queued, end them and wait for that. */
void whi_workers_end(struct whi_lane *lane);

void whi_sim_worker_rouse(struct whi_worker *worker);
/* No job is out. */
void whi_sim_workers_end(struct whi_lane *lane);
