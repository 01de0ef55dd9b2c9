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
#include <whorl/run.h>

#include "cli.h"

enum {
	OUT_BYTES = 256 * 1024,
	NUMBER_BYTES = 20, /* digits of UINT64_MAX */
	WORKERS_MAX = 1024,
	BAR_CELLS = 24,
	SIZE_BYTES = 32,
};

static const char usage[] =
	"usage: whorl wordcount [OPTION]... FILE...\n\n"
	"Print `word<TAB>count` for every different word of the files, most frequent first, equal\n"
	"counts in bytewise order. Directories are walked; - is standard input.\n\n"
	"A word is a longest run of bytes other than 0x00 to 0x20 (blank, tab, newline and the\n"
	"other control characters of that range are what separates words). A-Z count as a-z.\n"
	"Bytes from 0x80 are parts of words and left as they are, so that text in UTF-8, or in no\n"
	"encoding at all, passes byte for byte. Punctuation belongs to words. A word that crosses\n"
	"the end of a file ends there. Counts are exact.\n\n"
	"  --top N        print the N most frequent words only\n"
	"  --workers N    count on N threads; default: the CPUs this process may use\n"
	"  --json         print one JSON object; bytes that are not UTF-8 become \\udc80-\\udcff\n"
	"  --partial      when interrupted, print what has been counted until then\n"
	"  --stats        say at the end what was done, at which speed\n"
	"  --isa NAME     avx512, avx2, sse2, neon or scalar; default: $WHORL_ISA,\n"
	"                 or the best there is\n"
	"  --backend NAME uring or epoll; default: $WHORL_BACKEND, else uring where it is\n"
	"                 allowed, else epoll\n\n"
	"Exit status: 0 all files counted; 1 a file could not be read (the others are counted),\n"
	"interrupted, or the output could not be written; 2 wrong usage; 3 the machine lacks\n"
	"something.\n";

struct out {
	size_t len;
	int error; /* -errno of the first write that failed */
	uint64_t rows;
	uint8_t bytes[OUT_BYTES];
};

struct config {
	uint64_t top, workers;
	bool json, partial, stats;
	const char *isa, *backend;
};

struct command {
	struct config config;
	struct wh_mr_job job;
	struct wh_mr_stats stats;
	uint64_t started_ns;
	bool is_terminal; /* standard error */
	bool bar_shown;
	bool files_failed;
	int result; /* of wh_mapreduce */
	struct out out;
};

static int write_all(struct out *out, const uint8_t *bytes, size_t len)
{
	while (len > 0 && out->error == 0) {
		ssize_t n = write(STDOUT_FILENO, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			out->error = -errno;
			break;
		}
		bytes += n;
		len -= (size_t)n;
	}
	return out->error;
}

static int out_flush(struct out *out)
{
	size_t len = out->len;

	out->len = 0;
	return write_all(out, out->bytes, len);
}

static void put(struct out *out, const void *bytes, size_t len)
{
	if (len > OUT_BYTES - out->len)
		out_flush(out);
	if (len > OUT_BYTES) {
		write_all(out, bytes, len);
		return;
	}
	memcpy(out->bytes + out->len, bytes, len);
	out->len += len;
}

static void put_text(struct out *out, const char *text)
{
	put(out, text, strlen(text));
}

static void put_number(struct out *out, uint64_t number)
{
	uint8_t digits[NUMBER_BYTES];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (uint8_t)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	put(out, digits + at, sizeof(digits) - at);
}

static void put_line(struct out *out, const struct wh_mr_row *row)
{
	put(out, row->key.data, row->key.len);
	put(out, "\t", 1);
	put_number(out, row->sum);
	put(out, "\n", 1);
}

