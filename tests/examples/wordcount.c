/*
 * wordcount FILE...: how often each word occurs, most frequent first. Directories are walked; - is
 * standard input.
 *
 * Words are what records are unless a job says otherwise, and without a map a record is a key that
 * counts once: the whole job is its defaults.
 */
#include <stdio.h>

#include "examples/program.h"

int main(int argc, char **argv)
{
	struct wh_mr_job job = {
		.order = WH_MR_BY_VALUE,
		.output = print_numbers,
	};

	if (argc < 2) {
		fprintf(stderr, "usage: wordcount FILE...\n");
		return 2;
	}
	return run_program("wordcount", &job, argv + 1);
}
