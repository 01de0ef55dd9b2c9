/*
 * The whorl command: finds the subcommand and runs it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <whorl/jobs.h>
#include <whorl/run.h>

#include "cli.h"

struct command {
	const char *name;
	cli_command_fn run;
	const char *summary;
};

static const struct command commands[] = {
	{ "doctor", cmd_doctor, "say what this machine offers the engine, and what to mend" },
	{ "echo", cmd_echo, "run an echo server" },
	{ "load", cmd_load, "put an echo server under load and measure latencies" },
	{ "ngram", cmd_ngram, "add up the match counts of ngram files" },
	{ "mr", cmd_mr, "run a job as many processes, on many hosts" },
	{ "sim", cmd_sim, "run a program in simulated worlds full of faults" },
	{ "wordcount", cmd_wordcount, "count the words of files" },
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_usage(FILE *out)
{
	fputs("usage: whorl COMMAND [OPTION]... [OPERAND]...\n"
	      "       whorl COMMAND --help\n"
	      "       whorl --version\n\n"
	      "Commands:\n",
	      out);
	for (unsigned i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fputs("\nExit status: 0 done, 1 failed, 2 wrong usage, 3 the machine lacks something.\n",
	      out);
}

static int unknown(const char *word)
{
	const char *names[COMMANDS + 1] = { NULL };
	const char *nearest;

	for (unsigned i = 0; i < COMMANDS; i++)
		names[i] = commands[i].name;
	nearest = cli_nearest(word, names);
	if (nearest)
		cli_error("unknown command '%s'; did you mean '%s'?", word, nearest);
	else
		cli_error("unknown command '%s'; see whorl --help", word);
	return EXIT_USAGE;
}

/* Nothing of ours is to be opened as one of 0, 1 and 2, and then be read or written as if it were
 * the user's. What was closed stays as good as closed: reading 0 and writing the others fails. */
static void keep_standard_fds_taken(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_WRONLY);
		if (fd == STDOUT_FILENO || fd == STDERR_FILENO) {
			close(fd);
			fd = open("/dev/null", O_RDONLY);
		}
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	wh_jobs_main();
	keep_standard_fds_taken();
	/* A closed pipe is reported as an error of writing. */
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_usage(stdout);
		return cli_flush() ? EXIT_DONE : EXIT_FAILED;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("whorl %s\n", wh_version());
		return cli_flush() ? EXIT_DONE : EXIT_FAILED;
	}
	for (unsigned i = 0; i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	return unknown(argv[1]);
}
