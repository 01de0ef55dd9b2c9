/* Owns the loop over the records of a block of bytes, and what a worker has emitted but not yet
 * given to the partitions. */
#include "mapreduce/mapper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/records.h"
#include "mapreduce/unicode.h"
#include "mapreduce/whole.h"

/* Words are counted without ever being records. */
static bool is_fused(const struct whi_mapper *mapper)
{
	const struct wh_mr_job *job = mapper->shared->job;

	return job->records == WH_MR_WORDS && !job->map && !job->map_batch &&
	       (job->value == WH_MR_SUM || job->value == WH_MR_COUNT);
}

/* What this kind of job needs. */
static int add_tables(struct whi_mapper *mapper)
{
	const struct whi_mapper_job *shared = mapper->shared;
	const struct wh_mr_job *job = shared->job;

	if (job->value != WH_MR_BYTES) {
		mapper->front = whi_front_new(&mapper->writer, shared->l2_bytes);
		if (!mapper->front)
			return -ENOMEM;
		mapper->front->timed = shared->times != NULL;
	}
	if (job->records == WH_MR_NGRAMS) {
		mapper->ngrams = whi_ngrams_new(job, shared->ngram, mapper->front,
						shared->kernel->name);
		return mapper->ngrams ? 0 : -ENOMEM;
	}
	if (is_fused(mapper))
		return 0;
	if (job->value != WH_MR_BYTES) {
		mapper->numbers = whi_numbers_new(mapper->front, shared->kernel, &shared->rule,
						  job->value, &mapper->emitter.gather);
		mapper->emitter.numbers = mapper->numbers;
		if (!mapper->numbers)
			return -ENOMEM;
	}
	mapper->found = whi_alloc(sizeof(*mapper->found));
	if (!mapper->found)
		return -ENOMEM;
	mapper->found->count = 0;
	mapper->found->bytes = 0;
	return 0;
}

struct whi_mapper *whi_mapper_new(const struct whi_mapper_job *shared)
{
	struct whi_mapper *mapper = whi_calloc(1, sizeof(*mapper));

	if (!mapper)
		return NULL;
	mapper->shared = shared;
	whi_writer_init(&mapper->writer, shared->store);
	mapper->emitter = (struct wh_mr_emitter){
		.job = shared->job,
		.mode = WHI_EMIT_MAP,
		.writer = &mapper->writer,
		.stop = shared->stop,
	};
	if (add_tables(mapper) == 0)
		return mapper;
	whi_mapper_free(mapper);
	return NULL;
}

void whi_mapper_free(struct whi_mapper *mapper)
{
	if (!mapper)
		return;
	whi_ngrams_free(mapper->ngrams);
	whi_numbers_free(mapper->numbers);
	whi_free(mapper->found);
	whi_words_text_fini(&mapper->text);
	whi_front_free(mapper->front);
	whi_writer_fini(&mapper->writer);
	whi_buffer_fini(&mapper->buf);
	whi_free(mapper);
}

void whi_mapper_from(struct whi_mapper *mapper, const struct wh_mr_origin *origin)
{
	mapper->emitter.origin = *origin;
}

static int failed(struct whi_mapper *mapper, int error, const char *what)
{
	const struct whi_whole *whole = mapper->emitter.whole;
	struct wh_mr_origin origin;

	if (whole && whole->error)
		return error;
	/* Told to stop, it did. */
	if (error == -ECANCELED && wh_mr_stopped(&mapper->emitter))
		return error;
	wh_mr_origin(&mapper->emitter, &origin);
	return whi_why_at(mapper->shared->why, error, &origin, what);
}

/* Apart, so that the way of every record needs no frame for it. */
__attribute__((noinline, cold)) static int record_failed(struct whi_mapper *mapper, int error)
{
	return failed(mapper, error, "map failed for the record");
}

__attribute__((noinline, cold)) static int batch_failed(struct whi_mapper *mapper, size_t count,
							int error)
{
	char what[64];

	snprintf(what, sizeof(what), "map_batch failed for one of %zu records, the first", count);
	return failed(mapper, error, what);
}

