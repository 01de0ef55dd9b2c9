/* One worker's side of a job: it maps whole records into its front table and blocks. Used by one
 * thread at a time; a job has as many as threads work for it at once. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/emit.h"
#include "mapreduce/ngram.h"
#include "mapreduce/why.h"
#include "mapreduce/words.h"

/* Bytes being read: room for `room` of them and for what kernels touch behind. */
struct whi_buffer {
	uint8_t *data;
	size_t len;
	size_t room;
};

/* What all mappers of a job share; not theirs. */
struct whi_mapper_job {
	const struct wh_mr_job *job;
	const struct whi_words_kernel *kernel;
	struct whi_words_rule rule; /* what its words are */
	struct whi_store *store;
	const _Atomic bool *stop;
	struct whi_why *why;
	struct whi_times *times;	/* NULL: nobody asks */
	struct whi_ngram_shared *ngram; /* of WH_MR_NGRAMS */
	size_t l2_bytes;		/* cache for the front table of one */
};

/* Records that were found, to be mapped together. */
struct whi_found {
	size_t count;
	size_t bytes;
	struct wh_mr_bytes records[WH_MR_BATCH_MAX + WHI_WORDS_LIST_SLACK];
	uint16_t borders[WHI_REGION_BORDERS]; /* of a region's words */
};

struct whi_mapper {
	struct whi_mapper *next_free; /* the job's */
	struct whi_mapper *next;      /* the job's */
	const struct whi_mapper_job *shared;
	struct whi_writer writer;
	struct whi_front *front;
	struct whi_numbers *numbers; /* of jobs that map to numbers */
	struct whi_ngrams *ngrams;   /* of WH_MR_NGRAMS */
	struct whi_found *found;     /* of jobs that have records */
	struct whi_words_text text;  /* of a region that was rewritten */
	struct wh_mr_emitter emitter;
	struct whi_buffer buf;
};

/* Returns NULL when out of memory. */
struct whi_mapper *whi_mapper_new(const struct whi_mapper_job *shared);
void whi_mapper_free(struct whi_mapper *mapper);

/* What is mapped next comes from here. */
void whi_mapper_from(struct whi_mapper *mapper, const struct wh_mr_origin *origin);

/* Map the records of `data`, which begins at a record and ends with one and has WHI_WORDS_SLACK
 * bytes after it; changes them. Returns 0, -ENOMEM, -ECANCELED, or what `map` returned. */
int whi_mapper_map(struct whi_mapper *mapper, uint8_t *data, size_t len);

/* Map one record, which is not taken out of a block. Returns as whi_mapper_map. */
int whi_mapper_map_record(struct whi_mapper *mapper, const void *data, size_t len);

/* Have the job generate block `index`, and map it. Adds its bytes to `*bytes`. Returns 0, 1 if
 * there is no such block, or as whi_mapper_map or `generate`. */
int whi_mapper_map_block(struct whi_mapper *mapper, uint64_t index, _Atomic uint64_t *bytes);

/* Send everything to the partitions. Returns as whi_mapper_map. */
int whi_mapper_flush(struct whi_mapper *mapper);

/* Records so far. */
uint64_t whi_mapper_records(const struct whi_mapper *mapper);

/* Make room for `room` bytes; keeps what is there. Returns 0 or -ENOMEM. */
int whi_buffer_reserve(struct whi_buffer *buf, size_t room);
void whi_buffer_fini(struct whi_buffer *buf);

/* Take `len` bytes off the front. */
void whi_buffer_consume(struct whi_buffer *buf, size_t len);
