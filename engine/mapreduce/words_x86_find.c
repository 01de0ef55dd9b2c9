/* Words as records, and records as keys, for processors with AVX2. */
#include <immintrin.h>

#include "mapreduce/words_scalar.h"
#include "mapreduce/words_x86.h"

#define KERNEL __attribute__((target("avx2,aes,bmi,bmi2,popcnt")))

enum { PAIRS = 4 };

/* Four words a step: starts and lengths of 64 bits each, then one of each in turn. */
KERNEL void whi_words_x86_list(struct wh_mr_bytes *to, const uint16_t *borders, size_t count,
			       const uint8_t *data)
{
	const __m256i base = _mm256_set1_epi64x((long long)(uintptr_t)data);

	for (size_t i = 0; i < count; i += PAIRS) {
		const void *from = borders + 2 * i;
		__m256i *out = (void *)(to + i);
		__m256i pairs = _mm256_cvtepu32_epi64(_mm_loadu_si128(from));
		__m256i start = _mm256_blend_epi16(pairs, _mm256_setzero_si256(), 0xee);
		__m256i len = _mm256_sub_epi64(_mm256_srli_epi64(pairs, 16), start);
		__m256i even, odd;

		start = _mm256_add_epi64(start, base);
		even = _mm256_unpacklo_epi64(start, len);
		odd = _mm256_unpackhi_epi64(start, len);
		_mm256_storeu_si256(out, _mm256_permute2x128_si256(even, odd, 0x20));
		_mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(even, odd, 0x31));
	}
}

/* Four keys a step, of which nothing may be below the least or above the most; pointers are no
 * larger than what is signed. */
KERNEL bool whi_words_x86_all_short(const struct wh_mr_bytes *keys, size_t count,
				    const uint8_t *block, size_t len)
{
	const long long first = (long long)(uintptr_t)block, last = first + (long long)len - 1;
	const __m256i least = _mm256_setr_epi64x(first, 1, first, 1);
	const __m256i most = _mm256_setr_epi64x(last, WHI_SHORT_MAX, last, WHI_SHORT_MAX);
	__m256i wrong = _mm256_setzero_si256();
	size_t i = 0;

	for (; i + 4 <= count; i += 4) {
		__m256i a = _mm256_loadu_si256((const void *)(keys + i));
		__m256i b = _mm256_loadu_si256((const void *)(keys + i + 2));
		__m256i under = _mm256_or_si256(_mm256_sub_epi64(a, least),
						_mm256_sub_epi64(b, least));
		__m256i over = _mm256_or_si256(_mm256_sub_epi64(most, a),
					       _mm256_sub_epi64(most, b));

		wrong = _mm256_or_si256(wrong, _mm256_or_si256(under, over));
	}
	return _mm256_movemask_pd(_mm256_castsi256_pd(wrong)) == 0 &&
	       whi_words_scalar_all_short(keys + i, count - i, block, len);
}
