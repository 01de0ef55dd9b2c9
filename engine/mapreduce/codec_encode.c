/* Owns the encoder: records into blocks.
 *
 * 1. While `records` is not 0 a block is open: its header's place is reserved at `block`, its
 *    records follow up to `len`.
 * 2. A block is closed as soon as it has `block_bytes`, so that only a single long record
 *    makes a larger one. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "arch/crc32c.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "mapreduce/codec.h"
#include "mapreduce/codec_head.h"

enum {
	VARINT_MAX = 10,
	RECORD_HEAD_MAX = 4 + 2 * VARINT_MAX,
	SLACK = WHI_SHORT_MAX, /* short keys are copied in one go */
	ROOM_SPARE = 1024,     /* records that end a block rarely make the buffer grow */
};

void whi_encoder_fini(struct whi_encoder *encoder)
{
	whi_free(encoder->data);
	encoder->data = NULL;
	encoder->len = encoder->room = 0;
	encoder->records = 0;
}

static size_t block_bytes(const struct whi_encoder *encoder)
{
	return encoder->block_bytes ? encoder->block_bytes : WHI_CODEC_BLOCK_BYTES;
}

static int reserve(struct whi_encoder *encoder, size_t len)
{
	size_t room = encoder->room ? encoder->room : block_bytes(encoder) + ROOM_SPARE;
	uint8_t *data;

	if (whi_likely(encoder->room - encoder->len >= len))
		return 0;
	while (room - encoder->len < len)
		room *= 2;
	data = whi_realloc(encoder->data, room);
	if (!data)
		return -ENOMEM;
	encoder->data = data;
	encoder->room = room;
	return 0;
}

static uint8_t *put_varint(uint8_t *at, uint64_t number)
{
	for (; number >= 0x80; number >>= 7)
		*at++ = (uint8_t)(number | 0x80);
	*at++ = (uint8_t)number;
	return at;
}

/* The header of `len` bytes that are there behind it. */
static void put_head(const struct whi_encoder *encoder, uint8_t *at, unsigned kind, size_t len)
{
	const struct whi_codec *codec = &encoder->codec;
	struct whi_codec_raw raw = {
		.magic = WHI_CODEC_MAGIC,
		.version = WHI_CODEC_VERSION,
		.kind = (uint8_t)kind,
		.hash_id = (uint8_t)codec->hash_id,
		.flags = codec->hashed ? WHI_CODEC_HASHED : 0,
		.seed = htole64(codec->seed),
		.bytes = htole64(len),
		.records = htole64(encoder->records),
		.part = htole32(codec->part),
	};
	uint32_t crc = whi_crc32c(0, &raw, offsetof(struct whi_codec_raw, crc));

	raw.crc = htole32(whi_crc32c(crc, at + sizeof(raw), len));
	memcpy(at, &raw, sizeof(raw));
}

void whi_encoder_close(struct whi_encoder *encoder)
{
	uint8_t *head = encoder->data + encoder->block;
	size_t len;

	if (encoder->records == 0)
		return;
	len = encoder->len - encoder->block;
	put_head(encoder, head, encoder->kind, len - WHI_CODEC_HEAD);
	encoder->sums.blocks++;
	encoder->sums.records += encoder->records;
	encoder->sums.bytes += len;
	encoder->records = 0;
}

/* Room for a record with `len` bytes of key and value in a block of its kind. Returns where to
 * write it, NULL when out of memory. */
static uint8_t *begin_record(struct whi_encoder *encoder, enum whi_kind kind, size_t len)
{
	if (encoder->records && encoder->kind != kind)
		whi_encoder_close(encoder);
	if (reserve(encoder, WHI_CODEC_HEAD + RECORD_HEAD_MAX + len + SLACK) < 0)
		return NULL;
	if (encoder->records == 0) {
		encoder->block = encoder->len;
		encoder->kind = kind;
		encoder->len += WHI_CODEC_HEAD;
	}
	return encoder->data + encoder->len;
}

static void end_record(struct whi_encoder *encoder, const uint8_t *end)
{
	encoder->len = (size_t)(end - encoder->data);
	encoder->records++;
	if (encoder->len - encoder->block >= block_bytes(encoder))
		whi_encoder_close(encoder);
}

static uint8_t *put_hash(const struct whi_encoder *encoder, uint8_t *at, uint32_t hash)
{
	uint32_t raw = htole32(hash);

	if (!encoder->codec.hashed)
		return at;
	memcpy(at, &raw, sizeof(raw));
	return at + sizeof(raw);
}

static uint8_t *put_bytes(uint8_t *at, struct wh_mr_bytes bytes)
{
	if (bytes.len)
		memcpy(at, bytes.data, bytes.len);
	return at + bytes.len;
}

