/* Owns the decoder. Its input is hostile:
 *
 * 1. Nothing of a block is believed before its checksum has been compared; the checksum makes no
 *    promise either, since anybody can compute one.
 * 2. No length is added to an address before it was compared with what is left.
 * 3. What is allocated is bounded by the bytes that are there, not by what they say. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "arch/crc32c.h"
#include "mapreduce/codec.h"
#include "mapreduce/codec_head.h"

enum { RECORD_BYTES_MIN = 2 };

static int fail(struct whi_decoder *decoder, enum whi_codec_fault fault)
{
	decoder->fault = fault;
	return whi_codec_fault_error(fault);
}

enum whi_codec_fault whi_codec_head(const uint8_t *data, size_t len, struct whi_codec_head *ret)
{
	static const uint8_t magic[] = WHI_CODEC_MAGIC;
	struct whi_codec_raw raw;

	if (memcmp(data, magic, len < sizeof(magic) ? len : sizeof(magic)) != 0)
		return WHI_CODEC_BAD_MAGIC;
	if (len < sizeof(raw))
		return WHI_CODEC_TRUNCATED;
	memcpy(&raw, data, sizeof(raw));
	if (raw.version != WHI_CODEC_VERSION)
		return WHI_CODEC_BAD_VERSION;
	if (raw.kind >= WHI_KINDS && raw.kind != WHI_CODEC_END)
		return WHI_CODEC_BAD_KIND;
	if (raw.hash_id > WHI_CODEC_HASH_CANONICAL)
		return WHI_CODEC_BAD_HASH;
	if (raw.flags & ~WHI_CODEC_HASHED)
		return WHI_CODEC_BAD_FLAGS;
	*ret = (struct whi_codec_head){
		.kind = raw.kind,
		.codec = { .hash_id = raw.hash_id,
			   .seed = le64toh(raw.seed),
			   .part = le32toh(raw.part),
			   .hashed = raw.flags & WHI_CODEC_HASHED },
		.bytes = le64toh(raw.bytes),
		.records = le64toh(raw.records),
		.crc = le32toh(raw.crc),
	};
	if (ret->records > ret->bytes / RECORD_BYTES_MIN ||
	    (ret->records == 0) != (ret->kind == WHI_CODEC_END))
		return WHI_CODEC_BAD_RECORDS;
	return WHI_CODEC_GOOD;
}

void whi_decoder_init(struct whi_decoder *decoder, const void *data, size_t len)
{
	*decoder = (struct whi_decoder){ 0 };
	whi_decoder_feed(decoder, data, len);
}

void whi_decoder_feed(struct whi_decoder *decoder, const void *data, size_t len)
{
	decoder->at = data;
	decoder->block_end = data;
	decoder->end = decoder->at + len;
}

/* A number, which ends before `end`. */
static enum whi_codec_fault get_varint(struct whi_decoder *decoder, const uint8_t *end,
				       uint64_t *ret)
{
	const uint8_t *at = decoder->at;
	uint64_t number = 0;

	for (unsigned shift = 0; at < end; shift += 7) {
		uint8_t byte = *at++;

		if (shift == 63 && byte > 1)
			return WHI_CODEC_BAD_VARINT;
		number |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			decoder->at = at;
			*ret = number;
			return WHI_CODEC_GOOD;
		}
	}
	return WHI_CODEC_BAD_RECORDS;
}

static enum whi_codec_fault check_expected(const struct whi_codec *expect,
					   const struct whi_codec *codec)
{
	if (!expect)
		return WHI_CODEC_GOOD;
	if (codec->hash_id != expect->hash_id || codec->seed != expect->seed)
		return WHI_CODEC_BAD_HASH;
	if (codec->hashed != expect->hashed)
		return WHI_CODEC_BAD_FLAGS;
	return codec->part != expect->part ? WHI_CODEC_BAD_PART : WHI_CODEC_GOOD;
}

/* The end block: its sums against ours. */
static enum whi_codec_fault check_end(struct whi_decoder *decoder)
{
	const struct whi_codec_sums *ours = &decoder->sums;
	uint64_t theirs[4];

