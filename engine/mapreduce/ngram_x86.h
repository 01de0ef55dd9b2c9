/* The ngram kernels for x86-64. */
#pragma once

#include "mapreduce/ngram.h"

extern const struct whi_ngram_kernel whi_ngram_avx2;
extern const struct whi_ngram_kernel whi_ngram_avx512;
extern const struct whi_ngram_kernel whi_ngram_sse2;
