/*
 * Numbers that a job's map emits, on their way to the front table.
 *
 * Keys of up to WHI_SHORT_MAX bytes gather until there are enough of them for the word kernel to
 * look many up at a time; so they cost what words of a text cost. Those that lie in what is being
 * mapped gather as where they are, written down by wh_mr_emit_number in the program's own code;
 * others are copied. Longer ones are brought together one by one.
 *
 * Used by one thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/front.h"
#include "mapreduce/words.h"

enum { WHI_NUMBERS_KEYS = 512 };

struct whi_numbers {
	struct whi_front *front;
	const struct whi_words_kernel *kernel;
	const struct whi_words_rule *rule;
	enum wh_mr_value value;
	uint64_t words;	  /* of texts */
	uint64_t records; /* keys that were taken, one by one or gathered */

	/* Keys in `block`: the emitter's gather, which writes to `inside`. */
	struct wh_mr_gather *gather;
	const uint8_t *block; /* NULL: none, or with WHI_WORDS_SLACK bytes behind it */
	size_t block_len;
	enum { WHI_ZEROS_UNKNOWN, WHI_ZEROS_NONE, WHI_ZEROS_SOME } zeros; /* in the block */
	struct wh_mr_gathered inside[WHI_NUMBERS_KEYS];

	/* Keys from elsewhere, which are in `keys`, and text with words to be counted. */
	size_t key_count;
	size_t text_len;
	struct wh_mr_gathered outside[WHI_NUMBERS_KEYS];
	struct whi_key keys[WHI_NUMBERS_KEYS];
	uint16_t odd[WHI_NUMBERS_KEYS]; /* a kernel's scratch memory */
	uint8_t text[WHI_REGION_BYTES + WHI_WORDS_SLACK];
};

/* For a job with values of this kind, which are numbers, and the emitter that `gather` begins.
 * Returns NULL when out of memory. */
struct whi_numbers *whi_numbers_new(struct whi_front *front, const struct whi_words_kernel *kernel,
				    const struct whi_words_rule *rule, enum wh_mr_value value,
				    struct wh_mr_gather *gather);
void whi_numbers_free(struct whi_numbers *numbers);

/* From now on keys may lie in these bytes, which have WHI_WORDS_SLACK more behind them, and stay
 * until whi_numbers_leave. */
void whi_numbers_enter(struct whi_numbers *numbers, const uint8_t *block, size_t len);

/* They may change from now on. Returns 0 or the front table's error. */
int whi_numbers_leave(struct whi_numbers *numbers);

/* Send what has gathered inside of the block to the front table. */
void whi_numbers_gather(struct whi_numbers *numbers);

/* Add a key and its number; the key is copied. Returns 0 or the front table's error. */
int whi_numbers_add(struct whi_numbers *numbers, const uint8_t *key, size_t len, uint64_t number);

/* Add up to WHI_NUMBERS_KEYS keys and `each` one's number, NULL: 1, without copying them: all are
 * short and in the block. Returns false if they are not, and nothing is done. */
bool whi_numbers_add_all(struct whi_numbers *numbers, const struct wh_mr_bytes *keys,
			 const uint64_t *each, size_t count);

/* Count the words of a text. Returns 0, the front table's error, -ENOMEM, or -EINVAL if numbers are
 * not counts. */
int whi_numbers_add_words(struct whi_numbers *numbers, const uint8_t *text, size_t len);

/* Send what has gathered to the front table. Returns 0 or its error. */
int whi_numbers_flush(struct whi_numbers *numbers);
