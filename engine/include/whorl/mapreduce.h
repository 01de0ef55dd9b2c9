/*
 * MapReduce: records of files are mapped to keys with values, the values of equal keys come
 * together and are reduced, the rows are put in order and handed over.
 *
 * Counting words is the job that needs no functions of its own, and has a fast path to itself:
 *
 *     struct wh_mr_job job = {
 *             .paths = paths, .path_count = n, .order = WH_MR_BY_VALUE, .output = print_rows,
 *     };
 *     r = wh_mapreduce(&job, NULL);
 *
 * Any other job says what a record is, what a value is, and what a record gives. How many bytes
 * each host was sent, from lines like `HOST BYTES`:
 *
 *     static int map(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
 *     {
 *             const char *host = line.data, *space = memchr(line.data, ' ', line.len);
 *
 *             if (!space)
 *                     return 0;
 *             return wh_mr_emit_number(emitter, host, (size_t)(space - host),
 *                                      number_at(space + 1));
 *     }
 *
 *     static int print_rows(void *arg, const struct wh_mr_row *rows, size_t count)
 *     {
 *             for (size_t i = 0; i < count; i++)
 *                     printf("%.*s\t%" PRIu64 "\n", (int)rows[i].key.len,
 *                            (const char *)rows[i].key.data, rows[i].number);
 *             return 0;
 *     }
 *
 *     struct wh_mr_job job = {
 *             .paths = paths, .path_count = n, .records = WH_MR_LINES, .value = WH_MR_SUM,
 *             .map = map, .order = WH_MR_BY_VALUE, .output = print_rows,
 *     };
 *
 * Whole programs: tests/examples/.
 */
#ifndef WHORL_MAPREDUCE_H
#define WHORL_MAPREDUCE_H

#include <whorl/api.h>
#include <whorl/mapreduce_emit.h>
#include <whorl/mapreduce_stats.h>

struct wh_executor;

/* What a word is: a longest run of these bytes. wh_mr_words_parse fills it in. */
struct wh_mr_words {
	uint64_t bytes[4]; /* byte b belongs to words if bit b % 64 of bytes[b / 64] is set */
	bool keep_case;	   /* without, upper case counts as lower case: A-Z as a-z */
	bool unicode;	   /* white space of Unicode separates words too, in text that is UTF-8;
			      and without keep_case, letters outside of ASCII are folded as well,
			      by Unicode's simple case folding, each to one other */
};

/* What a record is. */
enum wh_mr_records {
	WH_MR_WORDS,  /* of `words`; default: between bytes 0x00-0x20, A-Z folded to a-z, any other
			 byte as it is */
	WH_MR_LINES,  /* without the newline; the last one needs none */
	WH_MR_FIXED,  /* `record_bytes` each */
	WH_MR_NGRAMS, /* lines of ngram files, whose match counts are added up: see ngram_key */
	WH_MR_CUSTOM, /* what the job's `record` says; one file is read by one worker, unless the
			 job's `find` can tell where a record begins */
	WH_MR_FILES,  /* a file each, of any size: `map` is given its path, and takes its bytes with
			 wh_mr_read */
};

/* What a value is. Numbers are uint64_t; those of equal keys are brought together as they come, so
 * that there is nothing to reduce. */
enum wh_mr_value {
	WH_MR_SUM,   /* numbers, added up modulo 2^64 */
	WH_MR_COUNT, /* how often a key was emitted, whatever the numbers */
	WH_MR_MIN,   /* the least number */
	WH_MR_MAX,   /* the greatest number */
	WH_MR_BYTES, /* any bytes */
};

/* How rows are ordered: the same rows in the same order, whatever the number of workers. */
enum wh_mr_order {
	WH_MR_UNORDERED,
	WH_MR_BY_KEY,	/* keys bytewise ascending, then values */
	WH_MR_BY_VALUE, /* numbers descending, bytes ascending; then keys bytewise ascending */
};

struct wh_mr_row {
	struct wh_mr_bytes key;
	struct wh_mr_bytes value; /* of a job with WH_MR_BYTES */
	uint64_t number;	  /* of any other job */
};

/* Some bytes of a file, that is the records whose first bytes they hold. */
struct wh_mr_range {
	uint64_t offset;
	uint64_t len;
};

/* What match counts are added up by. */
enum wh_mr_ngram_key {
	WH_MR_BY_NGRAM,
	WH_MR_BY_YEAR,
	WH_MR_BY_NGRAM_AND_YEAR, /* keys are the ngram, a tab, and the year */
};

/* Whether numbers of equal keys are brought together by each worker before they go to partitions,
 * which does not pay where most keys are met for the first time. */
