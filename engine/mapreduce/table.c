/* Owns the tables of a partition. Called by the store, by one thread at a time.
 *
 * A reference says where a record lies: the number of its chunk, and how many units of 8 bytes into
 * that. It has as many low bits of a place as the table's size asks for; the others are a tag, top
 * bits of the key's hash, by which most other keys are told apart without a look at them.
 *
 * 1. index[place] is 0 or refers to a record; no reference is 0, as a block begins with its head.
 * 2. Probing from hash & mask, a key is found before the first free place.
 * 3. At least three of eight places are free.
 * 4. A failed growth leaves the table as it was.
 * 5. A table with an index has a chunk. */
#include "mapreduce/table.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "mapreduce/bytes.h"

enum {
	PLACES_FIRST = 128,
	CHUNKS_FIRST = 2,
	UNIT_BITS = 12,
	LONG_BYTES = 48,     /* of a long record, about */
	AHEAD = 32,	     /* records whose cache lines are fetched before they are needed */
	SOURCE_AHEAD = 1024, /* bytes of records fetched before they are looked at */
};

#define CHUNKS_MAX (UINT32_C(1) << (32 - UNIT_BITS))

_Static_assert(WHI_BLOCK_UNITS == 1 << UNIT_BITS, "a reference has a unit of a chunk");

static inline void *at_ref(const struct whi_table *table, uint32_t place)
{
	uint32_t ref = place & table->ref_mask;

	return (uint8_t *)table->chunks[ref >> UNIT_BITS] +
	       (size_t)(ref & (WHI_BLOCK_UNITS - 1)) * WHI_BLOCK_ALIGN;
}

/* Whether what a place refers to can be the key of `hash`. */
static inline bool tag_fits(const struct whi_table *table, uint32_t place, uint32_t hash)
{
	return ((place ^ hash << 8) & ~table->ref_mask) == 0;
}

static inline uint32_t place_of(uint32_t ref_mask, uint32_t ref, uint32_t hash)
{
	return ref | (hash << 8 & ~ref_mask);
}

struct index {
	uint32_t *places;
	uint32_t mask;
	uint32_t ref_mask;
};

static void index_put(const struct index *index, uint32_t ref, uint32_t hash)
{
	uint32_t place = hash & index->mask;

	while (index->places[place])
		place = (place + 1) & index->mask;
	index->places[place] = place_of(index->ref_mask, ref, hash);
}

static void index_shorts(const struct index *index, const struct whi_block *chunk, uint32_t ref)
{
	const struct whi_short *records = (const void *)chunk->data;

	for (size_t i = 0; i < chunk->used / sizeof(*records); i++) {
		__builtin_prefetch((const uint8_t *)&records[i] + SOURCE_AHEAD);
		index_put(index, ref, records[i].hash);
		ref += sizeof(*records) / WHI_BLOCK_ALIGN;
	}
}

static void index_longs(const struct index *index, const struct whi_block *chunk, uint32_t ref)
{
	for (size_t at = 0; at < chunk->used;) {
		const struct whi_long *record = (const void *)(chunk->data + at);

		__builtin_prefetch((const uint8_t *)record + SOURCE_AHEAD);
		index_put(index, ref, record->hash);
		at += whi_long_bytes(record->len);
		ref += (uint32_t)(whi_long_bytes(record->len) / WHI_BLOCK_ALIGN);
	}
}

/* All bits that references into `chunks` chunks need. */
static uint32_t mask_for(uint32_t chunks)
{
	uint32_t mask = WHI_BLOCK_UNITS - 1;

	while (mask >> UNIT_BITS < chunks - 1)
		mask = mask << 1 | 1;
	return mask;
}

