/*
 * Records as bytes. What goes in comes out; whatever happens to the bytes on the way, the decoder
 * says so and touches nothing else (which is for the sanitizers to see).
 */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "arch/crc32c.h"
#include "mapreduce/codec.h"
#include "support/faulty_alloc.h"

enum { RECORDS = 3000, KEY_BYTES = 300, CRC_OFFSET = 36, FLAGS_OFFSET = 7, VERSION_OFFSET = 4 };

static uint64_t seed = 1;

static uint64_t random_below(uint64_t limit)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % limit;
}

/* Any record of `kind`, its bytes in `bytes`. */
static struct whi_record any_record(enum whi_kind kind, uint8_t bytes[2 * KEY_BYTES])
{
	size_t key_len = kind == WHI_SHORT ? 1 + random_below(WHI_SHORT_MAX)
					   : random_below(KEY_BYTES);
	struct whi_record record = { .kind = kind, .key = { bytes, key_len } };

	for (size_t i = 0; i < 2 * KEY_BYTES; i++)
		bytes[i] = (uint8_t)(kind == WHI_SHORT ? 1 + random_below(255) : random_below(256));
	if (kind == WHI_PAIR)
		record.value = (struct wh_mr_bytes){ bytes + key_len, random_below(KEY_BYTES) };
	else
		record.count = random_below(1u << 20) >> random_below(20);
	return record;
}

static void add(struct whi_encoder *encoder, const struct whi_record *record)
{
	if (record->kind == WHI_PAIR)
		assert_int_equal(whi_encoder_pair(encoder, record), 0);
	else
		assert_int_equal(whi_encoder_count(encoder, record), 0);
}

static void same_bytes(struct wh_mr_bytes a, struct wh_mr_bytes b)
{
	assert_int_equal(a.len, b.len);
	if (a.len)
		assert_memory_equal(a.data, b.data, a.len);
}

/* The next record, whatever block it is in. */
static int next(struct whi_decoder *decoder, struct whi_record *ret)
{
	int r;

	while ((r = whi_decoder_next(decoder, ret)) == 0) {
		r = whi_decoder_block(decoder);
		if (r <= 0)
			return r;
	}
	return r;
}

/* Read all of it. Returns the fault that was found, WHI_CODEC_GOOD if none. */
static enum whi_codec_fault read_all(const uint8_t *data, size_t len, const struct whi_codec *codec)
{
	/* Exactly so much memory, so that reading beyond it is noticed. */
	uint8_t *copy = malloc(len ? len : 1);
	struct whi_decoder decoder;
	struct whi_record record;
	int r;

	memcpy(copy, data, len);
	whi_decoder_init(&decoder, copy, len);
	decoder.expect = codec;
	while ((r = next(&decoder, &record)) > 0)
		;
	if (r == 0)
		r = whi_decoder_finish(&decoder);
	assert_int_equal(r, whi_codec_fault_error(decoder.fault));
	free(copy);
	return decoder.fault;
}

/* A small stream of all kinds. */
static void encode_some(struct whi_encoder *encoder, unsigned count)
{
	uint8_t bytes[2 * KEY_BYTES];

	for (unsigned i = 0; i < count; i++) {
		struct whi_record record = any_record((enum whi_kind)(i % WHI_KINDS), bytes);

		add(encoder, &record);
	}
	assert_int_equal(whi_encoder_end(encoder), 0);
}

