/* Owns the texts of what can be wrong with a job. A text is written once and read when all workers
 * are through: the one that writes it needs no lock. */
#include "mapreduce/why.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int whi_why(struct whi_why *why, int error, const char *format, ...)
{
	va_list args;

	if (atomic_exchange_explicit(&why->taken, true, memory_order_relaxed))
		return error;
	va_start(args, format);
	vsnprintf(why->text, sizeof(why->text), format, args);
	va_end(args);
	return error;
}

static const char *name_of(const char *path)
{
	return strcmp(path, "-") == 0 ? "standard input" : path;
}

int whi_why_at(struct whi_why *why, int error, const struct wh_mr_origin *origin, const char *what)
{
	if (origin->path)
		return whi_why(why, error, "%s at byte %" PRIu64 " of %s", what, origin->offset,
			       name_of(origin->path));
	return whi_why(why, error, "%s at byte %" PRIu64 " of generated block %" PRIu64, what,
		       origin->offset, origin->block);
}

static const char *ngrams_fault(const struct wh_mr_job *job)
{
	if (job->map || job->map_batch || job->value != WH_MR_SUM)
		return "records = WH_MR_NGRAMS goes with value = WH_MR_SUM and without map";
	if (job->ngram_version > WH_MR_NGRAM_2020 || job->ngram_key > WH_MR_BY_NGRAM_AND_YEAR ||
	    job->bypass > WH_MR_BYPASS_NEVER)
		return "ngram_version, ngram_key or bypass is none of its kind";
	return NULL;
}

/* What is wrong with the input and its records. */
static const char *records_fault(const struct wh_mr_job *job)
{
	if (job->path_count && !job->paths)
		return "path_count is given without paths";
	if (job->generate_count && !job->generate)
		return "generate_count is given without generate";
	if (job->records > WH_MR_FILES)
		return "records is none of the WH_MR_ kinds of records";
	if ((job->records == WH_MR_CUSTOM) != (job->record != NULL))
		return "record goes with records = WH_MR_CUSTOM, and the other way round";
	if (job->find && job->records != WH_MR_CUSTOM)
		return "find goes with records = WH_MR_CUSTOM only";
	if ((job->records == WH_MR_FIXED) != (job->record_bytes != 0))
		return "record_bytes goes with records = WH_MR_FIXED, and the other way round";
	if (job->short_records && job->records != WH_MR_FIXED)
		return "short_records goes with records = WH_MR_FIXED only";
	if (job->map && job->map_batch)
		return "map and map_batch are two ways to say one thing: leave one of them out";
	if (job->records == WH_MR_FILES && !job->map)
		return "records = WH_MR_FILES needs a map, and takes no map_batch";
	if (job->ranges && (job->records == WH_MR_FILES || job->records == WH_MR_FIXED ||
			    (job->records == WH_MR_CUSTOM && !job->find)))
		return "ranges go with records that can begin anywhere: not with WH_MR_FILES, "
		       "WH_MR_FIXED, or WH_MR_CUSTOM without find";
	if (job->records == WH_MR_FILES && job->generate)
		return "records = WH_MR_FILES takes paths, not generate";
	return NULL;
}

static const char *values_fault(const struct wh_mr_job *job)
{
	if (job->value > WH_MR_BYTES)
		return "value is none of the WH_MR_ kinds of values";
	if ((job->combine || job->reduce) && job->value != WH_MR_BYTES)
		return "combine and reduce go with value = WH_MR_BYTES; numbers need none";
	if (job->exact && job->value != WH_MR_SUM)
		return "exact goes with value = WH_MR_SUM";
	if (job->arg_bytes && !job->arg)
		return "arg_bytes is given without arg";
	if (job->processes && job->direct)
		return "processes read through the page cache: leave processes or direct out";
	if (!job->format != !job->write || (job->format && job->output))
		return "format and write go together, and take the place of output";
	if (job->order > WH_MR_BY_VALUE)
		return "order is none of the WH_MR_ orders";
	return NULL;
}

static const char *words_fault(const struct wh_mr_words *words)
{
	uint64_t all = UINT64_MAX, any = 0;

	for (unsigned i = 0; i < 4; i++) {
		all &= words->bytes[i];
		any |= words->bytes[i];
	}
	if (!any)
		return "words says that no byte belongs to words; see wh_mr_words_parse";
	return all == UINT64_MAX ? "words says that every byte belongs to words: nothing would "
				   "separate them"
				 : NULL;
}

int whi_why_options(struct whi_why *why, const struct wh_mr_job *job)
{
	const char *fault = records_fault(job);

	if (!fault && job->words)
		fault = words_fault(job->words);
	if (!fault)
		fault = values_fault(job);
	if (!fault && job->records == WH_MR_NGRAMS)
		fault = ngrams_fault(job);
	return fault ? whi_why(why, -EINVAL, "%s", fault) : 0;
}

const char *wh_mr_file_error_text(int err)
{
	switch (err) {
	case -ESTALE:
		return "it became shorter, or changed, while it was read";
	case -ENODATA:
		return "its length is no multiple of the record length";
	case -ENAMETOOLONG:
		return "File name too long: its path is; start from a folder further down";
	case -EIO:
		return "Input/output error: the device did not give it; the kernel's log says why";
	default:
		return strerror(-err);
	}
}
