/*
 * Servers of many processes. A supervisor makes the listening sockets, starts the program anew as
 * often as it is to serve, and sees to it that it goes on serving: what dies is started again, and
 * all can be exchanged one after another without a connection lost.
 *
 *     static int work(void *arg)               // in each worker
 *     {
 *             struct wh_listener *listener;
 *             int r = wh_supervised_listener(0, &listener);
 *
 *             if (r == 0)
 *                     r = wh_supervised_ready();
 *             if (r == 0)
 *                     r = wh_serve(listener, echo, arg,
 *                                  &(struct wh_serve_opts){ .close_listener = true });
 *             return r;
 *     }
 *
 *     static int supervise(void *arg)          // in the supervisor, which serves nobody
 *     {
 *             return wh_supervise(&(struct wh_supervise_opts){ .addrs = arg, .addr_count = 1 },
 *                                 NULL);
 *     }
 *
 *     int main(void)
 *     {
 *             int supervised = wh_supervised();
 *             ...
 *             return wh_run(supervised ? work : supervise, &addr,
 *                           &(struct wh_run_opts){ .loops = 1 }, NULL) < 0;
 *     }
 *
 * Workers are never forked: each is the program's file, with the arguments that the supervisor was
 * given. It sees no other descriptors than standard input, output and error, and those below.
 */
#ifndef WHORL_SUPERVISE_H
#define WHORL_SUPERVISE_H

#include <whorl/api.h>
#include <whorl/jobs.h>
#include <whorl/sock.h>

enum {
	WH_SUPERVISE_PROCESSES_MAX = 1024,
	WH_SUPERVISE_FDS_MAX = 1024, /* handed to one process: sockets and others */
};

/* What has happened. */
enum wh_supervise_event_kind {
	WH_SUPERVISE_LISTENS,	/* the sockets are there; `addrs` of the options say where */
	WH_SUPERVISE_READY,	/* a process serves */
	WH_SUPERVISE_UNSTARTED, /* one could not be started: `err` */
	WH_SUPERVISE_LATE,	/* one was not ready in time, and is killed */
	WH_SUPERVISE_ENDED,	/* one has ended: `death`, `life_ns`, `expected` */
	WH_SUPERVISE_WAITS,	/* the next is started in `delay_ns` */
	WH_SUPERVISE_RESTARTS,	/* all are about to be exchanged, one after another */
	WH_SUPERVISE_RETIRES,	/* one accepts no more and goes on with its connections */
	WH_SUPERVISE_RESTARTED, /* all have been exchanged */
	WH_SUPERVISE_ABANDONED, /* a new one did not get ready (`err`): those before go on */
	WH_SUPERVISE_OVERDUE,	/* one that was to end did not, and is killed */
};

struct wh_supervise_event {
	enum wh_supervise_event_kind kind;
	uint32_t slot;	     /* which of the processes, from 0 on */
	uint32_t generation; /* how many were started in this slot before, and this one */
	pid_t pid;	     /* 0: none */
	int err;
	bool expected; /* it was told to end */
	uint64_t life_ns;
	uint64_t delay_ns;
	struct wh_job_death death;
};

/* {0} with `addrs` or `fds` is valid. */
struct wh_supervise_opts {
	uint32_t processes; /* default: the CPUs that this process may use */
	uint32_t loops;	    /* that serve in each: a process gets as many sockets for each address;
			       default 1 */
	/* Where to listen. With port 0 the kernel chooses; the port is filled in. TCP: each loop of
	 * each process has a socket, and the kernel spreads connections. Unix: all have one. */
	struct wh_addr *addrs;
	uint32_t addr_count;
	struct wh_listen_opts listen; /* but for `reuse_port`, `first` */
	const int *fds;		      /* others to hand over; they stay the caller's */
	uint32_t fd_count;
	const char *path;    /* the program; default: the file that this process was started from,
			       by the name that it has when wh_supervise is called. So a file that
			       replaces it is taken from then on; for a symbolic link that is
			       exchanged, name it here */
	char *const *argv;   /* default: those of this process */
	uint64_t ready_ns;   /* to get ready in; default 10 s */
	uint64_t retire_ns;  /* for connections when processes are exchanged; default 60 s */
	uint64_t stop_ns;    /* between SIGTERM and SIGKILL; default 10 s */
	uint64_t healthy_ns; /* who has lived for that long is replaced at once; default 5 s */
	uint64_t backoff_ns; /* after the second short life in a row, then twice as long each
				    time; default 50 ms */
	uint64_t backoff_max_ns; /* default 5 s */
	bool keep_sighup;	 /* leave SIGHUP as it is; default: it exchanges all processes */
	/* Called on the supervisor's loop. It must not suspend. */
	void (*on_event)(void *arg, const struct wh_supervise_event *event);
	void *arg;
};

struct wh_supervise_stats {
	uint64_t started;  /* processes */
	uint64_t deaths;   /* of those that served and were not told to end */
	uint64_t killed;   /* because they were late, or did not end when told to */
	uint64_t restarts; /* completed exchanges of all */
	uint64_t abandoned;
};

