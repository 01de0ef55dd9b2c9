/* The rules of ngram files, for one line at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

enum {
	WHI_NGRAM_YEAR_DIGITS = 4,
	WHI_NGRAM_YEARS = 10000,
};

struct whi_ngram_text {
	const uint8_t *at;
	const uint8_t *end;
};

/* A line that has been checked, and what of it has not been read. */
struct whi_ngram_line {
	enum wh_mr_ngram_version version;
	struct whi_ngram_text ngram;
	struct whi_ngram_text rest; /* after the first tab */
};

struct whi_ngram_entry {
	struct whi_ngram_text year_text;
	unsigned year;
	uint64_t matches;
};

/* Check a line, which is given without its newline. Returns NULL, with the line in `*ret`, or what
 * is wrong with it. */
const char *whi_ngram_check(const uint8_t *line, size_t len, struct whi_ngram_line *ret);

/* The next match count of a checked line: there is one a line, but for the version of 2020. */
bool whi_ngram_next(struct whi_ngram_line *line, struct whi_ngram_entry *ret);
