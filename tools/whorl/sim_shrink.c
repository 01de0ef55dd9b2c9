/*
 * whorl sim: from the faults of a failed run to few that are enough. Delta debugging: Zeller and
 * Hildebrandt, "Simplifying and isolating failure-inducing input", 2002.
 *
 * A run with fewer faults is another run: what comes after the first difference may be numbered
 * differently. That costs tries, not soundness: a set counts only if the seed was run with it and
 * failed in the same way.
 */
#include <string.h>
#include <time.h>

#include "cli.h"
#include "sim.h"

enum { RUNS_MAX = 600, SECONDS_MAX = 120 };

struct shrink {
	const struct sim_plan *plan;
	uint64_t seed;
	const struct sim_outcome *found;
	struct sim_outcome *outcome; /* of the last run */
	struct sim_only *best, *tried;
	unsigned runs;
	time_t end;
	bool broken; /* no process could be made */
};

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static bool is_over(const struct shrink *shrink)
{
	return shrink->runs == RUNS_MAX || shrink->broken || now_s() >= shrink->end;
}

/* The same kind of end, and texts that are the same up to the first number: that says when, or
 * which one. */
static bool same_way(const struct sim_outcome *a, const struct sim_outcome *b)
{
	const char *x = a->report.text, *y = b->report.text;

	if (a->end != b->end)
		return false;
	if (a->end != SIM_RETURNED)
		return a->signal == b->signal;
	while (*x && *x == *y && (*x < '0' || *x > '9'))
		x++, y++;
	return a->result == b->result &&
	       (*x == *y || (*x >= '0' && *x <= '9' && *y >= '0' && *y <= '9'));
}

/* Only faults that were can be needed: the next set is made from those. */
static void keep_tried(struct shrink *shrink)
{
	size_t count = 0;

	for (size_t i = 0, j = 0; i < shrink->tried->count; i++) {
		uint64_t decision = shrink->tried->decisions[i];

		while (j < shrink->outcome->faults_count &&
		       shrink->outcome->faults[j].decision < decision)
			j++;
		if (j < shrink->outcome->faults_count &&
		    shrink->outcome->faults[j].decision == decision)
			shrink->best->decisions[count++] = decision;
	}
	shrink->best->count = count;
}

/* Does the seed fail with what is in `tried`? Then it is the best. */
static bool fails(struct shrink *shrink)
{
	if (is_over(shrink))
		return false;
	shrink->runs++;
	if (sim_one(shrink->plan, shrink->seed, shrink->tried, NULL, shrink->outcome) < 0) {
		shrink->broken = true;
		return false;
	}
	if (!sim_failed(shrink->outcome) || !same_way(shrink->outcome, shrink->found))
		return false;
	keep_tried(shrink);
	return true;
}

/* `best` without, or with nothing but, its elements from `from` to before `to`. */
static void try_part(struct shrink *shrink, size_t from, size_t to, bool without)
{
	struct sim_only *tried = shrink->tried;

	tried->count = 0;
	for (size_t i = 0; i < shrink->best->count; i++)
		if ((i >= from && i < to) != without)
			tried->decisions[tried->count++] = shrink->best->decisions[i];
}

static bool reduce(struct shrink *shrink, size_t parts, bool without)
{
	size_t count = shrink->best->count;

	for (size_t i = 0; i < parts; i++) {
		try_part(shrink, count * i / parts, count * (i + 1) / parts, without);
		if (fails(shrink))
			return true;
	}
	return false;
}

static void delta_debug(struct shrink *shrink)
{
	size_t parts = 2;

	shrink->tried->count = 0;
	if (fails(shrink))
		return;
	while (shrink->best->count >= 2 && !is_over(shrink)) {
		if (parts > shrink->best->count)
			parts = shrink->best->count;
		if (reduce(shrink, parts, false)) {
			parts = 2;
		} else if (parts > 2 && reduce(shrink, parts, true)) {
			parts = parts - 1;
		} else if (parts == shrink->best->count) {
			break;
		} else {
			parts *= 2;
		}
	}
}

int sim_shrink(const struct sim_plan *plan, uint64_t seed, const struct sim_outcome *found,
	       struct sim_only *ret, unsigned *ret_runs)
{
	static struct sim_only tried;
	struct shrink shrink = { .plan = plan,
				 .seed = seed,
				 .found = found,
				 .outcome = sim_outcome_new(),
				 .best = ret,
				 .tried = &tried,
				 .end = now_s() + SECONDS_MAX };

	if (!shrink.outcome)
		return -1;
	tried.count = found->faults_count;
	for (size_t i = 0; i < tried.count; i++)
		tried.decisions[i] = found->faults[i].decision;
	if (!fails(&shrink)) {
		if (!shrink.broken)
			cli_error("sim: seed %llu does not fail again with the faults it had",
				  (unsigned long long)seed);
		return -1;
	}
	delta_debug(&shrink);
	*ret_runs = shrink.runs;
	return shrink.broken ? -1 : 0;
}
