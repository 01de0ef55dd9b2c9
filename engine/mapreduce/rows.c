/* Owns the list of a partition's rows, and what a reference means. */
#include "mapreduce/rows.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/list.h"

enum {
	/* Low bits of a reference; everything referred to is aligned to 8. */
	REF_KIND = 7,
	/* That a block of counted keys can hold, of no matter what kind. */
	BLOCK_ROWS = WHI_BLOCK_BYTES / sizeof(struct whi_long),
};

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

static void collect_block(struct whi_rows *rows, const struct whi_block *block)
{
	for (size_t at = 0; at < block->used;) {
		const struct whi_pair *pair = (const void *)(block->data + at);

		rows->items[rows->count++].ref = ref_to(pair, WHI_PAIR);
		at += whi_pair_bytes(pair);
	}
}

static void collect_pairs(struct whi_rows *rows, const struct whi_qnode *chain)
{
	for (; chain; chain = chain->next)
		collect_block(rows, whi_container_of(chain, struct whi_block, node));
}

/* Rows of at least the number `least`. */
static void collect_shorts(struct whi_rows *rows, const struct whi_block *chunk, uint64_t least)
{
	const struct whi_short *records = (const void *)chunk->data;

	for (size_t i = 0; i < chunk->used / sizeof(*records); i++)
		/* Those without a key: see whi_part_fold_wide. */
		if (records[i].count >= least && whi_likely(records[i].low))
			rows->items[rows->count++].ref = ref_to(&records[i], WHI_SHORT);
}

static void collect_longs(struct whi_rows *rows, const struct whi_block *chunk, uint64_t least)
{
	for (size_t at = 0; at < chunk->used;) {
		const struct whi_long *record = (const void *)(chunk->data + at);

		if (record->count >= least)
			rows->items[rows->count++].ref = ref_to(record, WHI_LONG);
		at += whi_long_bytes(record->len);
	}
}

static void collect_numbers(struct whi_rows *rows)
{
	const struct whi_part *part = rows->part;

	for (uint32_t i = 0; i < part->shorts.chunk_count; i++)
		collect_shorts(rows, part->shorts.chunks[i], 0);
	for (uint32_t i = 0; i < part->longs.chunk_count; i++)
		collect_longs(rows, part->longs.chunks[i], 0);
}

static int collect(struct whi_rows *rows, size_t count)
{
	const struct whi_part *part = rows->part;

	if (count == 0)
		return 0;
	rows->items = whi_alloc(count * sizeof(*rows->items));
	if (!rows->items)
		return -ENOMEM;
	if (rows->value != WH_MR_BYTES)
		collect_numbers(rows);
	else
		collect_pairs(rows, part->results ? part->results : part->pairs);
	return 0;
}

int whi_rows_init(struct whi_rows *rows, const struct whi_part *part, enum wh_mr_value value)
{
	const struct whi_qnode *pairs = part->results ? part->results : part->pairs;

	*rows = (struct whi_rows){ .part = part, .value = value };
	rows->all = value != WH_MR_BYTES ? whi_part_keys(part) : count_pairs(pairs);
	return collect(rows, rows->all);
}

int whi_rows_init_blocks(struct whi_rows *rows, const struct whi_qnode *chain, size_t count,
			 enum wh_mr_value value)
{
	*rows = (struct whi_rows){ .value = value, .all = count };
	if (count == 0)
		return 0;
	rows->items = whi_alloc(count * sizeof(*rows->items));
	if (!rows->items)
		return -ENOMEM;
	for (; chain; chain = chain->next) {
		const struct whi_block *block = whi_container_of(chain, struct whi_block, node);

		if (block->kind == WHI_SHORT)
			collect_shorts(rows, block, 0);
		else if (block->kind == WHI_LONG)
			collect_longs(rows, block, 0);
		else
			collect_block(rows, block);
	}
	whi_assert(rows->count <= count);
	return 0;
}

size_t whi_part_rows(const struct whi_part *part, enum wh_mr_value value)
{
	const struct whi_qnode *pairs = part->results ? part->results : part->pairs;

	return value != WH_MR_BYTES ? whi_part_keys(part) : count_pairs(pairs);
}

static uint64_t chunks_used(const struct whi_table *table)
{
	uint64_t used = 0;

	for (uint32_t i = 0; i < table->chunk_count; i++)
		used += table->chunks[i]->used;
	return used;
}

