/*
 * Sorts more rows than memory has room for: they are gathered, sorted when the memory is full, and
 * written as a run.
 */
#pragma once

#include "mapreduce/merge.h"
#include "mapreduce/slices.h"

struct whi_sorter {
	struct whi_spill *spill;
	struct wh_mr_job job; /* its order, and how many rows of it are wanted; the rest as given */
	bool combines;	      /* numbers of equal keys; they are sorted by key */
	enum whi_combine combine;
	struct whi_runs *runs;	   /* where they go, */
	struct whi_dealer *dealer; /* unless they are dealt to slices as they come */
	struct whi_part part;	   /* gathered; never in the store */
	uint64_t bytes;
};

/* Rows go to `runs` in `order`. */
void whi_sorter_init(struct whi_sorter *sorter, struct whi_spill *spill,
		     const struct wh_mr_job *job, enum wh_mr_order order, struct whi_runs *runs);
void whi_sorter_fini(struct whi_sorter *sorter);

/* Keep a copy of a row, however many there are. Returns 0 or -ENOMEM. */
int whi_sorter_keep(struct whi_sorter *sorter, const struct wh_mr_row *row);

/* The same, but they go when there are too many. Returns 0, -ECANCELED or -errno. */
int whi_sorter_add(struct whi_sorter *sorter, const struct wh_mr_row *row);

/* There are no more. Returns as whi_sorter_add. */
int whi_sorter_end(struct whi_sorter *sorter);

/* Sort the rows of `part`, which is not the store's any more, and write them as a run. Returns as
 * whi_sorter_add. */
int whi_sort_to_disk(const struct whi_part *part, const struct wh_mr_job *job,
		     struct whi_spill *spill, struct whi_runs *runs);
