/*
 * whorl mr: a job as many processes, each of which does one task and ends. What they hand each
 * other are files in one directory that all hosts see:
 *
 *     DIR/plan                      the splits of the input, made once (mr_plan.c)
 *     DIR/map/TASK/ATTEMPT-TOKEN-pPART    what a map task found for each partition
 *     DIR/map/TASK/done             written last: which attempt to read, and what is in it
 *     DIR/reduce/PART/ATTEMPT-TOKEN       a partition's rows, sorted
 *     DIR/reduce/PART/done
 *
 * TOKEN is random: no two attempts, not even two that believe to be the same one, write to the same
 * file. Whoever comes last has the marker, and the files of others do no harm.
 */
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <whorl/mapreduce.h>
#include <whorl/parts.h>

#include "cli.h"
#include "progress.h"
#include "row_out.h"

/* Exit codes beside those of cli.h. */
enum {
	EXIT_RETRY = 4, /* may succeed elsewhere or later */
	EXIT_AGAIN = 5, /* after the tasks named on standard output have been run again */
};

enum {
	MR_PATH_BYTES = 4096,
	MR_ID_BYTES = 17, /* 16 hexadecimal digits */
	MR_PARTS_MAX = 4096,
	MR_TASKS_MAX = 1000000,
	MR_WORKERS_MAX = 1024,
	MR_MEMORY_MIN = 1000 * 1000,
};

#define MR_SPLIT_BYTES_MAX (UINT64_C(1) << 50)

/* Set by a signal, see mr_catch_signals. */
extern volatile sig_atomic_t mr_interrupted;

/* --- The plan (mr_plan.c, mr_manifest.c) --- */

enum mr_format { MR_TEXT, MR_GZIP, MR_ZSTD, MR_LZ4, MR_FORMATS };

/* Some bytes of a file that one map task reads. */
struct mr_split {
	uint32_t task;
	enum mr_format format;
	char *path; /* absolute */
	uint64_t offset;
	uint64_t len;
	uint64_t size; /* of the whole file when the plan was made */
	int64_t mtime_ns;
};

struct mr_plan {
	char id[MR_ID_BYTES];
	char **args; /* the job's name and options, ending with NULL */
	size_t arg_count;
	uint32_t parts;
	uint32_t tasks;
	uint32_t files; /* found, also empty ones */
	uint64_t bytes;
	struct mr_split *splits; /* by task */
	size_t split_count;
	size_t split_room;
};

void mr_plan_fini(struct mr_plan *plan);
int mr_plan_add(struct mr_plan *plan, const struct mr_split *split);

/* Write the plan to DIR/plan, which must not be there. Returns an exit code, having said why. */
int mr_manifest_write(const struct mr_plan *plan, const char *dir);

/* Read DIR/plan. Returns an exit code, having said why. */
int mr_manifest_read(struct mr_plan *plan, const char *dir);

/* --- Jobs (mr_job.c) --- */

enum mr_job_kind { MR_WORDCOUNT, MR_NGRAM, MR_JOB_KINDS };

enum { MR_JOB_OPTIONS = 9 };

/* What is to be counted, and how it is put out: options as they were given, NULL or 0 if they were
 * not, and behind them what they mean. */
struct mr_job {
	enum mr_job_kind kind;
	uint64_t top;
	uint64_t min_count;
	bool keep_case;
	bool unicode;
	bool skip_bad;
	const char *format_name, *words_text, *by, *version;

	enum row_format format;
	struct wh_mr_words words;
	enum wh_mr_ngram_key ngram_key;
	enum wh_mr_ngram_version ngram_version;
};

/* The job called `name` with the options that have been set; says what is wrong with them. Returns
 * an exit code. */
int mr_job_choose(struct mr_job *job, const char *name);

/* The options of all jobs, into `options`, of MR_JOB_OPTIONS places. */
void mr_job_options(struct mr_job *job, struct cli_option *options);

/* The job as a plan has it: its name and options, ending with NULL; the caller frees them. Returns
 * how many, 0 when out of memory. */
size_t mr_job_args(const struct mr_job *job, char ***ret);

/* The reverse. Returns an exit code, having said why. */
int mr_job_parse(char **args, size_t count, struct mr_job *ret);

/* What maps the job's records; the caller adds input and output. */
struct wh_mr_job mr_job_map(const struct mr_job *job);

/* How the job's rows are ordered, and dealt to the plan's partitions. */
enum wh_mr_order mr_job_order(const struct mr_job *job);
struct wh_parts_format mr_job_format(const struct mr_job *job, const struct mr_plan *plan);

/* What the job's output is called, for row_out_init. */
const char *mr_job_list(const struct mr_job *job);
const char *mr_job_key(const struct mr_job *job);

/* Make a plan of `job` over `inputs`, which end with NULL. Returns an exit code. */
struct mr_plan_opts {
	struct mr_job job;
	char **inputs;
	uint64_t split_bytes; /* 0: default */
	uint64_t parts;	      /* 0: default */
	const char *dir;
	struct progress *progress; /* NULL: nobody wants to see it */
};
int mr_plan_make(const struct mr_plan_opts *opts);

