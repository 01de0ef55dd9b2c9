/* Owns a worker's front table. Called by the word kernels and by emitters, on one thread at a time.
 *
 * 1. Short ids are 1..used and dense; keys[0] is no key, so a free place never matches.
 * 2. used <= room < 65536 and there are at least two places to each id.
 * 3. counts[] cannot overflow: at most 2^32 - 1 words are counted between two flushes.
 * 4. An entry of recent[] whose turn is the partition's refers to a record in the partition's open
 *    block, as every block has a turn of its own. */
#include "mapreduce/front.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "mapreduce/bytes.h"
#include "mapreduce/hash.h"

enum {
	ROOM_MIN = WHI_REGION_WORDS * 2,
	ROOM_MAX = 65535,
	PLACES = 1 << WHI_FRONT_INDEX_BITS,
	BYTES_PER_KEY = 32, /* of cache: key, count, places, and room for other things */
	RECENT = 32 * 1024,
	AHEAD = 32, /* records whose cache lines are fetched before they are needed */
	LINE = 64,
};

_Static_assert(PLACES >= 2 * ROOM_MAX, "places for every id");
_Static_assert(WHI_BLOCK_UNITS == 1 << 12, "`unit` is a place in a block");

static uint32_t choose_room(size_t l2_bytes)
{
	size_t room = l2_bytes / BYTES_PER_KEY;

	if (room < ROOM_MIN)
		return ROOM_MIN;
	return room > ROOM_MAX ? ROOM_MAX : (uint32_t)room;
}

struct whi_front *whi_front_new(struct whi_writer *writer, size_t l2_bytes)
{
	struct whi_front *front = whi_calloc(1, sizeof(*front));

	if (!front)
		return NULL;
	front->writer = writer;
	front->room = choose_room(l2_bytes);
	front->index = whi_calloc(PLACES, sizeof(*front->index));
	front->keys = whi_aligned_alloc(64, sizeof(*front->keys) * (front->room + 1u));
	front->counts = whi_alloc(sizeof(*front->counts) * (front->room + 1u));
	front->hashes = whi_alloc(sizeof(*front->hashes) * (front->room + 1u));
	front->recent = whi_calloc(RECENT, sizeof(*front->recent));
	front->combine = writer->store->combine;
	if (!front->index || !front->keys || !front->counts || !front->hashes || !front->recent) {
		whi_front_free(front);
		return NULL;
	}
	front->keys[0] = (struct whi_key){ 0 };
	front->counts[0] = 0;
	return front;
}

void whi_front_free(struct whi_front *front)
{
	if (!front)
		return;
	whi_free(front->index);
	whi_free(front->keys);
	whi_free(front->counts);
	whi_free(front->sums);
	whi_free(front->hashes);
	whi_free(front->recent);
	whi_free(front);
}

int whi_front_use_sums(struct whi_front *front)
{
	front->sums = whi_alloc(sizeof(*front->sums) * (front->room + 1u));
	if (!front->sums)
		return -ENOMEM;
	front->sums[0] = 0;
	return 0;
}

static void fail(struct whi_front *front, int error)
{
	if (!front->error)
		front->error = error;
}

static inline uint32_t hash_long(const uint8_t *bytes, size_t len)
{
	return (uint32_t)(whi_hash_bytes(bytes, len) >> 32);
}

/* As long keys, whose records have room for any number. */
static void flush_sums(struct whi_front *front)
{
	/* Those of the kernel are of no use any more. */
	for (uint32_t id = 1; id <= front->used; id++)
		front->hashes[id] = hash_long((const void *)&front->keys[id],
					      whi_key_len(&front->keys[id]));
	for (uint32_t id = 1; id <= front->used; id++) {
		const struct whi_key *key = &front->keys[id];
		int r;

		if (id + AHEAD <= front->used)
			whi_writer_fetch(front->writer, WHI_LONG, front->hashes[id + AHEAD] >> 24);
		r = whi_writer_add_long(front->writer, front->hashes[id], (const void *)key,
					whi_key_len(key), front->sums[id]);
		if (r < 0)
			fail(front, r);
	}
}

static void flush_counts(struct whi_front *front)
{
	for (uint32_t id = 1; id <= front->used; id++) {
		int r;

		if (id + AHEAD <= front->used)
			whi_writer_fetch(front->writer, WHI_SHORT, front->hashes[id + AHEAD] >> 24);
		r = whi_writer_add_short(front->writer, &front->keys[id], front->hashes[id],
					 front->counts[id]);

		if (r < 0)
			fail(front, r);
	}
}

static void flush_shorts(struct whi_front *front)
{
	if (front->sums)
		flush_sums(front);
	else
		flush_counts(front);
	if (front->used)
		memset(front->index, 0, sizeof(*front->index) * PLACES);
	front->used = 0;
	front->words = 0;
}

int whi_front_flush(struct whi_front *front)
{
	flush_shorts(front);
	return front->error;
}

void whi_front_reserve(struct whi_front *front, size_t count)
{
	if (front->used + count > front->room || front->words + count > UINT32_MAX)
		flush_shorts(front);
	front->words += count;
	front->total += count;
}

/* Let the more frequent of two keys have the first place that they share: any order of the keys
 * along a probe sequence will do, as nothing is ever taken out of one. */
static void promote(struct whi_front *front, uint32_t first, uint32_t place, uint16_t id)
{
	uint16_t holder = front->index[first];

	if (front->counts[id] <= front->counts[holder])
		return;
	front->index[first] = id;
	front->index[place] = holder;
}

