/* What commands that read ngram files share. */
#pragma once

#include <whorl/mapreduce.h>

/* What is wrong with which line, for a person. Reads the file for the line's number, where that can
 * be told. The caller frees it. NULL when out of memory. */
char *ngram_bad_text(const struct wh_mr_bad_line *bad);

/* Say that; `who` says it: "ngram". */
void ngram_say_bad(const char *who, const struct wh_mr_bad_line *bad);
