/*
 * Jobs that are gone on with after their process has died. While the map goes on, all that has been
 * counted is written to a file of the job's folder now and then, with the splits that it is of, and
 * begins anew. A job that finds such files skips their splits; the last pass reads them as it reads
 * what was spilled.
 *
 * A folder holds
 *
 *	manifest      the job, the seed of its hash, and its files with their sizes and times
 *	batch-000000  the partitions of the first splits, then of the next ones, ...
 *	lock          held while a job runs
 *
 * Each of them is written under another name and renamed when it is complete and on the disk.
 *
 * Who goes on takes the seed from there, so that keys which were dealt to partitions are where they
 * belong. The seed is a secret from whoever writes the input, not from the user: who may read the
 * manifest of mode 0600 has the user's rights, and could read the process's memory as well.
 */
#pragma once

#include <stdint.h>

#include "mapreduce/spill_file.h"

struct whi_dealt;
struct whi_mr;

/* One batch that is complete. */
struct whi_batch {
	struct whi_spill_file file; /* kept */
	char *path;
};

/* All zero is valid and empty. */
struct whi_resume {
	int dir_fd;
	int lock_fd;
	char *manifest; /* strings one after another, each with its zero */
	size_t manifest_len;
	struct whi_batch **batches;
	size_t count;
	size_t room;
	uint64_t seed;	  /* of the process that began; this one's if it does */
	bool is_secret;	  /* nobody else could have read it */
	uint64_t records; /* of all batches that were there */
	uint64_t bytes_done;
	bool mixed;		 /* not all batches are by this process's hash */
	struct whi_dealt *dealt; /* NULL: nothing is being dealt anew */
};

/* How the files of a job that is gone on with were cut. Call it before they are: on a worker.
 * Returns 0 or -errno; `*ret_split_bytes` and `*ret_workers` stay if there is nothing to go on
 * with. */
int whi_resume_open(struct whi_mr *mr, uint64_t *ret_split_bytes, unsigned *ret_workers);

/* Map all splits that are not in batches, writing more of them: `map(arg)` maps those before
 * mr->end_split. Suspends. Returns 0 or the job's error. */
int whi_resume_map(struct whi_mr *mr, int (*map)(void *arg), void *arg);

/* All is mapped, and mappers are flushed. If keys of some batches were dealt to partitions by
 * another hash than this process has, they are dealt anew, with all others. Suspends. Returns 0 or
 * the job's error. */
int whi_resume_unite(struct whi_mr *mr);
void whi_resume_fini(struct whi_resume *resume);

/* What resume.c shares with resume_batch.c and resume_manifest.c. */

enum { WHI_BATCH_NAME_BYTES = 32 };

/* Say that something cannot be done with file `name` of the folder. Returns `error`. */
int whi_resume_failed(struct whi_mr *mr, int error, const char *what, const char *name);

/* Begin file `name` under another name. Returns a descriptor or -errno. */
int whi_resume_create(int dir_fd, const char *name);
int whi_write_all(int fd, const void *data, size_t len);

/* Remove what was begun of it. */
void whi_resume_drop(int dir_fd, const char *name);

/* What was written of it is complete: make it last, and give it its name. Returns 0 or -errno. */
int whi_resume_commit(int dir_fd, int fd, const char *name);

/* Tells the hash by which this process deals keys to partitions from those of others, which may
 * have other instruction sets, or secrets. */
uint64_t whi_resume_hash(const struct whi_mr *mr);

/* Go on behind the batches that are there. Returns 0 or -errno. */
int whi_batches_load(struct whi_mr *mr);

/* Write a batch of what has been mapped since the last one. On a worker, when all others are idle;
 * `mr` is a struct whi_mr. Returns 0, -ECANCELED or -errno. */
int whi_batch_write(void *mr);

/* Write the manifest of the job as it is now to memory. Returns 0 or -ENOMEM. */
int whi_manifest_make(const struct whi_mr *mr, uint64_t split_bytes, unsigned workers, char **ret,
		      size_t *ret_len);

/* How files were cut, and the seed of the hash, by the manifest that has been read. Returns 0, or
 * -ESTALE if it is none, having said why. */
int whi_manifest_cut(struct whi_mr *mr, uint64_t *ret_split_bytes, unsigned *ret_workers);

/* Compare what has been read with the job as it is now. Returns 0, or -ESTALE, having said why, or
 * -ENOMEM. */
int whi_manifest_check(struct whi_mr *mr, const char *now, size_t len);