/**
 * Listen, start the processes, and keep them until cancelled. The first is started alone: if it
 * does not get ready three times, nothing will. Whoever dies after `healthy_ns` or for the first
 * time is replaced at once, else after a growing delay. Its connections die with it; those that
 * nobody has accepted yet wait in the socket, which stays, for its successor.
 *
 * SIGHUP and wh_supervise_restart exchange all: slot by slot a new process is started on the same
 * sockets; once it is ready the old one stops accepting, and only then the new one begins. The old
 * one goes on with its connections, until they end or `retire_ns` is over; then it gets SIGTERM. If
 * a new one does not get ready, the exchange is abandoned and the old one stays. A process that has
 * SIGHUP ignored (nohup) goes on ignoring it.
 *
 * Suspends   the calling task until cancelled; then all processes get SIGTERM, those that remain
 *            after `stop_ns` SIGKILL, and all are waited for.
 * Returns    never 0; `*ret_stats` (may be NULL) is filled in whatever is returned.
 * Errors     -ECANCELED, -ETIMEDOUT   the ways it ends once one process has got ready
 *            -ECHILD    the first process ended before it was ready, three times
 *            -ETIME     it was not ready in time, three times
 *            -ENOENT, -EACCES, -ENOEXEC, -ENOMEM and others, as posix_spawn(3): it could not be
 *            started, three times
 *            -EADDRINUSE and others, as wh_listen
 *            -EINVAL    no address and no descriptor, or too many; too many processes
 *            -EBUSY     this process is a supervisor already
 *            -ENOTSUP   in a simulated world
 *            -EMFILE, -ENFILE, -ENOMEM; -EPERM: this program runs with other people's rights
 * Ownership  `opts` and what it points at are borrowed until return.
 * Context    a task. Its loop is not for work that takes long.
 */
WH_API int wh_supervise(const struct wh_supervise_opts *opts, struct wh_supervise_stats *ret_stats);

/**
 * Exchange all processes, as SIGHUP does. Asked for again meanwhile, it is done once more.
 *
 * Returns    0 once it is asked for; events tell what comes of it.
 * Errors     -ESRCH   this process is no supervisor
 * Context    any thread, or a signal handler.
 */
WH_API int wh_supervise_restart(void);

/**
 * Find out whether this process is a supervisor's, to be called in main before anything that starts
 * processes or threads. If it is, it ignores SIGINT and SIGHUP from now on, which a terminal sends
 * to all and which are the supervisor's. If the supervisor dies it gets SIGTERM; if that finds a
 * runtime to cancel (wh_run without `keep_signals`) and it has not ended after `stop_ns`, SIGKILL,
 * however busy it is.
 *
 * Returns    1 if so, else 0.
 * Errors     WHORL_SUPERVISED is in the environment, and
 *            -EINVAL    nonsense
 *            -EPROTO    of a supervisor with another version of it
 *            -ESRCH     the supervisor has died meanwhile
 *            -ENOTCONN  the descriptors are not those that a supervisor would have handed over
 *            -EPERM     this program runs with other people's rights
 *            The variable is removed at the first call; later ones return the same.
 * Context    the main thread, first.
 */
WH_API int wh_supervised(void);

/** Which of the processes this is, from 0 on: its successor has the same. -1: none. */
WH_API int wh_supervised_slot(void);

/**
 * A number from 0 to 2 * processes - 1 that no other process has which lives at the same time: for
 * a place of one's own in shared memory. 2 * slot or 2 * slot + 1. -1: not supervised.
 */
WH_API int wh_supervised_seat(void);

/**
 * The listener of the calling task's loop for address `index` of the options. When this process is
 * to retire it stops by itself, as if by wh_listener_stop: wh_accept hands out whom the kernel has
 * accepted, and then returns -ESHUTDOWN. Sockets that are accepted from without it (others handed
 * over, in `fds` say) are this process's to leave alone then; of those its successor hears nothing,
 * and begins after a second.
 *
 * Returns    0, with the listener in `*ret`.
 * Errors     -ENOENT     there is no such address, or this loop's number is not below `loops`
 *            -EALREADY   it was handed out before
 *            others as wh_listen_fd
 * Ownership  wh_listener_close releases it. The supervisor has the socket too, and removes the path
 *            of a Unix socket.
 * Context    a task; the listener belongs to its loop.
 */
WH_API int wh_supervised_listener(uint32_t index, struct wh_listener **ret);

/**
 * Descriptor `index` of the options' `fds`, which stays open; -ENOENT if there is none. Context:
 * any thread.
 */
WH_API int wh_supervised_fd(uint32_t index);

/**
 * Say that this process can serve, and wait until it is its turn: whoever served before must have
 * stopped accepting, or connections could wait for the one and be offered to the other.
 *
 * Suspends   the calling task until then.
 * Returns    0.
 * Errors     -EPIPE    the supervisor is gone
 *            -ENOENT   this process is not supervised
 *            -EALREADY   it was called before
 *            -ECANCELED, -ETIMEDOUT
 * Context    a task.
 */
WH_API int wh_supervised_ready(void);

/**
 * Wait until this process is to retire: to accept no more, go on with what it has, and end.
 * wh_serve and wh_supervised_listener see to the first by themselves; this is for what else such a
 * process does.
 *
 * Suspends   the calling task until then.
 * Returns    0, at once if it was told before, or if the supervisor is gone.
 * Errors     -ENOENT   this process is not supervised
 *            -ECANCELED, -ETIMEDOUT
 * Context    a task, after wh_supervised_ready.
 */
WH_API int wh_supervised_retire_wait(void);

#endif
