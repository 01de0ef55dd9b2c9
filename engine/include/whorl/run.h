/*
 * The runtime: loops, one a thread, and what crosses from one to another.
 */
#ifndef WHORL_RUN_H
#define WHORL_RUN_H

#include <whorl/api.h>
#include <whorl/task.h>

struct wh_loop;

/* Options of wh_run. {0} is valid and means the defaults; each limit has its name here. */
struct wh_run_opts {
	uint32_t loops;	       /* default: the CPUs this process may use */
	bool pin;	       /* tie loop i to the i-th CPU allowed */
	bool keep_signals;     /* leave SIGINT, SIGTERM and SIGSEGV as they are */
	bool processes;	       /* get ready for pools of processes (<whorl/pool.h>) before there is
				 a thread or a ring; default: if the program has jobs (WH_JOB) */
	const char *backend;   /* "uring", "epoll", or "sim" (see <whorl/sim.h>); default:
				 $WHORL_BACKEND, else io_uring if it works here, else epoll: see
				 wh_backend_why */
	size_t stack_bytes;    /* of a task; default 64 KiB */
	uint32_t tasks_max;    /* per loop; default 4,194,304 */
	uint32_t ops_max;      /* in flight per loop; default 4,194,304 */
	uint32_t sq_entries;   /* submission queue per loop; default 256 */
	uint32_t cq_entries;   /* completion queue per loop; default 4,096 */
	uint32_t buf_count;    /* receive buffers shared by a loop's sockets, a power of two;
				 default 1,024 */
	uint32_t buf_bytes;    /* size of each; default 4,096 */
	uint32_t stacks_warm;  /* free stacks that keep their memory, per loop and size;
				 default 1,024 */
	const char *uring_off; /* newer features of io_uring to do without, separated by commas,
				  besides those in $WHORL_URING_OFF and those that failed their
				  start-up test: bufring, multirecv, multiaccept, msgring */
	uint32_t restrict_ops; /* WH_ALLOW_*: what the loops' rings may do; 0: everything */
};

/*
 * What a restricted ring may do, besides what the engine itself needs: waiting for a time or for a
 * descriptor, messages between loops, cancelling, closing and reading. The kernel refuses anything
 * else, for good: the calls of such operations return -EACCES. Calls that need no ring are not
 * concerned; to forbid system calls, use seccomp. With the epoll backend there is no ring, and
 * nothing to restrict.
 */
enum {
	WH_ALLOW_NET = 1,  /* making sockets, accepting, connecting, sending, receiving */
	WH_ALLOW_FILE = 2, /* writing, and reading and syncing, of descriptors that are open */
	WH_ALLOW_PATH = 4, /* opening, examining, making, renaming and removing by name */
	WH_ALLOW_NONE = 1 << 30, /* nothing but the engine's own */
};

/**
 * Run `fn(arg)` as the first task of a new runtime, on its loop 0, which is the calling thread.
 * Ends when that task and all others have ended, on every loop. The first SIGINT or SIGTERM cancels
 * everything; a second one has its ordinary effect.
 *
 * Returns    0 once all has ended, with the first task's result in `*ret_result` (may be NULL); if
 *            that is no failure but a task of wh_loop_spawn failed, the first such failure.
 * Errors     nothing has run in these cases:
 *            -ENOSYS, -EPERM, -EACCES, -EOPNOTSUPP   io_uring was asked for and is refused, or
 *            lacks what the engine or `restrict_ops` needs; wh_run_advice says what to do
 *            -ENOMEM   out of memory, or of locked memory for the ring (ulimit -l)
 *            -EAGAIN   no thread for a loop, as pthread_create(3)
 *            -EMFILE, -ENFILE   no file descriptor left for a loop
 *            -ENOSPC   on epoll: fs.epoll.max_user_watches is reached
 *            -EINVAL   an option out of range, or an unknown backend or feature
 *            -EDEADLK, -ETIME, -EPROTO   with the backend "sim": as wh_sim_run
 *            -EBUSY    called from inside a runtime, or another thread's runtime has the signals
 *            and `keep_signals` is not set
 */
WH_API int wh_run(wh_task_fn fn, void *arg, const struct wh_run_opts *opts, int *ret_result);

/**
 * For a person: why wh_run returned `err`, and the cure. Never NULL; valid until the calling
 * thread's next wh_run or wh_run_advice.
 */
WH_API const char *wh_run_advice(int err);

/** The signal that cancelled the runtime, or 0. */
WH_API int wh_run_signal(void);

/** Number of loops of the runtime the caller is in; 0 outside. */
WH_API unsigned wh_loop_count(void);

/** Loop `index` of the runtime the caller is in, NULL if there is no such loop. */
WH_API struct wh_loop *wh_loop_at(unsigned index);

