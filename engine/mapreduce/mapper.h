/* One worker's side of a job: it maps whole records into its front table and blocks. Used by one
 * thread at a time; a job has as many as threads work for it at once. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/emit.h"
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
	struct whi_store *store;
	const _Atomic bool *stop;
	size_t l2_bytes; /* cache for the front table of one */
};

struct whi_mapper {
	struct whi_mapper *next_free; /* the job's */
	struct whi_mapper *next;      /* the job's */
	const struct whi_mapper_job *shared;
	struct whi_writer writer;
	struct whi_front *front;
	struct wh_mr_emitter emitter;
	struct whi_buffer buf;
};

/* Returns NULL when out of memory. */
struct whi_mapper *whi_mapper_new(const struct whi_mapper_job *shared);
void whi_mapper_free(struct whi_mapper *mapper);

/* Map the records of `data`, which begins at a record and ends with one and has WHI_WORDS_SLACK
 * bytes after it; changes them. Returns 0, -ENOMEM, -ECANCELED, or what `map` returned. */
int whi_mapper_map(struct whi_mapper *mapper, uint8_t *data, size_t len);

/* Send everything to the partitions. Returns as whi_mapper_map. */
int whi_mapper_flush(struct whi_mapper *mapper);

/* Records so far. */
uint64_t whi_mapper_records(const struct whi_mapper *mapper);

/* Make room for `room` bytes; keeps what is there. Returns 0 or -ENOMEM. */
int whi_buffer_reserve(struct whi_buffer *buf, size_t room);
void whi_buffer_fini(struct whi_buffer *buf);

/* Take `len` bytes off the front. */
void whi_buffer_consume(struct whi_buffer *buf, size_t len);
