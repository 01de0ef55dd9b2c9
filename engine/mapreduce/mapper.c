/* Owns the loop over the records of a block of bytes, and what a worker has emitted but not yet
 * given to the partitions. */
#include "mapreduce/mapper.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/records.h"

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
	if (shared->job->value == WH_MR_BYTES)
		return mapper;
	mapper->front = whi_front_new(&mapper->writer, shared->l2_bytes);
	mapper->emitter.front = mapper->front;
	if (!mapper->front) {
		whi_mapper_free(mapper);
		return NULL;
	}
	return mapper;
}

void whi_mapper_free(struct whi_mapper *mapper)
{
	if (!mapper)
		return;
	whi_front_free(mapper->front);
	whi_writer_fini(&mapper->writer);
	whi_buffer_fini(&mapper->buf);
	whi_free(mapper);
}

static int map_record(struct whi_mapper *mapper, const uint8_t *data, size_t len)
{
	const struct wh_mr_job *job = mapper->shared->job;
	struct wh_mr_bytes record = { data, len };

	if (atomic_load_explicit(mapper->shared->stop, memory_order_relaxed))
		return -ECANCELED;
	if (job->map)
		return job->map(job->arg, record, &mapper->emitter);
	if (job->value == WH_MR_SUM)
		return wh_mr_emit_sum(&mapper->emitter, data, len, 1);
	return wh_mr_emit(&mapper->emitter, record, (struct wh_mr_bytes){ 0 });
}

static uint8_t fold(uint8_t byte)
{
	return (uint8_t)(byte - 'A') < 26 ? byte | 0x20 : byte;
}

static int map_words(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		size_t start = i;
		int r;

		for (; i < len && !whi_words_is_separator(data[i]); i++)
			data[i] = fold(data[i]);
		if (i == start)
			continue;
		r = map_record(mapper, data + start, i - start);
		if (r < 0)
			return r;
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

/* Words are counted without ever being records. */
static bool is_fused(const struct whi_mapper *mapper)
{
	const struct wh_mr_job *job = mapper->shared->job;

	return job->records == WH_MR_WORDS && !job->map && job->value == WH_MR_SUM;
}

static int count_words(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	if (atomic_load_explicit(mapper->shared->stop, memory_order_relaxed))
		return -ECANCELED;
	whi_words_count(mapper->shared->kernel, mapper->front, data, len);
	return mapper->front->error;
}

int whi_mapper_map(struct whi_mapper *mapper, uint8_t *data, size_t len)
{
	const struct wh_mr_job *job = mapper->shared->job;

	switch (job->records) {
	case WH_MR_WORDS:
		if (is_fused(mapper))
			return count_words(mapper, data, len);
		return map_words(mapper, data, len);
	case WH_MR_LINES:
		return map_lines(mapper, data, len);
	case WH_MR_CUSTOM:
		return map_custom(mapper, data, len);
	}
	return -EINVAL;
}

int whi_mapper_flush(struct whi_mapper *mapper)
{
	int r = 0;

	if (mapper->front)
		r = whi_front_flush(mapper->front);
	else if (mapper->shared->job->combine)
		r = whi_emit_combine_all(&mapper->emitter);
	whi_writer_flush(&mapper->writer);
	return r;
}

uint64_t whi_mapper_records(const struct whi_mapper *mapper)
{
	return is_fused(mapper) ? mapper->front->total : mapper->emitter.records;
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
