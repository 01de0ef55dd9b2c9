/*
 * Supervisor and workers: what both sides know, and the files of the supervisor of each other.
 *
 * A worker finds in its environment a mark that says what it was given, and as descriptors from
 * WHI_SUPERVISED_FD on: its end of the channel, its listening sockets, what else is handed over.
 *
 * Over the channel: the worker says that it is ready, the supervisor that it may go; the end of
 * the supervisor's words is that the worker is to retire, or that nobody is there any more; and
 * the worker says that it has stopped accepting.
 */
#pragma once

#include <sys/types.h>
#include <whorl/supervise.h>

#include "base/list.h"
#include "loop/loop.h"

#define WHI_SUPERVISED_VARIABLE "WHORL_SUPERVISED"

enum {
	WHI_SUPERVISED_VERSION = 1,
	WHI_SUPERVISED_FD = 3,
	WHI_SUPERVISED_TEXT_MAX = 128,
};

enum whi_supervised_word {
	WHI_SUPERVISED_READY = 'r',
	WHI_SUPERVISED_GO = 'g',
	WHI_SUPERVISED_STOPPED = 's',
};

/* What a worker is told in its environment. */
struct whi_supervised_mark {
	uint32_t pid; /* the supervisor's */
	uint32_t slot;
	uint32_t seat;
	uint32_t addrs;
	uint32_t loops;
	uint32_t fds; /* besides the channel and addrs * loops sockets */
	uint32_t stop_ms;
};

/* NAME=VALUE. */
void whi_supervised_format(const struct whi_supervised_mark *mark,
			   char text[WHI_SUPERVISED_TEXT_MAX]);

/* VALUE. 0, -EINVAL or -EPROTO. */
int whi_supervised_parse(const char *text, struct whi_supervised_mark *ret);

/* supervised.c, for listeners */

bool whi_supervised_here(void);

/* One that the supervisor has handed over accepts no more. Any thread. */
void whi_supervised_stopped(void);

/* listener.c: in a worker, stop `listener` when it is to retire. More than once does no harm. */
void whi_listener_retires(struct wh_listener *listener);

/* The same, for one that the supervisor has handed over. */
void whi_listener_supervised(struct wh_listener *listener);

/* supervise_start.c: starting processes */

/* What all are started with. */
struct whi_program {
	char *path;
	char **argv;
	char *argv_text;    /* where the arguments are, if they were not given */
	char **environment; /* [0] is free, for the mark */
};

/* 0 or -errno. */
int whi_program_init(struct whi_program *program, const struct wh_supervise_opts *opts);
void whi_program_fini(struct whi_program *program);

/* Start `program` with `fds`, its channel first. Its number or -errno. */
pid_t whi_program_start(const struct whi_program *program, const struct whi_supervised_mark *mark,
			const int *fds, unsigned fd_count);

/* How long to wait before the next start, after `quick` short lives in a row; `random` is any
 * number. */
uint64_t whi_supervise_delay(const struct wh_supervise_opts *opts, unsigned quick, uint64_t random);

/* supervise_worker.c: a process, from its start to its end */

enum whi_worker_state {
	WHI_WORKER_STARTING, /* for `ready_ns`, then it is killed */
	WHI_WORKER_SERVING,
	WHI_WORKER_RETIRING, /* for `retire_ns`, then it is stopped */
	WHI_WORKER_STOPPING, /* for `stop_ns`, then it is killed */
	WHI_WORKER_KILLED,
	WHI_WORKER_ENDED,
};

/* A task that waits for something to change. */
struct whi_notice {
	struct whi_wait *waiter;
	bool given;
};

/* Until it is given, or was since it was last waited for. 0, -ECANCELED or -ETIMEDOUT. */
int whi_notice_wait(struct whi_notice *notice, const char *what);
void whi_notice_give(struct whi_notice *notice);

struct whi_supervisor {
	struct wh_supervise_opts opts; /* with the defaults filled in */
	struct whi_program program;
	struct wh_supervise_stats stats;
	struct wh_scope scope;	      /* of all its tasks */
	struct whi_list workers;      /* alive */
	struct wh_listener **sockets; /* all that were made */
	unsigned socket_count;
	struct whi_slot *slots;
	struct whi_notice turned;   /* for who waits in wh_supervise */
	struct whi_notice replaced; /* a slot has answered */
	bool began;		    /* some process got ready */
	unsigned vain;		    /* starts, before that */
	int failure;
	int asked; /* eventfd: to exchange all */
};

enum whi_replacing { WHI_REPLACING_NOT, WHI_REPLACING_ASKED, WHI_REPLACED, WHI_NOT_REPLACED };

/* The place of one process. */
struct whi_slot {
	struct whi_supervisor *supervisor;
	uint32_t index;
	uint32_t generation;
	int *fds;		     /* [0] is free, for the channel */
	struct whi_worker *worker;   /* the one that serves */
	struct whi_worker *starting; /* its successor */
	struct whi_worker *retired;  /* its predecessor */
	struct whi_notice changed;
	unsigned quick; /* short lives in a row */
	enum whi_replacing replacing;
	int error; /* why it was not replaced */
};

struct whi_worker {
	struct whi_list link;
	struct whi_slot *slot;
	enum whi_worker_state state;
	unsigned users;
	uint32_t seat;
	uint32_t generation;
	pid_t pid;
	int pidfd;
	int channel;
	bool late;
	uint64_t started_ns;
	uint64_t life_ns;	/* once it has ended */
	uint64_t due_ns;	/* when the state has lasted long enough; 0: never */
	struct wh_scope *watch; /* in which its end is waited for; NULL: just not */
};

/* Start one in `slot`. 0 with it in `*ret`, in use once, or -errno. */
int whi_worker_start(struct whi_slot *slot, uint32_t seat, struct whi_worker **ret);

/* Harmless where it cannot be entered from the state that it is in. */
void whi_worker_enter(struct whi_worker *worker, enum whi_worker_state state);

/* As whi_poll, but for want of memory or descriptors, which passes: then it tries again. */
int whi_supervise_poll(int fd, short events);

/* Wait for its next word. That, or -ETIMEDOUT, -EPIPE at its end, -ECANCELED. */
int whi_worker_hear(struct whi_worker *worker, uint64_t timeout_ns);

/* The same without waiting: -EAGAIN. */
int whi_worker_heard(const struct whi_worker *worker);

/* One user less. */
void whi_worker_release(struct whi_worker *worker);

/* supervise_sockets.c: make the sockets, for the slots to have. 0 or -errno; to be undone in either
 * case. */
int whi_supervisor_listen(struct whi_supervisor *supervisor);
void whi_supervisor_unlisten(struct whi_supervisor *supervisor);

/* supervise.c */
void whi_supervisor_say(struct whi_supervisor *supervisor, struct wh_supervise_event event);
