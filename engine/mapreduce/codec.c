/* Owns what encoder and decoder share: the hash that hosts agree on, and the names of faults. */
#include "mapreduce/codec.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "mapreduce/hash.h"

static uint64_t load(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return le64toh(word);
}

/* Folded multiplication over 16 bytes at a time, as in wyhash (Wang Yi, "Modern Non-Cryptographic
 * Hash Function"). Part of the format: the tables' own hash may change from version to version and
 * processor to processor, this one may not. It shares no bits with that one either; a store that
 * gets one of our partitions would otherwise put all of it into one or two of its own. */
uint64_t whi_codec_hash(uint64_t seed, const uint8_t *key, size_t len)
{
	uint64_t hash = seed ^ 0x589965cc75374cc3u;
	uint8_t last[16] = { 0 };
	size_t left = len;

	for (; left > sizeof(last); left -= sizeof(last), key += sizeof(last))
		hash = whi_hash_mix(load(key) ^ 0x1d8e4e27c47d124fu,
				    load(key + 8) ^ 0xa0761d6478bd642fu ^ hash);
	if (left)
		memcpy(last, key, left);
	hash = whi_hash_mix(load(last) ^ 0xe7037ed1a0b428dbu,
			    load(last + 8) ^ 0x8ebc6af09c88c6e3u ^ hash);
	return whi_hash_mix(hash ^ 0xeb44accab455d165u, len ^ 0x9c6e6877736c46e3u);
}

const char *whi_codec_fault_text(enum whi_codec_fault fault)
{
	static const char *const texts[] = {
		[WHI_CODEC_GOOD] = "nothing is wrong",
		[WHI_CODEC_BAD_MAGIC] = "these are not encoded records",
		[WHI_CODEC_BAD_VERSION] = "written in another version of the format",
		[WHI_CODEC_BAD_KIND] = "records of an unknown kind",
		[WHI_CODEC_BAD_FLAGS] = "unknown flags",
		[WHI_CODEC_BAD_HASH] = "partitioned by another hash or seed",
		[WHI_CODEC_BAD_PART] = "records of another partition",
		[WHI_CODEC_TRUNCATED] = "ends inside a block",
		[WHI_CODEC_BAD_CRC] = "the checksum is wrong",
		[WHI_CODEC_BAD_VARINT] = "a number of more than 64 bits",
		[WHI_CODEC_KEY_TOO_LONG] = "a key is too long",
		[WHI_CODEC_VALUE_TOO_LONG] = "a value is too long",
		[WHI_CODEC_BAD_SHORT] = "a short key is empty or has a zero byte",
		[WHI_CODEC_BAD_COUNT] = "a count is out of range",
		[WHI_CODEC_BAD_RECORDS] = "a block has not as many records as it says",
		[WHI_CODEC_NO_END] = "its end is missing",
		[WHI_CODEC_BAD_END] = "blocks are missing, or there are too many",
		[WHI_CODEC_BAD_ORDER] = "its records are not in order",
	};

	return (unsigned)fault < WHI_CODEC_FAULTS ? texts[fault] : "unknown fault";
}

int whi_codec_fault_error(enum whi_codec_fault fault)
{
	switch (fault) {
	case WHI_CODEC_GOOD:
		return 0;
	case WHI_CODEC_BAD_VERSION:
	case WHI_CODEC_BAD_KIND:
	case WHI_CODEC_BAD_FLAGS:
	case WHI_CODEC_BAD_HASH:
		return -EPROTO;
	case WHI_CODEC_BAD_MAGIC:
	case WHI_CODEC_BAD_PART:
	case WHI_CODEC_TRUNCATED:
	case WHI_CODEC_BAD_CRC:
	case WHI_CODEC_BAD_VARINT:
	case WHI_CODEC_KEY_TOO_LONG:
	case WHI_CODEC_VALUE_TOO_LONG:
	case WHI_CODEC_BAD_SHORT:
	case WHI_CODEC_BAD_COUNT:
	case WHI_CODEC_BAD_RECORDS:
	case WHI_CODEC_NO_END:
	case WHI_CODEC_BAD_END:
	case WHI_CODEC_BAD_ORDER:
	case WHI_CODEC_FAULTS:
		break;
	}
	return -EBADMSG;
}
