/*
 * The io_uring backend: making a ring.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "backend/uring.h"

#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

enum {
	SQ_MIN = 8,
	/* An exiting process's rings are accounted to its user for up to two seconds more. */
	ENOMEM_RETRIES = 40,
	ENOMEM_PAUSE_MS = 50,
};

/* From the best to the plainest: each kernel takes the first line that it knows all flags of. */
static const unsigned profiles[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_NO_SQARRAY,
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_SUBMIT_ALL,
	0,
};

/* Of the last ring that could not be opened for that. */
static const char *_Atomic missing = "nothing";

static int lacks(const char *what)
{
	missing = what;
	return -EOPNOTSUPP;
}

const char *whi_uring_missing(void)
{
	return missing;
}

static int init_ring(struct whi_uring *u, unsigned sq_entries, unsigned cq_entries)
{
	const unsigned disabled = u->opts.restrict_ops ? IORING_SETUP_R_DISABLED : 0;
	int r = -EINVAL;

	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]) && r == -EINVAL; i++) {
		struct io_uring_params params = {
			.flags = profiles[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | disabled,
			.cq_entries = cq_entries,
		};

		r = io_uring_queue_init_params(sq_entries, &u->ring, &params);
	}
	return r == -EINVAL ? lacks("rings with a chosen completion queue, which Linux 5.6 has")
			    : r;
}

/* Locked memory is short: take a smaller ring, and at last wait for others to be released. */
static int init_ring_within_limits(struct whi_uring *u)
{
	const struct timespec pause = { .tv_nsec = ENOMEM_PAUSE_MS * 1000000L };
	unsigned sq = u->opts.sq_entries, cq = u->opts.cq_entries;
	int r = init_ring(u, sq, cq);

	while (r == -ENOMEM && sq > SQ_MIN) {
		sq = sq / 2 > SQ_MIN ? sq / 2 : SQ_MIN;
		cq = cq / 2 > sq * 2 ? cq / 2 : sq * 2;
		r = init_ring(u, sq, cq);
	}
	for (int i = 0; r == -ENOMEM && i < ENOMEM_RETRIES; i++) {
		nanosleep(&pause, NULL);
		r = init_ring(u, sq, cq);
	}
	return r;
}

static int learn_opcodes(struct whi_uring *u)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);

	if (!probe)
		return -ENOMEM;
	for (unsigned op = 0; op < IORING_OP_LAST; op++)
		u->supported[op] = io_uring_opcode_supported(probe, (int)op);
	io_uring_free_probe(probe);
	return 0;
}

static int check_features(const struct whi_uring *u)
{
	unsigned features = u->ring.features;

	if (!(features & IORING_FEAT_NODROP))
		return lacks("completion queues that lose nothing, which Linux 5.5 has");
	if (!(features & IORING_FEAT_EXT_ARG))
		return lacks("waits with a timeout, which Linux 5.11 has");
	if (!(features & IORING_FEAT_CQE_SKIP))
		return lacks("submissions without a completion, which Linux 5.17 has");
	return 0;
}

/* A ring that was to be restricted and cannot be is none at all. */
static int restrict_and_enable(struct whi_uring *u)
{
	if (!u->opts.restrict_ops)
		return 0;
	if (whi_uring_restrict(u) < 0)
		return lacks("restrictions of a ring, which Linux 5.10 has");
	return io_uring_enable_rings(&u->ring);
}

int whi_uring_ring_open(struct whi_uring *u)
{
	int r = init_ring_within_limits(u);

	if (r < 0)
		return r;
	r = check_features(u);
	if (r == 0)
		r = learn_opcodes(u);
	if (r == 0)
		r = restrict_and_enable(u);
	if (r < 0) {
		io_uring_queue_exit(&u->ring);
		return r;
	}
	u->enter_flags = IORING_ENTER_GETEVENTS;
	/* Saves looking the ring's descriptor up on every call; older kernels do without. */
	if (io_uring_register_ring_fd(&u->ring) == 1)
		u->enter_flags |= IORING_ENTER_REGISTERED_RING;
	/* Otherwise a loop that is idle shows as 100 % iowait. */
	if (u->ring.features & IORING_FEAT_NO_IOWAIT)
		u->enter_flags |= IORING_ENTER_NO_IOWAIT;
	return 0;
}

void whi_uring_ring_close(struct whi_uring *u)
{
	io_uring_queue_exit(&u->ring);
}
