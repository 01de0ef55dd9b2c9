/*
 * Jobs with a name: functions that threads and processes alike can be told to run, because what
 * goes in and what comes out is bytes.
 *
 *     WH_JOB(sum)
 *     {
 *             const int *numbers = io->args;
 *             long total = 0;
 *
 *             for (size_t i = 0; i < io->args_len / sizeof(int); i++)
 *                     total += numbers[i];
 *             return wh_job_answer(io, &total, sizeof(total));
 *     }
 *
 *     int main(void)
 *     {
 *             wh_jobs_main();
 *             ...
 *
 *     struct wh_call call = {
 *             .job = "sum", .args = numbers, .args_len = sizeof(numbers),
 *             .result = &total, .result_max = sizeof(total),
 *     };
 *     r = wh_offload(executor, wh_job_run, &call, &result);
 *
 * The executor is one of wh_executor_open or of wh_pool_open (<whorl/pool.h>). wh_map works over
 * jobs too: wh_job_run is its function, and its items are calls.
 */
#ifndef WHORL_JOBS_H
#define WHORL_JOBS_H

#include <whorl/api.h>

enum {
	WH_JOBS_MAX = 1024,	   /* names known at a time */
	WH_JOB_NAME_MAX = 63,	   /* bytes of one */
	WH_CALL_BYTES_MAX = 32768, /* of arguments, and of an answer, on processes */
	WH_CALL_ATTEMPTS_MAX = 3,  /* of an idempotent call: one, and twice more */
};

/* What the function of a job is given. */
struct wh_job_io {
	const void *args; /* `args_len` bytes, aligned for any type; not to be changed */
	size_t args_len;
	void *result; /* where the answer goes: room for `result_max` bytes, aligned as `args` on
			 processes, as the caller's buffer on threads */
	size_t result_max;
	size_t result_len; /* of the answer; the function sets it. 0 at first */
	int args_fd;   /* that the caller has handed over, until the function returns; 0: none */
	int result_fd; /* to hand one back, put it here: it is the caller's then. 0: none */
};

/* The function of a job. What it returns is the job's result. On processes it may do what a
 * process may do, ending it included; it must not use whorl's loops and tasks. */
typedef int (*wh_job_main_fn)(struct wh_job_io *io);

/* A function and its name; names that begin with "wh_" are the engine's. Static: it is on a list
 * for as long as it is registered. */
struct wh_job {
	const char *name;
	wh_job_main_fn fn;
	uint64_t opaque[2]; /* the engine's */
};

/* Define a job, and register it when the program starts or the library that has it is loaded. */
#define WH_JOB(job_name)                                                                           \
	static int job_name(struct wh_job_io *io);                                                 \
	static struct wh_job wh_job_##job_name = { #job_name, job_name, { 0, 0 } };                \
	__attribute__((constructor)) static void wh_job_add_##job_name(void)                       \
	{                                                                                          \
		wh_job_register(&wh_job_##job_name);                                               \
	}                                                                                          \
	__attribute__((destructor)) static void wh_job_remove_##job_name(void)                     \
	{                                                                                          \
		wh_job_unregister(&wh_job_##job_name);                                             \
	}                                                                                          \
	static int job_name(struct wh_job_io *io)

/**
 * Make `job` known. WH_JOB does it. Worker processes know a job if the program registers it before
 * main, or a library does when it is loaded; which library that is they are told, and load it.
 *
 * Returns    0.
 * Errors     -EEXIST        another job has that name. Calls of it fail from now on, rather than
 *                           reach one or the other
 *            -ENOSPC        WH_JOBS_MAX jobs are registered
 *            -ENAMETOOLONG
 * Ownership  `job` is borrowed until wh_job_unregister.
 * Context    any thread.
 */
WH_API int wh_job_register(struct wh_job *job);

/**
 * Forget `job`, of which no call is under way.
 *
 * Context    any thread.
 */
WH_API void wh_job_unregister(struct wh_job *job);

/* How a worker process ended, and what it had used. */
struct wh_job_death {
	int signal;    /* that ended it; 0: none */
	int exit_code; /* if `signal` is 0 */
	uint64_t user_ns;
	uint64_t system_ns;
	uint64_t resident_bytes; /* at its largest */
};

/* One call of a job. {0} with `job` is valid: no arguments, no answer. */
struct wh_call {
	const char *job; /* its name */
	const void *args;
	size_t args_len;
	void *result; /* where the answer is to go */
	size_t result_max;
	int args_fd; /* handed over, above 0: large arguments go into a memfd, and are not copied.
			It stays the caller's too. 0: none */
	bool idempotent; /* doing it twice is the same as once: if the process that has it dies it
			    is done again, twice at most */
	/* Filled in once the call has ended: */
	unsigned attempts; /* times it was begun */
	size_t result_len;
	int result_fd;		   /* handed back, the caller's; 0: none */
	struct wh_job_death death; /* of the last process that died of it */
	uint64_t opaque[4];	   /* the engine's */
};

/**
 * The function to offload for `arg`, a struct wh_call: look up the job and run it. On a pool of
 * processes one of them does, elsewhere the thread that calls this.
 *
 * Returns    what the job's function returned.
 * Errors     these come as the result too:
 *            -ENOSYS     no job of that name is registered; or in the worker there is none
 *            -ENOTUNIQ   several are
 *            -ELIBACC    the worker cannot load the library that has it
 *            -EMSGSIZE   the function says that its answer is longer than `result_max`
 *            -EBADF      the descriptor that the function hands back cannot be handed over
 * Ownership  the call and its buffers are borrowed until return.
 * Context    an executor's worker; any thread.
 */
WH_API int wh_job_run(void *arg);

/**
 * For a job's function: copy an answer.
 *
 * Returns    0.
 * Errors     -EMSGSIZE   there is no room for `len` bytes
 */
WH_API int wh_job_answer(struct wh_job_io *io, const void *answer, size_t len);

/**
 * To be called first in main by a program that opens pools of processes. Workers are started by
 * running the program anew, and in these this call does not return; in any other process it
 * returns at once. Explicit, because only here have all constructors run and nothing else has; and
 * because a library must not take over a process by itself.
 *
 * Context    main, before other threads are started. What stands before it also happens whenever
 *            workers are started.
 */
WH_API void wh_jobs_main(void);

#endif
