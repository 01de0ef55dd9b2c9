/*
 * whorl wordcount: counts the words of files, the MapReduce layer's first job.
 *
 * Rows come on a thread of the executor, one batch after another, and go to standard output through
 * a buffer of our own; progress and complaints come on the loop.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/mapreduce.h>
#include <whorl/pool.h>
#include <whorl/run.h>

#include "cli.h"
#include "explain.h"
#include "progress.h"
#include "row_out.h"

enum {
	WORKERS_MAX = 1024,
	MEMORY_MIN = 1000 * 1000,
};

static const char usage[] =
	"usage: whorl wordcount [OPTION]... FILE...\n\n"
	"Print `word<TAB>count` for every different word of the files, most frequent first, equal\n"
	"counts in bytewise order. Directories are walked; - is standard input.\n\n"
	"A word is a longest run of bytes other than 0x00 to 0x20 (blank, tab, newline and the\n"
	"other control characters of that range are what separates words). A-Z count as a-z.\n"
	"Bytes from 0x80 are parts of words and left as they are, so that text in UTF-8, or in no\n"
	"encoding at all, passes byte for byte. Punctuation belongs to words. A word that crosses\n"
	"the end of a file ends there. Counts are exact. --words, --keep-case and --unicode say\n"
	"it otherwise.\n\n"
	"Files that begin as gzip, zstd or lz4 data do, whatever their names, are decompressed.\n"
	"Of one that is damaged, what came out before counts.\n\n"
	"  --top N        print the N most frequent words only\n"
	"  --min-count N  print no words with less; the totals are still those of all words\n"
	"  --words SET    which bytes belong to words: control (the above), posix-space (all but\n"
	"                 tab, newline, vertical tab, form feed, return and blank), alpha (A-Z,\n"
	"                 a-z), alnum (these and 0-9), or a set such as \"a-z0-9_'\" or ^,;\\n:\n"
	"                 ranges, ^ first for all others, and \\n \\t \\\\ \\- \\^ \\xHH\n"
	"  --keep-case    A-Z are other words than a-z\n"
	"  --unicode      white space of Unicode separates words too, and upper case of any\n"
	"                 script counts as lower case, by Unicode's simple folding, in UTF-8\n"
	"  --format F     tsv; csv (RFC 4180, with a line of names); json (one object; bytes\n"
	"                 that are not UTF-8 become \\udc80-\\udcff); binary (\"whorlrow\", then\n"
	"                 for each word its length and count, both 64 bits, little-endian, and\n"
	"                 the word; a length of 0 with the number of words ends it)\n"
	"  --workers N    count on N threads; default: the CPUs this process may use\n"
	"  --processes N  count in N other processes, so that one that dies takes nothing along:\n"
	"                 what it had is counted again, three times at most\n"
	"  --json         the same as --format json\n"
	"  --memory SIZE  keep to so much memory, and write to disk what does not fit: the result\n"
	"                 is the same. k, M and G are accepted. Default: a quarter of what this\n"
	"                 process may use. Each worker needs about 4 MB besides\n"
	"  --tmp DIR      for that; the files have no names there. Default: $TMPDIR, else\n"
	"                 /var/tmp, else /tmp, which is in memory on many machines\n"
	"  --direct       read large files past the page cache: for what is larger than memory\n"
	"  --no-decompress  count the bytes of compressed files as they are\n" PROGRESS_HELP
	"  --explain      say before what will be done, and afterwards where the time went\n"
	"  --resume DIR   keep there what has been counted, and go on from it when this is run\n"
	"                 again with the same files after it was killed; removed when all is\n"
	"                 printed\n"
	"  --partial      when interrupted, print what has been counted until then\n"
	"  --stats        say at the end what was done, at which speed\n"
	"  --isa NAME     avx512, avx2, sse2, neon or scalar; default: $WHORL_ISA,\n"
	"                 or the best there is\n"
	"  --backend NAME uring or epoll; default: $WHORL_BACKEND, else uring where it is\n"
	"                 allowed, else epoll\n\n" PROGRESS_JSON_HELP "\n"
	"Exit status: 0 all files counted; 1 a file could not be read (the others are counted),\n"
	"interrupted, or the output could not be written; 2 wrong usage; 3 the machine lacks\n"
	"something.\n";

struct config {
	uint64_t top, min_count, workers, processes;
	bool json, partial, stats, keep_case, unicode;
	const char *format_name, *words_text;
	enum row_format format;
	struct wh_mr_words words;
	uint64_t memory;
	const char *tmp, *resume;
	bool no_decompress, direct, explain;
	const char *isa, *backend, *progress;
};

struct command {
	struct config config;
	struct wh_mr_job job;
	struct wh_mr_stats stats;
	uint64_t started_ns;
	bool is_terminal; /* standard error */
	struct progress progress;
	bool files_failed;
	int result; /* of wh_mapreduce */
	struct row_out out;
};

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
	if (strcmp(path, "-") == 0)
		path = "standard input";
	cli_error("wordcount: cannot read %s: %s", path, strerror(-err));
}