/* A new index, of `places` places, for references into up to `chunks` chunks. */
static int reindex(struct whi_table *table, struct whi_pool *pool, uint64_t places, uint32_t chunks)
{
	size_t room;
	struct index index = {
		.mask = (uint32_t)(places - 1),
		.ref_mask = mask_for(chunks),
	};

	if (places > UINT32_MAX / 2)
		return -ENOMEM;
	index.places = whi_pool_take_places(pool, places, &room);
	if (!index.places)
		return -ENOMEM;
	for (uint32_t i = 0; i < table->chunk_count; i++) {
		const struct whi_block *chunk = table->chunks[i];
		uint32_t ref = i << UNIT_BITS | sizeof(*chunk) / WHI_BLOCK_ALIGN;

		if (chunk->kind == WHI_SHORT)
			index_shorts(&index, chunk, ref);
		else
			index_longs(&index, chunk, ref);
	}
	whi_pool_put_places(pool, table->index, table->room);
	table->index = index.places;
	table->room = room;
	table->mask = index.mask;
	table->ref_mask = index.ref_mask;
	return 0;
}

static int more_chunks(struct whi_table *table)
{
	uint32_t room = table->chunk_room ? table->chunk_room * 2 : CHUNKS_FIRST;
	struct whi_block **chunks = whi_realloc(table->chunks, room * sizeof(struct whi_block *));

	if (!chunks)
		return -ENOMEM;
	table->chunks = chunks;
	table->chunk_room = room;
	return 0;
}

/* A chunk with room for `len` bytes. */
static int add_chunk(struct whi_table *table, struct whi_pool *pool, enum whi_kind kind, size_t len)
{
	uint32_t count = table->chunk_count;
	struct whi_block *chunk;

	if (count == CHUNKS_MAX)
		return -ENOMEM;
	if (count == table->chunk_room && more_chunks(table) < 0)
		return -ENOMEM;
	/* Places get room for references into as many chunks again. */
	if (table->index && count > table->ref_mask >> UNIT_BITS &&
	    reindex(table, pool, (uint64_t)table->mask + 1, count * 2) < 0)
		return -ENOMEM;
	chunk = whi_pool_take(pool, kind, len);
	if (!chunk)
		return -ENOMEM;
	table->chunks[table->chunk_count++] = chunk;
	return 0;
}

/* About as many records as there are in `bytes`. */
static uint64_t records_in(enum whi_kind kind, uint64_t bytes)
{
	return bytes / (kind == WHI_SHORT ? sizeof(struct whi_short) : LONG_BYTES);
}

int whi_table_expect(struct whi_table *table, struct whi_pool *pool, enum whi_kind kind,
		     uint64_t bytes)
{
	uint64_t keys = table->used + records_in(kind, bytes);
	uint64_t chunks = table->chunk_count + bytes / whi_pool_room(pool) + CHUNKS_FIRST;
	uint64_t places = PLACES_FIRST;

	while (keys * 8 > places * 5)
		places *= 2;
	if (table->index && table->mask >= places - 1)
		return 0;
	if (table->chunk_count == 0 && add_chunk(table, pool, kind, 0) < 0)
		return -ENOMEM;
	return reindex(table, pool, places, chunks < CHUNKS_MAX ? (uint32_t)chunks : CHUNKS_MAX);
}

static int grow(struct whi_table *table, struct whi_pool *pool)
{
	uint32_t chunks = table->chunk_count;

	/* With twice as many keys there will be twice as many chunks, and a few more. */
	if (chunks < CHUNKS_MAX / 4)
		chunks = chunks * 2 + 2;
	return reindex(table, pool, ((uint64_t)table->mask + 1) * 2, chunks);
}

static inline bool is_full(const struct whi_table *table)
{
	return (uint64_t)table->used * 8 >= ((uint64_t)table->mask + 1) * 5;
}

/* Room for a new key's record of `len` bytes, to which the index refers already. NULL when out of
 * memory. */
static inline void *insert(struct whi_table *table, struct whi_pool *pool, enum whi_kind kind,
			   uint32_t hash, size_t len)
{
	struct whi_block *chunk = table->chunks[table->chunk_count - 1];
	uint32_t ref;

	if (is_full(table) && grow(table, pool) < 0)
		return NULL;
	if (chunk->room - chunk->used < len) {
		if (add_chunk(table, pool, kind, len) < 0)
			return NULL;
		chunk = table->chunks[table->chunk_count - 1];
	}
	ref = (table->chunk_count - 1) << UNIT_BITS |
	      (uint32_t)((sizeof(*chunk) + chunk->used) / WHI_BLOCK_ALIGN);
	index_put(&(struct index){ table->index, table->mask, table->ref_mask }, ref, hash);
	table->used++;
	table->bytes += len;
	chunk->used += len;
	return chunk->data + chunk->used - len;
}

