/*
 * whorl sim: runs scenarios in simulated worlds, one a seed. This file reads the command line.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "sim.h"

enum { JOBS_MAX = 256 };

struct request {
	struct sim_plan plan;
	const char *seeds, *only_text;
	struct sim_only only;
	bool only_set, list, trace, no_shrink;
};

/* Reading the command line */

static const char *read_number(const char *text, uint64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return NULL;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno ? NULL : end;
}

static int read_seeds(struct request *request)
{
	struct sim_plan *plan = &request->plan;
	const char *end = read_number(request->seeds, &plan->first);

	plan->last = plan->first;
	if (end && *end == '-')
		end = read_number(end + 1, &plan->last);
	if (end && *end == '\0' && plan->first <= plan->last && plan->last < UINT64_MAX)
		return 0;
	cli_error("sim: --seeds takes a number or a range such as 1-1000, not '%s'",
		  request->seeds);
	return EXIT_USAGE;
}

static int read_only(struct request *request)
{
	struct sim_only *only = &request->only;
	const char *at = request->only_text;

	request->only_set = at != NULL;
	if (!at || strcmp(at, "none") == 0)
		return 0;
	while (only->count < SIM_FAULTS_MAX) {
		uint64_t *decision = &only->decisions[only->count];

		at = read_number(at, decision);
		if (!at || (only->count > 0 && *decision <= decision[-1]))
			break;
		only->count++;
		if (*at == '\0')
			return 0;
		if (*at++ != ',')
			break;
	}
	cli_error("sim: --only takes 'none' or ascending numbers such as 12,77, not '%s'",
		  request->only_text);
	return EXIT_USAGE;
}

