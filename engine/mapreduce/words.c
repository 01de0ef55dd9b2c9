/* Owns the way of a block of text through a kernel: region by region, with words that are longer
 * than a region on the side. */
#include "mapreduce/words.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/cpu.h"

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

size_t whi_words_last(const uint8_t *data, size_t len)
{
	while (len > 0 && !whi_words_is_separator(data[len - 1]))
		len--;
	return len;
}

size_t whi_words_first(const uint8_t *data, size_t len, size_t from)
{
	for (size_t i = from; i < len; i++)
		if (whi_words_is_separator(data[i]))
			return i + 1;
	return 0;
}

static void fold(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] |= (uint8_t)((uint8_t)(data[i] - 'A') < 26 ? 0x20 : 0);
}

/* `data` begins with a word that fills a whole region and more. Returns what it took. */
static size_t count_giant(struct whi_front *front, uint8_t *data, size_t len)
{
	size_t past = whi_words_first(data, len, WHI_REGION_BYTES);
	size_t word = past ? past - 1 : len;

	fold(data, word);
	whi_front_add_long(front, data, word, 1);
	return past ? past : len;
}

static void count_region(const struct whi_words_kernel *kernel, struct whi_front *front,
			 uint8_t *data, size_t len)
{
	const struct whi_region_words *longs = &front->long_words;

	kernel->tokenize(front, data, len);
	whi_front_reserve(front, front->shorts.count);
	kernel->count(front, data);
	for (size_t i = 0; i < longs->count; i++)
		whi_front_add_long(front, data + longs->start[i], longs->len[i], 1);
}

void whi_words_count(const struct whi_words_kernel *kernel, struct whi_front *front, uint8_t *data,
		     size_t len)
{
	while (len > 0) {
		size_t take = len;

		if (take > WHI_REGION_BYTES)
			take = whi_words_last(data, WHI_REGION_BYTES);
		if (take > 0)
			count_region(kernel, front, data, take);
		else
			take = count_giant(front, data, len);
		data += take;
		len -= take;
	}
}
