#include "explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <whorl/task.h>

#include "progress.h"

enum { PLACES = 3 };

static double seconds_of(uint64_t ns)
{
	return (double)ns / (double)WH_SEC;
}

static const char *order_text(enum wh_mr_order order)
{
	switch (order) {
	case WH_MR_UNORDERED:
		return "none";
	case WH_MR_BY_KEY:
		return "by key";
	case WH_MR_BY_VALUE:
		return "by count, most frequent first, equal ones by key";
	}
	return "";
}

static void put_plan_input(const struct wh_mr_plan *plan)
{
	char bytes[PROGRESS_SIZE_BYTES], split[PROGRESS_SIZE_BYTES];

	fprintf(stderr, "  input     %" PRIu64 " files, %s", plan->files,
		progress_size(bytes, plan->bytes));
	if (plan->streams)
		fprintf(stderr, "; %" PRIu64 " without a known end", plan->streams);
	if (plan->compressed)
		fprintf(stderr, "; %" PRIu64 " large ones compressed", plan->compressed);
	fprintf(stderr, "\n  splits    %" PRIu64 ", of %s at most, or half more\n", plan->splits,
		progress_size(split, plan->split_bytes));
}

void explain_plan(const struct wh_mr_plan *plan, const struct wh_mr_job *job)
{
	char memory[PROGRESS_SIZE_BYTES], front[PROGRESS_SIZE_BYTES];

	fputs("plan\n", stderr);
	put_plan_input(plan);
	fprintf(stderr, "  workers   %u%s\n", plan->workers,
		job->workers ? "" : ": the CPUs this process may use");
	if (job->processes)
		fprintf(stderr, "  processes %u, which count; the workers do the rest\n",
			job->processes);
	fprintf(stderr, "  kernel    %s: %s\n", plan->isa,
		plan->isa_chosen ? "asked for by --isa or WHORL_ISA"
				 : "the best that this processor runs");
	fprintf(stderr, "  front     a table a worker for %s of second-level cache\n",
		progress_size(front, plan->front_bytes));
	fprintf(stderr, "  memory    %s%s; what does not fit goes to files in %s\n",
		progress_size(memory, plan->memory_max),
		job->memory_max ? "" : ": a quarter of what this process may use",
		plan->tmp_dir ? plan->tmp_dir : "the temporary folder");
	fprintf(stderr, "  reading   %s%s\n",
		job->direct ? "large files past the page cache" : "through the page cache",
		job->no_decompress ? "; compressed files as they are" : "");
	fprintf(stderr, "  order     %s", order_text(job->order));
	if (job->rows_max)
		fprintf(stderr, "; the first %" PRIu64 " rows", job->rows_max);
	fputc('\n', stderr);
}

static void put_time(const char *name, uint64_t ns, uint64_t of_ns)
{
	if (ns == 0)
		return;
	fprintf(stderr, "  %-10s %8.*f", name, PLACES, seconds_of(ns));
	if (of_ns)
		fprintf(stderr, "  %3.0f %%", (double)ns * 100 / (double)of_ns);
	fputc('\n', stderr);
}

static void put_phases(const struct wh_mr_times *times)
{
	static const char *const names[WH_MR_PHASES] = {
		[WH_MR_WALK] = "find files",
		[WH_MR_MAP] = "count",
		[WH_MR_REDUCE] = "reduce",
		[WH_MR_OUTPUT] = "output",
	};

	fputs("phases     wall s    CPU s\n", stderr);
	for (unsigned i = 0; i < WH_MR_PHASES; i++)
		fprintf(stderr, "  %-10s %6.*f %8.*f\n", names[i], PLACES,
			seconds_of(times->wall_ns[i]), PLACES, seconds_of(times->cpu_ns[i]));
}

