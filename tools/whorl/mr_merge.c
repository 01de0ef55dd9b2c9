/*
 * whorl mr merge: brings the sorted results of all reduce tasks together and prints them, byte for
 * byte what one process would have printed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mr.h"

static const char usage[] =
	"usage: whorl mr merge --dir DIR [OPTION]...\n\n"
	"Print the result of the run in DIR, once all reduce tasks are done: what the job prints\n"
	"as one process, byte for byte.\n\n"
	"  --dir DIR       the run's directory\n"
	"  --output FILE   write FILE instead, which is there when it is whole\n" MR_PROGRESS_HELP
	"\n"
	"Exit status: 0 done; 1 failed for good; 2 wrong usage; 4 failed, and may succeed\n"
	"elsewhere or later; 5 the result of a reduce task is missing or damaged: a line\n"
	"`again|reduce|P` on standard error for each one to run again first.\n";

struct merge {
	const char *dir;
	FILE *again;
	struct mr_plan plan;
	struct mr_job job;
	char **paths;
	uint64_t bytes;	  /* of all results, */
	uint64_t checked; /* and how many of them have been looked at */
	uint64_t keys;
	uint64_t skipped; /* bad lines, and what was said of the first one; NULL: not known */
	char *first_bad;
	struct progress *progress;
	struct wh_mr_stats stats;
	struct row_out out;
};

static int output(void *arg, const struct wh_mr_row *rows, size_t count)
{
	struct merge *merge = arg;

	if (mr_interrupted)
		return -ECANCELED;
	merge->stats.phase_done += count;
	progress_poll(merge->progress, &merge->stats);
	return row_out_put(&merge->out, rows, count);
}

static void again(const struct merge *merge, uint32_t part, const char *why)
{
	progress_clear(merge->progress);
	fprintf(merge->again, "again|reduce|%" PRIu32 "\n", part);
	cli_error("mr merge: part %" PRIu32 " has to be reduced again: %s%s%s", part,
		  merge->paths[part] ? merge->paths[part] : "", merge->paths[part] ? ": " : "",
		  why);
}

static int find_result(struct merge *merge, uint32_t part)
{
	const struct mr_place place = { merge->dir, &merge->plan, MR_REDUCE, part };
	struct mr_marker marker;
	char path[MR_PATH_BYTES];
	struct stat st;

	if (!mr_read_done(&place, 0, &marker)) {
		again(merge, part, "it is not done");
		return EXIT_AGAIN;
	}
	merge->keys += marker.done.keys;
	mr_path_result(path, merge->dir, part, &marker.done);
	merge->paths[part] = strdup(path);
	if (!merge->paths[part])
		return EXIT_RETRY;
	if (stat(path, &st) < 0) {
		again(merge, part, strerror(errno));
		return EXIT_AGAIN;
	}
	merge->bytes += (uint64_t)st.st_size;
	if ((uint64_t)st.st_size != marker.sums.bytes) {
		again(merge, part, "not as long as its marker says");
		return EXIT_AGAIN;
	}
	return EXIT_DONE;
}

static int find_results(struct merge *merge)
{
	int status = EXIT_DONE;

	merge->paths = calloc(merge->plan.parts, sizeof(*merge->paths));
	if (!merge->paths)
		return EXIT_RETRY;
	for (uint32_t part = 0; part < merge->plan.parts; part++) {
		int r = find_result(merge, part);

		if (r)
			status = r;
	}
	return status;
}

static int say_interrupted(const struct merge *merge)
{
	char done[PROGRESS_SIZE_BYTES], all[PROGRESS_SIZE_BYTES];

	progress_clear(merge->progress);
	if (merge->stats.phase_done > 0 || merge->checked == 0)
		cli_error("mr merge: interrupted after %" PRIu64 " of %" PRIu64 " rows",
			  merge->stats.phase_done, merge->stats.phase_total);
	else
		cli_error("mr merge: interrupted after checking %s of %s of results; nothing was "
			  "printed",
			  progress_size(done, merge->checked), progress_size(all, merge->bytes));
	return EXIT_RETRY;
}

