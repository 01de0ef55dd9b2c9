/* What the echo scenario's flows and its server share. */
#pragma once

#include "sim/scenario.h"

enum {
	ECHO_PORT = 7,
	ECHO_IDS_MAX = 4096,
	ECHO_HEAD = 4, /* bytes of a stream that name it */
};

struct echo {
	uint32_t flows; /* begun: the next id */
	uint32_t accepted;
	bool failed[ECHO_IDS_MAX]; /* the server was told of an error */
	bool cut[ECHO_IDS_MAX];	   /* its flow saw an end before it had all back */
	bool cuts_short;	   /* the planted bug */
};

/* A task of the server's host; `arg` is a struct echo. Ends when cancelled. */
int echo_serve(void *arg);
