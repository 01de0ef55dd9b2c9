/* Owns the way from a file's bytes to records that are inside compressed frames.
 *
 * 1. raw.data[0] is the file's byte at unpack.pos. out.data[0] is the source's byte at source.pos,
 *    counted from the first frame's first one.
 * 2. Frames are shared out as parts of a plain file are, but for one byte, as what comes before the
 *    first is not known: the record that begins with the first byte of a part belongs to the part
 *    before it. So each part covers one byte less at its front and one more at its end. */
#include "mapreduce/decompress_map.h"

#include <errno.h>

/* Decoded at a time of what follows the last frame: of that only the end of a record is wanted. */
enum { BEYOND_BYTES = 4096 };

int whi_packed_begin(struct whi_packed *packed, const char *path, uint64_t begin, uint64_t end)
{
	int r = whi_buffer_reserve(&packed->raw, WHI_PACKED_BYTES);

	if (r == 0)
		r = whi_buffer_reserve(&packed->out, WHI_READ_BYTES);
	if (r < 0)
		return r;
	whi_unpack_begin(&packed->unpack, begin, end);
	packed->raw.len = 0;
	packed->out.len = 0;
	packed->end = end;
	packed->counted = begin;
	packed->made = 0;
	whi_source_init(&packed->source, path, begin > 0, UINT64_MAX);
	packed->source.room_max = WHI_PACKED_RECORD_MAX;
	return 0;
}

void whi_packed_fini(struct whi_packed *packed)
{
	whi_unpack_fini(&packed->unpack);
	whi_buffer_fini(&packed->raw);
	whi_buffer_fini(&packed->out);
}

int whi_packed_fill(struct whi_packed *packed, struct whi_buffer *out, bool eof)
{
	bool beyond = packed->source.end != UINT64_MAX;
	size_t room = out->room - out->len;
	struct whi_decompress_io io = {
		.in = packed->raw.data,
		.in_len = packed->raw.len,
		.out = out->data + out->len,
		.out_room = beyond && room > BEYOND_BYTES ? BEYOND_BYTES : room,
	};
	uint64_t began = whi_step_begin(packed->times);
	int r = whi_unpack_run(&packed->unpack, &io, eof);
	size_t len = (size_t)(io.out - out->data);

	whi_step_end(packed->times, WHI_STEP_DECODE, began);
	packed->made += len - out->len;
	out->len = len;
	whi_buffer_consume(&packed->raw, packed->raw.len - io.in_len);
	return r;
}

/* Whether bytes are to come after those in packed->out. */
static bool is_last(int filled)
{
	return filled == WHI_UNPACK_END || filled < 0;
}

int whi_packed_map(struct whi_packed *packed, struct whi_mapper *mapper, bool eof)
{
	struct whi_source *source = &packed->source;

	for (;;) {
		int filled = whi_packed_fill(packed, &packed->out, eof);
		int r;

		if (filled == -ENOMEM)
			return filled;
		if (filled == WHI_UNPACK_BORDER)
			source->end = source->pos + packed->out.len + 1;
		r = whi_source_map(source, mapper, &packed->out, is_last(filled));
		if (r == -EFBIG) {
			packed->unpack.damage = WH_MR_RECORD;
			return WHI_PACKED_DAMAGED;
		}
		if (r < 0)
			return r;
		if (filled < 0)
			return WHI_PACKED_DAMAGED;
		if (source->done || filled == WHI_UNPACK_END)
			return 0;
		if (filled == WHI_UNPACK_HUNGRY)
			return WHI_PACKED_HUNGRY;
	}
}

uint64_t whi_packed_progress(struct whi_packed *packed)
{
	uint64_t pos = packed->unpack.pos < packed->end ? packed->unpack.pos : packed->end;
	uint64_t more = pos > packed->counted ? pos - packed->counted : 0;

	packed->counted += more;
	return more;
}