static int map_each(struct whi_mapper *mapper, const struct wh_mr_bytes *records, size_t count)
{
	const _Atomic bool *stop = mapper->shared->stop;
	const wh_mr_map_fn map = mapper->shared->job->map;
	void *arg = mapper->shared->job->arg;

	for (size_t i = 0; i < count; i++) {
		int r;

		if (atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
		mapper->emitter.record = records[i].data;
		r = map(arg, records[i], &mapper->emitter);
		if (whi_unlikely(r < 0))
			return record_failed(mapper, r);
	}
	return 0;
}

static int map_together(struct whi_mapper *mapper, const struct wh_mr_bytes *records, size_t count)
{
	const struct wh_mr_job *job = mapper->shared->job;
	int r;

	mapper->emitter.record = records[0].data;
	r = job->map_batch(job->arg, records, count, &mapper->emitter);
	return r < 0 ? batch_failed(mapper, count, r) : 0;
}

/* What a job without a map of its own does. */
static int emit_each(struct whi_mapper *mapper, const struct wh_mr_bytes *records, size_t count)
{
	struct wh_mr_emitter *emitter = &mapper->emitter;
	int r = 0;

	if (mapper->numbers)
		return wh_mr_emit_numbers(emitter, records, NULL, count);
	for (size_t i = 0; i < count && r == 0; i++)
		r = wh_mr_emit(emitter, records[i], (struct wh_mr_bytes){ 0 });
	return r;
}

static int map_records(struct whi_mapper *mapper, const struct wh_mr_bytes *records, size_t count)
{
	const struct wh_mr_job *job = mapper->shared->job;

	if (atomic_load_explicit(mapper->shared->stop, memory_order_relaxed))
		return -ECANCELED;
	if (job->map_batch)
		return map_together(mapper, records, count);
	return job->map ? map_each(mapper, records, count) : emit_each(mapper, records, count);
}

int whi_mapper_map_record(struct whi_mapper *mapper, const void *data, size_t len)
{
	const struct wh_mr_bytes record = { data, len };

	mapper->emitter.block = data;
	return map_records(mapper, &record, 1);
}

/* Keys in these bytes, which records are in, need not be copied until `leave`. */
static void enter(struct whi_mapper *mapper, const uint8_t *data, size_t len)
{
	if (mapper->numbers)
		whi_numbers_enter(mapper->numbers, data, len);
}

static int leave(struct whi_mapper *mapper, int r)
{
	int left = mapper->numbers ? whi_numbers_leave(mapper->numbers) : 0;

	return r < 0 ? r : left;
}

/* Map what has been found so far. */
static int map_found(struct whi_mapper *mapper)
{
	struct whi_found *found = mapper->found;
	const struct wh_mr_bytes *records = found->records;
	const struct wh_mr_bytes *last = records + found->count - 1;
	size_t count = found->count;
	const uint8_t *begin;

	if (count == 0)
		return 0;
	found->count = 0;
	found->bytes = 0;
	begin = records->data;
	enter(mapper, begin, (size_t)((const uint8_t *)last->data + last->len - begin));
	return leave(mapper, map_records(mapper, records, count));
}

/* A record was found. Few large ones are a batch too: they are mapped before they have left the
 * cache. */
static inline int add_found(struct whi_mapper *mapper, const uint8_t *data, size_t len)
{
	struct whi_found *found = mapper->found;

	found->records[found->count++] = (struct wh_mr_bytes){ data, len };
	found->bytes += len;
	if (found->count < WH_MR_BATCH_MAX && found->bytes < WHI_REGION_BYTES)
		return 0;
	return map_found(mapper);
}

/* The words of a region. */
static int map_region(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	const struct whi_words_kernel *kernel = mapper->shared->kernel;
	struct whi_found *found = mapper->found;
	size_t left =
		whi_words_borders_of(kernel, &mapper->shared->rule, found->borders, data, len) / 2;
	int r = 0;

	enter(mapper, data, len);
	for (const uint16_t *at = found->borders; left && r == 0;) {
		size_t count = left < WH_MR_BATCH_MAX ? left : WH_MR_BATCH_MAX;

		kernel->list(found->records, at, count, data);
		r = map_records(mapper, found->records, count);
		at += 2 * count;
		left -= count;
	}
	return leave(mapper, r);
}

/* A word that is longer than a region. */
static int map_giant(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	len = whi_words_giant(&mapper->shared->rule, data, len);
	return add_found(mapper, data, len);
}

static int map_words(struct whi_mapper *mapper, uint8_t *data, size_t len);

/* The words of some whole words that are not all ASCII. */
static int map_rewritten(struct whi_mapper *mapper, const uint8_t *data, size_t len)
{
	ssize_t r = whi_words_rewrite(&mapper->shared->rule, &mapper->text, data, len);

	if (r <= 0)
		return (int)r;
	mapper->emitter.rewritten = data;
	r = map_words(mapper, mapper->text.data, (size_t)r);
	mapper->emitter.rewritten = NULL;
	return (int)r;
}

static int map_words(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	const struct whi_words_rule *rule = &mapper->shared->rule;

	while (len > 0) {
		size_t take = whi_words_region(rule, data, len);
		int r;

		if (rule->words.unicode && !mapper->emitter.rewritten &&
		    whi_unicode_needed(data, take))
			r = map_rewritten(mapper, data, take);
		else if (take <= WHI_REGION_BYTES)
			r = map_region(mapper, data, take);
		else
			r = map_giant(mapper, data, take);
		if (r < 0)
			return r;
		data += take;
		len -= take;
	}
	return 0;
}

static int map_lines(struct whi_mapper *mapper, const uint8_t *data, size_t len)
{
	const uint8_t *end = data + len;

	while (data < end) {
		const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
		size_t line = (size_t)((newline ? newline : end) - data);
		int r = add_found(mapper, data, line);

		if (r < 0)
			return r;
		data += line + 1;
	}
	return map_found(mapper);
}

static int map_custom(struct whi_mapper *mapper, const uint8_t *data, size_t len)
{
	const struct wh_mr_job *job = mapper->shared->job;

	while (len > 0) {
		size_t took = job->record(job->arg, (struct wh_mr_bytes){ data, len }, true);
		int r;

		if (took == 0 || took > len)
			took = len;
		r = add_found(mapper, data, took);
		if (r < 0)
			return r;
		data += took;
		len -= took;
	}
	return map_found(mapper);
}

/* Also the last one, which may be shorter. */
static int map_fixed(struct whi_mapper *mapper, const uint8_t *data, size_t len)
{
	size_t record = mapper->shared->job->record_bytes;

	while (len > 0) {
		size_t take = record < len ? record : len;
		int r = add_found(mapper, data, take);

		if (r < 0)
			return r;
		data += take;
		len -= take;
	}
	return map_found(mapper);
}

static int count_words(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	if (atomic_load_explicit(mapper->shared->stop, memory_order_relaxed))
		return -ECANCELED;
	whi_words_count(mapper->shared->kernel, &mapper->shared->rule, mapper->front, data, len);
	return mapper->front->error;
}

static int count_ngrams(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	int r;

	if (atomic_load_explicit(mapper->shared->stop, memory_order_relaxed))
		return -ECANCELED;
	r = whi_ngrams_map(mapper->ngrams, data, len, &mapper->emitter.origin);
	if (r == -EBADMSG)
		whi_why_at(mapper->shared->why, r, &mapper->ngrams->bad.origin,
			   mapper->ngrams->bad.reason);
	return r;
}

static int map_block(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	const struct wh_mr_job *job = mapper->shared->job;

	switch (job->records) {
	case WH_MR_WORDS:
		if (is_fused(mapper))
			return count_words(mapper, data, len);
		return map_words(mapper, data, len);
	case WH_MR_LINES:
		return map_lines(mapper, data, len);
	case WH_MR_FIXED:
		return map_fixed(mapper, data, len);
	case WH_MR_NGRAMS:
		return count_ngrams(mapper, data, len);
	case WH_MR_CUSTOM:
		return map_custom(mapper, data, len);
	case WH_MR_FILES:
		break;
	}
	return -EINVAL;
}

int whi_mapper_map(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	uint64_t began = whi_step_begin(mapper->shared->times);
	int r;

	mapper->emitter.block = data;
	r = map_block(mapper, data, len);
	whi_step_end(mapper->shared->times, WHI_STEP_MAP, began);
	return r;
}

int whi_mapper_flush(struct whi_mapper *mapper)
{
	int r = 0;

	if (mapper->ngrams)
		r = whi_ngrams_flush(mapper->ngrams);
	if (mapper->numbers)
		r = whi_numbers_flush(mapper->numbers);
	if (r == 0 && mapper->front)
		r = whi_front_flush(mapper->front);
	if (r == 0 && mapper->shared->job->combine)
		r = whi_emit_combine_all(&mapper->emitter);
	whi_writer_flush(&mapper->writer);
	return r;
}

uint64_t whi_mapper_records(const struct whi_mapper *mapper)
{
	if (is_fused(mapper))
		return mapper->front->total;
	if (mapper->ngrams)
		return mapper->ngrams->records;
	if (mapper->numbers)
		return mapper->numbers->records + mapper->numbers->words;
	return mapper->emitter.records;
}

int whi_buffer_reserve(struct whi_buffer *buf, size_t room)
{
	uint8_t *data;

	if (room <= buf->room)
		return 0;
	data = whi_realloc(buf->data, room + WHI_WORDS_SLACK);
	if (!data)
		return -ENOMEM;
	buf->data = data;
	buf->room = room;
	return 0;
}

void whi_buffer_fini(struct whi_buffer *buf)
{
	whi_free(buf->data);
	*buf = (struct whi_buffer){ 0 };
}

void whi_buffer_consume(struct whi_buffer *buf, size_t len)
{
	buf->len -= len;
	if (buf->len)
		memmove(buf->data, buf->data + len, buf->len);
}
