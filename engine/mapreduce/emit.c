/* Owns the way of an emitted key and value into a front table, a block, or a partition's
 * results. */
#include "mapreduce/emit.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "mapreduce/group.h"
#include "mapreduce/hash.h"

_Static_assert(offsetof(struct wh_mr_emitter, gather) == 0, "an emitter is its gather, and more");

/* Apart: inlined it would cost what is inlined in its place a frame. */
__attribute__((noinline)) int wh_mr_emit_number_now(struct wh_mr_emitter *emitter, const void *key,
						    size_t key_len, uint64_t number)
{
	if (emitter->mode != WHI_EMIT_MAP || !emitter->numbers || key_len > WHI_KEY_MAX)
		return -EINVAL;
	if (emitter->gather.at == emitter->gather.end)
		whi_numbers_gather(emitter->numbers);
	return whi_numbers_add(emitter->numbers, key_len ? key : "", key_len, number);
}

static int emit_each(struct wh_mr_emitter *emitter, const struct wh_mr_bytes *keys,
		     const uint64_t *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int r = wh_mr_emit_number(emitter, keys[i].data, keys[i].len,
					  numbers ? numbers[i] : 1);

		if (r < 0)
			return r;
	}
	return 0;
}

int wh_mr_emit_numbers(struct wh_mr_emitter *emitter, const struct wh_mr_bytes *keys,
		       const uint64_t *numbers, size_t count)
{
	if (emitter->mode != WHI_EMIT_MAP || !emitter->numbers)
		return -EINVAL;
	while (count) {
		size_t some = count < WHI_NUMBERS_KEYS ? count : WHI_NUMBERS_KEYS;
		int r = 0;

		if (!whi_numbers_add_all(emitter->numbers, keys, numbers, some))
			r = emit_each(emitter, keys, numbers, some);
		if (r < 0)
			return r;
		keys += some;
		numbers += numbers ? some : 0;
		count -= some;
	}
	return emitter->numbers->front->error;
}

int wh_mr_emit_words(struct wh_mr_emitter *emitter, struct wh_mr_bytes text)
{
	if (emitter->mode != WHI_EMIT_MAP || !emitter->numbers)
		return -EINVAL;
	return whi_numbers_add_words(emitter->numbers, text.len ? text.data : "", text.len);
}

void wh_mr_origin(const struct wh_mr_emitter *emitter, struct wh_mr_origin *ret)
{
	wh_mr_origin_of(emitter, emitter->record, ret);
}

void wh_mr_origin_of(const struct wh_mr_emitter *emitter, const void *at, struct wh_mr_origin *ret)
{
	const uint8_t *from = emitter->rewritten ? emitter->rewritten : at;

	*ret = emitter->origin;
	ret->offset += (uint64_t)(from - emitter->block);
}

bool wh_mr_stopped(const struct wh_mr_emitter *emitter)
{
	return atomic_load_explicit(emitter->stop, memory_order_relaxed);
}

/* Combine one open block of the writer. What comes out is in the open block that follows it, and in
 * blocks that were pushed. */
static int combine_block(struct wh_mr_emitter *emitter, unsigned part)
{
	struct whi_writer *writer = emitter->writer;
	struct whi_block *block = writer->open[WHI_PAIR][part], *after;
	struct wh_mr_emitter inner = *emitter;
	int r;

	inner.mode = WHI_EMIT_COMBINE;
	writer->open[WHI_PAIR][part] = NULL;
	block->node.next = NULL;
	r = whi_group_each(&block->node, &(struct whi_group_call){
						 .fn = emitter->job->combine,
						 .arg = emitter->job->arg,
						 .emitter = &inner,
						 .stop = emitter->stop,
					 });
	whi_free(block);
	/* Where it hardly helps, do not do it again and again to the same pairs. */
	after = writer->open[WHI_PAIR][part];
	if (after && after->used > after->room / 2)
		whi_writer_push(writer, WHI_PAIR, part);
	return r;
}

static bool is_full(const struct whi_block *block, size_t len)
{
	return block && block->room - block->used < len;
}

/* Room in the partition that `hash` belongs to. */
static int room_in_writer(struct wh_mr_emitter *emitter, uint32_t hash, size_t len, void **ret)
{
	struct whi_writer *writer = emitter->writer;
	unsigned part = hash >> 24;
	int r = 0;

	if (emitter->mode == WHI_EMIT_MAP && emitter->job->combine &&
	    is_full(writer->open[WHI_PAIR][part], len))
		r = combine_block(emitter, part);
	if (r < 0)
		return r;
	*ret = whi_writer_room(writer, WHI_PAIR, part, len);
	return *ret ? 0 : -ENOMEM;
}

static int room_in_results(struct wh_mr_emitter *emitter, size_t len, void **ret)
{
	struct whi_part *part = emitter->part;
	struct whi_block *block = NULL;
	int r = 0;

	if (part->results)
		block = whi_container_of(part->results, struct whi_block, node);
	if (block && is_full(block, len) && emitter->relieve)
		r = emitter->relieve(emitter);
	if (r < 0)
		return r;
	if (!part->results || is_full(block, len)) {
		block = whi_block_new(WHI_PAIR, len);
		if (!block)
			return -ENOMEM;
		block->node.next = part->results;
		part->results = &block->node;
	}
	block->used += len;
	*ret = block->data + block->used - len;
	return 0;
}

static void copy(uint8_t *to, struct wh_mr_bytes from)
{
	if (from.len)
		memcpy(to, from.data, from.len);
}

int wh_mr_emit(struct wh_mr_emitter *emitter, struct wh_mr_bytes key, struct wh_mr_bytes value)
{
	uint32_t hash = (uint32_t)(whi_hash_bytes(key.data, key.len) >> 32);
	struct whi_pair pair = { .value_len = value.len,
				 .key_len = key.len & WHI_KEY_MAX,
				 .hash = hash & 0xffffff };
	void *room;
	int r;

	if (emitter->job->value != WH_MR_BYTES || key.len > WHI_KEY_MAX)
		return -EINVAL;
	if (emitter->mode == WHI_EMIT_REDUCE)
		r = room_in_results(emitter, whi_pair_bytes(&pair), &room);
	else
		r = room_in_writer(emitter, hash, whi_pair_bytes(&pair), &room);
	if (r < 0)
		return r;
	if (emitter->mode == WHI_EMIT_MAP)
		emitter->records++;
	memcpy(room, &pair, sizeof(pair));
	copy((uint8_t *)room + sizeof(pair), key);
	copy((uint8_t *)room + sizeof(pair) + key.len, value);
	return 0;
}

int whi_emit_combine_all(struct wh_mr_emitter *emitter)
{
	for (unsigned part = 0; part < WHI_PARTS; part++) {
		int r;

		if (!emitter->writer->open[WHI_PAIR][part])
			continue;
		r = combine_block(emitter, part);
		if (r < 0)
			return r;
	}
	return 0;
}

int whi_emit_reduce(struct wh_mr_emitter *emitter)
{
	struct whi_part *part = emitter->part;
	int r = whi_group_each(part->pairs, &(struct whi_group_call){
						    .fn = emitter->job->reduce,
						    .arg = emitter->job->arg,
						    .emitter = emitter,
						    .stop = emitter->stop,
					    });

	whi_blocks_free(part->pairs);
	part->pairs = NULL;
	return r;
}
