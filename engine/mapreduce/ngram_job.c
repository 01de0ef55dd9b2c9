/* What the workers of a job that counts ngrams have met, put together. */
#include "mapreduce/job.h"

void whi_mr_ngrams_mapped(struct whi_mr *mr)
{
	const struct whi_ngram_bad *first = NULL;

	for (const struct whi_mapper *mapper = mr->mappers; mapper; mapper = mapper->next) {
		const struct whi_ngrams *ngrams = mapper->ngrams;

		mr->stats.skipped += ngrams->skipped;
		mr->stats.bypassed += ngrams->bypass.passed;
		if (ngrams->bad.reason && (!first || whi_ngram_bad_before(&ngrams->bad, first)))
			first = &ngrams->bad;
	}
	if (first && mr->job->bad_line)
		mr->job->bad_line(mr->job->arg,
				  &(struct wh_mr_bad_line){
					  .origin = first->origin,
					  .reason = first->reason,
					  .bytes = { first->excerpt, first->excerpt_len },
				  });
}
