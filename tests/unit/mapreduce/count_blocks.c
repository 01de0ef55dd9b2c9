#include "unit/mapreduce/count_blocks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapreduce/mapper.h"
#include "mapreduce/output.h"
#include "mapreduce/source.h"
#include "support/row_text.h"

enum { MAPPERS_MAX = 4 };

struct counting {
	struct wh_mr_job job;
	struct whi_mapper_job shared;
	struct row_text text;
	struct whi_ngram_shared ngram;
	struct whi_why why;
	_Atomic bool stop;
	const uint8_t *data;
	size_t len;
	struct whi_mapper *mappers[MAPPERS_MAX];
	struct whi_run runs[WHI_PARTS];
};

/* As a file would be read: a piece at a time, to wherever the source wants. */
static int map_source(struct counting *counting, struct whi_mapper *mapper, uint64_t begin,
		      uint64_t end, size_t buffer_bytes)
{
	struct whi_buffer buf = { 0 };
	struct whi_source source;
	int r = whi_buffer_reserve(&buf, buffer_bytes);

	whi_source_init(&source, NULL, begin, end);
	while (r == 0 && !source.done) {
		size_t at = source.pos + buf.len;
		size_t left = at < counting->len ? counting->len - at : 0;
		size_t take = whi_source_want(&source, &buf);

		if (take > left)
			take = left;
		if (take)
			memcpy(buf.data + buf.len, counting->data + at, take);
		buf.len += take;
		r = whi_source_map(&source, mapper, &buf, take == 0);
	}
	whi_buffer_fini(&buf);
	return r;
}

static int map_all(struct counting *counting, const struct cuts *cuts)
{
	unsigned mappers = cuts->mappers ? cuts->mappers : 1, turn = 0;
	size_t step = cuts->split_bytes ? cuts->split_bytes : counting->len + 1;
	size_t buffer = cuts->buffer_bytes ? cuts->buffer_bytes : counting->len + 1;
	int r = 0;

	for (unsigned i = 0; i < mappers; i++) {
		counting->mappers[i] = whi_mapper_new(&counting->shared);
		if (!counting->mappers[i])
			return -1;
	}
	for (size_t begin = 0; begin < counting->len && r == 0; begin += step) {
		size_t end = begin + step < counting->len ? begin + step : counting->len;

		r = map_source(counting, counting->mappers[turn++ % mappers], begin, end, buffer);
	}
	for (unsigned i = 0; i < mappers && r == 0; i++)
		r = whi_mapper_flush(counting->mappers[i]);
	return r;
}

static int sort_part(struct counting *counting, unsigned index)
{
	struct whi_pool pool = { 0 };
	struct whi_rows rows;
	int r = whi_store_reduce(counting->shared.store, index, &pool);

	whi_pool_fini(&pool);
	if (r == 0)
		r = whi_rows_init(&rows, &counting->shared.store->parts[index], WH_MR_SUM);
	if (r < 0)
		return r;
	whi_rows_sort(&rows, &counting->job, &counting->stop);
	r = whi_run_init(&counting->runs[index], &rows, SIZE_MAX);
	whi_rows_fini(&rows);
	return r;
}

static int run(struct counting *counting, const struct cuts *cuts)
{
	struct whi_spill spill = { .stop = &counting->stop };
	struct whi_output output = { .job = &counting->job, .spill = &spill };
	int r = map_all(counting, cuts);

	for (unsigned i = 0; i < WHI_PARTS && r == 0; i++)
		r = sort_part(counting, i);
	if (r == 0)
		r = whi_runs_output(counting->runs, WHI_PARTS, UINT64_MAX, &output);
	return r;
}

static void take_options(struct counting *counting, const struct wh_mr_job *ngrams)
{
	counting->job.records = ngrams->records;
	counting->job.ngram_key = ngrams->ngram_key;
	counting->job.ngram_version = ngrams->ngram_version;
	counting->job.skip_bad = ngrams->skip_bad;
	counting->job.bypass = ngrams->bypass;
	counting->shared.ngram = &counting->ngram;
	counting->shared.why = &counting->why;
	if (counting->shared.store)
		counting->shared.store->combine = WHI_COMBINE_ADD_EXACT;
}

static void tell(struct ngrams_met *met, const struct counting *counting, int error)
{
	const struct whi_ngram_bad *first = NULL;

	*met = (struct ngrams_met){ .error = error };
	for (unsigned i = 0; i < MAPPERS_MAX && counting->mappers[i]; i++) {
		const struct whi_ngrams *ngrams = counting->mappers[i]->ngrams;

		met->records += ngrams->records;
		met->skipped += ngrams->skipped;
		met->bypassed += ngrams->bypass.passed;
		if (ngrams->bad.reason && (!first || whi_ngram_bad_before(&ngrams->bad, first)))
			first = &ngrams->bad;
	}
	if (!first)
		return;
	met->bad_offset = first->origin.offset;
	snprintf(met->text, sizeof(met->text), "%s", first->reason);
	met->reason = met->text;
}

char *count_blocks(const struct whi_words_kernel *kernel, const void *data, size_t len,
		   const struct cuts *cuts, size_t *ret_len)
{
	struct counting counting = { .data = data, .len = len };
	int r = -1;

	counting.job = (struct wh_mr_job){
		.words = cuts->words,
		.order = WH_MR_BY_VALUE,
		.output = row_text_add,
		.arg = &counting.text,
	};
	counting.shared = (struct whi_mapper_job){
		.job = &counting.job,
		.kernel = kernel,
		.store = whi_store_new(),
		.stop = &counting.stop,
		.l2_bytes = cuts->l2_bytes ? cuts->l2_bytes : 1 << 20,
	};
	whi_words_rule_init(&counting.shared.rule, cuts->words);
	if (cuts->ngrams)
		take_options(&counting, cuts->ngrams);
	if (counting.shared.store)
		r = run(&counting, cuts);
	if (cuts->met)
		tell(cuts->met, &counting, r);
	for (unsigned i = 0; i < WHI_PARTS; i++)
		whi_run_fini(&counting.runs[i]);
	for (unsigned i = 0; i < MAPPERS_MAX; i++)
		whi_mapper_free(counting.mappers[i]);
	whi_store_free(counting.shared.store);
	*ret_len = counting.text.len;
	if (r == 0)
		return counting.text.bytes ? counting.text.bytes : calloc(1, 1);
	row_text_fini(&counting.text);
	return NULL;
}