static double seconds_since(uint64_t start_ns)
{
	return (double)(wh_now_ns() - start_ns) / (double)WH_SEC;
}

static void damage(void *arg, const struct wh_mr_damage *damage)
{
	struct command *command = arg;

	progress_clear(&command->progress);
	command->files_failed = true;
	cli_damage("wordcount", damage);
}

static void plan(void *arg, const struct wh_mr_plan *told)
{
	struct command *command = arg;

	progress_clear(&command->progress);
	explain_plan(told, &command->job);
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

static void show_stats(const struct command *command, double seconds)
{
	const struct wh_mr_stats *stats = &command->stats;
	char bytes[PROGRESS_SIZE_BYTES], rate[PROGRESS_SIZE_BYTES];

	fprintf(stderr,
		"whorl: %" PRIu64 " words, %" PRIu64 " different, in %" PRIu64 " files of %s",
		stats->records, stats->keys, stats->files - stats->files_failed,
		progress_size(bytes, stats->bytes_done));
	if (stats->bytes_unpacked)
		fprintf(stderr, " (%s were decompressed)",
			progress_size(bytes, stats->bytes_unpacked));
	fprintf(stderr, "; %.3f s, %s/s (%s, %u worker%s)\n", seconds,
		progress_size(rate, (uint64_t)((double)stats->bytes_done / seconds)), stats->isa,
		stats->workers, stats->workers == 1 ? "" : "s");
}

static void say_interrupted(const struct command *command)
{
	char done[PROGRESS_SIZE_BYTES], total[PROGRESS_SIZE_BYTES];
	const char *printed = "nothing was printed; --partial prints what was counted";

	if (command->config.partial)
		printed = "what was printed are the counts of that part only";
	else if (command->out.rows)
		printed = "the output is incomplete";
	progress_size(done, command->stats.bytes_done);
	if (command->stats.bytes_total)
		cli_error("wordcount: interrupted after %s of %s; %s", done,
			  progress_size(total, command->stats.bytes_total), printed);
	else
		cli_error("wordcount: interrupted after %s; %s", done, printed);
}

static int say_failed(const struct command *command)
{
	int err = command->result;

	if (command->out.error) {
		cli_error("wordcount: cannot write the output: %s", strerror(-command->out.error));
		return EXIT_FAILED;
	}
	if (err == -ECANCELED) {
		say_interrupted(command);
		return EXIT_FAILED;
	}
	if (command->stats.why[0] &&
	    (command->stats.spill.error || command->config.resume || command->config.processes)) {
		cli_error("wordcount: %s", command->stats.why);
		return err == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	}
	if (err == -EINVAL) {
		cli_error(
			"wordcount: no instruction set is called '%s' here (avx512, avx2, sse2 on "
			"x86-64; neon on aarch64; scalar on any)",
			command->config.isa ? command->config.isa : getenv("WHORL_ISA"));
		return EXIT_USAGE;
	}
	if (err == -ENOTSUP) {
		cli_error(
			"wordcount: this processor lacks the instruction set asked for; leave out "
			"--isa and WHORL_ISA");
		return EXIT_MACHINE;
	}
	cli_error("wordcount: cannot count: %s", strerror(-err));
	return EXIT_FAILED;
}

static void end_output(struct command *command)
{
	const struct wh_mr_stats *stats = &command->stats;
	const struct row_member members[] = {
		{ "total", stats->records },
		{ "different", stats->keys },
		{ "bytes", stats->bytes_done },
		{ "files", stats->files },
		{ "files_failed", stats->files_failed },
		{ 0 },
	};

	row_out_end(&command->out, members, command->result < 0);
}

/* All is printed: there is nothing to go on with any more. */
static int forget(const char *dir)
{
	int r = wh_mr_resume_remove(dir);

	if (r < 0)
		cli_error("wordcount: cannot remove what is left in %s: %s", dir, strerror(-r));
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

static int finish(struct command *command)
{
	double seconds;
	bool printed = command->result == 0 ||
		       (command->result == -ECANCELED && command->config.partial);

	if (printed)
		end_output(command);
	seconds = seconds_since(command->started_ns);
	if (command->result < 0 || command->out.error)
		return say_failed(command);
	if (command->config.explain)
		explain_result(&command->stats, seconds);
	if (command->config.stats || command->is_terminal)
		show_stats(command, seconds);
	if (command->config.resume && !command->files_failed)
		return forget(command->config.resume);
	return command->files_failed ? EXIT_FAILED : EXIT_DONE;
}

static int parse_texts(struct config *config)
{
	const char *format = config->json ? "json" : "tsv";
	const char *words = config->words_text ? config->words_text : "control";

	if (config->format_name)
		format = config->format_name;
	if (row_format_find(format, &config->format) < 0) {
		cli_error("wordcount: --format is tsv, csv, json or binary, not '%s'", format);
		return EXIT_USAGE;
	}
	if (wh_mr_words_parse(words, &config->words) < 0) {
		cli_error("wordcount: --words is control, posix-space, alpha, alnum or a set of "
			  "bytes as a-z0-9_ of which some but not all belong to words, not '%s'",
			  words);
		return EXIT_USAGE;
	}
	config->words.keep_case = config->keep_case;
	config->words.unicode = config->unicode;
	return 0;
}

static int parse(int argc, char **argv, struct config *config, int *ret_files)
{
	const struct cli_option options[] = {
		{ .name = "--top", .number = &config->top, .min = 1, .max = UINT64_MAX },
		{ .name = "--min-count", .number = &config->min_count, .max = UINT64_MAX },
		{ .name = "--words", .text = &config->words_text },
		{ .name = "--keep-case", .flag = &config->keep_case },
		{ .name = "--unicode", .flag = &config->unicode },
		{ .name = "--format", .text = &config->format_name },
		{ .name = "--workers", .number = &config->workers, .min = 1, .max = WORKERS_MAX },
		{ .name = "--processes",
		  .number = &config->processes,
		  .min = 1,
		  .max = WH_POOL_PROCESSES_MAX },
		{ .name = "--memory",
		  .number = &config->memory,
		  .min = MEMORY_MIN,
		  .max = UINT64_MAX },
		{ .name = "--tmp", .text = &config->tmp },
		{ .name = "--resume", .text = &config->resume },
		{ .name = "--json", .flag = &config->json },
		{ .name = "--partial", .flag = &config->partial },
		{ .name = "--no-decompress", .flag = &config->no_decompress },
		{ .name = "--direct", .flag = &config->direct },
		{ .name = "--explain", .flag = &config->explain },
		PROGRESS_OPTION(&config->progress),
		{ .name = "--stats", .flag = &config->stats },
		{ .name = "--isa", .text = &config->isa },
		CLI_BACKEND_OPTION(&config->backend),
		{ 0 },
	};
	int r = cli_parse(argc, argv, options, ret_files);

	if (r == 0 && *ret_files == 0) {
		cli_error("wordcount: no file to count; - is standard input");
		return EXIT_USAGE;
	}
	return r ? r : parse_texts(config);
}

static int run(struct command *command, char **argv, int files)
{
	const struct config *config = &command->config;
	const struct wh_run_opts opts = { .loops = 1, .backend = config->backend };
	int r;

	command->started_ns = wh_now_ns();
	command->is_terminal = isatty(STDERR_FILENO);
	r = progress_init(&command->progress, "wordcount", config->progress);
	if (r > 0)
		return r;
	command->job = (struct wh_mr_job){
		.paths = (const char *const *)(argv + 1),
		.path_count = (size_t)files,
		.arg = command,
		.words = &command->config.words,
		.order = WH_MR_BY_VALUE,
		.rows_max = config->top,
		.output = output,
		.file_error = file_error,
		.damage = damage,
		.progress = progress_interval_ns(&command->progress) ? progress : NULL,
		.progress_ns = progress_interval_ns(&command->progress),
		.no_decompress = config->no_decompress,
		.direct = config->direct,
		.explain = config->explain,
		.plan = config->explain ? plan : NULL,
		.workers = (uint32_t)config->workers,
		.processes = (uint32_t)config->processes,
		.partial = config->partial,
		.memory_max = config->memory,
		.tmp_dir = config->tmp,
		.resume_dir = config->resume,
		.isa = config->isa,
	};
	r = cli_run(count, command, &opts, NULL);
	return r < 0 ? cli_run_failed(r) : finish(command);
}

int cmd_wordcount(int argc, char **argv)
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
		cli_error("wordcount: out of memory");
		return EXIT_FAILED;
	}
	command->config = config;
	row_out_init(&command->out, STDOUT_FILENO, config.format, "words", "word");
	command->out.min_count = config.min_count;
	r = run(command, argv, files);
	free(command);
	return r;
}
