/*
 * What a worker process does with its rings: process_worker.c is the process, and process_sim.c
 * what stands for it in a simulated world.
 */
#pragma once

#include "exec/process_rings.h"
#include "exec/zygote.h"

/* A job that the program has named. */
struct whi_worker_job {
	wh_job_main_fn fn; /* NULL: it cannot be run */
	int error;
};

struct whi_worker_process {
	struct whi_worker_rings rings;
	struct whi_worker_limits limits;
	struct whi_worker_job known[WH_JOBS_MAX];
	int bell, sock;
	uint64_t jobs_done;
};

/* 0, or -errno as mmap(2). `fds` are the worker's from then on, but for the memory's. */
int whi_worker_process_init(struct whi_worker_process *worker, const int fds[WHI_START_FDS],
			    const struct whi_worker_limits *limits);

/* Get to know the job that `request`, of kind DEFINE, names. */
void whi_worker_define(struct whi_worker_process *worker, const struct whi_request *request);

/* `request`, of kind CALL, is to be done. False: it was taken back. */
bool whi_worker_begin(struct whi_worker_process *worker, struct whi_request *request);

/* Do what was begun. Its reply, to be sent. */
struct whi_reply *whi_worker_run(struct whi_worker_process *worker,
				 const struct whi_request *request);

void whi_worker_ring_bell(const struct whi_worker_process *worker);

/* It has done as much as it may. */
bool whi_worker_used_up(const struct whi_worker_process *worker);
