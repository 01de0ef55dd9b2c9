/* Owns what is shown of a job while it runs. Each phase has a bar of its own: how long one takes
 * says nothing about the next, and one bar for all would stand still near its end.
 *
 * Nothing is shown of what is over within moments. */
#include "progress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <whorl/task.h>

#include "cli.h"

enum { BAR_CELLS = 24, LINE_SECONDS = 5, LEFT_BYTES = 32 };

#define BAR_NS (100 * WH_MS)
#define JSON_NS (500 * WH_MS)
#define LINE_NS (LINE_SECONDS * WH_SEC)

static const char *const phase_names[] = {
	[WH_MR_WALK] = "walk",
	[WH_MR_MAP] = "map",
	[WH_MR_REDUCE] = "reduce",
	[WH_MR_OUTPUT] = "output",
};

/* For people. */
static const char *const phase_texts[] = {
	[WH_MR_WALK] = "looking for files",
	[WH_MR_MAP] = "counting",
	[WH_MR_REDUCE] = "sorting",
	[WH_MR_OUTPUT] = "writing",
};

/* What `done` and `total` of a phase are; bytes have units of their own. */
static const char *const phase_units[] = {
	[WH_MR_WALK] = " files",
	[WH_MR_MAP] = NULL,
	[WH_MR_REDUCE] = " parts",
	[WH_MR_OUTPUT] = " rows",
};

const char *progress_size(char text[PROGRESS_SIZE_BYTES], uint64_t bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	double value = (double)bytes;
	unsigned unit = 0;
	int places = 0;

	for (; value >= 999.5; unit++)
		value /= 1000;
	if (unit > 0 && value < 99.95)
		places = value < 9.995 ? 2 : 1;
	snprintf(text, PROGRESS_SIZE_BYTES, "%.*f %s", places, value, units[unit]);
	return text;
}

int progress_init(struct progress *progress, const char *what, const char *how)
{
	static const char *const kinds[] = {
		[PROGRESS_NONE] = "none",
		[PROGRESS_BAR] = "bar",
		[PROGRESS_LINES] = "lines",
		[PROGRESS_JSON] = "json",
	};
	uint64_t now = wh_now_ns();

	*progress = (struct progress){
		.kind = isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_LINES,
		.what = what,
		.started_ns = now,
		.polled_ns = now,
	};
	if (!how || strcmp(how, "auto") == 0)
		return 0;
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(how, kinds[i]) != 0)
			continue;
		progress->kind = i;
		return 0;
	}
	cli_error("%s: --progress is none, auto, bar, lines or json, not '%s'", what, how);
	return EXIT_USAGE;
}

uint64_t progress_interval_ns(const struct progress *progress)
{
	switch (progress->kind) {
	case PROGRESS_NONE:
		return 0;
	case PROGRESS_BAR:
		return BAR_NS;
	case PROGRESS_LINES:
		return LINE_NS;
	case PROGRESS_JSON:
		return JSON_NS;
	}
	return 0;
}

static double seconds_between(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) / (double)WH_SEC : 0;
}

/* Of the phase, at the rate it had so far; negative: there is no telling. */
static double seconds_left(const struct wh_mr_stats *stats, uint64_t now)
{
	double passed = seconds_between(stats->phase_began_ns, now);

	if (stats->phase_total == 0 || stats->phase_done == 0 || passed <= 0)
		return -1;
	if (stats->phase_done >= stats->phase_total)
		return 0;
	return passed * (double)(stats->phase_total - stats->phase_done) /
	       (double)stats->phase_done;
}

static const char *left_text(char text[LEFT_BYTES], double seconds)
{
	unsigned long whole = (unsigned long)(seconds + 0.5);

	if (seconds < 0)
		return "";
	if (whole < 3600)
		snprintf(text, LEFT_BYTES, "  %lu:%02lu left", whole / 60, whole % 60);
	else
		snprintf(text, LEFT_BYTES, "  %lu:%02lu:%02lu left", whole / 3600, whole / 60 % 60,
			 whole % 60);
	return text;
}

static const char *amount(char text[PROGRESS_SIZE_BYTES], const struct wh_mr_stats *stats,
			  uint64_t number)
{
	if (!phase_units[stats->phase])
		return progress_size(text, number);
	snprintf(text, PROGRESS_SIZE_BYTES, "%" PRIu64, number);
	return text;
}

