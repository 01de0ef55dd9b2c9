/* What the parts of the corners scenario share. */
#pragma once

#include "sim/scenario.h"

enum { CORNERS_TRIES_MAX = 4096, CORNERS_LEN_MAX = 60000 };
enum part { PATH, NAME, FILES, PARTS };

struct transfer {
	size_t from, len; /* of the bytes */
	size_t sent;	  /* once the sender is done */
	bool blind;	  /* not received before the sender has closed */
	bool closed;
};

struct corners {
	uint8_t bytes[2 * CORNERS_LEN_MAX];
	struct transfer transfers[CORNERS_TRIES_MAX];
	uint32_t tries;
	uint32_t rounds[PARTS]; /* gone through */
};

struct worker {
	struct corners *corners;
	enum part part;
};

/* Serves a Unix socket until cancelled; `arg` is a struct worker. */
int corners_serve(void *arg);

/* Get one transfer from there. 0 if all of it came. */
int corners_converse(struct worker *worker);
