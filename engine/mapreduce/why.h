/* What went wrong first in a job, in words. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <whorl/mapreduce.h>

/* All zero is valid and empty. */
struct whi_why {
	_Atomic bool taken; /* somebody writes `text`, or has */
	char text[WH_MR_WHY_BYTES];
};

/* Say what went wrong; only the first one to do so is heard. Any thread. Returns `error`. */
__attribute__((format(printf, 3, 4))) int whi_why(struct whi_why *why, int error,
						  const char *format, ...);

/* As whi_why, of a record: " at byte N of PATH" follows the text. */
int whi_why_at(struct whi_why *why, int error, const struct wh_mr_origin *origin, const char *what);

/* Whether the options of a job go together, and if not, why. Returns 0 or -EINVAL. */
int whi_why_options(struct whi_why *why, const struct wh_mr_job *job);
