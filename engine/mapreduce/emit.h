/* Where the keys and values that a job's functions emit go. */
#pragma once

#include <stdatomic.h>
#include <whorl/mapreduce.h>

#include "mapreduce/front.h"
#include "mapreduce/store.h"

/* Who emits. */
enum whi_emit_mode { WHI_EMIT_MAP, WHI_EMIT_COMBINE, WHI_EMIT_REDUCE };

struct wh_mr_emitter {
	const struct wh_mr_job *job;
	enum whi_emit_mode mode;
	struct whi_front *front;   /* sums go here */
	struct whi_writer *writer; /* pairs of map and combine go here */
	struct whi_part *part;	   /* results of reduce go here */
	const _Atomic bool *stop;
	uint64_t records; /* emitted by map */
};

/* Combine what is in the emitter's open blocks, before they are pushed for good. Returns 0 or an
 * error as whi_group_each. */
int whi_emit_combine_all(struct wh_mr_emitter *emitter);

/* Call the job's reduce for each key of the emitter's partition, whose pairs are freed. Returns 0
 * or an error as whi_group_each. */
int whi_emit_reduce(struct wh_mr_emitter *emitter);
