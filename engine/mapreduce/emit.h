/* Where the keys and values that a job's functions emit go. */
#pragma once

#include <stdatomic.h>
#include <whorl/mapreduce.h>

#include "mapreduce/front.h"
#include "mapreduce/numbers.h"
#include "mapreduce/store.h"

/* Who emits. */
enum whi_emit_mode { WHI_EMIT_MAP, WHI_EMIT_COMBINE, WHI_EMIT_REDUCE };

struct wh_mr_emitter {
	struct wh_mr_gather gather; /* first, as wh_mr_emit_number looks for it there */
	const struct wh_mr_job *job;
	enum whi_emit_mode mode;
	struct whi_numbers *numbers; /* numbers go here */
	struct whi_writer *writer;   /* pairs of map and combine go here */
	struct whi_part *part;	     /* results of reduce go here */
	/* Called when a block of results is full, NULL if nobody cares. Returns 0 or an error. */
	int (*relieve)(struct wh_mr_emitter *emitter);
	const _Atomic bool *stop;
	uint64_t records; /* pairs emitted by map */

	/* Of what is being mapped. */
	struct wh_mr_origin origin; /* of the block that holds the record */
	const uint8_t *block;
	const uint8_t *record;	  /* of several, the first */
	const uint8_t *rewritten; /* NULL, or the bytes of the block that became what is mapped */
	struct whi_whole *whole;  /* the file that is the record, of WH_MR_FILES */
};

/* Combine what is in the emitter's open blocks, before they are pushed for good. Returns 0 or an
 * error as whi_group_each. */
int whi_emit_combine_all(struct wh_mr_emitter *emitter);

/* Call the job's reduce for each key of the emitter's partition, whose pairs are freed. Returns 0
 * or an error as whi_group_each. */
int whi_emit_reduce(struct wh_mr_emitter *emitter);
