/* A file that is one record: what wh_mr_read goes through. On one worker, which it may block. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "mapreduce/mapper.h"

struct whi_whole {
	int fd;
	bool is_stream;
	bool ended;
	int error; /* -errno: the first one that wh_mr_read returned */
	uint64_t pos;
	struct stat opened; /* when it was opened */
	struct whi_buffer *buf;
	size_t ready; /* bytes in `buf` that were read ahead of the first call */
	const _Atomic bool *stop;
	_Atomic uint64_t *bytes_done;
};

/* Begin with an open file, into `buf`. Returns 0, -errno, or WHI_NOT_CACHED if `cached_only` and
 * its first bytes have to come from a device. Then, and after an error, `fd` is the caller's. */
int whi_whole_begin(struct whi_whole *whole, int fd, bool cached_only);

/* Map the file at `path` as a record. Returns as whi_mapper_map_record; if whole->error is set, it
 * is the file that failed. */
int whi_mapper_map_whole(struct whi_mapper *mapper, struct whi_whole *whole, const char *path);
