/*
 * What a word is, where a job says so: which bytes belong to words, and whether case counts. The
 * default, whi_words_default, is what kernels know by themselves; for any other rule they look each
 * byte up, sixteen or more at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

struct whi_front;

struct whi_words_rule {
	struct wh_mr_words words; /* as the job gave it; if they fold, both cases of a letter */
	bool plain;		  /* the default */
	bool zero;		  /* byte 0 belongs to words */
	uint8_t blank;		  /* a byte that does not */
	/* Byte b belongs to words if bit (b >> 4) & 7 of low[b >> 7][b & 15] is set. */
	uint8_t low[2][16];
};

extern const struct wh_mr_words whi_words_default;

/* `words` may be NULL: the default. */
void whi_words_rule_init(struct whi_words_rule *rule, const struct wh_mr_words *words);

static inline bool whi_words_has(const struct wh_mr_words *words, uint8_t byte)
{
	return words->bytes[byte / 64] >> byte % 64 & 1;
}

static inline bool whi_words_rule_has(const struct whi_words_rule *rule, uint8_t byte)
{
	return whi_words_has(&rule->words, byte);
}

/* The `borders_by` of kernels, see words.h: for any processor, and for those with AVX2. */
size_t whi_words_rule_scalar(uint16_t *to, uint8_t *data, size_t len,
			     const struct whi_words_rule *rule);
size_t whi_words_rule_avx2(uint16_t *to, uint8_t *data, size_t len,
			   const struct whi_words_rule *rule);

/* The words between the first `count` of front->borders, to its lists of short and long ones. */
void whi_words_rule_sort_out(struct whi_front *front, const uint8_t *data, size_t count,
			     const struct whi_words_rule *rule);
