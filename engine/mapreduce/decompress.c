/* Owns the sequence of frames and the decoders' states.
 *
 * 1. `pos` is the offset of io->in, but inside of a decoder's call.
 * 2. A frame's decoder is begun before its first byte is taken; an aborted one may be begun again.
 * 3. Each turn of the loop takes input, makes output, or changes the state. */
#include "mapreduce/decompress.h"

#include <errno.h>
#include <string.h>

/* Whatever has been decoded: a file has them in no particular order. */
static const struct whi_decompressor *const formats[WHI_UNPACK_FORMATS] = {
	&whi_decompress_gzip,
	&whi_decompress_zstd,
	&whi_decompress_lz4,
};

enum {
	MAGIC_BYTES = 4,
	GZIP_RESERVED = 0xe0, /* bits of the flags */
	GO_ON = 100,
};

static uint32_t little32(const uint8_t *bytes)
{
	return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	       (uint32_t)bytes[3] << 24;
}

/* RFC 8878, 3.1.2; lz4's frame format has the same. */
static bool is_skippable(const uint8_t *head)
{
	return (little32(head) & 0xfffffff0) == 0x184d2a50;
}

const struct whi_decompressor *whi_unpack_format(const uint8_t *head, size_t len)
{
	if (len < MAGIC_BYTES)
		return NULL;
	if (head[0] == 0x1f && head[1] == 0x8b && head[2] == 8 && !(head[3] & GZIP_RESERVED))
		return &whi_decompress_gzip;
	if (little32(head) == 0xfd2fb528)
		return &whi_decompress_zstd;
	if (little32(head) == 0x184d2204)
		return &whi_decompress_lz4;
	return NULL;
}

bool whi_unpack_is_packed(const uint8_t *head, size_t len)
{
	return whi_unpack_format(head, len) || (len >= WHI_UNPACK_HEAD && is_skippable(head));
}

void whi_unpack_begin(struct whi_unpack *unpack, uint64_t begin, uint64_t stop)
{
	unpack->pos = begin;
	unpack->stop = stop;
	unpack->state = WHI_AT_FRAME;
	unpack->begun = false;
	unpack->format = NULL;
}

void whi_unpack_fini(struct whi_unpack *unpack)
{
	for (unsigned i = 0; i < WHI_UNPACK_FORMATS; i++)
		if (unpack->states[i])
			formats[i]->close(unpack->states[i]);
	*unpack = (struct whi_unpack){ 0 };
}

static int damaged(struct whi_unpack *unpack, enum wh_mr_damage_kind kind)
{
	unpack->damage = kind;
	return -EBADMSG;
}

static void **state_of(struct whi_unpack *unpack)
{
	unsigned i = 0;

	while (i < WHI_UNPACK_FORMATS - 1 && formats[i] != unpack->format)
		i++;
	return &unpack->states[i];
}

static void take(struct whi_unpack *unpack, struct whi_decompress_io *io, uint64_t len)
{
	io->in += len;
	io->in_len -= (size_t)len;
	unpack->pos += len;
}

static int begin_frame(struct whi_unpack *unpack, const struct whi_decompressor *format)
{
	void **state;
	int r = 0;

	unpack->format = format;
	state = state_of(unpack);
	if (!*state)
		r = format->open(state);
	if (r < 0)
		return r;
	format->begin(*state);
	unpack->state = WHI_IN_FRAME;
	return GO_ON;
}

static int skip_padding(struct whi_unpack *unpack, struct whi_decompress_io *io, bool eof)
{
	while (io->in_len > 0 && io->in[0] == 0)
		take(unpack, io, 1);
	if (io->in_len > 0)
		return damaged(unpack, WH_MR_TRAILING);
	return eof ? WHI_UNPACK_END : WHI_UNPACK_HUNGRY;
}

static int skip_frame(struct whi_unpack *unpack, struct whi_decompress_io *io, bool eof)
{
	uint64_t len = io->in_len < unpack->skip ? io->in_len : unpack->skip;

	take(unpack, io, len);
	unpack->skip -= len;
	if (unpack->skip == 0) {
		unpack->state = WHI_AT_FRAME;
		return GO_ON;
	}
	return eof ? damaged(unpack, WH_MR_TRUNCATED) : WHI_UNPACK_HUNGRY;
}

