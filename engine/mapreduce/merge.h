/*
 * Brings sorted runs together: a tree of losers, one leaf a run.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <whorl/mapreduce.h>

#include "mapreduce/run.h"

struct whi_merge;

static inline bool whi_key_equal(const struct wh_mr_bytes *a, const struct wh_mr_bytes *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static inline bool whi_row_same_key(const struct wh_mr_row *a, const struct wh_mr_row *b)
{
	return whi_key_equal(&a->key, &b->key);
}

/* Begin with `count` runs, each in `order`, reading `chunk_bytes` at a time of those on disk.
 * Returns 0 or -errno. */
int whi_merge_open(const struct whi_run *runs, size_t count, enum wh_mr_order order,
		   size_t chunk_bytes, struct whi_merge **ret);
void whi_merge_close(struct whi_merge *merge);

/* The row that comes next, NULL at the end. Rows are valid until whi_merge_next is called while
 * whi_merge_is_dry. */
const struct wh_mr_row *whi_merge_row(const struct whi_merge *merge);
bool whi_merge_is_dry(const struct whi_merge *merge);

/* Go on to the row after it. Returns 0 or -errno. */
int whi_merge_next(struct whi_merge *merge);

/* Merge runs on disk until there are at most `most`, of at most `rows_max` rows each; 0: all. By
 * one of the job's workers. Returns 0 or -errno. */
int whi_runs_merge(struct whi_runs *runs, enum wh_mr_order order, size_t most, uint64_t rows_max,
		   struct whi_spill *spill);
