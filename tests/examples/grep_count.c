/*
 * grep_count TEXT FILE...: in how many lines of each file TEXT is, most first; files without such a
 * line are left out. Directories are walked.
 *
 * Whatever the number of files, and however large one of them is, all workers share them: a line
 * knows which file it is of.
 */
#include <stdio.h>
#include <string.h>

#include "examples/program.h"

static int map(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	const char *text = arg;
	struct wh_mr_origin origin;

	if (!memmem(line.data, line.len, text, strlen(text)))
		return 0;
	wh_mr_origin(emitter, &origin);
	return wh_mr_emit_number(emitter, origin.path, strlen(origin.path), 1);
}

int main(int argc, char **argv)
{
	struct wh_mr_job job = {
		.records = WH_MR_LINES,
		.value = WH_MR_COUNT,
		.map = map,
		.order = WH_MR_BY_VALUE,
		.output = print_numbers,
		.arg = argv[1],
	};

	if (argc < 3) {
		fprintf(stderr, "usage: grep_count TEXT FILE...\n");
		return 2;
	}
	return run_program("grep_count", &job, argv + 2);
}
