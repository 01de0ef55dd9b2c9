/* Looking up keys that were emitted, compiled into each kernel with AES for its instruction set:
 * who includes this has defined KERNEL, the attribute with that set, short_key, which loads a key
 * of some bytes, and has_zero, which says whether one of them is zero. See words_x86_count.h. */
#pragma once

#include "mapreduce/words_x86.h"

#define KERNEL_INLINE KERNEL __attribute__((always_inline)) static inline

/* How keys are given and what is known of them: chosen once a batch. */
struct how {
	bool gathered, no_zeros;
};

/* Returns 0 if one of its bytes is zero; where that is known not to be, it is not looked for. */
KERNEL_INLINE int load(const struct whi_key_batch *batch, size_t i, struct how how, __m128i *ret)
{
	const struct wh_mr_gathered *at = &batch->gathered[i];
	const uint8_t *bytes = how.gathered ? batch->base + at->offset : batch->keys[i].data;
	size_t len = how.gathered ? at->len : batch->keys[i].len;

	*ret = short_key(bytes, len);
	return how.no_zeros || !has_zero(*ret, len);
}

KERNEL_INLINE void find_keys_at_once(struct whi_front *front, struct whi_key_batch *batch,
				     struct how how)
{
	const struct whi_words_x86_table table = whi_words_x86_table(front);
	const size_t count = batch->count;
	__m128i key;

	for (size_t i = 0; i < count; i++) {
		if (whi_likely(load(batch, i, how, &key))) {
			front->ids[i] = whi_words_x86_find(front, table, key);
			continue;
		}
		front->ids[i] = 0;
		batch->odd[batch->odd_count++] = (uint16_t)i;
	}
}

KERNEL_INLINE void find_keys_in_two_passes(struct whi_front *front, struct whi_key_batch *batch,
					   struct how how)
{
	const struct whi_words_x86_table table = whi_words_x86_table(front);
	uint16_t *const all = front->missed;
	const size_t count = batch->count;
	size_t missed = 0;
	__m128i key;

	for (size_t i = 0; i < count; i++) {
		size_t is_short = (size_t)load(batch, i, how, &key);

		all[missed] = (uint16_t)i;
		missed += whi_words_x86_look(table, key, &front->ids[i]) | !is_short;
	}
	for (size_t i = 0; i < missed; i++) {
		front->ids[all[i]] = 0;
		if (whi_likely(load(batch, all[i], how, &key)))
			front->ids[all[i]] = whi_words_x86_find(front, table, key);
		else
			batch->odd[batch->odd_count++] = all[i];
	}
}

KERNEL_INLINE void find_keys(struct whi_front *front, struct whi_key_batch *batch, struct how how)
{
	bool scattered = front->misses > batch->count / 8;

	front->misses = 0;
	if (scattered)
		find_keys_in_two_passes(front, batch, how);
	else
		find_keys_at_once(front, batch, how);
}

KERNEL static void find_batch(struct whi_front *front, struct whi_key_batch *batch)
{
	if (batch->gathered && batch->no_zeros)
		find_keys(front, batch, (struct how){ true, true });
	else if (batch->gathered)
		find_keys(front, batch, (struct how){ true, false });
	else if (batch->no_zeros)
		find_keys(front, batch, (struct how){ false, true });
	else
		find_keys(front, batch, (struct how){ false, false });
}
