/* Owns the parts that a process writes: an encoder each, none of which has memory before its first
 * row. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/part.h"

enum {
	BLOCKS_BYTES = 16 * 1024 * 1024, /* of all parts together, */
	BLOCK_BYTES_MIN = 4 * 1024,	 /* if that leaves each so much */
};

struct wh_parts {
	struct wh_parts_opts opts;
	struct whi_encoder encoders[];
};

int whi_parts_format_check(const struct wh_parts_format *format)
{
	if (format->count == 0 || format->count > WH_PARTS_MAX || format->value > WH_MR_BYTES)
		return -EINVAL;
	return 0;
}

struct whi_codec whi_part_codec(const struct wh_parts_format *format, uint32_t index)
{
	return (struct whi_codec){
		.hash_id = WHI_CODEC_HASH_CANONICAL,
		.seed = format->seed,
		.part = index,
	};
}

static size_t block_bytes(uint32_t count)
{
	size_t share = BLOCKS_BYTES / count;

	if (share > WHI_CODEC_BLOCK_BYTES)
		return WHI_CODEC_BLOCK_BYTES;
	return share > BLOCK_BYTES_MIN ? share : BLOCK_BYTES_MIN;
}

int wh_parts_open(const struct wh_parts_opts *opts, struct wh_parts **ret)
{
	int r = opts->write ? whi_parts_format_check(&opts->format) : -EINVAL;
	struct wh_parts *parts;

	if (r < 0)
		return r;
	parts = whi_calloc(1, sizeof(*parts) + opts->format.count * sizeof(parts->encoders[0]));
	if (!parts)
		return -ENOMEM;
	parts->opts = *opts;
	for (uint32_t i = 0; i < opts->format.count; i++) {
		parts->encoders[i].codec = whi_part_codec(&opts->format, i);
		parts->encoders[i].block_bytes = block_bytes(opts->format.count);
	}
	*ret = parts;
	return 0;
}

static int write_out(struct wh_parts *parts, uint32_t index)
{
	struct whi_encoder *encoder = &parts->encoders[index];
	struct wh_mr_bytes bytes = { encoder->data, encoder->len };

	encoder->len = 0;
	return parts->opts.write(parts->opts.arg, index, bytes);
}

static int add_row(struct wh_parts *parts, const struct wh_mr_row *row)
{
	const struct wh_parts_format *format = &parts->opts.format;
	uint64_t hash = whi_codec_hash(format->seed, row->key.data, row->key.len);
	uint32_t index = whi_codec_part(hash, format->count);
	struct whi_encoder *encoder = &parts->encoders[index];
	struct whi_record record = { .kind = WHI_LONG, .key = row->key, .count = row->number };
	int r;

	if (format->value == WH_MR_BYTES) {
		record.value = row->value;
		r = whi_encoder_pair(encoder, &record);
	} else {
		r = whi_encoder_count(encoder, &record);
	}
	/* Nothing but whole blocks leaves. */
	if (r == 0 && encoder->records == 0)
		r = write_out(parts, index);
	return r;
}

int wh_parts_add(struct wh_parts *parts, const struct wh_mr_row *rows, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = add_row(parts, &rows[i]);
	return r;
}

static int finish_part(struct wh_parts *parts, uint32_t index, struct wh_part_sums *ret)
{
	struct whi_encoder *encoder = &parts->encoders[index];
	size_t end_bytes;
	int r;

	whi_encoder_close(encoder);
	end_bytes = encoder->len;
	r = whi_encoder_end(encoder);
	if (r < 0)
		return r;
	end_bytes = encoder->len - end_bytes;
	*ret = (struct wh_part_sums){
		.records = encoder->sums.records,
		.bytes = encoder->sums.bytes + end_bytes,
		.count = encoder->sums.count,
	};
	r = write_out(parts, index);
	whi_encoder_fini(encoder);
	return r;
}

static bool has_others(const struct wh_parts *parts, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < parts->opts.format.count; i++)
		if ((i < first || i - first >= count) && parts->encoders[i].data)
			return true;
	return false;
}

int wh_parts_finish(struct wh_parts *parts, uint32_t first, uint32_t count,
		    struct wh_part_sums *sums)
{
	int r = 0;

	if (first > parts->opts.format.count || count > parts->opts.format.count - first ||
	    has_others(parts, first, count))
		return -EINVAL;
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = finish_part(parts, first + i, &sums[i]);
	return r;
}

void wh_parts_close(struct wh_parts *parts)
{
	if (!parts)
		return;
	for (uint32_t i = 0; i < parts->opts.format.count; i++)
		whi_encoder_fini(&parts->encoders[i]);
	whi_free(parts);
}
