/*
 * The simulated kernel: a program run in a world made up from a number, the seed. Time is virtual
 * and jumps over waits; hosts, links, disks, signals and crashes are simulated; faults happen as
 * asked for. One seed is one schedule: the same program, seed and options give the same run, which
 * the trace hash proves. So a failure found once can be had again.
 *
 *     static int test(void *arg) { ... wh_listen, wh_connect, wh_file_open, wh_sleep ... }
 *
 *     for (uint64_t seed = 1; seed <= 1000; seed++) {
 *             struct wh_sim_report report;
 *             struct wh_sim_opts opts = { .hosts = 2, .faults = "storm", .ret_report = &report };
 *
 *             if (wh_sim_run(seed, test, NULL, &opts) != 0)
 *                     printf("seed %ju: %s\n", (uintmax_t)seed, report.text);
 *     }
 *
 * Hosts are loops: wh_loop_at(i) is host i, wh_loop_spawn and wh_loop_call start tasks there, and
 * wh_loop_post crosses between them untouched by the network, for what belongs to the test rather
 * than to the program. All run on the calling thread. Each host has an address, a disk and a limit
 * on descriptors of its own. Jobs of an executor, of threads or processes, run on the calling
 * thread, at simulated times, and must not wait for each other.
 *
 * Descriptors in a world are the world's own, from 1000 on: real system calls fail on them with
 * EBADF, and real descriptors mean nothing there. What a program does without the engine, such as
 * reading a clock or asking the allocator for memory, is as it is.
 *
 * Any program can be run in a world without being changed: WHORL_BACKEND=sim and WHORL_SIM_SEED=N
 * (default 1) make wh_run do it, with one host, an empty disk and no faults.
 */
#ifndef WHORL_SIM_H
#define WHORL_SIM_H

#include <stddef.h>
#include <whorl/run.h>
#include <whorl/sock.h>

enum { WH_SIM_HOSTS_MAX = 64, WH_SIM_TEXT_MAX = 1024 };

/* What became of a run. */
struct wh_sim_report {
	int result;		    /* of the first task */
	uint64_t trace_hash;	    /* over every operation, completion, fault and their times */
	uint64_t duration_ns;	    /* virtual */
	uint64_t events;	    /* of the world */
	uint64_t ops;		    /* submitted */
	uint64_t decisions;	    /* places at which a fault could have been */
	uint32_t faults_count;	    /* faults that were */
	char text[WH_SIM_TEXT_MAX]; /* what was violated and where, for a person; "" if nothing */
};

/* One fault that was: its place in the order of decisions, and its name. */
struct wh_sim_fault {
	uint64_t decision;
	uint64_t at_ns; /* virtual */
	const char *name;
	const char *op; /* that it struck; "" if none */
};

/* {0} is valid: one host, no faults. */
struct wh_sim_opts {
	uint32_t hosts; /* default 1 */
	/* A profile's name, or items "fault=probability" separated by commas, or both, the later
	 * ones counting: "storm,reset=0". NULL: none. wh_sim_faults_help lists them. */
	const char *faults;
	uint64_t calm_after_ns; /* no fault begins from then on, and those that last, as cut links
				   and stalled operations, end; 0: faults never end */
	uint64_t time_max_ns;	/* virtual; default 1 hour. Reached: -ETIME */
	uint64_t events_max;	/* default 10,000,000. Reached: -ETIME */
	/* Only these decisions may be faults, in ascending order; NULL: all. For shrinking: whether
	 * the n-th decision is a fault depends on the seed and on n, not on the others. */
	const uint64_t *only;
	size_t only_count;
	/* Limits of each host: stack_bytes, tasks_max, buf_count (default here: 64)...; and
	 * keep_signals, which leaves SIGSEGV alone. Its loops, pin, backend and what concerns the
	 * ring are ignored. */
	const struct wh_run_opts *run;
	/* Called for every line of the trace, and for every fault. May be NULL. */
	void (*trace)(void *arg, const char *line);
	void (*on_fault)(void *arg, const struct wh_sim_fault *fault);
	void *arg;
	struct wh_sim_report *ret_report; /* may be NULL */
};

/**
 * Run `fn(arg)` as the first task, on host 0 of a world made from `seed`, until it and all others
 * have ended, on every host.
 *
 * Returns    what `fn` returned, or if that is no failure but a task of wh_loop_spawn failed, the
 *            first such failure. What fails on a host that has crashed does not count.
 * Errors     -EDEADLK   tasks wait, and nothing can happen any more; the report names them
 *            -ETIME     time_max_ns or events_max was reached; the report says what still went on
 *            -EPROTO    something is left that should not be: an open descriptor, a receive buffer,
 *                       an operation in flight; or a descriptor was closed that was not open. By
 *                       the program, or by the engine
 *            -EINVAL    an option out of range, or a fault of an unknown name; the report names it
 *            -EBUSY     called from inside a runtime
 *            -ENOMEM
 * Context    any thread. Several threads may run worlds of their own.
 */
