/*
 * Text in UTF-8: white space that separates words, and case that does not count. What is no UTF-8
 * passes byte for byte.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every `step`th code from `first` to `last` folds to the one `distance` further. */
struct whi_unicode_fold {
	uint32_t first, last;
	int32_t step, distance;
};

/* Ascending. */
extern const struct whi_unicode_fold whi_unicode_folds[];
extern const size_t whi_unicode_fold_count;

/* What `code` folds to (CaseFolding.txt, statuses C and S); itself if it does not. Not for ASCII,
 * though some codes fold to it. */
uint32_t whi_unicode_fold(uint32_t code);

/* True for white space (PropList.txt, White_Space) outside of ASCII. */
bool whi_unicode_is_space(uint32_t code);

/* Length of the well-formed UTF-8 sequence at `at` (RFC 3629, section 4), whose code is put into
 * `*ret`; 0: there is none in `left` bytes. */
size_t whi_unicode_decode(const uint8_t *at, size_t left, uint32_t *ret);

/* True if some of these bytes are not ASCII. */
bool whi_unicode_needed(const uint8_t *data, size_t len);

/* Room that whi_unicode_rewrite needs for `len` bytes: two bytes may become three. */
static inline size_t whi_unicode_room(size_t len)
{
	return len + len / 2 + 1;
}

/* Copy `len` bytes to `to`, white space outside of ASCII as `blank`, and letters outside of ASCII
 * folded if `fold`. Returns the length of the copy. */
size_t whi_unicode_rewrite(uint8_t *to, const uint8_t *data, size_t len, uint8_t blank, bool fold);
