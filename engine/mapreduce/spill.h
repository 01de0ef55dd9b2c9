/*
 * What a job does when its memory is not enough: the largest partitions are written to a temporary
 * file and begin anew, as often as it takes. In the end a partition is either in memory or on disk
 * as a whole, and those on disk are reduced piece by piece (pass.h).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <whorl/mapreduce.h>

#include "mapreduce/budget.h"
#include "mapreduce/spill_file.h"
#include "mapreduce/store.h"

struct whi_spill {
	struct whi_budget budget;
	struct whi_spill_file file;
	enum wh_mr_value value;
	unsigned workers;
	size_t block_bytes;   /* written at a time */
	size_t pass_bytes;    /* what one worker's last pass may hold in tables or blocks */
	size_t run_bytes;     /* of a run, written and read at a time */
	size_t runs_a_part;   /* that the last merge has room for */
	_Atomic bool *stop;   /* set once writing fails, so that nothing more is mapped */
	_Atomic uint32_t ids; /* of streams */

	/* Figures; any thread. */
	_Atomic uint64_t spills;  /* partitions written, as often as each was */
	_Atomic uint32_t parts;	  /* partitions of which something is on disk */
	_Atomic uint32_t depth;	  /* how often the worst one was partitioned again */
	_Atomic uint32_t sorted;  /* partitions that hashing could not make small enough */
	_Atomic uint64_t runs;	  /* written */
	_Atomic uint64_t sort_ns; /* of all workers together */
	_Atomic uint64_t spill_ns;
};

/* All by the job's options, for `workers` of them. */
void whi_spill_init(struct whi_spill *spill, const struct wh_mr_job *job, unsigned workers,
		    _Atomic bool *stop);
void whi_spill_fini(struct whi_spill *spill);

/* How long blocks on their way to partitions may be. */
size_t whi_spill_block_room(const struct whi_spill *spill);

/* How many of them a worker keeps for later; 0: as many as it likes. */
size_t whi_spill_pool_most(const struct whi_spill *spill);

/* Of a partition, pending before it is merged: see struct whi_store. */
uint64_t whi_spill_merge_most(const struct whi_spill *spill);

/* How much of a cache a front table may fill. */
size_t whi_spill_front_bytes(const struct whi_spill *spill, size_t l2_bytes);

/* How many runs one worker merges at a time. */
size_t whi_spill_fan_in(const struct whi_spill *spill);

/* How large a slice may be to be sorted in memory while others are put out, */
size_t whi_spill_slice_bytes(const struct whi_spill *spill);

/* how many there may be, up to `most`, and how long their open blocks may be then. */
unsigned whi_spill_slices_max(const struct whi_spill *spill, unsigned most);
size_t whi_spill_slice_room(const struct whi_spill *spill, unsigned count);

/* Remember the greatest depth. */
void whi_spill_depth(struct whi_spill *spill, unsigned depth);

/* An empty stream of its own. */
struct whi_stream whi_spill_stream(struct whi_spill *spill);

/* Append the records of some blocks to a stream. Returns 0, -ECANCELED or -errno. */
int whi_spill_chain(struct whi_spill *spill, struct whi_stream *stream,
		    const struct whi_qnode *chain);

/* Call `fn` with each row of a stream, in no order. Returns 0, -ECANCELED, -errno or the first
 * negative result. */
typedef int (*whi_row_fn)(void *arg, const struct wh_mr_row *row);
int whi_spill_read(const struct whi_spill *spill, const struct whi_stream *stream, whi_row_fn fn,
		   void *arg);

/* Write the largest partitions to disk until the budget is kept, or all are somebody's. Any thread
 * that holds no claim. Returns 0 or -errno. */
int whi_spill_relieve(struct whi_store *store, struct whi_pool *pool);

/* Write what is in a partition that the caller has claimed, without what is pending, and free it.
 * Returns 0, -ECANCELED or -errno. */
int whi_spill_part(struct whi_store *store, struct whi_part *part);
