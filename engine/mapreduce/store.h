/*
 * Where counted keys go: 256 partitions by the top bits of their hash, each with its own table.
 *
 * Workers never touch the tables directly. Each has a writer with one open block of records a
 * partition; full blocks are pushed onto the partition's pending stack, and whoever finds enough
 * pending there claims the partition and merges it into the table. Nobody waits for a claim: what
 * is not merged now is merged later, at the latest by whi_store_reduce.
 */
#pragma once

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/queue.h"
#include "mapreduce/table.h"

enum {
	WHI_PARTS = 256,
	WHI_BLOCK_BYTES = 32 * 1024,
};

enum whi_kind { WHI_SHORT, WHI_LONG, WHI_PAIR, WHI_KINDS };

struct whi_block {
	struct whi_qnode node;
	enum whi_kind kind; /* of all its records */
	size_t used;	    /* bytes of `data` */
	size_t room;
	alignas(8) uint8_t data[];
};

struct whi_part {
	/* Any writer. */
	alignas(64) struct whi_mpsc pending;
	_Atomic uint64_t pending_bytes;
	_Atomic uint64_t merge_bytes; /* merge once so much is pending; written by the claimer */
	_Atomic bool claimed; /* exchange with acquire pairs with the release after a merge */

	/* The claimer. */
	alignas(64) struct whi_short_table shorts;
	struct whi_long_table longs;
	struct whi_qnode *pairs;   /* blocks of pairs, as they came */
	struct whi_qnode *results; /* blocks of pairs that were emitted by reduce */
};

struct whi_store {
	struct whi_part parts[WHI_PARTS];
	_Atomic int error; /* the first failure of a merge; the contents are then incomplete */
};

struct whi_writer {
	struct whi_store *store;
	struct whi_block *open[WHI_KINDS][WHI_PARTS];
};

/* Returns NULL when out of memory. */
struct whi_store *whi_store_new(void);
void whi_store_free(struct whi_store *store);

void whi_writer_init(struct whi_writer *writer, struct whi_store *store);

/* Push everything that is still in open blocks. */
void whi_writer_flush(struct whi_writer *writer);

/* Throw away what is in open blocks. */
void whi_writer_fini(struct whi_writer *writer);

/* Push the open block of one partition, if there is one. */
void whi_writer_push(struct whi_writer *writer, enum whi_kind kind, unsigned part);

/* Room for `len` bytes in the partition's open block, NULL when out of memory. */
void *whi_writer_room(struct whi_writer *writer, enum whi_kind kind, unsigned part, size_t len);

/* A new, empty block with room for at least `len` bytes, NULL when out of memory. */
struct whi_block *whi_block_new(enum whi_kind kind, size_t len);

/* Free a chain of blocks. */
void whi_blocks_free(struct whi_qnode *chain);

/* Add `count` to the long key `bytes`. Returns 0 or -ENOMEM. */
int whi_writer_add_long(struct whi_writer *writer, uint32_t hash, const uint8_t *bytes, size_t len,
			uint64_t count);

/* Merge what is pending in partition `part`. All writers are flushed, nobody writes any more; one
 * caller a partition. Returns 0 or -ENOMEM. */
int whi_store_reduce(struct whi_store *store, unsigned part);

/* Nothing more will be merged into `part`: free what only merging needs. */
void whi_part_seal(struct whi_part *part);

/* Free what is in `part`. */
void whi_part_fini(struct whi_part *part);

/* Distinct counted keys of a reduced partition. */
static inline uint64_t whi_part_keys(const struct whi_part *part)
{
	return (uint64_t)part->shorts.used + part->longs.used;
}

static inline int whi_writer_add_short(struct whi_writer *writer, const struct whi_key *key,
				       uint32_t hash, uint32_t count)
{
	struct whi_block *block = writer->open[WHI_SHORT][hash >> 24];
	struct whi_short *record;

	if (whi_likely(block && block->room - block->used >= sizeof(*record))) {
		record = (struct whi_short *)(void *)(block->data + block->used);
		block->used += sizeof(*record);
	} else {
		record = whi_writer_room(writer, WHI_SHORT, hash >> 24, sizeof(*record));
		if (!record)
			return -ENOMEM;
	}
	*record = (struct whi_short){ key->low, key->high, count, hash };
	return 0;
}
