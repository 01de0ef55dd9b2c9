/*
 * The runtime: N loops, the tasks at their roots, and the end of it all.
 */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "loop/loop.h"

enum whi_runtime_phase {
	WHI_RUNTIME_OPENING,
	WHI_RUNTIME_RUNNING,
	WHI_RUNTIME_FAILED, /* some loop could not be opened */
};

struct whi_runtime {
	struct wh_loop **loops;
	pthread_t *threads; /* of the loops but the first */
	unsigned loop_count;
	bool pin;
	cpu_set_t affinity; /* the process's, from before any loop was pinned */
	struct whi_loop_opts loop_opts;
	struct wh_backend_choice choice;
	/* Tasks in the loops' root scopes, those on their way included. */
	_Atomic uint64_t roots;
	_Atomic int first_error; /* of a root task */
	_Atomic bool cancelled;	 /* all root scopes are, or are about to be */
	pthread_mutex_t lock;	 /* of the following, while opening */
	pthread_cond_t changed;
	unsigned opening; /* loops that have not said yet whether they opened */
	int open_error;
	enum whi_runtime_phase phase;
	pthread_barrier_t turned; /* no loop turns any more */
};

/* A sentence and its cure. */
enum { WHI_ADVICE_MAX = 600 };

/* wh_run fails with `err`: what wh_run_advice will say. An empty `why`: nothing particular. */
void whi_advice_keep(int err, const struct wh_backend_choice *choice);

/* Read `opts` and make the loops, unopened, of the backend named in `runtime->choice`. */
int whi_runtime_init(struct whi_runtime *runtime, const struct wh_run_opts *opts);
void whi_runtime_fini(struct whi_runtime *runtime);

/* Count one more root task. False: the runtime is ending. */
bool whi_runtime_enter(struct whi_runtime *runtime);

/* A root task has ended, with `error` < 0 if it failed. */
void whi_runtime_leave(struct whi_runtime *runtime, int error);

/* Cancel the root scopes of all loops. Any thread, and signal handlers. */
void whi_runtime_cancel(struct whi_runtime *runtime);

/* What exec/ wants done before a runtime has threads and rings, and after. NULL: nothing. */
struct whi_runtime_hook {
	void (*begins)(bool processes); /* `processes` as in struct wh_run_opts */
	void (*ends)(void);
};

extern const struct whi_runtime_hook *whi_runtime_hook;

/* The CPUs of the process, whether the calling thread's loop is pinned or not. */
void whi_runtime_affinity(cpu_set_t *ret);

/* How many these are. A machine with more than fit into the mask has none in it, and still one. */
unsigned whi_runtime_cpus(void);

/* signals.c: have SIGINT and SIGTERM cancel `runtime`. 0 or -errno. */
int whi_signals_catch(struct whi_runtime *runtime);
void whi_signals_uncatch(void);

/* What the handler is to do as well, from now on. It must be async-signal-safe. */
void whi_signals_also(void (*fn)(void));
