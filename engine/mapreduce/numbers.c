/* Owns keys and texts that wait for the word kernel.
 *
 * 1. A key of up to WHI_SHORT_MAX bytes without a zero goes the way of short words, in every job:
 *    a key is never looked for in two places of the front table.
 * 2. text[] is words with a separator behind each text.
 * 3. What has gathered inside of a block has gone before the block changes or another one is
 *    entered.
 * 4. The gather takes keys only while there is a block: without one it has no bytes. */
#include "mapreduce/numbers.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/hash.h"

enum { SCAN_MAX = 2 * WHI_REGION_BYTES };

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

		*sum = whi_combined(how, *sum, whi_key_batch_number(batch, i));
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

static void look_up(struct whi_numbers *numbers, struct whi_key_batch *batch)
{
	struct whi_front *front = numbers->front;
	uint32_t used;

	whi_front_reserve(front, batch->count);
	used = front->used;
	numbers->kernel->find(front, batch);
	if (numbers->value == WH_MR_COUNT)
		whi_front_bump(front, batch->count);
	else
		combine(numbers, batch, used);
	for (size_t i = 0; i < batch->odd_count; i++) {
		const struct wh_mr_bytes key = whi_key_batch_key(batch, batch->odd[i]);
		uint64_t number = whi_key_batch_number(batch, batch->odd[i]);

		whi_front_add_long(front, key.data, key.len,
				   numbers->value == WH_MR_COUNT ? 1 : number);
	}
	numbers->records += batch->count;
}

/* Looked for once a block, as long as that is a fraction of what looking for zeros in each key
 * takes: if keys of it gather, and it is in the cache. */
static bool has_no_zeros(struct whi_numbers *numbers)
{
	if (numbers->block_len > SCAN_MAX)
		return false;
	if (numbers->zeros == WHI_ZEROS_UNKNOWN)
		numbers->zeros = memchr(numbers->block, 0, numbers->block_len) ? WHI_ZEROS_SOME
									       : WHI_ZEROS_NONE;
	return numbers->zeros == WHI_ZEROS_NONE;
}

void whi_numbers_gather(struct whi_numbers *numbers)
{
	struct whi_key_batch batch = {
		.base = numbers->block,
		.gathered = numbers->inside,
		.count = (size_t)(numbers->gather->at - numbers->inside),
		.odd = numbers->odd,
	};

	numbers->gather->at = numbers->inside;
	if (batch.count == 0)
		return;
	batch.no_zeros = has_no_zeros(numbers);
	look_up(numbers, &batch);
}

bool whi_numbers_add_all(struct whi_numbers *numbers, const struct wh_mr_bytes *keys,
			 const uint64_t *each, size_t count)
{
	struct whi_key_batch batch = {
		.keys = keys,
		.numbers = each,
		.count = count,
		.odd = numbers->odd,
	};

	if (!numbers->block ||
	    !numbers->kernel->all_short(keys, count, numbers->block, numbers->block_len))
		return false;
	batch.no_zeros = has_no_zeros(numbers);
	look_up(numbers, &batch);
	return true;
}

static void flush_outside(struct whi_numbers *numbers)
{
	struct whi_key_batch batch = {
		.base = (const void *)numbers->keys,
		.gathered = numbers->outside,
		.count = numbers->key_count,
		.odd = numbers->odd,
	};

	numbers->key_count = 0;
	if (batch.count)
		look_up(numbers, &batch);
}

void whi_numbers_enter(struct whi_numbers *numbers, const uint8_t *block, size_t len)
{
	struct wh_mr_gather *gather = numbers->gather;

	if (len > UINT32_MAX)
		len = UINT32_MAX;
	numbers->block = block;
	numbers->block_len = len;
	numbers->zeros = WHI_ZEROS_UNKNOWN;
	gather->block = (uintptr_t)block;
	gather->block_len = len;
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
