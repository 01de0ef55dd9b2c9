#include "mapreduce/ngram_told.h"

#include <stdio.h>
#include <string.h>

void whi_ngram_tell(const struct whi_ngrams *ngrams, uint64_t file, struct whi_ngram_told *ret)
{
	const struct whi_ngram_bad *bad = &ngrams->bad;

	*ret = (struct whi_ngram_told){
		.skipped = ngrams->skipped,
		.bypassed = ngrams->bypass.passed,
		.version = ngrams->version,
	};
	if (!bad->reason)
		return;
	ret->file = file;
	ret->block = bad->origin.block;
	ret->offset = bad->origin.offset;
	ret->excerpt_len = bad->excerpt_len;
	memcpy(ret->excerpt, bad->excerpt, bad->excerpt_len);
	snprintf(ret->reason, sizeof(ret->reason), "%s", bad->reason);
}

void whi_ngram_forget(struct whi_ngrams *ngrams, enum wh_mr_ngram_version version)
{
	atomic_store_explicit(&ngrams->shared->version, (int)version, memory_order_relaxed);
	atomic_store_explicit(&ngrams->shared->first, NULL, memory_order_relaxed);
	ngrams->version = version;
	ngrams->skipped = 0;
	ngrams->bypass.passed = 0;
	ngrams->bad = (struct whi_ngram_bad){ 0 };
}
