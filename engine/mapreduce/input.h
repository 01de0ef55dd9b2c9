/* What a job reads: the files that its paths mean, and the pieces that workers take of them. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

struct whi_file {
	const char *path; /* NULL: standard input */
	uint64_t size;
	int error;	/* -errno, if it was found to be unreadable */
	bool is_stream; /* has no offsets: a pipe, a terminal, a socket */
	bool reported;	/* to the job's file_error */
};

/* Some whole files one after another, or a part of one. */
struct whi_split {
	size_t file;
	size_t file_count;
	uint64_t begin; /* of a part; of whole files 0 */
	uint64_t end;	/* of a part; of whole files UINT64_MAX */
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

/* Find the files, walking directories; blocks. A path that is not there, or a directory that cannot
 * be read, becomes a file with an error. Returns 0, -ENOMEM, or -ECANCELED once `stop` is set. All
 * fields zero is valid to begin with; whi_input_fini also after a failure. */
int whi_input_walk(struct whi_input *input, const struct wh_mr_job *job, const _Atomic bool *stop);

/* Cut the files that are not streams into pieces of about `split_bytes`. If files are `whole` they
 * are not cut, only put together. Returns 0 or -ENOMEM. */
int whi_input_split(struct whi_input *input, uint64_t split_bytes, bool whole);

void whi_input_fini(struct whi_input *input);
