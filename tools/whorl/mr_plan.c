/*
 * whorl mr plan: cuts the input into splits, once, so that every host has the same ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mr.h"

enum {
	SPLIT_BYTES = 64 * 1024 * 1024,
	PARTS = 16,
	FILE_COST = 16 * 1024, /* opening a file takes as long as reading so much of one */
	MAGIC_BYTES = 4,
};

static const char usage[] =
	"usage: whorl mr plan --dir DIR [OPTION]... JOB INPUT...\n\n"
	"Write DIR/plan: which bytes of which file each map task reads, with the files' sizes and\n"
	"times, so that a file that changes meanwhile is noticed. Directories are walked;\n"
	"symbolic links below them are not followed. DIR is made if it is not there; it,\n"
	"and the inputs under the same names, have to be visible on every host that works.\n\n"
	"  --dir DIR            where all files of the run are\n"
	"  --split-bytes SIZE   what a map task reads, about; default: 64 MiB. Small files are\n"
	"                       put together, compressed ones are never cut\n"
	"  --parts R            partitions, a reduce task each; default: 16\n"
	"  --progress HOW       none, bar, lines, json or auto: a bar on a terminal, else lines;\n"
	"                       as whorl wordcount --help describes them\n" MR_JOB_HELP
	"\nExit status: 0 done, 1 failed, 2 wrong usage.\n";

struct planner {
	struct mr_plan plan;
	uint64_t split_bytes;
	uint64_t gathered; /* of the last task, which has room for more files */
	int status;
	struct progress *progress; /* NULL: nobody wants to see it */
	struct wh_mr_stats stats;
};

static int fail(struct planner *planner, const char *path, int error)
{
	if (planner->progress)
		progress_clear(planner->progress);
	cli_error("mr plan: cannot read %s: %s", path, strerror(error));
	planner->status = EXIT_FAILED;
	return EXIT_FAILED;
}

static enum mr_format format_of(const uint8_t magic[MAGIC_BYTES], ssize_t len)
{
	if (len >= 2 && memcmp(magic, "\x1f\x8b", 2) == 0)
		return MR_GZIP;
	if (len == MAGIC_BYTES && memcmp(magic, "\x28\xb5\x2f\xfd", MAGIC_BYTES) == 0)
		return MR_ZSTD;
	if (len == MAGIC_BYTES && memcmp(magic, "\x04\x22\x4d\x18", MAGIC_BYTES) == 0)
		return MR_LZ4;
	return MR_TEXT;
}

/* By its content. */
static int find_format(const char *path, enum mr_format *ret)
{
	uint8_t magic[MAGIC_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, magic, sizeof(magic), 0);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return (int)n;
	*ret = format_of(magic, n);
	return 0;
}

static int add_split(struct planner *planner, const struct mr_split *whole, uint64_t offset,
		     uint64_t len)
{
	struct mr_split split = *whole;

	split.offset = offset;
	split.len = len;
	split.path = strdup(whole->path);
	if (split.path && split.task < MR_TASKS_MAX && mr_plan_add(&planner->plan, &split) == 0)
		return 0;
	free(split.path);
	cli_error(split.task < MR_TASKS_MAX ? "mr plan: out of memory"
					    : "mr plan: too many splits; make them larger");
	planner->status = EXIT_FAILED;
	return EXIT_FAILED;
}

/* The last part may be up to half longer than the others. */
static int cut_file(struct planner *planner, struct mr_split *whole)
{
	uint64_t bytes = planner->split_bytes;

	for (uint64_t at = 0, len; at < whole->size; at += len) {
		uint64_t left = whole->size - at;

		whole->task = planner->plan.tasks;
		len = left < bytes + bytes / 2 ? left : bytes;
		if (add_split(planner, whole, at, len))
			return EXIT_FAILED;
	}
	planner->gathered = UINT64_MAX;
	return 0;
}

static int add_file(struct planner *planner, const char *path, const struct stat *st)
{
	uint64_t cost = (uint64_t)st->st_size + FILE_COST;
	struct mr_split whole = {
		.path = (char *)path,
		.size = (uint64_t)st->st_size,
		.mtime_ns = st->st_mtim.tv_sec * (int64_t)1000000000 + st->st_mtim.tv_nsec,
	};
	int r;

	planner->plan.files++;
	planner->stats.files = planner->stats.phase_done = planner->plan.files;
	if (planner->progress)
		progress_poll(planner->progress, &planner->stats);
	if (whole.size == 0)
		return 0;
	r = find_format(path, &whole.format);
	if (r < 0)
		return fail(planner, path, -r);
	if (whole.format == MR_TEXT && whole.size > planner->split_bytes + planner->split_bytes / 2)
		return cut_file(planner, &whole);
	if (planner->plan.tasks > 0 && planner->gathered < planner->split_bytes &&
	    cost <= planner->split_bytes - planner->gathered) {
		whole.task = planner->plan.tasks - 1;
		planner->gathered += cost;
	} else {
		whole.task = planner->plan.tasks;
		planner->gathered = cost;
	}
	return add_split(planner, &whole, 0, whole.size);
}

