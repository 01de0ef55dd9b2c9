/*
 * whorl mr reduce: one reduce task. Brings together what all map tasks found for one partition, and
 * writes it sorted, as one file.
 *
 * What it reads is not trusted: sizes are compared with the markers before, every block with its
 * checksum, and the sums of all of it at the end. Whatever is wrong comes down to map tasks that
 * have to be run again, and is told as such.
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
	"usage: whorl mr reduce --dir DIR --part P [OPTION]...\n\n"
	"Do the reduce task of partition P, from 0, of the plan in DIR, once all map tasks are\n"
	"done. It may be done again and at the same time as often as anybody likes.\n\n"
	"  --dir DIR       the run's directory\n"
	"  --part P        which partition\n"
	"  --parts R       refuse if that is not what the plan says\n"
	"  --attempt A     for the name of its file; default: 0\n"
	"  --workers N     threads; default: the CPUs this process may use\n"
	"  --memory SIZE   before it writes to disk; default: a quarter of what it may use\n"
	"  --tmp DIR       for that; default: $TMPDIR, else /var/tmp, else /tmp\n" MR_PROGRESS_HELP
		CLI_BACKEND_HELP
	"\nExit status: 0 done; 1 failed for good; 2 wrong usage; 3 the machine lacks something;\n"
	"4 failed, and may succeed elsewhere or later; 5 what a map task has written is missing\n"
	"or damaged: a line `again|map|I` on standard output for each one to run again first.\n";

struct input {
	uint32_t task;
	struct mr_marker marker;
};

struct reduce {
	const struct mr_task *task;
	struct mr_place place;
	struct mr_plan plan;
	struct mr_job job;
	struct wh_part part;
	struct mr_done done;
	struct input *inputs; /* map tasks that found something for this partition */
	char **paths;	      /* of these */
	size_t count;
	struct wh_part_sums expected;
	struct wh_part_sums result;
	int fd;
	struct wh_parts *parts;
	struct wh_mr_stats stats;
	int job_result;
	int write_error;
	bool unread;	  /* file_error was called */
	uint32_t version; /* of the lines of map task `version_of`; 0: of none so far */
	uint32_t version_of;
	struct progress progress;
};

static void again(const struct reduce *reduce, uint32_t map_task, const char *path, const char *why)
{
	printf("again|map|%" PRIu32 "\n", map_task);
	cli_error("mr reduce: part %" PRIu32 ": map task %" PRIu32 " has to be run again: %s%s%s",
		  reduce->task->index, map_task, path ? path : "", path ? ": " : "", why);
}

/* Check one input in full. */
static bool check_input(const struct reduce *reduce, size_t index)
{
	const struct input *input = &reduce->inputs[index];
	const char *path = reduce->paths[index], *why = NULL;
	struct wh_part_sums sums;
	int r = wh_part_check(path, &reduce->part, &sums, &why);

	if (r < 0)
		why = why ? why : strerror(-r);
	else if (memcmp(&sums, &input->marker.sums, sizeof(sums)) != 0)
		why = "not what its marker says";
	if (why)
		again(reduce, input->task, path, why);
	return !why;
}

/* Something was wrong with what was read: say what. */
static int blame(const struct reduce *reduce)
{
	size_t bad = 0;

	for (size_t i = 0; i < reduce->count; i++)
		bad += !check_input(reduce, i);
	if (bad > 0)
		return EXIT_AGAIN;
	cli_error("mr reduce: part %" PRIu32 ": its input was damaged when it was read, and is not "
		  "when read again",
		  reduce->task->index);
	return EXIT_RETRY;
}

static int add_input(struct reduce *reduce, uint32_t task, const struct mr_marker *marker)
{
	char path[MR_PATH_BYTES];
	struct stat st;

	mr_path_part(path, reduce->task->dir, task, &marker->done, reduce->task->index);
	if (stat(path, &st) < 0) {
		again(reduce, task, path, strerror(errno));
		return EXIT_AGAIN;
	}
	if ((uint64_t)st.st_size != marker->sums.bytes) {
		again(reduce, task, path, "not as long as its marker says");
		return EXIT_AGAIN;
	}
	reduce->inputs[reduce->count] = (struct input){ task, *marker };
	reduce->paths[reduce->count] = strdup(path);
	reduce->expected.records += marker->sums.records;
	reduce->expected.count += marker->sums.count;
	return reduce->paths[reduce->count++] ? EXIT_DONE : EXIT_RETRY;
}

