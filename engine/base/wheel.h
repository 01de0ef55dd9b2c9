/* Hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP
 * 1987): nine levels of 64 slots over ticks of 1,024 ns. Arming and cancelling are O(1). Deadlines
 * are rounded up to the next tick, never down, so a timer never fires early. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum {
	WHI_WHEEL_TICK_SHIFT = 10, /* a tick is 1,024 ns */
	WHI_WHEEL_SLOT_SHIFT = 6,
	WHI_WHEEL_SLOTS = 1 << WHI_WHEEL_SLOT_SHIFT,
	WHI_WHEEL_LEVELS = 9, /* 9 * 6 bits of ticks: all of a 64-bit nanosecond clock */
};

struct whi_timer {
	struct whi_list link; /* on a slot; on itself when not armed */
	uint64_t tick;	      /* when it is due, in ticks */
	void (*fire)(struct whi_timer *timer);
};

struct whi_wheel {
	uint64_t tick; /* everything due at or before this has fired */
	uint64_t occupied[WHI_WHEEL_LEVELS];
	uint64_t count; /* timers armed */
	struct whi_list slots[WHI_WHEEL_LEVELS][WHI_WHEEL_SLOTS];
};

void whi_wheel_init(struct whi_wheel *wheel, uint64_t now_ns);

/* `timer` must not be armed. It fires in the first whi_wheel_advance at or after `deadline_ns`
 * rounded up to a tick. */
void whi_wheel_arm(struct whi_wheel *wheel, struct whi_timer *timer, uint64_t deadline_ns);

/* Harmless on a timer that is not armed. */
void whi_wheel_cancel(struct whi_wheel *wheel, struct whi_timer *timer);

/* Fire everything due at `now_ns`, in order of ticks. A fire function may arm and cancel timers,
 * itself included. Returns how many fired. */
unsigned whi_wheel_advance(struct whi_wheel *wheel, uint64_t now_ns);

/* A time at which whi_wheel_advance has something to do: never later than the earliest deadline
 * rounded up, exact unless more than a handful of timers share its slot. WHI_NEVER if none. */
uint64_t whi_wheel_next_ns(const struct whi_wheel *wheel);

static inline void whi_timer_init(struct whi_timer *timer, void (*fire)(struct whi_timer *timer))
{
	whi_list_init(&timer->link);
	timer->fire = fire;
}

static inline bool whi_timer_armed(const struct whi_timer *timer)
{
	return !whi_list_empty(&timer->link);
}