static int add_entry(struct planner *planner, const FTSENT *entry)
{
	if (mr_interrupted) {
		if (planner->progress)
			progress_clear(planner->progress);
		cli_error("mr plan: interrupted after %" PRIu32 " files; no plan was made",
			  planner->plan.files);
		planner->status = EXIT_FAILED;
		return EXIT_FAILED;
	}
	switch (entry->fts_info) {
	case FTS_F:
		return add_file(planner, entry->fts_accpath, entry->fts_statp);
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return fail(planner, entry->fts_path, entry->fts_errno);
	case FTS_DEFAULT:
		if (entry->fts_level > 0)
			return 0;
		cli_error("mr plan: %s is no file; only files can be read at any place by any host",
			  entry->fts_path);
		planner->status = EXIT_FAILED;
		return EXIT_FAILED;
	default: /* directories, and links below them */
		return 0;
	}
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int add_input(struct planner *planner, const char *input)
{
	char *path = realpath(input, NULL);
	char *paths[] = { path, NULL };
	FTSENT *entry;
	FTS *walk;

	if (!path)
		return fail(planner, input, errno);
	walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	if (!walk) {
		fail(planner, input, errno);
	} else {
		while ((entry = fts_read(walk)) && add_entry(planner, entry) == 0)
			;
		fts_close(walk);
	}
	free(path);
	return planner->status;
}

static int choose_id(struct mr_plan *plan)
{
	uint64_t id;

	if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return EXIT_FAILED;
	snprintf(plan->id, sizeof(plan->id), "%016" PRIx64, id);
	return 0;
}

static int make_plan(struct planner *planner, const struct mr_plan_opts *opts)
{
	struct mr_plan *plan = &planner->plan;
	int r = EXIT_DONE;

	if (choose_id(plan))
		return EXIT_FAILED;
	plan->parts = opts->parts ? (uint32_t)opts->parts : PARTS;
	plan->arg_count = mr_job_args(&opts->job, &plan->args);
	if (plan->arg_count == 0) {
		cli_error("mr plan: out of memory");
		return EXIT_FAILED;
	}
	for (char **input = opts->inputs; r == EXIT_DONE && *input; input++)
		r = add_input(planner, *input);
	return r ? r : mr_manifest_write(plan, opts->dir);
}

int mr_plan_make(const struct mr_plan_opts *opts)
{
	struct planner planner = {
		.split_bytes = opts->split_bytes ? opts->split_bytes : SPLIT_BYTES,
		.progress = opts->progress,
		.stats.phase = WH_MR_WALK,
		.stats.phase_began_ns = wh_now_ns(),
	};
	int r;

	if (mkdir(opts->dir, 0777) < 0 && errno != EEXIST) {
		cli_error("mr plan: cannot make %s: %s", opts->dir, strerror(errno));
		return EXIT_FAILED;
	}
	r = make_plan(&planner, opts);
	if (opts->progress)
		progress_clear(opts->progress);
	mr_plan_fini(&planner.plan);
	return r;
}

int cmd_mr_plan(int argc, char **argv)
{
	struct mr_plan_opts opts = { 0 };
	struct progress progress;
	const char *how = NULL;
	struct cli_option options[MR_JOB_OPTIONS + 5] = {
		PROGRESS_OPTION(&how),
		{ .name = "--dir", .text = &opts.dir },
		{ .name = "--split-bytes",
		  .number = &opts.split_bytes,
		  .min = 1,
		  .max = MR_SPLIT_BYTES_MAX },
		{ .name = "--parts", .number = &opts.parts, .min = 1, .max = MR_PARTS_MAX },
	};
	int operands, r;

	mr_job_options(&opts.job, options + 4);
	r = cli_parse(argc, argv, options, &operands);
	if (r < 0)
		return mr_print(usage);
	if (r > 0)
		return r;
	if (!opts.dir || operands < 2) {
		cli_error("mr plan: takes --dir, a job and its input; see whorl mr plan --help");
		return EXIT_USAGE;
	}
	r = mr_job_choose(&opts.job, argv[1]);
	if (r == 0)
		r = progress_init(&progress, "mr plan", how);
	if (r)
		return r;
	argv[operands + 1] = NULL;
	opts.inputs = argv + 2;
	opts.progress = &progress;
	mr_catch_signals();
	r = mr_plan_make(&opts);
	progress_end(&progress, &(struct wh_mr_stats){ 0 }, mr_result(r));
	return r;
}
