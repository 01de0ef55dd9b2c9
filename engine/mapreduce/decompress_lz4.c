/* lz4 by liblz4. */
#include <errno.h>
#include <lz4frame.h>

#include "mapreduce/decompressors.h"

static int lz4_open(void **ret_state)
{
	LZ4F_dctx *context = NULL;

	if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
		return -ENOMEM;
	*ret_state = context;
	return 0;
}

static void lz4_close(void *state)
{
	LZ4F_freeDecompressionContext(state);
}

static void lz4_begin(void *state)
{
	LZ4F_resetDecompressionContext(state);
}

static int lz4_decode(void *state, struct whi_decompress_io *io)
{
	size_t in, out, r;

	do {
		in = io->in_len;
		out = io->out_room;
		r = LZ4F_decompress(state, io->out, &out, io->in, &in, NULL);
		/* It says only so: memory is also what it may lack. */
		if (LZ4F_isError(r))
			return -EBADMSG;
		io->in += in;
		io->in_len -= in;
		io->out += out;
		io->out_room -= out;
		if (r == 0)
			return WHI_DECOMPRESS_FRAME_END;
	} while (io->in_len > 0 && io->out_room > 0 && in + out > 0);
	return WHI_DECOMPRESS_MORE;
}

const struct whi_decompressor whi_decompress_lz4 = {
	.name = "lz4",
	.open = lz4_open,
	.close = lz4_close,
	.begin = lz4_begin,
	.decode = lz4_decode,
};
