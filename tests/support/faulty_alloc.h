/*
 * Memory that runs out. Every test is linked with --wrap for the functions of base/alloc.h and this
 * between them and the engine; see also whi_alloc_fail_at there. Counts over all threads.
 */
#pragma once

#include <stdint.h>

/* Which of a row of things, numbered from 1 on, fail: `first`, then every `step`-th after it. */
struct faulty_pick {
	uint64_t first; /* 0: none */
	uint64_t step;	/* 0: only the first */
	uint64_t max;	/* so many at most; 0: no limit */
};

/* Whether number `number` is picked. */
int faulty_picks(const struct faulty_pick *pick, uint64_t number);

/* From now on. Starts counting anew. */
void faulty_alloc_set(const struct faulty_pick *pick);

/* How many allocations have failed since faulty_alloc_set. */
uint64_t faulty_alloc_failed(void);

/* Allocations that are not freed yet. */
int64_t faulty_alloc_live(void);
