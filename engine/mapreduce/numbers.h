/*
 * Numbers that a job's map emits, on their way to the front table.
 *
 * Where the numbers are but counts, keys gather here until there are enough of them for the word
 * kernel, which looks up many at a time; so they cost what words of a text cost. Others are brought
 * together one by one, in the front table's other half, which has room for 64 bits.
 *
 * Used by one thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/front.h"
#include "mapreduce/words.h"

enum { WHI_NUMBERS_KEYS = 1024 };

struct whi_numbers {
	struct whi_front *front;
	const struct whi_words_kernel *kernel;
	const struct whi_words_rule *rule;
	enum wh_mr_value value;
	uint64_t words;	      /* of texts */
	const uint8_t *block; /* with WHI_WORDS_SLACK bytes behind its `block_len` */
	size_t block_len;

	/* Short keys to be counted, and text with words to be counted. */
	size_t key_count;
	size_t text_len;
	struct whi_key keys[WHI_NUMBERS_KEYS];
	uint8_t text[WHI_REGION_BYTES + WHI_WORDS_SLACK];
};

/* For a job with values of this kind, which are numbers. Returns NULL when out of memory. */
struct whi_numbers *whi_numbers_new(struct whi_front *front, const struct whi_words_kernel *kernel,
				    const struct whi_words_rule *rule, enum wh_mr_value value);
void whi_numbers_free(struct whi_numbers *numbers);

/* What is read of keys may be beyond their end, if they are in these bytes. */
static inline void whi_numbers_in(struct whi_numbers *numbers, const uint8_t *block, size_t len)
{
	numbers->block = block;
	numbers->block_len = len;
}

/* Add a key and its number. Returns 0 or the front table's error. */
int whi_numbers_add(struct whi_numbers *numbers, const uint8_t *key, size_t len, uint64_t number);

/* Count the words of a text. Returns 0, the front table's error, -ENOMEM, or -EINVAL if numbers are
 * not counts. */
int whi_numbers_add_words(struct whi_numbers *numbers, const uint8_t *text, size_t len);

/* Send what has gathered to the front table. Returns 0 or its error. */
int whi_numbers_flush(struct whi_numbers *numbers);
