/* The compression formats that inputs may have, one file each: gzip (RFC 1952), zstd (RFC 8878) and
 * the frame format of lz4. A decoder sees one frame (gzip: member) after another. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Bytes to be decoded, and room for what they become; both move on. */
struct whi_decompress_io {
	const uint8_t *in;
	size_t in_len;
	uint8_t *out;
	size_t out_room;
};

enum { WHI_DECOMPRESS_MORE, WHI_DECOMPRESS_FRAME_END };

struct whi_decompressor {
	const char *name; /* "gzip" */

	/* Returns 0 or -ENOMEM. */
	int (*open)(void **ret_state);
	void (*close)(void *state);

	/* A frame begins; whatever became of the last one. */
	void (*begin)(void *state);

	/* Decode until the frame ends, or there is no more input, or no more room. Returns
	 * WHI_DECOMPRESS_MORE or WHI_DECOMPRESS_FRAME_END, -EBADMSG if the data are damaged, -EFBIG
	 * if they need more memory than a decoder may take, -ENOMEM. What it took before it failed
	 * may be in the output. */
	int (*decode)(void *state, struct whi_decompress_io *io);
};

extern const struct whi_decompressor whi_decompress_gzip;
extern const struct whi_decompressor whi_decompress_zstd;
extern const struct whi_decompressor whi_decompress_lz4;
