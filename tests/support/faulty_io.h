/*
 * Disks that fail: stands between the engine and the calls by which it uses temporary files. A
 * program that uses it is linked with --wrap for pwrite, pread and open.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "support/faulty_alloc.h"

enum faulty_io_call { FAULTY_PWRITE, FAULTY_PREAD };

/* Instead of an error: fewer bytes than there are, and then none; other bytes. */
enum { FAULTY_SHORT = 1, FAULTY_FLIPPED = 2 };

struct faulty_io {
	enum faulty_io_call call;
	uint64_t first;	 /* this call, from 1 on, fails, and all after it; 0: none */
	int how;	 /* -errno, or one of the above */
	bool halves;	 /* every call does half of what it could */
	bool no_tmpfile; /* O_TMPFILE is not supported */
};

/* From now on. Counts over all threads, anew. */
void faulty_io_set(const struct faulty_io *fault);

/* How many calls have failed since then. */
uint64_t faulty_io_failed(void);
