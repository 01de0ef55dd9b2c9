/* The kernel without special instructions, and what those without others than for finding tabs and
 * newlines have from it. */
#pragma once

#include "mapreduce/ngram.h"

extern const struct whi_ngram_kernel whi_ngram_scalar;

/* The `lines` of a kernel. */
void whi_ngram_scalar_lines(struct whi_ngrams *ngrams, const uint8_t *data, size_t count);