	for (unsigned i = 0; i < 4; i++) {
		enum whi_codec_fault fault = get_varint(decoder, decoder->block_end, &theirs[i]);

		if (fault)
			return fault;
	}
	if (decoder->at != decoder->block_end || theirs[0] != ours->blocks ||
	    theirs[1] != ours->records || theirs[2] != ours->bytes ||
	    (theirs[3] != ours->count && !decoder->skipped))
		return WHI_CODEC_BAD_END;
	decoder->ended = true;
	return WHI_CODEC_GOOD;
}

/* Check the block at `at` as a whole. */
static enum whi_codec_fault open_block(struct whi_decoder *decoder)
{
	size_t there = (size_t)(decoder->end - decoder->at);
	enum whi_codec_fault fault = whi_codec_head(decoder->at, there, &decoder->head);
	const struct whi_codec_head *head = &decoder->head;
	uint32_t crc;

	if (fault)
		return fault;
	if (head->bytes > there - WHI_CODEC_HEAD)
		return WHI_CODEC_TRUNCATED;
	crc = whi_crc32c(0, decoder->at, offsetof(struct whi_codec_raw, crc));
	crc = whi_crc32c(crc, decoder->at + WHI_CODEC_HEAD, head->bytes);
	if (crc != head->crc)
		return WHI_CODEC_BAD_CRC;
	fault = check_expected(decoder->expect, &head->codec);
	if (fault)
		return fault;
	if (decoder->ended)
		return WHI_CODEC_BAD_END;
	decoder->at += WHI_CODEC_HEAD;
	decoder->block_end = decoder->at + head->bytes;
	return WHI_CODEC_GOOD;
}

int whi_decoder_block(struct whi_decoder *decoder)
{
	const struct whi_codec_head *head = &decoder->head;
	enum whi_codec_fault fault;

	if (decoder->fault)
		return whi_codec_fault_error(decoder->fault);
	if (decoder->left)
		decoder->skipped = true;
	decoder->left = 0;
	decoder->at = decoder->block_end;
	if (decoder->at == decoder->end)
		return 0;
	fault = open_block(decoder);
	if (fault == WHI_CODEC_GOOD && head->kind == WHI_CODEC_END) {
		fault = check_end(decoder);
		return fault ? fail(decoder, fault) : whi_decoder_block(decoder);
	}
	if (fault) {
		decoder->block_end = decoder->at;
		return fail(decoder, fault);
	}
	decoder->left = head->records;
	decoder->sums.blocks++;
	decoder->sums.records += head->records;
	decoder->sums.bytes += WHI_CODEC_HEAD + head->bytes;
	return 1;
}

static bool has_zero(const uint8_t *key, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (key[i] == 0)
			return true;
	return false;
}

/* Take `len` bytes off the block. */
static bool take(struct whi_decoder *decoder, uint64_t len, struct wh_mr_bytes *ret)
{
	if (len > (size_t)(decoder->block_end - decoder->at))
		return false;
	*ret = (struct wh_mr_bytes){ decoder->at, len };
	decoder->at += len;
	return true;
}

static enum whi_codec_fault get_record(struct whi_decoder *decoder, struct whi_record *ret)
{
	enum whi_kind kind = (enum whi_kind)decoder->head.kind;
	enum whi_codec_fault fault;
	struct wh_mr_bytes hash = { 0 };
	uint64_t key_len;
	uint32_t raw = 0;

	if (decoder->head.codec.hashed && !take(decoder, sizeof(raw), &hash))
		return WHI_CODEC_BAD_RECORDS;
	if (hash.len)
		memcpy(&raw, hash.data, sizeof(raw));
	*ret = (struct whi_record){ .kind = kind, .hash = le32toh(raw) };
	fault = get_varint(decoder, decoder->block_end, &key_len);
	if (!fault)
		fault = get_varint(decoder, decoder->block_end, &ret->count);
	if (fault)
		return fault;
	if (key_len > WHI_KEY_MAX || (kind == WHI_SHORT && key_len > WHI_SHORT_MAX) ||
	    !take(decoder, key_len, &ret->key))
		return WHI_CODEC_KEY_TOO_LONG;
	if (kind == WHI_SHORT && (key_len == 0 || has_zero(ret->key.data, key_len)))
		return WHI_CODEC_BAD_SHORT;
	if (kind == WHI_SHORT && ret->count > WHI_SHORT_COUNT_MAX)
		return WHI_CODEC_BAD_COUNT;
	if (kind != WHI_PAIR)
		return WHI_CODEC_GOOD;
	if (!take(decoder, ret->count, &ret->value))
		return WHI_CODEC_VALUE_TOO_LONG;
	ret->count = 0;
	return WHI_CODEC_GOOD;
}

