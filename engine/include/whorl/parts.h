/*
 * Parts: what a job that runs as many processes, on one host or on several, hands from one process
 * to another. Rows are dealt to partitions by a hash of their keys that is the same on every host,
 * and become bytes whose blocks carry checksums.
 *
 * A map task is a job whose output goes to wh_parts_add. A reduce task is a job over the files of
 * one partition, with WH_MR_CUSTOM records, wh_part_record as `record`, and a `map` that calls
 * wh_part_emit. Sorted results of reduce tasks are brought together by wh_parts_merge. `whorl mr`
 * is made of these.
 */
#ifndef WHORL_PARTS_H
#define WHORL_PARTS_H

#include <whorl/mapreduce.h>

enum { WH_PARTS_MAX = 65536 };

struct wh_parts;

/* What all parts of a job agree on. {0} plus `count` is valid: sums. Whoever reduces the parts of a
 * job with WH_MR_COUNT adds them up, with WH_MR_SUM; other values stay what they are. */
struct wh_parts_format {
	uint32_t count; /* of partitions, 1 to WH_PARTS_MAX */
	uint64_t seed;	/* of the hash */
	enum wh_mr_value value;
};

/* What is in a part. */
struct wh_part_sums {
	uint64_t records;
	uint64_t bytes; /* of the whole part, encoded */
	uint64_t count; /* all numbers added up, modulo 2^64 */
};

/* The next bytes of part `part`. A negative result ends the call that led to it with that error. */
typedef int (*wh_parts_write_fn)(void *arg, uint32_t part, struct wh_mr_bytes bytes);

struct wh_parts_opts {
	struct wh_parts_format format;
	wh_parts_write_fn write;
	void *arg;
};

/**
 * Begin to write parts.
 *
 * Returns    0, with the parts in `*ret`.
 * Errors     -EINVAL   `count` is out of range, or there is no `write`
 *            -ENOMEM
 * Ownership  the caller ends with wh_parts_close; `arg` is borrowed until then.
 * Context    any thread, one at a time; blocks as `write` does.
 */
WH_API int wh_parts_open(const struct wh_parts_opts *opts, struct wh_parts **ret);

/**
 * Add rows, each to the partition that its key belongs to.
 *
 * Returns    0.
 * Errors     -ENOMEM, what `write` returned
 * Ownership  rows are copied.
 * Context    as wh_parts_open.
 */
WH_API int wh_parts_add(struct wh_parts *parts, const struct wh_mr_row *rows, size_t count);

/**
 * Write what is left and the end of each of `count` parts from `first` on, and tell what is in
 * them: `sums` has a place for each.
 *
 * Returns    0.
 * Errors     -EINVAL   there are not so many parts, or a part that is not among them has rows
 *            -ENOMEM, what `write` returned
 * Context    as wh_parts_open. Afterwards there is only wh_parts_close.
 */
WH_API int wh_parts_finish(struct wh_parts *parts, uint32_t first, uint32_t count,
			   struct wh_part_sums *sums);

/**
 * Free `parts`, finished or not.
 */
WH_API void wh_parts_close(struct wh_parts *parts);

/* One part, to be read. {0} plus `format` and `index` is valid. */
struct wh_part {
	struct wh_parts_format format;
	uint32_t index;
	/* Called by wh_part_check after each read, with how many bytes that were. A negative result
	 * ends the check. May be NULL. */
	int (*read)(void *arg, size_t len);
	void *arg;
};

/**
 * The length of the block at the beginning of `data`: a wh_mr_record_fn, which makes a block of
 * part of a file one record.
 *
 * Returns    its length, or 0 if it does not end in `data`. What is no block is as long as `data`,
 *            and refused by wh_part_emit.
 * Context    any thread.
 */
WH_API size_t wh_part_record(void *arg, struct wh_mr_bytes data, bool last);

/**
 * Check a block and emit its records, in a job over the files of `part`. Trusts nothing in it.
 *
 * Returns    0.
 * Errors     -EBADMSG   damaged
 *            -EPROTO   of another version, hash or kind of value
 *            as wh_mr_emit
 * Context    `map`, with the emitter it was given.
 */
WH_API int wh_part_emit(const struct wh_part *part, struct wh_mr_bytes block,
			struct wh_mr_emitter *emitter);

/**
 * Read a whole part from a file and check everything about it.
 *
 * Returns    0, with what is in it in `*ret`.
 * Errors     as wh_part_emit, open(2) and read(2); `*ret_why` is then a phrase that says what is
 *            wrong, or NULL if the error says it all
 *            what `part->read` returned
 * Ownership  the phrase is static.
 * Context    any thread; blocks.
 */
WH_API int wh_part_check(const char *path, const struct wh_part *part, struct wh_part_sums *ret,
			 const char **ret_why);

/* Parts to be merged, the rows of each of which are in the same order. {0} plus `format`, `paths`
 * and `output` is valid. */
struct wh_parts_merge {
	struct wh_parts_format format;
	const char *const *paths; /* `format.count` of them: that of part i is at i */
	enum wh_mr_order order;	  /* that rows are in */
	uint64_t rows_max;	  /* stop after so many; 0: all */
	wh_mr_output_fn output;
	void *arg;
	size_t buffer_bytes; /* read at a time from each file; default: 256 KiB, less if many */
};

/**
 * Hand the rows of all parts to `output`, in order.
 *
 * Returns    how many rows that were.
 * Errors     -EINVAL   as wh_parts_open
 *            as wh_part_check, with the index of that part in `*ret_part` and the phrase in
 *            `*ret_why`. A part that is not in order is damaged
 *            -ENOMEM, what `output` returned, with `*ret_part` = UINT32_MAX
 * Context    any thread; blocks.
 */
WH_API int64_t wh_parts_merge(const struct wh_parts_merge *merge, uint32_t *ret_part,
			      const char **ret_why);

#endif