enum wh_mr_bypass {
	WH_MR_BYPASS_AUTO, /* as what has been met lately tells */
	WH_MR_BYPASS_ALWAYS,
	WH_MR_BYPASS_NEVER,
};

/*
 * Each function gets the job's `arg`. `generate`, `record`, `find`, `map`, `map_batch`, `combine`,
 * `reduce`, `format`, `write` and `output` run on threads of the executor, must not call anything
 * that suspends, and run on several threads at once: all but `output` and `write`, of which one
 * call ends before the next begins, though that may be on another thread. A negative result ends
 * the job with that error. Bytes they are given are valid until they return.
 */
typedef int (*wh_mr_map_fn)(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter);

enum { WH_MR_BATCH_MAX = 512 }; /* records */

/*
 * What `map` does for a record, for `count` of them: 1 to WH_MR_BATCH_MAX, which follow one another
 * in one file or generated block. One call for many records, with what it emits inlined into one
 * loop over them, is worth it where little is done for each, as with words:
 *
 *     static int map_batch(void *arg, const struct wh_mr_bytes *records, size_t count,
 *                          struct wh_mr_emitter *emitter)
 *     {
 *             int r = 0;
 *
 *             for (size_t i = 0; i < count && r == 0; i++)
 *                     r = wh_mr_emit_number(emitter, records[i].data, records[i].len, 1);
 *             return r;
 *     }
 *
 * The rows are those that a `map` would give: how many records come at a time depends on how files
 * are cut and read, and must not matter. A negative result ends the job as that of a `map` does;
 * what was emitted for some of the records goes with the rest. A job that is to end is noticed
 * between two calls; one that takes milliseconds asks wh_mr_stopped, and may return -ECANCELED
 * then: with `partial`, what it has emitted by then is put out.
 */
typedef int (*wh_mr_map_batch_fn)(void *arg, const struct wh_mr_bytes *records, size_t count,
				  struct wh_mr_emitter *emitter);

typedef int (*wh_mr_reduce_fn)(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
			       struct wh_mr_emitter *emitter);

/* The length of the first record in `data`, which begins at a record. 0: it does not end in `data`;
 * if `last` is true no more is to come, and 0 makes the rest one record. */
typedef size_t (*wh_mr_record_fn)(void *arg, struct wh_mr_bytes data, bool last);

/* The offset of the first record that begins in `data` at `from` or later; 0: as far as can be told
 * from `data`, none does. `from` is at least 1. The answer must follow from the bytes from
 * `from` - 1 on alone, and whether a record begins somewhere must not depend on where one looks
 * from. */
typedef size_t (*wh_mr_find_fn)(void *arg, struct wh_mr_bytes data, size_t from);

/* Make block `index` of an input that is in no file: write whole records, one after another as a
 * file would hold them, to `data`, of `room` bytes. Returns how many bytes; 0: there is no such
 * block, nor any after it; -ENOBUFS: once more, please, with more room. The same index always gives
 * the same block. Blocks are made in any order, several at once. */
typedef ssize_t (*wh_mr_generate_fn)(void *arg, uint64_t index, void *data, size_t room);

/* The next rows, in order. */
typedef int (*wh_mr_output_fn)(void *arg, const struct wh_mr_row *rows, size_t count);

/* Instead of `output`, what it does in two: `format` makes bytes of some rows that follow one
 * another, and appends them to `text`, whichever rows those before and behind them are; several
 * workers do that at once, for rows of other places. `write` gets the bytes of all rows in order,
 * some at a time, cut anywhere. */

typedef int (*wh_mr_format_fn)(void *arg, const struct wh_mr_row *rows, size_t count,
			       struct wh_mr_text *text);
typedef int (*wh_mr_write_fn)(void *arg, const void *bytes, size_t len);

/* `path` could not be read, or not to its end; `err` is -errno, see wh_mr_file_error_text. On the
 * caller's loop. */
typedef void (*wh_mr_file_error_fn)(void *arg, const char *path, int err);

/* A compressed file is not what it should be. What was decoded before is mapped. On the caller's
 * loop. */
typedef void (*wh_mr_damage_fn)(void *arg, const struct wh_mr_damage *damage);

/* The first bad line that was met: the one that ends the job, or of those that were skipped. Once,
 * on the caller's loop. */
typedef void (*wh_mr_bad_line_fn)(void *arg, const struct wh_mr_bad_line *bad);

/* What the job is going to do; called once. On the caller's loop; must not suspend. */
typedef void (*wh_mr_plan_fn)(void *arg, const struct wh_mr_plan *plan);

