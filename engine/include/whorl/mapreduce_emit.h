/*
 * What the functions of a MapReduce job call: what they emit, the values and bytes they take, and
 * where a record comes from. Part of <whorl/mapreduce.h>.
 */
#ifndef WHORL_MAPREDUCE_EMIT_H
#define WHORL_MAPREDUCE_EMIT_H

#include <whorl/api.h>

struct wh_mr_emitter;
struct wh_mr_values;

struct wh_mr_bytes {
	const void *data;
	size_t len;
};

/* Where a record begins. */
struct wh_mr_origin {
	const char *path; /* "-": standard input; NULL: what `generate` made */
	uint64_t block;	  /* of what `generate` made */
	uint64_t offset;  /* in bytes: of the file (of its contents, if it is compressed), or of the
			     block */
};

/* Bytes that are made of rows. */
struct wh_mr_text {
	uint8_t *bytes;
	size_t len;  /* `format` writes behind these, and adds what it has written; */
	size_t room; /* not beyond this: see wh_mr_text_more */
};

/**
 * What wh_mr_emit_number does, as a call: for languages that cannot read what is inlined here.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are bytes, or neither `map` nor `map_batch`
 *                      emits
 * Ownership  `key` is copied.
 * Context    `map` or `map_batch`, with the emitter it was given.
 */
WH_API int wh_mr_emit_number_now(struct wh_mr_emitter *emitter, const void *key, size_t key_len,
				 uint64_t number);

enum { WH_MR_GATHER_MAX = 16 }; /* bytes of a key */

/* A key that was emitted, by where it is in what is being mapped. */
struct wh_mr_gathered {
	uint32_t offset;
	uint32_t len;
	uint64_t number;
};

/* What an emitter begins with: part of the binary interface, and of no use but for
 * wh_mr_emit_number. */
struct wh_mr_gather {
	struct wh_mr_gathered *at;
	struct wh_mr_gathered *end;
	uintptr_t block;
	size_t block_len;
};

/**
 * Emit a key with a number, in a job whose values are numbers.
 *
 * It is inlined: a key of up to 16 bytes inside of a record is written down by where it
 * is, which takes nanoseconds less than copying it does, and keys are looked up many at a time. So
 * numbers are on their way for a while: what was wrong with one may be told by a later call, or be
 * the result of the job.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are bytes, or neither `map` nor `map_batch`
 *                      emits
 * Ownership  `key` may change once the call is back, unless it is part of the record.
 * Context    `map` or `map_batch`, with the emitter it was given.
 */
static inline int wh_mr_emit_number(struct wh_mr_emitter *emitter, const void *key, size_t key_len,
				    uint64_t number)
{
	struct wh_mr_gather *gather = (struct wh_mr_gather *)(void *)emitter;
	struct wh_mr_gathered *at = gather->at;
	size_t offset = (uintptr_t)key - gather->block;

	if (offset >= gather->block_len || key_len - 1 >= WH_MR_GATHER_MAX || at == gather->end)
		return wh_mr_emit_number_now(emitter, key, key_len, number);
	at->offset = (uint32_t)offset;
	at->len = (uint32_t)key_len;
	at->number = number;
	gather->at = at + 1;
	return 0;
}

/**
 * Emit `count` keys, each with its number; where `numbers` is NULL, with 1. Keys inside of records
 * are looked up where they are, many at a time: a job that emits the records of a `map_batch` so
 * takes 1.2 to 1.3 times as long as the one that counts words without a function in between.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are bytes, or neither `map` nor `map_batch`
 *                      emits
 * Ownership  keys that are not part of a record are copied.
 * Context    `map` or `map_batch`, with the emitter it was given.
 */
WH_API int wh_mr_emit_numbers(struct wh_mr_emitter *emitter, const struct wh_mr_bytes *keys,
			      const uint64_t *numbers, size_t count);

/**
 * Emit each word of `text`, as WH_MR_WORDS has them, in a job with WH_MR_COUNT. It costs what
 * counting the words of a file costs.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are others
 * Ownership  `text` is copied.
 * Context    `map` or `map_batch`, with the emitter it was given.
 */
WH_API int wh_mr_emit_words(struct wh_mr_emitter *emitter, struct wh_mr_bytes text);

/**
 * Emit a key with a value, in a job with WH_MR_BYTES.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are numbers
 * Ownership  both are copied.
 * Context    `map`, `map_batch`, `combine` or `reduce`, with the emitter it was given.
 */
WH_API int wh_mr_emit(struct wh_mr_emitter *emitter, struct wh_mr_bytes key,
		      struct wh_mr_bytes value);

/**
 * Make room for at least `len` more bytes in a text, whose bytes may move.
 *
 * Returns    0.
 * Errors     -ENOMEM   the text is as it was
 * Context    `format`, with the text it was given; any thread, with a text of its own, which is {0}
 *            at first.
 */
WH_API int wh_mr_text_more(struct wh_mr_text *text, size_t len);

/** Free the bytes of a text of one's own, which is {0} then. */
WH_API void wh_mr_text_free(struct wh_mr_text *text);

/**
 * Take the next of a key's values, which come in no particular order.
 *
 * Returns    false when there is none left.
 * Ownership  `ret->data` is valid until the next call: the values of a key may be more than memory
 *            has room for.
 */
WH_API bool wh_mr_next(struct wh_mr_values *values, struct wh_mr_bytes *ret);

/**
 * Take the next bytes of the file that is the record, in a job with WH_MR_FILES. Blocks its thread
 * if they have to be fetched from a device.
 *
 * Returns    1, with some bytes in `*ret`; 0 at the end.
 * Errors     What is returned is told to `file_error`; when `map` returns a negative result after
 *            one, only that file counts as failed, and the job goes on.
 *            -ESTALE   the end is there, but the file has changed since it was opened
 *            -EINVAL   the job's records are no files
 *            -ECANCELED   the job is to end
 *            as read(2)
 * Ownership  `ret->data` is valid until the next call, or until `map` returns.
 * Context    `map`, with the emitter it was given.
 */
WH_API int wh_mr_read(struct wh_mr_emitter *emitter, struct wh_mr_bytes *ret);

/**
 * Where the record comes from that `map` was given; of `map_batch`, the first one.
 *
 * Ownership  `ret->path` is valid until the job is done.
 * Context    `map` or `map_batch`, with the emitter it was given.
 */
WH_API void wh_mr_origin(const struct wh_mr_emitter *emitter, struct wh_mr_origin *ret);

/**
 * Where a byte comes from, at `at` in a record that `map` or `map_batch` was given. In words that
 * were rewritten, as `unicode` may ask for, it is some kilobytes further on at most.
 *
 * Ownership  `ret->path` is valid until the job is done.
 * Context    `map` or `map_batch`, with the emitter it was given.
 */
WH_API void wh_mr_origin_of(const struct wh_mr_emitter *emitter, const void *at,
			    struct wh_mr_origin *ret);

/**
 * Whether the job is to end: it was cancelled, or has failed elsewhere. For functions that take
 * longer than a few milliseconds.
 *
 * Context    `map`, `map_batch`, `combine` or `reduce`, with the emitter it was given.
 */
WH_API bool wh_mr_stopped(const struct wh_mr_emitter *emitter);

#endif
