/* Runs a job in a runtime of its own. */
#include "examples/program.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <whorl/run.h>

static const char *name;

static void file_error(void *arg, const char *path, int err)
{
	(void)arg;
	fprintf(stderr, "%s: %s: %s\n", name, path, wh_mr_file_error_text(err));
}

/* The program's only task. */
static int run_job(void *arg)
{
	const struct wh_mr_job *job = arg;
	struct wh_mr_stats stats;
	int r = wh_mapreduce(job, &stats);

	if (r < 0)
		fprintf(stderr, "%s: %s%s%s\n", name, stats.why, *stats.why ? ": " : "",
			strerror(-r));
	return r < 0 || stats.files_failed > 0;
}

int run_program(const char *own_name, struct wh_mr_job *job, char **paths)
{
	int result, r;

	name = own_name;
	job->paths = (const char *const *)paths;
	while (paths[job->path_count])
		job->path_count++;
	job->file_error = file_error;
	r = wh_run(run_job, job, &(struct wh_run_opts){ .loops = 1 }, &result);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", name, wh_run_advice(r));
		return 1;
	}
	return fflush(stdout) == 0 ? result : 1;
}

int print_numbers(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	for (size_t i = 0; i < count; i++) {
		fwrite(rows[i].key.data, 1, rows[i].key.len, stdout);
		printf("\t%" PRIu64 "\n", rows[i].number);
	}
	return 0;
}

int print_values(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	for (size_t i = 0; i < count; i++) {
		fwrite(rows[i].key.data, 1, rows[i].key.len, stdout);
		putchar('\t');
		fwrite(rows[i].value.data, 1, rows[i].value.len, stdout);
		putchar('\n');
	}
	return 0;
}
