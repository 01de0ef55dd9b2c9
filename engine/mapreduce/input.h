/* What a job reads: the files that its paths mean, and the pieces that workers take of them. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/source.h"

struct whi_walk;

struct whi_file {
	const char *path; /* NULL: standard input */
	uint64_t size;
	uint64_t begin; /* of the range that is asked for, */
	uint64_t end;	/* and its end; 0: the whole file is */
	int error;	/* -errno, if it was found to be unreadable */
	bool is_stream; /* has no offsets: a pipe, a terminal, a socket */
	bool packed;	/* known to be compressed; others are looked at when they are read */
	bool piped;	/* compressed in one piece: one task decodes it, others map meanwhile */
	bool reported;	/* to the job's file_error */
};

/* Some whole files one after another, or a part of one. */
struct whi_split {
	size_t file;
	size_t file_count;
	uint64_t begin;		/* of a part; of whole files 0 */
	uint64_t end;		/* of a part; of whole files UINT64_MAX */
	struct whi_identity is; /* of a part */
};

struct whi_input {
	struct whi_file *files;
	size_t file_count;
	size_t file_room;
	struct whi_split *splits;
	size_t split_count;
	size_t split_room;
	uint64_t bytes;	 /* of all files that are not streams */
	bool has_stream; /* then there is no telling how much will come */
	struct whi_name_chunk *names;
};

/* The files that the job's paths name; directories are left to `walk`. Blocks. A path that is not
 * there becomes a file with an error. Returns 0 or -ENOMEM. All fields zero is valid to begin with;
 * whi_input_fini also after a failure. */
int whi_input_name(struct whi_input *input, const struct wh_mr_job *job, struct whi_walk *walk);

/* Add a file. Returns 0 or -ENOMEM. */
int whi_input_add(struct whi_input *input, const struct whi_file *file);

/* Add the files of `part`, which is empty afterwards. Returns 0 or -ENOMEM. */
int whi_input_take(struct whi_input *input, struct whi_input *part);

/* A path in the input's memory: `dir`/`name`, or `name` if `dir` is NULL. NULL when out of
 * memory. */
const char *whi_input_join(struct whi_input *input, const char *dir, const char *name);

/* Room for one more item of `item_bytes` in `array`, which has `*room`. Returns it, moved perhaps,
 * or NULL when out of memory. */
void *whi_input_more(void *array, size_t count, size_t *room, size_t item_bytes);

/* How files become splits. */
struct whi_cut {
	uint64_t split_bytes; /* of a split, about */
	bool whole;	      /* files are not cut, only put together */
	bool by_content;      /* where a record begins shows in the bytes before it */
	bool unpack;	      /* compressed files are to be decoded, and therefore looked for */
	unsigned workers;     /* so many large files in one piece are not piped; 0: none is */
};

/* Cut the files that are not streams into pieces; blocks. Compressed files are cut where a frame
 * ends. Returns 0, -ENOMEM, or -ECANCELED once `stop` is set. */
int whi_input_split(struct whi_input *input, const struct whi_cut *cut, const _Atomic bool *stop);

void whi_input_fini(struct whi_input *input);
