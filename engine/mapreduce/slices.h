/*
 * Slices: all rows of a job, dealt anew, so that each slice holds what comes before every row of
 * the next one. Whoever sorts a slice has the place of its rows in the output, and nothing is left
 * to be merged. Partitions are emptied as their rows are dealt: there is no second copy.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mapreduce/rows.h"
#include "mapreduce/store.h"

enum { WHI_SLICES_MAX = WHI_PARTS };

struct whi_slices {
	enum wh_mr_order order;
	enum wh_mr_value value;
	unsigned count;
	/* The first row that does not belong to slice i any more; of count - 1 slices. */
	struct whi_rank ranks[WHI_SLICES_MAX];
	struct wh_mr_row rows[WHI_SLICES_MAX];
	uint8_t *bytes;	      /* of `rows` */
	struct whi_store *to; /* its partitions are the slices, and never merged */
	_Atomic uint64_t row_counts[WHI_SLICES_MAX];
};

/* Make up to `count` slices, equally large as far as a sample of the rows can tell, for the rows of
 * all partitions of `from`, which are reduced, sealed, and in memory. The order is not
 * WH_MR_UNORDERED. Returns 0 or -ENOMEM. */
int whi_slices_new(const struct wh_mr_job *job, const struct whi_store *from, unsigned count,
		   struct whi_slices **ret);
void whi_slices_free(struct whi_slices *slices);

/* Deal the rows of a partition, which is emptied; all of them with the same writer to `slices->to`,
 * one a worker. Any worker. Returns 0, -ENOMEM, or -ECANCELED once `stop` is set. */
int whi_slices_deal(struct whi_slices *slices, struct whi_writer *writer, struct whi_part *part,
		    const _Atomic bool *stop);

/* The blocks of a slice, which are the caller's, once all is dealt and all writers are flushed. */
struct whi_qnode *whi_slices_take(struct whi_slices *slices, unsigned slice);

/* The slice that a row belongs to. */
unsigned whi_slices_find(const struct whi_slices *slices, const struct whi_rank *rank,
			 const struct wh_mr_row *row);
