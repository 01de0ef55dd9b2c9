#include "mapreduce/wide.h"

#include <errno.h>
#include <string.h>

static struct whi_short *find_twin(const struct whi_part *part, const struct whi_long *record)
{
	const void *bytes = record + 1;
	struct whi_key key = { 0 };

	/* A key with a zero in it is never a short one. */
	if (record->len == 0 || record->len > WHI_SHORT_MAX || memchr(bytes, 0, record->len))
		return NULL;
	memcpy(&key, bytes, record->len);
	return whi_table_find_short(&part->shorts, &key, record->hash);
}

static void fold_chunk(struct whi_part *part, enum whi_combine combine, struct whi_block *chunk)
{
	for (size_t at = 0; at < chunk->used;) {
		struct whi_long *record = (void *)(chunk->data + at);
		struct whi_short *twin = find_twin(part, record);

		at += whi_long_bytes(record->len);
		if (!twin)
			continue;
		record->count = whi_combined(combine, record->count, twin->count);
		*twin = (struct whi_short){ 0 };
		part->shorts.used--;
	}
}

int whi_part_fold_wide(struct whi_part *part, enum whi_combine combine, struct whi_pool *pool)
{
	if (!part->shorts.used || !part->longs.used)
		return 0;
	if (whi_table_expect(&part->shorts, pool, WHI_SHORT, 0) < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < part->longs.chunk_count; i++)
		fold_chunk(part, combine, part->longs.chunks[i]);
	return 0;
}