static void checksums_are_those_of_the_rfc(void **state)
{
	static const uint8_t zeros[32];

	(void)state;
	assert_int_equal(whi_crc32c(0, zeros, sizeof(zeros)), 0x8a9136aa);
	assert_int_equal(whi_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(whi_crc32c(whi_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void instruction_and_table_agree(void **state)
{
	uint8_t bytes[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)random_below(256);
	for (size_t from = 0; from < 16; from++)
		for (size_t len = 0; len + from <= sizeof(bytes); len++)
			assert_int_equal(whi_crc32c((uint32_t)len, bytes + from, len),
					 whi_crc32c_table((uint32_t)len, bytes + from, len));
}

/* These numbers are part of the format: a host with another processor must find the same ones. */
static void hash_is_the_same_everywhere(void **state)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog";

	(void)state;
	assert_true(whi_codec_hash(0, (const uint8_t *)"", 0) == 0x00fa29652a1c59d4);
	assert_true(whi_codec_hash(0, (const uint8_t *)text, 3) == 0xc50bba1d62afa9cf);
	assert_true(whi_codec_hash(0, (const uint8_t *)text, 9) == 0x304cd9d55f0bd1ab);
	assert_true(whi_codec_hash(0, (const uint8_t *)text, sizeof(text) - 1) ==
		    0xa163d723bd0001a4);
	assert_true(whi_codec_hash(7, (const uint8_t *)text, 9) == 0x81cae7c65727e8f2);
}

static void partitions_are_even_and_none_is_left_out(void **state)
{
	enum { PARTS = 7, KEYS = 70000 };
	unsigned counts[PARTS] = { 0 };

	(void)state;
	for (uint32_t i = 0; i < KEYS; i++) {
		uint32_t raw = htole32(i);
		uint64_t hash = whi_codec_hash(0, (const uint8_t *)&raw, sizeof(raw));

		assert_true(whi_codec_part(hash, PARTS) < PARTS);
		counts[whi_codec_part(hash, PARTS)]++;
	}
	for (unsigned i = 0; i < PARTS; i++)
		assert_in_range(counts[i], KEYS / PARTS * 95 / 100, KEYS / PARTS * 105 / 100);
}

static void what_goes_in_comes_out(void **state)
{
	static struct whi_record records[RECORDS];
	static uint8_t bytes[RECORDS][2 * KEY_BYTES];
	struct whi_encoder encoder = { .codec = { .part = 3, .seed = 5 }, .block_bytes = 1000 };
	struct whi_codec codec = encoder.codec;
	struct whi_decoder decoder;
	struct whi_record record;

	(void)state;
	for (unsigned i = 0; i < RECORDS; i++) {
		records[i] = any_record((enum whi_kind)random_below(WHI_KINDS), bytes[i]);
		add(&encoder, &records[i]);
	}
	assert_int_equal(whi_encoder_end(&encoder), 0);
	whi_decoder_init(&decoder, encoder.data, encoder.len);
	decoder.expect = &codec;
	for (unsigned i = 0; i < RECORDS; i++) {
		assert_int_equal(next(&decoder, &record), 1);
		assert_int_equal(record.kind, records[i].kind);
		assert_int_equal(record.count, records[i].count);
		same_bytes(record.key, records[i].key);
		same_bytes(record.value, records[i].value);
	}
	assert_int_equal(next(&decoder, &record), 0);
	assert_int_equal(whi_decoder_finish(&decoder), 0);
	assert_int_equal(decoder.sums.records, RECORDS);
	assert_memory_equal(&decoder.sums, &encoder.sums, sizeof(decoder.sums));
	whi_encoder_fini(&encoder);
}

static void extreme_counts_and_keys_come_out(void **state)
{
	enum { LONG_KEY = 3 * WHI_CODEC_BLOCK_BYTES };
	static const uint64_t counts[] = { 0, 127, 128, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX };
	struct whi_encoder encoder = { 0 };
	struct whi_decoder decoder;
	struct whi_record record;
	uint8_t *key = calloc(1, LONG_KEY);

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		record = (struct whi_record){ .kind = WHI_LONG,
					      .key = { key, i % 2 ? LONG_KEY : 0 },
					      .count = counts[i] };
		add(&encoder, &record);
	}
	assert_int_equal(whi_encoder_end(&encoder), 0);
	whi_decoder_init(&decoder, encoder.data, encoder.len);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(next(&decoder, &record), 1);
		assert_int_equal(record.count, counts[i]);
		assert_int_equal(record.key.len, i % 2 ? LONG_KEY : 0);
	}
	assert_int_equal(next(&decoder, &record), 0);
	assert_int_equal(whi_decoder_finish(&decoder), 0);
	whi_encoder_fini(&encoder);
	free(key);
}

static void append(struct whi_block *block, const void *record, size_t len)
{
	assert_true(block->room - block->used >= len);
	memcpy(block->data + block->used, record, len);
	block->used += len;
}

/* One of each length that matters. */
static struct whi_block *some_block(enum whi_kind kind)
{
	struct whi_block *block = whi_block_new(kind, 0);
	static const uint8_t zeros[64];

	for (unsigned len = 1; len <= WHI_SHORT_MAX; len++) {
		struct whi_short short_key = { .count = WHI_SHORT_COUNT_MAX, .hash = 0xfffffe };
		struct whi_long counted = { .count = UINT64_MAX,
					    .len = len,
					    .hash = len & 0xffffff };
		struct whi_pair pair = { .value_len = len, .key_len = len, .hash = len & 0xffffff };

		memset(&short_key, 'x', len);
		if (kind == WHI_SHORT)
			append(block, &short_key, sizeof(short_key));
		else if (kind == WHI_LONG)
			append(block, &counted, sizeof(counted));
		else
			append(block, &pair, sizeof(pair));
		if (kind == WHI_LONG)
			append(block, zeros, whi_long_bytes(len) - sizeof(counted));
		else if (kind == WHI_PAIR)
			append(block, zeros, whi_pair_bytes(&pair) - sizeof(pair));
	}
	return block;
}

static void blocks_of_a_store_come_out(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < WHI_KINDS; kind++) {
		struct whi_encoder encoder = { .codec = { .hashed = true } };
		struct whi_block *in = some_block((enum whi_kind)kind), *out;
		struct whi_decoder decoder;

		assert_int_equal(whi_encoder_block(&encoder, in, 0x80), 0);
		assert_int_equal(whi_encoder_end(&encoder), 0);
		whi_decoder_init(&decoder, encoder.data, encoder.len);
		assert_int_equal(whi_decoder_block(&decoder), 1);
		assert_int_equal(whi_decoder_store_block(&decoder, &out), 0);
		assert_int_equal(out->kind, kind);
		assert_int_equal(out->used, in->used);
		/* Padding is nobody's: only what is before it is compared, by way of the codec. */
		if (kind == WHI_SHORT)
			assert_memory_equal(out->data, in->data, in->used);
		assert_int_equal(whi_decoder_block(&decoder), 0);
		assert_int_equal(whi_decoder_finish(&decoder), 0);
		whi_encoder_fini(&encoder);
		whi_blocks_free(&in->node);
		whi_blocks_free(&out->node);
	}
}

