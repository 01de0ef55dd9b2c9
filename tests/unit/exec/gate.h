/* A job that runs until it is let through, for tests that must know what runs and what waits. */
#pragma once

#include <semaphore.h>

struct gate {
	sem_t entered, open;
};

static inline void gate_init(struct gate *gate)
{
	sem_init(&gate->entered, 0, 0);
	sem_init(&gate->open, 0, 0);
}

/* Blocks the calling thread until the job runs. */
static inline void gate_await(struct gate *gate)
{
	while (sem_wait(&gate->entered) < 0)
		;
}

static inline void gate_open(struct gate *gate)
{
	sem_post(&gate->open);
}

/* The job. */
static inline int gate_pass(void *arg)
{
	struct gate *gate = arg;

	sem_post(&gate->entered);
	while (sem_wait(&gate->open) < 0)
		;
	return 7;
}
