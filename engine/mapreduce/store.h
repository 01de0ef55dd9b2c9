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
#include <string.h>

#include "base/assert.h"
#include "base/queue.h"
#include "mapreduce/stream.h"
#include "mapreduce/table.h"
#include "mapreduce/times.h"

enum {
	WHI_PARTS = 256,
	WHI_TURN_LAST = (1 << 20) - 1,
	/* Of a partition, pending before its first merge; and before any, as long as its table is
	 * smaller. */
	WHI_MERGE_BYTES_FIRST = 2 * WHI_BLOCK_BYTES,
	WHI_MERGE_BYTES_MOST = 2 * 1024 * 1024,
};

struct whi_spill;

struct whi_part {
	/* Any writer. */
	alignas(64) struct whi_mpsc pending;
	_Atomic uint64_t pending_bytes;
	_Atomic uint64_t merge_bytes; /* merge once so much is pending; written by the claimer */
	_Atomic bool claimed;  /* exchange with acquire pairs with the release after a merge */
	_Atomic uint64_t held; /* memory of tables and pairs; written by the claimer */

	/* The claimer. */
	alignas(64) struct whi_table shorts;
	struct whi_table longs;
	struct whi_qnode *pairs;   /* blocks of pairs, as they came */
	struct whi_qnode *results; /* blocks of pairs that were emitted by reduce */
	uint64_t pair_bytes;	   /* memory of `pairs` */
	struct whi_stream spilled; /* what of its contents is on disk */
};

struct whi_store {
	struct whi_part parts[WHI_PARTS];
	enum whi_combine combine; /* numbers of equal keys; set before anything is written */
	struct whi_spill *spill;  /* when to write partitions to disk, and where; NULL: never */
	uint64_t merge_most;	  /* pending of a partition, unless its tables are larger */
	size_t block_room;	  /* of ordinary blocks; 0: WHI_BLOCK_ROOM */
	size_t pool_most;	  /* of these in a writer's pool; 0: WHI_POOL_MOST */
	struct whi_times *times;  /* NULL: nobody asks */
	_Atomic int error; /* the first failure of a merge; the contents are then incomplete */
};

/* Where the next record of an open block goes, and the end of its room; both NULL: none is open. */
struct whi_room {
	uint8_t *at;
	uint8_t *end;
};

struct whi_writer {
	struct whi_store *store;
	struct whi_block *open[WHI_KINDS][WHI_PARTS];
	/* Of counted keys; the block's `used` is set when it is pushed. Not in the blocks, whose
	 * heads are so many bytes apart that a cache has only a few sets for all of them. */
	struct whi_room rooms[WHI_PAIR][WHI_PARTS];
	/* Tells each open block of long keys from those that were open before it. Beyond
	 * WHI_TURN_LAST, no place has room for it, and nothing is found there. */
	uint32_t turns[WHI_PARTS];
	struct whi_pool pool;
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

/* Give a partition a whole block of records. Takes it. */
void whi_writer_give(struct whi_writer *writer, unsigned part, struct whi_block *block);

/* Room for `len` bytes in the partition's open block, NULL when out of memory. */
void *whi_writer_room(struct whi_writer *writer, enum whi_kind kind, unsigned part, size_t len);

/* Add `count` to the long key `bytes`. Returns 0 or -ENOMEM. */
int whi_writer_add_long(struct whi_writer *writer, uint32_t hash, const uint8_t *bytes, size_t len,
			uint64_t count);

/* Merge what is pending in a partition that the caller has claimed; its tables rest then. Returns 0
 * or -ENOMEM or -EOVERFLOW. */
int whi_part_merge(struct whi_store *store, struct whi_part *part, struct whi_pool *pool);

/* Free what a partition that the caller has claimed holds in memory, without what is pending. */
void whi_part_empty(struct whi_store *store, struct whi_part *part);

/* The memory of a partition is what it has now, and nothing is pending. */
void whi_part_hold(struct whi_store *store, struct whi_part *part);

/* The memory of a partition has gone. */
void whi_part_forget(struct whi_store *store, struct whi_part *part);

/* Merge what is pending in partition `part`. All writers are flushed, nobody writes any more; one
 * caller a partition. Returns 0 or -ENOMEM or -EOVERFLOW. */
int whi_store_reduce(struct whi_store *store, unsigned part, struct whi_pool *pool);

/* Free what is in `part`. */
void whi_part_fini(struct whi_part *part);

/* Distinct counted keys of a reduced partition. */
static inline uint64_t whi_part_keys(const struct whi_part *part)
{
	return (uint64_t)part->shorts.used + part->longs.used;
}

/* Room for `len` bytes in the partition's open block of counted keys, NULL when out of memory. */
static inline void *whi_writer_record(struct whi_writer *writer, enum whi_kind kind, unsigned part,
				      size_t len)
{
	struct whi_room *left = &writer->rooms[kind][part];

	if (whi_unlikely((size_t)(left->end - left->at) < len))
		return whi_writer_room(writer, kind, part, len);
	left->at += len;
	return left->at - len;
}

/* Fetch where the partition's next records go: the line after the one where the next begins, which
 * was fetched for those before it. */
static inline void whi_writer_fetch(const struct whi_writer *writer, enum whi_kind kind,
				    unsigned part)
{
	/* As a number: there may be no block. */
	uintptr_t at = (uintptr_t)writer->rooms[kind][part].at;

	__builtin_prefetch((const void *)(at + 64), 1);
}

static inline int whi_writer_add_short(struct whi_writer *writer, const struct whi_key *key,
				       uint32_t hash, uint64_t count)
{
	const struct whi_short record = { key->low, key->high, count & WHI_SHORT_COUNT_MAX,
					  hash & 0xffffff };
	void *room = whi_writer_record(writer, WHI_SHORT, hash >> 24, sizeof(record));

	if (!room)
		return -ENOMEM;
	/* Not field by field, which would wait for what is there. */
	memcpy(room, &record, sizeof(record));
	return 0;
}
