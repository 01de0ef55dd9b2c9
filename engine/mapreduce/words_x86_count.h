/* The counting loops of the kernels with AES, compiled into each for its instruction set: who
 * includes this has defined KERNEL, the attribute with that set, and key_of, which loads the key of
 * a word. */
#pragma once

#include "mapreduce/words_x86.h"

KERNEL static void find_at_once(struct whi_front *front, const uint8_t *data)
{
	const struct whi_words_x86_table table = whi_words_x86_table(front);
	const size_t count = front->shorts.count;

	for (size_t i = 0; i < count; i++)
		front->ids[i] = whi_words_x86_find(front, table, key_of(&front->shorts, data, i));
}

KERNEL static void find_in_two_passes(struct whi_front *front, const uint8_t *data)
{
	const struct whi_words_x86_table table = whi_words_x86_table(front);
	const size_t count = front->shorts.count;
	uint16_t *const all = front->missed;
	size_t missed = 0;

	for (size_t i = 0; i < count; i++) {
		__m128i key = key_of(&front->shorts, data, i);

		all[missed] = (uint16_t)i;
		missed += whi_words_x86_look(table, key, &front->ids[i]);
	}
	for (size_t i = 0; i < missed; i++) {
		__m128i key = key_of(&front->shorts, data, all[i]);

		front->ids[all[i]] = whi_words_x86_find(front, table, key);
	}
}

KERNEL static void count(struct whi_front *front, const uint8_t *data)
{
	if (whi_front_is_scattered(front))
		find_in_two_passes(front, data);
	else
		find_at_once(front, data);
	whi_front_bump(front, front->shorts.count);
}
