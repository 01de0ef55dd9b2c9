/* What the files of whorl ngram share. */
#pragma once

#include <stdint.h>
#include <whorl/mapreduce.h>

/* Say what is wrong with a bad line, and where: with its number, if its file holds it as it was
 * read. */
void ngram_say_bad(const struct wh_mr_bad_line *bad);
