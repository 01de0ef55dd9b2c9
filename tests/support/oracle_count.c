/* Copy the text with A-Z folded, note where every word is, sort all of them, count equal
 * neighbours, sort again by count. */
#include "support/oracle_count.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct word {
	const unsigned char *at;
	size_t len;
	uint64_t count;
};

static void *must(void *ptr)
{
	if (!ptr)
		abort();
	return ptr;
}

static int by_bytes(const void *a, const void *b)
{
	const struct word *x = a, *y = b;

	for (size_t i = 0; i < x->len && i < y->len; i++)
		if (x->at[i] != y->at[i])
			return x->at[i] < y->at[i] ? -1 : 1;
	if (x->len == y->len)
		return 0;
	return x->len < y->len ? -1 : 1;
}

static int by_count(const void *a, const void *b)
{
	const struct word *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return by_bytes(a, b);
}

static unsigned char *folded_copy(const void *data, size_t len)
{
	unsigned char *copy = must(malloc(len + 1));

	for (size_t i = 0; i < len; i++) {
		copy[i] = ((const unsigned char *)data)[i];
		if (copy[i] >= 'A' && copy[i] <= 'Z')
			copy[i] = (unsigned char)(copy[i] - 'A' + 'a');
	}
	copy[len] = ' ';
	return copy;
}

/* `text` ends with a separator, which `len` does not count. */
static size_t find_words(const unsigned char *text, size_t len, struct word *words)
{
	size_t count = 0, start = 0;

	for (size_t i = 0; i <= len; i++) {
		if (text[i] > 0x20)
			continue;
		if (i > start)
			words[count++] = (struct word){ text + start, i - start, 1 };
		start = i + 1;
	}
	return count;
}

static size_t count_equal(struct word *words, size_t count)
{
	size_t different = 0;

	for (size_t i = 0; i < count; i++) {
		if (different > 0 && by_bytes(&words[different - 1], &words[i]) == 0)
			words[different - 1].count++;
		else
			words[different++] = words[i];
	}
	return different;
}

char *oracle_count(const void *data, size_t len, size_t *ret_len)
{
	unsigned char *text = folded_copy(data, len);
	struct word *words = must(calloc(len / 2 + 1, sizeof(*words)));
	size_t count = find_words(text, len, words);
	char *out = NULL;
	FILE *stream = must(open_memstream(&out, ret_len));

	qsort(words, count, sizeof(*words), by_bytes);
	count = count_equal(words, count);
	qsort(words, count, sizeof(*words), by_count);
	for (size_t i = 0; i < count; i++) {
		fwrite(words[i].at, 1, words[i].len, stream);
		fprintf(stream, "\t%llu\n", (unsigned long long)words[i].count);
	}
	fclose(stream);
	free(words);
	free(text);
	return out;
}
