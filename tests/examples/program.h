/* What the examples have in common: a job that is a whole program. */
#pragma once

#include <whorl/mapreduce.h>

/* Run `job` on the files that `paths`, which ends in NULL, names, and complain to standard error as
 * `name`. Returns the exit status: 0; 1 if something could not be read or the job failed. */
int run_program(const char *name, struct wh_mr_job *job, char **paths);

/* A wh_mr_output_fn: `key<TAB>number`, a line each. */
int print_numbers(void *arg, const struct wh_mr_row *rows, size_t count);

/* A wh_mr_output_fn: `key<TAB>value`, a line each. */
int print_values(void *arg, const struct wh_mr_row *rows, size_t count);
