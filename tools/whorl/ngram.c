/*
 * whorl ngram: adds up the match counts of ngram files.
 *
 * Rows come on a thread of the executor, one batch after another, and go to standard output through
 * a buffer of our own; complaints come on the loop.
 */
#include "ngram.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/run.h>

#include "cli.h"
#include "progress.h"
#include "row_out.h"

enum { WORKERS_MAX = 1024, MEMORY_MIN = 1000 * 1000 };

static const char usage[] =
	"usage: whorl ngram [OPTION]... FILE...\n\n"
	"Add up the match counts of Google Books ngram files and print `ngram<TAB>count`, the\n"
	"largest count first, equal counts in bytewise order of their ngrams. Directories are\n"
	"walked; - is standard input; gzip, zstd and lz4 files are decoded.\n\n"
	"A line is of one of three versions, which the lines themselves tell apart:\n\n"
	"  2009  ngram<TAB>year<TAB>match_count<TAB>page_count<TAB>volume_count\n"
	"  2012  ngram<TAB>year<TAB>match_count<TAB>volume_count\n"
	"  2020  ngram<TAB>year,match_count,volume_count<TAB>year,match_count,volume_count...\n\n"
	"All lines must be of one version. An ngram is what is before the first tab: any bytes,\n"
	"blanks and upper case as they are, of any length but 0. Years have 1 to 4 digits; counts\n"
	"and their sums must be below 2^64 - 1. Lines end in a newline; the last one needs none.\n"
	"Anything else (an empty line, a carriage return, other columns) is a bad line, and\n"
	"the first one ends the program.\n\n"
	"  --by KEY       ngram, year or both (`ngram<TAB>year<TAB>count`); default: ngram\n"
	"  --version V    2009, 2012 or 2020: lines of other versions are bad; default: that of\n"
	"                 the lines\n"
	"  --skip-bad     leave bad lines out, say how many there were and which was the first;\n"
	"                 needs --version if lines of several versions are to be told apart\n"
	"  --top N        print the N largest counts only\n"
	"  --min-count N  print no counts below N\n"
	"  --format F     tsv, csv, json or binary, as whorl wordcount --help describes them\n"
	"  --json         the same as --format json\n"
	"  --workers N    count on N threads; default: the CPUs this process may use\n"
	"  --memory SIZE  keep to so much memory, and write to disk what does not fit; default:\n"
	"                 a quarter of what this process may use\n"
	"  --tmp DIR      for that; default: $TMPDIR, else /var/tmp, else /tmp\n"
	"  --no-decompress  compressed files are no other files\n" PROGRESS_HELP
	"  --partial      when interrupted, print what has been counted until then\n"
	"  --stats        say at the end what was done, at which speed\n"
	"  --isa NAME     avx512, avx2, sse2, neon or scalar; default: $WHORL_ISA,\n"
	"                 or the best there is\n"
	"  --bypass WHEN  auto, always or never: whether ngrams go to where equal ones meet\n"
	"                 without a look at what was met lately; default: auto\n"
	"  --backend NAME uring or epoll; default: $WHORL_BACKEND, else uring where it is\n"
	"                 allowed, else epoll\n\n"
	"Exit status: 0 all lines counted, or bad ones left out by --skip-bad; 1 a bad line, a\n"
	"file that could not be read (the others are counted), a sum of 2^64 - 1 or more,\n"
	"interrupted, or the output could not be written; 2 wrong usage; 3 the machine lacks\n"
	"something.\n";

struct config {
	uint64_t top, min_count, workers, memory;
	bool skip_bad, json, partial, stats, no_decompress;
	const char *by, *version, *bypass, *format_name, *tmp, *isa, *backend, *progress;
	int by_number, version_number, bypass_number;
	enum row_format format;
};

struct command {
	struct config config;
	struct wh_mr_job job;
	struct wh_mr_stats stats;
	uint64_t started_ns;
	struct progress progress;
	bool is_terminal; /* standard error */
	bool files_failed;
	int result; /* of wh_mapreduce */
	struct row_out out;
};

/* The number of a word among those an option takes, which are the values of an enumeration. */
static int choose(const char *option, const char *word, const char *const *words, int *ret)
{
	for (int i = 0; words[i]; i++)
		if (!word || strcmp(word, words[i]) == 0) {
			*ret = i;
			return 0;
		}
	cli_error("ngram: %s cannot be '%s'; see whorl ngram --help", option, word);
	return EXIT_USAGE;
}

