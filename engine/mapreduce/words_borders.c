#include "mapreduce/words_borders.h"

#define BIT(m, b)                                                                                  \
	((m) >> (b) & 1u ? (uint64_t)(b) << 8 * __builtin_popcount((m) & ((1u << (b)) - 1)) : 0)
#define ROW(m)                                                                                     \
	(BIT(m, 0) | BIT(m, 1) | BIT(m, 2) | BIT(m, 3) | BIT(m, 4) | BIT(m, 5) | BIT(m, 6) |       \
	 BIT(m, 7))
#define ROW4(m) ROW((m)), ROW((m) + 1u), ROW((m) + 2u), ROW((m) + 3u)
#define ROW16(m) ROW4(m), ROW4((m) + 4u), ROW4((m) + 8u), ROW4((m) + 12u)
#define ROW64(m) ROW16(m), ROW16((m) + 16u), ROW16((m) + 32u), ROW16((m) + 48u)

const uint64_t whi_words_bits[256] = { ROW64(0u), ROW64(64u), ROW64(128u), ROW64(192u) };
