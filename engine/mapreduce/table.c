/* Owns the tables of a partition. Called by the store, by one thread at a time.
 *
 * 1. index[place] is 0 or the id of a key; ids are 1..used, in order of first sight.
 * 2. Probing from hash & mask, a key is found before the first free place.
 * 3. used <= room, and there are two places to each id there is room for: one is always free.
 * 4. A failed growth leaves the table as it was. */
#include "mapreduce/table.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/bytes.h"

enum {
	ROOM_FIRST = 64,
	AHEAD = 16, /* records whose cache lines are fetched before they are needed */
	CHUNK_BYTES = 64 * 1024,
};

struct whi_arena_chunk {
	struct whi_arena_chunk *next;
	size_t used;
	size_t room;
	uint8_t data[];
};

static uint32_t *index_new(uint32_t room)
{
	return whi_calloc((size_t)room * 2, sizeof(uint32_t));
}

static void index_put(uint32_t *index, uint32_t mask, uint32_t hash, uint32_t id)
{
	uint32_t place = hash & mask;

	while (index[place])
		place = (place + 1) & mask;
	index[place] = id;
}

static int short_resize(struct whi_short_table *table, uint32_t room)
{
	struct whi_key *keys;
	uint64_t *counts;
	uint32_t *hashes;

	keys = whi_realloc(table->keys, sizeof(*keys) * (room + 1u));
	if (!keys)
		return -ENOMEM;
	table->keys = keys;
	counts = whi_realloc(table->counts, sizeof(*counts) * (room + 1u));
	if (!counts)
		return -ENOMEM;
	table->counts = counts;
	hashes = whi_realloc(table->hashes, sizeof(*hashes) * (room + 1u));
	if (!hashes)
		return -ENOMEM;
	table->hashes = hashes;
	return 0;
}

static int short_grow(struct whi_short_table *table)
{
	uint32_t room = table->room ? table->room * 2 : ROOM_FIRST;
	uint32_t *index;

	if (room > UINT32_MAX / 4)
		return -ENOMEM;
	index = index_new(room);
	if (!index)
		return -ENOMEM;
	if (short_resize(table, room) < 0) {
		whi_free(index);
		return -ENOMEM;
	}
	table->keys[0] = (struct whi_key){ 0 };
	for (uint32_t id = 1; id <= table->used; id++)
		index_put(index, room * 2 - 1, table->hashes[id], id);
	whi_free(table->index);
	table->index = index;
	table->mask = room * 2 - 1;
	table->room = room;
	return 0;
}

static int short_insert(struct whi_short_table *table, const struct whi_short *record)
{
	uint32_t id = table->used + 1;

	if (id > table->room && short_grow(table) < 0)
		return -ENOMEM;
	table->keys[id] = (struct whi_key){ record->low, record->high };
	table->counts[id] = record->count;
	table->hashes[id] = record->hash;
	index_put(table->index, table->mask, record->hash, id);
	table->used = id;
	return 0;
}

static int short_add(struct whi_short_table *table, const struct whi_short *record)
{
	uint32_t place = record->hash & table->mask;

	for (uint32_t id; (id = table->index[place]) != 0; place = (place + 1) & table->mask) {
		const struct whi_key *key = &table->keys[id];

		if (((key->low ^ record->low) | (key->high ^ record->high)) != 0)
			continue;
		table->counts[id] += record->count;
		return 0;
	}
	return short_insert(table, record);
}

/* Two steps ahead of the work: the place first, what it leads to later. */
static void short_fetch(const struct whi_short_table *table, const struct whi_short *records,
			size_t i, size_t count)
{
	uint32_t id;

	if (i + AHEAD < count)
		__builtin_prefetch(&table->index[records[i + AHEAD].hash & table->mask]);
	if (i + AHEAD / 2 >= count)
		return;
	id = table->index[records[i + AHEAD / 2].hash & table->mask];
	__builtin_prefetch(&table->keys[id]);
	__builtin_prefetch(&table->counts[id], 1);
}

int whi_short_table_add(struct whi_short_table *table, const struct whi_short *records,
			size_t count)
{
	if (!table->index && short_grow(table) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		short_fetch(table, records, i, count);
		if (short_add(table, &records[i]) < 0)
			return -ENOMEM;
	}
	return 0;
}

void whi_short_table_seal(struct whi_short_table *table)
{
	whi_free(table->index);
	whi_free(table->hashes);
	table->index = NULL;
	table->hashes = NULL;
}

