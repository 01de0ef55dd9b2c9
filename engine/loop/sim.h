/*
 * Running in a simulated world: all of its loops on one thread, turned in an order that the seed
 * has. The thread's scheduler is that of the loop being turned, and none between turns.
 */
#pragma once

#include <whorl/sim.h>

#include "backend/sim.h"
#include "loop/runtime.h"

/* What the runner keeps about a host beside its loop. */
struct whi_sim_seat {
	uint64_t paused_until_ns;
	int signal;		 /* that cancelled it; 0: none */
	struct whi_list crashes; /* tasks that wait until its own have ended */
};

/* A task that has crashed another host, and waits. */
struct whi_sim_crash {
	struct whi_wait wait;
	struct whi_list link;
};

struct whi_sim {
	struct whi_runtime runtime; /* its loops are the hosts' */
	struct whi_world *world;
	struct whi_sim_seat *seats; /* a loop */
	struct wh_task *first;
};

/* The calling thread's world, or NULL. */
struct whi_sim *whi_sim_self(void);

/* wh_run for backend "sim": one host, seed $WHORL_SIM_SEED. */
int whi_sim_run_program(wh_task_fn fn, void *arg, const struct wh_run_opts *opts, int *ret_result);

/* Something to be called at a virtual time, outside of any task. */
struct whi_sim_call {
	struct whi_sim_event event;
	void (*fn)(struct whi_sim_call *call);
};

void whi_sim_call_after(struct whi_sim_call *call, uint64_t delay_ns);
void whi_sim_call_unset(struct whi_sim_call *call);

/* A choice of the schedule's: 0 <= it < `bound`. */
uint64_t whi_sim_choose(uint64_t bound);

/* What all tasks of `sim` wait for, behind `text`. */
void whi_sim_report_tasks(const struct whi_sim *sim, char *text, size_t size);
