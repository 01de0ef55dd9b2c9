/* Owns the way of a block of text through a kernel: region by region, with words that are longer
 * than a region on the side. */
#include "mapreduce/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/cpu.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "mapreduce/unicode.h"

#define ONES UINT64_MAX
#define LOW(bytes) (ONES >> (64 - 8 * (bytes)))

const struct whi_key whi_words_masks[WHI_SHORT_MAX + 1] = {
	{ 0, 0 },	  { LOW(1), 0 },    { LOW(2), 0 },    { LOW(3), 0 },	{ LOW(4), 0 },
	{ LOW(5), 0 },	  { LOW(6), 0 },    { LOW(7), 0 },    { ONES, 0 },	{ ONES, LOW(1) },
	{ ONES, LOW(2) }, { ONES, LOW(3) }, { ONES, LOW(4) }, { ONES, LOW(5) }, { ONES, LOW(6) },
	{ ONES, LOW(7) }, { ONES, ONES },
};

static const struct whi_words_kernel *find(const char *name)
{
	for (size_t i = 0; whi_words_kernels[i]; i++)
		if (strcmp(whi_words_kernels[i]->name, name) == 0)
			return whi_words_kernels[i];
	return NULL;
}

static bool runs_here(const struct whi_words_kernel *kernel)
{
	return (kernel->needs & ~whi_cpu_features()) == 0;
}

int whi_words_choose(const char *name, const struct whi_words_kernel **ret)
{
	const struct whi_words_kernel *const *best = whi_words_kernels;
	const struct whi_words_kernel *named;

	if (!name)
		name = getenv("WHORL_ISA");
	if (name && *name) {
		named = find(name);
		if (!named)
			return -EINVAL;
		if (!runs_here(named))
			return -ENOTSUP;
		*ret = named;
		return 0;
	}
	while (!runs_here(*best))
		best++;
	*ret = *best;
	return 0;
}

size_t whi_words_last(const struct wh_mr_words *words, const uint8_t *data, size_t len)
{
	words = words ? words : &whi_words_default;
	while (len > 0 && whi_words_has(words, data[len - 1]))
		len--;
	return len;
}

size_t whi_words_first(const struct wh_mr_words *words, const uint8_t *data, size_t len,
		       size_t from)
{
	words = words ? words : &whi_words_default;
	for (size_t i = from; i < len; i++)
		if (!whi_words_has(words, data[i]))
			return i + 1;
	return 0;
}

static void fold(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] |= (uint8_t)((uint8_t)(data[i] - 'A') < 26 ? 0x20 : 0);
}

size_t whi_words_region(const struct whi_words_rule *rule, const uint8_t *data, size_t len)
{
	size_t take;

	if (len <= WHI_REGION_BYTES)
		return len;
	take = whi_words_last(&rule->words, data, WHI_REGION_BYTES);
	if (take == 0)
		take = whi_words_first(&rule->words, data, len, WHI_REGION_BYTES);
	return take ? take : len;
}

size_t whi_words_giant(const struct whi_words_rule *rule, uint8_t *data, size_t len)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): what was rewritten is there */
	if (!whi_words_rule_has(rule, data[len - 1]))
		len--;
	if (!rule->words.keep_case)
		fold(data, len);
	return len;
}

static void count_region_timed(const struct whi_words_kernel *kernel,
			       const struct whi_words_rule *rule, struct whi_front *front,
			       uint8_t *data, size_t len)
{
	uint64_t began = whi_clock_ns(), tokenized;
	uint32_t used;

	whi_words_tokenize(kernel, rule, front, data, len);
	tokenized = whi_clock_ns();
	whi_front_reserve(front, front->shorts.count);
	used = front->used;
	kernel->count(front, data);
	front->entered += front->used - used;
	whi_front_count_longs(front, data);
	front->tokenize_ns += tokenized - began;
	front->count_ns += whi_clock_ns() - tokenized;
}

static void count_region(const struct whi_words_kernel *kernel, const struct whi_words_rule *rule,
			 struct whi_front *front, uint8_t *data, size_t len)
{
	if (whi_unlikely(front->timed)) {
		count_region_timed(kernel, rule, front, data, len);
		return;
	}
	whi_words_tokenize(kernel, rule, front, data, len);
	whi_front_reserve(front, front->shorts.count);
	kernel->count(front, data);
	whi_front_count_longs(front, data);
}

static void count_all(const struct whi_words_kernel *kernel, const struct whi_words_rule *rule,
		      struct whi_front *front, uint8_t *data, size_t len)
{
	while (len > 0) {
		size_t take = whi_words_region(rule, data, len);

		if (take <= WHI_REGION_BYTES)
			count_region(kernel, rule, front, data, take);
		else
			whi_front_add_long(front, data, whi_words_giant(rule, data, take), 1);
		data += take;
		len -= take;
	}
}

/* Region by region, and only what is not ASCII is rewritten. */
static int count_unicode(const struct whi_words_kernel *kernel, const struct whi_words_rule *rule,
			 struct whi_front *front, uint8_t *data, size_t len)
{
	struct whi_words_text text = { 0 };
	ssize_t r = 0;

	while (len > 0 && r >= 0) {
		size_t take = whi_words_region(rule, data, len);

		if (whi_unicode_needed(data, take)) {
			r = whi_words_rewrite(rule, &text, data, take);
			if (r > 0)
				count_all(kernel, rule, front, text.data, (size_t)r);
		} else {
			count_all(kernel, rule, front, data, take);
		}
		data += take;
		len -= take;
	}
	whi_words_text_fini(&text);
	return r < 0 ? (int)r : 0;
}

void whi_words_count(const struct whi_words_kernel *kernel, const struct whi_words_rule *rule,
		     struct whi_front *front, uint8_t *data, size_t len)
{
	int r = 0;

	if (rule->words.unicode)
		r = count_unicode(kernel, rule, front, data, len);
	else
		count_all(kernel, rule, front, data, len);
	if (r < 0 && front->error == 0)
		front->error = r;
}

ssize_t whi_words_rewrite(const struct whi_words_rule *rule, struct whi_words_text *text,
			  const uint8_t *data, size_t len)
{
	size_t room = whi_unicode_room(len) + WHI_WORDS_SLACK;

	if (text->room < room) {
		uint8_t *grown = whi_realloc(text->data, room);

		if (!grown)
			return -ENOMEM;
		text->data = grown;
		text->room = room;
	}
	return (ssize_t)whi_unicode_rewrite(text->data, data, len, rule->blank,
					    !rule->words.keep_case);
}

void whi_words_text_fini(struct whi_words_text *text)
{
	whi_free(text->data);
	*text = (struct whi_words_text){ 0 };
}
