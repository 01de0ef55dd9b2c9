/* Owns the way of records into extents and back.
 *
 * 1. A block lies in one extent; a chunk in memory is whole blocks of one extent.
 * 2. As many records come out as went in, or it is an error. */
#include "mapreduce/stream.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

enum { EXTENTS_FIRST = 4 };

void whi_stream_fini(struct whi_stream *stream)
{
	for (uint32_t i = 0; i < stream->count; i++)
		whi_extent_put(&stream->extents[i]);
	whi_free(stream->extents);
	*stream = (struct whi_stream){ 0 };
}

void whi_stream_drop(struct whi_stream *stream)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < stream->count; i++) {
		if (stream->extents[i].file->kept)
			stream->extents[kept++] = stream->extents[i];
		else
			whi_extent_put(&stream->extents[i]);
	}
	stream->count = kept;
	stream->bytes = stream->kept_bytes;
	stream->records = stream->kept_records;
}

static int add_extent(struct whi_stream *stream, const struct whi_extent *extent)
{
	if (stream->count == stream->room) {
		uint32_t room = stream->room ? stream->room * 2 : EXTENTS_FIRST;
		struct whi_extent *extents;

		extents = whi_realloc(stream->extents, room * sizeof(*extents));
		if (!extents)
			return -ENOMEM;
		stream->extents = extents;
		stream->room = room;
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there is room */
	stream->extents[stream->count++] = *extent;
	return 0;
}

int whi_stream_adopt(struct whi_stream *stream, const struct whi_extent *extent, uint64_t records)
{
	int r = add_extent(stream, extent);

	if (r < 0)
		return r;
	stream->bytes += extent->used;
	stream->records += records;
	stream->kept_bytes += extent->used;
	stream->kept_records += records;
	return 0;
}

int whi_stream_join(struct whi_stream *to, struct whi_stream *from)
{
	for (uint32_t i = 0; i < from->count; i++) {
		int r = add_extent(to, &from->extents[i]);

		if (r == 0)
			continue;
		/* Each extent is given back once. */
		memmove(from->extents, from->extents + i,
			(from->count - i) * sizeof(*from->extents));
		from->count -= i;
		return r;
	}
	to->bytes += from->bytes;
	to->records += from->records;
	to->kept_bytes += from->kept_bytes;
	to->kept_records += from->kept_records;
	from->count = 0;
	whi_stream_fini(from);
	return 0;
}

static struct whi_codec codec_of(const struct whi_stream *stream)
{
	return (struct whi_codec){ .hash_id = WHI_CODEC_HASH_STORE, .part = stream->id };
}

void whi_stream_writer_init(struct whi_stream_writer *writer, struct whi_spill_file *file,
			    struct whi_stream *stream, size_t block_bytes)
{
	*writer = (struct whi_stream_writer){
		.file = file,
		.stream = stream,
		.block_bytes = block_bytes,
		.encoder.codec = codec_of(stream),
	};
}

void whi_stream_writer_fini(struct whi_stream_writer *writer)
{
	whi_encoder_fini(&writer->encoder);
}

/* The extent that has room for `len` bytes. */
static int extent_for(struct whi_stream_writer *writer, size_t len, struct whi_extent **ret)
{
	struct whi_stream *stream = writer->stream;
	struct whi_extent *last = stream->count ? &stream->extents[stream->count - 1] : NULL;
	struct whi_extent extent;
	int r;

	*ret = last;
	if (last && !last->file->kept && last->room - last->used >= len)
		return 0;
	r = whi_extent_take(writer->file, len, &extent);
	if (r < 0)
		return r;
	r = add_extent(stream, &extent);
	if (r < 0) {
		whi_extent_put(&extent);
		return r;
	}
	*ret = &stream->extents[stream->count - 1];
	return 0;
}

int whi_stream_flush(struct whi_stream_writer *writer)
{
	struct whi_encoder *encoder = &writer->encoder;
	struct whi_stream *stream = writer->stream;
	struct whi_extent *extent;
	int r;

	whi_encoder_close(encoder);
	if (encoder->len == 0)
		return 0;
	r = extent_for(writer, encoder->len, &extent);
	if (r == 0)
		r = whi_extent_write(extent, encoder->data, encoder->len);
	if (r < 0)
		return r;
	stream->bytes += encoder->len;
	stream->records += encoder->sums.records;
	encoder->sums = (struct whi_codec_sums){ 0 };
	encoder->len = 0;
	return 0;
}

int whi_stream_add(struct whi_stream_writer *writer, const struct wh_mr_row *row, bool pair)
{
	struct whi_record record = { .kind = WHI_LONG, .key = row->key };
	int r;

	if (pair) {
		record.value = row->value;
		r = whi_encoder_pair(&writer->encoder, &record);
	} else {
		record.count = row->number;
		r = whi_encoder_count(&writer->encoder, &record);
	}
	if (r < 0 || writer->encoder.len < writer->block_bytes)
		return r;
	return whi_stream_flush(writer);
}

int whi_stream_add_block(struct whi_stream_writer *writer, const struct whi_block *block)
{
	int r = whi_encoder_block(&writer->encoder, block, 0);

	if (r < 0 || writer->encoder.len < writer->block_bytes)
		return r;
	return whi_stream_flush(writer);
}

void whi_stream_reader_init(struct whi_stream_reader *reader, const struct whi_stream *stream,
			    size_t chunk_bytes, uint64_t ahead)
{
	*reader = (struct whi_stream_reader){
		.stream = stream,
		.chunk_bytes = chunk_bytes,
		.ahead = ahead,
		.expect = codec_of(stream),
	};
}

void whi_stream_reader_fini(struct whi_stream_reader *reader)
{
	whi_free(reader->data);
	reader->data = NULL;
}

static int damaged(struct whi_stream_reader *reader)
{
	const struct whi_stream *stream = reader->stream;
	uint32_t extent = reader->extent < stream->count ? reader->extent : stream->count - 1;

	return whi_spill_failed(stream->extents[extent].file, WHI_SPILL_READ, -EIO);
}

int whi_stream_next(struct whi_stream_reader *reader, struct wh_mr_row *ret)
{
	struct whi_record record;
	int r;

	while ((r = whi_decoder_next(&reader->decoder, &record)) == 0) {
		r = whi_decoder_block(&reader->decoder);
		if (r <= 0)
			return r < 0 ? damaged(reader) : 0;
	}
	if (r < 0)
		return damaged(reader);
	reader->records++;
	*ret = (struct wh_mr_row){ .key = record.key, .value = record.value };
	ret->number = record.count;
	return 1;
}

/* Tell the kernel what will be read next, as far ahead as is wanted. */
static void read_ahead(struct whi_stream_reader *reader)
{
	const struct whi_stream *stream = reader->stream;
	uint64_t ahead = reader->ahead;

	if (reader->ahead_extent < reader->extent) {
		reader->ahead_extent = reader->extent;
		reader->ahead_at = reader->at;
	}
	for (uint32_t i = reader->extent; i < stream->count && ahead > 0; i++) {
		const struct whi_extent *extent = &stream->extents[i];
		uint64_t from = i == reader->extent ? reader->at : 0;
		uint64_t len = extent->used - from < ahead ? extent->used - from : ahead;

		ahead -= len;
		if (i < reader->ahead_extent || len == 0)
			continue;
		if (i == reader->ahead_extent && from < reader->ahead_at) {
			len = from + len > reader->ahead_at ? from + len - reader->ahead_at : 0;
			from = reader->ahead_at;
		}
		if (len > 0)
			whi_extent_read_ahead(extent, from, len);
		reader->ahead_extent = i;
		reader->ahead_at = from + len;
	}
}

/* Whole blocks at the front of what was read: how many bytes. `*ret_need`: how many must be there
 * for one more. Returns -EIO if they are no blocks. */
static ssize_t whole_blocks(struct whi_stream_reader *reader, size_t *ret_need)
{
	const uint8_t *data = reader->data + reader->begin;
	size_t len = reader->end - reader->begin, at = 0;

	*ret_need = WHI_CODEC_HEAD;
	while (len - at >= WHI_CODEC_HEAD) {
		struct whi_codec_head head;

		if (whi_codec_head(data + at, len - at, &head) ||
		    head.bytes > WHI_KEY_MAX - WHI_CODEC_HEAD)
			return damaged(reader);
		*ret_need = WHI_CODEC_HEAD + head.bytes;
		if (len - at < *ret_need)
			break;
		at += *ret_need;
		*ret_need = WHI_CODEC_HEAD;
	}
	return (ssize_t)at;
}

/* Room for a chunk in which `need` bytes are a block. */
static int reserve(struct whi_stream_reader *reader, size_t need)
{
	size_t room = reader->chunk_bytes > need ? reader->chunk_bytes : need;
	uint8_t *data;

	if (reader->begin > 0)
		memmove(reader->data, reader->data + reader->begin, reader->end - reader->begin);
	reader->end -= reader->begin;
	reader->begin = 0;
	if (room <= reader->room)
		return 0;
	data = whi_realloc(reader->data, room);
	if (!data)
		return -ENOMEM;
	reader->data = data;
	reader->room = room;
	return 0;
}

/* Read on in the extent, or in the next one if this is read to its end. Returns 1, 0 at the end of
 * the stream, or -errno. */
static int fill(struct whi_stream_reader *reader)
{
	const struct whi_stream *stream = reader->stream;
	const struct whi_extent *extent = NULL;
	uint64_t len = 0;
	int r;

	for (; reader->extent < stream->count; reader->extent++, reader->at = 0) {
		extent = &stream->extents[reader->extent];
		len = extent->used - reader->at;
		if (len > 0)
			break;
		/* The last block ended with its extent, or it is cut off. */
		if (reader->begin < reader->end)
			return damaged(reader);
	}
	if (len == 0)
		return 0;
	if (len > reader->room - reader->end)
		len = reader->room - reader->end;
	r = whi_extent_read(extent, reader->at, reader->data + reader->end, len);
	if (r < 0)
		return r;
	reader->at += len;
	reader->end += len;
	read_ahead(reader);
	return 1;
}

int whi_stream_load(struct whi_stream_reader *reader)
{
	size_t need = WHI_CODEC_HEAD;
	ssize_t whole = 0;

	while (whole == 0) {
		int r = reserve(reader, need);

		if (r == 0)
			r = fill(reader);
		if (r < 0)
			return r;
		if (r == 0)
			return reader->records == reader->stream->records ? 0 : damaged(reader);
		whole = whole_blocks(reader, &need);
		if (whole < 0)
			return (int)whole;
	}
	whi_decoder_init(&reader->decoder, reader->data + reader->begin, (size_t)whole);
	reader->decoder.expect = &reader->expect;
	reader->begin += (size_t)whole;
	return 1;
}
