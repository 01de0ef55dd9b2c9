/*
 * whorl sim in parts: sim.c reads the command line, sim_find.c finds scenarios, sim_pool.c runs
 * many seeds in worker processes, sim_one.c one seed in a process of its own, sim_shrink.c looks
 * for the fewest faults that make a seed fail, sim_report.c prints.
 *
 * Worlds run in child processes only. A seed that crashes or hangs ends its process; the parent,
 * which runs no worlds, notes it and goes on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <whorl/sim.h>

/* The scenarios that are built in; ends with a NULL. A name with a colon has a bug planted. */
extern const struct wh_sim_scenario *const sim_scenarios[];

enum {
	SIM_FAULTS_MAX = 65536, /* remembered of a run; about 4 MiB of memory, touched as needed */
	SIM_NAME_MAX = 24,
	SIM_FAILURES_MAX = 1000, /* seeds */
	SIM_PATIENCE_S = 60,	 /* the default */
};

/* Decisions that may be faults; NULL as a pointer to this: all. */
struct sim_only {
	uint64_t decisions[SIM_FAULTS_MAX];
	size_t count;
};

struct sim_plan {
	const char *operand; /* the scenario as the user has written it */
	const struct wh_sim_scenario *scenario;
	const char *faults;   /* NULL: the scenario's own */
	uint64_t first, last; /* seeds */
	unsigned jobs;	      /* processes */
	uint64_t patience_ns; /* real time that a seed may take */
	bool keep_going;
	bool progress; /* say on standard error how far it is */
};

/* How a seed ended. */
enum sim_end {
	SIM_RETURNED, /* wh_sim_run did; `result` is what */
	SIM_DIED,     /* of `signal` */
	SIM_HUNG,     /* was killed after its patience */
};

struct sim_fault {
	uint64_t decision, at_ns;
	char name[SIM_NAME_MAX], op[SIM_NAME_MAX];
};

/* Lies in memory shared with the process that runs the seed. */
struct sim_outcome {
	enum sim_end end;
	int result, signal;
	struct wh_sim_report report;
	size_t faults_count;
	struct sim_fault faults[SIM_FAULTS_MAX];
};

static inline bool sim_failed(const struct sim_outcome *outcome)
{
	return outcome->end != SIM_RETURNED || outcome->result < 0;
}

/* sim_find.c */

/* The scenario that `operand` names: one that is built in, or "./FILE.so", which stays loaded.
 * NULL, having said what is wrong. */
const struct wh_sim_scenario *sim_find(const char *operand);

/* sim_one.c */

/* Memory for an outcome; NULL, having said so. Never freed. */
struct sim_outcome *sim_outcome_new(void);

/* Run `seed` in a process of its own. `trace`: print the trace there, line by line. 0, or -1 having
 * said what is wrong: no process can be made. */
int sim_one(const struct sim_plan *plan, uint64_t seed, const struct sim_only *only, FILE *trace,
	    struct sim_outcome *ret);

/* The world's options for this plan. */
struct wh_sim_opts sim_opts(const struct sim_plan *plan);

/* In a child: die with the parent, and let go of what it has blocked. */
void sim_child_begin(void);

/* Wait up to `timeout_ns` until some child process may have ended. */
void sim_child_wait(uint64_t timeout_ns);

/* What is wrong, in one line. Returns `text`. */
enum { SIM_LINE_MAX = WH_SIM_TEXT_MAX + 128 };
const char *sim_describe(const struct sim_outcome *outcome, char text[SIM_LINE_MAX]);

/* sim_pool.c */

struct sim_totals {
	uint64_t seeds, events, ops, decisions, faults;
	uint64_t hash; /* over all seeds and their trace hashes, in whatever order they ran */
	uint64_t elapsed_ns;
	uint64_t failures; /* how many there were; at most SIM_FAILURES_MAX are in `failed` */
	uint64_t failed[SIM_FAILURES_MAX]; /* seeds, ascending. Without keep_going the first is the
					      lowest that fails */
};

/* Run all seeds. 0, or -1 having said what is wrong. */
int sim_pool(const struct sim_plan *plan, struct sim_totals *ret);

/* sim_shrink.c */

/* Find few of `found`'s faults with which `seed` fails in the same way. They are put into `ret`,
 * and how many runs it took into `*ret_runs`. -1, having said why: not even all of them make it
 * fail, or no process can be made. */
int sim_shrink(const struct sim_plan *plan, uint64_t seed, const struct sim_outcome *found,
	       struct sim_only *ret, unsigned *ret_runs);

/* sim_report.c */

void sim_print_totals(const struct sim_plan *plan, const struct sim_totals *totals);

/* Of the plan's first seed, with `only` or NULL. */
void sim_print_run(const struct sim_plan *plan, const struct sim_only *only,
		   const struct sim_outcome *outcome);

/* Run `seed`, which has failed, again; print what went wrong, the faults, with `shrink` the fewest
 * that are enough, and the command that replays it, which is tried. */
void sim_explain(const struct sim_plan *plan, uint64_t seed, bool shrink);
