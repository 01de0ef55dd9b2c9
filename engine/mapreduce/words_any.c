/* The kernels on a processor that has no code of its own. */
#include "mapreduce/words_scalar.h"

const struct whi_words_kernel *const whi_words_kernels[] = {
	&whi_words_scalar,
	NULL,
};
