/*
 * whorl mr run: makes a plan, has its tasks run by somebody, and merges the result.
 *
 * What is done is known from the markers in the run's directory, and from nothing else: a run whose
 * driver, scheduler or whole machine died is taken up again from there.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mr_run.h"

enum { RETRIES = 3, RETRIES_MAX = 100, PROCESSES_MAX = 1024 };

static const char usage[] =
	"usage: whorl mr run [OPTION]... JOB INPUT...\n"
	"       whorl mr run --resume --dir DIR [OPTION]...\n\n"
	"Make a plan, have all its tasks run, each as a process of its own, and print the result,\n"
	"which is byte for byte what one process would have printed.\n\n"
	"  --on WHERE           local (default): on this machine; dask://HOST:PORT: on the\n"
	"                       workers of that Dask scheduler; slurm: as job arrays\n"
	"  --dir DIR            the run's directory, which all hosts see under this name, as they\n"
	"                       see the inputs; default, for local only: a temporary one\n"
	"  --output FILE        write FILE, which is there only when it is whole; default:\n"
	"                       standard output\n"
	"  --resume             go on with the run in DIR, whatever became of the one before\n"
	"  --split-bytes SIZE   what a map task reads, about; default: 64 MiB\n"
	"  --parts R            partitions; default: 16\n"
	"  --processes N        of --on local, at once; default: the CPUs it may use\n"
	"  --workers N          threads of each task; default: 1\n"
	"  --memory SIZE        of each task, before it writes to disk; default: a quarter of\n"
	"                       what it may use, so give it if many run on one host\n"
	"  --tmp DIR            for that, on the task's host\n"
	"  --retries N          times a task that failed is tried again; default: 3\n"
	"  --keep               leave the directory as it is at the end\n"
	"  --progress HOW       none, bar, lines (one every 5 s), json (one object a line) or\n"
	"                       auto: a bar on a terminal, else lines; all on standard error, as\n"
	"                       whorl wordcount --help describes them\n" MR_JOB_HELP
	"\nWhat a task finds wrong on its host is told in its own words, with the host. If the\n"
	"scheduler dies, the run ends with exit status 1, and --resume goes on with it.\n\n"
	"Exit status: 0 done, 1 failed, 2 wrong usage, 3 the machine lacks something.\n";

/* Print the result; results that are not what they were are made again, so often. */
static int merge(struct run *run)
{
	for (;;) {
		char *text = NULL;
		size_t len = 0;
		FILE *named = open_memstream(&text, &len);
		int r = EXIT_FAILED;

		if (!named)
			return r;
		progress_clear(&run->progress);
		r = mr_merge(run->config.dir, run->config.output, named, &run->progress);
		fclose(named);
		if (r == EXIT_AGAIN)
			r = mr_again(run, MR_REDUCE, text) ? EXIT_FAILED : EXIT_AGAIN;
		free(text);
		if (r == EXIT_AGAIN)
			r = mr_run_tasks(run) ? EXIT_FAILED : EXIT_AGAIN;
		if (r != EXIT_AGAIN)
			return r ? EXIT_FAILED : EXIT_DONE;
	}
}

static int open_engine(struct run *run)
{
	static const char dask[] = "dask://";
	const struct run_config *config = &run->config;
	struct mr_engine_opts opts = {
		.dir = config->dir,
		.processes = config->processes,
		.workers = config->workers,
		.memory = config->memory,
		.tmp = config->tmp,
	};

	if (strcmp(config->on, "local") == 0)
		return mr_local_open(&opts, &run->engine);
	if (strcmp(config->on, "slurm") == 0) {
		opts.driver = "whorl-slurm";
	} else {
		opts.driver = "whorl-dask";
		opts.address = config->on + strlen(dask);
	}
	return mr_driver_open(&opts, &run->engine);
}

static int alloc_tasks(struct run *run)
{
	run->tasks[MR_MAP].count = run->plan.tasks;
	run->tasks[MR_REDUCE].count = run->plan.parts;
	run->bytes = calloc(run->plan.tasks + 1, sizeof(*run->bytes));
	for (unsigned phase = 0; phase < 2; phase++) {
		struct run_tasks *tasks = &run->tasks[phase];

		tasks->all = calloc(tasks->count + 1, sizeof(*tasks->all));
		if (!tasks->all || !run->bytes) {
			cli_error("mr run: out of memory");
			return EXIT_FAILED;
		}
	}
	for (size_t i = 0; i < run->plan.split_count; i++)
		run->bytes[run->plan.splits[i].task] += run->plan.splits[i].len;
	return EXIT_DONE;
}

/* What is done already. */
static void read_markers(struct run *run)
{
	struct mr_place place = { .dir = run->config.dir, .plan = &run->plan };
	struct mr_marker marker;

	for (unsigned phase = 0; phase < 2; phase++)
		for (place.task = 0; place.task < run->tasks[phase].count; place.task++) {
			place.phase = (enum mr_phase)phase;
			if (!mr_read_done(&place, 0, &marker))
				continue;
			mr_set_done(run, place.phase, place.task);
			if (place.phase == MR_MAP)
				run->bytes_before += run->bytes[place.task];
		}
	run->stats.bytes_done = run->bytes_before;
	run->stats.bytes_total = run->plan.bytes;
	run->stats.files = run->plan.files;
}

static int run_all(struct run *run)
{
	int r = mr_manifest_read(&run->plan, run->config.dir);

	if (r == EXIT_DONE)
		r = alloc_tasks(run);
	if (r)
		return EXIT_FAILED;
	read_markers(run);
	r = open_engine(run);
	if (r)
		return r;
	r = mr_run_tasks(run);
	if (r == EXIT_DONE)
		r = merge(run);
	progress_clear(&run->progress);
	run->engine->ops->close(run->engine);
	return r;
}

