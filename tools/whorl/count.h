/*
 * What the commands that count have in common, whorl wordcount and whorl ngram: options, the run of
 * their job, what is shown and said of it, and exit codes. A command adds what its records are.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "cli.h"
#include "progress.h"
#include "row_out.h"

enum {
	COUNT_OPTIONS = 17,    /* that all have, */
	COUNT_OPTIONS_OWN = 8, /* and as many as a command may add */
};

struct count;

/* A command that counts. */
struct count_kind {
	const char *name;    /* of the subcommand */
	const char *list;    /* of JSON: what its array is called */
	const char *records; /* for --stats: what was read, */
	const char *keys;    /* and what was told apart */
	bool skips;	     /* records may be left out: JSON says how many */

	/* What fails the job and only this kind knows, in words. Returns an exit code, or -1 if it
	 * is nothing of that. */
	int (*say_failed)(const struct count *count);
};

/* The options. */
struct count_config {
	uint64_t top, min_count, workers, processes, memory;
	bool json, partial, stats, no_decompress, direct, explain;
	const char *format_name, *tmp, *resume, *isa, *backend, *progress;
	enum row_format format;
};

/* A run of the command; `job` is for the kind to say what its records are. */
struct count {
	const struct count_kind *kind;
	const void *own; /* the kind's */
	struct count_config config;
	struct wh_mr_job job;
	struct wh_mr_stats stats;
	uint64_t started_ns;
	bool is_terminal; /* standard error */
	struct progress progress;
	bool files_failed;
	int result; /* of wh_mapreduce */
	struct row_out out;
};

/* Returns NULL, having said so, when out of memory. It is to be freed with free(). */
struct count *count_new(const struct count_kind *kind, const void *own);

/* Read the command line: the kind's own options, which end with an empty one, and those that all
 * have; operands become the job's paths. Returns 0; EXIT_USAGE after it has said what is wrong; -1
 * for --help. */
int count_parse(struct count *count, int argc, char **argv, const struct cli_option *own);

/* Run the job, print its rows, each key called `key`. Returns an exit code, having said why. */
int count_run(struct count *count, const char *key);

/* Print the help. Returns an exit code. */
int count_help(const char *usage);

/* For the help, behind the own options: all others, and what --progress json prints. */
#define COUNT_HELP                                                                                 \
	"  --format F     tsv; csv (RFC 4180, with a line of names); json (one object; bytes\n"    \
	"                 not UTF-8 become \\udc80-\\udcff); binary (\"whorlrow\", then for\n"     \
	"                 each row the key's length and the count, both 64 bits,\n"                \
	"                 little-endian, and the key; a length of 0 with the number of rows\n"     \
	"                 ends it)\n"                                                              \
	"  --json         the same as --format json\n"                                             \
	"  --workers N    count on N threads; default: the CPUs this process may use\n"            \
	"  --processes N  count in N other processes, so that one that dies takes nothing\n"       \
	"                 along: what it had is counted again, three times at most\n"              \
	"  --memory SIZE  keep to so much memory, and write to disk what does not fit: the\n"      \
	"                 result is the same. k, M and G are accepted. Default: a quarter of\n"    \
	"                 what this process may use. Each worker needs about 4 MB besides\n"       \
	"  --tmp DIR      for that; the files have no names there. Default: $TMPDIR, else\n"       \
	"                 /var/tmp, else /tmp, which is in memory on many machines\n"              \
	"  --direct       read large files past the page cache: for what is larger than memory\n"  \
	"  --no-decompress  count the bytes of compressed files as they are\n"                     \
	"  --resume DIR   keep there what has been counted, and go on from it when this is run\n"  \
	"                 again with the same files after it was killed, also on another\n"        \
	"                 machine that sees them; removed when all is printed\n" PROGRESS_HELP     \
	"  --explain      say before what will be done, and afterwards where the time went\n"      \
	"  --partial      when interrupted, print what has been counted until then\n"              \
	"  --stats        say at the end what was done, at which speed\n"                          \
	"  --isa NAME     avx512, avx2, sse2, neon or scalar; default: $WHORL_ISA,\n"              \
	"                 or the best there is\n"                                                  \
	"  --backend NAME uring or epoll; default: $WHORL_BACKEND, else uring where it is\n"       \
	"                 allowed, else epoll\n\n" PROGRESS_JSON_HELP "\n"