int whi_decoder_next(struct whi_decoder *decoder, struct whi_record *ret)
{
	enum whi_codec_fault fault = decoder->fault;

	if (!fault && decoder->left == 0)
		return 0;
	if (!fault)
		fault = get_record(decoder, ret);
	if (!fault && --decoder->left == 0 && decoder->at != decoder->block_end)
		fault = WHI_CODEC_BAD_RECORDS;
	if (fault)
		return fail(decoder, fault);
	decoder->sums.count += ret->count;
	return 1;
}

int whi_decoder_finish(struct whi_decoder *decoder)
{
	if (decoder->fault)
		return whi_codec_fault_error(decoder->fault);
	return decoder->ended ? 0 : fail(decoder, WHI_CODEC_NO_END);
}

/* What a record takes in a store's block. */
static size_t stored_bytes(const struct whi_record *record)
{
	struct whi_pair pair = { .value_len = record->value.len,
				 .key_len = record->key.len & WHI_KEY_MAX };

	switch (record->kind) {
	case WHI_SHORT:
		return sizeof(struct whi_short);
	case WHI_LONG:
		return whi_long_bytes(record->key.len);
	case WHI_PAIR:
		return whi_pair_bytes(&pair);
	case WHI_KINDS:
		break;
	}
	return 0;
}

static void store_short(uint8_t *to, const struct whi_record *record)
{
	struct whi_short stored = { .count = record->count & WHI_SHORT_COUNT_MAX,
				    .hash = record->hash & 0xffffff };
	uint64_t words[2] = { 0, 0 };

	/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): no short key is empty */
	memcpy(words, record->key.data, record->key.len);
	stored.low = words[0];
	stored.high = words[1];
	memcpy(to, &stored, sizeof(stored));
}

static void store(uint8_t *to, const struct whi_record *record)
{
	struct whi_long counted = { .count = record->count,
				    .len = record->key.len & WHI_KEY_MAX,
				    .hash = record->hash & 0xffffff };
	struct whi_pair pair = { .value_len = record->value.len,
				 .key_len = record->key.len & WHI_KEY_MAX,
				 .hash = record->hash & 0xffffff };

	if (record->kind == WHI_SHORT) {
		store_short(to, record);
		return;
	}
	if (record->kind == WHI_LONG)
		memcpy(to, &counted, sizeof(counted));
	else
		memcpy(to, &pair, sizeof(pair));
	to += sizeof(pair);
	if (record->key.len)
		memcpy(to, record->key.data, record->key.len);
	if (record->value.len)
		memcpy(to + record->key.len, record->value.data, record->value.len);
}

/* What all records that are left take; they are read once more afterwards. */
static enum whi_codec_fault measure(const struct whi_decoder *decoder, size_t *ret)
{
	struct whi_decoder ahead = *decoder;
	struct whi_record record = { 0 };
	size_t len = 0;

	while (whi_decoder_next(&ahead, &record) > 0)
		len += stored_bytes(&record);
	*ret = len;
	return ahead.fault;
}

int whi_decoder_store_block(struct whi_decoder *decoder, struct whi_block **ret)
{
	enum whi_codec_fault fault = decoder->fault;
	struct whi_block *block;
	struct whi_record record = { 0 };
	size_t len = 0;

	if (!fault && !decoder->head.codec.hashed)
		fault = WHI_CODEC_BAD_FLAGS;
	if (!fault)
		fault = measure(decoder, &len);
	if (fault)
		return fail(decoder, fault);
	block = whi_block_new((enum whi_kind)decoder->head.kind, len);
	if (!block)
		return -ENOMEM;
	while (whi_decoder_next(decoder, &record) > 0) {
		store(block->data + block->used, &record);
		block->used += stored_bytes(&record);
	}
	*ret = block;
	return 0;
}