void whi_short_table_fini(struct whi_short_table *table)
{
	whi_short_table_seal(table);
	whi_free(table->keys);
	whi_free(table->counts);
	*table = (struct whi_short_table){ 0 };
}

static int long_grow(struct whi_long_table *table)
{
	uint32_t room = table->room ? table->room * 2 : ROOM_FIRST;
	struct whi_long_entry *entries;
	uint32_t *index;

	if (room > UINT32_MAX / 4)
		return -ENOMEM;
	index = index_new(room);
	if (!index)
		return -ENOMEM;
	entries = whi_realloc(table->entries, sizeof(*entries) * (room + 1u));
	if (!entries) {
		whi_free(index);
		return -ENOMEM;
	}
	for (uint32_t id = 1; id <= table->used; id++)
		index_put(index, room * 2 - 1, entries[id].hash, id);
	whi_free(table->index);
	table->index = index;
	table->entries = entries;
	table->mask = room * 2 - 1;
	table->room = room;
	return 0;
}

/* A copy of `bytes` that lives as long as the table. */
static const uint8_t *arena_keep(struct whi_long_table *table, const uint8_t *bytes, size_t len)
{
	struct whi_arena_chunk *chunk = table->arena;

	if (!chunk || chunk->room - chunk->used < len) {
		size_t room = len > CHUNK_BYTES / 4 ? len : CHUNK_BYTES - sizeof(*chunk);

		chunk = whi_alloc(sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		*chunk = (struct whi_arena_chunk){ .next = table->arena, .room = room };
		table->arena = chunk;
	}
	chunk->used += len;
	whi_bytes_copy(chunk->data + chunk->used - len, bytes, len);
	return chunk->data + chunk->used - len;
}

static int long_insert(struct whi_long_table *table, const struct whi_long *record,
		       const uint8_t *bytes)
{
	uint32_t id = table->used + 1;
	const uint8_t *kept;

	if (id > table->room && long_grow(table) < 0)
		return -ENOMEM;
	kept = arena_keep(table, bytes, record->len);
	if (!kept)
		return -ENOMEM;
	table->entries[id] = (struct whi_long_entry){
		.count = record->count,
		.bytes = kept,
		.len = record->len,
		.hash = record->hash,
	};
	index_put(table->index, table->mask, record->hash, id);
	table->used = id;
	return 0;
}

static int long_add(struct whi_long_table *table, const struct whi_long *record,
		    const uint8_t *bytes)
{
	uint32_t place = record->hash & table->mask;

	for (uint32_t id; (id = table->index[place]) != 0; place = (place + 1) & table->mask) {
		struct whi_long_entry *entry = &table->entries[id];

		if (entry->hash != record->hash || entry->len != record->len ||
		    !whi_bytes_equal(entry->bytes, bytes, record->len))
			continue;
		entry->count += record->count;
		return 0;
	}
	return long_insert(table, record, bytes);
}

/* As short_fetch; `ahead` walks in front of the record that is being added. */
static const uint8_t *long_fetch(const struct whi_long_table *table, const uint8_t *ahead,
				 const uint8_t *end)
{
	const struct whi_long *record = (const void *)ahead;

	if (ahead >= end)
		return ahead;
	__builtin_prefetch(&table->index[record->hash & table->mask]);
	return ahead + whi_long_bytes(record->len);
}

int whi_long_table_add(struct whi_long_table *table, const uint8_t *records, size_t len)
{
	const uint8_t *end = records + len;
	const uint8_t *ahead = records;

	if (!table->index && long_grow(table) < 0)
		return -ENOMEM;
	for (int i = 0; i < AHEAD; i++)
		ahead = long_fetch(table, ahead, end);
	for (const uint8_t *at = records; at < end;) {
		const struct whi_long *record = (const void *)at;

		ahead = long_fetch(table, ahead, end);
		if (long_add(table, record, at + sizeof(*record)) < 0)
			return -ENOMEM;
		at += whi_long_bytes(record->len);
	}
	return 0;
}

void whi_long_table_seal(struct whi_long_table *table)
{
	whi_free(table->index);
	table->index = NULL;
}

void whi_long_table_fini(struct whi_long_table *table)
{
	whi_long_table_seal(table);
	while (table->arena) {
		struct whi_arena_chunk *chunk = table->arena;

		table->arena = chunk->next;
		whi_free(chunk);
	}
	whi_free(table->entries);
	*table = (struct whi_long_table){ 0 };
}
