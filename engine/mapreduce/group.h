/* Bringing the values of equal keys together. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/store.h"

/* The values of one key, wherever they come from. */
struct wh_mr_values {
	bool (*next)(struct wh_mr_values *values, struct wh_mr_bytes *ret);
};

/* What to do with each key and its values. */
struct whi_group_call {
	wh_mr_reduce_fn fn;
	void *arg;
	struct wh_mr_emitter *emitter;
	const _Atomic bool *stop; /* give up once it is set */
};

/* Call `call->fn` once for each key in a chain of blocks of pairs. Returns 0, or -ENOMEM, or
 * -ECANCELED, or the first negative result. */
int whi_group_each(const struct whi_qnode *chain, const struct whi_group_call *call);
