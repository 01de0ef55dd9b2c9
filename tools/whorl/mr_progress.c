#include "mr_progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include <whorl/run.h>

enum { BAR_CELLS = 24 };

#define BAR_NS (100 * WH_MS)
#define LINE_NS (5 * WH_SEC)

void mr_progress_init(struct mr_progress *progress)
{
	progress->is_terminal = isatty(STDERR_FILENO);
	progress->started_ns = progress->shown_ns = wh_now_ns();
}

void mr_progress_clear(struct mr_progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	progress->shown = false;
}

/* Reading is most of the work; what a reduce task costs is taken to be as much as a map task. */
static double share(const struct mr_progress *progress)
{
	double maps = progress->bytes_total
			      ? (double)progress->bytes_done / (double)progress->bytes_total
			      : 1;
	double weight = (double)progress->maps_total;
	double total = weight + (double)progress->reduces_total;

	return total > 0 ? (maps * weight + (double)progress->reduces) / total : 1;
}

static void show(const struct mr_progress *progress, double seconds)
{
	double done = (double)(progress->bytes_done - progress->bytes_before);

	fprintf(stderr,
		"%3.0f %%  map %" PRIu32 "/%" PRIu32 "  reduce %" PRIu32 "/%" PRIu32
		"  %.1f of %.1f MB  %.1f MB/s",
		share(progress) * 100, progress->maps, progress->maps_total, progress->reduces,
		progress->reduces_total, (double)progress->bytes_done / 1e6,
		(double)progress->bytes_total / 1e6, seconds > 0 ? done / 1e6 / seconds : 0);
}

static void show_bar(const struct mr_progress *progress)
{
	char bar[BAR_CELLS + 1] = { 0 };

	for (unsigned i = 0; i < BAR_CELLS; i++)
		bar[i] = i < (unsigned)(share(progress) * BAR_CELLS) ? '#' : '.';
	fprintf(stderr, "\r[%s] ", bar);
}

static double seconds_since(uint64_t start_ns, uint64_t now)
{
	return (double)(now - start_ns) / (double)WH_SEC;
}

void mr_progress_show(struct mr_progress *progress)
{
	uint64_t now = wh_now_ns();

	if (now - progress->shown_ns < (progress->is_terminal ? BAR_NS : LINE_NS))
		return;
	progress->shown_ns = now;
	if (progress->is_terminal)
		show_bar(progress);
	else
		fputs("whorl: mr run: ", stderr);
	show(progress, seconds_since(progress->started_ns, now));
	fputs(progress->is_terminal ? "\033[K" : "\n", stderr);
	progress->shown = progress->is_terminal;
}

void mr_progress_end(struct mr_progress *progress)
{
	mr_progress_clear(progress);
	if (progress->is_terminal)
		fprintf(stderr,
			"whorl: mr run: %" PRIu32 " map and %" PRIu32 " reduce tasks, "
			"%.1f MB, %.2f s\n",
			progress->maps_total, progress->reduces_total,
			(double)progress->bytes_total / 1e6,
			seconds_since(progress->started_ns, wh_now_ns()));
}
