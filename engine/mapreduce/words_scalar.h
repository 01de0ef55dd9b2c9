/* What the kernels for processors without an instruction that hashes share with the one that runs
 * anywhere. */
#pragma once

#include "mapreduce/words.h"

extern const struct whi_words_kernel whi_words_scalar;

/* Its `count`. */
void whi_words_scalar_count(struct whi_front *front, const uint8_t *data);

/* Its `find`. */
void whi_words_scalar_find(struct whi_front *front, struct whi_key_batch *batch);

/* Its `all_short`. */
bool whi_words_scalar_all_short(const struct wh_mr_bytes *keys, size_t count, const uint8_t *block,
				size_t len);

/* Its `list`. */
void whi_words_scalar_list(struct wh_mr_bytes *to, const uint16_t *borders, size_t count,
			   const uint8_t *data);

/* The first `count` borders, starts and ends of words in turn, into words by length. */
static inline void whi_words_sort_out(struct whi_front *front, size_t count)
{
	struct whi_region_words *shorts = &front->shorts, *longs = &front->long_words;

	shorts->count = 0;
	longs->count = 0;
	for (size_t i = 0; i < count; i += 2) {
		uint16_t start = front->borders[i];
		uint16_t length = (uint16_t)(front->borders[i + 1] - start);
		size_t is_long = length > WHI_SHORT_MAX;

		/* Both, without a branch; only one of them stays. */
		shorts->start[shorts->count] = start;
		shorts->len[shorts->count] = length;
		longs->start[longs->count] = start;
		longs->len[longs->count] = length;
		shorts->count += 1 - is_long;
		longs->count += is_long;
	}
}
