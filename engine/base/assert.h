/* Assertions for bugs in the engine or in how it is called. On in every build type: NDEBUG does
 * not remove them. What a user can get wrong at run time returns -EINVAL instead. */
#pragma once

#define whi_likely(x) __builtin_expect(!!(x), 1)
#define whi_unlikely(x) __builtin_expect(!!(x), 0)

/* A rare path that keeps its frame, and the stack protector's work for it, to itself. */
#define whi_cold __attribute__((cold, noinline))

/* Print what failed and where, then abort. */
_Noreturn void whi_assert_failed(const char *what, const char *file, int line);

#define whi_assert(cond)                                                                           \
	do {                                                                                       \
		if (whi_unlikely(!(cond)))                                                         \
			whi_assert_failed(#cond, __FILE__, __LINE__);                              \
	} while (0)
