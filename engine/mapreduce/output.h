/*
 * The last way of the rows: to the job's `output`, or through `format` to `write`. They come from
 * sorted runs, one after another; or in slices, which workers sort and format, each one by itself,
 * and put out in turn.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <whorl/mapreduce.h>

#include "mapreduce/run.h"

/* What becomes of the rows. With slices, whose turn it is has it. */
struct whi_output {
	const struct wh_mr_job *job;
	struct whi_spill *spill;
	uint64_t rows;		/* put out */
	_Atomic uint64_t *done; /* the same, for others to see meanwhile; NULL: nobody looks */
	uint64_t format_ns;	/* in the job's functions */
	uint64_t write_ns;
};

/* Put out the rows of `runs` in the job's order, which each run is in; the first `wanted` of them.
 * Returns 0, the first negative result of a function, -ECANCELED, or -errno. */
int whi_runs_output(const struct whi_run *runs, size_t count, uint64_t wanted,
		    struct whi_output *output);

/* Some rows that follow one another. All zero is valid and empty. */
struct whi_slice {
	struct whi_rows rows;
	struct whi_qnode *blocks;    /* that hold them */
	const struct whi_runs *runs; /* of a large one, which are merged as they are put out */
	size_t wanted;		     /* the first ones, no more than there are */
	struct wh_mr_text text;	     /* what has been made of them */
	uint64_t format_ns;
};

/* Take the blocks of a slice, which hold `rows` rows at most. Returns 0 or -ENOMEM; the blocks are
 * the slice's either way. */
int whi_slice_init(struct whi_slice *slice, const struct wh_mr_job *job, struct whi_qnode *blocks,
		   size_t rows);
void whi_slice_fini(struct whi_slice *slice);

/* Sort and format it. Any worker. Returns as whi_runs_output. */
int whi_slice_make(struct whi_slice *slice, const struct whi_output *output);

/* Who puts out next. Slices are numbered from 0 on and begun in that order. */
struct whi_turns {
	struct whi_output *output;
	pthread_mutex_t lock;
	pthread_cond_t passed;	/* `next` has moved on, or there is an error */
	unsigned next;		/* slice to be put out */
	bool busy;		/* somebody is putting out */
	int error;		/* the first one */
	unsigned room;		/* how many slices may be ahead */
	struct whi_slice *made; /* of number i at i % room */
	bool *is_made;
	struct wh_mr_text *spare; /* to be written to again */
	unsigned spare_count;	  /* up to `room` */
};

/* Returns 0 or -ENOMEM. */
int whi_turns_init(struct whi_turns *turns, struct whi_output *output, unsigned workers);
void whi_turns_fini(struct whi_turns *turns);

/* A text to write to, from an earlier slice if there is one. */
struct wh_mr_text whi_turns_text(struct whi_turns *turns);

/* Slice `number` is made: it is put out when its turn comes, by whoever makes it come, and belongs
 * to `turns` until then. Waits only for slices that were begun before. Returns 0, or the error that
 * has ended all turns. */
int whi_turns_put(struct whi_turns *turns, unsigned number, struct whi_slice *slice);

/* Nothing more is put out. Returns the error, or an earlier one. */
int whi_turns_fail(struct whi_turns *turns, int error);
