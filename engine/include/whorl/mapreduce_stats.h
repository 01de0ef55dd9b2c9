/*
 * What a MapReduce job tells: its plan, how far it is, and what it came to. Part of
 * <whorl/mapreduce.h>.
 */
#ifndef WHORL_MAPREDUCE_STATS_H
#define WHORL_MAPREDUCE_STATS_H

#include <whorl/mapreduce_emit.h>

enum { WH_MR_WHY_BYTES = 256 };

/* The versions of the ngram files of Google Books, by the years of their publication. What columns
 * there are is separated by tabs. */
enum wh_mr_ngram_version {
	WH_MR_NGRAM_DETECT, /* by the lines; all of a job must be of one */
	WH_MR_NGRAM_2009,   /* ngram, year, match count, page count, volume count */
	WH_MR_NGRAM_2012,   /* ngram, year, match count, volume count */
	WH_MR_NGRAM_2020,   /* ngram, and `year,match count,volume count` for each year */
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

#endif
