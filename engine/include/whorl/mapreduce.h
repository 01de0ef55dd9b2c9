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

struct wh_executor;
struct wh_mr_emitter;
struct wh_mr_values;

enum { WH_MR_WHY_BYTES = 256 };

struct wh_mr_bytes {
	const void *data;
	size_t len;
};

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

/* Where a record begins. */
struct wh_mr_origin {
	const char *path; /* "-": standard input; NULL: what `generate` made */
	uint64_t block;	  /* of what `generate` made */
	uint64_t offset;  /* in bytes: of the file (of its contents, if it is compressed), or of the
			     block */
};

/* What a job is doing, in this order. */
enum wh_mr_phase {
	WH_MR_WALK,   /* looking for files: `phase_done` were found, `phase_total` is 0 */
	WH_MR_MAP,    /* bytes of files; `phase_total` is 0 while an input has no end */
	WH_MR_REDUCE, /* partitions: keys are brought together */
	WH_MR_OUTPUT, /* rows, sorted and put out */
	WH_MR_PHASES, /* how many there are */
};

/* Where the time went, in a job with `explain`, in nanoseconds. */
struct wh_mr_times {
	uint64_t wall_ns[WH_MR_PHASES]; /* of each phase, */
	uint64_t cpu_ns[WH_MR_PHASES];	/* and of all threads of the process in it */
	uint64_t read_ns;		/* CPU time of workers: copying from the page cache, */
	uint64_t decode_ns;		/* decompressing, */
	uint64_t tokenize_ns;		/* finding words, */
	uint64_t count_ns;		/* counting them, or whatever else `map` does, */
	uint64_t merge_ns;		/* and bringing counts into partitions */
	uint64_t counted;		/* words looked up in workers' front tables; */
	uint64_t entered;		/* of these, those that were new to it */
};

/* What a job is going to do, as far as it is known before it reads anything. */
struct wh_mr_plan {
	uint64_t files;
	uint64_t streams;     /* of these, pipes and the like */
	uint64_t compressed;  /* and large files that are compressed; small ones are seen later */
	uint64_t bytes;	      /* of all files but streams */
	uint64_t splits;      /* pieces that workers take */
	uint64_t split_bytes; /* of a piece of a large file */
	uint64_t memory_max;
	uint64_t front_bytes; /* of second-level cache, for a worker's front table */
	const char *tmp_dir;  /* where what does not fit would go; NULL: to be seen */
	const char *isa;
	bool isa_chosen; /* by the job or the environment; not because it is the best */
	unsigned workers;
};

/* The versions of the ngram files of Google Books, by the years of their publication. What columns
 * there are is separated by tabs. */
