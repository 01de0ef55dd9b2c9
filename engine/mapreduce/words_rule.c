/* Owns rules: how they are spelt, and finding words by one on any processor.
 *
 * 1. With folding, both cases of an ASCII letter belong to words if one does.
 * 2. Short keys are padded with zeros. So a word with a zero byte in it is kept as a long one,
 *    whatever its length: the same word is always of the same kind. */
#include "mapreduce/words_rule.h"

#include <errno.h>
#include <string.h>

#include "mapreduce/words_borders.h"
#include "mapreduce/words_scalar.h"

enum { STEP = 64, BYTES = 256 };

const struct wh_mr_words whi_words_default = {
	.bytes = { ~UINT64_C(0x1ffffffff), UINT64_MAX, UINT64_MAX, UINT64_MAX },
};

static void add(struct wh_mr_words *words, unsigned byte)
{
	words->bytes[byte / 64] |= UINT64_C(1) << byte % 64;
}

static void add_range(struct wh_mr_words *words, unsigned first, unsigned last)
{
	for (unsigned byte = first; byte <= last; byte++)
		add(words, byte);
}

static void fold_class(struct wh_mr_words *words)
{
	for (unsigned upper = 'A'; upper <= 'Z'; upper++) {
		unsigned lower = upper | 0x20;

		if (!whi_words_has(words, (uint8_t)upper) && !whi_words_has(words, (uint8_t)lower))
			continue;
		add(words, upper);
		add(words, lower);
	}
}

static uint8_t separator_of(const struct wh_mr_words *words)
{
	unsigned byte = 0;

	if (!whi_words_has(words, ' '))
		return ' ';
	while (byte < BYTES - 1 && whi_words_has(words, (uint8_t)byte))
		byte++;
	return (uint8_t)byte;
}

void whi_words_rule_init(struct whi_words_rule *rule, const struct wh_mr_words *words)
{
	*rule = (struct whi_words_rule){ .words = words ? *words : whi_words_default };
	if (!rule->words.keep_case)
		fold_class(&rule->words);
	for (unsigned byte = 0; byte < BYTES; byte++)
		if (whi_words_rule_has(rule, (uint8_t)byte))
			rule->low[byte >> 7][byte & 15] |= (uint8_t)(1u << (byte >> 4 & 7));
	rule->plain = !rule->words.keep_case && !rule->words.unicode &&
		      memcmp(rule->words.bytes, whi_words_default.bytes,
			     sizeof(rule->words.bytes)) == 0;
	rule->zero = whi_words_rule_has(rule, 0);
	rule->blank = separator_of(&rule->words);
}

/* Spelling */

