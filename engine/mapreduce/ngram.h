/*
 * Counting ngram files: lines of an ngram, a year and how often it was met, in one of three
 * versions. Match counts are added up by ngram, by year, or by both.
 *
 * Sorted files have an ngram's lines one after another: a run of equal keys is added up in
 * registers, and only its end is hashed. Lines that are exactly as published, with numbers of at
 * most eight digits, are read by a kernel for this processor's instruction set; all others, one at
 * a time, by ngram_check.c, which knows every rule and says which one was broken.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/bypass.h"
#include "mapreduce/front.h"
#include "mapreduce/ngram_check.h"

enum {
	WHI_NGRAM_SLACK = 64, /* bytes after the data that may be read, and the first one written */
	WHI_NGRAM_EXCERPT = 64,
	WHI_NGRAM_KEY = 1024,
	WHI_NGRAM_REASON = 256, /* most bytes of why a line is bad */
	WHI_NGRAM_BEFORE = 32,	/* places before the first border; kernels like theirs aligned */
};

/* A bad line, as it is remembered. */
struct whi_ngram_bad {
	struct wh_mr_origin origin;
	const char *reason; /* NULL: there is no bad line */
	size_t excerpt_len;
	uint8_t excerpt[WHI_NGRAM_EXCERPT];
};

/* A line by which a worker has told the version. */
struct whi_ngram_first {
	enum wh_mr_ngram_version version;
	struct wh_mr_origin origin;
};

/* What all workers of a job share. All zero is valid. */
struct whi_ngram_shared {
	_Atomic int version; /* enum wh_mr_ngram_version, as soon as one is known */
	/* The line that decided it, which is some worker's; written once, before `version`. NULL:
	 * it was known from elsewhere. */
	const struct whi_ngram_first *_Atomic first;
};

/* Lines with the same key, one after another. */
struct whi_ngram_run {
	const uint8_t *bytes; /* of a key that is not short, in the region; else NULL */
	uint64_t low;	      /* of a short key; see ngram_lines.h for why not as one */
	uint64_t low_mask;
	uint64_t high;
	uint64_t high_mask;
	uint64_t sum;
	size_t len; /* 0: there is no run */
};

/* One worker's counting. */
struct whi_ngrams {
	const struct wh_mr_job *job;
	const struct whi_ngram_kernel *kernel;
	struct whi_ngram_shared *shared;
	struct whi_front *front;
	struct whi_bypass bypass;
	enum wh_mr_ngram_version version;
	struct whi_ngram_run run;
	uint64_t records; /* match counts read */
	uint64_t skipped; /* bad lines left out */
	int error;	  /* -errno of the first failure; nothing counts after it */

	/* Of the data being mapped. */
	const uint8_t *data;
	struct wh_mr_origin origin;
	struct whi_ngram_bad bad; /* the first one that this worker met */
	struct whi_ngram_first first;
	char mixed[WHI_NGRAM_REASON]; /* the reason of a bad line that is of another version */

	uint64_t *years; /* WHI_NGRAM_YEARS sums, of WH_MR_BY_YEAR; else NULL */
	bool *years_seen;
	uint8_t key[WHI_NGRAM_KEY]; /* scratch */
	uint16_t border_room[WHI_NGRAM_BEFORE + WHI_REGION_BYTES + WHI_REGION_SLACK];
};

/* Of the region's tabs and newlines, the offsets; before the first one is -1, modulo 2^16. */
static inline uint16_t *whi_ngrams_borders(struct whi_ngrams *ngrams)
{
	return ngrams->border_room + WHI_NGRAM_BEFORE;
}

struct whi_ngram_kernel {
	const char *name; /* as of the word kernel for the same instruction set */

	/* Write the offsets of all tabs and newlines in `len` <= WHI_REGION_BYTES bytes to `to`,
	 * which has room for WHI_REGION_SLACK more. Returns how many. */
	size_t (*borders)(uint16_t *to, const uint8_t *data, size_t len);

	/* Count the lines of `data`, whose `count` tabs and newlines are in whi_ngrams_borders; the
	 * last one is a newline. */
	void (*lines)(struct whi_ngrams *ngrams, const uint8_t *data, size_t count);
};

/* The kernels that this build has, ending in NULL. */
extern const struct whi_ngram_kernel *const whi_ngram_kernels[];

/* The kernel called `name`, NULL if there is none. */
const struct whi_ngram_kernel *whi_ngram_kernel(const char *name);

/* `isa` is the name of a word kernel. Returns NULL when out of memory. */
struct whi_ngrams *whi_ngrams_new(const struct wh_mr_job *job, struct whi_ngram_shared *shared,
				  struct whi_front *front, const char *isa);
void whi_ngrams_free(struct whi_ngrams *ngrams);

/* Count the lines of `data`, `len` bytes from `origin`, with WHI_NGRAM_SLACK bytes after them. The
 * last line may lack its newline. Returns 0, -EBADMSG with ngrams->bad set, or -ENOMEM. */
int whi_ngrams_map(struct whi_ngrams *ngrams, uint8_t *data, size_t len,
		   const struct wh_mr_origin *origin);

/* Send what is not in the front table yet to it. Returns 0 or an error as whi_ngrams_map. */
int whi_ngrams_flush(struct whi_ngrams *ngrams);

/* Which of two bad lines to tell, if one has to be chosen. */
bool whi_ngram_bad_before(const struct whi_ngram_bad *a, const struct whi_ngram_bad *b);

/* For kernels: count one line of `len` bytes, without its newline, whatever it is. */
void whi_ngrams_line(struct whi_ngrams *ngrams, const uint8_t *line, size_t len);

/* For kernels: add `sum` to a key of any kind. */
void whi_ngrams_add(struct whi_ngrams *ngrams, const uint8_t *key, size_t len, uint64_t sum);

/* For kernels: add `sum`, which the record of a short key cannot hold, to one. */
void whi_ngrams_add_wide(struct whi_ngrams *ngrams, uint64_t low, uint64_t high, uint64_t hash,
			 uint64_t sum);
