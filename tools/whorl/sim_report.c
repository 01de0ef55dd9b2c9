/*
 * whorl sim: what it prints. Of a seed that failed also the fewest faults that are enough, and the
 * command that replays it, which is run to be sure of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "sim.h"

enum { FAULTS_SHOWN = 24, COMMAND_MAX = 8192, OUTPUT_MAX = 65536 };

static void print_faults(const struct sim_outcome *outcome)
{
	size_t shown = outcome->faults_count < FAULTS_SHOWN ? outcome->faults_count : FAULTS_SHOWN;

	printf("  faults that struck: %zu\n", outcome->faults_count);
	for (size_t i = 0; i < shown; i++) {
		const struct sim_fault *fault = &outcome->faults[i];

		printf("    %8" PRIu64 "  at %.6f s  %s%s%s\n", fault->decision,
		       (double)fault->at_ns / 1e9, fault->name, fault->op[0] ? ", " : "",
		       fault->op);
	}
	if (outcome->faults_count > shown)
		printf("    and %zu more\n", outcome->faults_count - shown);
}

static void print_failed_seeds(const struct sim_totals *totals)
{
	uint64_t listed = totals->failures < FAULTS_SHOWN ? totals->failures : FAULTS_SHOWN;

	printf("  seeds that failed:");
	for (uint64_t i = 0; i < listed; i++)
		printf(" %" PRIu64, totals->failed[i]);
	printf("%s\n", totals->failures > listed ? " ..." : "");
}

void sim_print_totals(const struct sim_plan *plan, const struct sim_totals *totals)
{
	double seconds = (double)totals->elapsed_ns / 1e9;

	printf("%s: %" PRIu64 " seeds, %" PRIu64 " failed; %" PRIu64 " events, %" PRIu64
	       " operations, %" PRIu64 " faults at %" PRIu64
	       " places; %.1f s, %.0f seeds a second; "
	       "hash %016" PRIx64 "\n",
	       plan->operand, totals->seeds, totals->failures, totals->events, totals->ops,
	       totals->faults, totals->decisions, seconds,
	       (double)totals->seeds / (seconds > 0 ? seconds : 1), totals->hash);
	if (totals->failures > 1)
		print_failed_seeds(totals);
}

/* The command that replays */

struct text {
	char bytes[COMMAND_MAX];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = vsnprintf(text->bytes + text->len, sizeof(text->bytes) - text->len, format, args);
	va_end(args);
	if (r > 0)
		text->len += (size_t)r;
	if (text->len >= sizeof(text->bytes))
		text->len = sizeof(text->bytes) - 1;
}

/* As the shell takes it. */
static void add_word(struct text *text, const char *word)
{
	size_t plain = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_./:,=@%+-");

	if (word[0] && word[plain] == '\0') {
		add(text, "%s", word);
		return;
	}
	add(text, "'");
	for (; *word; word++)
		if (*word == '\'')
			add(text, "'\\''");
		else
			add(text, "%c", *word);
	add(text, "'");
}

static void replay_command(struct text *text, const struct sim_plan *plan, uint64_t seed,
			   const struct sim_only *only)
{
	add(text, "sim --seeds %" PRIu64, seed);
	if (plan->faults) {
		add(text, " --faults ");
		add_word(text, plan->faults);
	}
	if (plan->patience_ns != SIM_PATIENCE_S * WH_SEC)
		add(text, " --patience %.9g", (double)plan->patience_ns / 1e9);
	if (only) {
		add(text, " --only %s", only->count ? "" : "none");
		for (size_t i = 0; i < only->count; i++)
			add(text, "%s%" PRIu64, i ? "," : "", only->decisions[i]);
	}
	add(text, " ");
	add_word(text, plan->operand);
}

