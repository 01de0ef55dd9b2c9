/*
 * Owns a run of a command that counts: the job's callbacks, what is said of it, and its exit code.
 *
 * Rows come on a thread of the executor, one batch after another, and go to standard output through
 * a buffer of our own; progress and complaints come on the loop.
 */
#include "count.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/pool.h>
#include <whorl/run.h>

#include "explain.h"

enum {
	WORKERS_MAX = 1024,
	MEMORY_MIN = 1000 * 1000,
};

struct count *count_new(const struct count_kind *kind, const void *own)
{
	struct count *count = calloc(1, sizeof(*count));

	if (!count) {
		cli_error("%s: out of memory", kind->name);
		return NULL;
	}
	count->kind = kind;
	count->own = own;
	return count;
}

int count_help(const char *usage)
{
	fputs(usage, stdout);
	return cli_flush() ? EXIT_DONE : EXIT_FAILED;
}

/* The options that all have, into `options`, of COUNT_OPTIONS places. */
static void fill_options(struct count_config *config, struct cli_option *options)
{
	const struct cli_option all[COUNT_OPTIONS] = {
		{ .name = "--top", .number = &config->top, .min = 1, .max = UINT64_MAX },
		{ .name = "--min-count", .number = &config->min_count, .max = UINT64_MAX },
		{ .name = "--format", .text = &config->format_name },
		{ .name = "--json", .flag = &config->json },
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
		{ .name = "--direct", .flag = &config->direct },
		{ .name = "--no-decompress", .flag = &config->no_decompress },
		{ .name = "--resume", .text = &config->resume },
		PROGRESS_OPTION(&config->progress),
		{ .name = "--explain", .flag = &config->explain },
		{ .name = "--partial", .flag = &config->partial },
		{ .name = "--stats", .flag = &config->stats },
		{ .name = "--isa", .text = &config->isa },
		CLI_BACKEND_OPTION(&config->backend),
	};

	memcpy(options, all, sizeof(all));
}

static int choose_format(struct count *count)
{
	struct count_config *config = &count->config;
	const char *format = config->format_name;

	if (format && config->json && strcmp(format, "json") != 0) {
		cli_error("%s: --json means --format json, not %s: leave one of them out",
			  count->kind->name, format);
		return EXIT_USAGE;
	}
	if (!format)
		format = config->json ? "json" : "tsv";
	if (row_format_find(format, &config->format) == 0)
		return 0;
	cli_error("%s: --format is tsv, csv, json or binary, not '%s'", count->kind->name, format);
	return EXIT_USAGE;
}

static int check(struct count *count, int files)
{
	if (files == 0) {
		cli_error("%s: no file to count; - is standard input", count->kind->name);
		return EXIT_USAGE;
	}
	return choose_format(count);
}

int count_parse(struct count *count, int argc, char **argv, const struct cli_option *own)
{
	struct cli_option options[COUNT_OPTIONS + COUNT_OPTIONS_OWN + 1] = { 0 };
	unsigned owned = 0;
	int files, r;

	for (; own[owned].name; owned++)
		options[owned] = own[owned];
	fill_options(&count->config, options + owned);
	r = cli_parse(argc, argv, options, &files);
	if (r == 0)
		r = check(count, files);
	if (r == 0)
		r = progress_init(&count->progress, count->kind->name, count->config.progress);
	count->job.paths = (const char *const *)(argv + 1);
	count->job.path_count = r == 0 ? (size_t)files : 0;
	return r;
}

static int format(void *arg, const struct wh_mr_row *rows, size_t rows_count,
		  struct wh_mr_text *text)
{
	struct count *count = arg;

	return row_out_format(&count->out, rows, rows_count, text);
}

static int write_text(void *arg, const void *bytes, size_t len)
{
	struct count *count = arg;

	return row_out_write(&count->out, bytes, len);
}

static void file_error(void *arg, const char *path, int err)
{
	struct count *count = arg;

	progress_clear(&count->progress);
	count->files_failed = true;
	if (strcmp(path, "-") == 0)
		path = "standard input";
	cli_error("%s: cannot read %s: %s", count->kind->name, path, wh_mr_file_error_text(err));
}

static void damage(void *arg, const struct wh_mr_damage *damaged)
{
	struct count *count = arg;

	progress_clear(&count->progress);
	count->files_failed = true;
	cli_damage(count->kind->name, damaged);
}

static void plan(void *arg, const struct wh_mr_plan *told)
{
	struct count *count = arg;

	progress_clear(&count->progress);
	explain_plan(told, &count->job);
}

static void progress(void *arg, const struct wh_mr_stats *stats)
{
	struct count *count = arg;

	progress_show(&count->progress, stats);
}

static int run_job(void *arg)
{
	struct count *count = arg;

	count->result = wh_mapreduce(&count->job, &count->stats);
	progress_end(&count->progress, &count->stats, count->result);
	return 0;
}

static void show_stats(const struct count *count, double seconds)
{
	const struct wh_mr_stats *stats = &count->stats;
	char bytes[PROGRESS_SIZE_BYTES], rate[PROGRESS_SIZE_BYTES];

	fprintf(stderr, "whorl: %" PRIu64 " %s, %" PRIu64 " %s, in %" PRIu64 " files of %s",
		stats->records, count->kind->records, stats->keys, count->kind->keys,
		stats->files - stats->files_failed, progress_size(bytes, stats->bytes_done));
	if (stats->bytes_unpacked)
		fprintf(stderr, " (%s were decompressed)",
			progress_size(bytes, stats->bytes_unpacked));
	fprintf(stderr, "; %.3f s, %s/s (%s, %u worker%s", seconds,
		progress_size(rate, (uint64_t)((double)stats->bytes_done / seconds)), stats->isa,
		stats->workers, stats->workers == 1 ? "" : "s");
	if (count->config.processes)
		fprintf(stderr, ", %" PRIu64 " process%s, %" PRIu64 " died",
			count->config.processes, count->config.processes == 1 ? "" : "es",
			stats->processes_died);
	if (stats->bypassed)
		fprintf(stderr, ", %" PRIu64 " keys bypassed", stats->bypassed);
	fprintf(stderr, "); map %.3f s, reduce %.3f s, output %.3f s\n",
		(double)stats->map_ns / 1e9, (double)stats->reduce_ns / 1e9,
		(double)stats->output_ns / 1e9);
}

