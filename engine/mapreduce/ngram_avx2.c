/* The ngram kernel for processors with AVX2 and BMI: 64 bytes a step in two registers. */
#include <immintrin.h>

#include "mapreduce/ngram_lines.h"
#include "mapreduce/ngram_x86.h"
#include "mapreduce/words_borders.h"

#define KERNEL __attribute__((target("avx2,bmi,bmi2,popcnt")))

enum { STEP = 64, HALF = 32 };

KERNEL static inline uint64_t find_half(const uint8_t *data)
{
	__m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)data);
	__m256i tabs = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\t'));
	__m256i newlines = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\n'));

	return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(tabs, newlines));
}

/* Write `base` plus the number of each bit set in `bits` to `to`. Returns how many. */
KERNEL static inline size_t put_offsets(uint16_t *to, uint64_t bits, __m128i base)
{
	uint16_t *at = to;

	for (int i = 0; i < STEP / 8; i++, bits >>= 8) {
		const void *row = &whi_words_bits[bits & 0xff];
		__m128i numbers = _mm_loadu_si128(row);

		_mm_storeu_si128((__m128i *)(void *)at, _mm_add_epi16(numbers, base));
		at += _mm_popcnt_u64(bits & 0xff);
		base = _mm_add_epi16(base, _mm_set1_epi16(8));
	}
	return (size_t)(at - to);
}

KERNEL static size_t borders(uint16_t *to, const uint8_t *data, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t found = find_half(data + i) | find_half(data + i + HALF) << HALF;

		if (len - i < STEP)
			found &= (UINT64_C(1) << (len - i)) - 1;
		count += put_offsets(to + count, found, _mm_set1_epi16((short)i));
	}
	return count;
}

KERNEL static void lines(struct whi_ngrams *ngrams, const uint8_t *data, size_t count)
{
	whi_ngram_lines(ngrams, data, count);
}

const struct whi_ngram_kernel whi_ngram_avx2 = {
	.name = "avx2",
	.borders = borders,
	.lines = lines,
};
