#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

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

void *whi_alloc(size_t len)
{
	return raw_malloc(len);
}

void *whi_calloc(size_t count, size_t size)
{
	return raw_calloc(count, size);
}

void *whi_realloc(void *ptr, size_t len)
{
	return raw_realloc(ptr, len);
}

void *whi_aligned_alloc(size_t align, size_t len)
{
	return raw_aligned(align, len);
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
