/* What this processor can do, as far as the engine chooses code by it. */
#pragma once

#include <stddef.h>

enum {
	WHI_CPU_AVX2 = 1u << 0,	  /* with AES, BMI1, BMI2 and POPCNT */
	WHI_CPU_AVX512 = 1u << 1, /* F, BW, VL and VBMI2; and all that WHI_CPU_AVX2 says */
};

/* The bits above that hold here. Zero on a processor that the engine has no special code for. */
unsigned whi_cpu_features(void);

/* Size of the second-level cache of one core; a cautious guess where the system does not say. */
size_t whi_cpu_l2_bytes(void);
