/* The ngram kernel for processors with AVX-512 (F, BW, VL, VBMI2): 64 bytes a step, offsets by
 * compressing a register of byte numbers. */
#include <immintrin.h>

#include "mapreduce/ngram_lines.h"
#include "mapreduce/ngram_x86.h"

#define KERNEL __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,avx2,bmi,bmi2,popcnt")))

enum { STEP = 64, HALF = 32 };

/* 0, 1, .. 63 */
static const uint8_t byte_numbers[STEP] = {
	0,  1,	2,  3,	4,  5,	6,  7,	8,  9,	10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
	22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
	44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
};

KERNEL static inline void put_half(uint16_t *to, __m256i numbers, __m512i base)
{
	_mm512_storeu_si512(to, _mm512_add_epi16(_mm512_cvtepu8_epi16(numbers), base));
}

/* Write `base` plus the number of each bit set in `bits` to `to`. Returns how many. */
KERNEL static inline size_t put_offsets(uint16_t *to, uint64_t bits, __m512i numbers, __m512i base)
{
	__m512i packed = _mm512_maskz_compress_epi8(bits, numbers);
	size_t count = (size_t)_mm_popcnt_u64(bits);

	put_half(to, _mm512_castsi512_si256(packed), base);
	if (whi_unlikely(count > HALF))
		put_half(to + HALF, _mm512_extracti64x4_epi64(packed, 1), base);
	return count;
}

KERNEL static size_t borders(uint16_t *to, const uint8_t *data, size_t len)
{
	const __m512i numbers = _mm512_loadu_si512(byte_numbers);
	const __m512i tab = _mm512_set1_epi8('\t'), newline = _mm512_set1_epi8('\n');
	__m512i base = _mm512_setzero_si512();
	size_t count = 0;

	for (size_t i = 0; i < len; i += STEP) {
		__m512i bytes = _mm512_loadu_si512(data + i);
		uint64_t found = _mm512_cmpeq_epi8_mask(bytes, tab) |
				 _mm512_cmpeq_epi8_mask(bytes, newline);

		if (len - i < STEP)
			found &= (UINT64_C(1) << (len - i)) - 1;
		count += put_offsets(to + count, found, numbers, base);
		base = _mm512_add_epi16(base, _mm512_set1_epi16(STEP));
	}
	return count;
}

KERNEL static void lines(struct whi_ngrams *ngrams, const uint8_t *data, size_t count)
{
	whi_ngram_lines(ngrams, data, count);
}

const struct whi_ngram_kernel whi_ngram_avx512 = {
	.name = "avx512",
	.borders = borders,
	.lines = lines,
};
