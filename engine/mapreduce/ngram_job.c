/* What a job that counts ngrams has met, put together: by its workers, by other processes, and by
 * the processes that it goes on from. */
#include <string.h>

#include "mapreduce/job.h"

static const char *path_of(const struct whi_mr *mr, uint64_t file)
{
	if (file >= mr->input.file_count)
		return NULL;
	return mr->input.files[file].path ? mr->input.files[file].path : "-";
}

/* The number of the file that a mapper called so. */
static uint64_t file_of(const struct whi_mr *mr, const char *path)
{
	for (size_t i = 0; path && i < mr->input.file_count; i++)
		if (strcmp(path_of(mr, i), path) == 0)
			return i;
	return WHI_NGRAM_NO_FILE;
}

static struct whi_ngram_bad bad_of(const struct whi_mr *mr, const struct whi_ngram_told *told)
{
	return (struct whi_ngram_bad){
		.origin = { .path = path_of(mr, told->file),
			    .block = told->block,
			    .offset = told->offset },
		.reason = told->reason[0] ? told->reason : NULL,
	};
}

void whi_mr_ngrams_add(const struct whi_mr *mr, struct whi_ngram_told *told,
		       const struct whi_ngram_told *more)
{
	const struct whi_ngram_bad a = bad_of(mr, more), b = bad_of(mr, told);
	const struct whi_ngram_told before = *told;

	if (whi_ngram_bad_before(&a, &b))
		*told = *more;
	told->skipped = before.skipped + more->skipped;
	told->bypassed = before.bypassed + more->bypassed;
	told->version = before.version ? before.version : more->version;
}

struct whi_ngram_told whi_mr_ngrams_told(const struct whi_mr *mr)
{
	struct whi_ngram_told told = mr->ngrams_told, more;

	for (const struct whi_mapper *mapper = mr->mappers; mapper; mapper = mapper->next) {
		if (!mapper->ngrams)
			continue;
		whi_ngram_tell(mapper->ngrams, file_of(mr, mapper->ngrams->bad.origin.path), &more);
		whi_mr_ngrams_add(mr, &told, &more);
	}
	return told;
}

void whi_mr_ngrams_mapped(struct whi_mr *mr)
{
	const struct whi_ngram_told told = whi_mr_ngrams_told(mr);
	const struct whi_ngram_bad bad = bad_of(mr, &told);

	mr->stats.skipped = told.skipped;
	mr->stats.bypassed = told.bypassed;
	mr->stats.ngram_version = (enum wh_mr_ngram_version)told.version;
	if (bad.reason && mr->job->bad_line)
		mr->job->bad_line(mr->job->arg, &(struct wh_mr_bad_line){
							.origin = bad.origin,
							.reason = bad.reason,
							.bytes = { told.excerpt, told.excerpt_len },
						});
}
