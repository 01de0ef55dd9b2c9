/*
 * Pools of processes: executors whose workers may die without taking the program along.
 *
 *     r = wh_pool_open(&(struct wh_pool_opts){ .processes = 4 }, &executor);
 *     r = wh_offload(executor, wh_job_run, &call, &result);
 *     ...
 *     wh_executor_close(executor);
 *
 * What a call says when its worker dies, besides what wh_offload and wh_job_run say:
 *     -EOWNERDEAD        the process that had the job ended; call.death says how. If the job had
 *                        been done, nobody knows
 *     -ENOTRECOVERABLE   the job is idempotent, and each of WH_CALL_ATTEMPTS_MAX processes that
 *                        tried it died: it is not tried again
 *     -EPROTO            its worker wrote nonsense into the memory shared with it, and was killed
 *     -EMSGSIZE          arguments or `result_max` above WH_CALL_BYTES_MAX
 *     -EBADF, -ETOOMANYREFS   `args_fd` cannot be handed over, as sendmsg(2)
 *     -EMFILE            also: the job was done, and handed back a descriptor for which this
 *                        process has no room
 *     -EAGAIN, -ENOMEM, -EMFILE, -ENFILE, -ECONNRESET, -EPROTO and others, as wh_pool_open: there
 *                        is no worker, and none can be started. The pool goes on trying
 * Jobs that the process had not begun are given to others. It is replaced: at once, and after a
 * pause that doubles up to 0.1 s if that many die without a job done in between.
 *
 * A job that runs is ended by force when its task is cancelled only if asked for: `kill` in
 * wh_offload_opts and struct wh_map. The call then returns -ECANCELED or -ETIMEDOUT.
 *
 * Workers are forked by a process that is the program itself, started anew before it had a thread
 * or a ring; see wh_jobs_main. They ignore SIGINT, so that Ctrl-C is the program's matter; their
 * standard input is /dev/null, the other descriptors of the program are closed in them. They die
 * with the program, however it ends. They have its environment, credentials, directory, limits and
 * system call filters as of wh_run.
 *
 * In a simulated world (<whorl/sim.h>) there are no processes, but what stands for them: jobs run
 * on the world's thread and in the program's memory, at virtual times, and the faults "death",
 * "fork" and "nursery" end workers at any point of a job's way. `memory_bytes`, `resident_bytes`
 * and `job_cpu_ns` limit nothing there.
 */
#ifndef WHORL_POOL_H
#define WHORL_POOL_H

#include <whorl/exec.h>
#include <whorl/jobs.h>

enum { WH_POOL_PROCESSES_MAX = 256 };

/* {0} is valid and means the defaults. */
struct wh_pool_opts {
	uint32_t processes; /* default: the CPUs this process may use */
	uint32_t queue_max; /* jobs waiting, those handed ahead not counted; default 1,024. Further
			       ones stand in line behind them, except those with `unless_full` */
	uint32_t ahead_max; /* jobs handed to a process beyond the one it runs, which saves
			       wake-ups; default 127. Those not begun go to others that are idle */
	/* Limits of a worker; 0: none. */
	uint64_t memory_bytes;	 /* private memory that it may get beyond what the program has at
				    its start; malloc(3) fails then */
	uint64_t job_cpu_ns;	 /* processor time of one job; then SIGXCPU ends the worker */
	uint64_t jobs_max;	 /* jobs after which it is replaced */
	uint64_t resident_bytes; /* resident memory from which on it is replaced, after its job */
};

/**
 * Start a pool of processes. It belongs to the calling task's loop; tasks on all loops of the
 * runtime may use it.
 *
 * Suspends   the calling task until the workers have been started.
 * Returns    0, with the executor in `*ret`.
 * Errors     -ENOEXEC   main does not call wh_jobs_main
 *            -EINVAL    more than WH_POOL_PROCESSES_MAX processes, or `ahead_max` above 1,023
 *            -ENOENT    /proc is not there, by which the program finds itself
 *            -EPERM     the program has rights from its file (setuid and the like); or as execve(2)
 *            -EACCES, -EAGAIN, -ENOMEM, -EMFILE, -ENFILE   as execve(2), fork(2), memfd_create(2),
 *            mmap(2), eventfd(2), socketpair(2)
 *            -EPROTO    what was started is of another version: a library was replaced meanwhile
 *            -ECONNRESET   what was started has died
 *            -ECANCELED, -ETIMEDOUT
 * Ownership  wh_executor_close releases it, before the runtime ends: by a task of the same loop,
 *            which it suspends, also when cancelled, until all of its processes have ended.
 * Context    a task.
 */
WH_API int wh_pool_open(const struct wh_pool_opts *opts, struct wh_executor **ret);

/* What became of a pool's processes and jobs so far. */
struct wh_pool_stats {
	uint32_t live;	   /* processes now */
	uint64_t started;  /* processes */
	uint64_t died;	   /* of a signal, or with a job */
	uint64_t recycled; /* replaced because of `jobs_max` or `resident_bytes` */
	uint64_t killed;   /* because the job was cancelled */
	uint64_t done;	   /* jobs */
	uint64_t lost;	   /* jobs that failed because their process died */
	uint64_t retried;  /* attempts beyond the first */
	uint64_t moved;	   /* times a job went to another process before it was begun */
};

/** Copy the counters of `executor`, a pool of processes. Context: any thread. */
WH_API void wh_pool_stats(struct wh_executor *executor, struct wh_pool_stats *ret);

/**
 * The process numbers of the workers that live now, at most `max`.
 *
 * Returns    how many were put into `ret`.
 * Context    any thread.
 */
WH_API unsigned wh_pool_pids(struct wh_executor *executor, pid_t *ret, unsigned max);

#endif
