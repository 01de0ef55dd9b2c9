/* Match counts of ngram files added up in the simplest way that could be right, for comparison. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

struct oracle_ngram {
	enum wh_mr_ngram_key by;
	enum wh_mr_ngram_version version; /* WH_MR_NGRAM_DETECT: that of the first good line */
	bool skip_bad;

	/* Results. */
	size_t first_bad; /* its offset; SIZE_MAX: there is none */
	uint64_t skipped;
	uint64_t records; /* match counts */
	bool mixed;	  /* there are good lines of other versions */
	bool too_much;	  /* a sum that does not fit */
};

/* The rows as lines of `key TAB count`, count descending, then keys bytewise. NULL if there is a
 * bad line and they are not to be skipped. The caller frees the text. */
char *oracle_ngram(struct oracle_ngram *oracle, const void *data, size_t len, size_t *ret_len);
