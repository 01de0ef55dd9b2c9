/*
 * The timing wheel. Owned by one loop, used by its thread only.
 *
 * Invariants
 * 1. An armed timer is due after wheel->tick and sits on the level of the highest six-bit digit
 *    in which its tick differs from wheel->tick, in the slot of that digit.
 * 2. A bit of occupied[] is set exactly when its slot is not empty.
 * 3. Hence the lowest occupied level holds the earliest timers, in its first occupied slot.
 */
#include "base/wheel.h"

#include "base/assert.h"
#include "base/clock.h"

/* Looking through this many timers of a slot costs less than waking for nothing. */
enum { SCAN_MAX = 16 };

#define TICK_MAX (UINT64_MAX >> WHI_WHEEL_TICK_SHIFT)

static unsigned level_of(uint64_t tick, uint64_t now)
{
	uint64_t differing = tick ^ now;

	return (63u - (unsigned)__builtin_clzll(differing)) / WHI_WHEEL_SLOT_SHIFT;
}

static unsigned slot_of(uint64_t tick, unsigned level)
{
	return (unsigned)(tick >> (level * WHI_WHEEL_SLOT_SHIFT)) & (WHI_WHEEL_SLOTS - 1);
}

static uint64_t tick_up(uint64_t ns)
{
	uint64_t tick = ns >> WHI_WHEEL_TICK_SHIFT;

	return (ns & ((1u << WHI_WHEEL_TICK_SHIFT) - 1)) ? tick + 1 : tick;
}

void whi_wheel_init(struct whi_wheel *wheel, uint64_t now_ns)
{
	wheel->tick = now_ns >> WHI_WHEEL_TICK_SHIFT;
	wheel->count = 0;
	for (unsigned level = 0; level < WHI_WHEEL_LEVELS; level++) {
		wheel->occupied[level] = 0;
		for (unsigned slot = 0; slot < WHI_WHEEL_SLOTS; slot++)
			whi_list_init(&wheel->slots[level][slot]);
	}
}

static void place(struct whi_wheel *wheel, struct whi_timer *timer)
{
	unsigned level = level_of(timer->tick, wheel->tick);
	unsigned slot = slot_of(timer->tick, level);

	whi_list_append(&wheel->slots[level][slot], &timer->link);
	wheel->occupied[level] |= 1ull << slot;
}

void whi_wheel_arm(struct whi_wheel *wheel, struct whi_timer *timer, uint64_t deadline_ns)
{
	whi_assert(!whi_timer_armed(timer));
	timer->tick = tick_up(deadline_ns);
	if (timer->tick > TICK_MAX)
		timer->tick = TICK_MAX;
	if (timer->tick <= wheel->tick)
		timer->tick = wheel->tick + 1;
	place(wheel, timer);
	wheel->count++;
}

void whi_wheel_cancel(struct whi_wheel *wheel, struct whi_timer *timer)
{
	unsigned level, slot;

	if (!whi_timer_armed(timer))
		return;
	whi_list_remove(&timer->link);
	wheel->count--;
	/* A timer taken out for firing may be cancelled by another one's fire function: then its
	 * tick is due and it is on no slot of the wheel. */
	if (timer->tick <= wheel->tick)
		return;
	level = level_of(timer->tick, wheel->tick);
	slot = slot_of(timer->tick, level);
	if (whi_list_empty(&wheel->slots[level][slot]))
		wheel->occupied[level] &= ~(1ull << slot);
}

/* The first tick after wheel->tick at which a slot begins, UINT64_MAX if all are empty. */
static uint64_t next_slot_tick(const struct whi_wheel *wheel, unsigned *ret_level)
{
	for (unsigned level = 0; level < WHI_WHEEL_LEVELS; level++) {
		unsigned shift = level * WHI_WHEEL_SLOT_SHIFT;
		uint64_t span = 1ull << shift;
		uint64_t base;

		if (!wheel->occupied[level])
			continue;
		base = wheel->tick & ~(span * WHI_WHEEL_SLOTS - 1);
		*ret_level = level;
		return base + span * (unsigned)__builtin_ctzll(wheel->occupied[level]);
	}
	return UINT64_MAX;
}

/* Fire or push down everything in the slot that begins at wheel->tick. */
static unsigned open_slot(struct whi_wheel *wheel, unsigned level)
{
	unsigned slot = slot_of(wheel->tick, level);
	struct whi_list due, *node;
	unsigned fired = 0;

	whi_list_init(&due);
	whi_list_splice(&due, &wheel->slots[level][slot]);
	wheel->occupied[level] &= ~(1ull << slot);
	while ((node = whi_list_pop(&due))) {
		struct whi_timer *timer = whi_container_of(node, struct whi_timer, link);

		if (timer->tick > wheel->tick) {
			place(wheel, timer);
			continue;
		}
		wheel->count--;
		fired++;
		timer->fire(timer);
	}
	return fired;
}

unsigned whi_wheel_advance(struct whi_wheel *wheel, uint64_t now_ns)
{
	uint64_t now = now_ns >> WHI_WHEEL_TICK_SHIFT;
	unsigned level = 0, fired = 0;

	for (;;) {
		uint64_t tick = next_slot_tick(wheel, &level);

		if (tick > now)
			break;
		wheel->tick = tick;
		fired += open_slot(wheel, level);
	}
	/* Nothing is due in between, so no timer changes its level or slot. */
	if (now > wheel->tick)
		wheel->tick = now;
	return fired;
}

uint64_t whi_wheel_next_ns(const struct whi_wheel *wheel)
{
	unsigned level = 0, scanned = 0;
	uint64_t tick = next_slot_tick(wheel, &level), min = UINT64_MAX;
	const struct whi_list *slot, *node;

	if (tick == UINT64_MAX)
		return WHI_NEVER;
	slot = &wheel->slots[level][slot_of(tick, level)];
	for (node = slot->next; node != slot && scanned < SCAN_MAX; node = node->next, scanned++) {
		const struct whi_timer *timer = whi_container_of(node, struct whi_timer, link);

		if (timer->tick < min)
			min = timer->tick;
	}
	if (node != slot)
		min = tick;
	return min >= TICK_MAX ? WHI_NEVER : min << WHI_WHEEL_TICK_SHIFT;
}
