/* The word kernel for every x86-64 processor: 64 bytes a step in four SSE2 registers, word borders
 * to offsets through a table. Keys are hashed as the scalar kernel does: AES is no part of the
 * baseline. */
#include <emmintrin.h>

#include "mapreduce/words_offsets_x86.h"
#include "mapreduce/words_scalar.h"
#include "mapreduce/words_x86.h"

enum { STEP = 64, QUARTER = 16 };

/* Fold 16 bytes in place. Returns a bit for each byte that belongs to a word. */
static inline uint64_t fold_quarter(uint8_t *data)
{
	const __m128i limit = _mm_set1_epi8(WHI_WORDS_SEPARATOR_MAX);
	__m128i bytes = _mm_loadu_si128((const __m128i *)(void *)data);
	/* Compares are signed: move A-Z to the top of the range. */
	__m128i moved = _mm_add_epi8(bytes, _mm_set1_epi8(0x7f - 'Z'));
	__m128i upper = _mm_cmpgt_epi8(moved, _mm_set1_epi8(0x7f - 26));
	__m128i separator;

	bytes = _mm_or_si128(bytes, _mm_and_si128(upper, _mm_set1_epi8(0x20)));
	_mm_storeu_si128((__m128i *)(void *)data, bytes);
	separator = _mm_cmpeq_epi8(_mm_min_epu8(bytes, limit), bytes);
	return (uint16_t)~_mm_movemask_epi8(separator);
}

static inline uint64_t fold_step(uint8_t *data)
{
	return fold_quarter(data) | fold_quarter(data + QUARTER) << QUARTER |
	       fold_quarter(data + 2 * QUARTER) << 2 * QUARTER |
	       fold_quarter(data + 3 * QUARTER) << 3 * QUARTER;
}

/* Starts and ends of words, in turn. Returns how many of both. */
static size_t find_borders(uint16_t *to, uint8_t *data, size_t len)
{
	size_t count = 0;
	uint64_t before = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t word = fold_step(data + i);

		if (len - i < STEP)
			word &= (UINT64_C(1) << (len - i)) - 1;
		count += whi_words_offsets(to + count, whi_words_borders(word, &before),
					   _mm_set1_epi16((short)i));
	}
	if (before)
		to[count++] = (uint16_t)len;
	return count;
}

static void tokenize(struct whi_front *front, uint8_t *data, size_t len)
{
	whi_words_sort_out(front, find_borders(front->borders, data, len));
}

const struct whi_words_kernel whi_words_sse2 = {
	.name = "sse2",
	.tokenize = tokenize,
	.borders = find_borders,
	.borders_by = whi_words_rule_scalar,
	.list = whi_words_scalar_list,
	.all_short = whi_words_scalar_all_short,
	.count = whi_words_scalar_count,
	.find = whi_words_scalar_find,
};
