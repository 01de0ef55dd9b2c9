/* Where a job's time goes, if it is to explain itself: CPU time of steps, added up over workers. A
 * job that is not to pays for looking at a null pointer, once a buffer or block. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "base/clock.h"

enum whi_step {
	WHI_STEP_READ,
	WHI_STEP_DECODE,
	WHI_STEP_MAP, /* with merging, as far as it is done then */
	WHI_STEP_MERGE,
	WHI_STEPS,
};

struct whi_times {
	_Atomic uint64_t ns[WHI_STEPS];
};

/* What a front table knows of it, or several have known. */
struct whi_front_times {
	uint64_t tokenize_ns; /* by the wall, */
	uint64_t count_ns;
	uint64_t counted;
	uint64_t entered;
};

static inline uint64_t whi_cpu_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * WHI_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* `times` may be NULL. */
static inline uint64_t whi_step_begin(const struct whi_times *times)
{
	return times ? whi_cpu_ns(CLOCK_THREAD_CPUTIME_ID) : 0;
}

static inline void whi_step_end(struct whi_times *times, enum whi_step step, uint64_t began)
{
	if (times)
		atomic_fetch_add_explicit(&times->ns[step],
					  whi_cpu_ns(CLOCK_THREAD_CPUTIME_ID) - began,
					  memory_order_relaxed);
}
