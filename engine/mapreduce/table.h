/*
 * The tables of one partition: keys and their exact counts.
 *
 * Keys come in two kinds that never mix: words of up to 16 bytes, none of them zero, padded with
 * zeros (short), and anything else (long). The same key must always be of the same kind.
 *
 * A table with all fields zero is valid and empty. One thread at a time.
 */
#pragma once

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

enum { WHI_SHORT_MAX = 16 };

/* A short key; both words zero is no key. */
struct whi_key {
	alignas(16) uint64_t low;
	uint64_t high;
};

/* A short key in a block. */
struct whi_short {
	uint64_t low;
	uint64_t high;
	uint32_t count;
	uint32_t hash;
};

/* A long key in a block: this, then its bytes, padded to a multiple of 8. */
struct whi_long {
	uint64_t count;
	uint64_t len : 40;
	uint64_t hash : 24; /* the partition is the rest of it */
};

/* A key with a value in a block: this, then the key, then the value, padded to a multiple of 8. */
struct whi_pair {
	uint64_t value_len;
	uint64_t key_len : 40;
	uint64_t hash : 24;
};

_Static_assert(sizeof(struct whi_long) == 16 && sizeof(struct whi_pair) == 16,
	       "the head of a record is two words");

/* Longest key there can be. */
#define WHI_KEY_MAX ((UINT64_C(1) << 40) - 1)

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

/* Open addressing over dense arrays in order of first sight; index 0 of the arrays is no key. */
struct whi_short_table {
	uint32_t *index; /* a power of two of places; 0: free */
	uint32_t mask;
	uint32_t used; /* ids given, without 0 */
	uint32_t room; /* of the arrays */
	struct whi_key *keys;
	uint64_t *counts;
	uint32_t *hashes;
};

struct whi_long_entry {
	uint64_t count;
	const uint8_t *bytes; /* in the arena */
	uint64_t len : 40;
	uint64_t hash : 24;
};

struct whi_long_table {
	uint32_t *index;
	uint32_t mask;
	uint32_t used;
	uint32_t room;
	struct whi_long_entry *entries;
	struct whi_arena_chunk *arena;
};

/* Add `count` records that lie one after another. Returns 0 or -ENOMEM. */
int whi_short_table_add(struct whi_short_table *table, const struct whi_short *records,
			size_t count);
/* Free all but keys and counts; nothing can be added afterwards. */
void whi_short_table_seal(struct whi_short_table *table);
void whi_short_table_fini(struct whi_short_table *table);

/* Add the records in `len` bytes at `records`. Returns 0 or -ENOMEM. */
int whi_long_table_add(struct whi_long_table *table, const uint8_t *records, size_t len);
void whi_long_table_seal(struct whi_long_table *table);
void whi_long_table_fini(struct whi_long_table *table);
