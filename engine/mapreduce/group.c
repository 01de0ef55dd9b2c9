/* Owns the grouping of pairs by key: a table of heads, one for each key, and behind each head a
 * list of the other pairs of that key. Made, used and thrown away in one call.
 *
 * 1. Nodes are 1..count; 0 ends a list and is a free place of the index.
 * 2. The index holds heads only, and has at least two places a node. */
#include "mapreduce/group.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"

struct node {
	const struct whi_pair *pair;
	uint32_t next;
	bool is_head;
};

struct group {
	struct node *nodes;
	uint32_t *index;
	uint32_t mask;
	uint32_t count;
};

struct group_values {
	struct wh_mr_values base;
	const struct group *group;
	uint32_t next;
};

bool wh_mr_next(struct wh_mr_values *values, struct wh_mr_bytes *ret)
{
	return values->next(values, ret);
}

static bool next_value(struct wh_mr_values *base, struct wh_mr_bytes *ret)
{
	struct group_values *values = whi_container_of(base, struct group_values, base);
	const struct node *node = &values->group->nodes[values->next];
	const uint8_t *key;

	if (values->next == 0)
		return false;
	key = (const void *)(node->pair + 1);
	*ret = (struct wh_mr_bytes){ key + node->pair->key_len, node->pair->value_len };
	values->next = node->next;
	return true;
}

static uint64_t count_pairs(const struct whi_qnode *chain)
{
	uint64_t count = 0;

	for (; chain; chain = chain->next) {
		const struct whi_block *block = whi_container_of(chain, struct whi_block, node);

		for (size_t at = 0; at < block->used; count++)
			at += whi_pair_bytes((const void *)(block->data + at));
	}
	return count;
}

static int group_init(struct group *group, uint64_t pairs)
{
	uint64_t places = 4;

	*group = (struct group){ 0 };
	if (pairs > UINT32_MAX / 4)
		return -ENOMEM;
	while (places < pairs * 2)
		places *= 2;
	group->mask = (uint32_t)(places - 1);
	group->nodes = whi_alloc((pairs + 1) * sizeof(*group->nodes));
	group->index = whi_calloc(places, sizeof(*group->index));
	return group->nodes && group->index ? 0 : -ENOMEM;
}

static void group_fini(struct group *group)
{
	whi_free(group->nodes);
	whi_free(group->index);
}

static bool same_key(const struct whi_pair *a, const struct whi_pair *b)
{
	return a->hash == b->hash && a->key_len == b->key_len &&
	       memcmp(a + 1, b + 1, a->key_len) == 0;
}

static void group_add(struct group *group, const struct whi_pair *pair)
{
	struct node *node = &group->nodes[++group->count];
	uint32_t place = pair->hash & group->mask;
	uint32_t head;

	*node = (struct node){ .pair = pair };
	for (; (head = group->index[place]) != 0; place = (place + 1) & group->mask) {
		if (!same_key(group->nodes[head].pair, pair))
			continue;
		node->next = group->nodes[head].next;
		group->nodes[head].next = group->count;
		return;
	}
	node->is_head = true;
	group->index[place] = group->count;
}

static int call_each(const struct group *group, const struct whi_group_call *call)
{
	for (uint32_t i = 1; i <= group->count; i++) {
		const struct node *node = &group->nodes[i];
		struct group_values values = { { next_value }, group, i };
		int r;

		if (!node->is_head)
			continue;
		if (atomic_load_explicit(call->stop, memory_order_relaxed))
			return -ECANCELED;
		r = call->fn(call->arg, (struct wh_mr_bytes){ node->pair + 1, node->pair->key_len },
			     &values.base, call->emitter);
		if (r < 0)
			return r;
	}
	return 0;
}

int whi_group_each(const struct whi_qnode *chain, const struct whi_group_call *call)
{
	struct group group;
	int r = group_init(&group, count_pairs(chain));

	if (r < 0)
		goto out;
	for (; chain; chain = chain->next) {
		const struct whi_block *block = whi_container_of(chain, struct whi_block, node);

		for (size_t at = 0; at < block->used;) {
			const struct whi_pair *pair = (const void *)(block->data + at);

			group_add(&group, pair);
			at += whi_pair_bytes(pair);
		}
	}
	r = call_each(&group, call);
out:
	group_fini(&group);
	return r;
}
