/* Counting words of memory with the parts of the layer, without files and without a loop. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "mapreduce/ngram.h"
#include "mapreduce/words.h"

/* How a text is cut up before it is counted. */
struct cuts {
	size_t split_bytes;		 /* a source for each so many bytes; 0: one for all */
	size_t buffer_bytes;		 /* read at a time; 0: all at once */
	size_t l2_bytes;		 /* size of the front table; 0: this processor's */
	unsigned mappers;		 /* take turns; 0: one */
	const struct wh_mr_words *words; /* NULL: the default */
	const struct wh_mr_job *ngrams;	 /* NULL: words are counted; else ngrams, as it says */
	struct ngrams_met *met;		 /* of ngrams; may be NULL */
};

/* What counting ngrams came to. */
struct ngrams_met {
	int error;
	uint64_t records;
	uint64_t skipped;
	uint64_t bypassed;
	uint64_t bad_offset; /* if there was a bad line */
	const char *reason;  /* NULL: there was none; else `text` */
	char text[WHI_NGRAM_REASON];
};

/*
 * Count `len` bytes, sort, and return the rows as the oracle prints them. NULL if an allocation
 * failed. The caller frees the text.
 */
char *count_blocks(const struct whi_words_kernel *kernel, const void *data, size_t len,
		   const struct cuts *cuts, size_t *ret_len);
