/* Owns a worker's front table. Called by the word kernels and by emitters, on one thread at a time.
 *
 * 1. Short ids are 1..used and dense; keys[0] is no key, so a free place never matches.
 * 2. used <= room < 65536 and there are at least two places to each id.
 * 3. counts[] cannot overflow: at most 2^32 - 1 words are counted between two flushes.
 * 4. A place of the long index is 0 or refers to a record; none lies at 0, and half of the places
 *    are free.
 * 5. Behind `longs` are WHI_BYTES_SLACK bytes that may be read and written. */
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
	LONG_BYTES = 512 * 1024,
	LONG_UNIT = 8,
	AHEAD = 32, /* records whose cache lines are fetched before they are needed */
	/* What the records of a region take at most: 16 bytes before and 7 behind each key. */
	LONG_REGION_BYTES = WHI_REGION_BYTES + WHI_REGION_LONGS * 24,
};

#define LONG_TAG 0xffff0000u

_Static_assert(PLACES >= 2 * ROOM_MAX, "places for every id");
_Static_assert(LONG_BYTES / LONG_UNIT <= 1 << 16, "a place in `longs` has half of an entry");
_Static_assert(sizeof(struct whi_front_long) == 16, "LONG_REGION_BYTES counts on it");

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
	front->longs = whi_alloc(LONG_BYTES + WHI_BYTES_SLACK);
	front->longs_used = LONG_UNIT;
	front->combine = writer->store->combine;
	if (!front->index || !front->keys || !front->counts || !front->hashes ||
	    !front->long_index || !front->longs) {
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
		int r;

		if (id + AHEAD <= front->used)
			whi_writer_fetch(front->writer, WHI_SHORT, front->hashes[id + AHEAD] >> 24);
		r = whi_writer_add_short(front->writer, &front->keys[id], front->hashes[id],
					 front->counts[id]);

		if (r < 0)
			fail(front, r);
	}
	if (front->used)
		memset(front->index, 0, sizeof(*front->index) * PLACES);
	front->used = 0;
	front->words = 0;
}

static inline size_t long_bytes(size_t len)
{
	return sizeof(struct whi_front_long) + ((len + LONG_UNIT - 1) & ~(size_t)(LONG_UNIT - 1));
}

static inline void *long_at(const struct whi_front *front, uint32_t entry)
{
	return front->longs + (size_t)(entry & ~LONG_TAG) * LONG_UNIT;
}

static int flush_long(struct whi_writer *writer, const struct whi_front_long *from)
{
	const struct whi_long head = { .count = from->count,
				       .len = from->len,
				       .hash = from->hash & 0xffffff };
	uint8_t *to = whi_writer_record(writer, WHI_LONG, from->hash >> 24,
					whi_long_bytes(from->len));

	if (!to)
		return -ENOMEM;
	memcpy(to, &head, sizeof(head));
	whi_bytes_copy_over(to + sizeof(head), (const uint8_t *)(from + 1), from->len);
	return 0;
}

/* Fetch where the record at `at` goes. Returns where the next record is. */
static inline uint32_t fetch_room(const struct whi_front *front, uint32_t at)
{
	const struct whi_front_long *record = (const void *)(front->longs + at);

	if (at >= front->longs_used)
		return at;
	whi_writer_fetch(front->writer, WHI_LONG, record->hash >> 24);
	return at + (uint32_t)long_bytes(record->len);
}

static void flush_longs(struct whi_front *front)
{
	uint32_t ahead = LONG_UNIT;

	for (int i = 0; i < AHEAD; i++)
		ahead = fetch_room(front, ahead);
	for (uint32_t at = LONG_UNIT; at < front->longs_used;) {
		const struct whi_front_long *record = (const void *)(front->longs + at);
		int r = flush_long(front->writer, record);

		if (r < 0)
			fail(front, r);
		ahead = fetch_room(front, ahead);
		at += (uint32_t)long_bytes(record->len);
	}
	if (front->long_count)
		memset(front->long_index, 0, sizeof(*front->long_index) * LONG_PLACES);
	front->longs_used = LONG_UNIT;
	front->long_count = 0;
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
	front->hashes[id] = (uint32_t)(hash >> 32);
	return id;
}

/* The place of a key in the index, or the free one where it belongs. */
static inline uint32_t *find_long(struct whi_front *front, const uint8_t *bytes, size_t len,
				  uint32_t hash)
{
	uint32_t place = hash & (LONG_PLACES - 1);

	for (;; place = (place + 1) & (LONG_PLACES - 1)) {
		uint32_t entry = front->long_index[place];
		const struct whi_front_long *found;

		if (entry == 0)
			return &front->long_index[place];
		if ((entry ^ hash) & LONG_TAG)
			continue;
		found = long_at(front, entry);
		if (found->len == len && whi_bytes_equal((const void *)(found + 1), bytes, len))
			return &front->long_index[place];
	}
}

/* Returns where the bytes of a new key are to be copied to, or NULL. */
static inline uint8_t *add_long(struct whi_front *front, const uint8_t *bytes, size_t len,
				uint32_t hash, uint64_t count)
{
	uint32_t *entry = find_long(front, bytes, len, hash);
	struct whi_front_long *record;

	if (*entry) {
		record = long_at(front, *entry);
		record->count = whi_combined(front->combine, record->count, count);
		return NULL;
	}
	*entry = (hash & LONG_TAG) | front->longs_used / LONG_UNIT;
	record = long_at(front, *entry);
	*record = (struct whi_front_long){ count, hash, (uint32_t)len };
	front->longs_used += (uint32_t)long_bytes(len);
	front->long_count++;
	return (uint8_t *)(record + 1);
}

static inline uint32_t hash_long(const uint8_t *bytes, size_t len)
{
	return (uint32_t)(whi_hash_bytes(bytes, len) >> 32);
}

static void send_long(struct whi_front *front, const uint8_t *bytes, size_t len, uint64_t count)
{
	int r = whi_writer_add_long(front->writer, hash_long(bytes, len), bytes, len, count);

	if (r < 0)
		fail(front, r);
}

/* Flush the long keys if there is no room for `count` more of `bytes` bytes with their heads. */
static void reserve_longs(struct whi_front *front, size_t count, size_t bytes)
{
	if (front->long_count + count > LONG_PLACES / 2 || front->longs_used + bytes > LONG_BYTES)
		flush_longs(front);
}

void whi_front_add_long(struct whi_front *front, const uint8_t *bytes, size_t len, uint64_t count)
{
	uint8_t *to;

	front->total += count;
	if (len > WHI_FRONT_LONG_MAX) {
		send_long(front, bytes, len, count);
		return;
	}
	reserve_longs(front, 1, long_bytes(len));
	to = add_long(front, bytes, len, hash_long(bytes, len), count);
	if (to)
		memcpy(to, bytes, len);
}

/* What the place, fetched some time ago, leads to. */
static inline void fetch_long(const struct whi_front *front, uint32_t hash)
{
	__builtin_prefetch(long_at(front, front->long_index[hash & (LONG_PLACES - 1)]), 1);
}

void whi_front_count_longs(struct whi_front *front, const uint8_t *data)
{
	const struct whi_region_words *words = &front->long_words;
	const size_t count = words->count;
	uint32_t *hashes = front->long_hashes;

	if (count == 0)
		return;
	front->total += count;
	reserve_longs(front, count, LONG_REGION_BYTES);
	for (size_t i = 0; i < count; i++) {
		hashes[i] = hash_long(data + words->start[i], words->len[i]);
		__builtin_prefetch(&front->long_index[hashes[i] & (LONG_PLACES - 1)]);
	}
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
