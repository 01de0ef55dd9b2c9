/*
 * A job's temporary file: it has no name, so that nothing is left of it whatever becomes of the
 * process. Streams of records lie in extents of it.
 *
 * Any thread may read and write it, each stream being one thread's at a time.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WHI_EXTENT_BYTES = 1024 * 1024 };

/* What was being done with a temporary file when it failed. */
enum whi_spill_step { WHI_SPILL_CREATE, WHI_SPILL_WRITE, WHI_SPILL_READ };

struct whi_extent {
	struct whi_spill_file *file;
	uint64_t offset;
	uint64_t room;
	uint64_t used;
};

struct whi_spill_file {
	const char *dir;
	bool kept;	/* somebody else's, with a name: its extents are only read */
	_Atomic int fd; /* -1: not made yet */
	pthread_mutex_t lock;
	uint64_t end;	/* behind all extents; under `lock`, as all below */
	uint64_t *idle; /* offsets of extents that nobody needs any more */
	size_t idle_count;
	size_t idle_room;
	int error; /* the first failure, -errno; 0: none */
	enum whi_spill_step step;

	_Atomic uint64_t written; /* bytes */
	_Atomic uint64_t read;
	_Atomic uint64_t extents; /* given out */
};

/* Where temporary files go: `dir`, which may be NULL, else $TMPDIR, else /var/tmp, else /tmp. */
const char *whi_spill_dir(const char *dir);

/* `dir` is borrowed. The file is made when something is written. */
void whi_spill_file_init(struct whi_spill_file *file, const char *dir);
void whi_spill_file_fini(struct whi_spill_file *file);

/* Make the file now, if there is none. Returns 0 or -errno. */
int whi_spill_file_make(struct whi_spill_file *file);

/* An extent with room for `len` bytes. Returns 0 or -errno. */
int whi_extent_take(struct whi_spill_file *file, size_t len, struct whi_extent *ret);

/* Nobody needs what is in the extent any more. */
void whi_extent_put(const struct whi_extent *extent);

/* Write `len` bytes behind those in the extent, which has room for them. Returns 0 or -errno. */
int whi_extent_write(struct whi_extent *extent, const void *data, size_t len);

/* Read `len` bytes from `at` on. Returns 0 or -errno, -EIO if they are not there. */
int whi_extent_read(const struct whi_extent *extent, uint64_t at, void *data, size_t len);

/* `len` bytes from `at` on will be read soon: begin now, without waiting. */
void whi_extent_read_ahead(const struct whi_extent *extent, uint64_t at, uint64_t len);

/* Remember why the file failed, if nothing has before. Returns `error`. */
int whi_spill_failed(struct whi_spill_file *file, enum whi_spill_step step, int error);
