/*
 * The front table: what one worker has counted lately, small enough for its second-level cache.
 * When it is full, it is flushed to the partitions and starts empty. The words that come first are
 * the frequent ones: they lie together, in few cache lines.
 *
 * Counting kernels work on it in regions: whi_front_reserve before a region makes sure that nothing
 * is flushed inside one, so that ids stay valid till its end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mapreduce/store.h"

enum {
	WHI_REGION_BYTES = 16 * 1024,
	WHI_REGION_WORDS = WHI_REGION_BYTES / 2, /* a word and a separator each */
	WHI_REGION_LONGS = WHI_REGION_BYTES / (WHI_SHORT_MAX + 1) + 1,
	WHI_REGION_SLACK = 64, /* a kernel may write so many items past the last one */
	WHI_REGION_BORDERS = WHI_REGION_BYTES + WHI_REGION_SLACK,
	WHI_FRONT_LONG_MAX = 1024, /* longer keys are not looked for */
	WHI_FRONT_INDEX_BITS = 17, /* the top ones of a hash are its place in the index */
};

/* A long key in an open block of the writer. */
struct whi_front_recent {
	uint32_t hash;
	uint32_t turn : 20; /* the block's, see struct whi_writer; 0: nothing is here */
	uint32_t unit : 12; /* where in the block */
};

/* Words of a region that a kernel found: where they start and how long they are. */
struct whi_region_words {
	size_t count;
	uint16_t start[WHI_REGION_WORDS + WHI_REGION_SLACK];
	uint16_t len[WHI_REGION_WORDS + WHI_REGION_SLACK];
};

struct whi_front {
	/* Short keys: open addressing over dense arrays in order of first sight; 0: no key. */
	uint16_t *index;
	struct whi_key *keys;
	uint32_t *counts;
	uint64_t *sums; /* NULL; or numbers of keys in place of `counts`, see numbers.h */
	uint32_t *hashes;
	uint32_t room;
	uint32_t used;
	uint32_t misses; /* keys of the last region that were not at their first place */
	uint64_t words; /* counted since the last flush; keeps the 32-bit counts from overflowing */

	/* Long keys go to their partition's open block. Where the latest are, by the lowest bits of
	 * a hash: those found again before the block is full are counted there. */
	struct whi_front_recent *recent;
	uint32_t long_count; /* keys that were not recent; wraps around */
	enum whi_combine combine;

	uint64_t total; /* everything ever counted */

	/* If the job explains itself. */
	bool timed;
	uint64_t tokenize_ns; /* since the first region, */
	uint64_t count_ns;    /* with merging */
	uint64_t entered;     /* keys that were new, ever */
	int error;	      /* the first failure; what is counted afterwards may be lost */
	struct whi_writer *writer;

	/* A kernel's scratch memory for one region. */
	struct whi_region_words shorts;
	struct whi_region_words long_words;
	uint32_t long_hashes[WHI_REGION_LONGS];
	uint16_t ids[WHI_REGION_WORDS + WHI_REGION_SLACK];
	uint16_t missed[WHI_REGION_WORDS + WHI_REGION_SLACK];
	uint16_t borders[WHI_REGION_BORDERS];
};

/* A table that is flushed to `writer`; `l2_bytes` of cache to stay inside of. Returns NULL when
 * out of memory. */
struct whi_front *whi_front_new(struct whi_writer *writer, size_t l2_bytes);
void whi_front_free(struct whi_front *front);

/* Short keys have numbers in `sums`, which whoever finds them sets; `counts` means nothing. The
 * table is empty. Returns 0 or -ENOMEM. */
int whi_front_use_sums(struct whi_front *front);

/* Send everything to the writer. Returns 0 or the front's error. */
int whi_front_flush(struct whi_front *front);

/* Flush the short keys if there is no room for `count` more. */
void whi_front_reserve(struct whi_front *front, size_t count);

/* The id of a key, entered with count 0 if it is new. For keys not at their first place, which
 * `hash` tells; any will do that is always the same for a key. */
uint16_t whi_front_find(struct whi_front *front, uint64_t low, uint64_t high, uint64_t hash);

/*
 * Kernels look for keys in one of two ways. Where nearly all are at their first place, what is not
 * is found at once. Where many are not, a mispredicted branch for each would throw away what the
 * processor has begun with the words behind it: the first places are looked at without a branch,
 * and those that missed are found afterwards. Which way to take for the next region follows from
 * the last one.
 */
static inline bool whi_front_is_scattered(struct whi_front *front)
{
	bool scattered = front->misses > front->shorts.count / 8;

	front->misses = 0;
	return scattered;
}

static inline uint32_t whi_front_place(uint64_t hash)
{
	return (uint32_t)(hash >> (64 - WHI_FRONT_INDEX_BITS));
}

/* Count the first `count` of front->ids. Apart from finding them, so that the loads of one do not
 * wait for the stores of the other. */
static inline void whi_front_bump(struct whi_front *front, size_t count)
{
	uint32_t *counts = front->counts;

	for (size_t i = 0; i < count; i++)
		counts[front->ids[i]]++;
}

/* Combine `count` with that of a key that is not short. */
void whi_front_add_long(struct whi_front *front, const uint8_t *bytes, size_t len, uint64_t count);

/* Count front->long_words, words of `data`. */
void whi_front_count_longs(struct whi_front *front, const uint8_t *data);
