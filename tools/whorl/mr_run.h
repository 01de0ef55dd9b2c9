/* A run, for the files of whorl mr run: what it is asked for, and how far its tasks are. */
#pragma once

#include "mr_engine.h"

enum run_state { MR_WAITING, MR_RUNNING, MR_DONE };

struct run_task {
	enum run_state state;
	uint32_t attempt; /* the next one's number */
};

/* All tasks of a phase. */
struct run_tasks {
	struct run_task *all;
	uint32_t count;
	uint32_t done;
	uint32_t next; /* none before it is to be done */
};

struct run_config {
	const char *on, *dir, *output;
	bool resume, keep;
	uint64_t processes, workers, retries, memory;
	const char *tmp, *progress;
	struct mr_plan_opts plan;
};

struct run {
	struct run_config config;
	struct mr_plan plan;
	struct run_tasks tasks[2]; /* by phase */
	uint64_t *bytes;	   /* of each map task */
	uint32_t running;
	struct mr_engine *engine;
	struct progress progress;
	struct wh_mr_stats stats; /* for it: as of one job that does it all */
	uint64_t bytes_before;	  /* done by an earlier run */
};

/* Show how far it is. */
void mr_run_show(struct run *run);

/* A task is done, whoever did it. */
void mr_set_done(struct run *run, enum mr_phase phase, uint32_t index);

/* The tasks that `text` names, in lines as `again|map|7`, have to be run again; those that are
 * running already are. Returns an exit code, having said why. */
int mr_again(struct run *run, enum mr_phase phase, const char *text);

/* Have all tasks run that are not done. Returns an exit code, having said why. */
int mr_run_tasks(struct run *run);