static int checked(void *arg, size_t len)
{
	struct merge *merge = arg;

	merge->checked += len;
	return mr_interrupted ? -ECANCELED : 0;
}

/* What has gone to standard output cannot be taken back: look at everything before. */
static int check_results(struct merge *merge)
{
	int status = EXIT_DONE;

	for (uint32_t i = 0; i < merge->plan.parts; i++) {
		const struct wh_part part = {
			.format = mr_job_format(&merge->job, &merge->plan),
			.index = i,
			.read = checked,
			.arg = merge,
		};
		struct wh_part_sums sums;
		const char *why = NULL;
		int r = wh_part_check(merge->paths[i], &part, &sums, &why);

		if (r == 0)
			continue;
		if (r == -ECANCELED)
			return say_interrupted(merge);
		again(merge, i, why ? why : strerror(-r));
		status = EXIT_AGAIN;
	}
	return status;
}

/* Of all map tasks. */
static uint64_t count_records(const struct merge *merge)
{
	struct mr_marker marker;
	uint64_t records = 0;

	for (uint32_t i = 0; i < merge->plan.tasks; i++) {
		const struct mr_place place = { merge->dir, &merge->plan, MR_MAP, i };

		if (mr_read_done(&place, 0, &marker))
			records += marker.done.records;
	}
	return records;
}

static void end_output(struct merge *merge)
{
	const struct row_member all[] = {
		{ "total", merge->job.format == ROW_JSON ? count_records(merge) : 0 },
		{ "different", merge->keys },
		{ "skipped", merge->skipped },
		{ "bytes", merge->plan.bytes },
		{ "files", merge->plan.files },
		{ "files_failed", 0 },
		{ 0 },
	};
	struct row_member members[sizeof(all) / sizeof(all[0])];
	size_t count = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!all[i].name || merge->job.kind == MR_NGRAM ||
		    strcmp(all[i].name, "skipped") != 0)
			members[count++] = all[i];
	row_out_end(&merge->out, members, false);
}

static int run(struct merge *merge, int fd)
{
	const struct wh_parts_merge opts = {
		.format = mr_job_format(&merge->job, &merge->plan),
		.paths = (const char *const *)merge->paths,
		.order = mr_job_order(&merge->job),
		.rows_max = merge->job.top,
		.output = output,
		.arg = merge,
	};
	const char *why;
	uint32_t part;
	int64_t rows;

	row_out_init(&merge->out, fd, merge->job.format, mr_job_list(&merge->job),
		     mr_job_key(&merge->job));
	merge->out.min_count = merge->job.min_count;
	merge->out.interrupted = &mr_interrupted;
	rows = wh_parts_merge(&opts, &part, &why);
	if (rows >= 0)
		end_output(merge);
	row_out_fini(&merge->out);
	if (merge->out.error && merge->out.error != -ECANCELED) {
		cli_error("mr merge: cannot write the output: %s", strerror(-merge->out.error));
		return EXIT_FAILED;
	}
	if (rows == -ECANCELED || merge->out.error)
		return say_interrupted(merge);
	if (rows >= 0)
		return EXIT_DONE;
	if (part != UINT32_MAX && rows != -ENOMEM && rows != -EMFILE) {
		again(merge, part, why ? why : strerror((int)-rows));
		return EXIT_AGAIN;
	}
	cli_error("mr merge: cannot merge: %s", strerror((int)-rows));
	return EXIT_RETRY;
}

/* Which bad lines map tasks have left out. */
static void count_skipped(struct merge *merge)
{
	struct mr_marker marker;

	for (uint32_t i = 0; i < merge->plan.tasks && merge->job.skip_bad; i++) {
		const struct mr_place place = { merge->dir, &merge->plan, MR_MAP, i };

		if (!mr_read_done(&place, 0, &marker) || !marker.done.skipped)
			continue;
		if (!merge->skipped)
			merge->first_bad = mr_read_bad(&place);
		merge->skipped += marker.done.skipped;
	}
}

