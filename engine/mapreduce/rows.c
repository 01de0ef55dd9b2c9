/* Owns the list of a partition's rows, and what a reference means. */
#include "mapreduce/rows.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"

/* Low bits of a reference; everything referred to is aligned to 8. */
enum { REF_KIND = 7 };

static uint64_t ref_to(const void *at, enum whi_kind kind)
{
	return (uint64_t)(uintptr_t)at | kind;
}

static size_t count_pairs(const struct whi_qnode *chain)
{
	size_t count = 0;

	for (; chain; chain = chain->next) {
		const struct whi_block *block = whi_container_of(chain, struct whi_block, node);

		for (size_t at = 0; at < block->used; count++)
			at += whi_pair_bytes((const void *)(block->data + at));
	}
	return count;
}

static void collect_pairs(struct whi_rows *rows, const struct whi_qnode *chain)
{
	for (; chain; chain = chain->next) {
		const struct whi_block *block = whi_container_of(chain, struct whi_block, node);

		for (size_t at = 0; at < block->used;) {
			const struct whi_pair *pair = (const void *)(block->data + at);

			rows->items[rows->count++].ref = ref_to(pair, WHI_PAIR);
			at += whi_pair_bytes(pair);
		}
	}
}

static void collect_sums(struct whi_rows *rows)
{
	const struct whi_part *part = rows->part;

	for (uint32_t id = 1; id <= part->shorts.used; id++)
		rows->items[rows->count++].ref = ref_to(&part->shorts.keys[id], WHI_SHORT);
	for (uint32_t id = 1; id <= part->longs.used; id++)
		rows->items[rows->count++].ref = ref_to(&part->longs.entries[id], WHI_LONG);
}

int whi_rows_init(struct whi_rows *rows, const struct whi_part *part, enum wh_mr_value value)
{
	const struct whi_qnode *pairs = part->results ? part->results : part->pairs;
	size_t count = value == WH_MR_SUM ? whi_part_keys(part) : count_pairs(pairs);

	*rows = (struct whi_rows){ .part = part, .value = value };
	if (count == 0)
		return 0;
	rows->items = whi_alloc(count * sizeof(*rows->items));
	if (!rows->items)
		return -ENOMEM;
	if (value == WH_MR_SUM)
		collect_sums(rows);
	else
		collect_pairs(rows, pairs);
	return 0;
}

void whi_rows_fini(struct whi_rows *rows)
{
	whi_free(rows->items);
	*rows = (struct whi_rows){ 0 };
}

static size_t short_len(const struct whi_key *key)
{
	if (key->high)
		return 16 - (size_t)__builtin_clzll(key->high) / 8;
	return 8 - (size_t)__builtin_clzll(key->low) / 8;
}

static void get_short(const struct whi_short_table *table, const struct whi_key *key,
		      struct wh_mr_row *ret)
{
	ret->key = (struct wh_mr_bytes){ key, short_len(key) };
	ret->value = (struct wh_mr_bytes){ 0 };
	ret->sum = table->counts[key - table->keys];
}

static void get_long(const struct whi_long_entry *entry, struct wh_mr_row *ret)
{
	ret->key = (struct wh_mr_bytes){ entry->bytes, entry->len };
	ret->value = (struct wh_mr_bytes){ 0 };
	ret->sum = entry->count;
}

static void get_pair(const struct whi_pair *pair, struct wh_mr_row *ret)
{
	const uint8_t *key = (const void *)(pair + 1);

	ret->key = (struct wh_mr_bytes){ key, pair->key_len };
	ret->value = (struct wh_mr_bytes){ key + pair->key_len, pair->value_len };
	ret->sum = 0;
}

void whi_rows_get(const struct whi_rows *rows, uint64_t ref, struct wh_mr_row *ret)
{
	const void *at = (const void *)(uintptr_t)(ref & ~(uint64_t)REF_KIND);

	switch ((enum whi_kind)(ref & REF_KIND)) {
	case WHI_SHORT:
		get_short(&rows->part->shorts, at, ret);
		return;
	case WHI_LONG:
		get_long(at, ret);
		return;
	case WHI_PAIR:
		get_pair(at, ret);
		return;
	case WHI_KINDS:
		break;
	}
	whi_assert(false);
}

static int compare_bytes(const struct wh_mr_bytes *a, const struct wh_mr_bytes *b)
{
	size_t len = a->len < b->len ? a->len : b->len;
	int order = len ? memcmp(a->data, b->data, len) : 0;

	return order ? order : (a->len > b->len) - (a->len < b->len);
}

int whi_row_compare(const struct wh_mr_row *a, const struct wh_mr_row *b, enum wh_mr_order order)
{
	int keys, values;

	if (a->sum != b->sum && order == WH_MR_BY_VALUE)
		return a->sum > b->sum ? -1 : 1;
	keys = compare_bytes(&a->key, &b->key);
	values = compare_bytes(&a->value, &b->value);
	if (order == WH_MR_BY_VALUE)
		return values ? values : keys;
	return keys ? keys : values;
}

uint64_t whi_row_window(const struct wh_mr_bytes *bytes, size_t depth)
{
	uint64_t window = 0;

	if (depth + sizeof(window) <= bytes->len)
		memcpy(&window, (const uint8_t *)bytes->data + depth, sizeof(window));
	else if (depth < bytes->len)
		memcpy(&window, (const uint8_t *)bytes->data + depth, bytes->len - depth);
	return be64toh(window);
}