/* How far the job is. On the caller's loop; must not suspend. */
typedef void (*wh_mr_progress_fn)(void *arg, const struct wh_mr_stats *stats);

/* {0} plus `paths` and `path_count` is valid: it counts words and tells only the statistics. */
struct wh_mr_job {
	/* Input: files, and what a function makes. */
	const char *const *paths; /* files, directories (all regular files below), or "-": standard
				     input */
	size_t path_count;
	/* One for each of `paths`, which are files that do not change and whose records can begin
	 * anywhere. Default: all of each. */
	const struct wh_mr_range *ranges;
	wh_mr_generate_fn generate;
	uint64_t generate_count; /* blocks of it; 0: until it returns 0 */
	void *arg;		 /* of all functions */
	size_t arg_bytes;	 /* with `processes`: how much there is at `arg` */

	enum wh_mr_records records;
	const struct wh_mr_words *words; /* of WH_MR_WORDS and wh_mr_emit_words; optional */
	uint32_t record_bytes;		 /* of WH_MR_FIXED */
	bool short_records; /* of WH_MR_FIXED: what is left at the end of a file is a record too;
			       without, it is an error of that file */
	enum wh_mr_value value;
	bool exact; /* of WH_MR_SUM: a sum of 2^64 - 1 or more is -EOVERFLOW, not what is left of
		       it. Match counts always are */
	enum wh_mr_order order;
	wh_mr_record_fn record; /* of WH_MR_CUSTOM */
	wh_mr_find_fn find;	/* of WH_MR_CUSTOM: lets workers share a file. Optional */
	wh_mr_map_fn map; /* default: the record is the key; its value the number 1, or empty */
	wh_mr_map_batch_fn map_batch; /* instead of `map`, but for WH_MR_FILES: many records a
					 call */
	wh_mr_reduce_fn combine; /* of WH_MR_BYTES: brings some values of a key together early, on
				    the worker that emitted them. Optional */
	wh_mr_reduce_fn reduce;	 /* of WH_MR_BYTES: emits a key's rows; default: one a value */
	uint64_t rows_max;	 /* stop after so many rows; 0: all */

	/* Of WH_MR_NGRAMS, which takes neither `map` nor `map_batch`. */
	enum wh_mr_ngram_version ngram_version;
	enum wh_mr_ngram_key ngram_key;
	enum wh_mr_bypass bypass;
	bool skip_bad; /* leave bad lines out, and count them; without, the first one ends the job.
			  Lines of two versions end it unless `ngram_version` says which to take */
	wh_mr_bad_line_fn bad_line;

	/* Default: nobody gets the rows. */
	wh_mr_output_fn output; /* or, on all workers: */
	wh_mr_format_fn format;
	wh_mr_write_fn write;
	wh_mr_file_error_fn file_error;
	wh_mr_plan_fn plan;
	bool explain;		/* measure `times`: costs some clock readings a buffer */
	wh_mr_damage_fn damage; /* default: `file_error` with -EBADMSG */
	wh_mr_progress_fn progress;
	uint64_t progress_ns; /* between two calls; default 100 ms */

	struct wh_executor *executor; /* default: one of its own */
	uint32_t workers;	      /* threads of the job's own executor; default: CPUs allowed */
	uint32_t processes;   /* map in so many other processes; 0: on the executor. See below */
	uint32_t split_bytes; /* what a worker takes at a time; default: up to 4 MiB */
	uint32_t record_max;  /* longest record in bytes; 0: as memory allows */
	bool direct; /* read large files past the page cache, where their file system can do that:
			for what is larger than memory, or not to evict anything */
	bool no_decompress; /* files that begin as gzip, zstd or lz4 data do are bytes as any
			       others; without it, what they decode to is mapped */
	bool partial;	    /* when cancelled, still reduce and put out what was mapped */

	/* What does not fit in memory goes to files without a name, and the result is the same. */
	uint64_t memory_max;	/* bytes for tables, blocks and rows, besides what each worker has:
				   about 4 MiB. Default: a quarter of what this process may use */
	const char *tmp_dir;	/* for those files; default: $TMPDIR, else /var/tmp, else /tmp */
	const char *resume_dir; /* keep there what has been mapped, and go on from there if there is
				   something, on any machine with the same files; not for what
				   `generate` makes, nor with WH_MR_FILES: see
				   wh_mr_resume_remove. Optional */
	const char *resume_id;	/* names the job and its options: a folder with another one is not
				   gone on with */
	const char *isa;	/* word kernel; default: $WHORL_ISA, else the best */
};

