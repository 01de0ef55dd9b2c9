/* Owns the loop over the records of a block of bytes, and what a worker has emitted but not yet
 * given to the partitions. */
#include "mapreduce/mapper.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/records.h"
#include "mapreduce/unicode.h"
#include "mapreduce/whole.h"

/* Words are counted without ever being records. */
static bool is_fused(const struct whi_mapper *mapper)
{
	const struct wh_mr_job *job = mapper->shared->job;

	return job->records == WH_MR_WORDS && !job->map &&
	       (job->value == WH_MR_SUM || job->value == WH_MR_COUNT);
}

/* What this kind of job needs. The front table also finds words for jobs that do not count. */
static int add_tables(struct whi_mapper *mapper)
{
	const struct whi_mapper_job *shared = mapper->shared;
	const struct wh_mr_job *job = shared->job;
	bool finds_words = job->records == WH_MR_WORDS && !is_fused(mapper);

	if (job->value != WH_MR_BYTES || finds_words) {
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
	if (job->value != WH_MR_BYTES && !is_fused(mapper)) {
		mapper->numbers = whi_numbers_new(mapper->front, shared->kernel, &shared->rule,
						  job->value, &mapper->emitter.gather);
		mapper->emitter.numbers = mapper->numbers;
		if (!mapper->numbers)
			return -ENOMEM;
	}
	if (finds_words)
		mapper->words = whi_alloc(2 * sizeof(*mapper->words));
	return finds_words && !mapper->words ? -ENOMEM : 0;
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
	whi_free(mapper->words);
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

/* Apart, so that the way of every record needs no frame for it. */
__attribute__((noinline, cold)) static int record_failed(struct whi_mapper *mapper, int error)
{
	const struct whi_whole *whole = mapper->emitter.whole;
	struct wh_mr_origin origin;

	if (whole && whole->error)
		return error;
	wh_mr_origin(&mapper->emitter, &origin);
	return whi_why_at(mapper->shared->why, error, &origin, "map failed for the record");
}

/* Inlined: some records are words, and a call costs as much as half of what is done for one. */
__attribute__((always_inline)) static inline int map_record(struct whi_mapper *mapper,
							    const uint8_t *data, size_t len)
{
	const struct wh_mr_job *job = mapper->shared->job;
	struct wh_mr_emitter *emitter = &mapper->emitter;
	const struct wh_mr_bytes record = { data, len };
	int r;

	if (atomic_load_explicit(mapper->shared->stop, memory_order_relaxed))
		return -ECANCELED;
	emitter->record = data;
	if (job->map)
		r = job->map(job->arg, record, emitter);
	else if (job->value != WH_MR_BYTES)
		r = wh_mr_emit_number(emitter, data, len, 1);
	else
		r = wh_mr_emit(emitter, record, (struct wh_mr_bytes){ 0 });
	return whi_likely(r >= 0) ? 0 : record_failed(mapper, r);
}

int whi_mapper_map_record(struct whi_mapper *mapper, const void *data, size_t len)
{
	mapper->emitter.block = data;
	return map_record(mapper, data, len);
}

static void copy_words(struct whi_region_words *to, const struct whi_region_words *from)
{
	to->count = from->count;
	memcpy(to->start, from->start, from->count * sizeof(*from->start));
	memcpy(to->len, from->len, from->count * sizeof(*from->len));
}

/* Map the words of a region in their order. The kernel tells the short ones and the long ones
 * apart, and may be called by what `map` emits: so both lists are copied. */
static int map_region(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	struct whi_front *front = mapper->front;
	struct whi_region_words *shorts = &mapper->words[0], *longs = &mapper->words[1];
	int r;

	whi_words_tokenize(mapper->shared->kernel, &mapper->shared->rule, front, data, len);
	copy_words(shorts, &front->shorts);
	copy_words(longs, &front->long_words);
	/* Behind every word, so that each list ends where the other one goes on. */
	shorts->start[shorts->count] = UINT16_MAX;
	longs->start[longs->count] = UINT16_MAX;
	for (size_t i = 0, j = 0;; j++) {
		for (; shorts->start[i] < longs->start[j]; i++) {
			r = map_record(mapper, data + shorts->start[i], shorts->len[i]);
			if (r < 0)
				return r;
		}
		if (j == longs->count)
			return 0;
		r = map_record(mapper, data + longs->start[j], longs->len[j]);
		if (r < 0)
			return r;
	}
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
			r = map_record(mapper, data, whi_words_giant(rule, data, take));
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
		int r = map_record(mapper, data, line);

		if (r < 0)
			return r;
		data += line + 1;
	}
	return 0;
}

static int map_custom(struct whi_mapper *mapper, const uint8_t *data, size_t len)
{
	const struct wh_mr_job *job = mapper->shared->job;

	while (len > 0) {
		size_t took = job->record(job->arg, (struct wh_mr_bytes){ data, len }, true);
		int r;

		if (took == 0 || took > len)
			took = len;
		r = map_record(mapper, data, took);
		if (r < 0)
			return r;
		data += took;
		len -= took;
	}
	return 0;
}

/* Also the last one, which may be shorter. */
static int map_fixed(struct whi_mapper *mapper, const uint8_t *data, size_t len)
{
	size_t record = mapper->shared->job->record_bytes;

	while (len > 0) {
		size_t take = record < len ? record : len;
		int r = map_record(mapper, data, take);

		if (r < 0)
			return r;
		data += take;
		len -= take;
	}
	return 0;
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
	int r, left = 0;

	mapper->emitter.block = data;
	if (mapper->numbers)
		whi_numbers_enter(mapper->numbers, data, len);
	r = map_block(mapper, data, len);
	if (mapper->numbers)
		left = whi_numbers_leave(mapper->numbers);
	if (r == 0)
		r = left;
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