/* Neither format has frames that short: of bytes that are left, tell a beginning from garbage. */
static int short_frame(struct whi_unpack *unpack, const struct whi_decompress_io *io)
{
	static const uint8_t beginnings[][3] = { { 0x1f, 0x8b, 0x08 },
						 { 0x28, 0xb5, 0x2f },
						 { 0x04, 0x22, 0x4d } };

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (io->in_len < MAGIC_BYTES && memcmp(io->in, beginnings[i], io->in_len) == 0)
			return damaged(unpack, WH_MR_TRUNCATED);
	return damaged(unpack, WH_MR_TRAILING);
}

static int look_at_frame(struct whi_unpack *unpack, struct whi_decompress_io *io, bool eof)
{
	const struct whi_decompressor *format;

	if (unpack->pos >= unpack->stop) {
		/* The frame before was not as long as its header said. */
		if (unpack->pos > unpack->stop)
			return damaged(unpack, WH_MR_DAMAGED);
		unpack->stop = UINT64_MAX;
		return WHI_UNPACK_BORDER;
	}
	if (io->in_len < WHI_UNPACK_HEAD && !eof)
		return WHI_UNPACK_HUNGRY;
	if (io->in_len == 0)
		return WHI_UNPACK_END;
	format = whi_unpack_format(io->in, io->in_len);
	if (format)
		return begin_frame(unpack, format);
	if (io->in_len >= WHI_UNPACK_HEAD && is_skippable(io->in)) {
		unpack->skip = little32(io->in + MAGIC_BYTES);
		unpack->state = WHI_IN_SKIPPED;
		take(unpack, io, WHI_UNPACK_HEAD);
		return GO_ON;
	}
	if (unpack->begun && io->in[0] == 0) {
		unpack->state = WHI_IN_PADDING;
		return GO_ON;
	}
	return io->in_len < WHI_UNPACK_HEAD ? short_frame(unpack, io)
					    : damaged(unpack, WH_MR_TRAILING);
}

static int decode_failed(struct whi_unpack *unpack, int error)
{
	switch (error) {
	case -ENOMEM:
		return error;
	case -EFBIG:
		return damaged(unpack, WH_MR_WINDOW);
	default:
		return damaged(unpack, WH_MR_DAMAGED);
	}
}

static int decode_frame(struct whi_unpack *unpack, struct whi_decompress_io *io, bool eof)
{
	size_t in_len = io->in_len, out_room = io->out_room;
	int r = unpack->format->decode(*state_of(unpack), io);

	unpack->pos += in_len - io->in_len;
	if (r < 0)
		return decode_failed(unpack, r);
	if (r == WHI_DECOMPRESS_FRAME_END) {
		unpack->begun = true;
		unpack->state = WHI_AT_FRAME;
		return GO_ON;
	}
	if (io->out_room == 0)
		return WHI_UNPACK_ROOM;
	if (io->in_len > 0)
		return in_len == io->in_len && out_room == io->out_room
			       ? damaged(unpack, WH_MR_DAMAGED)
			       : GO_ON;
	return eof ? damaged(unpack, WH_MR_TRUNCATED) : WHI_UNPACK_HUNGRY;
}

int whi_unpack_run(struct whi_unpack *unpack, struct whi_decompress_io *io, bool eof)
{
	int r = GO_ON;

	while (r == GO_ON) {
		switch (unpack->state) {
		case WHI_AT_FRAME:
			r = look_at_frame(unpack, io, eof);
			break;
		case WHI_IN_FRAME:
			r = decode_frame(unpack, io, eof);
			break;
		case WHI_IN_SKIPPED:
			r = skip_frame(unpack, io, eof);
			break;
		case WHI_IN_PADDING:
			r = skip_padding(unpack, io, eof);
			break;
		}
	}
	return r;
}
