/*
 * Whole uses of the engine, to be run again and again with something failing in them. Each is the
 * first task of a runtime; it returns 0, or the -errno of the step that failed, holding nothing.
 * Nothing in them waits for long: what does is -ETIMEDOUT.
 */
#pragma once

#include <whorl/task.h>

struct scenario {
	const char *name;
	wh_task_fn fn;
	unsigned loops;
};

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

/* The folder that scenarios may use; made and removed by the caller. */
extern char scenario_folder[64];
