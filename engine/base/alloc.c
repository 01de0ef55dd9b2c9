#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#if WHI_USE_MIMALLOC
#include <mimalloc.h>
#define raw_malloc mi_malloc
#define raw_calloc mi_calloc
#define raw_realloc mi_realloc
#define raw_aligned(align, len) mi_malloc_aligned(len, align)
#define raw_free mi_free
#else
#define raw_malloc malloc
#define raw_calloc calloc
#define raw_realloc realloc
#define raw_aligned(align, len) aligned_alloc(align, ((len) + (align)-1) / (align) * (align))
#define raw_free free
#endif

/* Zero in every program that is not a test: then the check is one load of a clean line. */
static _Atomic uint64_t fail_at;
static _Atomic uint64_t asked;

static bool must_fail(void)
{
	uint64_t nth = atomic_load_explicit(&fail_at, memory_order_relaxed);

	if (whi_likely(nth == 0))
		return false;
	return atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed) + 1 == nth;
}

void *whi_alloc(size_t len)
{
	return must_fail() ? NULL : raw_malloc(len);
}

void *whi_calloc(size_t count, size_t size)
{
	return must_fail() ? NULL : raw_calloc(count, size);
}

void *whi_realloc(void *ptr, size_t len)
{
	return must_fail() ? NULL : raw_realloc(ptr, len);
}

void *whi_aligned_alloc(size_t align, size_t len)
{
	return must_fail() ? NULL : raw_aligned(align, len);
}

char *whi_strdup(const char *text)
{
	size_t len = strlen(text) + 1;
	char *copy = whi_alloc(len);

	return copy ? memcpy(copy, text, len) : NULL;
}

void whi_free(void *ptr)
{
	raw_free(ptr);
}

void whi_alloc_fail_at(uint64_t nth)
{
	atomic_store(&asked, 0);
	atomic_store(&fail_at, nth);
}

uint64_t whi_alloc_count(void)
{
	return atomic_load(&asked);
}
