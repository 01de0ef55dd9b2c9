/*
 * Data that processes and threads share: arrays in memory that can be handed over, counters, and a
 * lock that survives whoever holds it.
 *
 *     struct wh_shared_array *hits;
 *
 *     r = wh_shared_array_open(100, sizeof(struct wh_shared_counter), &hits);
 *     call.args_fd = wh_shared_array_fd(hits);
 *
 * and in the job
 *
 *     r = wh_shared_array_from_fd(io->args_fd, &hits);
 *     wh_shared_counter_add(wh_shared_array_at(hits, i), 1);
 *     wh_shared_array_close(hits);
 *
 * Plain variables in such memory are not safe: `x += 1` is a load, an addition and a store, and
 * what another process adds in between is lost. tests/examples/lost_updates.c shows it.
 */
#ifndef WHORL_SHARED_H
#define WHORL_SHARED_H

#include <whorl/api.h>

/* A counter, alone in its cache line. All zero is 0. */
struct wh_shared_counter {
	uint64_t value;
	uint64_t padding[7];
};

/** Add `n`, at once for everybody. Returns what it was before. Context: any thread or process. */
static inline uint64_t wh_shared_counter_add(struct wh_shared_counter *counter, uint64_t n)
{
	return __atomic_fetch_add(&counter->value, n, __ATOMIC_RELAXED);
}

/** What it is now. Context: any thread or process. */
static inline uint64_t wh_shared_counter_get(const struct wh_shared_counter *counter)
{
	return __atomic_load_n(&counter->value, __ATOMIC_RELAXED);
}

/* A lock, in memory that those who use it share, where it must stay. */
struct wh_shared_lock {
	uint64_t opaque[8];
};

/**
 * Make `lock`, once, before anybody uses it. It needs no end.
 *
 * Returns    0.
 * Errors     -ENOTSUP   the system has no robust locks
 */
WH_API int wh_shared_lock_init(struct wh_shared_lock *lock);

/**
 * Acquire `lock`, waiting for whoever has it. Not for what a loop is to wait for: the thread waits.
 *
 * Returns    0.
 * Errors     -EOWNERDEAD   the lock is the caller's, but who had it died with it: what it guards
 *                          may be half changed. Mend that, and call wh_shared_lock_mended before
 *                          the lock is released; otherwise it is
 *            -ENOTRECOVERABLE   from then on, for everybody
 *            -EDEADLK      the calling thread has it already
 * Context    any thread or process. It belongs to the thread: a task that holds it must not
 *            suspend.
 */
WH_API int wh_shared_lock_acquire(struct wh_shared_lock *lock);

/**
 * The same without waiting.
 *
 * Errors     as wh_shared_lock_acquire, and
 *            -EBUSY   somebody else has it
 */
WH_API int wh_shared_lock_try(struct wh_shared_lock *lock);

/**
 * What `lock` guards is whole again. After -EOWNERDEAD, by who has got it.
 *
 * Returns    0.
 * Errors     -EINVAL   its last owner did not die
 */
WH_API int wh_shared_lock_mended(struct wh_shared_lock *lock);

/**
 * Release `lock`.
 *
 * Returns    0.
 * Errors     -EPERM   the calling thread does not have it
 */
WH_API int wh_shared_lock_release(struct wh_shared_lock *lock);

/* An array in memory of its own, which others can be given. */
struct wh_shared_array;

/**
 * Make an array of `count` elements of `element_bytes` each, all zero.
 *
 * Returns    0, with the array in `*ret`.
 * Errors     -EINVAL   no elements, or of no size
 *            -EOVERFLOW   more bytes than can be addressed
 *            -EMFILE, -ENFILE, -ENOMEM and others, as memfd_create(2), ftruncate(2), mmap(2)
 * Ownership  wh_shared_array_close releases it; the memory lives for as long as anybody has it.
 */
WH_API int wh_shared_array_open(size_t count, size_t element_bytes, struct wh_shared_array **ret);

/**
 * The array that somebody else has made, of whom `fd` came. What it says about itself is checked
 * against the size that the memory has for good, and not believed later.
 *
 * Returns    0, with the array in `*ret`.
 * Errors     -EINVAL   it is no such array, or its size is not sealed
 *            -EBADF, -EACCES, -EMFILE, -ENOMEM, as dup(2), mmap(2)
 * Ownership  wh_shared_array_close releases it. `fd` stays the caller's.
 */
WH_API int wh_shared_array_from_fd(int fd, struct wh_shared_array **ret);

/** Let go of `array`. */
WH_API void wh_shared_array_close(struct wh_shared_array *array);

/** Element `index`, NULL if there is none: aligned to 64 bytes if `element_bytes` is a multiple. */
WH_API void *wh_shared_array_at(const struct wh_shared_array *array, size_t index);

/** How many elements it has. */
WH_API size_t wh_shared_array_count(const struct wh_shared_array *array);

/** The size of one. */
WH_API size_t wh_shared_array_element_bytes(const struct wh_shared_array *array);

/** The descriptor to hand over. It stays the array's. */
WH_API int wh_shared_array_fd(const struct wh_shared_array *array);

#endif
