/*
 * Waiting awake, for something that often comes sooner than it takes to sleep and wake up, but only
 * on a CPU that nobody else wants.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Between two looks: leaves the core's resources to its other thread. */
static inline void whi_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

/* Says whether a thread of the engine is awake: loops and workers that compute have one each. */
struct whi_awake {
	_Alignas(64) _Atomic uint8_t state; /* its own thread writes it, and spinners read it */
};

/* A slot, awake. Never NULL: when there are no more, one that is not looked at. */
struct whi_awake *whi_awake_open(void);
void whi_awake_close(struct whi_awake *awake);

void whi_awake_set(struct whi_awake *awake, bool is_awake);

/* At least one of `cpus` CPUs would be idle if the calling thread, which is awake, slept; nothing
 * is known of other processes. */
bool whi_awake_leaves_cpu(unsigned cpus);

/* One thread's waiting. Each time that it came too late makes the next time less likely. {0}:
 * never spins. */
struct whi_spin {
	uint64_t began_ns, looked_ns;
	uint32_t cpus; /* that there are; 0: never spin */
	uint8_t credit;
	uint8_t skipped; /* times that it did not spin for want of credit */
	bool on;
};

void whi_spin_init(struct whi_spin *spin, unsigned cpus);

/* Nothing is there. True: look again soon, and ask again if there is still nothing; the first call
 * begins to spin. False: sleep. */
bool whi_spin_on(struct whi_spin *spin, uint64_t now_ns);

/* What was waited for has come. */
void whi_spin_hit(struct whi_spin *spin);