/* "42 %  450 MB of 1.07 GB  1.60 GB/s  0:03 left" */
static void put_figures(const struct wh_mr_stats *stats, uint64_t now)
{
	char done[PROGRESS_SIZE_BYTES], total[PROGRESS_SIZE_BYTES], rate[PROGRESS_SIZE_BYTES];
	const char *unit = phase_units[stats->phase];
	double passed = seconds_between(stats->phase_began_ns, now);
	char left[LEFT_BYTES];

	if (stats->phase_total)
		fprintf(stderr, "%3.0f %%  ",
			(double)stats->phase_done * 100 / (double)stats->phase_total);
	fputs(amount(done, stats, stats->phase_done), stderr);
	if (stats->phase_total)
		fprintf(stderr, " of %s", amount(total, stats, stats->phase_total));
	fputs(unit ? unit : "", stderr);
	if (!unit && passed > 0)
		fprintf(stderr, "  %s/s",
			progress_size(rate, (uint64_t)((double)stats->phase_done / passed)));
	fputs(left_text(left, seconds_left(stats, now)), stderr);
}

static void show_bar(struct progress *progress, const struct wh_mr_stats *stats, uint64_t now)
{
	char bar[BAR_CELLS + 1];
	unsigned full = 0;

	if (stats->phase_total)
		full = (unsigned)(stats->phase_done * BAR_CELLS / stats->phase_total);
	for (unsigned i = 0; i < BAR_CELLS; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR_CELLS] = 0;
	fprintf(stderr, "\r%s ", phase_texts[stats->phase]);
	if (stats->phase_total)
		fprintf(stderr, "[%s] ", bar);
	put_figures(stats, now);
	fputs("\033[K", stderr);
	progress->shown = true;
}

static void show_line(struct progress *progress, const struct wh_mr_stats *stats, uint64_t now)
{
	fprintf(stderr, "whorl: %s: %s: ", progress->what, phase_texts[stats->phase]);
	put_figures(stats, now);
	fputc('\n', stderr);
}

static void put_or_null(const char *name, double value, bool known)
{
	if (known)
		fprintf(stderr, ",\"%s\":%.3f", name, value);
	else
		fprintf(stderr, ",\"%s\":null", name);
}

static void put_json(const struct progress *progress, const struct wh_mr_stats *stats,
		     const char *status, uint64_t now)
{
	double seconds = seconds_between(progress->started_ns, now);
	double left = seconds_left(stats, now);

	fprintf(stderr, "{\"phase\":\"%s\"", status ? "end" : phase_names[stats->phase]);
	if (status)
		fprintf(stderr, ",\"status\":\"%s\"", status);
	fprintf(stderr, ",\"done\":%" PRIu64, stats->phase_done);
	if (stats->phase_total)
		fprintf(stderr, ",\"total\":%" PRIu64, stats->phase_total);
	else
		fputs(",\"total\":null", stderr);
	fprintf(stderr,
		",\"bytes\":%" PRIu64 ",\"bytes_unpacked\":%" PRIu64 ",\"files\":%" PRIu64
		",\"files_failed\":%" PRIu64,
		stats->bytes_done, stats->bytes_unpacked, stats->files, stats->files_failed);
	put_or_null("seconds", seconds, true);
	put_or_null("bytes_per_second", seconds > 0 ? (double)stats->bytes_done / seconds : 0,
		    seconds > 0);
	put_or_null("seconds_left", left, left >= 0);
	fputs("}\n", stderr);
}

void progress_show(struct progress *progress, const struct wh_mr_stats *stats)
{
	uint64_t now = wh_now_ns();

	switch (progress->kind) {
	case PROGRESS_NONE:
		break;
	case PROGRESS_BAR:
		show_bar(progress, stats, now);
		break;
	case PROGRESS_LINES:
		show_line(progress, stats, now);
		break;
	case PROGRESS_JSON:
		put_json(progress, stats, NULL, now);
		break;
	}
}

void progress_poll(struct progress *progress, const struct wh_mr_stats *stats)
{
	uint64_t now = wh_now_ns();

	if (progress->kind == PROGRESS_NONE ||
	    now - progress->polled_ns < progress_interval_ns(progress))
		return;
	progress->polled_ns = now;
	progress_show(progress, stats);
}

void progress_clear(struct progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", stderr);
	progress->shown = false;
}

void progress_end(struct progress *progress, const struct wh_mr_stats *stats, int result)
{
	const char *status = "failed";

	progress_clear(progress);
	if (progress->kind != PROGRESS_JSON)
		return;
	if (result == 0)
		status = "done";
	else if (result == -ECANCELED || result == -ETIMEDOUT)
		status = "interrupted";
	put_json(progress, stats, status, wh_now_ns());
}
