/*
 * Stacks. One pool belongs to one loop; only the count of mappings is the process's.
 *
 * Invariants
 * 1. A slab is one mapping. Marker guards do not split it; a guard made with mprotect costs two
 *    more mappings, so these stop at 40 % of vm.max_map_count.
 * 2. A slot's guard and header outlive its memory being given back: MADV_DONTNEED spares guard
 *    markers, and the pages that hold the header are not given back.
 * 3. Tops differ in their offset within a page, so that equal frames of many tasks do not compete
 *    for the same few cache sets.
 */
#include "task/stack.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/mman.h"

enum {
	PAGE = 4096,
	COLOURS = 16,
	COLOUR_BYTES = 128,
	SLAB_MIN_SHIFT = 20, /* 1 MiB */
	SLAB_MAX_SHIFT = 30, /* 1 GiB */
	CANARY_WORDS = 8,
	MAPS_DEFAULT = 65530,
};

#define CANARY 0x5a17c0de5a17c0deull

/* Guards made with mprotect in this process. */
static _Atomic uint32_t protected_guards;

static uint32_t protected_guards_max(void)
{
	unsigned long maps = MAPS_DEFAULT;
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");

	if (file) {
		if (fscanf(file, "%lu", &maps) != 1)
			maps = MAPS_DEFAULT;
		fclose(file);
	}
	return (uint32_t)(maps * 2 / 5 / 2);
}

enum whi_guard whi_stack_guard_probe(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (page == MAP_FAILED)
		return WHI_GUARD_MPROTECT;
	r = madvise(page, PAGE, MADV_GUARD_INSTALL);
	munmap(page, PAGE);
	return r == 0 ? WHI_GUARD_MARKER : WHI_GUARD_MPROTECT;
}

void whi_stack_pool_init(struct whi_stack_pool *pool, size_t head_bytes, uint32_t warm_max)
{
	memset(pool, 0, sizeof(*pool));
	pool->head_bytes = (head_bytes + 63) & ~(size_t)63;
	pool->warm_max = warm_max;
	pool->guard = whi_stack_guard_probe();
}

static void each_free(struct whi_stack *list, void (*each)(struct whi_stack *stack))
{
	while (list) {
		struct whi_stack *next = list->next;

		each(list);
		if (list->guard == WHI_GUARD_MPROTECT)
			atomic_fetch_sub(&protected_guards, 1);
		list = next;
	}
}

void whi_stack_pool_fini(struct whi_stack_pool *pool, void (*each)(struct whi_stack *stack))
{
	for (unsigned i = 0; i < WHI_STACK_SIZES; i++) {
		struct whi_stack_class *class = &pool->classes[i];
		struct whi_slab *slab = class->slabs;

		each_free(class->warm, each);
		each_free(class->cold, each);
		while (slab) {
			struct whi_slab *next = slab->next;

			munmap(slab->base, slab->bytes);
			whi_free(slab);
			slab = next;
		}
	}
	memset(pool->classes, 0, sizeof(pool->classes));
}

