/* Where records begin and end. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

/* Offset of the first record that begins at `from` or later, `from` >= 1, as far as `data` tells; 0
 * if it does not. Of WH_MR_FIXED, `from` is where a record begins: files are cut there. Not for
 * WH_MR_CUSTOM without `find`. */
size_t whi_records_first(const struct wh_mr_job *job, const uint8_t *data, size_t len, size_t from);

/* How many of the last `len` bytes of an input, which begin at a record, are records. */
size_t whi_records_whole(const struct wh_mr_job *job, size_t len);

/* Length of the whole records at the beginning of `data`, which begins at a record. */
size_t whi_records_last(const struct wh_mr_job *job, const uint8_t *data, size_t len);
