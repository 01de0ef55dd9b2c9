/*
 * A real backend with faults: operations that a rule picks fail without reaching the kernel, or
 * after they have run there, or get less than they asked for. A program that uses it is linked with
 * --wrap=whi_backend_find, and gets it around whichever backend it asks for.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "support/faulty_alloc.h"

enum faulty_mode {
	FAULTY_OFF,
	FAULTY_BEFORE, /* not run; the error comes in the next turn. Small calls: in its place */
	FAULTY_INSIDE, /* not run; the error comes before submit returns, as if it had no room */
	FAULTY_AFTER,  /* run, and what it made taken back: the error comes instead of its result */
	FAULTY_SHORT,  /* run for a few bytes at most */
};

enum { FAULTY_ANY_KIND = -1 };

struct faulty_plan {
	enum faulty_mode mode;
	int kind;  /* enum whi_op_kind, or FAULTY_ANY_KIND */
	int error; /* -errno; 0: those that this kind can end with in turn, EINTR excepted */
	struct faulty_pick pick; /* among the operations that `mode` and `kind` concern */
};

/* For the runtimes that start from now on. */
void faulty_set(const struct faulty_plan *plan);

/* Since faulty_set: how many operations the plan concerned, how many it changed, the last error
 * and the name of the operation that got it ("" if none did), and whether some got -`error`. */
uint64_t faulty_count(void);
uint64_t faulty_changed(void);
int faulty_error(void);
const char *faulty_name(void);
bool faulty_injected(int error);

/* Since the program started: submissions that were refused; how many operations of `kind` there
 * were; how many of these got -`error`. */
uint64_t faulty_refused(void);
uint64_t faulty_seen(int kind);
uint64_t faulty_pairs(int kind, int error);