static int choose_format(struct config *config)
{
	const char *name = config->format_name;

	if (!name)
		name = config->json ? "json" : "tsv";
	if (row_format_find(name, &config->format) == 0)
		return 0;
	cli_error("ngram: --format is tsv, csv, json or binary, not '%s'", name);
	return EXIT_USAGE;
}

static int choose_all(struct config *config)
{
	static const char *const keys[] = { "ngram", "year", "both", NULL };
	static const char *const versions[] = { "auto", "2009", "2012", "2020", NULL };
	static const char *const bypasses[] = { "auto", "always", "never", NULL };
	int r = choose("--by", config->by, keys, &config->by_number);

	if (r == 0)
		r = choose("--version", config->version, versions, &config->version_number);
	if (r == 0)
		r = choose("--bypass", config->bypass, bypasses, &config->bypass_number);
	return r ? r : choose_format(config);
}

static int output(void *arg, const struct wh_mr_row *rows, size_t count)
{
	struct command *command = arg;

	return row_out_put(&command->out, rows, count);
}

static void file_error(void *arg, const char *path, int err)
{
	struct command *command = arg;

	progress_clear(&command->progress);
	command->files_failed = true;
	cli_error("ngram: cannot read %s: %s", strcmp(path, "-") == 0 ? "standard input" : path,
		  wh_mr_file_error_text(err));
}

static void damage(void *arg, const struct wh_mr_damage *damage)
{
	struct command *command = arg;

	progress_clear(&command->progress);
	command->files_failed = true;
	cli_damage("ngram", damage);
}

static void bad_line(void *arg, const struct wh_mr_bad_line *bad)
{
	struct command *command = arg;

	progress_clear(&command->progress);
	ngram_say_bad(bad);
}

static void progress(void *arg, const struct wh_mr_stats *stats)
{
	struct command *command = arg;

	progress_show(&command->progress, stats);
}

static int count(void *arg)
{
	struct command *command = arg;

	command->result = wh_mapreduce(&command->job, &command->stats);
	progress_end(&command->progress, &command->stats, command->result);
	return 0;
}

static void show_stats(const struct command *command)
{
	const struct wh_mr_stats *stats = &command->stats;
	double seconds = (double)(wh_now_ns() - command->started_ns) / (double)WH_SEC;
	char bytes[PROGRESS_SIZE_BYTES], rate[PROGRESS_SIZE_BYTES];

	fprintf(stderr,
		"whorl: %" PRIu64 " counts, %" PRIu64 " different keys, in %" PRIu64
		" files of %s; %.3f s, %s/s (%s, %u worker%s, %" PRIu64
		" keys bypassed); map %.3f s, reduce %.3f s, output %.3f s\n",
		stats->records, stats->keys, stats->files - stats->files_failed,
		progress_size(bytes, stats->bytes_done), seconds,
		progress_size(rate, (uint64_t)((double)stats->bytes_done / seconds)), stats->isa,
		stats->workers, stats->workers == 1 ? "" : "s", stats->bypassed,
		(double)stats->map_ns / 1e9, (double)stats->reduce_ns / 1e9,
		(double)stats->output_ns / 1e9);
}

static int say_failed(const struct command *command)
{
	const struct config *config = &command->config;

	if (command->out.error) {
		cli_error("ngram: cannot write the output: %s", strerror(-command->out.error));
		return EXIT_FAILED;
	}
	switch (command->result) {
	case -EBADMSG:
		cli_error("ngram: nothing was printed; --skip-bad leaves bad lines out%s",
			  config->skip_bad && !config->version_number
				  ? ", but of which version all others are --version has to say"
				  : "");
		return EXIT_FAILED;
	case -EOVERFLOW:
		cli_error("ngram: counts add up to more than 18446744073709551614");
		return EXIT_FAILED;
	case -ECANCELED:
		cli_error("ngram: interrupted; %s",
			  config->partial ? "what was printed are the counts of a part only"
					  : "--partial prints what was counted");
		return EXIT_FAILED;
	case -EINVAL:
		cli_error("ngram: %s", command->stats.why);
		return EXIT_USAGE;
	case -ENOTSUP:
		cli_error("ngram: %s", command->stats.why);
		return EXIT_MACHINE;
	default:
		cli_error("ngram: cannot count: %s",
			  command->stats.why[0] ? command->stats.why : strerror(-command->result));
		return EXIT_FAILED;
	}
}

static void end_output(struct command *command)
{
	const struct wh_mr_stats *stats = &command->stats;
	const struct row_member members[] = {
		{ "total", stats->records },
		{ "different", stats->keys },
		{ "skipped", stats->skipped },
		{ "bytes", stats->bytes_done },
		{ "files", stats->files },
		{ "files_failed", stats->files_failed },
		{ 0 },
	};

	row_out_end(&command->out, members, command->result < 0);
}

