/* The word kernel for processors with AVX2, AES and BMI: 64 bytes a step in two registers, word
 * borders to offsets through a table. */
#include <immintrin.h>

#include "arch/cpu.h"
#include "mapreduce/words.h"
#include "mapreduce/words_offsets_x86.h"
#include "mapreduce/words_x86.h"

#define KERNEL __attribute__((target("avx2,aes,bmi,bmi2,popcnt")))

enum { STEP = 64, HALF = 32, PAIRS = 8 };

/* Fold 32 bytes in place. Returns a bit for each byte that belongs to a word. */
KERNEL static inline uint64_t fold_half(uint8_t *data)
{
	const __m256i limit = _mm256_set1_epi8(WHI_WORDS_SEPARATOR_MAX);
	__m256i bytes = _mm256_loadu_si256((const __m256i *)(void *)data);
	/* Compares are signed: move A-Z to the top of the range. */
	__m256i moved = _mm256_add_epi8(bytes, _mm256_set1_epi8(0x7f - 'Z'));
	__m256i upper = _mm256_cmpgt_epi8(moved, _mm256_set1_epi8(0x7f - 26));
	__m256i separator;

	bytes = _mm256_or_si256(bytes, _mm256_and_si256(upper, _mm256_set1_epi8(0x20)));
	_mm256_storeu_si256((__m256i *)(void *)data, bytes);
	separator = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, limit), bytes);
	return (uint32_t)~_mm256_movemask_epi8(separator);
}

/* Starts and ends of words, in turn. Returns how many of both. */
KERNEL static size_t find_borders(uint16_t *to, uint8_t *data, size_t len)
{
	size_t count = 0;
	uint64_t before = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t word = fold_half(data + i) | fold_half(data + i + HALF) << HALF;

		if (len - i < STEP)
			word &= (UINT64_C(1) << (len - i)) - 1;
		count += whi_words_offsets(to + count, whi_words_borders(word, &before),
					   _mm_set1_epi16((short)i));
	}
	if (before)
		to[count++] = (uint16_t)len;
	return count;
}

static inline void put_word(struct whi_region_words *words, uint32_t start, uint32_t len)
{
	words->start[words->count] = (uint16_t)start;
	words->len[words->count] = (uint16_t)len;
	words->count++;
}

static void sort_out(struct whi_front *front, const uint16_t *borders, size_t words)
{
	for (size_t i = 0; i < words; i++) {
		uint32_t start = borders[2 * i], len = borders[2 * i + 1] - start;

		put_word(len > WHI_SHORT_MAX ? &front->long_words : &front->shorts, start, len);
	}
}

/* Eight 32-bit numbers below 65536 to 16 bits each. */
KERNEL static inline void put_narrow(uint16_t *to, __m256i wide)
{
	__m256i packed = _mm256_packus_epi32(wide, wide);

	packed = _mm256_permute4x64_epi64(packed, 0x8);
	_mm_storeu_si128((__m128i *)(void *)to, _mm256_castsi256_si128(packed));
}

KERNEL static void tokenize(struct whi_front *front, uint8_t *data, size_t len)
{
	const __m256i longest = _mm256_set1_epi32(WHI_SHORT_MAX);
	struct whi_region_words *shorts = &front->shorts;
	size_t words = find_borders(front->borders, data, len) / 2;
	size_t i = 0;

	shorts->count = 0;
	front->long_words.count = 0;
	for (; i + PAIRS <= words; i += PAIRS) {
		const uint16_t *borders = front->borders + 2 * i;
		__m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)borders);
		__m256i start = _mm256_blend_epi16(pairs, _mm256_setzero_si256(), 0xaa);
		__m256i length = _mm256_sub_epi32(_mm256_srli_epi32(pairs, 16), start);
		__m256i is_long = _mm256_cmpgt_epi32(length, longest);

		if (!_mm256_testz_si256(is_long, is_long)) {
			sort_out(front, borders, PAIRS);
			continue;
		}
		put_narrow(shorts->start + shorts->count, start);
		put_narrow(shorts->len + shorts->count, length);
		shorts->count += PAIRS;
	}
	sort_out(front, front->borders + 2 * i, words - i);
}

KERNEL static inline __m128i mask_of(size_t len)
{
	return _mm_load_si128((const void *)&whi_words_masks[len]);
}

KERNEL static inline __m128i short_key(const uint8_t *bytes, size_t len)
{
	return _mm_and_si128(_mm_loadu_si128((const void *)bytes), mask_of(len));
}

KERNEL static inline bool has_zero(__m128i key, size_t len)
{
	return !_mm_testz_si128(_mm_cmpeq_epi8(key, _mm_setzero_si128()), mask_of(len));
}

KERNEL static inline __m128i key_of(const struct whi_region_words *words, const uint8_t *data,
				    size_t i)
{
	return short_key(data + words->start[i], words->len[i]);
}

#include "mapreduce/words_x86_count.h"
#include "mapreduce/words_x86_find.h"

const struct whi_words_kernel whi_words_avx2 = {
	.name = "avx2",
	.needs = WHI_CPU_AVX2,
	.tokenize = tokenize,
	.borders = find_borders,
	.borders_by = whi_words_rule_avx2,
	.list = whi_words_x86_list,
	.all_short = whi_words_x86_all_short,
	.count = count,
	.find = find_batch,
};
