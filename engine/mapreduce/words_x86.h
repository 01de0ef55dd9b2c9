/* What the kernels for x86-64 share: finding a short key in the front table, with AES as hash. */
#pragma once

#include <immintrin.h>

#include "mapreduce/hash.h"
#include "mapreduce/words.h"

#define WHI_WORDS_X86 __attribute__((target("avx2,aes,bmi,bmi2,popcnt"), always_inline))

extern const struct whi_words_kernel whi_words_avx2;
extern const struct whi_words_kernel whi_words_avx512;
extern const struct whi_words_kernel whi_words_sse2;

/* An `all_short` and a `list` for processors with AVX2. */
bool whi_words_x86_all_short(const struct wh_mr_bytes *keys, size_t count, const uint8_t *block,
			     size_t len);
void whi_words_x86_list(struct wh_mr_bytes *to, const uint16_t *borders, size_t count,
			const uint8_t *data);

/* Where to look; kept in registers, as nothing moves inside a region. */
struct whi_words_x86_table {
	const uint16_t *index;
	const struct whi_key *keys;
	__m128i secret, first, second;
};

WHI_WORDS_X86 static inline struct whi_words_x86_table
whi_words_x86_table(const struct whi_front *front)
{
	const __m128i *rounds = (const void *)whi_hash_secret.rounds;

	return (struct whi_words_x86_table){
		front->index, front->keys, rounds[0], rounds[1], rounds[2],
	};
}

/* For the front table only; what is kept of a key is whi_hash_short. Two rounds: every byte of the
 * key reaches every byte of the result. The secret comes first, as the first round of what is known
 * leaves differences that the second one keeps out of the result, whatever the secret. */
WHI_WORDS_X86 static inline uint64_t whi_words_x86_hash(const struct whi_words_x86_table *table,
							__m128i key)
{
	key = _mm_xor_si128(key, table->secret);
	key = _mm_aesenc_si128(_mm_aesenc_si128(key, table->first), table->second);
	return (uint64_t)_mm_cvtsi128_si64(key);
}

/* The id at the first place of a key. Returns 1 if it is another key's or none, 0 if it is the
 * key's. */
WHI_WORDS_X86 static inline size_t whi_words_x86_look(struct whi_words_x86_table table, __m128i key,
						      uint16_t *ret_id)
{
	uint16_t id = table.index[whi_front_place(whi_words_x86_hash(&table, key))];
	__m128i found = _mm_load_si128((const __m128i *)(const void *)&table.keys[id]);
	__m128i differ = _mm_xor_si128(found, key);

	*ret_id = id;
	return (size_t)!_mm_testz_si128(differ, differ);
}

WHI_WORDS_X86 static inline uint16_t
whi_words_x86_find(struct whi_front *front, struct whi_words_x86_table table, __m128i key)
{
	uint64_t hash = whi_words_x86_hash(&table, key);
	uint16_t id = table.index[whi_front_place(hash)];
	__m128i found = _mm_load_si128((const __m128i *)(const void *)&table.keys[id]);
	__m128i differ = _mm_xor_si128(found, key);

	if (whi_likely(_mm_testz_si128(differ, differ)))
		return id;
	return whi_front_find(front, (uint64_t)_mm_cvtsi128_si64(key),
			      (uint64_t)_mm_extract_epi64(key, 1), hash);
}
