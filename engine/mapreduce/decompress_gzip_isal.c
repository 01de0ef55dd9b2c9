/* gzip by ISA-L, which decodes it two to three times as fast as zlib does. */
#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <limits.h>

#include "base/alloc.h"
#include "mapreduce/decompressors.h"

static int gzip_open(void **ret_state)
{
	struct inflate_state *state = whi_aligned_alloc(64, sizeof(*state));

	if (!state)
		return -ENOMEM;
	isal_inflate_init(state);
	*ret_state = state;
	return 0;
}

static void gzip_close(void *state)
{
	whi_free(state);
}

static void gzip_begin(void *arg)
{
	struct inflate_state *state = arg;

	isal_inflate_reset(state);
	/* Header and trailer are read, the checksum and the length compared. */
	state->crc_flag = ISAL_GZIP;
}

static uint32_t clamp(size_t len)
{
	return len < UINT32_MAX ? (uint32_t)len : UINT32_MAX;
}

static int gzip_decode(void *arg, struct whi_decompress_io *io)
{
	struct inflate_state *state = arg;
	uint32_t in = clamp(io->in_len), out = clamp(io->out_room);
	int r;

	state->next_in = (uint8_t *)(uintptr_t)io->in;
	state->avail_in = in;
	state->next_out = io->out;
	state->avail_out = out;
	r = isal_inflate(state);
	io->in += in - state->avail_in;
	io->in_len -= in - state->avail_in;
	io->out += out - state->avail_out;
	io->out_room -= out - state->avail_out;
	if (r < 0)
		return -EBADMSG;
	return state->block_state == ISAL_BLOCK_FINISH ? WHI_DECOMPRESS_FRAME_END
						       : WHI_DECOMPRESS_MORE;
}

const struct whi_decompressor whi_decompress_gzip = {
	.name = "gzip",
	.open = gzip_open,
	.close = gzip_close,
	.begin = gzip_begin,
	.decode = gzip_decode,
};
