/*
 * Rows: what a job has found, as the last steps see it. A row is named by a reference, an address
 * with its kind in the low bits, valid as long as the partition it lies in.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/store.h"

struct whi_pair;

/* A row to be sorted: some bytes of it that decide first, and which row. */
struct whi_item {
	uint64_t prefix;
	uint64_t ref;
};

/* The rows of one partition, in the job's order once sorted. */
struct whi_rows {
	const struct whi_part *part;
	struct whi_item *items;
	size_t count;
	enum wh_mr_order order;
	bool has_sums; /* values are numbers, else bytes */
};

/* Look up a reference. */
void whi_row_get(const struct whi_rows *rows, uint64_t ref, struct wh_mr_row *ret);

/* Bring the row's memory closer, before it is looked up. */
void whi_row_fetch(const struct whi_rows *rows, uint64_t ref);

/* The first 8 bytes from `depth` on as a number that sorts as they do; zeros beyond the end. */
uint64_t whi_row_window(const void *bytes, size_t len, size_t depth);

/* Below, equal or above zero as `a` sorts before, with or after `b`. */
int whi_row_compare(const struct whi_rows *rows, const struct wh_mr_row *a,
		    const struct wh_mr_row *b);

/* Collect the counted keys of `part`, not sorted yet. Returns 0 or -ENOMEM. */
int whi_rows_init(struct whi_rows *rows, const struct whi_part *part, enum wh_mr_order order);
void whi_rows_fini(struct whi_rows *rows);

/* Sort. Looks at `stop` now and then and gives up once it is set; the order is then undefined. */
void whi_rows_sort(struct whi_rows *rows, _Atomic bool *stop);
