#include "mapreduce/ngram_scalar.h"

const struct whi_ngram_kernel *const whi_ngram_kernels[] = {
	&whi_ngram_scalar,
	NULL,
};
