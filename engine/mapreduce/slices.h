/*
 * Slices: all rows of a job, dealt anew, so that each slice holds what comes before every row of
 * the next one. Whoever sorts a slice has the place of its rows in the output, and nothing is left
 * to be merged. Partitions are emptied as their rows are dealt: there is no second copy. Where
 * memory is short, rows are dealt while partitions are still being reduced, and what has been dealt
 * goes to disk.
 */
#pragma once

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mapreduce/rows.h"
#include "mapreduce/run.h"
#include "mapreduce/store.h"

enum {
	WHI_SLICES_MAX = 4096,
	WHI_HAND = 8, /* rows that are looked up together */
};

/* What has been dealt to one slice: blocks in memory, and what was written of them. */
struct whi_shelf {
	alignas(64) struct whi_mpsc blocks;
	_Atomic uint64_t bytes;	  /* memory of `blocks` */
	_Atomic uint64_t rows;	  /* of all; complete once all dealers have ended */
	_Atomic bool claimed;	  /* exchange with acquire pairs with the release after a write */
	struct whi_stream stream; /* the claimer's */
	struct whi_runs runs;	  /* what a large slice has become, instead of all that */
};

struct whi_slices {
	const struct wh_mr_job *job;
	enum wh_mr_order order; /* of slices: by key where the job wants none */
	struct whi_spill *spill;
	size_t block_room; /* of dealers' blocks */
	size_t pool_most;
	uint64_t rows_on_disk;	 /* that are still to come from there, as far as is known */
	uint64_t bytes_expected; /* from memory */
	pthread_mutex_t lock;	 /* of choosing */
	bool spills;		 /* memory is short */
	unsigned count;		 /* 0: not chosen yet */
	/* The first row that does not belong to slice i any more; of count - 1 slices. */
	struct whi_rank *ranks;
	struct wh_mr_row *rows;
	uint8_t *bytes; /* of `rows` */
	struct whi_shelf *shelves;
};

/* For the rows of `store`; where they begin is to be chosen. Returns 0 or -ENOMEM. */
int whi_slices_new(const struct wh_mr_job *job, const struct whi_store *store,
		   struct whi_slices **ret);
void whi_slices_free(struct whi_slices *slices);

/* Choose where up to `count` slices begin, equally large as far as a sample of `parts` can tell,
 * which are reduced and in memory. Returns 0 or -ENOMEM. */
int whi_slices_choose(struct whi_slices *slices, const struct whi_part *parts, unsigned part_count,
		      unsigned count);

/* The slice that a row belongs to. */
unsigned whi_slices_find(const struct whi_slices *slices, const struct whi_rank *rank,
			 const struct wh_mr_row *row);

/* The same for each of some ranks, but for rows that tie with a splitter. */
void whi_slices_find_ranks(const struct whi_slices *slices, const struct whi_rank *ranks,
			   unsigned count, unsigned *ret);

/* Whether a row of that rank, found to be in `slice`, may belong to a later one. */
static inline bool whi_slices_is_tied(const struct whi_slices *slices, unsigned slice,
				      const struct whi_rank *rank)
{
	return slice < slices->count - 1 && !whi_rank_before(rank, &slices->ranks[slice]);
}

/* Deals rows to slices; one a worker. NULL when out of memory. */
struct whi_dealer *whi_dealer_new(struct whi_slices *slices, const _Atomic bool *stop);
void whi_dealer_free(struct whi_dealer *dealer);

/* Deal all rows of a part, which is reduced, and emptied by that. If nobody has chosen where
 * slices begin, it is done by these rows, whose keys are as good as drawn by lot, and memory is
 * taken for short from then on. Returns 0, -errno, or -ECANCELED once `stop` is set. */
int whi_dealer_deal(struct whi_dealer *dealer, struct whi_part *part);

/* There are no more. Returns as whi_dealer_deal. */
int whi_dealer_end(struct whi_dealer *dealer);

/* From here on: all dealers have ended. */

static inline uint64_t whi_slices_rows(const struct whi_slices *slices, unsigned slice)
{
	return atomic_load_explicit(&slices->shelves[slice].rows, memory_order_relaxed);
}

/* If a slice is too large to be sorted in memory, make runs of it that can be merged at once. Any
 * worker. Returns 0, -ECANCELED or -errno. */
int whi_slices_sort_large(struct whi_slices *slices, unsigned slice);

/* The runs of a large slice, or NULL. */
const struct whi_runs *whi_slices_runs(const struct whi_slices *slices, unsigned slice);

/* The blocks of any other slice, from memory and disk, which are the caller's. Any worker. Returns
 * 0, -ECANCELED or -errno. */
int whi_slices_take(struct whi_slices *slices, unsigned slice, struct whi_qnode **ret);
