/*
 * What the trials of the self-test share: see uring_selftest.c. A trial returns NULL if all was
 * well, else what was not, for a person.
 */
#pragma once

#include "backend/uring.h"
#include "backend/uring_selftest.h"

enum {
	WHI_TRIAL_BUFS = 4,
	WHI_TRIAL_BUF_BYTES = 16,
	WHI_TRIAL_LONG_BYTES = 64, /* the one buffer that is filled piece by piece */
	/* Buffer groups. The engine's is 0. */
	WHI_TRIAL_GROUP = 1,
	WHI_TRIAL_GROUP_INC = 2,
};

struct whi_trial {
	struct whi_uring *u;
	struct io_uring *ring;
	unsigned number;		/* of the trial: user_data of its submissions */
	struct io_uring_buf_ring *bufs; /* of WHI_TRIAL_GROUP; NULL: there is none */
	struct io_uring_buf_ring *incremental;
	unsigned next_buf; /* which buffer of `bufs` comes next */
	struct whi_uring_verdicts *verdicts;
	char memory[WHI_TRIAL_BUFS][WHI_TRIAL_BUF_BYTES];
	char long_memory[WHI_TRIAL_LONG_BYTES];
};

extern const char whi_trial_late[], whi_trial_refused[], whi_trial_wrong_bytes[],
	whi_trial_no_sockets[];

/* An entry of the trial's, to be filled in. */
struct io_uring_sqe *whi_trial_entry(struct whi_trial *t);

/* The next completion for `user_data`, copied; false if none comes. Submits what is queued. What
 * earlier trials left in flight may end meanwhile. */
bool whi_trial_next_of(struct io_uring *ring, uint64_t user_data, struct io_uring_cqe *ret);

/* The same for the trial's own. */
bool whi_trial_next(struct whi_trial *t, struct io_uring_cqe *ret);

/* Something that a trial needs ended with `err`: another time it may be there. */
void whi_trial_lacked(struct whi_trial *t, int err);

/* uring_trial_bufs.c */
const char *whi_try_bufring(struct whi_trial *t);
const char *whi_try_multirecv(struct whi_trial *t);
const char *whi_try_incremental(struct whi_trial *t);
const char *whi_try_bundle(struct whi_trial *t);
