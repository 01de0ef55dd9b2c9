#include "mapreduce/words_borders.h"

/* How many bits are set below bit `b` of `m`; where bit `b` goes in the word of ranks `from`.. */
#define COUNT(m) __builtin_popcount(m)
#define RANK(m, b) COUNT((m) & ((1u << (b)) - 1))
#define PUT(m, b, from)                                                                            \
	((m) >> (b)&1u && RANK(m, b) / 4 == (from) / 4 ? (uint64_t)(b) << 16 * (RANK(m, b) % 4) : 0)
#define WORD(m, from)                                                                              \
	(PUT(m, 0, from) | PUT(m, 1, from) | PUT(m, 2, from) | PUT(m, 3, from) | PUT(m, 4, from) | \
	 PUT(m, 5, from) | PUT(m, 6, from) | PUT(m, 7, from))
#define ROW(m)                                                                                     \
	{                                                                                          \
		{                                                                                  \
			WORD(m, 0), WORD(m, 4)                                                     \
		}                                                                                  \
	}
#define ROW4(m) ROW((m)), ROW((m) + 1u), ROW((m) + 2u), ROW((m) + 3u)
#define ROW16(m) ROW4(m), ROW4((m) + 4u), ROW4((m) + 8u), ROW4((m) + 12u)
#define ROW64(m) ROW16(m), ROW16((m) + 16u), ROW16((m) + 32u), ROW16((m) + 48u)

const struct whi_words_bits whi_words_bits[256] = {
	ROW64(0u),
	ROW64(64u),
	ROW64(128u),
	ROW64(192u),
};

#define COUNT4(m) COUNT(m), COUNT((m) + 1u), COUNT((m) + 2u), COUNT((m) + 3u)
#define COUNT16(m) COUNT4(m), COUNT4((m) + 4u), COUNT4((m) + 8u), COUNT4((m) + 12u)
#define COUNT64(m) COUNT16(m), COUNT16((m) + 16u), COUNT16((m) + 32u), COUNT16((m) + 48u)

const uint8_t whi_words_bit_counts[256] = {
	COUNT64(0u),
	COUNT64(64u),
	COUNT64(128u),
	COUNT64(192u),
};