int whi_encoder_count(struct whi_encoder *encoder, const struct whi_record *record)
{
	uint8_t *at = begin_record(encoder, record->kind, record->key.len);

	if (!at)
		return -ENOMEM;
	at = put_hash(encoder, at, record->hash);
	at = put_varint(at, record->key.len);
	at = put_varint(at, record->count);
	end_record(encoder, put_bytes(at, record->key));
	encoder->sums.count += record->count;
	return 0;
}

int whi_encoder_pair(struct whi_encoder *encoder, const struct whi_record *record)
{
	size_t len;
	uint8_t *at;

	if (__builtin_add_overflow(record->key.len, record->value.len, &len) || len > SIZE_MAX / 4)
		return -ENOMEM;
	at = begin_record(encoder, WHI_PAIR, len);
	if (!at)
		return -ENOMEM;
	at = put_hash(encoder, at, record->hash);
	at = put_varint(at, record->key.len);
	at = put_varint(at, record->value.len);
	at = put_bytes(at, record->key);
	end_record(encoder, put_bytes(at, record->value));
	return 0;
}

/* How many bytes a short key has: it is padded with zeros, and has none. */
static size_t short_len(const struct whi_short *record)
{
	uint64_t low = le64toh(record->low), high = le64toh(record->high);

	if (high)
		return 16 - (size_t)__builtin_clzll(high) / 8;
	return low ? 8 - (size_t)__builtin_clzll(low) / 8 : 0;
}

static int add_shorts(struct whi_encoder *encoder, const struct whi_block *block, unsigned part)
{
	const struct whi_short *record = (const void *)block->data;
	const struct whi_short *end = record + block->used / sizeof(*record);

	for (; record < end; record++) {
		size_t len = short_len(record);
		uint8_t *at = begin_record(encoder, WHI_SHORT, len);

		if (!at)
			return -ENOMEM;
		at = put_hash(encoder, at, part << 24 | record->hash);
		*at++ = (uint8_t)len;
		at = put_varint(at, record->count);
		memcpy(at, &record->low, sizeof(record->low));
		memcpy(at + 8, &record->high, sizeof(record->high));
		end_record(encoder, at + len);
		encoder->sums.count += record->count;
	}
	return 0;
}

static int add_longs(struct whi_encoder *encoder, const struct whi_block *block, unsigned part)
{
	for (size_t at = 0; at < block->used;) {
		const struct whi_long *head = (const void *)(block->data + at);
		struct whi_record record = {
			.kind = WHI_LONG,
			.hash = part << 24 | head->hash,
			.key = { head + 1, head->len },
			.count = head->count,
		};
		int r = whi_encoder_count(encoder, &record);

		if (r < 0)
			return r;
		at += whi_long_bytes(head->len);
	}
	return 0;
}

static int add_pairs(struct whi_encoder *encoder, const struct whi_block *block, unsigned part)
{
	for (size_t at = 0; at < block->used;) {
		const struct whi_pair *head = (const void *)(block->data + at);
		const uint8_t *key = (const void *)(head + 1);
		struct whi_record record = {
			.kind = WHI_PAIR,
			.hash = part << 24 | head->hash,
			.key = { key, head->key_len },
			.value = { key + head->key_len, head->value_len },
		};
		int r = whi_encoder_pair(encoder, &record);

		if (r < 0)
			return r;
		at += whi_pair_bytes(head);
	}
	return 0;
}

int whi_encoder_block(struct whi_encoder *encoder, const struct whi_block *block, unsigned part)
{
	switch (block->kind) {
	case WHI_SHORT:
		return add_shorts(encoder, block, part);
	case WHI_LONG:
		return add_longs(encoder, block, part);
	case WHI_PAIR:
		return add_pairs(encoder, block, part);
	case WHI_KINDS:
		break;
	}
	return -EINVAL;
}

int whi_encoder_end(struct whi_encoder *encoder)
{
	uint8_t *head, *at;

	whi_encoder_close(encoder);
	if (reserve(encoder, WHI_CODEC_HEAD + 4 * VARINT_MAX) < 0)
		return -ENOMEM;
	head = encoder->data + encoder->len;
	at = put_varint(head + WHI_CODEC_HEAD, encoder->sums.blocks);
	at = put_varint(at, encoder->sums.records);
	at = put_varint(at, encoder->sums.bytes);
	at = put_varint(at, encoder->sums.count);
	put_head(encoder, head, WHI_CODEC_END, (size_t)(at - head) - WHI_CODEC_HEAD);
	encoder->len = (size_t)(at - encoder->data);
	return 0;
}
