/*
 * The one format of records outside of memory: of what is spilled, of what processes hand each
 * other, and of what goes from host to host.
 *
 * A stream is blocks one after another, each complete in itself: a header of WHI_CODEC_HEAD bytes,
 * then its records. Everything is little endian, numbers in records are LEB128 varints of at most
 * 10 bytes.
 *
 *      0  magic "wmrB"
 *      4  version (1)
 *      5  kind: 0 short, 1 long, 2 pair, as enum whi_kind; 255 end
 *      6  which hash `part` goes by: 0 the store's own, of one process; 1 whi_codec_hash
 *      7  flags: 1 each record begins with 4 bytes of the store's hash
 *      8  seed of the hash (8 bytes)
 *     16  bytes that follow the header (8)
 *     24  records (8)
 *     32  part: the partition that all records are of (4)
 *     36  CRC-32C of the bytes before and of those that follow the header (4)
 *
 *     record of a short or long key: [hash] key length, count, key
 *     record of a pair:              [hash] key length, value length, key, value
 *
 * The end block has no records but the stream's sums as varints: blocks, records, bytes of blocks,
 * and counts modulo 2^64. Who reads a whole stream knows by it that nothing is missing.
 *
 * The decoder takes its input for hostile: whatever the bytes, it tells what is wrong and never
 * reads or writes beyond what it was given.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/block.h"
#include "mapreduce/table.h"

enum {
	WHI_CODEC_VERSION = 1,
	WHI_CODEC_HEAD = 40,
	WHI_CODEC_BLOCK_BYTES = 64 * 1024, /* of records; a block of one long record has more */
	WHI_CODEC_END = 255,		   /* kind of the end block */
};

/* Which hash chose the partition. */
enum whi_codec_hash_id { WHI_CODEC_HASH_STORE, WHI_CODEC_HASH_CANONICAL };

/* What all blocks of a stream have in common. */
struct whi_codec {
	enum whi_codec_hash_id hash_id;
	uint64_t seed;
	uint32_t part;
	bool hashed; /* each record carries the store's hash, so that nobody has to hash again */
};

/* The hash that partitions go by where several hosts must agree: the same on each, whatever its
 * instruction set or byte order. Independent of the bits that choose a store's partition. */
uint64_t whi_codec_hash(uint64_t seed, const uint8_t *key, size_t len);

/* Which of `parts` partitions a hash belongs to, by its top bits. */
static inline uint32_t whi_codec_part(uint64_t hash, uint32_t parts)
{
	return (uint32_t)((hash >> 32) * parts >> 32);
}

struct whi_record {
	enum whi_kind kind;
	uint32_t hash; /* of the store, if the codec is hashed */
	struct wh_mr_bytes key;
	struct wh_mr_bytes value; /* of a pair */
	uint64_t count;		  /* of a counted key */
};

struct whi_codec_sums {
	uint64_t blocks;
	uint64_t records;
	uint64_t bytes; /* of blocks, with their headers, without the end block */
	uint64_t count; /* of all records of counted keys, modulo 2^64 */
};

/* Appends blocks to a buffer of its own. All zero but `codec` is valid to begin with; what is not
 * to be written has to be ended with whi_encoder_fini. The bytes
 * `data[0]` to `data[len - 1]` are whole blocks after whi_encoder_close; the caller writes them
 * anywhere and then sets `len` to 0. */
struct whi_encoder {
	struct whi_codec codec;
	size_t block_bytes; /* of records, after which a block is closed; 0: the default */
	uint8_t *data;
	size_t len;
	size_t room;
	size_t block;		    /* where the open block begins, if `records` is not 0 */
	uint64_t records;	    /* in the open block; 0: there is none */
	enum whi_kind kind;	    /* of the open block */
	struct whi_codec_sums sums; /* of closed blocks; `count` of all */
};

void whi_encoder_fini(struct whi_encoder *encoder);

/* Add a counted key, `record->kind` short or long, or a pair. Returns 0 or -ENOMEM. */
int whi_encoder_count(struct whi_encoder *encoder, const struct whi_record *record);
int whi_encoder_pair(struct whi_encoder *encoder, const struct whi_record *record);

/* Add all records of a store's block; `part` is the store's partition, which records leave out of
 * their hash. Returns 0 or -ENOMEM. */
