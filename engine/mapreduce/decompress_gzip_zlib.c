/* gzip by zlib, where there is no ISA-L. */
#include <errno.h>
#include <limits.h>
#include <zlib.h>

#include "base/alloc.h"
#include "mapreduce/decompressors.h"

enum { GZIP_ONLY = 16 }; /* added to zlib's windowBits */

static int gzip_open(void **ret_state)
{
	z_stream *stream = whi_calloc(1, sizeof(*stream));

	if (!stream)
		return -ENOMEM;
	if (inflateInit2(stream, MAX_WBITS + GZIP_ONLY) != Z_OK) {
		whi_free(stream);
		return -ENOMEM;
	}
	*ret_state = stream;
	return 0;
}

static void gzip_close(void *state)
{
	inflateEnd(state);
	whi_free(state);
}

static void gzip_begin(void *state)
{
	inflateReset(state);
}

static unsigned clamp(size_t len)
{
	return len < UINT_MAX ? (unsigned)len : UINT_MAX;
}

static int gzip_decode(void *state, struct whi_decompress_io *io)
{
	z_stream *stream = state;
	unsigned in = clamp(io->in_len), out = clamp(io->out_room);
	int r;

	stream->next_in = (uint8_t *)(uintptr_t)io->in;
	stream->avail_in = in;
	stream->next_out = io->out;
	stream->avail_out = out;
	r = inflate(stream, Z_NO_FLUSH);
	io->in += in - stream->avail_in;
	io->in_len -= in - stream->avail_in;
	io->out += out - stream->avail_out;
	io->out_room -= out - stream->avail_out;
	if (r == Z_STREAM_END)
		return WHI_DECOMPRESS_FRAME_END;
	if (r == Z_OK || r == Z_BUF_ERROR)
		return WHI_DECOMPRESS_MORE;
	return r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

const struct whi_decompressor whi_decompress_gzip = {
	.name = "gzip",
	.open = gzip_open,
	.close = gzip_close,
	.begin = gzip_begin,
	.decode = gzip_decode,
};