uint16_t whi_front_find(struct whi_front *front, uint64_t low, uint64_t high, uint64_t hash)
{
	const uint32_t first = whi_front_place(hash);
	uint32_t place = first;
	uint16_t id;

	front->misses++;
	for (; (id = front->index[place]) != 0; place = (place + 1) & (PLACES - 1)) {
		if (front->keys[id].low != low || front->keys[id].high != high)
			continue;
		promote(front, first, place, id);
		return id;
	}
	id = (uint16_t)++front->used;
	front->index[place] = id;
	front->keys[id] = (struct whi_key){ low, high };
	front->counts[id] = 0;
	front->hashes[id] = (uint32_t)(whi_hash_short(low, high) >> 32);
	return id;
}

static void send_long(struct whi_front *front, const uint8_t *bytes, size_t len, uint64_t count)
{
	int r = whi_writer_add_long(front->writer, hash_long(bytes, len), bytes, len, count);

	front->long_count++;
	if (r < 0)
		fail(front, r);
}

static inline struct whi_front_recent *recent_of(struct whi_front *front, uint32_t hash)
{
	return &front->recent[hash & (RECENT - 1)];
}

/* Whether `recent` tells where a record of this hash is. */
static inline bool is_recent(const struct whi_writer *writer, const struct whi_front_recent *recent,
			     uint32_t hash)
{
	return ((recent->hash ^ hash) | (recent->turn ^ writer->turns[hash >> 24])) == 0;
}

/* Means something if the entry does: there may be no block. */
static inline uint8_t *recent_record(const struct whi_writer *writer,
				     const struct whi_front_recent *recent, uint32_t hash)
{
	uintptr_t block = (uintptr_t)writer->open[WHI_LONG][hash >> 24];

	return (uint8_t *)(block + (uintptr_t)recent->unit * WHI_BLOCK_ALIGN);
}

/* The record of a key that is not recent, without its bytes; from now on it is. */
static inline uint8_t *new_long(struct whi_front *front, struct whi_front_recent *recent,
				size_t len, uint32_t hash, uint64_t count)
{
	struct whi_writer *writer = front->writer;
	const unsigned part = hash >> 24;
	const struct whi_long head = { .count = count,
				       .len = len & WHI_KEY_MAX,
				       .hash = hash & 0xffffff };
	uint8_t *to = whi_writer_record(writer, WHI_LONG, part, whi_long_bytes(len));
	size_t unit;

	front->long_count++;
	if (!to) {
		fail(front, -ENOMEM);
		return NULL;
	}
	memcpy(to, &head, sizeof(head));
	unit = (size_t)(to - (uint8_t *)writer->open[WHI_LONG][part]) / WHI_BLOCK_ALIGN;
	*recent = (struct whi_front_recent){
		.hash = hash,
		.turn = writer->turns[part] & WHI_TURN_LAST,
		.unit = unit & (WHI_BLOCK_UNITS - 1),
	};
	return to + sizeof(head);
}

/* Returns where the bytes of a new key are to be copied to, or NULL. */
static inline uint8_t *add_long(struct whi_front *front, const uint8_t *bytes, size_t len,
				uint32_t hash, uint64_t count)
{
	struct whi_front_recent *recent = recent_of(front, hash);
	struct whi_long *found;

	if (is_recent(front->writer, recent, hash)) {
		found = (void *)recent_record(front->writer, recent, hash);
		if (found->len == len && whi_bytes_equal((const void *)(found + 1), bytes, len)) {
			found->count = whi_combined(front->combine, found->count, count);
			return NULL;
		}
	}
	return new_long(front, recent, len, hash, count);
}

void whi_front_add_long(struct whi_front *front, const uint8_t *bytes, size_t len, uint64_t count)
{
	uint8_t *to;

	front->total += count;
	if (len > WHI_FRONT_LONG_MAX) {
		send_long(front, bytes, len, count);
		return;
	}
	to = add_long(front, bytes, len, hash_long(bytes, len), count);
	if (to)
		memcpy(to, bytes, len);
}

/* Where a key, whose place was fetched some time ago, is or will be. */
static inline void fetch_long(struct whi_front *front, uint32_t hash)
{
	const struct whi_writer *writer = front->writer;
	const struct whi_front_recent *recent = recent_of(front, hash);
	const uint8_t *found = recent_record(writer, recent, hash);
	const uint8_t *room = writer->rooms[WHI_LONG][hash >> 24].at;
	const uint8_t *at = is_recent(writer, recent, hash) ? found : room;

	__builtin_prefetch(at, 1);
	__builtin_prefetch(at + LINE, 1);
}

void whi_front_count_longs(struct whi_front *front, const uint8_t *data)
{
	const struct whi_region_words *words = &front->long_words;
	const size_t count = words->count;
	uint32_t *hashes = front->long_hashes;

	front->total += count;
	for (size_t i = 0; i < count; i++) {
		hashes[i] = hash_long(data + words->start[i], words->len[i]);
		__builtin_prefetch(recent_of(front, hashes[i]), 1);
	}
	for (size_t i = 0; i < AHEAD && i < count; i++)
		fetch_long(front, hashes[i]);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *bytes = data + words->start[i];
		uint8_t *to;

		if (i + AHEAD < count)
			fetch_long(front, hashes[i + AHEAD]);
		if (words->len[i] > WHI_FRONT_LONG_MAX) {
			send_long(front, bytes, words->len[i], 1);
			continue;
		}
		to = add_long(front, bytes, words->len[i], hashes[i], 1);
		if (to)
			whi_bytes_copy_over(to, bytes, words->len[i]);
	}
}
