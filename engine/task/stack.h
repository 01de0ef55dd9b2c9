/*
 * Stacks for tasks. Each lies in a slot of a large mapping: a guard page at the bottom, a header
 * that the user of the pool extends at the top, the stack in between. Slots come in sizes of powers
 * of two; a free one is handed out again while its memory is still warm.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

enum {
	WHI_STACK_MIN_SHIFT = 14, /* 16 KiB */
	WHI_STACK_MAX_SHIFT = 30, /* 1 GiB */
	WHI_STACK_SIZES = WHI_STACK_MAX_SHIFT - WHI_STACK_MIN_SHIFT + 1,
};

enum whi_guard {
	WHI_GUARD_MARKER,   /* MADV_GUARD_INSTALL: no mapping of its own, Linux 6.13 */
	WHI_GUARD_MPROTECT, /* a mapping of its own: their number is limited */
	WHI_GUARD_CANARY,   /* found late: when the task ends or is suspended */
};

/* At the top of its slot; all zero when it is handed out for the first time. */
struct whi_stack {
	struct whi_stack *next; /* the next free one */
	char *low;		/* lowest byte above the guard */
	uint8_t shift;		/* the slot's size is 1 << shift */
	uint8_t guard;		/* enum whi_guard */
};

struct whi_slab {
	struct whi_slab *next;
	char *base;
	size_t bytes;
	size_t used; /* bytes cut into slots so far */
};

struct whi_stack_class {
	struct whi_stack *warm; /* free, newest first */
	struct whi_stack *cold; /* free, memory given back */
	uint32_t warm_count;
	uint32_t slots;
	struct whi_slab *slabs; /* the one being cut is first */
};

struct whi_stack_pool {
	size_t head_bytes; /* of the header with its extension */
	uint32_t warm_max; /* free stacks of a size that keep their memory */
	enum whi_guard guard;
	struct whi_stack_class classes[WHI_STACK_SIZES];
};

/* `head_bytes`: size of the user's structure, which begins with a struct whi_stack. */
void whi_stack_pool_init(struct whi_stack_pool *pool, size_t head_bytes, uint32_t warm_max);

/* All stacks must be free. `each` is called for every one that was ever handed out. */
void whi_stack_pool_fini(struct whi_stack_pool *pool, void (*each)(struct whi_stack *stack));

/* A stack in a slot of at least `bytes`. -EINVAL: out of range; -ENOMEM. */
int whi_stack_get(struct whi_stack_pool *pool, size_t bytes, struct whi_stack **ret);

/* May be called while still running on it: the memory stays until whi_stack_trim. */
void whi_stack_put(struct whi_stack_pool *pool, struct whi_stack *stack);

/* Give back the memory of free stacks beyond `warm_max`. Not while running on one of them. */
void whi_stack_trim(struct whi_stack_pool *pool);

/* False if the canary at the bottom was overwritten. */
bool whi_stack_intact(const struct whi_stack *stack);

/* The best guard this kernel has. */
enum whi_guard whi_stack_guard_probe(void);
