#include "arch/cpu.h"

#include <unistd.h>

enum { L2_GUESS_BYTES = 512 * 1024 };

#if defined(__x86_64__)
static unsigned has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes") &&
	       __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
	       __builtin_cpu_supports("popcnt");
}

static unsigned has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2");
}

unsigned whi_cpu_features(void)
{
	__builtin_cpu_init();
	if (!has_avx2())
		return 0;
	return WHI_CPU_AVX2 | (has_avx512() ? WHI_CPU_AVX512 : 0);
}
#else
unsigned whi_cpu_features(void)
{
	return 0;
}
#endif

size_t whi_cpu_l2_bytes(void)
{
	long len = -1;

#ifdef _SC_LEVEL2_CACHE_SIZE
	len = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
	return len > 0 ? (size_t)len : L2_GUESS_BYTES;
}
