/* What the supervisor and the workers of the executor scenario share. */
#pragma once

#include "sim/scenario.h"

enum {
	EXECUTOR_PORT = 17,
	EXECUTOR_WORKERS = 3, /* hosts from 1 on */
	EXECUTOR_JOBS = 40,
};

#define EXECUTOR_CALM_NS (1 * WH_SEC)

struct job_request {
	uint64_t job;
	uint64_t offload; /* 1: on a thread of the worker, 0: in the task */
};

struct job_answer {
	uint64_t job;
	uint64_t result;
};

struct supervisor {
	uint32_t next;	      /* job never handed out */
	uint32_t again_count; /* jobs to hand out again */
	uint32_t again[EXECUTOR_JOBS];
	uint32_t done[EXECUTOR_JOBS]; /* times */
	uint32_t done_count;
	bool down[EXECUTOR_WORKERS + 1]; /* the host is not to be used */
	bool believes_late;		 /* the planted bug: an answer counts, however late */
};

/* Of a worker's program, on the supervisor's host. */
struct keeper {
	struct supervisor *supervisor;
	uint32_t host;
	struct wh_scope *program; /* that it runs in; NULL: it does not run */
};

/* Ends a worker's program, or its host, as its process ends; `arg` is a struct keeper. */
int executor_mind(void *arg);

static inline uint64_t job_result(uint64_t job)
{
	return job * 2654435761u + 1;
}

/* The program of a worker's host, until all jobs are done; `arg` is a struct supervisor, of which
 * it looks at nothing but that. */
int executor_worker(void *arg);