/* --- Files (mr_files.c) --- */

/* What a task has written, by its marker. */
struct mr_done {
	char attempt[32]; /* and token: how its files' names begin */
	uint64_t records; /* that went in */
	uint64_t keys;	  /* that came out */
	uint64_t skipped; /* bad lines, of a map task for ngrams; */
	uint32_t version; /* enum wh_mr_ngram_version of the others, 0 if there were none */
	uint32_t parts;
};

enum mr_phase { MR_MAP, MR_REDUCE };

/* Which task of which run. */
struct mr_place {
	const char *dir;
	const struct mr_plan *plan;
	enum mr_phase phase;
	uint32_t task;
};

/* Names of files; say so and exit if they do not fit. */
void mr_path_plan(char path[MR_PATH_BYTES], const char *dir);
void mr_path_task(char path[MR_PATH_BYTES], const struct mr_place *place);
void mr_path_part(char path[MR_PATH_BYTES], const char *dir, uint32_t task,
		  const struct mr_done *done, uint32_t part);
void mr_path_result(char path[MR_PATH_BYTES], const char *dir, uint32_t part,
		    const struct mr_done *done);

/* Make the task's directory, and choose a name for this attempt. Returns 0 or -errno. */
int mr_begin(const struct mr_place *place, uint32_t attempt, struct mr_done *ret);

/* Write the marker; `bad` says which line was the first to be skipped, NULL if none was. Returns 0
 * or -errno. */
int mr_mark_done(const struct mr_place *place, const struct mr_done *done,
		 const struct wh_part_sums *sums, const char *bad);

/* Read what `bad` was. The caller frees it. NULL: none, or it cannot be read. */
char *mr_read_bad(const struct mr_place *place);

/* Read the marker and what it says of one part. False if there is none, or none of this plan. */
struct mr_marker {
	struct mr_done done;
	struct wh_part_sums sums; /* of the part */
};
bool mr_read_done(const struct mr_place *place, uint32_t part, struct mr_marker *ret);

/* FNV-1a (G. Fowler, L. Noll, P. Vo), for small files of text. */
uint64_t mr_sum(const void *bytes, size_t len);

/* Write all of it, or tell -errno. */
int mr_write(int fd, const void *bytes, size_t len);

/* Remove `dir` and everything below it. */
void mr_remove_all(const char *dir);

/* --- Tasks (mr_map.c, mr_reduce.c, mr_merge.c): exit codes, having said why --- */

struct mr_task {
	const char *dir;
	uint32_t index;
	uint32_t attempt;
	uint32_t parts; /* what the caller believes; 0: whatever the plan says */
	uint64_t workers;
	uint64_t memory; /* 0: as the engine has it */
	const char *tmp;
	const char *backend;
	const char *progress;
};

/* Read the task's plan, which has to have such a task. */
int mr_task_plan(const struct mr_task *task, enum mr_phase phase, struct mr_plan *plan,
		 struct mr_job *job);

/* Would a task with this error, -errno, fail anywhere and always? */
bool mr_is_final(int error);

/* The command line of map and reduce. */
int mr_task_command(int argc, char **argv, const char *help, enum mr_phase phase);

int mr_map(const struct mr_task *task);
int mr_reduce(const struct mr_task *task);
/* Standard output if `output` is NULL. Reduce tasks to be run again are named on `again`. */
int mr_merge(const char *dir, const char *output, FILE *again, struct progress *progress);

/* An exit code as a job's result, for progress_end. */
static inline int mr_result(int code)
{
	if (code == EXIT_DONE)
		return 0;
	return mr_interrupted ? -ECANCELED : -EIO;
}

/* Have SIGINT and SIGTERM set `mr_interrupted`. */
void mr_catch_signals(void);

/* Print a help. Returns an exit code. */
int mr_print(const char *usage);

/* For the help of all. */
#define MR_PROGRESS_HELP                                                                           \
	"  --progress HOW  none, bar, lines, json or auto: a bar on a terminal, else lines; as\n"  \
	"                  whorl wordcount --help describes them\n"

/* For the help of what takes a job. */
#define MR_JOB_HELP                                                                                \
	"\nJobs, with those of their options that the plan has and all hosts follow:\n"            \
	"  wordcount            the words of the files, as whorl wordcount counts them\n"          \
	"    --words SET, --keep-case, --unicode\n"                                                \
	"  ngram                match counts of ngram files, as whorl ngram adds them up\n"        \
	"    --by KEY, --version V, --skip-bad; without that, a bad line ends the run\n"           \
	"  both                 --top N, --min-count N, --format F; see these commands' --help\n"

int cmd_mr_plan(int argc, char **argv);
int cmd_mr_map(int argc, char **argv);
int cmd_mr_reduce(int argc, char **argv);
int cmd_mr_merge(int argc, char **argv);
int cmd_mr_run(int argc, char **argv);
