/*
 * A pool of processes, as its files see it: process_pool.c is the executor that others use,
 * process_flow.c moves jobs to processes and back, process_crew.c starts, replaces and buries
 * processes; process_sim.c stands for these in a simulated world.
 *
 * Invariants
 * 1. A job that was handed over and has not ended is on the pool's queue, or on the list of one
 *    process, in the order of that process's ring; never on both. Its call says on which.
 * 2. A job moves from a process back to the queue only if that process can no longer begin it: the
 *    state of its request was changed from WAITS to TAKEN_BACK. What had been begun has ended or
 *    died with the process.
 * 3. `lock` is between the loops of the program. Processes start, end and are told about on the
 *    home loop only; every loop hands jobs over and takes them back.
 * 4. No job is told its end under the lock.
 */
#pragma once

#include <pthread.h>
#include <whorl/pool.h>

#include "exec/executor.h"
#include "exec/process_rings.h"
#include "exec/process_sim.h"
#include "exec/zygote.h"
#include "loop/watch.h"

struct whi_pool;

enum whi_process_state {
	WHI_PROCESS_STARTING, /* ordered from the nursery */
	WHI_PROCESS_LIVE,
	WHI_PROCESS_CONDEMNED, /* gets no more jobs, and is to be killed */
	WHI_PROCESS_GONE,      /* has ended; its watch is still to */
};

/* A worker process. */
struct whi_process {
	struct whi_list link; /* on pool->processes, in the end on pool->gone */
	struct whi_pool *pool;
	struct whi_rings rings;
	struct whi_watch watch; /* of `bell` */
	struct whi_sim_watch sim_watch;
	int bell, sock;
	uint32_t id; /* what the nursery calls it */
	pid_t pid;
	enum whi_process_state state;
	struct whi_list jobs;
	uint32_t load;	      /* how many these are */
	uint32_t reply_bytes; /* that their replies may take */
	uint32_t last_ticket;
	bool full;		       /* no room in its ring for the next job */
	bool unpublished;	       /* requests were put, and not yet shown */
	bool kill_owed;		       /* the nursery has not taken the order yet */
	bool corrupt;		       /* it wrote nonsense */
	struct whi_exec_job *victim;   /* for whose sake it is killed */
	uint64_t done;		       /* jobs */
	uint32_t defined[WH_JOBS_MAX]; /* by index: the number of the job that it knows there */
};

/* What of struct wh_call is ours. */
struct __attribute__((may_alias)) whi_call_place {
	struct whi_process *process; /* NULL: the job is on the queue, or has ended */
	uint32_t position;	     /* in the ring of requests */
	uint32_t ticket;
};

struct whi_pool {
	struct wh_executor base; /* must be first */
	struct wh_loop *home;
	bool simulated;
	pthread_mutex_t lock;
	struct whi_list queue;
	_Atomic uint32_t queued; /* read without the lock too */
	struct whi_list processes;
	struct whi_list gone;
	uint32_t wanted; /* processes */
	uint32_t live;
	uint32_t ahead_max;
	uint32_t queue_max;
	struct whi_worker_limits limits;
	uint32_t last_id;
	struct wh_pool_stats stats;
	uint32_t deaths; /* in a row without a job done */
	int broken;	 /* -errno: there is no process, and this is why; 0: there may be */
	int channel;	 /* to the nursery; -1: there is none. The home loop changes it */
	/* The home loop's. */
	struct whi_watch watch; /* of `channel` */
	struct whi_sim_watch sim_watch;
	struct whi_sim_nursery *sim_nursery; /* at the other end of `channel`, in a world */
	struct whi_timer pause;		     /* before the next process is started */
	uint32_t failures;		     /* to start one, in a row */
	int error;			     /* of the last of these */
	bool opening, closing;
	struct whi_wait *waiter; /* who opens or closes it */
};

static inline struct wh_call *whi_call_of(const struct whi_exec_job *job)
{
	return job->arg;
}

static inline struct whi_call_place *whi_place_of(const struct whi_exec_job *job)
{
	return (struct whi_call_place *)(void *)whi_call_of(job)->opaque;
}

/* process_flow.c. All with the lock; jobs that end are appended to `ended`. */

/* Give jobs from the queue to processes. */
void whi_pool_dispatch(struct whi_pool *pool, struct whi_list *ended);

/* Take the replies of `process`. */
void whi_pool_drain(struct whi_process *process, struct whi_list *ended);

/* Take the jobs back that `process` has not begun, to the front of the queue. */
void whi_pool_take_back(struct whi_process *process);

/* Give nothing more to `process`, and have it killed. */
void whi_pool_condemn(struct whi_process *process);

/* Idle processes get jobs from those that have many. */
void whi_pool_rebalance(struct whi_pool *pool, struct whi_list *ended);

/* `job` leaves the list of its process. */
void whi_pool_release(struct whi_exec_job *job);

/* End `job`, which is on no list, with `status`. */
void whi_pool_end_job(struct whi_exec_job *job, int status, int result, struct whi_list *ended);

/* Put `job` in front of all that wait. */
void whi_pool_requeue(struct whi_pool *pool, struct whi_exec_job *job);

/* Without the lock: tell the jobs that have ended. `at_once`: outside of tasks, those of this loop
 * need not wait for its next turn. */
void whi_pool_tell(struct whi_list *ended, bool at_once);

/* process_crew.c, on the home loop, without the lock. */

/* Start processes, as many as are missing and may be now. */
void whi_pool_staff(struct whi_pool *pool);

/* Let all processes go, of which none has a job, and the nursery. */
void whi_pool_dismiss(struct whi_pool *pool);

/* With the lock, any loop: pass on the orders to kill that are owed. */
void whi_pool_pay_kills(struct whi_pool *pool);

/* process_pool.c, on the home loop: something has changed that its opener or closer waits for. */
void whi_pool_changed(struct whi_pool *pool);
