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
	size_t at = 0;

	while (at < len) {
		size_t took = job->record(job->arg, (struct wh_mr_bytes){ data + at, len - at },
					  false);

		if (took == 0 || took > len - at)
			break;
		at += took;
	}
	return at;
}

static size_t first_custom(const struct wh_mr_job *job, const uint8_t *data, size_t len,
			   size_t from)
{
	size_t first = 0;

	if (job->find && from <= len)
		first = job->find(job->arg, (struct wh_mr_bytes){ data, len }, from);
	return first >= from && first <= len ? first : 0;
}

size_t whi_records_first(const struct wh_mr_job *job, const uint8_t *data, size_t len, size_t from)
{
	switch (job->records) {
	case WH_MR_WORDS:
		return whi_words_first(job->words, data, len, from - 1);
	case WH_MR_LINES:
	case WH_MR_NGRAMS:
		return first_line(data, len, from);
	case WH_MR_FIXED:
		return from <= len ? from : 0;
	case WH_MR_CUSTOM:
		return first_custom(job, data, len, from);
	case WH_MR_FILES:
		break;
	}
	return 0;
}

size_t whi_records_whole(const struct wh_mr_job *job, size_t len)
{
	if (job->records == WH_MR_FIXED && !job->short_records)
		return len - len % job->record_bytes;
	return len;
}

size_t whi_records_last(const struct wh_mr_job *job, const uint8_t *data, size_t len)
{
	switch (job->records) {
	case WH_MR_WORDS:
		return whi_words_last(job->words, data, len);
	case WH_MR_LINES:
	case WH_MR_NGRAMS:
		return last_line(data, len);
	case WH_MR_FIXED:
		return len - len % job->record_bytes;
	case WH_MR_CUSTOM:
		return last_custom(job, data, len);
	case WH_MR_FILES:
		break;
	}
	return 0;
}