static unsigned cpus(void)
{
	cpu_set_t allowed;

	return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? (unsigned)CPU_COUNT(&allowed)
								    : 1;
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* Only a world knows what faults there are. */
static int check_faults(const struct sim_plan *plan)
{
	const struct wh_sim_scenario nothing = { .name = "nothing", .fn = do_nothing };
	struct sim_plan trial = *plan;
	struct sim_outcome *outcome = sim_outcome_new();

	trial.scenario = &nothing;
	if (!outcome || sim_one(&trial, 1, NULL, NULL, outcome) < 0)
		return EXIT_FAILED;
	if (outcome->end == SIM_RETURNED && outcome->result == -EINVAL) {
		cli_error("sim: --faults %s: %s; whorl sim --list has those there are",
			  plan->faults, outcome->report.text);
		return EXIT_USAGE;
	}
	return 0;
}

/* Running */

static void print_list(void)
{
	bool planted = false;

	puts("Scenarios:");
	for (size_t i = 0; sim_scenarios[i]; i++) {
		const struct wh_sim_scenario *scenario = sim_scenarios[i];

		if (strchr(scenario->name, ':') && !planted) {
			planted = true;
			puts("\nScenarios with a bug planted, which a run must find:");
		}
		printf("  %-18s %s\n", scenario->name, scenario->about ? scenario->about : "");
	}
	printf("\nFaults:\n%s", wh_sim_faults_help());
}

static int run_one(const struct request *request, const struct sim_plan *plan)
{
	const struct sim_only *only = request->only_set ? &request->only : NULL;
	struct sim_outcome *outcome = sim_outcome_new();

	if (!outcome || sim_one(plan, plan->first, only, request->trace ? stdout : NULL, outcome))
		return EXIT_FAILED;
	sim_print_run(plan, only, outcome);
	return sim_failed(outcome) ? EXIT_FAILED : EXIT_DONE;
}

static int run_many(const struct request *request, const struct sim_plan *plan)
{
	struct sim_totals *totals = calloc(1, sizeof(*totals));
	int status = EXIT_DONE;

	if (!totals) {
		cli_error("sim: out of memory");
		return EXIT_FAILED;
	}
	if (sim_pool(plan, totals) < 0) {
		free(totals);
		return EXIT_FAILED;
	}
	sim_print_totals(plan, totals);
	if (totals->failures > 0) {
		sim_explain(plan, totals->failed[0], !request->no_shrink);
		status = EXIT_FAILED;
	}
	free(totals);
	return status;
}

static int run_scenario(const struct request *request, const char *operand)
{
	struct sim_plan plan = request->plan;
	int r;

	plan.operand = operand;
	plan.scenario = sim_find(operand);
	if (!plan.scenario)
		return EXIT_USAGE;
	r = plan.faults ? check_faults(&plan) : 0;
	if (r != 0)
		return r;
	if (plan.first == plan.last && (request->only_set || request->trace || request->no_shrink))
		return run_one(request, &plan);
	return run_many(request, &plan);
}

static int run_operands(const struct request *request, int count, char **operands)
{
	int status = EXIT_DONE;

	for (int i = 0; i < count; i++) {
		bool all = strcmp(operands[i], "all") == 0;
		int r = all ? EXIT_DONE : run_scenario(request, operands[i]);

		for (size_t j = 0; all && sim_scenarios[j]; j++)
			if (!strchr(sim_scenarios[j]->name, ':') && r != EXIT_USAGE) {
				int one = run_scenario(request, sim_scenarios[j]->name);

				r = one > r ? one : r;
			}
		status = r > status ? r : status;
		if (status == EXIT_USAGE)
			break;
	}
	return status;
}

static const char usage_text[] =
	"usage: whorl sim [OPTION]... SCENARIO...\n"
	"       whorl sim --list\n\n"
	"Run programs in simulated worlds: virtual time, a network of hosts, disks, and faults.\n"
	"A seed is a schedule: it always gives the same run. Of the first seed that fails it is\n"
	"said what went wrong, which few faults are enough for it, and how to have it again.\n"
	"A SCENARIO is a name from --list, `all`, or ./FILE.so, a program of your own (see\n"
	"whorl/sim.h).\n\n"
	"  --seeds A-B       the seeds to run, or a single one (default 1-100)\n"
	"  --faults PROFILE  a profile from --list, items fault=probability separated by commas,\n"
	"                    or both, the later ones counting (default: the scenario's own)\n"
	"  --jobs N          processes (default: the CPUs allowed)\n"
	"  --keep-going      run all seeds, also after one has failed\n"
	"  --patience TIME   a seed that takes longer in real time has failed (default 60)\n"
	"  --no-shrink       do not look for the fewest faults\n"
	"  --list            say which scenarios and faults there are\n"
	"For a single seed:\n"
	"  --trace           print everything that happens\n"
	"  --only N,N,...    only these of its faults may strike; `none`: none\n\n"
	"The hash is over the traces of all seeds; it is the same whenever the program is.\n"
	"Exit status: 0 all passed, 1 something failed, 2 wrong usage.\n";

static int check_request(struct request *request, int operands)
{
	int r = read_seeds(request);

	if (r == 0)
		r = read_only(request);
	if (r != 0)
		return r;
	if (operands == 0) {
		cli_error("sim: a scenario is missing; whorl sim --list has those there are");
		return EXIT_USAGE;
	}
	if ((request->trace || request->only_set) && request->plan.first != request->plan.last) {
		cli_error("sim: %s is for a single seed, such as --seeds %" PRIu64,
			  request->trace ? "--trace" : "--only", request->plan.first);
		return EXIT_USAGE;
	}
	return 0;
}

static int read_request(int argc, char **argv, struct request *request, int *ret_operands)
{
	uint64_t jobs = cpus();
	double patience_s = SIM_PATIENCE_S;
	const struct cli_option options[] = {
		{ .name = "--seeds", .text = &request->seeds },
		{ .name = "--faults", .text = &request->plan.faults },
		{ .name = "--jobs", .number = &jobs, .min = 1, .max = JOBS_MAX },
		{ .name = "--keep-going", .flag = &request->plan.keep_going },
		{ .name = "--patience", .seconds = &patience_s },
		{ .name = "--no-shrink", .flag = &request->no_shrink },
		{ .name = "--list", .flag = &request->list },
		{ .name = "--trace", .flag = &request->trace },
		{ .name = "--only", .text = &request->only_text },
		{ 0 },
	};
	int r = cli_parse(argc, argv, options, ret_operands);

	request->plan.jobs = (unsigned)jobs;
	request->plan.patience_ns = (uint64_t)(patience_s * 1e9);
	request->plan.progress = isatty(STDERR_FILENO);
	return r == 0 && !request->list ? check_request(request, *ret_operands) : r;
}

int cmd_sim(int argc, char **argv)
{
	static struct request request = { .seeds = "1-100" };
	int operands;
	int r = read_request(argc, argv, &request, &operands);

	if (r < 0)
		fputs(usage_text, stdout);
	else if (r > 0)
		return r;
	else if (request.list)
		print_list();
	else
		r = run_operands(&request, operands, argv + 1);
	if (!cli_flush())
		return EXIT_FAILED;
	return r < 0 ? EXIT_DONE : r;
}