uint64_t whi_part_used(const struct whi_part *part)
{
	const struct whi_qnode *pairs = part->results ? part->results : part->pairs;
	uint64_t used = chunks_used(&part->shorts) + chunks_used(&part->longs);

	for (; pairs; pairs = pairs->next)
		used += whi_container_of((struct whi_qnode *)pairs, struct whi_block, node)->used;
	return used;
}

static void chain_chunks(struct whi_qnode **chain, struct whi_table *table)
{
	for (uint32_t i = 0; i < table->chunk_count; i++) {
		table->chunks[i]->node.next = *chain;
		*chain = &table->chunks[i]->node;
	}
	table->chunk_count = 0;
	whi_table_fini(table);
}

static void chain_pairs(struct whi_qnode **chain, struct whi_qnode **pairs)
{
	while (*pairs) {
		struct whi_qnode *node = *pairs;

		*pairs = node->next;
		node->next = *chain;
		*chain = node;
	}
}

struct whi_qnode *whi_part_take_blocks(struct whi_part *part)
{
	struct whi_qnode *chain = NULL;

	chain_chunks(&chain, &part->shorts);
	chain_chunks(&chain, &part->longs);
	chain_pairs(&chain, &part->pairs);
	chain_pairs(&chain, &part->results);
	return chain;
}

static size_t record_bytes(const struct whi_block *block, size_t at)
{
	const void *record = block->data + at;

	if (block->kind == WHI_SHORT)
		return sizeof(struct whi_short);
	if (block->kind == WHI_LONG)
		return whi_long_bytes(((const struct whi_long *)record)->len);
	return whi_pair_bytes(record);
}

/* `most` records of a block, evenly over its bytes. */
static void sample_block(struct whi_rows *rows, const struct whi_block *block, size_t most)
{
	size_t taken = 0;

	for (size_t at = 0; at < block->used && taken < most; at += record_bytes(block, at)) {
		const struct whi_short *record = (const void *)(block->data + at);

		if (at < block->used / most * taken || (block->kind == WHI_SHORT && !record->low))
			continue;
		rows->items[rows->count++].ref = ref_to(block->data + at, block->kind);
		taken++;
	}
}

static void sample_table(struct whi_rows *rows, const struct whi_table *table, unsigned when,
			 size_t most)
{
	if (table->chunk_count && most)
		sample_block(rows, table->chunks[(uint64_t)when * table->chunk_count / 256], most);
}

void whi_rows_sample(struct whi_rows *rows, const struct whi_part *part, unsigned when, size_t most)
{
	const struct whi_qnode *pairs = part->results ? part->results : part->pairs;
	size_t keys = whi_part_keys(part), shorts = keys ? most * part->shorts.used / keys : 0;
	size_t blocks = 0;

	sample_table(rows, &part->shorts, when, shorts);
	sample_table(rows, &part->longs, when, keys ? most - shorts : 0);
	for (const struct whi_qnode *node = pairs; node; node = node->next)
		blocks++;
	for (size_t left = blocks * when / 256; pairs && left > 0; left--)
		pairs = pairs->next;
	if (pairs)
		sample_block(rows,
			     whi_container_of((struct whi_qnode *)pairs, struct whi_block, node),
			     most);
}

static inline unsigned bits_of(uint64_t number)
{
	return number ? 64 - (unsigned)__builtin_clzll(number) : 0;
}

/* The first rows of a part by their numbers, while they are looked for. */
struct first {
	struct whi_rows *rows;
	size_t wanted;
	size_t room;	/* for items */
	uint64_t least; /* so many as are wanted have at least this number */
};

static uint64_t number_of(const struct whi_rows *rows, const struct whi_item *item)
{
	struct wh_mr_row row;

	whi_rows_get(rows, item->ref, &row);
	return row.number;
}

/* Forget rows that so many others come before as are wanted. */
static void forget_last(struct first *first)
{
	struct whi_rows *rows = first->rows;
	size_t sizes[65] = { 0 }; /* how many numbers have each count of bits */
	size_t count = 0, kept = 0;
	unsigned bits = 65;

	for (size_t i = 0; i < rows->count; i++)
		sizes[bits_of(number_of(rows, &rows->items[i]))]++;
	do
		count += sizes[--bits];
	while (bits > 0 && count < first->wanted);
	first->least = bits > 1 ? UINT64_C(1) << (bits - 1) : bits;
	for (size_t i = 0; i < rows->count; i++)
		if (number_of(rows, &rows->items[i]) >= first->least)
			rows->items[kept++] = rows->items[i];
	rows->count = kept;
}

