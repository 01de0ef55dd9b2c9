#include "support/ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

enum { TEST_SECONDS_MAX = 240, SQ_ENTRIES = 64, CQ_ENTRIES = 256, OPS_MAX = 1 << 20 };
enum { SKIPPED = 77 };

struct whi_backend *ring;

const struct whi_backend_ops *ring_ops(void)
{
	const char *name = getenv("WHORL_BACKEND");
	const struct whi_backend_ops *ops = whi_backend_find(name && *name ? name : "uring");

	check(ops != NULL);
	return ops;
}

struct whi_backend *ring_open(const struct whi_backend_opts *opts)
{
	struct whi_backend_opts all = opts ? *opts : (struct whi_backend_opts){ 0 };
	struct whi_backend *backend;
	int r;

	all.sq_entries = all.sq_entries ? all.sq_entries : SQ_ENTRIES;
	all.cq_entries = all.cq_entries ? all.cq_entries : CQ_ENTRIES;
	all.ops_max = all.ops_max ? all.ops_max : OPS_MAX;
	r = ring_ops()->open(&all, &backend);
	if (r == -ENOSYS || r == -EPERM) {
		fprintf(stderr, "skipped: no io_uring: %s\n", wh_run_advice(r));
		exit(SKIPPED);
	}
	check_int(r, 0);
	return backend;
}

int ring_setup(void **state)
{
	alarm(TEST_SECONDS_MAX);
	ring = ring_open(*state);
	return 0;
}

int ring_teardown(void **state)
{
	(void)state;
	check_int(ring->stats.stale, 0);
	check_int(ring->stats.inflight, 0);
	ring->ops->close(ring);
	ring = NULL;
	alarm(0);
	return 0;
}

static void note(struct whi_op *op)
{
	struct ring_op *noted = op->owner;

	if (noted->completions < RING_RESULTS_MAX) {
		noted->results[noted->completions] = op->result;
		noted->flags[noted->completions] = op->flags;
	}
	noted->completions++;
}

void ring_submit(struct ring_op *op)
{
	op->op.done = note;
	op->op.owner = op;
	op->op.state = WHI_OP_IDLE;
	op->completions = 0;
	ring->ops->submit(ring, &op->op);
}

void ring_cancel(struct ring_op *op)
{
	if (whi_op_pending(&op->op))
		ring->ops->cancel(ring, &op->op);
}

void ring_poke(void)
{
	check_int(ring->ops->turn(ring, 0), 0);
}

void ring_wait(struct ring_op *op)
{
	while (whi_op_pending(&op->op))
		check_int(ring->ops->turn(ring, WHI_NEVER), 0);
}

void ring_wait_for(struct ring_op *op, unsigned count)
{
	while (op->completions < count)
		check_int(ring->ops->turn(ring, WHI_NEVER), 0);
}

int ring_run(struct ring_op *op)
{
	ring_submit(op);
	ring_wait(op);
	check_int(op->completions, 1);
	return op->op.result;
}

int ring_run_cancelled(struct ring_op *op)
{
	ring_submit(op);
	ring_poke();
	ring_cancel(op);
	ring_wait(op);
	check_int(op->completions, 1);
	return op->op.result;
}
