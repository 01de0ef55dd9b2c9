/*
 * Compressed inputs: which bytes are, and what they decode to. A compressed file is one frame after
 * another, each of any of the formats, with frames to be skipped among them; zero bytes after the
 * last one are padding.
 *
 * What has been decoded before damage is found counts, as what has been read of a file before a
 * read fails: checksums come after the bytes that they are of.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

#include "mapreduce/decompressors.h"

enum {
	WHI_UNPACK_HEAD = 8, /* bytes that tell what a frame is */
	WHI_UNPACK_FORMATS = 3,
};

/* What whi_unpack_run stopped for. */
enum {
	WHI_UNPACK_ROOM,   /* the output is full */
	WHI_UNPACK_HUNGRY, /* all input is taken, and a little may be left where a frame begins */
	WHI_UNPACK_BORDER, /* a frame begins at `stop`; told once */
	WHI_UNPACK_END,
};

struct whi_unpack {
	uint64_t pos;  /* in the file: of the next byte to be taken */
	uint64_t stop; /* see WHI_UNPACK_BORDER */
	uint64_t skip; /* bytes of a frame that is skipped */
	enum { WHI_AT_FRAME, WHI_IN_FRAME, WHI_IN_SKIPPED, WHI_IN_PADDING } state;
	bool begun;			       /* a frame has been decoded to its end */
	const struct whi_decompressor *format; /* of this frame, or of the last one */
	enum wh_mr_damage_kind damage;
	void *states[WHI_UNPACK_FORMATS]; /* of the decoders that were needed so far */
};

/* Whether a file that begins with these bytes is compressed. Of fewer than WHI_UNPACK_HEAD bytes
 * they have to be all of it. */
bool whi_unpack_is_packed(const uint8_t *head, size_t len);

/* The format of a frame, NULL if it is one to skip or none. */
const struct whi_decompressor *whi_unpack_format(const uint8_t *head, size_t len);

/* Begin at a frame's offset. What decoders an earlier file left open is used again. */
void whi_unpack_begin(struct whi_unpack *unpack, uint64_t begin, uint64_t stop);
void whi_unpack_fini(struct whi_unpack *unpack);

/* Decode until one of WHI_UNPACK_. `eof`: nothing follows io->in; else what is left of it comes
 * again in front of what follows. Returns that, or -EBADMSG with `damage`, `format` and `pos`
 * telling what is wrong, or -ENOMEM. */
int whi_unpack_run(struct whi_unpack *unpack, struct whi_decompress_io *io, bool eof);

/* Find where the frames of a file but the first begin, without decoding them: each offset goes to
 * `found` until that returns false. Ends early where frames cannot be told apart any more.
 * Blocks. */
typedef bool (*whi_frame_fn)(void *arg, uint64_t begin);
void whi_frames_find(int fd, whi_frame_fn found, void *arg);
