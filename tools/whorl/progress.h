/* How far a job is, on standard error: a bar on a terminal, a line every few seconds elsewhere, or
 * JSON for programs. Shared by the subcommands that run a job of whorl/mapreduce.h. On one loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

enum { PROGRESS_SIZE_BYTES = 32 };

enum progress_kind { PROGRESS_NONE, PROGRESS_BAR, PROGRESS_LINES, PROGRESS_JSON };

struct progress {
	enum progress_kind kind;
	const char *what; /* the subcommand */
	uint64_t started_ns;
	uint64_t polled_ns;
	bool shown; /* a bar is on the screen */
};

/* For the table of options of a subcommand, and for its help. */
#define PROGRESS_OPTION(target)                                                                    \
	{                                                                                          \
		.name = "--progress", .text = (target)                                             \
	}
#define PROGRESS_HELP                                                                              \
	"  --progress HOW none, bar, lines (one every 5 s), json (one object a line; see below)\n" \
	"                 or auto: a bar on a terminal, else lines; all on standard error\n"
#define PROGRESS_JSON_HELP                                                                         \
	"--progress json: {\"phase\":\"walk\"|\"map\"|\"reduce\"|\"output\"|\"end\", "             \
	"\"done\", \"total\"\n(of the phase: files found, bytes, partitions, rows; null: "         \
	"not known), \"bytes\",\n\"bytes_unpacked\", \"files\", \"files_failed\", "                \
	"\"seconds\", \"bytes_per_second\",\n\"seconds_left\" (of the phase; null: not "           \
	"known)}; the last one has \"phase\":\"end\"\nand \"status\":\"done\"|"                    \
	"\"interrupted\"|\"failed\".\n"

/* Begin, as `how` says; NULL: auto. Returns 0, or EXIT_USAGE after it has said what is wrong. */
int progress_init(struct progress *progress, const char *what, const char *how);

/* What a job has to have as its `progress` and `progress_ns`: does it want to be called, how often
 * in nanoseconds; 0: never. */
uint64_t progress_interval_ns(const struct progress *progress);

/* The job is so far. */
void progress_show(struct progress *progress, const struct wh_mr_stats *stats);

/* The same for those who say so as often as they like: shows it when it is time. */
void progress_poll(struct progress *progress, const struct wh_mr_stats *stats);

/* Something else is to be written to standard error. */
void progress_clear(struct progress *progress);

/* The job has ended with `result`. */
void progress_end(struct progress *progress, const struct wh_mr_stats *stats, int result);

/* 1234567 as "1.23 MB". Returns `text`. */
const char *progress_size(char text[PROGRESS_SIZE_BYTES], uint64_t bytes);