enum wh_mr_ngram_version {
	WH_MR_NGRAM_DETECT, /* by the lines; all of a job must be of one */
	WH_MR_NGRAM_2009,   /* ngram, year, match count, page count, volume count */
	WH_MR_NGRAM_2012,   /* ngram, year, match count, volume count */
	WH_MR_NGRAM_2020,   /* ngram, and `year,match count,volume count` for each year */
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

/* A line that is not as it should be. */
struct wh_mr_bad_line {
	struct wh_mr_origin origin;
	const char *reason;	  /* "the match count is not a number" */
	struct wh_mr_bytes bytes; /* the first of it */
};

/* What may be wrong with a compressed file. */
enum wh_mr_damage_kind {
	WH_MR_DAMAGED,	 /* no decoder can have meant this, or a checksum is wrong */
	WH_MR_TRUNCATED, /* the file ends inside of a frame */
	WH_MR_TRAILING,	 /* what follows the last frame is none, and no padding */
	WH_MR_WINDOW,	 /* decoding it takes more than 128 MiB */
	WH_MR_RECORD,	 /* a record longer than 64 MiB */
};

struct wh_mr_damage {
	const char *path;   /* "-": standard input */
	const char *format; /* "gzip", "zstd" or "lz4" */
	enum wh_mr_damage_kind kind;
	uint64_t at; /* where in the file: the decoder had got so far */
};

/* What did not fit in memory. */
struct wh_mr_spill {
	uint64_t bytes_written; /* to temporary files, in all */
	uint64_t bytes_read;	/* from them */
	uint64_t extents;	/* pieces of 1 MiB or more that they were written in */
	uint64_t spills;	/* times that a partition was written */
	unsigned partitions;	/* of 256, of which something was written */
	unsigned depth;		/* times that the worst one was partitioned again */
	unsigned sorted;	/* pieces that had to be sorted, as their keys' hashes are equal */
	uint64_t runs;		/* sorted rows that were written as one */
	uint64_t memory_max;	/* what the job was to keep to */
	uint64_t memory_held;	/* what partitions held when all was mapped */
	const char *tmp_dir;	/* where; valid as long as the job's, or the environment */
	int error;		/* -errno of the first failure of a temporary file; 0: none */
};

/* How evenly keys are spread. */
struct wh_mr_skew {
	uint64_t rows_min; /* of a partition */
	uint64_t rows_median;
	uint64_t rows_max;
	uint64_t bytes_min; /* of a partition's rows, in memory or on disk */
	uint64_t bytes_median;
	uint64_t bytes_max;
};

struct wh_mr_stats {
	enum wh_mr_phase phase;
	uint64_t phase_done; /* of `phase_total`; what is counted depends on the phase */
	uint64_t phase_total;
	uint64_t phase_began_ns; /* on the clock of wh_now_ns */
	uint64_t bytes_done;	 /* read and mapped */
	uint64_t bytes_total;  /* to be read, as far as known; 0 while there is an endless input */
	uint64_t bytes_direct; /* read past the page cache */
	uint64_t bytes_unpacked; /* that came out of compressed files */
	uint64_t records;	 /* words, or values emitted by `map` */
	uint64_t keys;		 /* distinct; once all is reduced */
	uint64_t rows;		 /* handed to `output`, or put out as text */
	uint64_t files;		 /* found */
	uint64_t files_failed;	 /* of these, those reported to `file_error` */
	uint64_t map_ns;	 /* how long the phases took */
	uint64_t reduce_ns;	 /* with sorting inside partitions */
	uint64_t output_ns;	 /* with all that comes after, up to the last row put out */
	struct wh_mr_spill spill;
	struct wh_mr_skew skew;
	struct wh_mr_times times;
	uint64_t sort_ns;   /* of all workers together: sorting rows, */
	uint64_t merge_ns;  /* bringing the rows of partitions together, */
	uint64_t format_ns; /* in `format`, */
	uint64_t write_ns;  /* in `output` or `write`, */
	uint64_t spill_ns;  /* and writing and reading temporary files' partitions */
	uint64_t skipped;   /* bad lines, of WH_MR_NGRAMS */
	enum wh_mr_ngram_version ngram_version; /* of its lines, as far as there were any */
	uint64_t bypassed; /* keys that went to partitions without a look for equal ones, of
				  WH_MR_NGRAMS */
	unsigned workers;
	uint64_t processes_died; /* of those that mapped */
	const char *isa; /* of the word kernel: "avx512", "avx2", "sse2", "neon" or "scalar" */
	/* What was wrong first, where, and what helps: for a person to read. Empty: nothing was. */
	char why[WH_MR_WHY_BYTES];
};

/*
 * Each function gets the job's `arg`. `generate`, `record`, `find`, `map`, `combine`, `reduce`,
 * `format`, `write` and `output` run on threads of the executor, must not call anything that
 * suspends, and run on several threads at once: all but `output` and `write`, of which one call
 * ends before the next begins, though that may be on another thread. A negative result ends the job
 * with that error. Bytes they are given are valid until they return.
 */
typedef int (*wh_mr_map_fn)(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter);
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

/* Bytes that are made of rows. */
struct wh_mr_text {
	uint8_t *bytes;
	size_t len;  /* `format` writes behind these, and adds what it has written; */
	size_t room; /* not beyond this: see wh_mr_text_more */
};

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
	wh_mr_reduce_fn combine; /* of WH_MR_BYTES: brings some values of a key together early, on
				    the worker that emitted them. Optional */
	wh_mr_reduce_fn reduce;	 /* of WH_MR_BYTES: emits a key's rows; default: one a value */
	uint64_t rows_max;	 /* stop after so many rows; 0: all */

