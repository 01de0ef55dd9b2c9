/* The rows of a job as text, to be compared with what is expected. */
#pragma once

#include <stddef.h>
#include <whorl/mapreduce.h>

/* All zero is valid and empty. */
struct row_text {
	char *bytes;
	size_t len;
	size_t room;
	size_t rows;
	bool has_values; /* rows are `key<TAB>value`, else `key<TAB>sum` */
};

/* A wh_mr_output_fn; `arg` is a struct row_text. */
int row_text_add(void *arg, const struct wh_mr_row *rows, size_t count);

void row_text_fini(struct row_text *text);