/* Length of the UTF-8 sequence at `at` (RFC 3629, section 4), 0 if there is none. */
static size_t utf8_len(const uint8_t *at, size_t left)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t len;

	if (at[0] < 0x80)
		return 1;
	if (at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	len = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	if (len > left)
		return 0;
	if (at[0] == 0xe0)
		low = 0xa0;
	else if (at[0] == 0xed)
		high = 0x9f;
	else if (at[0] == 0xf0)
		low = 0x90;
	else if (at[0] == 0xf4)
		high = 0x8f;
	if (at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (at[i] < 0x80 || at[i] > 0xbf)
			return 0;
	return len;
}

static void put_json_string(struct out *out, const uint8_t *bytes, size_t len)
{
	put(out, "\"", 1);
	for (size_t i = 0; i < len;) {
		size_t took = utf8_len(bytes + i, len - i);
		char escape[8];

		if (took == 0)
			snprintf(escape, sizeof(escape), "\\udc%02x", bytes[i]);
		else if (bytes[i] == '"' || bytes[i] == '\\')
			snprintf(escape, sizeof(escape), "\\%c", bytes[i]);
		else if (bytes[i] == 0x7f)
			snprintf(escape, sizeof(escape), "\\u007f");
		else
			escape[0] = 0;
		if (escape[0])
			put_text(out, escape);
		else
			put(out, bytes + i, took);
		i += took ? took : 1;
	}
	put(out, "\"", 1);
}

static void put_json_row(struct out *out, const struct wh_mr_row *row)
{
	put_text(out, out->rows ? ",\n{\"word\":" : "{\"words\":[\n{\"word\":");
	put_json_string(out, row->key.data, row->key.len);
	put_text(out, ",\"count\":");
	put_number(out, row->sum);
	put_text(out, "}");
}

static void put_json_member(struct out *out, const char *name, uint64_t number)
{
	put_text(out, ",\n\"");
	put_text(out, name);
	put_text(out, "\":");
	put_number(out, number);
}

static void put_json_end(struct command *command)
{
	const struct wh_mr_stats *stats = &command->stats;
	struct out *out = &command->out;

	put_text(out, out->rows ? "\n]" : "{\"words\":[]");
	put_json_member(out, "total", stats->records);
	put_json_member(out, "different", stats->keys);
	put_json_member(out, "bytes", stats->bytes_done);
	put_json_member(out, "files", stats->files);
	put_json_member(out, "files_failed", stats->files_failed);
	put_text(out, command->result < 0 ? ",\n\"partial\":true}\n" : ",\n\"partial\":false}\n");
}

static int output(void *arg, const struct wh_mr_row *rows, size_t count)
{
	struct command *command = arg;

	for (size_t i = 0; i < count; i++) {
		if (command->config.json)
			put_json_row(&command->out, &rows[i]);
		else
			put_line(&command->out, &rows[i]);
		command->out.rows++;
	}
	return command->out.error;
}

/* 1234567 as "1.23 MB". */
static const char *size_text(char text[SIZE_BYTES], uint64_t bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	double value = (double)bytes;
	unsigned unit = 0;

	for (; value >= 999.5; unit++)
		value /= 1000;
	if (unit == 0)
		snprintf(text, SIZE_BYTES, "%u B", (unsigned)bytes);
	else
		snprintf(text, SIZE_BYTES, "%.*f %s",
			 value < 9.995	 ? 2
			 : value < 99.95 ? 1
					 : 0,
			 value, units[unit]);
	return text;
}

static void clear_bar(struct command *command)
{
	if (command->bar_shown)
		fputs("\r\033[K", stderr);
	command->bar_shown = false;
}

static void file_error(void *arg, const char *path, int err)
{
	struct command *command = arg;

	clear_bar(command);
	command->files_failed = true;
	if (strcmp(path, "-") == 0)
		path = "standard input";
	cli_error("wordcount: cannot read %s: %s", path, strerror(-err));
}

static double seconds_since(uint64_t start_ns)
{
	return (double)(wh_now_ns() - start_ns) / (double)WH_SEC;
}

static void show_bar(const struct wh_mr_stats *stats, double seconds)
{
	char done[SIZE_BYTES], total[SIZE_BYTES], rate[SIZE_BYTES], bar[BAR_CELLS + 1];
	double share = (double)stats->bytes_done / (double)stats->bytes_total;
	double per_second = (double)stats->bytes_done / seconds;
	double left = per_second > 0 ? (double)(stats->bytes_total - stats->bytes_done) / per_second
				     : 0;

	for (unsigned i = 0; i < BAR_CELLS; i++)
		bar[i] = i < (unsigned)(share * BAR_CELLS) ? '#' : '.';
	bar[BAR_CELLS] = 0;
	fprintf(stderr, "\r[%s] %3.0f %%  %s of %s  %s/s  %u:%02u left\033[K", bar, share * 100,
		size_text(done, stats->bytes_done), size_text(total, stats->bytes_total),
		size_text(rate, (uint64_t)per_second), (unsigned)left / 60, (unsigned)left % 60);
}

static void progress(void *arg, const struct wh_mr_stats *stats)
{
	struct command *command = arg;
	double seconds = seconds_since(command->started_ns);
	char done[SIZE_BYTES], rate[SIZE_BYTES];

	command->bar_shown = true;
	if (stats->bytes_total > 0 && stats->bytes_done < stats->bytes_total)
		show_bar(stats, seconds);
	else if (stats->bytes_total > 0)
		fprintf(stderr, "\rsorting and printing\033[K");
	else
		fprintf(stderr, "\r%s  %s/s\033[K", size_text(done, stats->bytes_done),
			size_text(rate, (uint64_t)((double)stats->bytes_done / seconds)));
}

static int count(void *arg)
{
	struct command *command = arg;

	command->result = wh_mapreduce(&command->job, &command->stats);
	clear_bar(command);
	return 0;
}

static void show_stats(const struct command *command, double seconds)
{
	const struct wh_mr_stats *stats = &command->stats;
	char bytes[SIZE_BYTES], rate[SIZE_BYTES];

	fprintf(stderr,
		"whorl: %" PRIu64 " words, %" PRIu64 " different, in %" PRIu64 " files of %s; "
		"%.3f s, %s/s (%s, %u worker%s)\n",
		stats->records, stats->keys, stats->files - stats->files_failed,
		size_text(bytes, stats->bytes_done), seconds,
		size_text(rate, (uint64_t)((double)stats->bytes_done / seconds)), stats->isa,
		stats->workers, stats->workers == 1 ? "" : "s");
}

static void say_interrupted(const struct command *command)
{
	char done[SIZE_BYTES], total[SIZE_BYTES];
	const char *printed = "nothing was printed; --partial prints what was counted";

	if (command->config.partial)
		printed = "what was printed are the counts of that part only";
	else if (command->out.rows)
		printed = "the output is incomplete";
	size_text(done, command->stats.bytes_done);
	if (command->stats.bytes_total)
		cli_error("wordcount: interrupted after %s of %s; %s", done,
			  size_text(total, command->stats.bytes_total), printed);
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

static int finish(struct command *command)
{
	double seconds;
	bool printed = command->result == 0 ||
		       (command->result == -ECANCELED && command->config.partial);

	if (printed && command->config.json)
		put_json_end(command);
	if (printed)
		out_flush(&command->out);
	seconds = seconds_since(command->started_ns);
	if (command->result < 0 || command->out.error)
		return say_failed(command);
	if (command->config.stats || command->is_terminal)
		show_stats(command, seconds);
	return command->files_failed ? EXIT_FAILED : EXIT_DONE;
}

static int parse(int argc, char **argv, struct config *config, int *ret_files)
{
	const struct cli_option options[] = {
		{ .name = "--top", .number = &config->top, .min = 1, .max = UINT64_MAX },
		{ .name = "--workers", .number = &config->workers, .min = 1, .max = WORKERS_MAX },
		{ .name = "--json", .flag = &config->json },
		{ .name = "--partial", .flag = &config->partial },
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
	return r;
}

static int run(struct command *command, char **argv, int files)
{
	const struct config *config = &command->config;
	const struct wh_run_opts opts = { .loops = 1, .backend = config->backend };
	int r;

	command->started_ns = wh_now_ns();
	command->is_terminal = isatty(STDERR_FILENO);
	command->job = (struct wh_mr_job){
		.paths = (const char *const *)(argv + 1),
		.path_count = (size_t)files,
		.arg = command,
		.order = WH_MR_BY_VALUE,
		.rows_max = config->top,
		.output = output,
		.file_error = file_error,
		.progress = command->is_terminal ? progress : NULL,
		.workers = (uint32_t)config->workers,
		.partial = config->partial,
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
	r = run(command, argv, files);
	free(command);
	return r;
}
