/* A compressed file, or some frames of one, on its way through a mapper. The caller brings the
 * file's bytes, in order and from any thread; one thread at a time maps what they decode to. */
#pragma once

#include "mapreduce/decompress.h"
#include "mapreduce/source.h"

/* What whi_packed_map may also return. */
enum { WHI_PACKED_HUNGRY = WHI_COMPRESSED + 1, WHI_PACKED_DAMAGED };

enum {
	WHI_PACKED_BYTES = 128 * 1024, /* read at a time */

	/* Text of a compressed file grows to anything from a few bytes: a record is bounded. */
	WHI_PACKED_RECORD_MAX = 64 * 1024 * 1024,
};

struct whi_packed {
	struct whi_unpack unpack;
	struct whi_buffer raw;	  /* the file's bytes, at unpack.pos and on; the caller appends */
	struct whi_buffer out;	  /* what they became and is not mapped yet */
	struct whi_source source; /* of what they became */
	uint64_t end;		  /* of the frames that are to be mapped */
	uint64_t counted;	  /* bytes of the file told to the progress */
	struct whi_times *times;  /* NULL: nobody asks */
	uint64_t made;		  /* bytes that came out, and were not asked for yet */
};

/* Begin with frames from `begin` to `end`, offsets in the file; UINT64_MAX: to its end. Memory of
 * what it was before is used again. Returns 0 or -ENOMEM. */
int whi_packed_begin(struct whi_packed *packed, const char *path, uint64_t begin, uint64_t end);
void whi_packed_fini(struct whi_packed *packed);

/* Where in the file the bytes come from that are to be put behind those in `raw`. */
static inline uint64_t whi_packed_next(const struct whi_packed *packed)
{
	return packed->unpack.pos + packed->raw.len;
}

/* Map what `raw` decodes to; `eof`: nothing follows it. Returns 0 when all is done, or
 * WHI_PACKED_HUNGRY, or WHI_PACKED_DAMAGED with unpack.damage, .format and .pos, after what came
 * before the damage has been mapped; or an error as whi_source_map. */
int whi_packed_map(struct whi_packed *packed, struct whi_mapper *mapper, bool eof);

/* Decode to packed->out until it is full, without mapping. Returns as whi_unpack_run. */
int whi_packed_fill(struct whi_packed *packed, struct whi_buffer *out, bool eof);

/* Bytes of the file that are done since this was last asked. */
uint64_t whi_packed_progress(struct whi_packed *packed);