static void put_steps(const struct wh_mr_stats *stats, bool processes)
{
	const struct wh_mr_times *times = &stats->times;
	uint64_t all = times->read_ns + times->decode_ns + times->tokenize_ns + times->count_ns +
		       times->merge_ns + stats->sort_ns + stats->spill_ns + stats->merge_ns +
		       stats->format_ns + stats->write_ns;

	fprintf(stderr, "steps, of %u worker%s%s together, s\n", stats->workers,
		stats->workers == 1 ? "" : "s", processes ? " and all processes" : "");
	put_time("read", times->read_ns, all);
	put_time("decompress", times->decode_ns, all);
	put_time("tokenise", times->tokenize_ns, all);
	put_time("count", times->count_ns, all);
	put_time("partition", times->merge_ns, all);
	put_time("spill", stats->spill_ns, all);
	put_time("merge", stats->merge_ns, all);
	put_time("sort", stats->sort_ns, all);
	put_time("format", stats->format_ns, all);
	put_time("write", stats->write_ns, all);
}

static void put_memory(const struct wh_mr_stats *stats)
{
	const struct wh_mr_spill *spill = &stats->spill;
	char held[PROGRESS_SIZE_BYTES], most[PROGRESS_SIZE_BYTES], written[PROGRESS_SIZE_BYTES];

	fprintf(stderr, "memory\n  counts held %s of %s\n", progress_size(held, spill->memory_held),
		progress_size(most, spill->memory_max));
	if (spill->bytes_written == 0)
		fputs("  spilled nothing\n", stderr);
	else
		fprintf(stderr, "  spilled %s of %u partitions to %s, in %" PRIu64 " pieces\n",
			progress_size(written, spill->bytes_written), spill->partitions,
			spill->tmp_dir ? spill->tmp_dir : "files", spill->extents);
}

static void put_skew(const struct wh_mr_skew *skew)
{
	char min[PROGRESS_SIZE_BYTES], median[PROGRESS_SIZE_BYTES], max[PROGRESS_SIZE_BYTES];

	fputs("partitions    min   median      max\n", stderr);
	fprintf(stderr, "  rows   %8" PRIu64 " %8" PRIu64 " %8" PRIu64 "\n", skew->rows_min,
		skew->rows_median, skew->rows_max);
	fprintf(stderr, "  bytes  %8s %8s %8s\n", progress_size(min, skew->bytes_min),
		progress_size(median, skew->bytes_median), progress_size(max, skew->bytes_max));
}

static void put_reading(const struct wh_mr_stats *stats, const struct wh_mr_job *job)
{
	char bytes[PROGRESS_SIZE_BYTES];

	if (stats->bytes_unpacked)
		fprintf(stderr, "  decompressed to %s\n",
			progress_size(bytes, stats->bytes_unpacked));
	if (stats->bytes_direct)
		fprintf(stderr, "  read past the page cache: %s\n",
			progress_size(bytes, stats->bytes_direct));
	if (stats->times.counted)
		fprintf(stderr, "  front table: %.2f %% of %" PRIu64 " %s were there already\n",
			100 - (double)stats->times.entered * 100 / (double)stats->times.counted,
			stats->times.counted, job->records == WH_MR_NGRAMS ? "keys" : "words");
	if (stats->processes_died)
		fprintf(stderr, "  processes: %" PRIu64 " died, and were replaced\n",
			stats->processes_died);
	if (stats->bypassed)
		fprintf(stderr, "  bypass: %" PRIu64 " keys went to partitions at once\n",
			stats->bypassed);
}

void explain_result(const struct wh_mr_stats *stats, const struct wh_mr_job *job, double seconds)
{
	char bytes[PROGRESS_SIZE_BYTES], rate[PROGRESS_SIZE_BYTES];

	fprintf(stderr, "result\n  %s in %.3f s, %s/s\n", progress_size(bytes, stats->bytes_done),
		seconds, progress_size(rate, (uint64_t)((double)stats->bytes_done / seconds)));
	put_reading(stats, job);
	put_phases(&stats->times);
	put_steps(stats, job->processes > 0);
	put_memory(stats);
	put_skew(&stats->skew);
}
