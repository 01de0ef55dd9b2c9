/*
 * Contexts: the C side of the switch, and what sanitizers, valgrind and debuggers are told of it.
 *
 * Invariants
 * 1. There is one place that switches, jump_to below, so the resumed address is always the same
 *    one and predicted.
 * 2. To its caller a switch is a call of a function that may run anything: other tasks do run. So
 *    this file is never optimised together with others at link time.
 * 3. Sanitizers hear of a switch before it and after it, in the context concerned.
 */
#include "arch/context.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(low, high) 0u
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

void whi_context_entry(void);
void whi_switch(void);

#if defined(__x86_64__)

enum { ENTRY_FN = 5, ENTRY_ARG = 4, ENTRY_PC = 7, SAVED_WORDS = 8, RED_ZONE_WORDS = 16 };

static void save_control_words(uint64_t *saved)
{
	uint32_t mxcsr;
	uint16_t x87;

	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(x87));
	saved[0] = mxcsr | (uint64_t)x87 << 32;
}

#ifdef __AVX512F__
#define WIDE_CLOBBERS                                                                              \
	, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",         \
		"xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3",   \
		"k4", "k5", "k6", "k7"
#else
#define WIDE_CLOBBERS
#endif

/* Everything not saved by whi_switch is a clobber, everything saved is not. */
static inline void jump_to(void **save_sp, void *load_sp)
{
	__asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
			 "jmp whi_switch\n\t"
			 "1: endbr64"
			 : "+D"(save_sp), "+S"(load_sp)
			 :
			 : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "cc", "memory", "xmm0",
			   "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
			   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)",
			   "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)" WIDE_CLOBBERS);
}

bool whi_context_supported(void)
{
	uint64_t shadow = 0;

	/* rdssp: a no-op that leaves its register alone without a shadow stack. */
	__asm__ volatile("rdsspq %0" : "+r"(shadow));
	return shadow == 0;
}

#elif defined(__aarch64__)

enum { ENTRY_FN = 0, ENTRY_ARG = 1, ENTRY_PC = 11, SAVED_WORDS = 22, RED_ZONE_WORDS = 0 };

static void save_control_words(uint64_t *saved)
{
	uint64_t fpcr;

	__asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
	saved[20] = fpcr;
}

static inline void jump_to(void **save_sp, void *load_sp)
{
	register void **x0 __asm__("x0") = save_sp;
	register void *x1 __asm__("x1") = load_sp;

	__asm__ volatile("adr x30, 1f\n\t"
			 "b whi_switch\n\t"
			 "1: hint #36"
			 : "+r"(x0), "+r"(x1)
			 :
			 : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
			   "x13", "x14", "x15", "x16", "x17", "x30", "cc", "memory", "v0", "v1",
			   "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20",
			   "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30",
			   "v31");
}

bool whi_context_supported(void)
{
	return true;
}

#else
#error "whorl runs on x86-64 and aarch64"
#endif

static void tell_tools_of_new_stack(struct whi_context *ctx, void *low, void *high)
{
	(void)low;
	(void)high;
#ifdef WITH_ASAN
	/* The frames of a context that was left for good never took their red zones down. */
	__asan_unpoison_memory_region(low, (size_t)((char *)high - (char *)low));
#endif
#ifdef WITH_TSAN
	if (ctx->fiber)
		__tsan_destroy_fiber(ctx->fiber);
	ctx->fiber = __tsan_create_fiber(0);
#endif
	if (!ctx->valgrind)
		ctx->valgrind = VALGRIND_STACK_REGISTER(low, high) + 1;
}

void whi_context_adopt(struct whi_context *ctx)
{
	memset(ctx, 0, sizeof(*ctx));
#ifdef WITH_ASAN
	pthread_attr_t attr;
	void *low;

	if (pthread_getattr_np(pthread_self(), &attr) == 0) {
		pthread_attr_getstack(&attr, &low, &ctx->stack_bytes);
		ctx->low = low;
		pthread_attr_destroy(&attr);
	}
#endif
#ifdef WITH_TSAN
	ctx->fiber = __tsan_get_current_fiber();
#endif
}

void whi_context_init(struct whi_context *ctx, void *low, void *high, whi_context_fn fn, void *arg)
{
	uint64_t *top = (uint64_t *)((uintptr_t)high & ~(uintptr_t)15);
	uint64_t *saved = top - RED_ZONE_WORDS - SAVED_WORDS;

	saved[ENTRY_FN] = (uint64_t)(uintptr_t)fn;
	saved[ENTRY_ARG] = (uint64_t)(uintptr_t)arg;
	saved[ENTRY_PC] = (uint64_t)(uintptr_t)whi_context_entry;
	save_control_words(saved);
	ctx->sp = saved;
	ctx->low = low;
	ctx->stack_bytes = (size_t)((char *)high - (char *)low);
	ctx->fake_stack = NULL;
	tell_tools_of_new_stack(ctx, low, high);
}

void whi_context_fini(struct whi_context *ctx)
{
#ifdef WITH_TSAN
	if (ctx->fiber)
		__tsan_destroy_fiber(ctx->fiber);
	ctx->fiber = NULL;
#endif
	if (ctx->valgrind)
		VALGRIND_STACK_DEREGISTER(ctx->valgrind - 1);
	ctx->valgrind = 0;
}

void whi_context_forget(void *memory, size_t bytes)
{
	(void)memory;
	(void)bytes;
#ifdef WITH_ASAN
	__asan_unpoison_memory_region(memory, bytes);
#endif
}

static inline void before_switch(void **fake_stack, const struct whi_context *to)
{
	(void)fake_stack;
	(void)to;
#ifdef WITH_ASAN
	__sanitizer_start_switch_fiber(fake_stack, to->low, to->stack_bytes);
#endif
#ifdef WITH_TSAN
	__tsan_switch_to_fiber(to->fiber, 0);
#endif
}

static inline void after_switch(void *fake_stack)
{
	(void)fake_stack;
#ifdef WITH_ASAN
	__sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
#endif
}

/* A context's first instructions in C have to end the switch that led there. */
void whi_context_started(void)
{
	after_switch(NULL);
}

__attribute__((noinline)) void whi_context_switch(struct whi_context *from, struct whi_context *to)
{
	before_switch(&from->fake_stack, to);
	jump_to(&from->sp, to->sp);
	after_switch(from->fake_stack);
}

_Noreturn void whi_context_leave(struct whi_context *from, struct whi_context *to)
{
	before_switch(NULL, to);
	jump_to(&from->sp, to->sp);
	whi_assert(!"a context that was left for good was resumed");
	__builtin_unreachable();
}