/* All lines of a job are of one version, as they are in one process. */
static int check_version(struct reduce *reduce, uint32_t task, uint32_t version)
{
	static const unsigned years[] = { 0, 2009, 2012, 2020 };

	if (version >= sizeof(years) / sizeof(years[0]))
		return EXIT_FAILED;
	if (version && !reduce->version) {
		reduce->version = version;
		reduce->version_of = task;
	}
	if (!version || version == reduce->version)
		return EXIT_DONE;
	cli_error("mr reduce: part %" PRIu32 ": the lines of map task %" PRIu32
		  " are of the version of %u, those of task %" PRIu32
		  " of %u; choose one with --version",
		  reduce->task->index, reduce->version_of, years[reduce->version], task,
		  years[version]);
	return EXIT_FAILED;
}

/* The parts of all map tasks, as their markers tell; all that are missing are named. */
static int find_inputs(struct reduce *reduce)
{
	const struct mr_task *task = reduce->task;
	int status = EXIT_DONE;

	reduce->inputs = calloc(reduce->plan.tasks + 1, sizeof(*reduce->inputs));
	reduce->paths = calloc(reduce->plan.tasks + 1, sizeof(*reduce->paths));
	if (!reduce->inputs || !reduce->paths)
		return EXIT_RETRY;
	for (uint32_t i = 0; i < reduce->plan.tasks; i++) {
		const struct mr_place place = { task->dir, &reduce->plan, MR_MAP, i };
		struct mr_marker marker;
		int r = EXIT_AGAIN;

		if (!mr_read_done(&place, task->index, &marker))
			again(reduce, i, NULL, "it is not done");
		else if (check_version(reduce, i, marker.done.version))
			return EXIT_FAILED;
		else if (marker.sums.records > 0)
			r = add_input(reduce, i, &marker);
		else
			r = EXIT_DONE;
		if (r)
			status = r;
	}
	return status;
}

static int map_block(void *arg, struct wh_mr_bytes block, struct wh_mr_emitter *emitter)
{
	struct reduce *reduce = arg;

	return wh_part_emit(&reduce->part, block, emitter);
}

static int output(void *arg, const struct wh_mr_row *rows, size_t count)
{
	struct reduce *reduce = arg;

	return wh_parts_add(reduce->parts, rows, count);
}

static int write_result(void *arg, uint32_t part, struct wh_mr_bytes bytes)
{
	struct reduce *reduce = arg;
	int r = mr_write(reduce->fd, bytes.data, bytes.len);

	(void)part;
	if (r < 0)
		reduce->write_error = r;
	return r;
}

static void file_error(void *arg, const char *path, int err)
{
	struct reduce *reduce = arg;

	(void)path;
	(void)err;
	reduce->unread = true;
}

static void progress(void *arg, const struct wh_mr_stats *stats)
{
	struct reduce *reduce = arg;

	progress_show(&reduce->progress, stats);
}

static int sort(void *arg)
{
	struct reduce *reduce = arg;
	struct wh_mr_job job = {
		.paths = (const char *const *)reduce->paths,
		.path_count = reduce->count,
		.arg = reduce,
		.records = WH_MR_CUSTOM,
		.record = wh_part_record,
		.map = map_block,
		.value = reduce->part.format.value,
		.exact = true,
		.order = mr_job_order(&reduce->job),
		.rows_max = reduce->job.top,
		.output = output,
		.file_error = file_error,
		.workers = (uint32_t)reduce->task->workers,
		.memory_max = reduce->task->memory,
		.tmp_dir = reduce->task->tmp,
		.no_decompress = true,
		.progress_ns = progress_interval_ns(&reduce->progress),
		.progress = progress_interval_ns(&reduce->progress) ? progress : NULL,
	};

	reduce->job_result = wh_mapreduce(&job, &reduce->stats);
	progress_end(&reduce->progress, &reduce->stats, reduce->job_result);
	return 0;
}

static void temporary_path(char path[MR_PATH_BYTES], const struct reduce *reduce)
{
	mr_path_result(path, reduce->task->dir, reduce->task->index, &reduce->done);
	if (strlen(path) + sizeof(".tmp") <= MR_PATH_BYTES)
		memcpy(path + strlen(path), ".tmp", sizeof(".tmp"));
}

