/* A job that is running, for the files that share the work of wh_mapreduce. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <whorl/exec.h>
#include <whorl/mapreduce.h>

#include "mapreduce/decompress_map.h"
#include "mapreduce/input.h"
#include "mapreduce/mapper.h"
#include "mapreduce/ngram_told.h"
#include "mapreduce/output.h"
#include "mapreduce/pass.h"
#include "mapreduce/resume.h"
#include "mapreduce/slices.h"
#include "mapreduce/source.h"
#include "mapreduce/walk.h"

struct whi_mr {
	const struct wh_mr_job *job;
	struct wh_executor *executor;
	struct whi_mapper_job shared;
	struct whi_ngram_shared ngram;
	struct whi_store *store;
	struct whi_input input;
	struct whi_walk walk;
	unsigned workers;

	/* On the caller's loop. */
	size_t next_split;
	size_t end_split;		   /* of those that may be mapped now */
	size_t batch_split;		   /* where the batch began that is being mapped */
	uint64_t split_bytes;		   /* how files were cut, */
	unsigned split_workers;		   /* and for how many */
	bool shielded;			   /* the job goes on to its end, cancelled or not */
	struct whi_ngram_told ngrams_told; /* by other processes, and by those before this one */
	struct wh_mr_stats stats;

	/* Any thread. */
	_Atomic bool
		stop; /* work in progress gives up; set when the job is cancelled or has failed */
	_Atomic uint64_t bytes_done;
	_Atomic uint64_t bytes_unpacked;
	struct whi_times times;		     /* if the job explains itself */
	struct whi_front_times remote_times; /* of other processes; on the caller's loop */
	uint64_t phase_wall_ns;		     /* when this phase began */
	uint64_t phase_cpu_ns;
	_Atomic uint64_t phase_done; /* files found, parts reduced, or rows put out */
	_Atomic uint64_t next_block; /* of what the job's `generate` makes */
	_Atomic uint64_t end_block;
	struct whi_why why;
	_Atomic unsigned next_part; /* or slice: what workers take one by one */
	pthread_mutex_t lock;	    /* of the lists of mappers */
	struct whi_mapper *mappers;
	struct whi_mapper *mappers_free; /* the one used last first: its memory is in a cache */

	struct whi_spill spill;
	struct whi_resume resume;
	struct whi_runs runs[WHI_PARTS]; /* what partitions have become, but for those in memory */
	uint64_t part_rows[WHI_PARTS];	 /* before any were left out */
	uint64_t part_bytes[WHI_PARTS];	 /* of them; 0 if they became runs on disk */
	struct whi_output output;
	bool deals;		   /* what leaves memory goes to slices, not to `runs` */
	struct whi_slices *slices; /* none chosen: partitions are slices */
	unsigned slice_count;
	uint64_t slice_begins[WHI_SLICES_MAX + 1]; /* rows before each of them */
	struct whi_turns turns;
	_Atomic uint64_t deal_ns; /* of all workers together */
};

/* A mapper that nobody else uses, NULL when out of memory. Any thread. */
struct whi_mapper *whi_mr_take_mapper(struct whi_mr *mr);
void whi_mr_put_mapper(struct whi_mr *mr, struct whi_mapper *mapper);

/* A mapper that there is already, NULL if there is none. Any thread. */
struct whi_mapper *whi_mr_pop_mapper(struct whi_mr *mr);

/* All is mapped: reduce it and put it out. Suspends. Returns 0 or the job's error. */
int whi_mr_finish(struct whi_mr *mr);

/* Why the job cannot go on, if temporary files or the partitions say so, else `r`. */
int whi_mr_spill_error(struct whi_mr *mr, int r);
void whi_mr_spill_stats(struct whi_mr *mr);

/* Run `fn(arg)` on the executor. Returns what it returned, or why it was not run. Suspends. */
int whi_mr_offload(struct whi_mr *mr, wh_job_fn fn, void *arg);

/* Run `fn(mr)` on every worker at once. Suspends. Returns the first error. */
int whi_mr_on_workers(struct whi_mr *mr, wh_job_fn fn);

/* Which of two results says why: an interruption is often but the consequence of another error. */
int whi_mr_error(int r, int closed);

/* Tell the job's file_error, once a file. On the caller's loop. */
void whi_mr_file_failed(struct whi_mr *mr, struct whi_file *file, int error);

/* The same for a compressed file: `unpack` says what is wrong, and where. */
void whi_mr_file_damaged(struct whi_mr *mr, struct whi_file *file, const struct whi_unpack *unpack);

/* The next phase begins; `total`: of what it does, 0 if not known. On the caller's loop. */
void whi_mr_phase(struct whi_mr *mr, enum wh_mr_phase phase, uint64_t total);

/* All is mapped: work out `times`, while the mappers are still there. */
void whi_mr_explain_map(struct whi_mr *mr);

/* Fill in `skew`, once all partitions are reduced. */
void whi_mr_explain_skew(struct whi_mr *mr);

/* Add what has been decoded to the progress. Any thread. */
void whi_mr_count_packed(struct whi_mr *mr, struct whi_packed *packed);

/* Whether compressed files are decoded: not where a file is a record as it is. */
bool whi_mr_unpacks(const struct whi_mr *mr);

/* Add what somebody has met in ngram files to `told`, of the same job. */
void whi_mr_ngrams_add(const struct whi_mr *mr, struct whi_ngram_told *told,
		       const struct whi_ngram_told *more);

/* What mapping ngram files has come to, while no worker maps. */
struct whi_ngram_told whi_mr_ngrams_told(const struct whi_mr *mr);

/* All is mapped: that goes to the figures, and the first bad line is told. On the caller's loop. */
void whi_mr_ngrams_mapped(struct whi_mr *mr);

/* Map all files that are not streams. Suspends. Returns 0 or the job's error. */
int whi_mr_map_files(struct whi_mr *mr);

/* Map all streams, one after another. Suspends. Returns 0 or the job's error. */
int whi_mr_map_streams(struct whi_mr *mr);

/* Map all files, each as one record. Suspends. Returns 0 or the job's error. */
int whi_mr_map_whole(struct whi_mr *mr);

/* The streams alone. */
int whi_mr_map_whole_streams(struct whi_mr *mr);

/* Map files and what `generate` makes in other processes. Suspends. Returns 0 or the job's
 * error. */
int whi_mr_map_processes(struct whi_mr *mr);

/* What becomes of the numbers of equal keys. */
enum whi_combine whi_combine_of(const struct wh_mr_job *job);

/* Map what `generate` makes, if the job has one. Suspends. Returns 0 or the job's error. */
int whi_mr_map_generated(struct whi_mr *mr);
