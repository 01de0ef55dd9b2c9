/*
 * A context: where a stack stopped and how to go on from there. Switching saves what the ABI says
 * a callee preserves, the control words of the floating point units included, and nothing else.
 *
 * A switch enters and leaves the assembly by jumps. A call there and a jump back, or the other way
 * round, would leave the CPU's return predictor one entry off, and every return of the resumed task
 * would be mispredicted.
 *
 * Shadow stacks (x86 CET, arm64 GCS) are not switched: the objects do not declare themselves
 * compatible, so the linker and the loader leave them off, and whi_context_supported checks that
 * they are. Landing pads (IBT, BTI) are in place.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct whi_context {
	void *sp;	    /* the saved registers are here; valid while not running */
	const char *low;    /* lowest byte of the stack */
	size_t stack_bytes; /* from `low` up to the first frame */
	void *fake_stack;   /* AddressSanitizer's, while not running */
	void *fiber;	    /* ThreadSanitizer's */
	unsigned valgrind;  /* valgrind's stack id, plus 1 */
};

typedef void (*whi_context_fn)(void *arg);

/* False if this thread runs with a shadow stack. */
bool whi_context_supported(void);

/* Adopt the calling thread's own stack as a context to switch away from. */
void whi_context_adopt(struct whi_context *ctx);

/*
 * Prepare `ctx` to run `fn(arg)`, which must never return, on the stack from `low` to `high`.
 * The first time `ctx` is all zero; later it may be one whose function will not run again.
 */
void whi_context_init(struct whi_context *ctx, void *low, void *high, whi_context_fn fn, void *arg);

/* Release what tools keep about a context that will not run again. */
void whi_context_fini(struct whi_context *ctx);

/* Memory with contexts in it that were left in the middle of something is given back: tools forget
 * what they know of it. */
void whi_context_forget(void *memory, size_t bytes);

/* The first thing that `fn` calls. */
void whi_context_started(void);

/* Leave `from`, which is running, for `to`; returns when something switches back to `from`. */
void whi_context_switch(struct whi_context *from, struct whi_context *to);

/* The same, but `from` will not run again. */
_Noreturn void whi_context_leave(struct whi_context *from, struct whi_context *to);