static int open_result(struct reduce *reduce)
{
	const struct mr_task *task = reduce->task;
	char path[MR_PATH_BYTES];
	int r = mr_begin(&reduce->place, task->attempt, &reduce->done);

	if (r < 0)
		return r;
	temporary_path(path, reduce);
	reduce->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (reduce->fd < 0)
		return -errno;
	return wh_parts_open(
		&(struct wh_parts_opts){
			.format = reduce->part.format,
			.write = write_result,
			.arg = reduce,
		},
		&reduce->parts);
}

static int close_result(struct reduce *reduce)
{
	const struct mr_task *task = reduce->task;
	char temporary[MR_PATH_BYTES], path[MR_PATH_BYTES];
	int r = close(reduce->fd) < 0 ? -errno : 0;

	reduce->fd = -1;
	temporary_path(temporary, reduce);
	mr_path_result(path, task->dir, task->index, &reduce->done);
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temporary);
		return r;
	}
	reduce->done.parts = 1;
	reduce->done.records = reduce->stats.records;
	reduce->done.keys = reduce->stats.keys;
	return mr_mark_done(&reduce->place, &reduce->done, &reduce->result, NULL);
}

static int say_failed(const struct reduce *reduce, int error)
{
	const char *what = reduce->write_error ? "cannot write" : "cannot reduce";

	if (reduce->write_error)
		error = reduce->write_error;
	if (error == -EOVERFLOW)
		cli_error("mr reduce: part %" PRIu32
			  ": counts add up to more than 18446744073709551614",
			  reduce->task->index);
	else if (!reduce->write_error && reduce->stats.why[0])
		cli_error("mr reduce: part %" PRIu32 ": %s", reduce->task->index,
			  reduce->stats.why);
	else
		cli_error("mr reduce: part %" PRIu32 ": %s: %s", reduce->task->index, what,
			  error == -ECANCELED ? "interrupted" : strerror(-error));
	return mr_is_final(error) ? EXIT_FAILED : EXIT_RETRY;
}

/* Everything that was written has come, and nothing else. */
static bool is_complete(const struct reduce *reduce)
{
	if (reduce->stats.records != reduce->expected.records)
		return false;
	return reduce->job.top || reduce->result.count == reduce->expected.count;
}

static int run(struct reduce *reduce)
{
	const struct wh_run_opts opts = { .loops = 1, .backend = reduce->task->backend };
	int r = open_result(reduce);

	if (r < 0) {
		reduce->write_error = r;
		return say_failed(reduce, r);
	}
	r = cli_run(sort, reduce, &opts, NULL);
	if (r < 0)
		return cli_run_failed(r);
	if (reduce->unread || reduce->job_result == -EBADMSG || reduce->job_result == -EPROTO)
		return blame(reduce);
	if (reduce->job_result < 0)
		return say_failed(reduce, reduce->job_result);
	r = wh_parts_finish(reduce->parts, reduce->task->index, 1, &reduce->result);
	if (r == 0 && !is_complete(reduce))
		return blame(reduce);
	if (r == 0)
		r = close_result(reduce);
	if (r < 0) {
		reduce->write_error = r;
		return say_failed(reduce, r);
	}
	return EXIT_DONE;
}

static void end(struct reduce *reduce)
{
	char path[MR_PATH_BYTES];

	if (reduce->fd >= 0) {
		close(reduce->fd);
		temporary_path(path, reduce);
		unlink(path);
	}
	wh_parts_close(reduce->parts);
	for (size_t i = 0; i < reduce->count; i++)
		free(reduce->paths[i]);
	free(reduce->paths);
	free(reduce->inputs);
	mr_plan_fini(&reduce->plan);
}

int mr_reduce(const struct mr_task *task)
{
	struct reduce reduce = { .task = task, .fd = -1 };
	int r = progress_init(&reduce.progress, "mr reduce", task->progress);

	if (r == 0)
		r = mr_task_plan(task, MR_REDUCE, &reduce.plan, &reduce.job);
	if (r)
		return r;
	reduce.place = (struct mr_place){ task->dir, &reduce.plan, MR_REDUCE, task->index };
	reduce.part = (struct wh_part){ .format = mr_job_format(&reduce.job, &reduce.plan),
					.index = task->index };
	r = find_inputs(&reduce);
	if (r == EXIT_DONE)
		r = run(&reduce);
	end(&reduce);
	return cli_flush() ? r : EXIT_FAILED;
}

int cmd_mr_reduce(int argc, char **argv)
{
	return mr_task_command(argc, argv, usage, MR_REDUCE);
}
