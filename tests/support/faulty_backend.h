/*
 * The real backend with faults: the n-th operation that a rule picks fails without reaching the
 * kernel, or gets less than it asked for. A program that uses it is linked with
 * --wrap=whi_backend_find.
 */
#pragma once

#include <stdint.h>

enum faulty_mode {
	FAULTY_OFF,
	FAULTY_NTH,	   /* operation number `nth` completes with `error` in the next turn */
	FAULTY_NTH_INSIDE, /* the same before submit returns */
	FAULTY_SHORT,	   /* every read, write and receive is for a few bytes at most */
};

struct faulty_plan {
	enum faulty_mode mode;
	uint64_t nth; /* from 1, over all loops */
	int error;    /* -errno; 0: the one that suits the kind of operation */
};

/* For the runtimes that start from now on. */
void faulty_set(const struct faulty_plan *plan);

/* Operations submitted since faulty_set. */
uint64_t faulty_count(void);

/* The error that was injected and the name of the operation, "" if none was. */
int faulty_error(void);
const char *faulty_name(void);
