/*
 * A backend by itself, without a loop: operations are submitted and turned for by hand. io_uring,
 * or the one that WHORL_BACKEND names.
 */
#pragma once

#include "backend/backend.h"
#include "support/task_test.h"

enum { RING_RESULTS_MAX = 8 };

/* An operation with what came of it. */
struct ring_op {
	struct whi_op op;
	unsigned completions;
	int32_t results[RING_RESULTS_MAX]; /* of the first ones */
	uint8_t flags[RING_RESULTS_MAX];
};

/* The backend of the test that runs; ring_setup opens it, ring_teardown closes it. */
extern struct whi_backend *ring;

/* For cmocka. *state may point to a struct whi_backend_opts; skips where there is no io_uring. */
int ring_setup(void **state);

/* Nothing may be in flight any more, and no completion was stale. */
int ring_teardown(void **state);

/* The backend that tests get. */
const struct whi_backend_ops *ring_ops(void);

struct whi_backend *ring_open(const struct whi_backend_opts *opts);

void ring_submit(struct ring_op *op);
void ring_cancel(struct ring_op *op);

/* One turn without waiting. */
void ring_poke(void);

/* Turn until `op` is done, or until it has completed `count` times. */
void ring_wait(struct ring_op *op);
void ring_wait_for(struct ring_op *op, unsigned count);

/* Submit, wait, and return the result; it must have completed once. */
int ring_run(struct ring_op *op);

/* Submit, let the kernel see it, cancel, wait, and return the result. */
int ring_run_cancelled(struct ring_op *op);

#define ring_test(function) cmocka_unit_test_setup_teardown(function, ring_setup, ring_teardown)
#define ring_test_with(function, ...)                                                              \
	{                                                                                          \
#function, function, ring_setup, ring_teardown, &(struct whi_backend_opts)         \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