int whi_encoder_block(struct whi_encoder *encoder, const struct whi_block *block, unsigned part);

/* End the open block, if there is one. */
void whi_encoder_close(struct whi_encoder *encoder);

/* End the stream. Returns 0 or -ENOMEM. */
int whi_encoder_end(struct whi_encoder *encoder);

/* What can be wrong with encoded bytes. */
enum whi_codec_fault {
	WHI_CODEC_GOOD,
	WHI_CODEC_BAD_MAGIC,
	WHI_CODEC_BAD_VERSION,
	WHI_CODEC_BAD_KIND,
	WHI_CODEC_BAD_FLAGS,
	WHI_CODEC_BAD_HASH, /* another hash or seed than the reader's */
	WHI_CODEC_BAD_PART,
	WHI_CODEC_TRUNCATED, /* the bytes end inside a block */
	WHI_CODEC_BAD_CRC,
	WHI_CODEC_BAD_VARINT,	/* longer than 64 bits */
	WHI_CODEC_KEY_TOO_LONG, /* longer than its block, or than keys of its kind may be */
	WHI_CODEC_VALUE_TOO_LONG,
	WHI_CODEC_BAD_SHORT,   /* a short key that is empty or has a zero byte */
	WHI_CODEC_BAD_COUNT,   /* a short key's count is above WHI_SHORT_COUNT_MAX */
	WHI_CODEC_BAD_RECORDS, /* not as many in the block as it says */
	WHI_CODEC_NO_END,      /* the stream ends without its end block */
	WHI_CODEC_BAD_END,     /* sums that are not the stream's, or blocks after its end */
	WHI_CODEC_BAD_ORDER,   /* for readers of what has to be sorted */
	WHI_CODEC_FAULTS,
};

/* As a phrase, to follow what the bytes are of: "part-3: the checksum is wrong". */
const char *whi_codec_fault_text(enum whi_codec_fault fault);

/* -EPROTO: written by another version, or for another hash; -EBADMSG: anything else. */
int whi_codec_fault_error(enum whi_codec_fault fault);

/* A block's header. */
struct whi_codec_head {
	uint8_t kind; /* enum whi_kind or WHI_CODEC_END */
	struct whi_codec codec;
	uint64_t bytes;
	uint64_t records;
	uint32_t crc;
};

/* Read a header of which `len` bytes are there, without its block: how much to read next. Returns a
 * fault or WHI_CODEC_GOOD. */
enum whi_codec_fault whi_codec_head(const uint8_t *data, size_t len, struct whi_codec_head *ret);

/* Reads the blocks in a range of bytes. */
struct whi_decoder {
	const uint8_t *at; /* the next record or block */
	const uint8_t *end;
	const uint8_t *block_end;
	struct whi_codec_head head;	/* of the block that is being read */
	uint64_t left;			/* records of it that were not read */
	bool ended;			/* the end block has been seen */
	bool skipped;			/* some records were not read: `sums.count` is not known */
	const struct whi_codec *expect; /* what blocks must say of themselves; NULL: anything */
	struct whi_codec_sums sums;	/* of the blocks read so far */
	enum whi_codec_fault fault;
};

void whi_decoder_init(struct whi_decoder *decoder, const void *data, size_t len);

/* Give it more of the same stream, when it has come to the end of what it has. */
void whi_decoder_feed(struct whi_decoder *decoder, const void *data, size_t len);

/* Go to the next block, whether or not all records of this one were read, and check its header and
 * its checksum. Returns 1; 0 at the end of the bytes, after the end block or not (see `ended`); or
 * -EBADMSG or -EPROTO, with `fault` set. The end block is checked and passed over. */
int whi_decoder_block(struct whi_decoder *decoder);

/* The next record of the block. Returns 1; 0 after its last one; or -EBADMSG, with `fault` set. */
int whi_decoder_next(struct whi_decoder *decoder, struct whi_record *ret);

/* The rest of the current block as a store's block, which the caller owns. Records that are not
 * `hashed` are a fault. Returns 0, -ENOMEM, or -EBADMSG or -EPROTO with `fault` set. */
int whi_decoder_store_block(struct whi_decoder *decoder, struct whi_block **ret);

/* All bytes were read: is that the whole stream? Returns 0, or -EBADMSG with `fault` set. */
int whi_decoder_finish(struct whi_decoder *decoder);