static void say_skipped(const struct merge *merge)
{
	if (!merge->skipped)
		return;
	if (merge->first_bad)
		cli_error("mr merge: %s", merge->first_bad);
	cli_error("mr merge: %" PRIu64 " bad line%s left out%s", merge->skipped,
		  merge->skipped == 1 ? " was" : "s were",
		  merge->first_bad ? ", the one above first" : "");
}

static int say_output(const char *path, int error)
{
	cli_error("mr merge: cannot write %s: %s", path, strerror(error));
	return EXIT_FAILED;
}

/* Into a file that appears when it is whole, and on the disk. */
static int run_to_file(struct merge *merge, const char *path)
{
	char temporary[MR_PATH_BYTES];
	int r = snprintf(temporary, sizeof(temporary), "%s.%s.tmp", path, merge->plan.id), fd;

	if (r >= (int)sizeof(temporary))
		return say_output(path, ENAMETOOLONG);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return say_output(path, errno);
	r = run(merge, fd);
	if (r == EXIT_DONE && fsync(fd) < 0)
		r = say_output(path, errno);
	if (close(fd) < 0 && r == EXIT_DONE)
		r = say_output(path, errno);
	if (r == EXIT_DONE && rename(temporary, path) < 0)
		r = say_output(path, errno);
	if (r != EXIT_DONE)
		unlink(temporary);
	return r;
}

static void begin_output(struct merge *merge)
{
	uint64_t top = merge->job.top ? merge->job.top : UINT64_MAX;

	merge->stats.phase = WH_MR_OUTPUT;
	merge->stats.phase_began_ns = wh_now_ns();
	merge->stats.phase_total = merge->keys < top ? merge->keys : top;
	merge->stats.bytes_done = merge->plan.bytes;
	merge->stats.files = merge->plan.files;
	count_skipped(merge);
}

static int merge_all(struct merge *merge, const char *path)
{
	int r = mr_job_parse(merge->plan.args, merge->plan.arg_count, &merge->job);

	if (r == EXIT_DONE)
		r = find_results(merge);
	if (r == EXIT_DONE)
		begin_output(merge);
	if (r == EXIT_DONE && !path)
		r = check_results(merge);
	if (r == EXIT_DONE)
		r = path ? run_to_file(merge, path) : run(merge, STDOUT_FILENO);
	for (uint32_t part = 0; merge->paths && part < merge->plan.parts; part++)
		free(merge->paths[part]);
	free(merge->paths);
	progress_clear(merge->progress);
	if (r == EXIT_DONE)
		say_skipped(merge);
	free(merge->first_bad);
	return r;
}

int mr_merge(const char *dir, const char *path, FILE *again_file, struct progress *progress)
{
	struct merge *merge = calloc(1, sizeof(*merge));
	int r;

	if (!merge) {
		cli_error("mr merge: out of memory");
		return EXIT_RETRY;
	}
	cli_raise_open_files();
	merge->dir = dir;
	merge->again = again_file;
	merge->progress = progress;
	r = mr_manifest_read(&merge->plan, dir);
	if (r == EXIT_DONE) {
		r = merge_all(merge, path);
		mr_plan_fini(&merge->plan);
	}
	free(merge);
	return r;
}

int cmd_mr_merge(int argc, char **argv)
{
	const char *dir = NULL, *path = NULL, *how = NULL;
	struct progress progress;
	const struct cli_option options[] = {
		{ .name = "--dir", .text = &dir },
		{ .name = "--output", .text = &path },
		PROGRESS_OPTION(&how),
		{ 0 },
	};
	int operands, r = cli_parse(argc, argv, options, &operands);

	if (r < 0)
		return mr_print(usage);
	if (r > 0)
		return r;
	if (!dir || operands) {
		cli_error("mr merge: takes --dir, and no operand; see whorl mr merge --help");
		return EXIT_USAGE;
	}
	r = progress_init(&progress, "mr merge", how);
	if (r)
		return r;
	mr_catch_signals();
	r = mr_merge(dir, path, stderr, &progress);
	progress_end(&progress, &(struct wh_mr_stats){ 0 }, mr_result(r));
	return r;
}
