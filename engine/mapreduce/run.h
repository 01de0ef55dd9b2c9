/*
 * Runs: the rows of a partition, sorted and written one after another, so that bringing the
 * partitions together reads memory in order, and the tables they came from can be freed.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/rows.h"

/* All zero is valid and empty. */
struct whi_run {
	uint8_t *data;
	size_t len;
	size_t count; /* rows */
	enum wh_mr_value value;
};

/* Write the first rows of `rows`, at most `max` of them. Returns 0 or -ENOMEM. */
int whi_run_init(struct whi_run *run, const struct whi_rows *rows, size_t max);
void whi_run_fini(struct whi_run *run);

/* Read the row at `at`, and move `at` to the next one. Returns false at the end. */
bool whi_run_next(const struct whi_run *run, size_t *at, struct wh_mr_row *ret);

/* Hand the rows of `runs`, an array of WHI_PARTS, to the job's output in its order, which each is
 * in; at most as many as the job wants. Returns how many, or the first negative result of the
 * output, or -ECANCELED once `stop` is set, or -ENOMEM. */
int64_t whi_runs_output(const struct whi_run *runs, const struct wh_mr_job *job,
			const _Atomic bool *stop);
