/* What the kernels for x86-64 share: finding a short key in the front table, with AES as hash. */
#pragma once

#include <immintrin.h>

#include "mapreduce/words.h"

#define WHI_WORDS_X86 __attribute__((target("avx2,aes,bmi,bmi2,popcnt"), always_inline))

extern const struct whi_words_kernel whi_words_avx2;
extern const struct whi_words_kernel whi_words_avx512;
extern const struct whi_words_kernel whi_words_sse2;

/* Two rounds: every byte of the key reaches every byte of the result. */
WHI_WORDS_X86 static inline uint64_t whi_words_x86_hash(__m128i key)
{
	const __m128i first = _mm_set_epi64x(0x243f6a8885a308d3, 0x13198a2e03707344);
	const __m128i second = _mm_set_epi64x((long long)0xa4093822299f31d0, 0x082efa98ec4e6c89);

	key = _mm_aesenc_si128(_mm_aesenc_si128(key, first), second);
	return (uint64_t)_mm_cvtsi128_si64(key);
}

/* Where to look; kept in registers, as nothing moves inside a region. */
struct whi_words_x86_table {
	const uint16_t *index;
	const struct whi_key *keys;
};

/* The id at the first place of a key. Returns 1 if it is another key's or none, 0 if it is the
 * key's. */
WHI_WORDS_X86 static inline size_t whi_words_x86_look(struct whi_words_x86_table table, __m128i key,
						      uint16_t *ret_id)
{
	uint16_t id = table.index[whi_front_place(whi_words_x86_hash(key))];
	__m128i found = _mm_load_si128((const __m128i *)(const void *)&table.keys[id]);
	__m128i differ = _mm_xor_si128(found, key);

	*ret_id = id;
	return (size_t)!_mm_testz_si128(differ, differ);
}

WHI_WORDS_X86 static inline uint16_t
whi_words_x86_find(struct whi_front *front, struct whi_words_x86_table table, __m128i key)
{
	uint64_t hash = whi_words_x86_hash(key);
	uint16_t id = table.index[whi_front_place(hash)];
	__m128i found = _mm_load_si128((const __m128i *)(const void *)&table.keys[id]);
	__m128i differ = _mm_xor_si128(found, key);

	if (whi_likely(_mm_testz_si128(differ, differ)))
		return id;
	return whi_front_find(front, (uint64_t)_mm_cvtsi128_si64(key),
			      (uint64_t)_mm_extract_epi64(key, 1), hash);
}
