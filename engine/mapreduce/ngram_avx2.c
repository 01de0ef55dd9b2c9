/* The ngram kernel for processors with AVX2 and BMI: 64 bytes a step in two registers. */
#include <immintrin.h>

#include "mapreduce/ngram_lines.h"
#include "mapreduce/ngram_x86.h"
#include "mapreduce/words_offsets_x86.h"

#define KERNEL __attribute__((target("avx2,bmi,bmi2,popcnt")))

enum { STEP = 64, HALF = 32 };

KERNEL static inline uint64_t find_half(const uint8_t *data)
{
	__m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)data);
	__m256i tabs = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\t'));
	__m256i newlines = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\n'));

	return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(tabs, newlines));
}

KERNEL static size_t borders(uint16_t *to, const uint8_t *data, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t found = find_half(data + i) | find_half(data + i + HALF) << HALF;

		if (len - i < STEP)
			found &= (UINT64_C(1) << (len - i)) - 1;
		count += whi_words_offsets(to + count, found, _mm_set1_epi16((short)i));
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
