/* Owns a worker's front table. Called by the word kernels and by emitters, on one thread at a time.
 *
 * 1. Short ids are 1..used and dense; keys[0] is no key, so a free place never matches.
 * 2. used <= room < 65536 and there are at least two places to each id.
 * 3. counts[] cannot overflow: at most 2^32 - 1 words are counted between two flushes. */
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
	LONG_PLACES = 32 * 1024,
	LONG_ROOM = LONG_PLACES / 2 - 1,
	LONG_BYTES = 512 * 1024,
};

_Static_assert(PLACES >= 2 * ROOM_MAX, "places for every id");
_Static_assert(LONG_BYTES <= 1 << 20 && WHI_FRONT_LONG_MAX < 1 << 12, "bits of whi_front_long");

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
	front->long_index = whi_calloc(LONG_PLACES, sizeof(*front->long_index));
	front->longs = whi_alloc(sizeof(*front->longs) * (LONG_ROOM + 1));
	front->long_bytes = whi_alloc(LONG_BYTES);
	if (!front->index || !front->keys || !front->counts || !front->hashes ||
	    !front->long_index || !front->longs || !front->long_bytes) {
		whi_front_free(front);
		return NULL;
	}
	front->keys[0] = (struct whi_key){ 0 };
	return front;
}

void whi_front_free(struct whi_front *front)
{
	if (!front)
		return;
	whi_free(front->index);
	whi_free(front->keys);
	whi_free(front->counts);
	whi_free(front->hashes);
	whi_free(front->long_index);
	whi_free(front->longs);
	whi_free(front->long_bytes);
	whi_free(front);
}

static void fail(struct whi_front *front, int error)
{
	if (!front->error)
		front->error = error;
}

static void flush_shorts(struct whi_front *front)
{
	for (uint32_t id = 1; id <= front->used; id++) {
		int r = whi_writer_add_short(front->writer, &front->keys[id], front->hashes[id],
					     front->counts[id]);

		if (r < 0)
			fail(front, r);
	}
	if (front->used)
		memset(front->index, 0, sizeof(*front->index) * PLACES);
	front->used = 0;
	front->words = 0;
}

static void flush_longs(struct whi_front *front)
{
	for (uint32_t id = 1; id <= front->longs_used; id++) {
		const struct whi_front_long *entry = &front->longs[id];
		int r = whi_writer_add_long(front->writer, entry->hash,
					    front->long_bytes + entry->offset, entry->len,
					    entry->count);

		if (r < 0)
			fail(front, r);
	}
	if (front->longs_used)
		memset(front->long_index, 0, sizeof(*front->long_index) * LONG_PLACES);
	front->longs_used = 0;
	front->long_bytes_used = 0;
}

int whi_front_flush(struct whi_front *front)
{
	flush_shorts(front);
	flush_longs(front);
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
	front->hashes[id] = (uint32_t)(hash >> 32);
	return id;
}

static void insert_long(struct whi_front *front, const struct whi_front_long *entry,
			const uint8_t *bytes, uint32_t place)
{
	uint32_t id = ++front->longs_used;

	front->longs[id] = *entry;
	front->longs[id].offset = front->long_bytes_used & (LONG_BYTES * 2 - 1);
	whi_bytes_copy(front->long_bytes + front->long_bytes_used, bytes, entry->len);
	front->long_bytes_used += entry->len;
	front->long_index[place] = (uint16_t)id;
}

void whi_front_add_long(struct whi_front *front, const uint8_t *bytes, size_t len, uint64_t count)
{
	uint32_t hash = (uint32_t)(whi_hash_bytes(bytes, len) >> 32);
	uint32_t place = hash & (LONG_PLACES - 1);
	int r;

	front->total += count;
	if (len > WHI_FRONT_LONG_MAX) {
		r = whi_writer_add_long(front->writer, hash, bytes, len, count);
		if (r < 0)
			fail(front, r);
		return;
	}
	if (front->longs_used == LONG_ROOM || front->long_bytes_used + len > LONG_BYTES)
		flush_longs(front);
	for (uint32_t id; (id = front->long_index[place]) != 0;
	     place = (place + 1) & (LONG_PLACES - 1)) {
		struct whi_front_long *entry = &front->longs[id];

		if (entry->hash != hash || entry->len != len ||
		    !whi_bytes_equal(front->long_bytes + entry->offset, bytes, len))
			continue;
		entry->count += count;
		return;
	}
	insert_long(front,
		    &(struct whi_front_long){ .count = count, .hash = hash, .len = len & 0xfff },
		    bytes, place);
}