/** The loop of the calling thread, NULL outside of any. */
WH_API struct wh_loop *wh_loop_self(void);

/** Which of the runtime's loops it is, from 0 on. */
WH_API unsigned wh_loop_index(const struct wh_loop *loop);

/* A message to a loop. The sender owns the memory until `fn` is called, then the receiver does. */
struct wh_post {
	struct wh_post *next; /* the engine's */
	/* Runs on the loop's thread, outside of any task: it must not suspend. */
	void (*fn)(struct wh_post *post);
};

/**
 * Have `post->fn(post)` called on `loop`'s thread. Posts of one thread keep their order. Costs a
 * system call only if the loop sleeps.
 *
 * Returns    0.
 * Errors     -ESHUTDOWN   the runtime is ending: `fn` will not be called
 * Context    any thread, while the runtime runs.
 */
WH_API int wh_loop_post(struct wh_loop *loop, struct wh_post *post);

/**
 * Start a task on `loop`, in that loop's root scope: the runtime does not end before it, and its
 * failure cancels the runtime unless `opts` of wh_run say otherwise. `opts->ret_task` must be NULL.
 *
 * Returns    0 once the request is on its way. If the task then cannot be started for want of
 *            memory, that counts as its failure.
 * Errors     -ENOMEM, -ESHUTDOWN, -EINVAL
 * Context    any thread, while the runtime runs.
 */
WH_API int wh_loop_spawn(struct wh_loop *loop, wh_task_fn fn, void *arg,
			 const struct wh_spawn_opts *opts);

/**
 * Run `fn(arg)` in a task on `loop` and wait for it. The caller's cancellation travels along.
 *
 * Suspends   the calling task until it has ended, also when cancelled.
 * Returns    0, with its result in `*ret_result` (may be NULL).
 * Errors     -ENOMEM, -EAGAIN   it could not be started
 *            -ECANCELED, -ETIMEDOUT   the caller was cancelled before it was started
 *            -ESHUTDOWN
 * Context    a task.
 */
WH_API int wh_loop_call(struct wh_loop *loop, wh_task_fn fn, void *arg, int *ret_result);

/* Counters of one loop since it started. */
struct wh_loop_stats {
	uint64_t turns;
	uint64_t enters; /* system calls of the backend that submit, try or wait */
	uint64_t ops_submitted;
	uint64_t completions;
	uint64_t cq_overflows;	  /* turns that found the completion queue overflowed */
	uint64_t bufs_exhausted;  /* receives that were parked because no buffer was free */
	uint64_t accept_backoffs; /* accepts that waited because of EMFILE and the like */
	uint64_t wakes_sent;	  /* system calls to wake this loop from another thread */
	uint64_t resumes;	  /* of tasks, in earlier turns */
	uint64_t tasks_spawned;
	uint32_t tasks_live;
	uint32_t ops_inflight;
};

/** Copy the counters of the calling thread's loop. Context: on a loop. */
WH_API void wh_loop_stats(struct wh_loop_stats *ret);

/* One thing the kernel may offer. */
struct wh_feature {
	const char *name;
	bool available; /* found by trying it */
	bool used;	/* the engine will use it */
	const char *why;
};

enum { WH_FEATURES_MAX = 48 };

/**
 * Find out what io_uring offers here, by doing.
 *
 * Returns    the number of features put into `ret`, at most WH_FEATURES_MAX.
 * Errors     as wh_run when there is no io_uring at all
 * Context    any thread, in or out of a runtime. Takes a few milliseconds; blocks.
 */
WH_API int wh_probe(struct wh_feature ret[WH_FEATURES_MAX]);

/* Which backend runs, and why. */
struct wh_backend_choice {
	const char *name; /* "uring", "epoll", "sim" */
	bool asked;	  /* by name: it runs whatever the others could do */
	bool fallback;	  /* io_uring is refused here */
	int err;	  /* with what, -errno; 0: it is not */
	char why[256];	  /* one sentence, without a full stop */
	char cure[320];	  /* with `fallback`: what would change it; else "" */
};

/**
 * Find out which backend the runtime has that the caller is in, or that one with default options
 * would have, and why.
 *
 * Returns    0.
 * Errors     outside of a runtime, as wh_run: `ret->why` says what is wrong
 * Context    any thread, in or out of a runtime. Outside it may take a millisecond; blocks.
 */
WH_API int wh_backend_why(struct wh_backend_choice *ret);

/** Name of the backend of the runtime the caller is in, "none" outside. */
WH_API const char *wh_backend_name(void);

/** The library's version, "MAJOR.MINOR.PATCH". */
WH_API const char *wh_version(void);

#endif
