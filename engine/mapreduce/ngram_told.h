/* What mapping ngram files has come to besides counts, in a form that can leave the process: others
 * answer with it, and it is kept with what a job can be gone on from. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "mapreduce/ngram.h"

/* All zero is valid: nothing has been met. */
struct whi_ngram_told {
	uint64_t skipped;  /* bad lines */
	uint64_t bypassed; /* keys */
	uint64_t version;  /* enum wh_mr_ngram_version, as far as lines have told */

	/* The first bad line. */
	uint64_t file; /* its number in the job's input */
	uint64_t block;
	uint64_t offset;
	uint64_t excerpt_len;
	uint8_t excerpt[WHI_NGRAM_EXCERPT];
	char reason[WHI_NGRAM_REASON]; /* empty: there is no bad line */
};

/* The file of a bad line that is in none: that of a generated block. */
#define WHI_NGRAM_NO_FILE UINT64_MAX

/* What one worker has met; `file` is the number of that which its bad line is in. */
void whi_ngram_tell(const struct whi_ngrams *ngrams, uint64_t file, struct whi_ngram_told *ret);

/* Begin anew with a worker that may have mapped before; all lines are to be of `version`, if it is
 * known. */
void whi_ngram_forget(struct whi_ngrams *ngrams, enum wh_mr_ngram_version version);
