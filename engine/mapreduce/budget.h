/*
 * How much memory a job may hold, and how much it does: blocks on their way, tables, and runs. What
 * each worker holds besides (its front table, its open blocks and buffers) is bounded by itself.
 */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct whi_budget {
	uint64_t max;
	alignas(64) _Atomic int64_t held; /* any thread */
};

/* A quarter of what this process may use: the least of its limit on address space, the limits of
 * its control groups, and the memory that is available. Reads files of /proc and /sys. */
uint64_t whi_budget_default(void);

static inline void whi_budget_add(struct whi_budget *budget, int64_t bytes)
{
	atomic_fetch_add_explicit(&budget->held, bytes, memory_order_relaxed);
}

/* Past half of it something has to go; the other half is for what is held besides, and for growing
 * tables, which exist twice for a moment. */
static inline bool whi_budget_is_over(const struct whi_budget *budget)
{
	return atomic_load_explicit(&budget->held, memory_order_relaxed) >
	       (int64_t)(budget->max / 2);
}
