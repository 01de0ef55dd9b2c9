/*
 * Rows: what a job has found, as its last steps see it. A row is named by a reference, an address
 * with its kind in the low bits, valid as long as the partition it lies in.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
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

/* The same for a chain of blocks that hold `count` rows at most. */
int whi_rows_init_blocks(struct whi_rows *rows, const struct whi_qnode *chain, size_t count,
			 enum wh_mr_value value);

/* The same, without most of the rows that cannot be among the first ones that `job` wants. */
int whi_rows_init_first(struct whi_rows *rows, const struct whi_part *part,
			const struct wh_mr_job *job);
void whi_rows_fini(struct whi_rows *rows);

/* Look a row up. */
void whi_rows_get(const struct whi_rows *rows, uint64_t ref, struct wh_mr_row *ret);

/* Add references to up to `most` rows of `part` that were seen at about the same time, from 0 (when
 * it was empty) to 255, to those that are there. `rows->items` has room for them. */
void whi_rows_sample(struct whi_rows *rows, const struct whi_part *part, unsigned when,
		     size_t most);

/* How many rows a reduced partition has, and the bytes of their records. */
size_t whi_part_rows(const struct whi_part *part, enum wh_mr_value value);
uint64_t whi_part_used(const struct whi_part *part);

/* All blocks of rows of a partition whose tables rest, as a chain; they are the caller's. */
struct whi_qnode *whi_part_take_blocks(struct whi_part *part);

/* What a record says, and how long it is. */
size_t whi_row_of_short(const struct whi_short *record, struct wh_mr_row *ret);
size_t whi_row_of_long(const struct whi_long *record, struct wh_mr_row *ret);
size_t whi_row_of_pair(const struct whi_pair *record, struct wh_mr_row *ret);

/* Put the rows into the job's order, or as many of the first ones as the job wants. Gives up as
 * soon as `stop` is set; the order is then undefined. */
void whi_rows_sort(struct whi_rows *rows, const struct wh_mr_job *job, const _Atomic bool *stop);

/* Below, equal to or above zero as `a` sorts before, with or after `b`. */
int whi_row_compare(const struct wh_mr_row *a, const struct wh_mr_row *b, enum wh_mr_order order);

/* What decides between most rows: the lesser one sorts before. Between equal ones the rows
 * themselves do. */
struct whi_rank {
	uint64_t first;
	uint64_t second;
};

static inline bool whi_rank_before(const struct whi_rank *a, const struct whi_rank *b)
{
	uint64_t none;
	bool borrow = __builtin_sub_overflow(a->second, b->second, &none);

	/* As a subtraction of 128 bits; without a jump, which nobody could predict. */
	return __builtin_sub_overflow(a->first, b->first, &none) |
	       ((a->first == b->first) & borrow);
}

/* Of a row whose value is a `value`, in a job with an order. */
struct whi_rank whi_row_rank(const struct wh_mr_row *row, enum wh_mr_value value,
			     enum wh_mr_order order);

/* The 8 bytes from `depth` on as a number that sorts as they do; zeros beyond the end. */
uint64_t whi_row_window(const struct wh_mr_bytes *bytes, size_t depth);
