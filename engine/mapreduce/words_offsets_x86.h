/* A mask of bytes to a list of offsets on x86-64, eight bits at a time through a table. Compiled
 * for the instruction set of whoever includes it. */
#pragma once

#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "mapreduce/words_borders.h"

/* Write `base` plus the number of each bit set in `bits` to `to`, and up to 8 more that mean
 * nothing. Returns how many. */
__attribute__((always_inline)) static inline size_t whi_words_offsets(uint16_t *to, uint64_t bits,
								      __m128i base)
{
	uint16_t *at = to;

	for (int i = 0; i < 8; i++, bits >>= 8) {
		const void *row = &whi_words_bits[bits & 0xff];
		__m128i numbers = _mm_loadu_si128(row);

		_mm_storeu_si128((__m128i *)(void *)at, _mm_add_epi16(numbers, base));
		at += whi_words_bit_counts[bits & 0xff];
		base = _mm_add_epi16(base, _mm_set1_epi16(8));
	}
	return (size_t)(at - to);
}
