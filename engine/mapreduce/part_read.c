/* Owns the way from the bytes of a part, which may be anything, to its records.
 *
 * 1. `data` holds whole blocks and the beginning of at most one more; the decoder is given whole
 *    blocks only, so that a block that ends early shows at the end of the file.
 * 2. The buffer grows to the size of a block only as far as the file has bytes for it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "mapreduce/part.h"

enum { CHECK_READ_BYTES = 256 * 1024 };

static enum whi_kind part_kind(const struct wh_parts_format *format)
{
	return format->value == WH_MR_BYTES ? WHI_PAIR : WHI_LONG;
}

size_t wh_part_record(void *arg, struct wh_mr_bytes data, bool last)
{
	struct whi_codec_head head;
	enum whi_codec_fault fault = whi_codec_head(data.data, data.len, &head);

	(void)arg;
	(void)last;
	if (fault == WHI_CODEC_TRUNCATED)
		return 0;
	if (fault)
		return data.len;
	return head.bytes <= data.len - WHI_CODEC_HEAD ? WHI_CODEC_HEAD + head.bytes : 0;
}

static int emit_record(const struct whi_record *record, struct wh_mr_emitter *emitter)
{
	if (record->kind == WHI_PAIR)
		return wh_mr_emit(emitter, record->key, record->value);
	return wh_mr_emit_number(emitter, record->key.data, record->key.len, record->count);
}

static int emit_records(struct whi_decoder *decoder, struct wh_mr_emitter *emitter)
{
	struct whi_record record;
	int r;

	while ((r = whi_decoder_next(decoder, &record)) > 0) {
		r = emit_record(&record, emitter);
		if (r < 0)
			return r;
	}
	return r;
}

int wh_part_emit(const struct wh_part *part, struct wh_mr_bytes block,
		 struct wh_mr_emitter *emitter)
{
	struct whi_codec codec = whi_part_codec(&part->format, part->index);
	struct whi_decoder decoder;
	int r;

	whi_decoder_init(&decoder, block.data, block.len);
	decoder.expect = &codec;
	r = whi_decoder_block(&decoder);
	/* What is in an end can be compared with the whole part only, by wh_part_check. */
	if (r == 0 || (decoder.fault == WHI_CODEC_BAD_END && decoder.head.kind == WHI_CODEC_END))
		return 0;
	if (r < 0)
		return r;
	return decoder.head.kind == part_kind(&part->format) ? emit_records(&decoder, emitter)
							     : -EPROTO;
}

int whi_part_reader_open(struct whi_part_reader *reader, const char *path,
			 const struct wh_part *part, size_t read_bytes)
{
	*reader = (struct whi_part_reader){
		.kind = part_kind(&part->format),
		.codec = whi_part_codec(&part->format, part->index),
		.read = part->read,
		.arg = part->arg,
		.read_bytes = read_bytes,
	};
	reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (reader->fd < 0)
		return -errno;
	reader->decoder.expect = &reader->codec;
	return 0;
}

void whi_part_reader_close(struct whi_part_reader *reader)
{
	if (reader->fd >= 0)
		close(reader->fd);
	whi_free(reader->data);
	reader->fd = -1;
	reader->data = NULL;
}

static int reserve(struct whi_part_reader *reader, size_t room)
{
	uint8_t *data;

	if (room <= reader->room)
		return 0;
	data = whi_realloc(reader->data, room);
	if (!data)
		return -ENOMEM;
	reader->data = data;
	reader->room = room;
	return 0;
}

/* Read until there are `want` bytes, or the file ends. */
static int read_more(struct whi_part_reader *reader, size_t want)
{
	while (reader->len < want && !reader->eof) {
		size_t room = reader->len + reader->read_bytes;
		ssize_t n;
		int r = reserve(reader, room);

		if (r < 0)
			return r;
		n = read(reader->fd, reader->data + reader->len, room - reader->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		reader->eof = n == 0;
		reader->len += (size_t)n;
		r = reader->read ? reader->read(reader->arg, (size_t)n) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Length of the whole blocks at the beginning of the buffer; `*ret_want` is what the next takes. */
static size_t whole_blocks(const struct whi_part_reader *reader, size_t *ret_want)
{
	size_t at = 0;

	while (at < reader->len) {
		struct whi_codec_head head;
		size_t left = reader->len - at;

		*ret_want = WHI_CODEC_HEAD;
		if (whi_codec_head(reader->data + at, left, &head))
			break; /* the decoder will say why, if that is not just its length */
		*ret_want += head.bytes;
		if (head.bytes > left - WHI_CODEC_HEAD)
			break;
		at += WHI_CODEC_HEAD + head.bytes;
	}
	return at;
}

/* All that was read has been decoded: give the decoder more. */
static int refill(struct whi_part_reader *reader)
{
	size_t used = reader->data ? (size_t)(reader->decoder.end - reader->data) : 0;
	size_t whole, want = 0;
	int r;

	reader->len -= used;
	if (used && reader->len)
		memmove(reader->data, reader->data + used, reader->len);
	for (;;) {
		whole = whole_blocks(reader, &want);
		if (whole > 0 || reader->eof || (reader->len >= want && reader->len > 0))
			break;
		r = read_more(reader, want ? want : 1);
		if (r < 0)
			return r;
	}
	/* What is left at the end, or is no block, is for the decoder to refuse. */
	whi_decoder_feed(&reader->decoder, reader->data, whole ? whole : reader->len);
	return 0;
}

/* Returns 1; 0 at the end of a part that is whole; or an error. */
static int next_block(struct whi_part_reader *reader)
{
	struct whi_decoder *decoder = &reader->decoder;
	int r;

	while ((r = whi_decoder_block(decoder)) == 0) {
		r = refill(reader);
		if (r < 0)
			return r;
		if (decoder->at == decoder->end)
			return whi_decoder_finish(decoder);
	}
	if (r > 0 && decoder->head.kind != reader->kind) {
		decoder->fault = WHI_CODEC_BAD_KIND;
		return whi_codec_fault_error(decoder->fault);
	}
	return r;
}

int whi_part_reader_next(struct whi_part_reader *reader, struct whi_record *ret)
{
	int r;

	while ((r = whi_decoder_next(&reader->decoder, ret)) == 0) {
		r = next_block(reader);
		if (r <= 0)
			return r;
	}
	return r;
}

const char *whi_part_reader_why(const struct whi_part_reader *reader)
{
	enum whi_codec_fault fault = reader->decoder.fault;

	return fault ? whi_codec_fault_text(fault) : NULL;
}

int wh_part_check(const char *path, const struct wh_part *part, struct wh_part_sums *ret,
		  const char **ret_why)
{
	struct whi_part_reader reader;
	struct whi_record record;
	struct stat st = { 0 };
	int r = whi_parts_format_check(&part->format);

	*ret_why = NULL;
	if (r == 0)
		r = whi_part_reader_open(&reader, path, part, CHECK_READ_BYTES);
	if (r < 0)
		return r;
	do
		r = whi_part_reader_next(&reader, &record);
	while (r > 0);
	*ret_why = whi_part_reader_why(&reader);
	if (r == 0 && fstat(reader.fd, &st) < 0)
		r = -errno;
	if (r == 0)
		*ret = (struct wh_part_sums){
			.records = reader.decoder.sums.records,
			.bytes = (uint64_t)st.st_size,
			.count = reader.decoder.sums.count,
		};
	whi_part_reader_close(&reader);
	return r;
}
