/*
 * whorl mr: finds the subcommand and runs it; what map and reduce have in common.
 */
#include "mr.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char usage[] =
	"usage: whorl mr run|plan|map|reduce|merge [OPTION]... [OPERAND]...\n"
	"       whorl mr SUBCOMMAND --help\n\n"
	"A job as many processes, on one host or on many. Each process does one task and ends;\n"
	"what they hand each other are files in a directory that all hosts see. Who starts them\n"
	"is another's business: this machine alone, Dask, or Slurm.\n\n"
	"  run      make a plan, have all tasks run, and print the result\n"
	"  plan     cut the input into splits\n"
	"  map      count one task's splits, dealt to partitions\n"
	"  reduce   bring one partition together and sort it\n"
	"  merge    bring the sorted partitions together and print them\n" MR_JOB_HELP
	"\nExit status of every subcommand: 0 done, 1 failed for good, 2 wrong usage, 3 the\n"
	"machine lacks something, 4 failed and may succeed elsewhere or later, 5 other tasks,\n"
	"which are named, have to be run again first.\n";

int mr_print(const char *text)
{
	fputs(text, stdout);
	return cli_flush() ? EXIT_DONE : EXIT_FAILED;
}

int mr_task_plan(const struct mr_task *task, enum mr_phase phase, struct mr_plan *plan,
		 struct mr_job *job)
{
	const char *command = phase == MR_MAP ? "map" : "reduce";
	uint32_t tasks;
	int r = mr_manifest_read(plan, task->dir);

	if (r)
		return r;
	tasks = phase == MR_MAP ? plan->tasks : plan->parts;
	r = mr_job_parse(plan->args, plan->arg_count, job);
	if (r == EXIT_DONE && task->index >= tasks) {
		cli_error("mr %s: the plan has %" PRIu32 " of these tasks, from 0 on; there is no "
			  "%" PRIu32,
			  command, tasks, task->index);
		r = EXIT_USAGE;
	}
	if (r == EXIT_DONE && task->parts && task->parts != plan->parts) {
		cli_error("mr %s: the plan has %" PRIu32 " parts, not %" PRIu32, command,
			  plan->parts, task->parts);
		r = EXIT_USAGE;
	}
	if (r)
		mr_plan_fini(plan);
	return r;
}

volatile sig_atomic_t mr_interrupted;

static void interrupt(int number)
{
	(void)number;
	mr_interrupted = 1;
}

void mr_catch_signals(void)
{
	const struct sigaction action = { .sa_handler = interrupt };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool mr_is_final(int error)
{
	return error == -EINVAL || error == -EBADMSG || error == -EOVERFLOW || error == -EMSGSIZE;
}

int mr_task_command(int argc, char **argv, const char *help, enum mr_phase phase)
{
	struct mr_task task = { 0 };
	uint64_t index = UINT64_MAX, attempt = 0, parts = 0;
	const struct cli_option options[] = {
		{ .name = "--dir", .text = &task.dir },
		{ .name = phase == MR_MAP ? "--task" : "--part",
		  .number = &index,
		  .max = MR_TASKS_MAX },
		{ .name = "--attempt", .number = &attempt, .max = MR_TASKS_MAX },
		{ .name = "--parts", .number = &parts, .min = 1, .max = MR_PARTS_MAX },
		{ .name = "--workers", .number = &task.workers, .min = 1, .max = MR_WORKERS_MAX },
		{ .name = "--memory",
		  .number = &task.memory,
		  .min = MR_MEMORY_MIN,
		  .max = UINT64_MAX },
		{ .name = "--tmp", .text = &task.tmp },
		PROGRESS_OPTION(&task.progress),
		CLI_BACKEND_OPTION(&task.backend),
		{ 0 },
	};
	int operands, r = cli_parse(argc, argv, options, &operands);

	if (r < 0)
		return mr_print(help);
	if (r > 0)
		return r;
	if (!task.dir || index == UINT64_MAX || operands) {
		cli_error("%s: takes --dir and %s, and no operand; see whorl %s --help", argv[0],
			  options[1].name, argv[0]);
		return EXIT_USAGE;
	}
	task.index = (uint32_t)index;
	task.attempt = (uint32_t)attempt;
	task.parts = (uint32_t)parts;
	return phase == MR_MAP ? mr_map(&task) : mr_reduce(&task);
}

struct subcommand {
	const char *name;
	char *full; /* as messages have it */
	cli_command_fn run;
};

static char plan_name[] = "mr plan", map_name[] = "mr map", reduce_name[] = "mr reduce",
	    merge_name[] = "mr merge", run_name[] = "mr run";

static const struct subcommand subcommands[] = {
	{ "plan", plan_name, cmd_mr_plan },	  { "map", map_name, cmd_mr_map },
	{ "reduce", reduce_name, cmd_mr_reduce }, { "merge", merge_name, cmd_mr_merge },
	{ "run", run_name, cmd_mr_run },
};

enum { SUBCOMMANDS = sizeof(subcommands) / sizeof(subcommands[0]) };

static int unknown(const char *word)
{
	const char *list[SUBCOMMANDS + 1] = { NULL };
	const char *nearest;

	for (unsigned i = 0; i < SUBCOMMANDS; i++)
		list[i] = subcommands[i].name;
	nearest = cli_nearest(word, list);
	if (nearest)
		cli_error("mr: unknown subcommand '%s'; did you mean '%s'?", word, nearest);
	else
		cli_error("mr: unknown subcommand '%s'; see whorl mr --help", word);
	return EXIT_USAGE;
}

int cmd_mr(int argc, char **argv)
{
	if (argc < 2) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return mr_print(usage);
	for (unsigned i = 0; i < SUBCOMMANDS; i++)
		if (strcmp(argv[1], subcommands[i].name) == 0) {
			argv[1] = subcommands[i].full;
			return subcommands[i].run(argc - 1, argv + 1);
		}
	return unknown(argv[1]);
}
