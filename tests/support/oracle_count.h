/* The independent count: slow, short and obviously right. Shares no code with the engine. */
#pragma once

#include <stddef.h>

/*
 * The words of `len` bytes, as the command prints them: `word<TAB>count<NEWLINE>`, count
 * descending, equal counts bytewise ascending. The caller frees the text; `*ret_len` is its length.
 */
char *oracle_count(const void *data, size_t len, size_t *ret_len);