static int say_interrupted(const struct count *count)
{
	char done[PROGRESS_SIZE_BYTES], total[PROGRESS_SIZE_BYTES];
	const char *printed = "nothing was printed; --partial prints what was counted";

	if (count->config.partial)
		printed = "what was printed are the counts of that part only";
	else if (count->out.rows)
		printed = "the output is incomplete";
	else if (count->config.resume)
		printed = "nothing was printed; the same command goes on from there";
	progress_size(done, count->stats.bytes_done);
	if (count->stats.bytes_total)
		cli_error("%s: interrupted after %s of %s; %s", count->kind->name, done,
			  progress_size(total, count->stats.bytes_total), printed);
	else
		cli_error("%s: interrupted after %s; %s", count->kind->name, done, printed);
	return EXIT_FAILED;
}

static int exit_code(int err)
{
	if (err == -EINVAL)
		return EXIT_USAGE;
	return err == -ENOTSUP ? EXIT_MACHINE : EXIT_FAILED;
}

static int say_failed(const struct count *count)
{
	const char *name = count->kind->name;
	int err = count->result, r = -1;

	if (count->out.error) {
		cli_error("%s: cannot write the output: %s", name, strerror(-count->out.error));
		return EXIT_FAILED;
	}
	if (err == -ECANCELED || err == -ETIMEDOUT)
		return say_interrupted(count);
	if (count->kind->say_failed)
		r = count->kind->say_failed(count);
	if (r >= 0)
		return r;
	if (count->stats.why[0])
		cli_error("%s: %s", name, count->stats.why);
	else
		cli_error("%s: cannot count: %s", name, strerror(-err));
	return exit_code(err);
}

static void end_output(struct count *count)
{
	const struct wh_mr_stats *stats = &count->stats;
	struct row_member members[7] = {
		{ "total", stats->records },
		{ "different", stats->keys },
	};
	struct row_member *member = &members[2];

	if (count->kind->skips)
		*member++ = (struct row_member){ "skipped", stats->skipped };
	*member++ = (struct row_member){ "bytes", stats->bytes_done };
	*member++ = (struct row_member){ "files", stats->files };
	*member = (struct row_member){ "files_failed", stats->files_failed };
	row_out_end(&count->out, members, count->result < 0);
}

/* All is printed: there is nothing to go on with any more. */
static int forget(const struct count *count)
{
	const char *dir = count->config.resume;
	int r = wh_mr_resume_remove(dir);

	if (r < 0)
		cli_error("%s: cannot remove what is left in %s: %s", count->kind->name, dir,
			  strerror(-r));
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

static void say_skipped(const struct count *count)
{
	uint64_t skipped = count->stats.skipped;

	if (skipped)
		cli_error("%s: %" PRIu64 " bad line%s left out, the one above first",
			  count->kind->name, skipped, skipped == 1 ? " was" : "s were");
}

static int finish(struct count *count)
{
	const struct count_config *config = &count->config;
	double seconds;

	if (count->result == 0 || (count->result == -ECANCELED && config->partial))
		end_output(count);
	seconds = (double)(wh_now_ns() - count->started_ns) / (double)WH_SEC;
	if (count->result < 0 || count->out.error)
		return say_failed(count);
	say_skipped(count);
	if (config->explain)
		explain_result(&count->stats, &count->job, seconds);
	if (config->stats || count->is_terminal)
		show_stats(count, seconds);
	if (config->resume && !count->files_failed)
		return forget(count);
	return count->files_failed ? EXIT_FAILED : EXIT_DONE;
}

static void fill_job(struct count *count)
{
	const struct count_config *config = &count->config;
	struct wh_mr_job *job = &count->job;

	job->arg = count;
	job->order = WH_MR_BY_VALUE;
	job->rows_max = config->top;
	job->format = format;
	job->write = write_text;
	job->file_error = file_error;
	job->damage = damage;
	job->progress_ns = progress_interval_ns(&count->progress);
	job->progress = job->progress_ns ? progress : NULL;
	job->no_decompress = config->no_decompress;
	job->direct = config->direct;
	job->explain = config->explain;
	job->plan = config->explain ? plan : NULL;
	job->workers = (uint32_t)config->workers;
	job->processes = (uint32_t)config->processes;
	job->partial = config->partial;
	job->memory_max = config->memory;
	job->tmp_dir = config->tmp;
	job->resume_dir = config->resume;
	job->isa = config->isa;
}

int count_run(struct count *count, const char *key)
{
	const struct count_config *config = &count->config;
	const struct wh_run_opts opts = { .loops = 1, .backend = config->backend };
	int r;

	count->started_ns = wh_now_ns();
	count->is_terminal = isatty(STDERR_FILENO);
	row_out_init(&count->out, STDOUT_FILENO, config->format, count->kind->list, key);
	count->out.min_count = config->min_count;
	fill_job(count);
	r = cli_run(run_job, count, &opts, NULL);
	return r < 0 ? cli_run_failed(r) : finish(count);
}
