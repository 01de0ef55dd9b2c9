#include "mapreduce/unicode.h"

#include <string.h>

enum { STEP = 32 };

uint32_t whi_unicode_fold(uint32_t code)
{
	size_t low = 0, high = whi_unicode_fold_count;

	/* The first row that does not end before it. */
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (whi_unicode_folds[middle].last < code)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == whi_unicode_fold_count || code < whi_unicode_folds[low].first ||
	    (code - whi_unicode_folds[low].first) % (uint32_t)whi_unicode_folds[low].step)
		return code;
	return code + (uint32_t)whi_unicode_folds[low].distance;
}

bool whi_unicode_is_space(uint32_t code)
{
	switch (code) {
	case 0x85:
	case 0xa0:
	case 0x1680:
	case 0x2028:
	case 0x2029:
	case 0x202f:
	case 0x205f:
	case 0x3000:
		return true;
	default:
		return code >= 0x2000 && code <= 0x200a;
	}
}

/* Add the `count` bytes that follow the first one of a sequence to `code`. */
static bool continues(const uint8_t *at, size_t count, uint32_t *code)
{
	for (size_t i = 0; i < count; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return false;
		*code = *code << 6 | (at[i] & 0x3f);
	}
	return true;
}

size_t whi_unicode_decode(const uint8_t *at, size_t left, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t code;
	size_t len;

	if (left == 0)
		return 0;
	if (at[0] < 0x80) {
		*ret = at[0];
		return 1;
	}
	len = at[0] < 0xc2 || at[0] > 0xf4 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	if (len == 0 || len > left)
		return 0;
	code = at[0] & (0x7fu >> len);
	if (!continues(at + 1, len - 1, &code) || code < least[len] || code > 0x10ffff ||
	    (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret = code;
	return len;
}

static size_t encode(uint8_t *to, uint32_t code)
{
	if (code < 0x80) {
		to[0] = (uint8_t)code;
		return 1;
	}
	if (code < 0x800) {
		to[0] = (uint8_t)(0xc0 | code >> 6);
		to[1] = (uint8_t)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		to[0] = (uint8_t)(0xe0 | code >> 12);
		to[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
		to[2] = (uint8_t)(0x80 | (code & 0x3f));
		return 3;
	}
	to[0] = (uint8_t)(0xf0 | code >> 18);
	to[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
	to[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
	to[3] = (uint8_t)(0x80 | (code & 0x3f));
	return 4;
}

bool whi_unicode_needed(const uint8_t *data, size_t len)
{
	uint8_t seen = 0;
	size_t i = 0;

	for (; i + STEP <= len; i += STEP) {
		uint64_t words[STEP / 8];

		memcpy(words, data + i, sizeof(words));
		if ((words[0] | words[1] | words[2] | words[3]) & UINT64_C(0x8080808080808080))
			return true;
	}
	for (; i < len; i++)
		seen |= data[i];
	return seen >= 0x80;
}

size_t whi_unicode_rewrite(uint8_t *to, const uint8_t *data, size_t len, uint8_t blank, bool fold)
{
	uint8_t *at = to;
	size_t i = 0;

	while (i < len) {
		uint32_t code;
		size_t took;

		if (data[i] < 0x80) {
			*at++ = data[i++];
			continue;
		}
		took = whi_unicode_decode(data + i, len - i, &code);
		if (took == 0)
			*at++ = data[i++];
		else if (whi_unicode_is_space(code))
			*at++ = blank;
		else
			at += encode(at, fold ? whi_unicode_fold(code) : code);
		i += took;
	}
	return (size_t)(at - to);
}
