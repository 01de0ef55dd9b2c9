/* The ngram kernel for every x86-64 processor: 64 bytes a step in four registers. */
#include <emmintrin.h>

#include "mapreduce/ngram_scalar.h"
#include "mapreduce/ngram_x86.h"
#include "mapreduce/words_offsets_x86.h"

enum { STEP = 64, QUARTER = 16 };

static inline uint64_t find_quarter(const uint8_t *data)
{
	__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)data);
	__m128i tabs = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
	__m128i newlines = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n'));

	return (uint16_t)_mm_movemask_epi8(_mm_or_si128(tabs, newlines));
}

static inline uint64_t find_step(const uint8_t *data)
{
	return find_quarter(data) | find_quarter(data + QUARTER) << QUARTER |
	       find_quarter(data + 2 * QUARTER) << 2 * QUARTER |
	       find_quarter(data + 3 * QUARTER) << 3 * QUARTER;
}

static size_t borders(uint16_t *to, const uint8_t *data, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t found = find_step(data + i);

		if (len - i < STEP)
			found &= (UINT64_C(1) << (len - i)) - 1;
		count += whi_words_offsets(to + count, found, _mm_set1_epi16((short)i));
	}
	return count;
}

const struct whi_ngram_kernel whi_ngram_sse2 = {
	.name = "sse2",
	.borders = borders,
	.lines = whi_ngram_scalar_lines,
};
