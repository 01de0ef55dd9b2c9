/*
 * whorl mr map: one map task. Counts what its splits hold, and writes what was found to a file for
 * each partition, and then the marker.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mr.h"
#include "ngram.h"

static const char usage[] =
	"usage: whorl mr map --dir DIR --task I [OPTION]...\n\n"
	"Do map task I, from 0, of the plan in DIR. It may be done again and at the same time as\n"
	"often as anybody likes: what is there stays whole, and counts once. An input that has\n"
	"changed since the plan was made is refused.\n\n"
	"  --dir DIR       the run's directory\n"
	"  --task I        which task\n"
	"  --parts R       refuse if that is not what the plan says\n"
	"  --attempt A     for the names of its files; default: 0\n"
	"  --workers N     threads; default: the CPUs this process may use\n"
	"  --memory SIZE   before it writes to disk; default: a quarter of what it may use\n"
	"  --tmp DIR       for that; default: $TMPDIR, else /var/tmp, else /tmp\n" MR_PROGRESS_HELP
		CLI_BACKEND_HELP
	"\nExit status: 0 done; 1 failed for good; 2 wrong usage; 3 the machine lacks something;\n"
	"4 failed, and may succeed elsewhere or later: something could not be read or written, or\n"
	"the task was interrupted.\n";

/* A file for each partition, opened when there is something to write. */
struct map {
	const struct mr_task *task;
	struct mr_place place;
	struct mr_plan plan;
	struct mr_job job;
	struct mr_done done;
	int *fds; /* -1: not open */
	struct wh_parts *parts;
	struct wh_part_sums *sums;
	size_t first; /* splits of this task */
	size_t count;
	const char **paths;
	struct wh_mr_range *ranges;
	struct wh_mr_stats stats;
	int result; /* of the job */
	int write_error;
	int read_error; /* the first one, as it was reported */
	char *bad;	/* what is said of the first bad line, NULL if there is none */
	struct progress progress;
};

static void temporary_path(char path[MR_PATH_BYTES], const struct map *map, uint32_t part)
{
	mr_path_part(path, map->task->dir, map->task->index, &map->done, part);
	if (strlen(path) + sizeof(".tmp") > MR_PATH_BYTES)
		return; /* then opening it fails with ENAMETOOLONG, or it is just not temporary */
	memcpy(path + strlen(path), ".tmp", sizeof(".tmp"));
}

static int write_part(void *arg, uint32_t part, struct wh_mr_bytes bytes)
{
	struct map *map = arg;
	char path[MR_PATH_BYTES];
	int r;

	if (map->fds[part] < 0) {
		temporary_path(path, map, part);
		map->fds[part] = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	}
	r = map->fds[part] < 0 ? -errno : mr_write(map->fds[part], bytes.data, bytes.len);
	if (r < 0)
		map->write_error = r;
	return r;
}

static int output(void *arg, const struct wh_mr_row *rows, size_t count)
{
	struct map *map = arg;

	return wh_parts_add(map->parts, rows, count);
}

static void file_error(void *arg, const char *path, int err)
{
	struct map *map = arg;

	progress_clear(&map->progress);
	cli_error("mr map: task %" PRIu32 ": cannot read %s: %s", map->task->index, path,
		  wh_mr_file_error_text(err));
	if (!map->read_error)
		map->read_error = err;
}

static void bad_line(void *arg, const struct wh_mr_bad_line *bad)
{
	struct map *map = arg;

	map->bad = ngram_bad_text(bad);
}

static void progress(void *arg, const struct wh_mr_stats *stats)
{
	struct map *map = arg;

	progress_show(&map->progress, stats);
}

static int count(void *arg)
{
	struct map *map = arg;
	struct wh_mr_job job = mr_job_map(&map->job);

	job.paths = map->paths;
	job.ranges = map->ranges;
	job.path_count = map->count;
	job.arg = map;
	job.output = output;
	job.file_error = file_error;
	job.bad_line = bad_line;
	job.progress_ns = progress_interval_ns(&map->progress);
	job.progress = job.progress_ns ? progress : NULL;
	job.workers = (uint32_t)map->task->workers;
	job.memory_max = map->task->memory;
	job.tmp_dir = map->task->tmp;
	map->result = wh_mapreduce(&job, &map->stats);
	progress_end(&map->progress, &map->stats, map->result);
	return 0;
}

