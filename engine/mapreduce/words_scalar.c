/* The word kernel that runs on any little-endian processor: eight bytes a step in one general
 * register, a folded multiplication as hash. */
#include <string.h>

#include "mapreduce/hash.h"
#include "mapreduce/words.h"
#include "mapreduce/words_borders.h"
#include "mapreduce/words_scalar.h"

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "byte i of a word is bits 8i..8i+7");

/* 0x80 in each byte of `x` that is at least `limit`, in each byte below 0x80; others come to 0. */
static inline uint64_t at_least(uint64_t x, uint8_t limit)
{
	return ((x & EACH(0x7f)) + EACH(0x80u - limit)) & ~x & EACH(0x80);
}

/* Bit 7 of each byte to bits 0..7. */
static inline uint64_t gather(uint64_t tops)
{
	return (tops >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

/* Fold 8 bytes in place. Returns them. */
static inline uint64_t fold_step(uint8_t *data)
{
	uint64_t x = whi_hash_word(data);
	uint64_t upper = at_least(x, 'A') & ~at_least(x, 'Z' + 1);

	x |= upper >> 2;
	memcpy(data, &x, sizeof(x));
	return x;
}

/* A bit for each byte that belongs to a word. */
static inline uint64_t word_bits(uint64_t x)
{
	return gather(at_least(x, WHI_WORDS_SEPARATOR_MAX + 1) | (x & EACH(0x80)));
}

/* Write `base` plus the number of each of the eight bits set in `bits` to `to`. */
static inline size_t put_offsets(uint16_t *to, uint64_t bits, size_t base)
{
	struct whi_words_bits row = whi_words_bits[bits];
	uint64_t each = base * UINT64_C(0x0001000100010001);

	row.numbers[0] += each;
	row.numbers[1] += each;
	memcpy(to, &row, sizeof(row));
	return whi_words_bit_counts[bits];
}

static size_t find_borders(uint16_t *to, uint8_t *data, size_t len)
{
	size_t count = 0;
	uint64_t before = 0;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t x = fold_step(data + i);
		uint64_t word, borders;

		if (len - i < 8)
			x &= (UINT64_C(1) << 8 * (len - i)) - 1;
		word = word_bits(x);
		borders = (word ^ (word << 1 | before)) & 0xff;
		before = word >> 7;
		count += put_offsets(to + count, borders, i);
	}
	if (before)
		to[count++] = (uint16_t)len;
	return count;
}

static void tokenize(struct whi_front *front, uint8_t *data, size_t len)
{
	whi_words_sort_out(front, find_borders(front->borders, data, len));
}

static inline uint16_t find(struct whi_front *front, uint64_t low, uint64_t high)
{
	uint64_t hash = whi_hash_short(low, high);
	uint16_t id = front->index[whi_front_place(hash)];
	const struct whi_key *key = &front->keys[id];

	if (whi_likely(((key->low ^ low) | (key->high ^ high)) == 0))
		return id;
	return whi_front_find(front, low, high, hash);
}

void whi_words_scalar_count(struct whi_front *front, const uint8_t *data)
{
	const struct whi_region_words *words = &front->shorts;

	for (size_t i = 0; i < words->count; i++) {
		const uint8_t *word = data + words->start[i];
		const struct whi_key *mask = &whi_words_masks[words->len[i]];

		front->ids[i] = find(front, whi_hash_word(word) & mask->low,
				     whi_hash_word(word + 8) & mask->high);
	}
	whi_front_bump(front, words->count);
}

/* Its upper bits are set if one of its bytes is zero. */
static inline uint64_t zeros(uint64_t x)
{
	return (x - EACH(1)) & ~x;
}

void whi_words_scalar_find(struct whi_front *front, struct whi_key_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		const struct wh_mr_bytes key = whi_key_batch_key(batch, i);
		const struct whi_key *mask = &whi_words_masks[key.len];
		uint64_t low = whi_hash_word(key.data) & mask->low;
		uint64_t high = whi_hash_word((const uint8_t *)key.data + 8) & mask->high;

		front->ids[i] = 0;
		if (whi_unlikely((zeros(low | ~mask->low) | zeros(high | ~mask->high)) &
				 EACH(0x80)))
			batch->odd[batch->odd_count++] = (uint16_t)i;
		else
			front->ids[i] = find(front, low, high);
	}
}

/* Nothing that is compared reaches the uppermost bit, unless it is below zero. */
bool whi_words_scalar_all_short(const struct wh_mr_bytes *keys, size_t count, const uint8_t *block,
				size_t len)
{
	uint64_t below = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t at = (uintptr_t)keys[i].data - (uintptr_t)block;

		below |= at | (len - 1 - at) | (keys[i].len - 1) | (WHI_SHORT_MAX - keys[i].len);
	}
	return below >> 63 == 0;
}

void whi_words_scalar_list(struct wh_mr_bytes *to, const uint16_t *borders, size_t count,
			   const uint8_t *data)
{
	for (size_t i = 0; i < count; i++) {
		size_t start = borders[2 * i];

		to[i] = (struct wh_mr_bytes){ data + start, borders[2 * i + 1] - start };
	}
}

const struct whi_words_kernel whi_words_scalar = {
	.name = "scalar",
	.tokenize = tokenize,
	.borders = find_borders,
	.borders_by = whi_words_rule_scalar,
	.list = whi_words_scalar_list,
	.all_short = whi_words_scalar_all_short,
	.count = whi_words_scalar_count,
	.find = whi_words_scalar_find,
};