static int add_wide(struct whi_table *table, struct whi_pool *pool, const struct whi_short *record);

static inline int add_short(struct whi_table *table, struct whi_pool *pool,
			    const struct whi_short *record)
{
	const uint32_t hash = record->hash;
	struct whi_short *found;
	uint32_t entry;

	for (uint32_t place = hash & table->mask; (entry = table->index[place]) != 0;
	     place = (place + 1) & table->mask) {
		if (!tag_fits(table, entry, hash))
			continue;
		found = at_ref(table, entry);
		if (((found->low ^ record->low) | (found->high ^ record->high)) != 0)
			continue;
		/* Numbers of 40 bits would be added up to 40 bits. */
		if (whi_unlikely((uint64_t)found->count + record->count > WHI_SHORT_COUNT_MAX))
			return add_wide(table, pool, record);
		found->count += record->count;
		return 0;
	}
	found = insert(table, pool, WHI_SHORT, hash, sizeof(*record));
	if (!found)
		return -ENOMEM;
	*found = *record;
	return 0;
}

static inline void fetch_place(const struct whi_table *table, uint32_t hash)
{
	__builtin_prefetch(&table->index[hash & table->mask]);
}

/* What the place, fetched some time ago, leads to. */
static inline void fetch_record(const struct whi_table *table, uint32_t hash)
{
	__builtin_prefetch(at_ref(table, table->index[hash & table->mask]), 1);
}

