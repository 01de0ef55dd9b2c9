/* Looking up emitted keys with AES as hash, as the kernels count words: see words_x86_count.h. */
#include <immintrin.h>

#include "mapreduce/words_x86.h"

#define KERNEL __attribute__((target("avx2,aes,bmi,bmi2,popcnt")))

/* Returns 0 if one of its bytes is zero. */
KERNEL static inline int load(const struct whi_key_batch *batch, size_t i, __m128i *ret)
{
	const struct wh_mr_gathered *at = &batch->keys[i];
	__m128i mask = _mm_load_si128((const void *)&whi_words_masks[at->len]);

	*ret = _mm_and_si128(_mm_loadu_si128((const void *)(batch->base + at->offset)), mask);
	return _mm_testz_si128(_mm_cmpeq_epi8(*ret, _mm_setzero_si128()), mask);
}

KERNEL static void find_at_once(struct whi_front *front, struct whi_key_batch *batch)
{
	const struct whi_words_x86_table table = whi_words_x86_table(front);
	__m128i key;

	for (size_t i = 0; i < batch->count; i++) {
		front->ids[i] = 0;
		if (whi_likely(load(batch, i, &key)))
			front->ids[i] = whi_words_x86_find(front, table, key);
		else
			batch->odd[batch->odd_count++] = (uint16_t)i;
	}
}

KERNEL static void find_in_two_passes(struct whi_front *front, struct whi_key_batch *batch)
{
	const struct whi_words_x86_table table = whi_words_x86_table(front);
	uint16_t *const all = front->missed;
	size_t missed = 0;
	__m128i key;

	for (size_t i = 0; i < batch->count; i++) {
		size_t is_short = (size_t)load(batch, i, &key);

		all[missed] = (uint16_t)i;
		missed += whi_words_x86_look(table, key, &front->ids[i]) | !is_short;
	}
	for (size_t i = 0; i < missed; i++) {
		front->ids[all[i]] = 0;
		if (whi_likely(load(batch, all[i], &key)))
			front->ids[all[i]] = whi_words_x86_find(front, table, key);
		else
			batch->odd[batch->odd_count++] = all[i];
	}
}

void whi_words_x86_find_batch(struct whi_front *front, struct whi_key_batch *batch)
{
	bool scattered = front->misses > batch->count / 8;

	front->misses = 0;
	if (scattered)
		find_in_two_passes(front, batch);
	else
		find_at_once(front, batch);
}