static void hashes_come_out_with_their_partition(void **state)
{
	struct whi_encoder encoder = { .codec = { .hashed = true } };
	struct whi_block *block = some_block(WHI_LONG);
	struct whi_decoder decoder;
	struct whi_record record;

	(void)state;
	assert_int_equal(whi_encoder_block(&encoder, block, 0x80), 0);
	whi_encoder_close(&encoder);
	whi_decoder_init(&decoder, encoder.data, encoder.len);
	for (unsigned len = 1; len <= WHI_SHORT_MAX; len++) {
		assert_int_equal(next(&decoder, &record), 1);
		assert_int_equal(record.hash, 0x80000000u | len);
		assert_int_equal(record.key.len, len);
		assert_true(record.count == UINT64_MAX);
	}
	whi_encoder_fini(&encoder);
	whi_blocks_free(&block->node);
}

static void every_flipped_bit_is_found(void **state)
{
	struct whi_encoder encoder = { .block_bytes = 400 };

	(void)state;
	encode_some(&encoder, 12);
	assert_int_equal(read_all(encoder.data, encoder.len, NULL), WHI_CODEC_GOOD);
	for (size_t bit = 0; bit < encoder.len * 8; bit++) {
		encoder.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(read_all(encoder.data, encoder.len, NULL), WHI_CODEC_GOOD);
		encoder.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	whi_encoder_fini(&encoder);
}

static void every_missing_end_is_found(void **state)
{
	struct whi_encoder encoder = { .block_bytes = 400 };

	(void)state;
	encode_some(&encoder, 12);
	for (size_t len = 0; len < encoder.len; len++) {
		enum whi_codec_fault fault = read_all(encoder.data, len, NULL);

		assert_true(fault == WHI_CODEC_TRUNCATED || fault == WHI_CODEC_NO_END);
	}
	whi_encoder_fini(&encoder);
}

static void missing_and_additional_blocks_are_found(void **state)
{
	struct whi_encoder encoder = { .block_bytes = 400 };
	struct whi_codec_head head;
	size_t first;
	uint8_t *twice;

	(void)state;
	encode_some(&encoder, 12);
	assert_int_equal(whi_codec_head(encoder.data, encoder.len, &head), WHI_CODEC_GOOD);
	first = WHI_CODEC_HEAD + head.bytes;
	assert_int_equal(read_all(encoder.data + first, encoder.len - first, NULL),
			 WHI_CODEC_BAD_END);
	twice = malloc(encoder.len + first);
	memcpy(twice, encoder.data, encoder.len);
	memcpy(twice + encoder.len, encoder.data, first);
	assert_int_equal(read_all(twice, encoder.len + first, NULL), WHI_CODEC_BAD_END);
	free(twice);
	whi_encoder_fini(&encoder);
}

/* Make the checksum of the block at `data` right, as somebody would who means harm. */
static void seal(uint8_t *data)
{
	uint64_t bytes;
	uint32_t crc;

	memcpy(&bytes, data + 16, sizeof(bytes));
	crc = whi_crc32c(0, data, CRC_OFFSET);
	crc = htole32(whi_crc32c(crc, data + WHI_CODEC_HEAD, le64toh(bytes)));
	memcpy(data + CRC_OFFSET, &crc, sizeof(crc));
}

/* What a block with these records says, once its checksum is right. */
static enum whi_codec_fault forged(uint8_t kind, uint64_t records, const void *bytes, size_t len)
{
	uint8_t data[WHI_CODEC_HEAD + 64] = { 'w', 'm', 'r', 'B', WHI_CODEC_VERSION, kind };
	uint64_t raw[2] = { htole64(len), htole64(records) };

	memcpy(data + 16, raw, sizeof(raw));
	memcpy(data + WHI_CODEC_HEAD, bytes, len);
	seal(data);
	return read_all(data, WHI_CODEC_HEAD + len, NULL);
}

static void forged_records_are_refused(void **state)
{
	(void)state;
	/* Key length, count, key. */
	assert_int_equal(forged(WHI_LONG, 1, "\x01\x05k", 3), WHI_CODEC_NO_END);
	assert_int_equal(forged(WHI_LONG, 1, "\x02\x05k", 3), WHI_CODEC_KEY_TOO_LONG);
	assert_int_equal(forged(WHI_LONG, 1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01", 11),
			 WHI_CODEC_KEY_TOO_LONG);
	assert_int_equal(forged(WHI_LONG, 1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x01", 11),
			 WHI_CODEC_BAD_VARINT);
	assert_int_equal(forged(WHI_LONG, 1, "\x81\x81\x81", 3), WHI_CODEC_BAD_RECORDS);
	assert_int_equal(forged(WHI_LONG, 1, "\x01\x05kmore", 7), WHI_CODEC_BAD_RECORDS);
	assert_int_equal(forged(WHI_LONG, 2, "\x02\x05kk", 4), WHI_CODEC_BAD_RECORDS);
	assert_int_equal(forged(WHI_LONG, UINT64_MAX, "\x01\x05k", 3), WHI_CODEC_BAD_RECORDS);
	assert_int_equal(forged(WHI_LONG, 0, "", 0), WHI_CODEC_BAD_RECORDS);
	assert_int_equal(forged(WHI_PAIR, 1, "\x01\x05kvalu", 7), WHI_CODEC_VALUE_TOO_LONG);
	assert_int_equal(forged(WHI_SHORT, 1, "\x00\x01", 2), WHI_CODEC_BAD_SHORT);
	assert_int_equal(forged(WHI_SHORT, 1, "\x02\x01k", 4), WHI_CODEC_BAD_SHORT);
	assert_int_equal(forged(WHI_SHORT, 1, "\x11\x01kkkkkkkkkkkkkkkkk", 19),
			 WHI_CODEC_KEY_TOO_LONG);
	assert_int_equal(forged(WHI_SHORT, 1, "\x01\x80\x80\x80\x80\x80\x80\x01k", 9),
			 WHI_CODEC_BAD_COUNT);
	assert_int_equal(forged(WHI_CODEC_END, 0, "\x01\x00\x00\x00", 4), WHI_CODEC_BAD_END);
	assert_int_equal(forged(WHI_CODEC_END, 0, "\x00\x00\x00\x00", 4), WHI_CODEC_GOOD);
	assert_int_equal(forged(WHI_CODEC_END, 0, "", 0), WHI_CODEC_BAD_RECORDS);
	assert_int_equal(forged(WHI_KINDS, 1, "\x01\x05k", 3), WHI_CODEC_BAD_KIND);
}

static void another_format_is_told_from_damage(void **state)
{
	struct whi_encoder encoder = { .codec = { .hash_id = WHI_CODEC_HASH_CANONICAL,
						  .seed = 1 } };
	struct whi_codec other = encoder.codec;

	(void)state;
	encode_some(&encoder, 3);
	other.seed = 2;
	assert_int_equal(read_all(encoder.data, encoder.len, &other), WHI_CODEC_BAD_HASH);
	other = encoder.codec;
	other.hash_id = WHI_CODEC_HASH_STORE;
	assert_int_equal(read_all(encoder.data, encoder.len, &other), WHI_CODEC_BAD_HASH);
	other = encoder.codec;
	other.part = 1;
	assert_int_equal(read_all(encoder.data, encoder.len, &other), WHI_CODEC_BAD_PART);
	encoder.data[VERSION_OFFSET]++;
	assert_int_equal(read_all(encoder.data, encoder.len, NULL), WHI_CODEC_BAD_VERSION);
	encoder.data[VERSION_OFFSET]--;
	encoder.data[FLAGS_OFFSET] = 2;
	assert_int_equal(read_all(encoder.data, encoder.len, NULL), WHI_CODEC_BAD_FLAGS);
	assert_int_equal(whi_codec_fault_error(WHI_CODEC_BAD_VERSION), -EPROTO);
	assert_int_equal(whi_codec_fault_error(WHI_CODEC_BAD_CRC), -EBADMSG);
	whi_encoder_fini(&encoder);
}

static void every_fault_has_a_phrase_and_an_error(void **state)
{
	(void)state;
	for (unsigned i = 1; i < WHI_CODEC_FAULTS; i++) {
		assert_true(strlen(whi_codec_fault_text((enum whi_codec_fault)i)) > 0);
		assert_true(whi_codec_fault_error((enum whi_codec_fault)i) < 0);
	}
}

static void running_out_of_memory_is_told_and_leaves_nothing(void **state)
{
	struct whi_record record = { .kind = WHI_LONG, .key = { "key", 3 }, .count = 1 };
	int64_t live = faulty_alloc_live();
	struct whi_encoder encoder = { 0 };

	(void)state;
	faulty_alloc_set(&(struct faulty_pick){ .first = 1 });
	assert_int_equal(whi_encoder_count(&encoder, &record), -ENOMEM);
	faulty_alloc_set(&(struct faulty_pick){ 0 });
	add(&encoder, &record);
	assert_int_equal(whi_encoder_end(&encoder), 0);
	assert_int_equal(read_all(encoder.data, encoder.len, NULL), WHI_CODEC_GOOD);
	whi_encoder_fini(&encoder);
	assert_int_equal(faulty_alloc_live(), live);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksums_are_those_of_the_rfc),
		cmocka_unit_test(instruction_and_table_agree),
		cmocka_unit_test(hash_is_the_same_everywhere),
		cmocka_unit_test(partitions_are_even_and_none_is_left_out),
		cmocka_unit_test(what_goes_in_comes_out),
		cmocka_unit_test(extreme_counts_and_keys_come_out),
		cmocka_unit_test(blocks_of_a_store_come_out),
		cmocka_unit_test(hashes_come_out_with_their_partition),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(every_missing_end_is_found),
		cmocka_unit_test(missing_and_additional_blocks_are_found),
		cmocka_unit_test(forged_records_are_refused),
		cmocka_unit_test(another_format_is_told_from_damage),
		cmocka_unit_test(every_fault_has_a_phrase_and_an_error),
		cmocka_unit_test(running_out_of_memory_is_told_and_leaves_nothing),
	};

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 10);
	print_message("seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
