/* Finding words by a rule with AVX2: whether a byte belongs to a word is looked up by its two
 * halves, 32 bytes at a time, in two registers that hold the rule. */
#include <immintrin.h>

#include "mapreduce/words_offsets_x86.h"
#include "mapreduce/words_rule.h"
#include "mapreduce/words_scalar.h"

#define KERNEL __attribute__((target("avx2,bmi,bmi2,popcnt")))

enum { STEP = 64, HALF = 32 };

/* A rule in registers. */
struct tables {
	__m256i low[2];
	__m256i bits; /* by the upper half of a byte: 1 << (half & 7) */
	bool fold;
};

KERNEL static inline __m256i twice(const uint8_t *row)
{
	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)row));
}

KERNEL static inline struct tables load(const struct whi_words_rule *rule)
{
	static const uint8_t bits[] = { 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128 };

	return (struct tables){
		.low = { twice(rule->low[0]), twice(rule->low[1]) },
		.bits = twice(bits),
		.fold = !rule->words.keep_case,
	};
}

/* Fold 32 bytes in place. Returns a bit for each that belongs to a word. */
KERNEL static inline uint64_t half_step(uint8_t *data, const struct tables *tables)
{
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i bytes = _mm256_loadu_si256((const __m256i *)(void *)data);
	__m256i low = _mm256_and_si256(bytes, nibble);
	__m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);
	/* The sign bit chooses between the tables. */
	__m256i row = _mm256_blendv_epi8(_mm256_shuffle_epi8(tables->low[0], low),
					 _mm256_shuffle_epi8(tables->low[1], low), bytes);
	__m256i bit = _mm256_shuffle_epi8(tables->bits, high);
	__m256i is_word = _mm256_cmpeq_epi8(_mm256_and_si256(row, bit), bit);

	if (tables->fold) {
		__m256i moved = _mm256_add_epi8(bytes, _mm256_set1_epi8(0x7f - 'Z'));
		__m256i upper = _mm256_cmpgt_epi8(moved, _mm256_set1_epi8(0x7f - 26));

		bytes = _mm256_or_si256(bytes, _mm256_and_si256(upper, _mm256_set1_epi8(0x20)));
		_mm256_storeu_si256((__m256i *)(void *)data, bytes);
	}
	return (uint32_t)_mm256_movemask_epi8(is_word);
}

KERNEL size_t whi_words_rule_avx2(uint16_t *to, uint8_t *data, size_t len,
				  const struct whi_words_rule *rule)
{
	const struct tables tables = load(rule);
	size_t count = 0;
	uint64_t before = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t word = half_step(data + i, &tables) | half_step(data + i + HALF, &tables)
								       << HALF;

		if (len - i < STEP)
			word &= (UINT64_C(1) << (len - i)) - 1;
		count += whi_words_offsets(to + count, whi_words_borders(word, &before),
					   _mm_set1_epi16((short)i));
	}
	if (before)
		to[count++] = (uint16_t)len;
	return count;
}
