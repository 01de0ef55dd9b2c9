/*
 * Jobs for tests of pools, which run in worker processes, and what tests need to see of these.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <whorl/pool.h>

/* A place where a job stops until it is let through. */
struct gate {
	int mine, its;
};

void gate_open(struct gate *gate);
void gate_close(struct gate *gate);

/* Until the job has come to the gate. Blocks the thread: it has been published. */
void gate_await(const struct gate *gate);
void gate_let_through(const struct gate *gate);

/* A call of "pass_gate", whose job then returns 7. */
struct wh_call gate_call(const struct gate *gate);

/* Counters in a memfd, for jobs to count in: see "count" and "die_until". */
struct tally {
	int fd;
	_Atomic uint32_t *counts;
};

enum { TALLY_COUNTS = 4096 };

void tally_open(struct tally *tally);
void tally_close(struct tally *tally);

/* A call that adds 1 to counter `index`, whose job returns `index`. */
struct tally_args {
	uint32_t index;
	uint32_t deaths; /* "die_until": dies that often, and then counts */
};

struct wh_call tally_call(const struct tally *tally, const struct tally_args *args);

/* Until process `pid`, which need not be a child, has ended. */
void await_end(pid_t pid);

/* A call in a task of its own: spawn run_offload. */
struct offload {
	struct wh_executor *executor;
	struct wh_call call;
	bool kill;
	int r, result;
};

int run_offload(void *arg);

/* A pool as `opts` has it, or else a failed test. */
struct wh_executor *open_pool(const struct wh_pool_opts *opts);

/* Have a job without arguments done, which must end with status 0; its result. */
int result_of(struct wh_executor *executor, const char *job);
