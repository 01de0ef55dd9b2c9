/* The one seam to the allocator: mimalloc in ordinary builds, the C library's under sanitizers,
 * which need to see every allocation. Nothing else in the engine calls either of them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Each returns NULL when memory is out. */
void *whi_alloc(size_t len);
void *whi_calloc(size_t count, size_t size);
void *whi_realloc(void *ptr, size_t len);
/* `align` is a power of two. */
void *whi_aligned_alloc(size_t align, size_t len);
char *whi_strdup(const char *text);

/* Frees what any of the above returned; NULL is fine. */
void whi_free(void *ptr);

/* Tests put themselves between these functions and their callers with the linker's help, so that
 * failing on purpose costs the engine nothing; the two below are defined there, and only there. */

/* The `nth` allocation from now on (1 is the next one) fails, once. 0 turns it off. Counts over all
 * threads. */
void whi_alloc_fail_at(uint64_t nth);

/* How many were asked for since whi_alloc_fail_at was last called; 0 while it is off. */
uint64_t whi_alloc_count(void);
