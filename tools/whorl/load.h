/*
 * whorl load in two halves: load.c reads the command line and prints, load_run.c opens the
 * connections, asks and measures.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/sock.h>

#include "histogram.h"

struct load_plan {
	struct wh_addr addr;
	uint64_t connections;
	uint64_t size; /* bytes of a request, and of its answer */
	uint64_t rate; /* requests a second over all connections; 0: each asks again at once */
	uint64_t duration_ns;
	uint64_t warmup_ns; /* before it, not measured */
	uint32_t loops;
	const char *backend; /* as in struct wh_run_opts */
	bool idle;	     /* only hold the connections */
};

struct load_result {
	/* Of the requests that were due in the measured time. With a rate it counts from when a
	 * request was due, not from when it could be sent: a server that stalls is not asked
	 * less. */
	struct histogram latency;
	uint64_t opened;     /* connections */
	uint64_t opening_ns; /* how long that took */
	uint64_t measured_ns;
	uint64_t cpu_ns;     /* of this process, in the measured time */
	uint64_t unsent;     /* requests due that never were sent, because the server was late */
	uint64_t errors;     /* connections lost, or left without an answer */
	uint64_t mismatches; /* connections that brought a wrong byte */
	int first_error;     /* why the first connection was lost; 0 if none */
	int connect_error; /* why not all connections could be opened: then nothing was measured */
	bool interrupted;  /* by a signal: the rest is what was measured until then */
};

/* Beyond the end, so long an answer is waited for. */
#define LOAD_DRAIN_NS (2 * WH_SEC)

/* So long a connection may take to open. */
#define LOAD_CONNECT_NS (10 * WH_SEC)

/* Do it. Returns 0, or what wh_run returned; -ENOMEM. */
int load_run(const struct load_plan *plan, struct load_result *ret);
