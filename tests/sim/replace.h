/* What the writer and the reader of the replace scenario share. */
#pragma once

#include "sim/scenario.h"

#define REPLACE_NAME "/current"

/* Of the file; the body that follows is the pattern of its version. */
struct replace_head {
	uint64_t version;
	uint64_t len;
};

struct store {
	uint64_t begun, acked; /* versions, from 1 on; 0: none */
	bool stop;
	bool skips_sync, skips_folder; /* the planted bugs */
};

enum {
	REPLACE_BODY_MAX = 20000,
	REPLACE_FILE_MAX = REPLACE_BODY_MAX + sizeof(struct replace_head)
};

/* Read the file into `buf`, which holds a byte more than REPLACE_FILE_MAX, and judge it. 0;
 * -EBADMSG if it is wrong; another error if it could not be read. */
int replace_look(const struct store *store, uint8_t *buf);
