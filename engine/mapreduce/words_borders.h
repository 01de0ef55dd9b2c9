/* What kernels without a compress instruction share: a mask of bytes to a list of offsets, eight
 * bits at a time through a table. */
#pragma once

#include <stdint.h>

/* A byte of a mask: the numbers of its set bits, ascending, four 16-bit numbers to a word. */
struct whi_words_bits {
	uint64_t numbers[2];
};

extern const struct whi_words_bits whi_words_bits[256];
extern const uint8_t whi_words_bit_counts[256];

/* In a list of borders every word has two entries: where it starts and where it ends. */
static inline uint64_t whi_words_borders(uint64_t word, uint64_t *before)
{
	uint64_t borders = word ^ (word << 1 | *before);

	*before = word >> 63;
	return borders;
}
