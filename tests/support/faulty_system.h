/*
 * The system calls and library functions by which the engine gets what a runtime is made of, each
 * of which can be made to fail. A program that uses it is linked with --wrap for all of them.
 */
#pragma once

#include <stdint.h>

#include "support/faulty_alloc.h"

enum faulty_call {
	FAULTY_MMAP,
	FAULTY_MADVISE,
	FAULTY_MPROTECT,
	FAULTY_SIGALTSTACK,
	FAULTY_PTHREAD_CREATE,
	FAULTY_EVENTFD,
	FAULTY_EPOLL_CREATE,
	FAULTY_EPOLL_CTL,
	FAULTY_RING_SETUP,
	FAULTY_RING_PROBE,
	FAULTY_RING_REGISTER,
	FAULTY_BUF_RING_SETUP,
	FAULTY_MEMFD,
	FAULTY_SOCKETPAIR,
	FAULTY_SPAWN,
	FAULTY_SENDMSG,
	FAULTY_CALLS,
};

extern const char *const faulty_call_names[FAULTY_CALLS];

/* From now on calls of `call` that are picked fail with `error`, positive. Counts over all
 * threads, anew. */
void faulty_system_set(enum faulty_call call, const struct faulty_pick *pick, int error);

/* How many of these calls have failed since then. */
uint64_t faulty_system_failed(void);

/* Threads started by the engine and not joined yet. */
int faulty_threads_live(void);
