/* The word kernel for processors with AVX-512 (F, BW, VL, VBMI2) and AES: 64 bytes a step, word
 * borders to offsets by compressing a register of byte numbers, one AES round pair as hash. */
#include <immintrin.h>

#include "arch/cpu.h"
#include "mapreduce/words.h"
#include "mapreduce/words_borders.h"
#include "mapreduce/words_x86.h"

#define KERNEL                                                                                     \
	__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,avx2,aes,bmi,bmi2,popcnt")))

enum { STEP = 64, PAIRS = 8 };

/* 0, 1, .. 63 */
static const uint8_t byte_numbers[STEP] = {
	0,  1,	2,  3,	4,  5,	6,  7,	8,  9,	10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
	22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
	44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
};

/* Fold 64 bytes in place. Returns a bit for each byte that belongs to a word. */
KERNEL static inline uint64_t fold_step(uint8_t *data)
{
	__m512i bytes = _mm512_loadu_si512(data);
	__mmask64 upper = _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, _mm512_set1_epi8('A')),
						 _mm512_set1_epi8(26));

	bytes = _mm512_mask_add_epi8(bytes, upper, bytes, _mm512_set1_epi8('a' - 'A'));
	_mm512_storeu_si512(data, bytes);
	return _mm512_cmpgt_epu8_mask(bytes, _mm512_set1_epi8(WHI_WORDS_SEPARATOR_MAX));
}

/* Write `base` plus the number of each bit set in `bits`, no two of them neighbours, to `to`. */
KERNEL static inline size_t put_offsets(uint16_t *to, uint64_t bits, __m512i numbers, __m512i base)
{
	__m512i packed = _mm512_maskz_compress_epi8(bits, numbers);
	__m512i wide = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(packed));

	_mm512_storeu_si512(to, _mm512_add_epi16(wide, base));
	return (size_t)_mm_popcnt_u64(bits);
}

/* Word starts to words->start, ends to words->len. Returns how many. */
KERNEL static size_t find_borders(struct whi_region_words *words, uint8_t *data, size_t len)
{
	const __m512i numbers = _mm512_loadu_si512(byte_numbers);
	__m512i base = _mm512_setzero_si512();
	size_t starts = 0, ends = 0;
	uint64_t before = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t word = fold_step(data + i);
		uint64_t shifted;

		if (len - i < STEP)
			word &= (UINT64_C(1) << (len - i)) - 1;
		shifted = word << 1 | before;
		before = word >> 63;
		starts += put_offsets(words->start + starts, word & ~shifted, numbers, base);
		ends += put_offsets(words->len + ends, shifted & ~word, numbers, base);
		base = _mm512_add_epi16(base, _mm512_set1_epi16(STEP));
	}
	if (before)
		words->len[ends] = (uint16_t)len;
	return starts;
}

KERNEL static inline size_t put_words(struct whi_region_words *words, size_t at, __mmask32 which,
				      __m512i start, __m512i len)
{
	_mm512_storeu_si512(words->start + at, _mm512_maskz_compress_epi16(which, start));
	_mm512_storeu_si512(words->len + at, _mm512_maskz_compress_epi16(which, len));
	return at + (size_t)_mm_popcnt_u32(which);
}

KERNEL static void tokenize(struct whi_front *front, uint8_t *data, size_t len)
{
	struct whi_region_words *shorts = &front->shorts, *longs = &front->long_words;
	size_t count = find_borders(shorts, data, len);
	size_t short_count = 0, long_count = 0;

	/* In place: never writes past what it has read. */
	for (size_t i = 0; i < count; i += 32) {
		__mmask32 valid = count - i < 32 ? (1u << (count - i)) - 1 : UINT32_MAX;
		__m512i start = _mm512_loadu_si512(shorts->start + i);
		__m512i length = _mm512_sub_epi16(_mm512_loadu_si512(shorts->len + i), start);
		__mmask32 is_long = _mm512_mask_cmpgt_epu16_mask(valid, length,
								 _mm512_set1_epi16(WHI_SHORT_MAX));

		short_count = put_words(shorts, short_count, valid & ~is_long, start, length);
		long_count = put_words(longs, long_count, is_long, start, length);
	}
	shorts->count = short_count;
	longs->count = long_count;
}

KERNEL static inline __mmask16 mask_of(size_t len)
{
	return (__mmask16)_bzhi_u32(UINT32_MAX, (uint32_t)len);
}

KERNEL static inline __m128i short_key(const uint8_t *bytes, size_t len)
{
	return _mm_maskz_loadu_epi8(mask_of(len), bytes);
}

KERNEL static inline bool has_zero(__m128i key, size_t len)
{
	return _mm_mask_testn_epi8_mask(mask_of(len), key, key) != 0;
}

KERNEL static inline __m128i key_of(const struct whi_region_words *words, const uint8_t *data,
				    size_t i)
{
	return short_key(data + words->start[i], words->len[i]);
}

/* As put_offsets, of bits that may be neighbours. */
KERNEL static inline size_t put_all_offsets(uint16_t *to, uint64_t bits, __m512i numbers,
					    __m512i base)
{
	__m512i packed = _mm512_maskz_compress_epi8(bits, numbers);
	__m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(packed));
	__m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(packed, 1));

	_mm512_storeu_si512(to, _mm512_add_epi16(low, base));
	_mm512_storeu_si512(to + STEP / 2, _mm512_add_epi16(high, base));
	return (size_t)_mm_popcnt_u64(bits);
}

/* Starts and ends of words, in turn. */
KERNEL static size_t list_borders(uint16_t *to, uint8_t *data, size_t len)
{
	const __m512i numbers = _mm512_loadu_si512(byte_numbers);
	__m512i base = _mm512_setzero_si512();
	size_t count = 0;
	uint64_t before = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t word = fold_step(data + i);

		if (len - i < STEP)
			word &= (UINT64_C(1) << (len - i)) - 1;
		count += put_all_offsets(to + count, whi_words_borders(word, &before), numbers,
					 base);
		base = _mm512_add_epi16(base, _mm512_set1_epi16(STEP));
	}
	if (before)
		to[count++] = (uint16_t)len;
	return count;
}

/* Eight words a step: starts and lengths of 64 bits each, then one of each in turn. */
KERNEL static void list(struct wh_mr_bytes *to, const uint16_t *borders, size_t count,
			const uint8_t *data)
{
	const __m512i base = _mm512_set1_epi64((long long)(uintptr_t)data);
	const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
	const __m512i second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);

	for (size_t i = 0; i < count; i += PAIRS) {
		const void *from = borders + 2 * i;
		__m512i pairs = _mm512_cvtepu32_epi64(_mm256_loadu_si256(from));
		__m512i start = _mm512_and_si512(pairs, _mm512_set1_epi64(0xffff));
		__m512i len = _mm512_sub_epi64(_mm512_srli_epi64(pairs, 16), start);

		start = _mm512_add_epi64(start, base);
		_mm512_storeu_si512(to + i, _mm512_permutex2var_epi64(start, first, len));
		_mm512_storeu_si512(to + i + PAIRS / 2,
				    _mm512_permutex2var_epi64(start, second, len));
	}
}

#include "mapreduce/words_x86_count.h"
#include "mapreduce/words_x86_find.h"

const struct whi_words_kernel whi_words_avx512 = {
	.name = "avx512",
	.needs = WHI_CPU_AVX2 | WHI_CPU_AVX512,
	.tokenize = tokenize,
	.borders = list_borders,
	.borders_by = whi_words_rule_avx2,
	.list = list,
	.all_short = whi_words_x86_all_short,
	.count = count,
	.find = find_batch,
};
