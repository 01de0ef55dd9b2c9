/*
 * The tables of one partition: keys and their exact counts.
 *
 * Keys come in two kinds that never mix: words of up to 16 bytes, none of them zero, padded with
 * zeros (short), and anything else (long). The same key must always be of the same kind.
 *
 * A table's records lie in blocks, as those that are sent to it do, in order of first sight: what
 * reads the one can read the other. Records never move.
 *
 * A table with all fields zero is valid and empty. One thread at a time.
 */
#pragma once

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mapreduce/block.h"

enum { WHI_SHORT_MAX = 16 };

/* A short key; both words zero is no key. */
struct whi_key {
	alignas(16) uint64_t low;
	uint64_t high;
};

/* How many bytes it has. */
static inline size_t whi_key_len(const struct whi_key *key)
{
	uint64_t bytes = key->high ? key->high : key->low;

	return (key->high ? 16u : 8u) - (size_t)__builtin_clzll(bytes) / 8;
}

/* A short key in a block. */
struct whi_short {
	uint64_t low;
	uint64_t high;
	uint64_t count : 40;
	uint64_t hash : 24; /* the partition is the rest of it */
};

/* A long key in a block: this, then its bytes, padded to a multiple of 8. */
struct whi_long {
	uint64_t count;
	uint64_t len : 40;
	uint64_t hash : 24;
};

/* A key with a value in a block: this, then the key, then the value, padded to a multiple of 8. */
struct whi_pair {
	uint64_t value_len;
	uint64_t key_len : 40;
	uint64_t hash : 24;
};

_Static_assert(sizeof(struct whi_short) == 24, "a short record is three words");
_Static_assert(sizeof(struct whi_long) == 16 && sizeof(struct whi_pair) == 16,
	       "the head of a record is two words");

/* Longest key there can be, and the largest count of a short one. */
#define WHI_KEY_MAX ((UINT64_C(1) << 40) - 1)
#define WHI_SHORT_COUNT_MAX ((UINT64_C(1) << 40) - 1)

/* What a long record of `len` bytes takes in a block. */
static inline size_t whi_long_bytes(size_t len)
{
	return sizeof(struct whi_long) + ((len + 7) & ~(size_t)7);
}

/* What a pair takes in a block. */
static inline size_t whi_pair_bytes(const struct whi_pair *pair)
{
	return sizeof(*pair) + ((pair->key_len + pair->value_len + 7) & ~(uint64_t)7);
}

/* What becomes of two numbers of one key. A sum that is to be exact stays at UINT64_MAX if it gets
 * there, which stands for too much. */
enum whi_combine { WHI_COMBINE_ADD, WHI_COMBINE_MIN, WHI_COMBINE_MAX, WHI_COMBINE_ADD_EXACT };

static inline uint64_t whi_combined(enum whi_combine how, uint64_t a, uint64_t b)
{
	switch (how) {
	case WHI_COMBINE_ADD:
		return a + b;
	case WHI_COMBINE_MIN:
		return a < b ? a : b;
	case WHI_COMBINE_MAX:
		return a > b ? a : b;
	case WHI_COMBINE_ADD_EXACT:
		return a + b < a ? UINT64_MAX : a + b;
	}
	return a;
}

/* Open addressing over records in order of first sight. A table that rests has no index: what is
 * added to it next makes one, in memory that the tables of other partitions had before it. */
struct whi_table {
	uint32_t *index;   /* a power of two of places; 0: free, else a tag above a reference */
	size_t room;	   /* places that there is memory for */
	uint32_t mask;	   /* places - 1 */
	uint32_t used;	   /* keys */
	uint64_t bytes;	   /* of their records */
	uint32_t ref_mask; /* the bits of a place that are a reference */
	uint32_t chunk_count;
	uint32_t chunk_room;
	struct whi_block **chunks; /* all records; the last one may have room */
	struct whi_table *wide;	   /* of short keys: where counts beyond WHI_SHORT_COUNT_MAX go, as
				      those of long ones; NULL: nowhere */
	bool has_wide;		   /* some have gone there */
};

/* Make ready for more records of one kind, `bytes` of them. New blocks are of `pool`, and so is the
 * memory of the index. Returns 0 or -ENOMEM. */
int whi_table_expect(struct whi_table *table, struct whi_pool *pool, enum whi_kind kind,
		     uint64_t bytes);

/* Add `count` short records that lie one after another. Returns 0, -ENOMEM, or -EOVERFLOW if a
 * count comes to more than WHI_SHORT_COUNT_MAX. */
int whi_table_add_shorts(struct whi_table *table, struct whi_pool *pool,
			 const struct whi_short *records, size_t count);

/* Add the long records in `len` bytes at `records`, combining the counts of equal keys as `how`
 * says. Returns 0 or -ENOMEM. */
int whi_table_add_longs(struct whi_table *table, struct whi_pool *pool, enum whi_combine how,
			const uint8_t *records, size_t len);

/* Nothing is added for now: give the index to `pool`. It is made again when something is. */
void whi_table_rest(struct whi_table *table, struct whi_pool *pool);

/* The record of a short key, NULL if there is none or the table rests. */
struct whi_short *whi_table_find_short(const struct whi_table *table, const struct whi_key *key,
				       uint32_t hash);

/* Memory that the table holds. */
uint64_t whi_table_bytes(const struct whi_table *table);

/* Free all but the records; nothing can be added afterwards. */
void whi_table_seal(struct whi_table *table);
void whi_table_fini(struct whi_table *table);
