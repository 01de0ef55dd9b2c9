/*
 * Mapping in other processes: what they are told, and what they answer.
 *
 * A job is described once, in a memfd that every call hands over: its options, its files, where its
 * functions are, and the bytes at its `arg`. Workers are the same program, so that a function is
 * where it is here, counted from where its program or library was loaded. A call is one split; the
 * answer's numbers come as bytes, its records as blocks in a memfd.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/input.h"
#include "mapreduce/mapper.h"
#include "mapreduce/ngram_told.h"
#include "mapreduce/store.h"
#include "mapreduce/times.h"

#define WHI_REMOTE_JOB "wh_mapreduce_split"

enum { WHI_REMOTE_WRONG_MAX = 512 };

/* The arguments of a call: a split, or blocks to be generated. */
struct whi_remote_split {
	uint64_t job; /* the plan's */
	struct whi_split split;
	uint64_t block;
	uint64_t block_count;	/* 0: a split */
	uint64_t ngram_version; /* enum wh_mr_ngram_version, if lines have told it already */
};

/* Something wrong with a file of the split. */
struct whi_remote_wrong {
	uint64_t file;
	uint64_t at; /* of a compressed one */
	int error;   /* -EBADMSG: `damage` of data that are compressed as `format` says */
	enum wh_mr_damage_kind damage;
	char format[8];
};

/* The answer. */
struct whi_remote_done {
	uint64_t file_end; /* the first file that was not looked at: there was too much wrong */
	uint64_t records;
	uint64_t bytes;
	uint64_t unpacked;
	uint64_t block_end; /* no block from here on; UINT64_MAX: that is not known */
	struct whi_ngram_told ngrams;
	uint64_t step_ns[WHI_STEPS]; /* if the job explains itself */
	uint64_t cpu_ns;	     /* and of all of it */
	struct whi_front_times front;
	uint32_t wrong_count;
	struct whi_remote_wrong wrong[WHI_REMOTE_WRONG_MAX];
	char why[WH_MR_WHY_BYTES];
};

/* A file as the plan has it. */
struct whi_remote_file {
	uint64_t path; /* offset in the plan */
	uint64_t size;
	bool packed;
};

/* Describe a job whose files have been found. Returns a memfd, the caller's, or -errno. */
int whi_remote_plan(const struct whi_mapper_job *shared, const struct whi_input *input,
		    uint64_t id);

/* A plan as a worker has it. */
struct whi_remote_job {
	uint64_t id;
	struct wh_mr_job job;
	struct wh_mr_words words;
	const char *isa;
	const struct whi_remote_file *files;
	const uint8_t *bytes; /* the plan */
	size_t len;
};

/* Read the plan in `fd`. Returns 0, -ENOMEM, -ELIBACC or -errno of mmap(2). */
int whi_remote_open(struct whi_remote_job *remote, int fd);
void whi_remote_close(struct whi_remote_job *remote);

/* Merge what is pending in a store, and write all of its records to `fd`. Returns 0 or -errno. */
int whi_remote_write(struct whi_store *store, int fd);

/* Give the records in `fd` to a writer's store. Returns 0, -ENOMEM, -EBADMSG or -errno. */
int whi_remote_read(struct whi_writer *writer, int fd);