/*
 * Mapping in processes. With `processes`, a `map` that crashes takes a process along, not the
 * program: the part of the input that the process had is done again by another one, and only one
 * that kills three of them ends the job. The result is the same as with threads.
 *
 * The program begins with wh_jobs_main (<whorl/jobs.h>). `generate`, `record`, `find`, `map`,
 * `map_batch` and `combine` run in the processes, which are the program, started anew: they find in
 * its variables what stands there when main begins, and at `arg` a copy of `arg_bytes` bytes, NULL
 * if that is 0; what they write is seen by nobody else. `reduce`, `output` and the other functions
 * run here and get `arg` itself. What comes from pipes and terminals is mapped here too. In a
 * simulated world (<whorl/sim.h>) there are no such processes: -EOPNOTSUPP.
 */

/**
 * Run `job`.
 *
 * Files are read as far as they were long when the job began, the last record to its end. What
 * cannot be read, is not there any more, has become shorter, or is another file than when it was
 * cut into parts, is told to `file_error`; what was read of it until then is mapped, and the rest
 * is done. A small file is opened once, and is whatever has its name then. That a file is written
 * over in place is not seen. Files of no length, as in /proc, are read to their end. Of folders,
 * regular files and folders are taken, whatever their names, and anything else is left out, links
 * too; what a path names is followed and read whatever it is: pipes, sockets and devices to their
 * end. Paths of 4,096 bytes and more cannot be opened, and are told. A file that is named twice
 * counts twice.
 *
 * Suspends   the calling task until it is done; a cancelled job stops within milliseconds.
 * Returns    0, with the figures in `*ret` (may be NULL); see `files_failed` in them.
 * Errors     `*ret` is set in these cases too:
 *            -EINVAL   a combination of options that makes no sense: `ret->why` says which; no
 *                      such `isa`
 *            -ENOTSUP   this processor cannot run `isa`
 *            -ENOMEM, -EAGAIN   out of memory or threads
 *            -EMSGSIZE   a record longer than `record_max`
 *            -ENOTRECOVERABLE   part of the input has killed three processes; -ENOEXEC, -ELIBACC:
 *                      see `processes`; and as wh_pool_open (<whorl/pool.h>)
 *            -EBADMSG   a line that is no ngram's, or of another version than others
 *            -EOVERFLOW   match counts, or with `exact` other numbers, that add up to 2^64 - 1 or
 *                      more
 *            -ECANCELED, -ETIMEDOUT   stopped; without `partial` nothing was put out
 *            -ENOSPC, -EDQUOT, -EIO, -ENOENT, -EACCES ...   a temporary file, see
 *                      `ret->spill.error`, or one in `resume_dir`: `ret->why` says which
 *            -EPERM    others may write to `resume_dir`, which holds the seed of the job's hash
 *            -ESTALE   what is in `resume_dir` is of another job, or of files that have changed
 *                      since: `ret->why` says which
 *            what one of the job's functions returned
 * Ownership  everything in `job` is borrowed until return.
 * Context    a task.
 */
WH_API int wh_mapreduce(const struct wh_mr_job *job, struct wh_mr_stats *ret);

/**
 * Say which bytes belong to words: by a name, or as a set.
 *
 *     "control"      all but 0x00-0x20: the default of jobs
 *     "posix-space"  all but tab, newline, vertical tab, form feed, carriage return and blank
 *     "alpha"        A-Z and a-z
 *     "alnum"        these and 0-9
 *     a set          bytes and ranges of them, as "a-z0-9_'"; "^" before it means all others;
 *                    \n, \t, \\, \-, \^ and \xHH are single bytes
 *
 * Returns    0, with `bytes` in `*ret`; the rest of it stays as it is.
 * Errors     -EINVAL   no such name and no set, or one of no byte or of all; `*ret` is unchanged
 * Context    any thread.
 */
WH_API int wh_mr_words_parse(const char *text, struct wh_mr_words *ret);

/**
 * Remove what a job has left in its `resume_dir`, once its output is where it should be; and the
 * folder, if it is empty then. It has to be there as long as somebody may want to go on from it.
 *
 * Returns    0; also if there is nothing.
 * Errors     as unlink(2)
 * Context    any thread; blocks.
 */
WH_API int wh_mr_resume_remove(const char *dir);

/**
 * What is wrong with a file, as a phrase to follow its path: what strerror(3) says, but for
 *
 *   -ESTALE    it became shorter, or changed, while it was read
 *   -ENODATA   its length is no multiple of `record_bytes`
 *   -ENAMETOOLONG, -EIO   and what helps
 *
 * Context    any thread.
 */
WH_API const char *wh_mr_file_error_text(int err);

#endif