static int finish(struct command *command)
{
	const struct config *config = &command->config;
	uint64_t skipped = command->stats.skipped;

	if (command->result == 0 || (command->result == -ECANCELED && config->partial))
		end_output(command);
	if (command->result < 0 || command->out.error)
		return say_failed(command);
	if (skipped)
		cli_error("ngram: %" PRIu64 " bad line%s left out, the one above first", skipped,
			  skipped == 1 ? " was" : "s were");
	if (config->stats || command->is_terminal)
		show_stats(command);
	return command->files_failed ? EXIT_FAILED : EXIT_DONE;
}

static int parse(int argc, char **argv, struct config *config, int *ret_files)
{
	const struct cli_option options[] = {
		{ .name = "--by", .text = &config->by },
		{ .name = "--version", .text = &config->version },
		{ .name = "--skip-bad", .flag = &config->skip_bad },
		{ .name = "--top", .number = &config->top, .min = 1, .max = UINT64_MAX },
		{ .name = "--min-count", .number = &config->min_count, .max = UINT64_MAX },
		{ .name = "--workers", .number = &config->workers, .min = 1, .max = WORKERS_MAX },
		{ .name = "--memory",
		  .number = &config->memory,
		  .min = MEMORY_MIN,
		  .max = UINT64_MAX },
		{ .name = "--tmp", .text = &config->tmp },
		{ .name = "--format", .text = &config->format_name },
		{ .name = "--json", .flag = &config->json },
		{ .name = "--partial", .flag = &config->partial },
		{ .name = "--no-decompress", .flag = &config->no_decompress },
		PROGRESS_OPTION(&config->progress),
		{ .name = "--stats", .flag = &config->stats },
		{ .name = "--isa", .text = &config->isa },
		{ .name = "--bypass", .text = &config->bypass },
		CLI_BACKEND_OPTION(&config->backend),
		{ 0 },
	};
	int r = cli_parse(argc, argv, options, ret_files);

	if (r == 0 && *ret_files == 0) {
		cli_error("ngram: no file to count; - is standard input");
		return EXIT_USAGE;
	}
	return r ? r : choose_all(config);
}

static int run(struct command *command, char **argv, int files)
{
	const struct config *config = &command->config;
	const struct wh_run_opts opts = { .loops = 1, .backend = config->backend };
	int r;

	command->started_ns = wh_now_ns();
	command->is_terminal = isatty(STDERR_FILENO);
	r = progress_init(&command->progress, "ngram", config->progress);
	if (r > 0)
		return r;
	command->job = (struct wh_mr_job){
		.paths = (const char *const *)(argv + 1),
		.path_count = (size_t)files,
		.arg = command,
		.records = WH_MR_NGRAMS,
		.ngram_key = (enum wh_mr_ngram_key)config->by_number,
		.ngram_version = (enum wh_mr_ngram_version)config->version_number,
		.bypass = (enum wh_mr_bypass)config->bypass_number,
		.skip_bad = config->skip_bad,
		.bad_line = bad_line,
		.order = WH_MR_BY_VALUE,
		.rows_max = config->top,
		.output = output,
		.file_error = file_error,
		.damage = damage,
		.progress = progress_interval_ns(&command->progress) ? progress : NULL,
		.progress_ns = progress_interval_ns(&command->progress),
		.no_decompress = config->no_decompress,
		.partial = config->partial,
		.memory_max = config->memory,
		.tmp_dir = config->tmp,
		.workers = (uint32_t)config->workers,
		.isa = config->isa,
	};
	r = cli_run(count, command, &opts, NULL);
	return r < 0 ? cli_run_failed(r) : finish(command);
}

int cmd_ngram(int argc, char **argv)
{
	struct command *command;
	struct config config = { 0 };
	int files, r;

	r = parse(argc, argv, &config, &files);
	if (r < 0) {
		fputs(usage, stdout);
		return cli_flush() ? EXIT_DONE : EXIT_FAILED;
	}
	if (r > 0)
		return r;
	command = calloc(1, sizeof(*command));
	if (!command) {
		cli_error("ngram: out of memory");
		return EXIT_FAILED;
	}
	command->config = config;
	row_out_init(&command->out, STDOUT_FILENO, config.format, "ngrams",
		     config.by_number == WH_MR_BY_YEAR ? "year" : "ngram");
	command->out.min_count = config.min_count;
	r = run(command, argv, files);
	free(command);
	return r;
}
