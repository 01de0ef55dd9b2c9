/* The ngram kernel for aarch64: 64 bytes a step in four registers. */
#include <arm_neon.h>

#include "mapreduce/ngram_scalar.h"
#include "mapreduce/words_borders.h"

enum { STEP = 64, QUARTER = 16 };

/* 0xff for each tab or newline, 0 for other bytes; but of that only the bit of the byte's place in
 * its group of eight. */
static inline uint8x16_t find_quarter(const uint8_t *data)
{
	const uint8x16_t places = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
	uint8x16_t bytes = vld1q_u8(data);
	uint8x16_t found = vorrq_u8(vceqq_u8(bytes, vdupq_n_u8('\t')),
				    vceqq_u8(bytes, vdupq_n_u8('\n')));

	return vandq_u8(found, places);
}

/* A bit for each tab or newline in 64 bytes: three rounds of adding neighbours gather them. */
static inline uint64_t find_step(const uint8_t *data)
{
	uint8x16_t a = find_quarter(data);
	uint8x16_t b = find_quarter(data + QUARTER);
	uint8x16_t c = find_quarter(data + 2 * QUARTER);
	uint8x16_t d = find_quarter(data + 3 * QUARTER);
	uint8x16_t sums = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));

	sums = vpaddq_u8(sums, sums);
	return vgetq_lane_u64(vreinterpretq_u64_u8(sums), 0);
}

/* Write `base` plus the number of each bit set in `bits` to `to`. Returns how many. */
static inline size_t put_offsets(uint16_t *to, uint64_t bits, uint16x8_t base)
{
	uint16_t *at = to;

	for (int i = 0; i < STEP / 8; i++, bits >>= 8) {
		const void *row = &whi_words_bits[bits & 0xff];

		vst1q_u16(at, vaddq_u16(vld1q_u16(row), base));
		at += whi_words_bit_counts[bits & 0xff];
		base = vaddq_u16(base, vdupq_n_u16(8));
	}
	return (size_t)(at - to);
}

static size_t borders(uint16_t *to, const uint8_t *data, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t found = find_step(data + i);

		if (len - i < STEP)
			found &= (UINT64_C(1) << (len - i)) - 1;
		count += put_offsets(to + count, found, vdupq_n_u16((uint16_t)i));
	}
	return count;
}

static const struct whi_ngram_kernel whi_ngram_neon = {
	.name = "neon",
	.borders = borders,
	.lines = whi_ngram_scalar_lines,
};

const struct whi_ngram_kernel *const whi_ngram_kernels[] = {
	&whi_ngram_neon,
	&whi_ngram_scalar,
	NULL,
};
