/*
 * The front table: what one worker has counted lately, small enough for its second-level cache.
 * When it is full, it is flushed to the partitions and starts empty. The words that come first are
 * the frequent ones: they lie together, in few cache lines.
 *
 * Counting kernels work on it in regions: whi_front_reserve before a region makes sure that nothing
 * is flushed inside one, so that ids stay valid till its end.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "mapreduce/store.h"

enum {
	WHI_REGION_BYTES = 16 * 1024,
	WHI_REGION_WORDS = WHI_REGION_BYTES / 2, /* a word and a separator each */
	WHI_REGION_SLACK = 64,	   /* a kernel may write so many items past the last one */
	WHI_FRONT_LONG_MAX = 1024, /* longer keys go to their partition at once */
	WHI_FRONT_INDEX_BITS = 17, /* the top ones of a hash are its place in the index */
};

struct whi_front_long {
	uint64_t count;
	uint32_t hash;
	uint32_t offset : 20; /* in `long_bytes` */
	uint32_t len : 12;
};

/* Words of a region that a kernel found: where they start and how long they are. */
struct whi_region_words {
	size_t count;
	uint16_t start[WHI_REGION_WORDS + WHI_REGION_SLACK];
	uint16_t len[WHI_REGION_WORDS + WHI_REGION_SLACK];
};

struct whi_front {
	/* Short keys, as in struct whi_short_table. */
	uint16_t *index;
	struct whi_key *keys;
	uint32_t *counts;
	uint32_t *hashes;
	uint32_t room;
	uint32_t used;
	uint64_t words; /* counted since the last flush; keeps the 32-bit counts from overflowing */

	/* Long keys. */
	uint16_t *long_index;
	struct whi_front_long *longs;
	uint8_t *long_bytes;
	uint32_t longs_used;
	uint32_t long_bytes_used;

	uint64_t total; /* everything ever counted */
	int error;	/* the first failure; what is counted afterwards may be lost */
	struct whi_writer *writer;

	/* A kernel's scratch memory for one region. */
	struct whi_region_words shorts;
	struct whi_region_words long_words;
	uint16_t ids[WHI_REGION_WORDS + WHI_REGION_SLACK];
	uint16_t borders[WHI_REGION_BYTES + WHI_REGION_SLACK];
};

/* A table that is flushed to `writer`; `l2_bytes` of cache to stay inside of. Returns NULL when
 * out of memory. */
struct whi_front *whi_front_new(struct whi_writer *writer, size_t l2_bytes);
void whi_front_free(struct whi_front *front);

/* Send everything to the writer. Returns 0 or the front's error. */
int whi_front_flush(struct whi_front *front);

/* Flush the short keys if there is no room for `count` more. */
void whi_front_reserve(struct whi_front *front, size_t count);

/* The id of a key, entered with count 0 if it is new. For keys not at their first place. */
uint16_t whi_front_find(struct whi_front *front, uint64_t low, uint64_t high, uint64_t hash);

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

/* Add `count` to a key that is not short. */
void whi_front_add_long(struct whi_front *front, const uint8_t *bytes, size_t len, uint64_t count);
