/*
 * Counting words. Unless a rule says otherwise, separators are the bytes 0x00-0x20, A-Z count as
 * a-z, every other byte belongs to a word, whatever it means: text that is not UTF-8 passes byte
 * for byte.
 *
 * The work is done by a kernel chosen at run time for this processor's instruction set. All kernels
 * find the same words; they differ in speed and in where they look in the front table, so that one
 * front table is filled by one kernel.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/front.h"
#include "mapreduce/words_rule.h"

enum {
	WHI_WORDS_SLACK = 64, /* bytes after the data that a kernel may read and write */
	WHI_WORDS_SEPARATOR_MAX = 0x20,
	WHI_WORDS_LIST_SLACK = 8,
};

/* Keys that were emitted, of 1 to WHI_SHORT_MAX bytes each and with as many behind them that can be
 * read. They are given in one of two ways. */
struct whi_key_batch {
	size_t count;
	const struct wh_mr_gathered *gathered; /* in `base`; NULL: they are in `keys` */
	const uint8_t *base;
	const struct wh_mr_bytes *keys;
	const uint64_t *numbers; /* of `keys`; NULL: 1 each */
	bool no_zeros;		 /* there is none in any of them */
	/* Where the kernel notes those with a zero in them, which are not short ones; they get id
	 * 0, which is no key's. */
	uint16_t *odd;
	size_t odd_count;
};

static inline struct wh_mr_bytes whi_key_batch_key(const struct whi_key_batch *batch, size_t i)
{
	const struct wh_mr_gathered *at = &batch->gathered[i];

	return batch->gathered ? (struct wh_mr_bytes){ batch->base + at->offset, at->len }
			       : batch->keys[i];
}

static inline uint64_t whi_key_batch_number(const struct whi_key_batch *batch, size_t i)
{
	if (batch->gathered)
		return batch->gathered[i].number;
	return batch->numbers ? batch->numbers[i] : 1;
}

struct whi_words_kernel {
	const char *name;
	unsigned needs; /* WHI_CPU_ bits */

	/* Fold `len` <= WHI_REGION_BYTES bytes in place and note where their words are, those of
	 * up to WHI_SHORT_MAX bytes in front->shorts, the others in front->long_words. A word that
	 * reaches the end of the region ends there. */
	void (*tokenize)(struct whi_front *front, uint8_t *data, size_t len);

	/* The same, but write where words begin and end, in turn, to `to`, which has room for
	 * WHI_REGION_BORDERS. Returns how many of both. */
	size_t (*borders)(uint16_t *to, uint8_t *data, size_t len);

	/* By another rule than the default. */
	size_t (*borders_by)(uint16_t *to, uint8_t *data, size_t len,
			     const struct whi_words_rule *rule);

	/* The words between `count` pairs of borders, as records of `data`; and up to
	 * WHI_WORDS_LIST_SLACK more that mean nothing. */
	void (*list)(struct wh_mr_bytes *to, const uint16_t *borders, size_t count,
		     const uint8_t *data);

	/* Count front->shorts, words of `data`. */
	void (*count)(struct whi_front *front, const uint8_t *data);

	/* Whether all of some keys have 1 to WHI_SHORT_MAX bytes and begin in a block. */
	bool (*all_short)(const struct wh_mr_bytes *keys, size_t count, const uint8_t *block,
			  size_t len);

	/* Find the batch's keys: to front->ids, with room for all of them reserved. */
	void (*find)(struct whi_front *front, struct whi_key_batch *batch);
};

/* The kernels that this build has, best first, ending in NULL; the last one runs anywhere. */
extern const struct whi_words_kernel *const whi_words_kernels[];

/* Masks of the first 0..16 bytes of a short key. */
extern const struct whi_key whi_words_masks[WHI_SHORT_MAX + 1];

/*
 * The kernel called `name`; if that is NULL, the one that the environment's WHORL_ISA names, else
 * the best that this processor can run.
 *
 * Returns    0, with the kernel in `*ret`.
 * Errors     -EINVAL   there is no kernel of that name
 *            -ENOTSUP   this processor cannot run it
 */
int whi_words_choose(const char *name, const struct whi_words_kernel **ret);

/* Offset just past the last separator in `data`, 0 if there is none. Here and below, `words` may be
 * NULL: the default. White space outside of ASCII, which a rule may count as separators too, is not
 * looked for. */
size_t whi_words_last(const struct wh_mr_words *words, const uint8_t *data, size_t len);

/* Offset just past the first separator at or after `from`, 0 if there is none. */
size_t whi_words_first(const struct wh_mr_words *words, const uint8_t *data, size_t len,
		       size_t from);

/* How much of `data` to take next: whole words, at most WHI_REGION_BYTES. If it is more, it is one
 * word, with the separator behind it if there is one. */
size_t whi_words_region(const struct whi_words_rule *rule, const uint8_t *data, size_t len);

/* Fold that one word. Returns its length. */
size_t whi_words_giant(const struct whi_words_rule *rule, uint8_t *data, size_t len);

/* The words of a region, see struct whi_words_kernel. */
static inline void whi_words_tokenize(const struct whi_words_kernel *kernel,
				      const struct whi_words_rule *rule, struct whi_front *front,
				      uint8_t *data, size_t len)
{
	if (rule->plain)
		kernel->tokenize(front, data, len);
	else
		whi_words_rule_sort_out(front, data,
					kernel->borders_by(front->borders, data, len, rule), rule);
}

/* Where they begin and end: see `borders` of struct whi_words_kernel. */
static inline size_t whi_words_borders_of(const struct whi_words_kernel *kernel,
					  const struct whi_words_rule *rule, uint16_t *to,
					  uint8_t *data, size_t len)
{
	return rule->plain ? kernel->borders(to, data, len)
			   : kernel->borders_by(to, data, len, rule);
}

/* Text that was rewritten because a rule asks for Unicode. */
struct whi_words_text {
	uint8_t *data;
	size_t room;
};

/* Rewrite `data` into `text` as words by `rule`, which asks for Unicode; WHI_WORDS_SLACK bytes
 * follow it. Returns the length, or -ENOMEM. */
ssize_t whi_words_rewrite(const struct whi_words_rule *rule, struct whi_words_text *text,
			  const uint8_t *data, size_t len);
void whi_words_text_fini(struct whi_words_text *text);

/* Count the words of `data`, which begins and ends at word borders and has WHI_WORDS_SLACK bytes
 * after it. Changes the data. A failure shows in front->error. */
void whi_words_count(const struct whi_words_kernel *kernel, const struct whi_words_rule *rule,
		     struct whi_front *front, uint8_t *data, size_t len);
