/*
 * What stands for the zygote, a nursery and its workers in a simulated world: process_sim.c.
 */
#pragma once

#include "loop/sim.h"
#include "loop/watch.h"

struct whi_pool;
struct whi_process;
struct whi_sim_nursery;

/* Watches `fd`, a real one, in a world, where no operation can. */
struct whi_sim_watch {
	struct whi_watch *watch; /* whom it stands for; NULL: nothing to watch */
	struct wh_loop *loop;
	struct whi_sim_call call;
	struct wh_post post;
	enum whi_watch_kind kind;
	int fd;
	bool underway; /* the call is, or the post */
};

/* As the functions of whi_watch. */
void whi_sim_watch_start(struct whi_sim_watch *sim, struct whi_watch *watch,
			 enum whi_watch_kind kind, int fd, void (*fn)(struct whi_watch *watch));
void whi_sim_watch_end(struct whi_sim_watch *sim);

/* As whi_nursery_open. */
int whi_sim_nursery_open(struct whi_pool *pool, int *ret);

/* The pool has said something to its nursery, or closed the channel. */
void whi_sim_nursery_rouse(struct whi_pool *pool);

/* It has put something into the ring of `process`. */
void whi_sim_process_rouse(struct whi_process *process);