/* For all that a block can hold. */
static int make_room(struct first *first)
{
	struct whi_rows *rows = first->rows;
	struct whi_item *items;

	if (rows->count + BLOCK_ROWS <= first->room)
		return 0;
	forget_last(first);
	if (rows->count + BLOCK_ROWS <= first->room / 2)
		return 0;
	items = whi_realloc(rows->items, 2 * first->room * sizeof(*items));
	if (!items)
		return -ENOMEM;
	rows->items = items;
	first->room *= 2;
	return 0;
}

static int collect_first(struct first *first, const struct whi_table *table)
{
	for (uint32_t i = 0; i < table->chunk_count; i++) {
		const struct whi_block *chunk = table->chunks[i];

		if (make_room(first) < 0)
			return -ENOMEM;
		if (chunk->kind == WHI_SHORT)
			collect_shorts(first->rows, chunk, first->least);
		else
			collect_longs(first->rows, chunk, first->least);
	}
	return 0;
}

int whi_rows_init_first(struct whi_rows *rows, const struct whi_part *part,
			const struct wh_mr_job *job)
{
	struct first first = { .rows = rows, .wanted = job->rows_max, .room = 2 * BLOCK_ROWS };

	if (job->value == WH_MR_BYTES || job->order != WH_MR_BY_VALUE || job->rows_max == 0 ||
	    job->rows_max >= whi_part_keys(part))
		return whi_rows_init(rows, part, job->value);
	*rows = (struct whi_rows){ .part = part, .value = job->value, .all = whi_part_keys(part) };
	rows->items = whi_alloc(first.room * sizeof(*rows->items));
	if (rows->items && collect_first(&first, &part->shorts) == 0 &&
	    collect_first(&first, &part->longs) == 0) {
		forget_last(&first);
		return 0;
	}
	whi_rows_fini(rows);
	return -ENOMEM;
}

void whi_rows_fini(struct whi_rows *rows)
{
	whi_free(rows->items);
	*rows = (struct whi_rows){ 0 };
}

static size_t short_len(const struct whi_short *key)
{
	if (key->high)
		return 16 - (size_t)__builtin_clzll(key->high) / 8;
	return 8 - (size_t)__builtin_clzll(key->low) / 8;
}

size_t whi_row_of_short(const struct whi_short *record, struct wh_mr_row *ret)
{
	ret->key = (struct wh_mr_bytes){ record, short_len(record) };
	ret->value = (struct wh_mr_bytes){ 0 };
	ret->number = record->count;
	return sizeof(*record);
}

size_t whi_row_of_long(const struct whi_long *record, struct wh_mr_row *ret)
{
	ret->key = (struct wh_mr_bytes){ record + 1, record->len };
	ret->value = (struct wh_mr_bytes){ 0 };
	ret->number = record->count;
	return whi_long_bytes(record->len);
}

size_t whi_row_of_pair(const struct whi_pair *pair, struct wh_mr_row *ret)
{
	const uint8_t *key = (const void *)(pair + 1);

	ret->key = (struct wh_mr_bytes){ key, pair->key_len };
	ret->value = (struct wh_mr_bytes){ key + pair->key_len, pair->value_len };
	ret->number = 0;
	return whi_pair_bytes(pair);
}

void whi_rows_get(const struct whi_rows *rows, uint64_t ref, struct wh_mr_row *ret)
{
	(void)rows;
	const void *at = (const void *)(uintptr_t)(ref & ~(uint64_t)REF_KIND);

	switch ((enum whi_kind)(ref & REF_KIND)) {
	case WHI_SHORT:
		whi_row_of_short(at, ret);
		return;
	case WHI_LONG:
		whi_row_of_long(at, ret);
		return;
	case WHI_PAIR:
		whi_row_of_pair(at, ret);
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

	if (a->number != b->number && order == WH_MR_BY_VALUE)
		return a->number > b->number ? -1 : 1;
	keys = compare_bytes(&a->key, &b->key);
	values = compare_bytes(&a->value, &b->value);
	if (order == WH_MR_BY_VALUE)
		return values ? values : keys;
	return keys ? keys : values;
}

struct whi_rank whi_row_rank(const struct wh_mr_row *row, enum wh_mr_value value,
			     enum wh_mr_order order)
{
	if (order == WH_MR_BY_KEY)
		return (struct whi_rank){ whi_row_window(&row->key, 0),
					  whi_row_window(&row->key, 8) };
	if (value == WH_MR_BYTES)
		return (struct whi_rank){ whi_row_window(&row->value, 0),
					  whi_row_window(&row->value, 8) };
	return (struct whi_rank){ ~row->number, whi_row_window(&row->key, 0) };
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
