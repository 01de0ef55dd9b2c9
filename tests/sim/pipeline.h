/* What the parts of the pipeline scenario share. */
#pragma once

#include "sim/scenario.h"

enum {
	PIPELINE_WORKERS = 2,
	PIPELINE_CONSUMER = 3, /* host */
	PIPELINE_PORT = 9,
	PIPELINE_ITEMS = 48,
	PIPELINE_END = UINT16_MAX, /* no item: there will be no more */
};

struct item {
	uint32_t number;
	uint32_t place; /* on its connection, from 0 */
	uint64_t value;
};

struct pipeline {
	uint32_t next;	      /* item never handed out */
	uint32_t again_count; /* items to hand out again */
	uint32_t again[PIPELINE_ITEMS];
	uint32_t acked;
	uint32_t handed_again, arrived_again;
	bool taken[PIPELINE_ITEMS];
	bool forgets; /* the planted bug */
};

static inline uint64_t pipeline_work(uint64_t number)
{
	return number * number + 1;
}

/* The program of a worker's host; `arg` is a struct pipeline. Ends once there are no more items. */
int pipeline_worker(void *arg);