static int hex(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* One byte of a set, which may be escaped. Returns it, or -EINVAL. */
static int one_byte(const char **text)
{
	const char *at = *text;
	int byte = (uint8_t)*at++;

	if (byte != '\\') {
		*text = at;
		return byte;
	}
	switch (*at) {
	case 'n':
		byte = '\n';
		break;
	case 't':
		byte = '\t';
		break;
	case '\\':
	case '-':
	case '^':
		byte = (uint8_t)*at;
		break;
	case 'x':
		if (hex(at[1]) < 0 || hex(at[2]) < 0)
			return -EINVAL;
		byte = hex(at[1]) * 16 + hex(at[2]);
		at += 2;
		break;
	default:
		return -EINVAL;
	}
	*text = at + 1;
	return byte;
}

static int parse_set(const char *text, struct wh_mr_words *words)
{
	bool others = *text == '^';

	text += others;
	if (!*text)
		return -EINVAL;
	while (*text) {
		int first = one_byte(&text), last = first;

		if (first >= 0 && *text == '-' && text[1]) {
			text++;
			last = one_byte(&text);
		}
		if (first < 0 || last < first)
			return -EINVAL;
		add_range(words, (unsigned)first, (unsigned)last);
	}
	for (unsigned i = 0; others && i < 4; i++)
		words->bytes[i] = ~words->bytes[i];
	return 0;
}

static const struct {
	const char *name, *set;
} named[] = {
	{ "control", "^\\x00-\\x20" },
	{ "posix-space", "^\\x09-\\x0d\\x20" },
	{ "alpha", "A-Za-z" },
	{ "alnum", "A-Za-z0-9" },
};

int wh_mr_words_parse(const char *text, struct wh_mr_words *ret)
{
	struct wh_mr_words words = { .keep_case = ret->keep_case, .unicode = ret->unicode };
	uint64_t any = 0, all = UINT64_MAX;
	int r;

	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		if (strcmp(text, named[i].name) == 0)
			text = named[i].set;
	r = parse_set(text, &words);
	for (size_t i = 0; i < 4; i++) {
		any |= words.bytes[i];
		all &= words.bytes[i];
	}
	if (r < 0 || any == 0 || all == UINT64_MAX)
		return -EINVAL;
	*ret = words;
	return 0;
}

/* Finding */

/* Shorts with a zero byte become longs; both lists stay in the order of the text. */
static void move_zeros(struct whi_front *front, const uint8_t *data)
{
	struct whi_region_words *shorts = &front->shorts, *longs = &front->long_words;
	size_t words = shorts->count + longs->count, i = shorts->count, j = longs->count;
	uint16_t *borders = front->borders;

	/* All of them, last first, so that nothing is overwritten that is still to be read. */
	for (size_t at = words; at > 0; at--) {
		bool take_long = j > 0 && (i == 0 || longs->start[j - 1] > shorts->start[i - 1]);
		const struct whi_region_words *from = take_long ? longs : shorts;
		size_t k = take_long ? --j : --i;

		borders[2 * (at - 1)] = from->start[k];
		borders[2 * (at - 1) + 1] = from->len[k];
	}
	shorts->count = 0;
	longs->count = 0;
	for (size_t at = 0; at < words; at++) {
		uint16_t start = borders[2 * at], len = borders[2 * at + 1];
		bool is_long = len > WHI_SHORT_MAX || memchr(data + start, 0, len);
		struct whi_region_words *to = is_long ? longs : shorts;

		to->start[to->count] = start;
		to->len[to->count++] = len;
	}
}

void whi_words_rule_sort_out(struct whi_front *front, const uint8_t *data, size_t count,
			     const struct whi_words_rule *rule)
{
	whi_words_sort_out(front, count);
	if (rule->zero && count > 0) {
		const uint8_t *begin = data + front->borders[0];
		size_t len = (size_t)(data + front->borders[count - 1] - begin);

		if (memchr(begin, 0, len))
			move_zeros(front, data);
	}
}

/* Fold 64 bytes in place. Returns a bit for each that belongs to a word. */
static uint64_t step(uint8_t *data, const struct whi_words_rule *rule)
{
	uint64_t word = 0;

	for (unsigned i = 0; i < STEP; i++)
		word |= (uint64_t)whi_words_rule_has(rule, data[i]) << i;
	for (unsigned i = 0; i < STEP && !rule->words.keep_case; i++)
		data[i] |= (uint8_t)((uint8_t)(data[i] - 'A') < 26 ? 0x20 : 0);
	return word;
}

static size_t put_offsets(uint16_t *to, uint64_t bits, size_t base)
{
	uint16_t *at = to;

	for (; bits; bits &= bits - 1)
		*at++ = (uint16_t)(base + (size_t)__builtin_ctzll(bits));
	return (size_t)(at - to);
}

size_t whi_words_rule_scalar(uint16_t *to, uint8_t *data, size_t len,
			     const struct whi_words_rule *rule)
{
	size_t count = 0;
	uint64_t before = 0;

	for (size_t i = 0; i < len; i += STEP) {
		uint64_t word = step(data + i, rule);

		if (len - i < STEP)
			word &= (UINT64_C(1) << (len - i)) - 1;
		count += put_offsets(to + count, whi_words_borders(word, &before), i);
	}
	if (before)
		to[count++] = (uint16_t)len;
	return count;
}
