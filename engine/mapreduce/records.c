#include "mapreduce/records.h"

#include <string.h>

#include "mapreduce/words.h"

static size_t first_line(const uint8_t *data, size_t len, size_t from)
{
	const uint8_t *at = from <= len ? memchr(data + from - 1, '\n', len - from + 1) : NULL;

	return at ? (size_t)(at - data) + 1 : 0;
}

static size_t last_line(const uint8_t *data, size_t len)
{
	const uint8_t *at = memrchr(data, '\n', len);

	return at ? (size_t)(at - data) + 1 : 0;
}

static size_t last_custom(const struct wh_mr_job *job, const uint8_t *data, size_t len)
{
	size_t at = 0, took;

	do {
		took = job->record(job->arg, (struct wh_mr_bytes){ data + at, len - at }, false);
		at += took <= len - at ? took : 0;
	} while (took > 0 && at < len);
	return at;
}

size_t whi_records_first(const struct wh_mr_job *job, const uint8_t *data, size_t len, size_t from)
{
	if (job->records == WH_MR_LINES)
		return first_line(data, len, from);
	return whi_words_first(data, len, from - 1);
}

size_t whi_records_last(const struct wh_mr_job *job, const uint8_t *data, size_t len)
{
	switch (job->records) {
	case WH_MR_WORDS:
		return whi_words_last(data, len);
	case WH_MR_LINES:
		return last_line(data, len);
	case WH_MR_CUSTOM:
		return last_custom(job, data, len);
	}
	return 0;
}
