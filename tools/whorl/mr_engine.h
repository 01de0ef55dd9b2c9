/* Who runs the tasks of a run: this machine, or a driver that knows a scheduler. */
#pragma once

#include "mr.h"

enum { MR_TEXT_BYTES = 4096, MR_WHERE_BYTES = 128 };

/* Status of a task that ended in no exit code: a signal, a lost host. */
enum { MR_LOST = -1 };

/* How a task has ended. */
struct mr_outcome {
	enum mr_phase phase;
	uint32_t task;
	uint32_t attempt;
	int status; /* exit code or MR_LOST */
	char where[MR_WHERE_BYTES];
	char text[MR_TEXT_BYTES]; /* the last that it said */
};

struct mr_engine;

struct mr_engine_ops {
	/* Have a task run. Returns 0 or -errno. */
	int (*submit)(struct mr_engine *engine, enum mr_phase phase, uint32_t task,
		      uint32_t attempt);

	/* All that can be submitted now has been. */
	int (*flush)(struct mr_engine *engine);

	/* Wait for a task to end. Returns 1; 0 after `timeout_ms` or a signal; or -errno: the
	 * scheduler is gone, which has been said. */
	int (*wait)(struct mr_engine *engine, int timeout_ms, struct mr_outcome *ret);

	/* End what is still running, and free the engine. */
	void (*close)(struct mr_engine *engine);
};

struct mr_engine {
	const struct mr_engine_ops *ops;
	uint32_t slots; /* tasks that it takes at once */
};

struct mr_engine_opts {
	const char *dir;
	uint64_t processes;  /* at once, on this machine; 0: one for each CPU */
	uint64_t workers;    /* threads of each task */
	uint64_t memory;     /* of each task; 0: as it likes */
	const char *tmp;     /* of each task; NULL: as it likes */
	const char *driver;  /* the program's name */
	const char *address; /* for the driver; NULL: it takes none */
};

/* Return 0 with the engine, or an exit code, having said why. */
int mr_local_open(const struct mr_engine_opts *opts, struct mr_engine **ret);
int mr_driver_open(const struct mr_engine_opts *opts, struct mr_engine **ret);

/* This program's own path. False, having said so, if it is not to be found. */
bool mr_own_path(char path[MR_PATH_BYTES]);

/* Start a program in a process group of its own, so that a terminal's Ctrl-C does not reach it.
 * fds: its standard input, output and error. Returns its id or -errno. */
pid_t mr_spawn(const char *const *argv, const int fds[3]);
