/* zstd by libzstd. */
#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/alloc.h"
#include "mapreduce/decompressors.h"

/* A frame that needs a longer window is refused: what decoding may take of memory. */
enum { WINDOW_LOG_MAX = 27 };

struct zstd {
	ZSTD_DCtx *context;
	size_t want; /* until the next block ends */
};

static int zstd_open(void **ret_state)
{
	struct zstd *zstd = whi_alloc(sizeof(*zstd));

	if (!zstd)
		return -ENOMEM;
	*zstd = (struct zstd){ .context = ZSTD_createDCtx() };
	if (!zstd->context) {
		whi_free(zstd);
		return -ENOMEM;
	}
	ZSTD_DCtx_setParameter(zstd->context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
	*ret_state = zstd;
	return 0;
}

static void zstd_close(void *state)
{
	struct zstd *zstd = state;

	ZSTD_freeDCtx(zstd->context);
	whi_free(zstd);
}

static void zstd_begin(void *state)
{
	struct zstd *zstd = state;

	ZSTD_DCtx_reset(zstd->context, ZSTD_reset_session_only);
	zstd->want = ZSTD_DStreamInSize();
}

static int zstd_failed(size_t result)
{
	switch (ZSTD_getErrorCode(result)) {
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	case ZSTD_error_frameParameter_windowTooLarge:
		return -EFBIG;
	default:
		return -EBADMSG;
	}
}

/* Block by block, so that a failure tells in which block it was. */
static int zstd_decode(void *state, struct whi_decompress_io *io)
{
	struct zstd *zstd = state;

	do {
		size_t len = io->in_len < zstd->want ? io->in_len : zstd->want;
		ZSTD_inBuffer in = { io->in, len, 0 };
		ZSTD_outBuffer out = { io->out, io->out_room, 0 };
		size_t r = ZSTD_decompressStream(zstd->context, &out, &in);

		if (ZSTD_isError(r))
			return zstd_failed(r);
		io->in += in.pos;
		io->in_len -= in.pos;
		io->out += out.pos;
		io->out_room -= out.pos;
		zstd->want = r;
		if (r == 0)
			return WHI_DECOMPRESS_FRAME_END;
	} while (io->in_len > 0 && io->out_room > 0);
	return WHI_DECOMPRESS_MORE;
}

const struct whi_decompressor whi_decompress_zstd = {
	.name = "zstd",
	.open = zstd_open,
	.close = zstd_close,
	.begin = zstd_begin,
	.decode = zstd_decode,
};
