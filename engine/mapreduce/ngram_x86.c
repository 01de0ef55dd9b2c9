#include "mapreduce/ngram_x86.h"

#include "mapreduce/ngram_scalar.h"

const struct whi_ngram_kernel *const whi_ngram_kernels[] = {
	&whi_ngram_avx512, &whi_ngram_avx2, &whi_ngram_sse2, &whi_ngram_scalar, NULL,
};
