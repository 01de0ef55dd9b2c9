/* The ngram kernel that runs on any little-endian processor: eight bytes a step. */
#include "mapreduce/ngram_scalar.h"
#include "mapreduce/ngram_lines.h"
#include "mapreduce/words_borders.h"

/* 0x80 in each byte that is `byte`, 0 in the others. */
static inline uint64_t is(uint64_t x, uint8_t byte)
{
	const uint64_t low = WHI_NGRAM_EACH(0x7f);

	x ^= WHI_NGRAM_EACH(byte);
	return ~(((x & low) + low) | x | low);
}

/* Write `base` plus the number of each of the eight bits set in `bits` to `to`. */
static inline size_t put_offsets(uint16_t *to, uint64_t bits, size_t base)
{
	struct whi_words_bits row = whi_words_bits[bits];
	uint64_t each = base * UINT64_C(0x0001000100010001);

	row.numbers[0] += each;
	row.numbers[1] += each;
	memcpy(to, &row, sizeof(row));
	return whi_words_bit_counts[bits];
}

static size_t borders(uint16_t *to, const uint8_t *data, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = whi_hash_word(data + i);
		uint64_t found = is(x, '\t') | is(x, '\n');

		if (len - i < 8)
			found &= (UINT64_C(1) << 8 * (len - i)) - 1;
		/* Bit 7 of each byte to bits 0..7. */
		found = (found >> 7) * UINT64_C(0x0102040810204080) >> 56;
		count += put_offsets(to + count, found, i);
	}
	return count;
}

void whi_ngram_scalar_lines(struct whi_ngrams *ngrams, const uint8_t *data, size_t count)
{
	whi_ngram_lines(ngrams, data, count);
}

const struct whi_ngram_kernel whi_ngram_scalar = {
	.name = "scalar",
	.borders = borders,
	.lines = whi_ngram_scalar_lines,
};
