/*
 * Rows: what a job has found, as its last steps see it. A row is named by a reference, an address
 * with its kind in the low bits, valid as long as the partition it lies in.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/store.h"

/* A row to be sorted: some of its bytes, as a number that sorts as they do, and which row. */
struct whi_item {
	uint64_t prefix;
	uint64_t ref;
};

/* The rows of one partition. All zero is valid and empty. */
struct whi_rows {
	const struct whi_part *part;
	enum wh_mr_value value;
	struct whi_item *items;
	size_t count;
	size_t all; /* rows that the partition has; these are not always collected */
};

/* Collect the rows of `part`, which has been reduced, in no order. `value` says which rows they
 * are. Returns 0 or -ENOMEM. */
int whi_rows_init(struct whi_rows *rows, const struct whi_part *part, enum wh_mr_value value);

/* The same, without most of the rows that cannot be among the first ones that `job` wants. */
int whi_rows_init_first(struct whi_rows *rows, const struct whi_part *part,
			const struct wh_mr_job *job);
void whi_rows_fini(struct whi_rows *rows);

/* Look a row up. */
void whi_rows_get(const struct whi_rows *rows, uint64_t ref, struct wh_mr_row *ret);

/* Put the rows into the job's order, or as many of the first ones as the job wants. Gives up as
 * soon as `stop` is set; the order is then undefined. */
void whi_rows_sort(struct whi_rows *rows, const struct wh_mr_job *job, const _Atomic bool *stop);

/* Below, equal to or above zero as `a` sorts before, with or after `b`. */
int whi_row_compare(const struct wh_mr_row *a, const struct wh_mr_row *b, enum wh_mr_order order);

/* The 8 bytes from `depth` on as a number that sorts as they do; zeros beyond the end. */
uint64_t whi_row_window(const struct wh_mr_bytes *bytes, size_t depth);