int whi_table_add_shorts(struct whi_table *table, struct whi_pool *pool,
			 const struct whi_short *records, size_t count)
{
	if (!table->index && whi_table_expect(table, pool, WHI_SHORT, count * sizeof(*records)) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		int r;

		if (i + AHEAD < count) {
			__builtin_prefetch((const uint8_t *)&records[i + AHEAD] + SOURCE_AHEAD);
			fetch_place(table, records[i + AHEAD].hash);
			fetch_record(table, records[i + AHEAD / 2].hash);
		}
		r = add_short(table, pool, &records[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static inline int add_long(struct whi_table *table, struct whi_pool *pool, enum whi_combine how,
			   const struct whi_long *record)
{
	const uint32_t hash = record->hash;
	const size_t bytes = whi_long_bytes(record->len);
	struct whi_long *found;
	uint32_t entry;

	for (uint32_t place = hash & table->mask; (entry = table->index[place]) != 0;
	     place = (place + 1) & table->mask) {
		if (!tag_fits(table, entry, hash))
			continue;
		found = at_ref(table, entry);
		if (found->len != record->len ||
		    !whi_bytes_equal((const void *)(found + 1), (const void *)(record + 1),
				     record->len))
			continue;
		found->count = whi_combined(how, found->count, record->count);
		return 0;
	}
	found = insert(table, pool, WHI_LONG, hash, bytes);
	if (!found)
		return -ENOMEM;
	whi_bytes_copy_over((void *)found, (const void *)record, bytes);
	return 0;
}

/* A number of a short key that has no room where the others are. */
static int add_wide(struct whi_table *table, struct whi_pool *pool, const struct whi_short *record)
{
	struct {
		struct whi_long head;
		uint8_t key[WHI_SHORT_MAX + WHI_BYTES_SLACK];
	} wide = { .head = { .count = record->count, .len = WHI_SHORT_MAX, .hash = record->hash } };

	if (!table->wide)
		return -EOVERFLOW;
	if (!table->wide->index && whi_table_expect(table->wide, pool, WHI_LONG, 0) < 0)
		return -ENOMEM;
	memcpy(wide.key, record, sizeof(wide.key));
	while (!wide.key[wide.head.len - 1])
		wide.head.len--;
	table->has_wide = true;
	return add_long(table->wide, pool, WHI_COMBINE_ADD_EXACT, &wide.head);
}

struct whi_short *whi_table_find_short(const struct whi_table *table, const struct whi_key *key,
				       uint32_t hash)
{
	uint32_t entry;

	if (!table->index)
		return NULL;
	for (uint32_t place = hash & table->mask; (entry = table->index[place]) != 0;
	     place = (place + 1) & table->mask) {
		struct whi_short *found = at_ref(table, entry);

		if (found->low == key->low && found->high == key->high)
			return found;
	}
	return NULL;
}

/* The record after `at`, its place fetched. */
static inline const uint8_t *fetch_next(const struct whi_table *table, const uint8_t *at,
					const uint8_t *end)
{
	const struct whi_long *record = (const void *)at;

	if (at >= end)
		return at;
	__builtin_prefetch(at + SOURCE_AHEAD);
	__builtin_prefetch(at + SOURCE_AHEAD + 64);
	fetch_place(table, record->hash);
	return at + whi_long_bytes(record->len);
}

static inline const uint8_t *fetch_found(const struct whi_table *table, const uint8_t *at,
					 const uint8_t *end)
{
	const struct whi_long *record = (const void *)at;

	if (at >= end)
		return at;
	fetch_record(table, record->hash);
	return at + whi_long_bytes(record->len);
}

/* Apart for each way to combine, so that the choice is made once a block. */
static inline __attribute__((always_inline)) int add_longs(struct whi_table *table,
							   struct whi_pool *pool,
							   enum whi_combine how,
							   const uint8_t *records, size_t len)
{
	const uint8_t *end = records + len;
	const uint8_t *ahead = records, *found = records;

	for (int i = 0; i < AHEAD; i++)
		ahead = fetch_next(table, ahead, end);
	for (int i = 0; i < AHEAD / 2; i++)
		found = fetch_found(table, found, end);
	for (const uint8_t *at = records; at < end;) {
		const struct whi_long *record = (const void *)at;

		ahead = fetch_next(table, ahead, end);
		found = fetch_found(table, found, end);
		if (add_long(table, pool, how, record) < 0)
			return -ENOMEM;
		at += whi_long_bytes(record->len);
	}
	return 0;
}

int whi_table_add_longs(struct whi_table *table, struct whi_pool *pool, enum whi_combine how,
			const uint8_t *records, size_t len)
{
	if (!table->index && whi_table_expect(table, pool, WHI_LONG, len) < 0)
		return -ENOMEM;
	switch (how) {
	case WHI_COMBINE_ADD:
		return add_longs(table, pool, WHI_COMBINE_ADD, records, len);
	case WHI_COMBINE_MIN:
		return add_longs(table, pool, WHI_COMBINE_MIN, records, len);
	case WHI_COMBINE_MAX:
		return add_longs(table, pool, WHI_COMBINE_MAX, records, len);
	case WHI_COMBINE_ADD_EXACT:
		return add_longs(table, pool, WHI_COMBINE_ADD_EXACT, records, len);
	}
	whi_assert(false);
	return -EINVAL;
}

uint64_t whi_table_bytes(const struct whi_table *table)
{
	uint64_t bytes = table->room * sizeof(*table->index);

	for (uint32_t i = 0; i < table->chunk_count; i++)
		bytes += whi_block_bytes(table->chunks[i]);
	return bytes;
}

void whi_table_rest(struct whi_table *table, struct whi_pool *pool)
{
	whi_pool_put_places(pool, table->index, table->room);
	table->index = NULL;
	table->room = 0;
}

void whi_table_seal(struct whi_table *table)
{
	whi_free(table->index);
	table->index = NULL;
	table->room = 0;
}

void whi_table_fini(struct whi_table *table)
{
	whi_table_seal(table);
	for (uint32_t i = 0; i < table->chunk_count; i++)
		whi_free(table->chunks[i]);
	whi_free(table->chunks);
	*table = (struct whi_table){ 0 };
}
