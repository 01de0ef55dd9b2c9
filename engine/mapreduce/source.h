/*
 * A source is a file, or a part of one, on its way through a mapper: bytes are put behind those in
 * a buffer, whole records are mapped off its front.
 *
 * A record belongs to the part that holds its first byte: a part is read from the byte before it,
 * up to the first record border at or after its end.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "mapreduce/mapper.h"

enum {
	WHI_READ_BYTES = 256 * 1024, /* of a file in the page cache; fits the second-level one */
	WHI_READ_COLD_BYTES = 1024 * 1024, /* of a file on a device */
};

/* What mapping a file may come to besides an end or an error. */
enum {
	WHI_NOT_CACHED = 1,
	WHI_COMPRESSED, /* it begins as compressed data do; nothing was mapped */
};

/* Which file a path meant. What is cut into parts is opened once for each, and parts of two files
 * would be of none. */
struct whi_identity {
	uint64_t device;
	uint64_t inode; /* 0: not known, or of no matter */
	int64_t born_ns;
};

struct whi_source {
	const char *path;
	const struct whi_identity *is; /* the one that it is part of, or NULL */
	uint64_t size; /* of the file when it was listed; 0: not known, or it has none */
	uint64_t begin;
	uint64_t end; /* UINT64_MAX: as far as there are bytes */
	uint64_t pos; /* in the file: where the buffer begins */
	bool synced;  /* `pos` is at a record's first byte */
	bool done;
	bool look;	  /* whether it is compressed is not known, and matters */
	uint64_t counted; /* bytes told to the progress so far */
	size_t room_max;  /* no record is longer: -EFBIG; 0: as the job says */
	bool checked;	  /* the length, after the last read */
	int error;	  /* of the file: of a read, -ESTALE, -ENODATA; what there is was mapped */
};

/* Begin with a part of a file. */
void whi_source_init(struct whi_source *source, const char *path, uint64_t begin, uint64_t end);

/* Map what is in `buf`; `eof` says that nothing follows. Takes mapped bytes off the buffer; if it
 * is still full then, it grows. Returns 0, or an error as whi_mapper_map, or -EMSGSIZE. */
int whi_source_map(struct whi_source *source, struct whi_mapper *mapper, struct whi_buffer *buf,
		   bool eof);

/* Look which file is open as `fd`, or, if `path` is not NULL, is there as openat(2) has it. */
void whi_identity_get(struct whi_identity *ret, int fd, const char *path);

/* Whether what was opened for the source is another file than the one it is part of: then the
 * source is done, with an error. */
bool whi_source_is_replaced(struct whi_source *source, int fd);

/* To be asked of a source that is done: whether its file, open as `fd`, has become shorter than it
 * was when it was listed. Then it has an error: its last record may have lost its end, and what was
 * read while the file was cut may be zeroes. */
void whi_source_check_length(struct whi_source *source, int fd);

/* Whether the file, open as `fd`, ends at `at`, up to where it has been read: a read that finds
 * nothing can be spared then. False: that is not known. True: its length has been checked. */
bool whi_source_ends(struct whi_source *source, int fd, uint64_t at);

/* Whether the file that is open as `fd` is shorter than `size`, which it was. */
bool whi_has_shrunk(int fd, uint64_t size);

/* How many bytes are wanted that follow those in `buf`, whether there is room for them or not. */
uint64_t whi_source_far(const struct whi_source *source, const struct whi_buffer *buf);

/* How many bytes to read next, behind those in `buf`. */
size_t whi_source_want(const struct whi_source *source, const struct whi_buffer *buf);

/* Whether the file begins as compressed data do, if that is to be looked for; `buf` has its first
 * bytes, and all of them if it is short. Looks once. */
bool whi_source_is_compressed(struct whi_source *source, const struct whi_buffer *buf);

/* Open a file if finding it needs no device. Returns a descriptor, or -1: any failure is somebody
 * else's to explain. */
int whi_open_cached(const char *path);

/* Whether the page cache has pages for these bytes of a file; they may still be on their way there.
 * False also where the kernel cannot tell. */
bool whi_is_cached(int fd, uint64_t begin, uint64_t len);

/* Bytes that are done since this was last asked. */
uint64_t whi_source_progress(struct whi_source *source);
