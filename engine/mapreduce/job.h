/* A job that is running, for the files that share the work of wh_mapreduce. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <whorl/exec.h>
#include <whorl/mapreduce.h>

#include "mapreduce/input.h"
#include "mapreduce/mapper.h"
#include "mapreduce/run.h"
#include "mapreduce/source.h"

struct whi_mr {
	const struct wh_mr_job *job;
	struct wh_executor *executor;
	struct whi_mapper_job shared;
	struct whi_store *store;
	struct whi_input input;
	unsigned workers;

	/* On the caller's loop. */
	size_t next_split;
	bool shielded; /* the job goes on to its end, cancelled or not */
	struct wh_mr_stats stats;

	/* Any thread. */
	_Atomic bool
		stop; /* work in progress gives up; set when the job is cancelled or has failed */
	_Atomic uint64_t bytes_done;
	_Atomic unsigned next_part;
	_Atomic uint64_t keys;
	uint64_t rows_done;   /* written by the one that puts them out */
	pthread_mutex_t lock; /* of the lists of mappers */
	struct whi_mapper *mappers;
	struct whi_mapper *mappers_free; /* the one used last first: its memory is in a cache */

	struct whi_run runs[WHI_PARTS]; /* what the partitions have become */
};

/* A mapper that nobody else uses, NULL when out of memory. Any thread. */
struct whi_mapper *whi_mr_take_mapper(struct whi_mr *mr);
void whi_mr_put_mapper(struct whi_mr *mr, struct whi_mapper *mapper);

/* Run `fn(arg)` on the executor. Returns what it returned, or why it was not run. Suspends. */
int whi_mr_offload(struct whi_mr *mr, wh_job_fn fn, void *arg);

/* Which of two results says why: an interruption is often but the consequence of another error. */
int whi_mr_error(int r, int closed);

/* Tell the job's file_error, once a file. On the caller's loop. */
void whi_mr_file_failed(struct whi_mr *mr, struct whi_file *file, int error);

/* Map all files that are not streams. Suspends. Returns 0 or the job's error. */
int whi_mr_map_files(struct whi_mr *mr);

/* Map all streams, one after another. Suspends. Returns 0 or the job's error. */
int whi_mr_map_streams(struct whi_mr *mr);
