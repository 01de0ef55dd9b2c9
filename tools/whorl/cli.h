/* What the subcommands share: exit codes, messages, and reading of options. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/run.h>

enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_MACHINE = 3, /* the machine lacks something */
};

/* A subcommand. argv[0] is its name. Returns the exit code. */
typedef int (*cli_command_fn)(int argc, char **argv);

int cmd_doctor(int argc, char **argv);
int cmd_echo(int argc, char **argv);
int cmd_load(int argc, char **argv);
int cmd_ngram(int argc, char **argv);
int cmd_mr(int argc, char **argv);
int cmd_sim(int argc, char **argv);
int cmd_wordcount(int argc, char **argv);

/* An option, for cli_parse. Exactly one of the targets is set. */
struct cli_option {
	const char *name;  /* "--listen" */
	bool *flag;	   /* takes no value */
	const char **text; /* any value */
	uint64_t *number;  /* a number from `min` to `max`; k, M and G are accepted */
	double *seconds;   /* "5", "0.5", "200ms" */
	uint64_t min, max;
};

/*
 * Parse `argv[1]` and following against `options`, which ends with an empty one. Operands are
 * moved to the front of argv, in order, from argv[1] on; `*ret_operands` counts them. "--" ends the
 * options. Returns 0, or EXIT_USAGE after it has said what is wrong, or -1 for --help.
 */
int cli_parse(int argc, char **argv, const struct cli_option *options, int *ret_operands);

/* "whorl: " and a line to standard error. */
__attribute__((format(printf, 1, 2))) void cli_error(const char *format, ...);

/* Say what is wrong with a compressed file. */
struct wh_mr_damage;
void cli_damage(const char *command, const struct wh_mr_damage *damage);

/* The candidate nearest to `word` by edit distance, NULL if none is near. `names` ends with a
 * NULL. */
const char *cli_nearest(const char *word, const char *const *names);

/* For the table of options of every subcommand that runs the engine, and for its help. */
#define CLI_BACKEND_OPTION(target)                                                                 \
	{                                                                                          \
		.name = "--backend", .text = (target)                                              \
	}
#define CLI_BACKEND_HELP                                                                           \
	"  --backend NAME     uring or epoll; default: $WHORL_BACKEND, else uring where it is\n"   \
	"                     allowed, else epoll\n"

/* As wh_run. Says so, in one line, if io_uring is refused here and something else does its work. */
int cli_run(wh_task_fn fn, void *arg, const struct wh_run_opts *opts, int *ret_result);

/* Explain why cli_run returned `err` and return the exit code for it. */
int cli_run_failed(int err);

/* Flush standard output. False, having said so, if something could not be written. */
bool cli_flush(void);

/* Raise the soft limit on open files to the hard one; returns the limit. */
uint64_t cli_raise_open_files(void);