/* Map as much as there is to be had, from `bytes` down to one slot. */
static void *map_some(size_t *bytes, size_t slot_bytes)
{
	void *base;

	for (;;) {
		base = mmap(NULL, *bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
		if (base != MAP_FAILED)
			break;
		if (*bytes == slot_bytes)
			return NULL;
		*bytes /= 2;
	}
	/* A huge page under a stack would make every task cost 2 MiB. */
	madvise(base, *bytes, MADV_NOHUGEPAGE);
	return base;
}

/* Slabs double, so that many stacks take few mappings and few stacks little address space. */
static int add_slab(struct whi_stack_class *class, size_t slot_bytes)
{
	size_t bytes = (size_t)1 << SLAB_MIN_SHIFT;
	struct whi_slab *slab = whi_alloc(sizeof(*slab));

	if (!slab)
		return -ENOMEM;
	while (bytes < class->slots * slot_bytes && bytes < (size_t)1 << SLAB_MAX_SHIFT)
		bytes *= 2;
	if (bytes < slot_bytes)
		bytes = slot_bytes;
	slab->base = map_some(&bytes, slot_bytes);
	if (!slab->base) {
		whi_free(slab);
		return -ENOMEM;
	}
	slab->bytes = bytes;
	slab->used = 0;
	slab->next = class->slabs;
	class->slabs = slab;
	return 0;
}

static enum whi_guard protect_page(char *page)
{
	static _Atomic uint32_t max;

	if (atomic_load(&max) == 0)
		atomic_store(&max, protected_guards_max());
	if (atomic_fetch_add(&protected_guards, 1) < atomic_load(&max) &&
	    mprotect(page, PAGE, PROT_NONE) == 0)
		return WHI_GUARD_MPROTECT;
	atomic_fetch_sub(&protected_guards, 1);
	return WHI_GUARD_CANARY;
}

static enum whi_guard install_guard(struct whi_stack_pool *pool, char *page)
{
	uint64_t *canary = (uint64_t *)(void *)(page + PAGE);
	enum whi_guard guard = pool->guard;

	if (guard == WHI_GUARD_MARKER && madvise(page, PAGE, MADV_GUARD_INSTALL) == 0)
		return guard;
	if (guard != WHI_GUARD_CANARY)
		guard = protect_page(page);
	if (guard == WHI_GUARD_CANARY)
		for (unsigned i = 0; i < CANARY_WORDS; i++)
			canary[i] = CANARY;
	return guard;
}

static struct whi_stack *cut_slot(struct whi_stack_pool *pool, struct whi_stack_class *class,
				  unsigned shift)
{
	struct whi_slab *slab = class->slabs;
	char *slot = slab->base + slab->used;
	size_t bytes = (size_t)1 << shift;
	char *top = slot + bytes - (size_t)(class->slots % COLOURS) * COLOUR_BYTES;
	struct whi_stack *stack = (struct whi_stack *)(void *)(top - pool->head_bytes);

	slab->used += bytes;
	class->slots++;
	stack->low = slot + PAGE;
	stack->shift = (uint8_t)shift;
	stack->guard = (uint8_t)install_guard(pool, slot);
	return stack;
}

static unsigned shift_of(size_t bytes)
{
	unsigned shift = WHI_STACK_MIN_SHIFT;

	while (((size_t)1 << shift) < bytes)
		shift++;
	return shift;
}

int whi_stack_get(struct whi_stack_pool *pool, size_t bytes, struct whi_stack **ret)
{
	struct whi_stack_class *class;
	struct whi_stack *stack;
	unsigned shift;

	if (bytes < (size_t)1 << WHI_STACK_MIN_SHIFT || bytes > (size_t)1 << WHI_STACK_MAX_SHIFT)
		return -EINVAL;
	shift = shift_of(bytes);
	class = &pool->classes[shift - WHI_STACK_MIN_SHIFT];
	if (whi_likely(class->warm)) {
		stack = class->warm;
		class->warm = stack->next;
		class->warm_count--;
	} else if (class->cold) {
		stack = class->cold;
		class->cold = stack->next;
	} else {
		size_t slot_bytes = (size_t)1 << shift;

		if (!class->slabs || class->slabs->used == class->slabs->bytes)
			if (add_slab(class, slot_bytes) < 0)
				return -ENOMEM;
		stack = cut_slot(pool, class, shift);
	}
	*ret = stack;
	return 0;
}

void whi_stack_put(struct whi_stack_pool *pool, struct whi_stack *stack)
{
	struct whi_stack_class *class = &pool->classes[stack->shift - WHI_STACK_MIN_SHIFT];

	stack->next = class->warm;
	class->warm = stack;
	class->warm_count++;
}

/* All pages below the header, and above the canary if there is one. */
static void give_back(const struct whi_stack *stack)
{
	char *low = stack->low + (stack->guard == WHI_GUARD_CANARY ? PAGE : 0);
	char *high = (char *)((uintptr_t)stack & ~(uintptr_t)(PAGE - 1));

	if (high > low)
		madvise(low, (size_t)(high - low), MADV_DONTNEED);
}

void whi_stack_trim(struct whi_stack_pool *pool)
{
	for (unsigned i = 0; i < WHI_STACK_SIZES; i++) {
		struct whi_stack_class *class = &pool->classes[i];

		while (whi_unlikely(class->warm_count > pool->warm_max)) {
			struct whi_stack *stack = class->warm;

			class->warm = stack->next;
			class->warm_count--;
			give_back(stack);
			stack->next = class->cold;
			class->cold = stack;
		}
	}
}

bool whi_stack_intact(const struct whi_stack *stack)
{
	const uint64_t *canary = (const uint64_t *)(const void *)stack->low;

	if (stack->guard != WHI_GUARD_CANARY)
		return true;
	for (unsigned i = 0; i < CANARY_WORDS; i++)
		if (canary[i] != CANARY)
			return false;
	return true;
}