/* What the command prints; NULL: it cannot be run. */
static const char *run_command(const struct text *command)
{
	static char output[OUTPUT_MAX];
	struct text shell = { .len = 0 };
	char self[4096];
	ssize_t self_len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	FILE *pipe;
	size_t len;

	if (self_len < 0)
		return NULL;
	self[self_len] = '\0';
	add_word(&shell, self);
	add(&shell, " %s --no-shrink", command->bytes);
	fflush(NULL);
	pipe = popen(shell.bytes, "r");
	if (!pipe)
		return NULL;
	len = fread(output, 1, sizeof(output) - 1, pipe);
	output[len] = '\0';
	pclose(pipe);
	return output;
}

/* A seed that failed */

static void print_failure_line(const struct sim_plan *plan, uint64_t seed,
			       const struct sim_outcome *outcome)
{
	char line[SIM_LINE_MAX];

	printf("%s: seed %" PRIu64 " failed: %s\n", plan->operand, seed,
	       sim_describe(outcome, line));
}

void sim_print_run(const struct sim_plan *plan, const struct sim_only *only,
		   const struct sim_outcome *outcome)
{
	struct text command = { .len = 0 };

	if (sim_failed(outcome))
		print_failure_line(plan, plan->first, outcome);
	else
		printf("%s: seed %" PRIu64 " passed\n", plan->operand, plan->first);
	print_faults(outcome);
	printf("  %" PRIu64 " events, %" PRIu64 " operations, %.6f s of virtual time, trace hash "
	       "%016" PRIx64 "\n",
	       outcome->report.events, outcome->report.ops,
	       (double)outcome->report.duration_ns / 1e9, outcome->report.trace_hash);
	replay_command(&command, plan, plan->first, only);
	if (sim_failed(outcome))
		printf("  replay: %s %s\n", program_invocation_name, command.bytes);
}

/* The line by which the run is recognised, and its hash. */
static bool replays(const struct text *command, const struct sim_outcome *outcome)
{
	char line[SIM_LINE_MAX], hash[64];
	const char *output = run_command(command);

	snprintf(hash, sizeof(hash), "trace hash %016" PRIx64 "\n", outcome->report.trace_hash);
	return output && strstr(output, sim_describe(outcome, line)) &&
	       (outcome->end != SIM_RETURNED || strstr(output, hash));
}

static void explain_shrunk(const struct sim_plan *plan, uint64_t seed, const struct sim_only *only)
{
	struct sim_outcome *outcome = sim_outcome_new();
	struct text command = { .len = 0 };
	char line[SIM_LINE_MAX];

	if (!outcome || sim_one(plan, seed, only, NULL, outcome) < 0)
		return;
	print_faults(outcome);
	replay_command(&command, plan, seed, only);
	printf("  replay: %s %s\n", program_invocation_name, command.bytes);
	if (!sim_failed(outcome) || !replays(&command, outcome)) {
		cli_error("sim: that command does not give the same failure: the program depends "
			  "on more than its seed");
		return;
	}
	printf("  replayed: %s", sim_describe(outcome, line));
	if (outcome->end == SIM_RETURNED)
		printf("; trace hash %016" PRIx64, outcome->report.trace_hash);
	putchar('\n');
}

void sim_explain(const struct sim_plan *plan, uint64_t seed, bool shrink)
{
	static struct sim_only shrunk;
	struct sim_outcome *outcome = sim_outcome_new();
	struct text command = { .len = 0 };
	unsigned runs;

	if (!outcome || sim_one(plan, seed, NULL, NULL, outcome) < 0)
		return;
	if (!sim_failed(outcome)) {
		cli_error("sim: seed %" PRIu64 " failed, but not in a process of its own: the "
			  "program keeps something from one run to the next",
			  seed);
		return;
	}
	print_failure_line(plan, seed, outcome);
	if (!shrink) {
		print_faults(outcome);
		replay_command(&command, plan, seed, NULL);
		printf("  replay: %s %s\n", program_invocation_name, command.bytes);
		return;
	}
	printf("  of %zu faults that struck, which are needed? ", outcome->faults_count);
	fflush(stdout);
	if (sim_shrink(plan, seed, outcome, &shrunk, &runs) < 0)
		return;
	printf("%zu %s enough (%u runs)\n", shrunk.count, shrunk.count == 1 ? "is" : "are", runs);
	explain_shrunk(plan, seed, &shrunk);
}
