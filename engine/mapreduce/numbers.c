/* Owns keys and texts that wait for the word kernel.
 *
 * 1. A key of up to WHI_SHORT_MAX bytes without a zero goes the way of short words, in every job
 *    that counts: a key is never looked for in two places. In other jobs no key does.
 * 2. text[] is words with a separator behind each text. */
#include "mapreduce/numbers.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

_Static_assert(WHI_NUMBERS_KEYS * sizeof(struct whi_key) <= UINT16_MAX &&
		       (int)WHI_NUMBERS_KEYS <= (int)WHI_REGION_WORDS,
	       "the keys are a region to the kernel");

struct whi_numbers *whi_numbers_new(struct whi_front *front, const struct whi_words_kernel *kernel,
				    const struct whi_words_rule *rule, enum wh_mr_value value)
{
	struct whi_numbers *numbers = whi_alloc(sizeof(*numbers));

	if (!numbers)
		return NULL;
	numbers->front = front;
	numbers->kernel = kernel;
	numbers->rule = rule;
	numbers->value = value;
	numbers->words = 0;
	whi_numbers_in(numbers, NULL, 0);
	numbers->key_count = 0;
	numbers->text_len = 0;
	return numbers;
}

void whi_numbers_free(struct whi_numbers *numbers)
{
	whi_free(numbers);
}

static void flush_keys(struct whi_numbers *numbers)
{
	struct whi_region_words *shorts = &numbers->front->shorts;

	shorts->count = numbers->key_count;
	for (size_t i = 0; i < shorts->count; i++) {
		shorts->start[i] = (uint16_t)(i * sizeof(struct whi_key));
		shorts->len[i] = WHI_SHORT_MAX; /* they are padded already */
	}
	whi_front_reserve(numbers->front, shorts->count);
	numbers->kernel->count(numbers->front, (const void *)numbers->keys);
	numbers->key_count = 0;
}

static void count_text(struct whi_numbers *numbers, uint8_t *text, size_t len)
{
	uint64_t before = numbers->front->total;

	whi_words_count(numbers->kernel, numbers->rule, numbers->front, text, len);
	numbers->words += numbers->front->total - before;
}

static void flush_text(struct whi_numbers *numbers)
{
	size_t len = numbers->text_len;

	numbers->text_len = 0;
	count_text(numbers, numbers->text, len);
}

int whi_numbers_flush(struct whi_numbers *numbers)
{
	if (numbers->key_count)
		flush_keys(numbers);
	if (numbers->text_len)
		flush_text(numbers);
	return numbers->front->error;
}

/* 1 to 8 bytes as a number, zeros above. */
static inline uint64_t load(const uint8_t *at, size_t len)
{
	uint32_t low, high;

	if (len == 8)
		return whi_hash_word(at);
	if (len < 4)
		return at[0] | (uint64_t)at[len / 2] << len / 2 * 8 |
		       (uint64_t)at[len - 1] << (len - 1) * 8;
	memcpy(&low, at, 4);
	memcpy(&high, at + len - 4, 4);
	return low | (uint64_t)high << (len - 4) * 8;
}

/* Its upper bits are set if one of its bytes is zero. */
static inline uint64_t zeros(uint64_t x)
{
	return (x - EACH(1)) & ~x;
}

/* The same from anywhere in memory. */
__attribute__((noinline)) static struct whi_key load_alone(const uint8_t *key, size_t len)
{
	return (struct whi_key){ len < 8 ? load(key, len) : whi_hash_word(key),
				 len > 8 ? load(key + 8, len - 8) : 0 };
}

/* Returns false if the key is not short. */
static inline bool to_short(const struct whi_numbers *numbers, const uint8_t *key, size_t len,
			    struct whi_key *ret)
{
	const struct whi_key *mask;

	if (whi_unlikely(len - 1 >= WHI_SHORT_MAX))
		return false;
	mask = &whi_words_masks[len];
	if (whi_likely((uintptr_t)key - (uintptr_t)numbers->block < numbers->block_len))
		*ret = (struct whi_key){ whi_hash_word(key) & mask->low,
					 whi_hash_word(key + 8) & mask->high };
	else
		*ret = load_alone(key, len);
	return whi_likely(((zeros(ret->low | ~mask->low) | zeros(ret->high | ~mask->high)) &
			   EACH(0x80)) == 0);
}

/* Apart, as what it calls is seldom called. */
__attribute__((noinline)) static int add(struct whi_numbers *numbers, const uint8_t *key,
					 size_t len, uint64_t number)
{
	whi_front_add_long(numbers->front, key, len, number);
	return numbers->front->error;
}

__attribute__((noinline)) static int count_gathered(struct whi_numbers *numbers)
{
	flush_keys(numbers);
	return numbers->front->error;
}

static inline int count(struct whi_numbers *numbers, const uint8_t *key, size_t len)
{
	if (!to_short(numbers, key, len, &numbers->keys[numbers->key_count]))
		return add(numbers, key, len, 1);
	if (whi_likely(++numbers->key_count < WHI_NUMBERS_KEYS))
		return 0;
	return count_gathered(numbers);
}

int whi_numbers_add(struct whi_numbers *numbers, const uint8_t *key, size_t len, uint64_t number)
{
	if (numbers->value == WH_MR_COUNT)
		return count(numbers, key, len);
	return add(numbers, key, len, number);
}

/* A text that is longer than what gathers here. */
static int count_long_text(struct whi_numbers *numbers, const uint8_t *text, size_t len)
{
	uint8_t *copy = whi_alloc(len + WHI_WORDS_SLACK);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, len);
	count_text(numbers, copy, len);
	whi_free(copy);
	return numbers->front->error;
}

int whi_numbers_add_words(struct whi_numbers *numbers, const uint8_t *text, size_t len)
{
	if (numbers->value != WH_MR_COUNT)
		return -EINVAL;
	if (len >= WHI_REGION_BYTES)
		return count_long_text(numbers, text, len);
	if (numbers->text_len + len + 1 > WHI_REGION_BYTES)
		flush_text(numbers);
	memcpy(numbers->text + numbers->text_len, text, len);
	numbers->text_len += len;
	numbers->text[numbers->text_len++] = numbers->rule->blank;
	return numbers->front->error;
}
