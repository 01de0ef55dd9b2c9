/* A block's header as it lies in memory, for the files that write and read it. */
#pragma once

#include <stdint.h>

#include "mapreduce/codec.h"

/* clang-format off */
#define WHI_CODEC_MAGIC { 'w', 'm', 'r', 'B' }
/* clang-format on */

enum { WHI_CODEC_HASHED = 1 }; /* the only flag */

/* Numbers are little endian. */
struct whi_codec_raw {
	uint8_t magic[4];
	uint8_t version;
	uint8_t kind;
	uint8_t hash_id;
	uint8_t flags;
	uint64_t seed;
	uint64_t bytes;
	uint64_t records;
	uint32_t part;
	uint32_t crc;
};

_Static_assert(sizeof(struct whi_codec_raw) == WHI_CODEC_HEAD, "no padding");
