#include "mapreduce/words_x86.h"

#include "mapreduce/words_scalar.h"

const struct whi_words_kernel *const whi_words_kernels[] = {
	&whi_words_avx512, &whi_words_avx2, &whi_words_sse2, &whi_words_scalar, NULL,
};
