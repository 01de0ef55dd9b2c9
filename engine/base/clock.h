#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define WHI_NS_PER_SEC 1000000000ull
/* A deadline that never comes. */
#define WHI_NEVER UINT64_MAX

/* The time of the simulated world that this thread runs, which is the engine's clock then. NULL:
 * none. */
extern __attribute__((tls_model("initial-exec"))) _Thread_local const uint64_t *whi_clock_virtual;

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t whi_clock_ns(void)
{
	struct timespec ts;

	if (__builtin_expect(whi_clock_virtual != NULL, 0))
		return *whi_clock_virtual;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * WHI_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* `now` plus `span`, or never when that does not fit. */
static inline uint64_t whi_clock_add(uint64_t now, uint64_t span)
{
	return span >= WHI_NEVER - now ? WHI_NEVER : now + span;
}
