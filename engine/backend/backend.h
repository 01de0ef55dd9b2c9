/*
 * Backends: where operations go and completions come from. A loop owns one and is the only thread
 * to call it, `wake` excepted. Completions are delivered in `turn`, but for an operation that
 * cannot even be queued, or a quiet one that is over at once: these may complete inside `submit`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/run.h>

#include "op/op.h"

struct whi_world;

struct whi_backend_opts {
	uint32_t sq_entries;
	uint32_t cq_entries;
	uint32_t ops_max; /* in flight; beyond, operations complete with -EAGAIN */
	/* A message operation of another loop has arrived. May be NULL. */
	void (*on_message)(void *arg, uint64_t data, int32_t value);
	void *arg;
	const char *uring_off; /* see struct wh_run_opts */
	uint32_t restrict_ops;
	struct whi_world *sim_world; /* of the simulated kernel, and which of its rings */
	uint32_t sim_index;
};

struct whi_backend_stats {
	uint64_t enters;    /* system calls that submit or wait */
	uint64_t tries;	    /* system calls that try one operation, where there is no ring */
	uint64_t submitted; /* operations */
	uint64_t completions;
	uint64_t cq_overflows; /* turns that found the completion queue overflowed */
	uint64_t stale;	       /* completions of operations that are not there any more: 0 */
	uint32_t inflight;
};

struct whi_backend;

struct whi_backend_ops {
	const char *name;

	/* Make one for the calling thread. -ENOSYS, -EOPNOTSUPP, -EPERM, -EACCES: the kernel has or
	 * allows none. */
	int (*open)(const struct whi_backend_opts *opts, struct whi_backend **ret);

	/* Operations in flight are cancelled and completed first. */
	void (*close)(struct whi_backend *backend);

	/* Queue `op`, which is IDLE and filled in. It completes exactly once. Never blocks, runs no
	 * user code. */
	void (*submit)(struct whi_backend *backend, struct whi_op *op);

	/* Do `op` now and return its result: small calls that never wait, on descriptors which may
	 * be the backend's own. `op` stays IDLE. */
	int (*perform)(struct whi_backend *backend, struct whi_op *op);

	/* Ask for an early end of `op`, which is pending. It completes all the same, with whatever
	 * comes first. Asking twice is harmless. */
	void (*cancel)(struct whi_backend *backend, struct whi_op *op);

	/* Submit what is queued; unless completions are there, wait for one, a wake or
	 * `timeout_ns` (0: do not wait, UINT64_MAX: for ever); deliver all completions. */
	int (*turn)(struct whi_backend *backend, uint64_t timeout_ns);

	/* A task waits for a quiet operation: the next turn does not wait for anything else. */
	void (*hurry)(struct whi_backend *backend);

	/* End a turn that waits, or the next one that would. Any thread; async-signal-safe. */
	void (*wake)(struct whi_backend *backend);

	/* The same by the loop of another backend of this kind, at latest in `from`'s next turn;
	 * may save a system call. */
	void (*wake_from)(struct whi_backend *backend, struct whi_backend *from);

	/* Prepare for `count` receive buffers, a power of two. Once, before the first buf_give. */
	int (*bufs_open)(struct whi_backend *backend, uint32_t count);

	/* Lend buffer `index` to receives that take one. */
	void (*buf_give)(struct whi_backend *backend, uint16_t index, void *buf, uint32_t len);

	/* What a message operation of another loop names as its `fd`. */
	int (*address)(struct whi_backend *backend);

	/* The time, on a clock that the backend moves itself. NULL: CLOCK_MONOTONIC. */
	uint64_t (*now_ns)(struct whi_backend *backend);
};

struct whi_backend {
	const struct whi_backend_ops *ops;
	struct whi_backend_stats stats;
};

extern const struct whi_backend_ops whi_backend_epoll, whi_backend_sim, whi_backend_uring;

/* The backend called `name`; NULL: there is none. */
const struct whi_backend_ops *whi_backend_find(const char *name);

/* All their names, for a person. */
void whi_backend_names(char *text, size_t size);

/*
 * choose.c: the backend for `opts`: the one it names, or $WHORL_BACKEND, or io_uring if it works
 * here, or epoll. `ret` is filled in on failure too: `err` and `why`.
 *
 * -EINVAL   there is none of that name, or `uring_off` names no feature
 * -ENOMEM, -EMFILE, -ENFILE   it could not be found out
 */
int whi_backend_choose(const struct wh_run_opts *opts, struct wh_backend_choice *ret);

/* Say in `ret` why io_uring could not be opened, which ended with `err`, and what would help. */
void whi_uring_explain(int err, struct wh_backend_choice *ret);

/* See wh_probe. */
int whi_uring_probe(struct wh_feature ret[WH_FEATURES_MAX]);