/* All that a run has made, and its directory if nothing else is in it. */
static void remove_files(const char *dir)
{
	static const char *const names[] = { "map", "reduce", "plan", "log" };
	char path[MR_PATH_BYTES + 16];

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		mr_remove_all(path);
	}
	rmdir(dir);
}

static void run_fini(struct run *run)
{
	free(run->tasks[MR_MAP].all);
	free(run->tasks[MR_REDUCE].all);
	free(run->bytes);
	mr_plan_fini(&run->plan);
}

static void say_done(const struct run *run)
{
	double seconds = (double)(wh_now_ns() - run->progress.started_ns) / (double)WH_SEC;
	char bytes[PROGRESS_SIZE_BYTES];

	if (isatty(STDERR_FILENO))
		fprintf(stderr,
			"whorl: mr run: %" PRIu32 " map and %" PRIu32 " reduce tasks, %s, %.2f s\n",
			run->plan.tasks, run->plan.parts, progress_size(bytes, run->plan.bytes),
			seconds);
}

static int run_in_dir(const struct run_config *config)
{
	struct run run = { .config = *config, .stats.phase = WH_MR_WALK };
	int r = progress_init(&run.progress, "mr run", config->progress);

	run.config.plan.progress = &run.progress;
	mr_catch_signals();
	if (r == EXIT_DONE && !config->resume)
		r = mr_plan_make(&run.config.plan);
	if (r) {
		rmdir(config->dir); /* if we have just made it, and nothing is in it */
		return r;
	}
	r = run_all(&run);
	progress_end(&run.progress, &run.stats, mr_result(r));
	if (r == EXIT_DONE && !config->keep)
		remove_files(config->dir);
	if (r == EXIT_DONE)
		say_done(&run);
	else
		cli_error(
			"mr run: what is done is kept; go on with: whorl mr run --resume --dir %s "
			"--on %s",
			config->dir, config->on);
	run_fini(&run);
	return r;
}

static int check(const struct run_config *config, int operands)
{
	bool local = strcmp(config->on, "local") == 0;
	const char *wrong = NULL;

	if (!local && strcmp(config->on, "slurm") != 0 && strncmp(config->on, "dask://", 7) != 0)
		wrong = "--on takes local, dask://HOST:PORT or slurm";
	else if (config->resume && (operands || !config->dir))
		wrong = "--resume takes --dir, and neither a job nor inputs: the plan has them";
	else if (!config->resume && operands < 2)
		wrong = "takes a job and its input";
	else if (!local && !config->dir)
		wrong = "needs --dir, a directory that all hosts see";
	if (!wrong)
		return EXIT_DONE;
	cli_error("mr run: %s; see whorl mr run --help", wrong);
	return EXIT_USAGE;
}

/* Tasks run elsewhere, where our working directory means nothing. */
static int choose_dir(struct run_config *config, char path[MR_PATH_BYTES])
{
	const char *parent = getenv("TMPDIR");

	if (config->dir) {
		if (!config->resume && mkdir(config->dir, 0777) < 0 && errno != EEXIST) {
			cli_error("mr run: cannot make %s: %s", config->dir, strerror(errno));
			return EXIT_FAILED;
		}
		if (!realpath(config->dir, path)) {
			cli_error("mr run: %s: %s", config->dir, strerror(errno));
			return EXIT_FAILED;
		}
	} else {
		snprintf(path, MR_PATH_BYTES, "%s/whorl-mr-XXXXXX", parent ? parent : "/tmp");
		if (!mkdtemp(path)) {
			cli_error("mr run: cannot make %s: %s", path, strerror(errno));
			return EXIT_FAILED;
		}
	}
	config->dir = path;
	config->plan.dir = path;
	return EXIT_DONE;
}

int cmd_mr_run(int argc, char **argv)
{
	static char path[MR_PATH_BYTES];
	struct run_config config = { .on = "local", .workers = 1, .retries = RETRIES };
	struct cli_option options[MR_JOB_OPTIONS + 14] = {
		PROGRESS_OPTION(&config.progress),
		{ .name = "--on", .text = &config.on },
		{ .name = "--dir", .text = &config.dir },
		{ .name = "--output", .text = &config.output },
		{ .name = "--resume", .flag = &config.resume },
		{ .name = "--keep", .flag = &config.keep },
		{ .name = "--split-bytes",
		  .number = &config.plan.split_bytes,
		  .min = 1,
		  .max = MR_SPLIT_BYTES_MAX },
		{ .name = "--parts", .number = &config.plan.parts, .min = 1, .max = MR_PARTS_MAX },
		{ .name = "--processes",
		  .number = &config.processes,
		  .min = 1,
		  .max = PROCESSES_MAX },
		{ .name = "--workers", .number = &config.workers, .min = 1, .max = MR_WORKERS_MAX },
		{ .name = "--retries", .number = &config.retries, .max = RETRIES_MAX },
		{ .name = "--memory",
		  .number = &config.memory,
		  .min = MR_MEMORY_MIN,
		  .max = UINT64_MAX },
		{ .name = "--tmp", .text = &config.tmp },
	};
	int operands, r;

	mr_job_options(&config.plan.job, options + 13);
	r = cli_parse(argc, argv, options, &operands);
	if (r < 0)
		return mr_print(usage);
	if (r == 0)
		r = check(&config, operands);
	if (r == 0 && operands > 0)
		r = mr_job_choose(&config.plan.job, argv[1]);
	if (r == 0)
		r = choose_dir(&config, path);
	if (r)
		return r;
	argv[operands + 1] = NULL;
	config.plan.inputs = argv + 2;
	return run_in_dir(&config);
}