/* Is every input what it was when the plan was made? */
static int check_inputs(const struct map *map)
{
	for (size_t i = 0; i < map->count; i++) {
		const struct mr_split *split = &map->plan.splits[map->first + i];
		struct stat st;
		int64_t mtime_ns;

		if (stat(split->path, &st) < 0) {
			cli_error("mr map: task %" PRIu32 ": cannot read %s: %s", map->task->index,
				  split->path, strerror(errno));
			return EXIT_RETRY;
		}
		mtime_ns = st.st_mtim.tv_sec * (int64_t)1000000000 + st.st_mtim.tv_nsec;
		if ((uint64_t)st.st_size == split->size && mtime_ns == split->mtime_ns)
			continue;
		cli_error("mr map: task %" PRIu32
			  ": %s has changed since the plan was made (%" PRIu64
			  " bytes then, %" PRIu64 " now); make a new plan, in another --dir",
			  map->task->index, split->path, split->size, (uint64_t)st.st_size);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

static int find_splits(struct map *map)
{
	const struct mr_plan *plan = &map->plan;

	while (map->first < plan->split_count && plan->splits[map->first].task < map->task->index)
		map->first++;
	while (map->first + map->count < plan->split_count &&
	       plan->splits[map->first + map->count].task == map->task->index)
		map->count++;
	map->paths = calloc(map->count + 1, sizeof(*map->paths));
	map->ranges = calloc(map->count + 1, sizeof(*map->ranges));
	map->fds = malloc(plan->parts * sizeof(*map->fds));
	map->sums = calloc(plan->parts, sizeof(*map->sums));
	for (uint32_t i = 0; map->fds && i < plan->parts; i++)
		map->fds[i] = -1;
	if (!map->paths || !map->ranges || !map->fds || !map->sums)
		return -ENOMEM;
	for (size_t i = 0; i < map->count; i++) {
		const struct mr_split *split = &plan->splits[map->first + i];

		map->paths[i] = split->path;
		map->ranges[i] = (struct wh_mr_range){ split->offset, split->len };
	}
	return 0;
}

/* The part's file gets its name. What network file systems have put off shows when it is closed. */
static int publish(struct map *map, uint32_t part)
{
	char temporary[MR_PATH_BYTES], path[MR_PATH_BYTES];
	int r = close(map->fds[part]) < 0 ? -errno : 0;

	map->fds[part] = -1;
	temporary_path(temporary, map, part);
	mr_path_part(path, map->task->dir, map->task->index, &map->done, part);
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	return r;
}

static int finish(struct map *map)
{
	int r = wh_parts_finish(map->parts, 0, map->plan.parts, map->sums);

	for (uint32_t i = 0; i < map->plan.parts && r == 0; i++)
		r = publish(map, i);
	if (r < 0)
		return r;
	map->done.parts = map->plan.parts;
	map->done.records = map->stats.records;
	map->done.keys = map->stats.keys;
	map->done.skipped = map->stats.skipped;
	map->done.version = map->stats.ngram_version;
	return mr_mark_done(&map->place, &map->done, map->sums, map->bad);
}

static int say_failed(const struct map *map, int error)
{
	const char *what = map->write_error ? "cannot write" : "cannot count";
	char done[PROGRESS_SIZE_BYTES], total[PROGRESS_SIZE_BYTES];

	if (map->write_error)
		error = map->write_error;
	if (!map->write_error && error == -EBADMSG && map->bad)
		cli_error("mr map: task %" PRIu32 ": %s", map->task->index, map->bad);
	else if (!map->write_error && map->stats.why[0])
		cli_error("mr map: task %" PRIu32 ": %s", map->task->index, map->stats.why);
	else if (error == -ECANCELED)
		cli_error("mr map: task %" PRIu32 ": interrupted after %s of %s", map->task->index,
			  progress_size(done, map->stats.bytes_done),
			  progress_size(total, map->stats.bytes_total));
	else
		cli_error("mr map: task %" PRIu32 ": %s: %s", map->task->index, what,
			  strerror(-error));
	return mr_is_final(error) ? EXIT_FAILED : EXIT_RETRY;
}

static int run(struct map *map)
{
	const struct wh_run_opts opts = { .loops = 1, .backend = map->task->backend };
	int r = cli_run(count, map, &opts, NULL);

	if (r < 0)
		return cli_run_failed(r);
	if (map->result < 0)
		return say_failed(map, map->result);
	if (map->read_error == -ESTALE)
		return check_inputs(map) == EXIT_FAILED ? EXIT_FAILED : EXIT_RETRY;
	if (map->read_error)
		return mr_is_final(map->read_error) ? EXIT_FAILED : EXIT_RETRY;
	/* Also what changed while it was read. */
	r = check_inputs(map);
	if (r)
		return r;
	r = finish(map);
	if (r < 0) {
		map->write_error = r;
		return say_failed(map, r);
	}
	return EXIT_DONE;
}

static int begin(struct map *map)
{
	const struct mr_task *task = map->task;
	int r = find_splits(map);

	if (r == 0)
		r = mr_begin(&map->place, task->attempt, &map->done);
	if (r == 0)
		r = wh_parts_open(
			&(struct wh_parts_opts){
				.format = mr_job_format(&map->job, &map->plan),
				.write = write_part,
				.arg = map,
			},
			&map->parts);
	if (r < 0) {
		map->write_error = r;
		return say_failed(map, r);
	}
	return check_inputs(map);
}

/* What was not finished goes. */
static void end(struct map *map)
{
	char path[MR_PATH_BYTES];

	for (uint32_t i = 0; map->fds && i < map->plan.parts; i++)
		if (map->fds[i] >= 0) {
			close(map->fds[i]);
			temporary_path(path, map, i);
			unlink(path);
		}
	wh_parts_close(map->parts);
	free(map->paths);
	free(map->ranges);
	free(map->fds);
	free(map->sums);
	free(map->bad);
	mr_plan_fini(&map->plan);
}

int mr_map(const struct mr_task *task)
{
	struct map map = { .task = task };
	int r = progress_init(&map.progress, "mr map", task->progress);

	if (r == 0)
		r = mr_task_plan(task, MR_MAP, &map.plan, &map.job);
	if (r)
		return r;
	map.place = (struct mr_place){ task->dir, &map.plan, MR_MAP, task->index };
	cli_raise_open_files();
	r = begin(&map);
	if (r == EXIT_DONE)
		r = run(&map);
	end(&map);
	return r;
}

int cmd_mr_map(int argc, char **argv)
{
	return mr_task_command(argc, argv, usage, MR_MAP);
}
