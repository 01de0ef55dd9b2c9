#include "support/faulty_alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"

void *__real_whi_alloc(size_t len);
void *__real_whi_calloc(size_t count, size_t size);
void *__real_whi_realloc(void *ptr, size_t len);
void *__real_whi_aligned_alloc(size_t align, size_t len);
char *__real_whi_strdup(const char *text);
void __real_whi_free(void *ptr);

void *__wrap_whi_alloc(size_t len);
void *__wrap_whi_calloc(size_t count, size_t size);
void *__wrap_whi_realloc(void *ptr, size_t len);
void *__wrap_whi_aligned_alloc(size_t align, size_t len);
char *__wrap_whi_strdup(const char *text);
void __wrap_whi_free(void *ptr);

/* Written while nobody allocates. */
static struct faulty_pick plan;
static _Atomic bool on;
static _Atomic uint64_t asked, failed;
static _Atomic int64_t live;

int faulty_picks(const struct faulty_pick *pick, uint64_t number)
{
	uint64_t past;

	if (pick->first == 0 || number < pick->first)
		return false;
	past = number - pick->first;
	if (pick->step == 0)
		return past == 0;
	return past % pick->step == 0 && (pick->max == 0 || past / pick->step < pick->max);
}

static bool must_fail(void)
{
	if (!atomic_load_explicit(&on, memory_order_relaxed) ||
	    !faulty_picks(&plan, atomic_fetch_add(&asked, 1) + 1))
		return false;
	atomic_fetch_add(&failed, 1);
	return true;
}

static void *counted(void *ptr)
{
	if (ptr)
		atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
	return ptr;
}

void *__wrap_whi_alloc(size_t len)
{
	return must_fail() ? NULL : counted(__real_whi_alloc(len));
}

void *__wrap_whi_calloc(size_t count, size_t size)
{
	return must_fail() ? NULL : counted(__real_whi_calloc(count, size));
}

void *__wrap_whi_realloc(void *ptr, size_t len)
{
	void *moved = must_fail() ? NULL : __real_whi_realloc(ptr, len);

	return ptr ? moved : counted(moved);
}

void *__wrap_whi_aligned_alloc(size_t align, size_t len)
{
	return must_fail() ? NULL : counted(__real_whi_aligned_alloc(align, len));
}

char *__wrap_whi_strdup(const char *text)
{
	/* Within base/alloc.c it allocates without us. */
	return must_fail() ? NULL : counted(__real_whi_strdup(text));
}

void __wrap_whi_free(void *ptr)
{
	if (ptr)
		atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
	__real_whi_free(ptr);
}

void faulty_alloc_set(const struct faulty_pick *pick)
{
	plan = *pick;
	atomic_store(&asked, 0);
	atomic_store(&failed, 0);
	atomic_store(&on, pick->first != 0);
}

uint64_t faulty_alloc_failed(void)
{
	return atomic_load(&failed);
}

int64_t faulty_alloc_live(void)
{
	return atomic_load(&live);
}

void whi_alloc_fail_at(uint64_t nth)
{
	faulty_alloc_set(&(struct faulty_pick){ .first = nth });
}

uint64_t whi_alloc_count(void)
{
	return atomic_load(&asked);
}
