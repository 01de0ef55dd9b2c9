/*
 * grep_count TEXT FILE...: in how many lines of each file TEXT is, most first; files without such a
 * line are left out. Directories are walked.
 *
 * Whatever the number of files, and however large one of them is, all workers share them. Lines
 * come many at a time, all of one file, which they know.
 */
#include <stdio.h>
#include <string.h>

#include "examples/program.h"

static int map_batch(void *arg, const struct wh_mr_bytes *lines, size_t count,
		     struct wh_mr_emitter *emitter)
{
	const char *text = arg;
	size_t text_len = strlen(text);
	struct wh_mr_origin origin;
	uint64_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += memmem(lines[i].data, lines[i].len, text, text_len) != NULL;
	if (!found)
		return 0;
	wh_mr_origin(emitter, &origin);
	return wh_mr_emit_number(emitter, origin.path, strlen(origin.path), found);
}

int main(int argc, char **argv)
{
	struct wh_mr_job job = {
		.records = WH_MR_LINES,
		.value = WH_MR_SUM,
		.map_batch = map_batch,
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
