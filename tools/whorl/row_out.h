/*
 * Rows of counts on their way to a file, in one of the formats that commands print: made into text
 * on any thread, and written in order. The writer keeps the first error; what comes after it is
 * dropped.
 *
 * tsv      key TAB count NEWLINE. Keys are as they are: those that hold tabs or newlines need
 *          another format.
 * csv      RFC 4180: a line with the two names, then a line each, with LF as its end; a key with
 *          a comma, a quote, CR or LF is quoted. Bytes that are not UTF-8 are as they are.
 * json     one object; row_out_end adds its other members. Bytes that are not UTF-8 are
 *          \udc80-\udcff, as Python's surrogateescape has them.
 * binary   "whorlrow", then for each row two 64-bit numbers, little-endian: the length of the key
 *          and the count, and then the key; at the end a length of 0 with the number of rows, so
 *          that what was cut off can be told.
 */
#pragma once

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

enum row_format { ROW_TSV, ROW_CSV, ROW_JSON, ROW_BINARY };

enum { ROW_OUT_BYTES = 64 * 1024 };

struct row_out {
	int fd;
	enum row_format format;
	const char *list;   /* of JSON: what its array is called, "words" */
	const char *key;    /* of JSON and CSV: what a key is called, "word" */
	uint64_t min_count; /* rows with less are left out */
	int error;	    /* -errno of the first write that failed */
	/* Set by a signal handler: a write that it interrupts fails with -ECANCELED. Or NULL. */
	const volatile sig_atomic_t *interrupted;
	_Atomic uint64_t rows;	/* made text of; all threads */
	bool begun;		/* some of them are written */
	struct wh_mr_text text; /* of row_out_put */
	size_t len;
	uint8_t bytes[ROW_OUT_BYTES];
};

/* A member of the JSON object beside the rows. */
struct row_member {
	const char *name;
	uint64_t number;
};

/* The format called `name`. -EINVAL: there is none. */
int row_format_find(const char *name, enum row_format *ret);

/* `fd` is the caller's. `list` and `key` stay where they are. */
void row_out_init(struct row_out *out, int fd, enum row_format format, const char *list,
		  const char *key);

/* As `format` and `write` of a job do: the one on any thread, the other one call after another.
 * Returns 0 or -ENOMEM. */
int row_out_format(struct row_out *out, const struct wh_mr_row *rows, size_t count,
		   struct wh_mr_text *text);

/* Returns 0 or the first error. */
int row_out_write(struct row_out *out, const void *bytes, size_t len);

/* Both in one, where rows do not come from a job; row_out_fini frees what that takes. Returns 0,
 * -ENOMEM or the first error. */
int row_out_put(struct row_out *out, const struct wh_mr_row *rows, size_t count);

/* All rows are there: write what comes after them. `members` is an array that ends with a name of
 * NULL; `partial` says that they are not the whole result. Returns 0 or the first error. */
int row_out_end(struct row_out *out, const struct row_member *members, bool partial);

/* Free what row_out_put holds, written or not. */
void row_out_fini(struct row_out *out);
