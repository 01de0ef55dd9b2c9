/*
 * MapReduce: records of files are mapped to keys with values, the values of equal keys come
 * together and are reduced, the rows are put in order and handed over.
 *
 * Counting words is the job that needs no functions of its own, and has a fast path to itself:
 *
 *     struct wh_mr_job job = {
 *             .paths = paths, .path_count = n, .order = WH_MR_BY_VALUE, .output = print_rows,
 *     };
 *     r = wh_mapreduce(&job, NULL);
 */
#ifndef WHORL_MAPREDUCE_H
#define WHORL_MAPREDUCE_H

#include <whorl/api.h>

struct wh_executor;
struct wh_mr_emitter;
struct wh_mr_values;

struct wh_mr_bytes {
	const void *data;
	size_t len;
};

/* What a record is. */
enum wh_mr_records {
	WH_MR_WORDS,  /* between bytes 0x00-0x20, A-Z folded to a-z, any other byte as it is */
	WH_MR_LINES,  /* without the newline; the last one needs none */
	WH_MR_CUSTOM, /* what the job's `record` says; one file is then read by one worker */
};

/* What a value is. */
enum wh_mr_value {
	WH_MR_SUM,   /* a uint64_t; values of equal keys are added up, there is nothing to reduce */
	WH_MR_BYTES, /* any bytes */
};

/* How rows are ordered: the same rows in the same order, whatever the number of workers. */
enum wh_mr_order {
	WH_MR_UNORDERED,
	WH_MR_BY_KEY,	/* keys bytewise ascending, then values */
	WH_MR_BY_VALUE, /* sums descending, bytes ascending; then keys bytewise ascending */
};

struct wh_mr_row {
	struct wh_mr_bytes key;
	struct wh_mr_bytes value; /* of a job with WH_MR_BYTES */
	uint64_t sum;		  /* of a job with WH_MR_SUM */
};

struct wh_mr_stats {
	uint64_t bytes_done;   /* read and mapped */
	uint64_t bytes_total;  /* to be read, as far as known; 0 while there is an endless input */
	uint64_t records;      /* words, or values emitted by `map` */
	uint64_t keys;	       /* distinct; once all is reduced */
	uint64_t rows;	       /* handed to `output` */
	uint64_t files;	       /* found */
	uint64_t files_failed; /* of these, those reported to `file_error` */
	uint64_t map_ns;       /* how long the phases took */
	uint64_t reduce_ns;    /* with sorting inside partitions */
	uint64_t output_ns;    /* with merging, and the time spent in `output` */
	unsigned workers;
	const char *isa; /* of the word kernel: "avx512", "avx2", "sse2", "neon" or "scalar" */
};

/*
 * Each function gets the job's `arg`. `map`, `combine`, `reduce`, `record` and `output` run on
 * threads of the executor, must not call anything that suspends, and, except for `output`, run on
 * several threads at once. A negative result ends the job with that error. Bytes they are given
 * are valid until they return.
 */
typedef int (*wh_mr_map_fn)(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter);
typedef int (*wh_mr_reduce_fn)(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
			       struct wh_mr_emitter *emitter);

/* The length of the first record in `data`, which begins at a record. 0: it does not end in `data`;
 * if `last` is true no more is to come, and 0 makes the rest one record. */
typedef size_t (*wh_mr_record_fn)(void *arg, struct wh_mr_bytes data, bool last);

/* The next rows, in order. */
typedef int (*wh_mr_output_fn)(void *arg, const struct wh_mr_row *rows, size_t count);

/* `path` could not be read, or not to its end; `err` is -errno. On the caller's loop. */
typedef void (*wh_mr_file_error_fn)(void *arg, const char *path, int err);

/* How far the job is. On the caller's loop; must not suspend. */
typedef void (*wh_mr_progress_fn)(void *arg, const struct wh_mr_stats *stats);

/* {0} plus `paths` and `path_count` is valid: it counts words and tells only the statistics. */
struct wh_mr_job {
	const char *const *paths; /* files, directories (all regular files below), or "-": standard
				     input */
	size_t path_count;
	void *arg;

	enum wh_mr_records records;
	enum wh_mr_value value;
	enum wh_mr_order order;
	wh_mr_record_fn record;	 /* of WH_MR_CUSTOM */
	wh_mr_map_fn map;	 /* default: the record is the key; its value the sum 1, or empty */
	wh_mr_reduce_fn combine; /* of WH_MR_BYTES: brings some values of a key together early, on
				    the worker that emitted them. Optional */
	wh_mr_reduce_fn reduce;	 /* of WH_MR_BYTES: emits a key's rows; default: one a value */
	uint64_t rows_max;	 /* stop after so many rows; 0: all */

	wh_mr_output_fn output;
	wh_mr_file_error_fn file_error;
	wh_mr_progress_fn progress;
	uint64_t progress_ns; /* between two calls; default 100 ms */

	struct wh_executor *executor; /* default: one of its own */
	uint32_t workers;	      /* threads of the job's own executor; default: CPUs allowed */
	uint32_t split_bytes;	      /* what a worker takes at a time; default: up to 4 MiB */
	uint32_t record_max;	      /* longest record in bytes; 0: as memory allows */
	bool partial;		      /* when cancelled, still reduce and put out what was mapped */
	const char *isa;	      /* word kernel; default: $WHORL_ISA, else the best */
};

/**
 * Run `job`.
 *
 * Files are read as far as they were long when the job began, and less if they shrink meanwhile;
 * what cannot be read is told to `file_error` and the rest is done.
 *
 * Suspends   the calling task until it is done; a cancelled job stops within milliseconds.
 * Returns    0, with the figures in `*ret` (may be NULL); see `files_failed` in them.
 * Errors     `*ret` is set in these cases too:
 *            -EINVAL   a combination of options that makes no sense; no such `isa`
 *            -ENOTSUP   this processor cannot run `isa`
 *            -ENOMEM, -EAGAIN   out of memory or threads
 *            -EMSGSIZE   a record longer than `record_max`
 *            -ECANCELED, -ETIMEDOUT   stopped; without `partial` nothing was put out
 *            what one of the job's functions returned
 * Ownership  everything in `job` is borrowed until return.
 * Context    a task.
 */
WH_API int wh_mapreduce(const struct wh_mr_job *job, struct wh_mr_stats *ret);

/**
 * Emit a key with a number, in a job with WH_MR_SUM.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are bytes
 * Ownership  `key` is copied.
 * Context    `map`, with the emitter it was given.
 */
WH_API int wh_mr_emit_sum(struct wh_mr_emitter *emitter, const void *key, size_t key_len,
			  uint64_t number);

/**
 * Emit a key with a value, in a job with WH_MR_BYTES.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are numbers
 * Ownership  both are copied.
 * Context    `map`, `combine` or `reduce`, with the emitter it was given.
 */
WH_API int wh_mr_emit(struct wh_mr_emitter *emitter, struct wh_mr_bytes key,
		      struct wh_mr_bytes value);

/**
 * Take the next of a key's values, which come in no particular order.
 *
 * Returns    false when there is none left.
 * Ownership  `ret->data` is valid until the function that was given `values` returns.
 */
WH_API bool wh_mr_next(struct wh_mr_values *values, struct wh_mr_bytes *ret);

#endif