WH_API int wh_sim_run(uint64_t seed, wh_task_fn fn, void *arg, const struct wh_sim_opts *opts);

/** The profiles and faults there are, a line each, for a person. Never NULL. */
WH_API const char *wh_sim_faults_help(void);

/* Inside a world. Context of all below: a task of it. */

/** A number from the world's seed for the program's own choices: 0 <= it < `bound`; `bound` > 0 */
WH_API uint64_t wh_sim_random(uint64_t bound);

/** The address of `port` on `host`: 10.0.0.(host + 1). */
WH_API void wh_sim_addr(uint32_t host, uint16_t port, struct wh_addr *ret);

/* Of one direction of a link. */
struct wh_sim_link {
	uint64_t latency_ns;  /* default 100 us; within a host 5 us */
	uint64_t jitter_ns;   /* up to so much more, a segment; default as latency_ns. Order is kept
				 within a connection */
	uint64_t bytes_per_s; /* 0: unlimited */
};

/** Set the link from host `from` to host `to`. 0, or -EINVAL if there is no such host. */
WH_API int wh_sim_set_link(uint32_t from, uint32_t to, const struct wh_sim_link *link);

/**
 * Cut the link between two hosts in both directions, or mend it. What is on its way is held, and
 * arrives after mending; connections that are cut for longer than 30 s end with -ETIMEDOUT.
 * 0, or -EINVAL if there is no such host.
 */
WH_API int wh_sim_cut(uint32_t a, uint32_t b, bool cut);

/**
 * Crash `host`: its operations have no effect from now on, its tasks are cancelled, its disk loses
 * what was not synced (or keeps some of it, as the seed has it), its peers see resets or silence.
 * Suspends until its tasks have ended. Returns 0; -EINVAL: no such host, or the caller's own.
 */
WH_API int wh_sim_crash(uint32_t host);

/**
 * Start a crashed `host` again, with the disk that is left. Connections from before are unknown
 * there: peers are told so by resets. It runs nothing yet: wh_loop_spawn does.
 * 0; -EINVAL; -EALREADY: it runs; -EBUSY: tasks from before still live, in a shield.
 */
WH_API int wh_sim_reboot(uint32_t host);

/** Send `signal` (SIGINT, SIGTERM) to `host`: its tasks are cancelled, as wh_run does it, and
 * wh_run_signal tells there which it was. A second one does nothing. 0 or -EINVAL. */
WH_API int wh_sim_signal(uint32_t host, int signal);

/** A simulated child process on the caller's host, that exits with `status` (as wait(2) has it)
 * after `after_ns`. Returns its pid, for wh_process_wait; -EAGAIN: too many. */
WH_API int wh_sim_child(uint64_t after_ns, int status);

/** Limit the descriptors of `host`; 0: none. 0 or -EINVAL. */
WH_API int wh_sim_set_fds_max(uint32_t host, uint32_t fds_max);

/** Set the size of `host`'s disk in bytes, beyond which -ENOSPC; 0: no limit. 0 or -EINVAL. */
WH_API int wh_sim_set_disk(uint32_t host, uint64_t bytes);

/** True if the calling thread runs a world. */
WH_API bool wh_sim_active(void);

/**
 * Say what the program did wrong, as printf(3). The first time counts: it becomes the report's text
 * and a line of the trace, and wh_sim_run returns -EBADMSG unless `fn` itself fails. The run goes
 * on until its tasks have ended.
 *
 * Returns    -EBADMSG, for the caller to hand on.
 */
WH_API int wh_sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A program for `whorl sim ./FILE.so`, which exports one of these as `wh_scenario`:
 *     const struct wh_sim_scenario wh_scenario = { .name = "mine", .fn = test };
 * Built with `cc -shared -fPIC -o FILE.so FILE.c`; the command brings the library. */
struct wh_sim_scenario {
	const char *name;
	const char *about; /* one line for a person; may be NULL */
	wh_task_fn fn;
	void *arg;		 /* of `fn` */
	struct wh_sim_opts opts; /* hosts, limits, and the faults if the user asks for none; its
				    trace, on_fault, only and ret_report are the command's */
};

#endif
