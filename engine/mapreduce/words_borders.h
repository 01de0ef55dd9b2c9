/* What kernels without a compress instruction share: a mask of 64 bytes to a list of offsets, eight
 * bits at a time through a table. */
#pragma once

#include <stdint.h>

/* For each byte the numbers of its set bits, ascending, one in each byte of the entry. */
extern const uint64_t whi_words_bits[256];

/* In a list of borders every word has two entries: where it starts and where it ends. */
static inline uint64_t whi_words_borders(uint64_t word, uint64_t *before)
{
	uint64_t borders = word ^ (word << 1 | *before);

	*before = word >> 63;
	return borders;
}
