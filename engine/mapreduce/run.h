/*
 * Runs: sorted rows one after another, so that bringing the partitions together reads memory or a
 * file in order, and the tables they came from can be freed.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/rows.h"
#include "mapreduce/spill.h"

/* All zero is valid and empty. */
struct whi_run {
	uint8_t *data; /* records as in a block: long ones, or pairs */
	size_t len;
	size_t count; /* rows */
	enum wh_mr_value value;
	struct whi_stream stream; /* if it is on disk, it is here and not in `data` */
};

/* Write the first rows of `rows`, at most `max` of them, to memory. Returns 0 or -ENOMEM. */
int whi_run_init(struct whi_run *run, const struct whi_rows *rows, size_t max);
void whi_run_fini(struct whi_run *run);

/* Writes a run to disk, row by row. */
struct whi_run_writer {
	struct whi_run *run;
	struct whi_stream_writer stream;
};

void whi_run_writer_init(struct whi_run_writer *writer, struct whi_run *run,
			 struct whi_spill *spill);
int whi_run_add(struct whi_run_writer *writer, const struct wh_mr_row *row);

/* No more rows, or they are not wanted. Returns 0 or -errno. */
int whi_run_writer_end(struct whi_run_writer *writer);
void whi_run_writer_fini(struct whi_run_writer *writer);

/* As whi_run_init, to disk. Returns 0, -ECANCELED once `stop` is set, or -errno. */
int whi_run_write(struct whi_run *run, const struct whi_rows *rows, size_t max,
		  struct whi_spill *spill);

/* Where one is in a run. */
struct whi_cursor {
	const struct whi_run *run;
	size_t at;			 /* in memory */
	struct whi_stream_reader reader; /* on disk */
};

void whi_cursor_init(struct whi_cursor *cursor, const struct whi_run *run, size_t chunk_bytes);
void whi_cursor_fini(struct whi_cursor *cursor);

/* Read the next row. Returns 1, 0 at the end, or -errno. */
int whi_cursor_next(struct whi_cursor *cursor, struct wh_mr_row *ret);

/* Whether the next row takes the place of those that were read before. */
static inline bool whi_cursor_is_dry(const struct whi_cursor *cursor)
{
	return !cursor->run->data && whi_stream_is_dry(&cursor->reader);
}

/* All zero is valid and empty. */
struct whi_runs {
	struct whi_run *items;
	size_t count;
	size_t room;
};

/* Add a run, which belongs to `runs` then, or is freed. Empty ones are not kept. Returns 0 or
 * -ENOMEM. */
int whi_runs_add(struct whi_runs *runs, struct whi_run *run);
void whi_runs_fini(struct whi_runs *runs);
