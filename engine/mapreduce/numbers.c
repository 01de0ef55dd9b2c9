/* Owns keys and texts that wait for the word kernel.
 *
 * 1. A key of up to WHI_SHORT_MAX bytes without a zero goes the way of short words, in every job:
 *    a key is never looked for in two places of the front table.
 * 2. text[] is words with a separator behind each text.
 * 3. What has gathered inside of a block has gone before the block changes or another one is
 *    entered.
 * 4. The gather takes keys only while there is a block: without one its length is 0. */
#include "mapreduce/numbers.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"

_Static_assert((int)WH_MR_GATHER_MAX == (int)WHI_SHORT_MAX, "what gathers is looked up as short");
_Static_assert((int)WHI_NUMBERS_KEYS <= (int)WHI_REGION_WORDS, "a batch is a region's to a kernel");

struct whi_numbers *whi_numbers_new(struct whi_front *front, const struct whi_words_kernel *kernel,
				    const struct whi_words_rule *rule, enum wh_mr_value value,
				    struct wh_mr_gather *gather)
{
	struct whi_numbers *numbers = whi_alloc(sizeof(*numbers));

	if (!numbers || (value != WH_MR_COUNT && whi_front_use_sums(front) < 0)) {
		whi_free(numbers);
		return NULL;
	}
	numbers->front = front;
	numbers->kernel = kernel;
	numbers->rule = rule;
	numbers->value = value;
	numbers->words = 0;
	numbers->records = 0;
	numbers->gather = gather;
	numbers->block = NULL;
	numbers->key_count = 0;
	numbers->text_len = 0;
	*gather = (struct wh_mr_gather){
		.at = numbers->inside,
		.end = numbers->inside + WHI_NUMBERS_KEYS,
	};
	return numbers;
}

void whi_numbers_free(struct whi_numbers *numbers)
{
	whi_free(numbers);
}

/* Inlined for each way to combine, so that the choice is made once a batch. */
__attribute__((always_inline)) static inline void
combine_as(struct whi_front *front, const struct whi_key_batch *batch, enum whi_combine how)
{
	uint64_t *sums = front->sums;

	for (size_t i = 0; i < batch->count; i++) {
		uint64_t *sum = &sums[front->ids[i]];

		*sum = whi_combined(how, *sum, batch->keys[i].number);
	}
}

/* Bring the batch's numbers together with those of its ids, of which all above `used` are new. */
static void combine(const struct whi_numbers *numbers, const struct whi_key_batch *batch,
		    uint32_t used)
{
	struct whi_front *front = numbers->front;

	while (used < front->used)
		front->sums[++used] = numbers->value == WH_MR_MIN ? UINT64_MAX : 0;
	if (numbers->value == WH_MR_MIN)
		combine_as(front, batch, WHI_COMBINE_MIN);
	else if (numbers->value == WH_MR_MAX)
		combine_as(front, batch, WHI_COMBINE_MAX);
	else if (front->combine == WHI_COMBINE_ADD_EXACT)
		combine_as(front, batch, WHI_COMBINE_ADD_EXACT);
	else
		combine_as(front, batch, WHI_COMBINE_ADD);
}

static void look_up(struct whi_numbers *numbers, const uint8_t *base,
		    const struct wh_mr_gathered *keys, size_t count)
{
	struct whi_front *front = numbers->front;
	struct whi_key_batch batch = { base, keys, count, numbers->odd, 0 };
	uint32_t used;

	whi_front_reserve(front, count);
	used = front->used;
	numbers->kernel->find(front, &batch);
	if (numbers->value == WH_MR_COUNT)
		whi_front_bump(front, count);
	else
		combine(numbers, &batch, used);
	for (size_t i = 0; i < batch.odd_count; i++) {
		const struct wh_mr_gathered *odd = &keys[batch.odd[i]];

		whi_front_add_long(front, base + odd->offset, odd->len,
				   numbers->value == WH_MR_COUNT ? 1 : odd->number);
	}
	numbers->records += count;
}

void whi_numbers_gather(struct whi_numbers *numbers)
{
	size_t count = (size_t)(numbers->gather->at - numbers->inside);

	numbers->gather->at = numbers->inside;
	if (count)
		look_up(numbers, numbers->block, numbers->inside, count);
}

static void flush_outside(struct whi_numbers *numbers)
{
	size_t count = numbers->key_count;

	numbers->key_count = 0;
	if (count)
		look_up(numbers, (const void *)numbers->keys, numbers->outside, count);
}

void whi_numbers_enter(struct whi_numbers *numbers, const uint8_t *block, size_t len)
{
	struct wh_mr_gather *gather = numbers->gather;

	numbers->block = block;
	gather->block = (uintptr_t)block;
	gather->block_len = len < UINT32_MAX ? len : UINT32_MAX;
}

int whi_numbers_leave(struct whi_numbers *numbers)
{
	whi_numbers_gather(numbers);
	whi_numbers_enter(numbers, NULL, 0);
	return numbers->front->error;
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
	whi_numbers_gather(numbers);
	flush_outside(numbers);
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

static int add_long(struct whi_numbers *numbers, const uint8_t *key, size_t len, uint64_t number)
{
	numbers->records++;
	whi_front_add_long(numbers->front, key, len, numbers->value == WH_MR_COUNT ? 1 : number);
	return numbers->front->error;
}

int whi_numbers_add(struct whi_numbers *numbers, const uint8_t *key, size_t len, uint64_t number)
{
	size_t at = numbers->key_count;

	if (len - 1 >= WHI_SHORT_MAX)
		return add_long(numbers, key, len, number);
	numbers->keys[at] = (struct whi_key){ len < 8 ? load(key, len) : whi_hash_word(key),
					      len > 8 ? load(key + 8, len - 8) : 0 };
	numbers->outside[at] = (struct wh_mr_gathered){
		(uint32_t)(at * sizeof(struct whi_key)),
		(uint32_t)len,
		number,
	};
	numbers->key_count++;
	if (whi_likely(numbers->key_count < WHI_NUMBERS_KEYS))
		return 0;
	flush_outside(numbers);
	return numbers->front->error;
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
