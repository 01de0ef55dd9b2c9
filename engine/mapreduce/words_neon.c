/* The word kernel for aarch64: 64 bytes a step in four NEON registers, word borders to offsets
 * through a table. Keys are hashed as the scalar kernel does: AES is optional there. */
#include <arm_neon.h>

#include "mapreduce/words_borders.h"
#include "mapreduce/words_scalar.h"

enum { STEP = 64, QUARTER = 16 };

/* Fold 16 bytes in place. Returns 0xff for each byte that belongs to a word, 0 for the others. */
static inline uint8x16_t fold_quarter(uint8_t *data)
{
	uint8x16_t bytes = vld1q_u8(data);
	uint8x16_t upper = vcltq_u8(vsubq_u8(bytes, vdupq_n_u8('A')), vdupq_n_u8(26));

	bytes = vorrq_u8(bytes, vandq_u8(upper, vdupq_n_u8(0x20)));
	vst1q_u8(data, bytes);
	return vcgtq_u8(bytes, vdupq_n_u8(WHI_WORDS_SEPARATOR_MAX));
}

/* Fold 64 bytes in place. Returns a bit for each byte that belongs to a word: every lane keeps the
 * bit of its place in its group of eight, and three rounds of adding neighbours gather them. */
static inline uint64_t fold_step(uint8_t *data)
{
	const uint8x16_t places = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
	uint8x16_t a = vandq_u8(fold_quarter(data), places);
	uint8x16_t b = vandq_u8(fold_quarter(data + QUARTER), places);
	uint8x16_t c = vandq_u8(fold_quarter(data + 2 * QUARTER), places);
	uint8x16_t d = vandq_u8(fold_quarter(data + 3 * QUARTER), places);
	uint8x16_t sums = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));

	sums = vpaddq_u8(sums, sums);
	return vgetq_lane_u64(vreinterpretq_u64_u8(sums), 0);
}

/* Write `base` plus the number of each bit set in `bits` to `to`. Returns how many. */
static inline size_t put_offsets(uint16_t *to, uint64_t bits, uint16x8_t base)
{
	uint16_t *at = to;

	for (int i = 0; i < STEP / 8; i++, bits >>= 8) {
		const struct whi_words_bits *row = &whi_words_bits[bits & 0xff];
		uint16x8_t numbers = vreinterpretq_u16_u64(vld1q_u64(row->numbers));

		vst1q_u16(at, vaddq_u16(numbers, base));
		at += whi_words_bit_counts[bits & 0xff];
		base = vaddq_u16(base, vdupq_n_u16(8));
	}
	return (size_t)(at - to);
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
		count += put_offsets(to + count, whi_words_borders(word, &before),
				     vdupq_n_u16((uint16_t)i));
	}
	if (before)
		to[count++] = (uint16_t)len;
	return count;
}

static void tokenize(struct whi_front *front, uint8_t *data, size_t len)
{
	whi_words_sort_out(front, find_borders(front->borders, data, len));
}

static const struct whi_words_kernel neon = {
	.name = "neon",
	.tokenize = tokenize,
	.borders = find_borders,
	.borders_by = whi_words_rule_scalar,
	.list = whi_words_scalar_list,
	.all_short = whi_words_scalar_all_short,
	.count = whi_words_scalar_count,
	.find = whi_words_scalar_find,
};

const struct whi_words_kernel *const whi_words_kernels[] = {
	&neon,
	&whi_words_scalar,
	NULL,
};
