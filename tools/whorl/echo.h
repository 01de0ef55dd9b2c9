/* whorl echo: the command, what serves, and what keeps processes that serve. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/run.h>
#include <whorl/sock.h>

struct echo_config {
	struct wh_addr addr;
	const char *text; /* the address as given */
	uint64_t loops;	  /* of a process; 0: the default */
	uint64_t processes;
	double retire_s;
	bool stats;
	bool seccomp;
};

extern struct echo_config echo_config;

/* What one loop has done; nobody else writes it. In memory that outlives the process, if there are
 * several. */
struct echo_server {
	_Alignas(64) uint64_t echoes;
	uint64_t bytes, connections, errors;
	uint64_t enters; /* as of the last connection that ended */
};

/* echo_serve.c: a task that serves until cancelled or retired; `arg` is a struct echo_server for
 * each loop. In a worker it takes the sockets that it was given. */
int echo_run(void *servers);

/* Explain why there can be no listening. Returns `err`. */
int echo_cannot_listen(int err);

/* Print the sums over `count` loops. */
void echo_print_stats(const struct echo_server *servers, uint64_t count);

/* echo_processes.c: be the supervisor, or one of its processes. Exit codes. */
int echo_supervise(const struct wh_run_opts *opts);
int echo_work(struct wh_run_opts *opts);
