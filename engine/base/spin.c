/*
 * When to wait awake. A sleep that is cut short costs both sides a system call and on a virtual
 * machine an exit and an entry besides; so looking for about as long as that costs is at worst
 * twice as dear as the better choice (A. R. Karlin et al., "Competitive Randomized Algorithms for
 * Nonuniform Problems", 1990). It is dearer for others if they could have had the CPU.
 *
 * Invariants
 * 1. A slot is written by its own thread only, so saying that one sleeps shares no cache line.
 * 2. Without credit one of PROBE waits spins, so that credit can come back.
 */
#include "base/spin.h"

#include <stddef.h>

#include "base/clock.h"

enum { SLOTS = 512, CREDIT_MAX = 16, CREDIT_HIT = 2, PROBE = 64 };

#define SPIN_NS 20000ull
/* Not to have looked for so long means that somebody else had the CPU. */
#define DISPLACED_NS 100000ull

enum { SLOT_FREE, SLOT_ASLEEP, SLOT_AWAKE };

static struct whi_awake slots[SLOTS];
static struct whi_awake spare;
static _Atomic uint32_t slots_used; /* those from here on have never been used */

static void raise_used(uint32_t used)
{
	uint32_t seen = atomic_load_explicit(&slots_used, memory_order_relaxed);

	while (seen < used && !atomic_compare_exchange_weak(&slots_used, &seen, used))
		;
}

struct whi_awake *whi_awake_open(void)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint8_t expected = SLOT_FREE;

		if (atomic_compare_exchange_strong(&slots[i].state, &expected, SLOT_AWAKE)) {
			raise_used(i + 1);
			return &slots[i];
		}
	}
	return &spare;
}

void whi_awake_close(struct whi_awake *awake)
{
	atomic_store(&awake->state, SLOT_FREE);
}

void whi_awake_set(struct whi_awake *awake, bool is_awake)
{
	atomic_store_explicit(&awake->state, is_awake ? SLOT_AWAKE : SLOT_ASLEEP,
			      memory_order_relaxed);
}

bool whi_awake_leaves_cpu(unsigned cpus)
{
	uint32_t used = atomic_load_explicit(&slots_used, memory_order_relaxed);
	unsigned awake = 0;

	for (uint32_t i = 0; i < used && awake <= cpus; i++)
		awake += atomic_load_explicit(&slots[i].state, memory_order_relaxed) == SLOT_AWAKE;
	return awake <= cpus;
}

void whi_spin_init(struct whi_spin *spin, unsigned cpus)
{
	*spin = (struct whi_spin){ .cpus = cpus > 1 ? cpus : 0, .credit = CREDIT_MAX / 2 };
}

static bool begins(struct whi_spin *spin, uint64_t now_ns)
{
	if (spin->cpus == 0)
		return false;
	if (spin->credit == 0 && ++spin->skipped % PROBE != 0)
		return false;
	if (!whi_awake_leaves_cpu(spin->cpus))
		return false;
	spin->on = true;
	spin->began_ns = now_ns;
	spin->looked_ns = now_ns;
	return true;
}

bool whi_spin_on(struct whi_spin *spin, uint64_t now_ns)
{
	if (!spin->on)
		return begins(spin, now_ns);
	if (now_ns - spin->began_ns < SPIN_NS) {
		spin->looked_ns = now_ns;
		return true;
	}
	spin->on = false;
	if (now_ns - spin->looked_ns > DISPLACED_NS)
		spin->credit = 0;
	else if (spin->credit > 0)
		spin->credit--;
	return false;
}

void whi_spin_hit(struct whi_spin *spin)
{
	if (!spin->on)
		return;
	spin->on = false;
	if (spin->credit + CREDIT_HIT <= CREDIT_MAX)
		spin->credit += CREDIT_HIT;
}