	/* Of WH_MR_NGRAMS, which takes no `map`. */
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
 * The program begins with wh_jobs_main (<whorl/jobs.h>). `generate`, `record`, `find`, `map` and
 * `combine` run in the processes, which are the program, started anew: they find in its variables
 * what stands there when main begins, and at `arg` a copy of `arg_bytes` bytes, NULL if that is 0;
 * what they write is seen by nobody else. `reduce`, `output` and the other functions run here and
 * get `arg` itself. What comes from pipes and terminals is mapped here too.
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
 * What wh_mr_emit_number does, as a call: for languages that cannot read what is inlined here.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are bytes, or it is not `map` that emits
 * Ownership  `key` is copied.
 * Context    `map`, with the emitter it was given.
 */
WH_API int wh_mr_emit_number_now(struct wh_mr_emitter *emitter, const void *key, size_t key_len,
				 uint64_t number);

enum { WH_MR_GATHER_MAX = 16 }; /* bytes of a key */

/* A key that was emitted, by where it is in what is being mapped. */
struct wh_mr_gathered {
	uint32_t offset;
	uint32_t len;
	uint64_t number;
};

/* What an emitter begins with: part of the binary interface, and of no use but for
 * wh_mr_emit_number. */
struct wh_mr_gather {
	struct wh_mr_gathered *at;
	struct wh_mr_gathered *end;
	uintptr_t block;
	size_t block_len;
};

/**
 * Emit a key with a number, in a job whose values are numbers.
 *
 * It is inlined: a key of up to 16 bytes inside of what `map` was given is written down by where it
 * is, which takes nanoseconds less than copying it does, and keys are looked up many at a time. So
 * numbers are on their way for a while: what was wrong with one may be told by a later call, or be
 * the result of the job.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are bytes, or it is not `map` that emits
 * Ownership  `key` may change once the call is back, unless it is part of the record.
 * Context    `map`, with the emitter it was given.
 */
static inline int wh_mr_emit_number(struct wh_mr_emitter *emitter, const void *key, size_t key_len,
				    uint64_t number)
{
	struct wh_mr_gather *gather = (struct wh_mr_gather *)(void *)emitter;
	struct wh_mr_gathered *at = gather->at;
	size_t offset = (uintptr_t)key - gather->block;

	if (offset >= gather->block_len || key_len - 1 >= WH_MR_GATHER_MAX || at == gather->end)
		return wh_mr_emit_number_now(emitter, key, key_len, number);
	at->offset = (uint32_t)offset;
	at->len = (uint32_t)key_len;
	at->number = number;
	gather->at = at + 1;
	return 0;
}

/**
 * Emit each word of `text`, as WH_MR_WORDS has them, in a job with WH_MR_COUNT. It costs what
 * counting the words of a file costs.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are others
 * Ownership  `text` is copied.
 * Context    `map`, with the emitter it was given.
 */
WH_API int wh_mr_emit_words(struct wh_mr_emitter *emitter, struct wh_mr_bytes text);

/**
 * Emit a key with a value, in a job with WH_MR_BYTES.
 *
 * Returns    0.
 * Errors     -ENOMEM, -EINVAL   the job's values are numbers
 * Ownership  both are copied.
 * Context    `map`, `combine` or `reduce`, with the emitter it was given.
 */
WH_API int wh_mr_emit(struct wh_mr_emitter *emitter, struct wh_mr_bytes key,
		      struct wh_mr_bytes value);

/**
 * Make room for at least `len` more bytes in a text, whose bytes may move.
 *
 * Returns    0.
 * Errors     -ENOMEM   the text is as it was
 * Context    `format`, with the text it was given; any thread, with a text of its own, which is {0}
 *            at first.
 */
WH_API int wh_mr_text_more(struct wh_mr_text *text, size_t len);

/** Free the bytes of a text of one's own, which is {0} then. */
WH_API void wh_mr_text_free(struct wh_mr_text *text);

/**
 * Take the next of a key's values, which come in no particular order.
 *
 * Returns    false when there is none left.
 * Ownership  `ret->data` is valid until the next call: the values of a key may be more than memory
 *            has room for.
 */
WH_API bool wh_mr_next(struct wh_mr_values *values, struct wh_mr_bytes *ret);

/**
 * Take the next bytes of the file that is the record, in a job with WH_MR_FILES. Blocks its thread
 * if they have to be fetched from a device.
 *
 * Returns    1, with some bytes in `*ret`; 0 at the end.
 * Errors     What is returned is told to `file_error`; when `map` returns a negative result after
 *            one, only that file counts as failed, and the job goes on.
 *            -ESTALE   the end is there, but the file has changed since it was opened
 *            -EINVAL   the job's records are no files
 *            -ECANCELED   the job is to end
 *            as read(2)
 * Ownership  `ret->data` is valid until the next call, or until `map` returns.
 * Context    `map`, with the emitter it was given.
 */
WH_API int wh_mr_read(struct wh_mr_emitter *emitter, struct wh_mr_bytes *ret);

/**
 * Where the record comes from that `map` was given.
 *
 * Ownership  `ret->path` is valid until the job is done.
 * Context    `map`, with the emitter it was given.
 */
WH_API void wh_mr_origin(const struct wh_mr_emitter *emitter, struct wh_mr_origin *ret);

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
