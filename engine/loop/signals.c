/*
 * SIGINT and SIGTERM: the first one cancels the runtime, the second one has its ordinary effect.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "loop/sim.h"

static const int caught[] = { SIGINT, SIGTERM };

enum { CAUGHT = sizeof(caught) / sizeof(caught[0]) };

static struct sigaction old[CAUGHT];
static _Atomic(struct whi_runtime *) target;
static _Atomic unsigned handling; /* handlers that may still use the target */
static _Atomic int last_signal;
static void (*_Atomic also)(void);

static void on_signal(int signal)
{
	int saved = errno;
	struct whi_runtime *runtime;
	void (*fn)(void) = atomic_load(&also);

	if (fn)
		fn();
	atomic_fetch_add(&handling, 1);
	runtime = atomic_load(&target);
	if (runtime) {
		atomic_store(&last_signal, signal);
		atomic_store(&runtime->cancelled, true);
		for (unsigned i = 0; i < runtime->loop_count; i++)
			whi_loop_alert_from_signal(runtime->loops[i]);
	}
	atomic_fetch_sub(&handling, 1);
	errno = saved;
}

void whi_signals_also(void (*fn)(void))
{
	atomic_store(&also, fn);
}

int whi_signals_catch(struct whi_runtime *runtime)
{
	struct sigaction action = { .sa_handler = on_signal,
				    .sa_flags = SA_RESETHAND | SA_RESTART };
	struct whi_runtime *none = NULL;

	/* A second runtime in another thread leaves signals to the first. */
	if (!atomic_compare_exchange_strong(&target, &none, runtime))
		return -EBUSY;
	atomic_store(&last_signal, 0);
	for (unsigned i = 0; i < CAUGHT; i++) {
		sigaction(caught[i], NULL, &old[i]);
		/* As for a shell's background jobs: who ignores a signal goes on ignoring it. */
		if (old[i].sa_handler != SIG_IGN)
			sigaction(caught[i], &action, NULL);
	}
	return 0;
}

void whi_signals_uncatch(void)
{
	for (unsigned i = 0; i < CAUGHT; i++)
		sigaction(caught[i], &old[i], NULL);
	atomic_store(&target, NULL);
	while (atomic_load(&handling))
		sched_yield();
}

int wh_run_signal(void)
{
	const struct whi_sim *sim = whi_sim_self();

	if (sim && whi_loop_self())
		return sim->seats[whi_loop_self()->index].signal;
	return atomic_load(&last_signal);
}
