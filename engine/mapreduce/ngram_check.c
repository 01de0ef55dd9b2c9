/* Owns the rules of ngram files: one line, looked at byte by byte. What the kernels do not know at
 * once comes here. */
#include "mapreduce/ngram_check.h"

#include <errno.h>
#include <string.h>

static bool is_digit(uint8_t byte)
{
	return (uint8_t)(byte - '0') < 10;
}

static int read_number(struct whi_ngram_text text, uint64_t *ret)
{
	uint64_t number = 0;

	if (text.at == text.end)
		return -EINVAL;
	for (const uint8_t *at = text.at; at < text.end; at++)
		if (!is_digit(*at))
			return -EINVAL;
	for (; text.at < text.end; text.at++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*text.at - '0'), &number))
			return -ERANGE;
	/* The largest one stands for sums that are too large. */
	if (number == UINT64_MAX)
		return -ERANGE;
	*ret = number;
	return 0;
}

static const uint8_t *find(struct whi_ngram_text text, char byte)
{
	return text.at == text.end ? NULL : memchr(text.at, byte, (size_t)(text.end - text.at));
}

/* Take off what is before the first separator, and the separator; everything if there is none. */
static struct whi_ngram_text cut(struct whi_ngram_text *text, char separator)
{
	const uint8_t *at = find(*text, separator);
	struct whi_ngram_text first = { text->at, at ? at : text->end };

	text->at = at ? at + 1 : text->end;
	return first;
}

static unsigned count(struct whi_ngram_text text, char byte)
{
	unsigned found = 0;

	for (; text.at < text.end; text.at++)
		found += *text.at == (uint8_t)byte;
	return found;
}

static const char *check_year(struct whi_ngram_text text)
{
	uint64_t year;

	if (text.end - text.at > WHI_NGRAM_YEAR_DIGITS || read_number(text, &year) < 0)
		return "the year is not a number of 1 to 4 digits";
	return NULL;
}

static const char *check_matches(struct whi_ngram_text text)
{
	uint64_t matches;
	int r = read_number(text, &matches);

	if (r == -ERANGE)
		return "the match count is above 18446744073709551614";
	return r < 0 ? "the match count is not a number" : NULL;
}

static const char *check_other(struct whi_ngram_text text)
{
	uint64_t number;
	int r = read_number(text, &number);

	if (r == -ERANGE)
		return "a page or volume count is above 18446744073709551614";
	return r < 0 ? "a page or volume count is not a number" : NULL;
}

/* A year, a match count, and other counts. */
static const char *check_numbers(struct whi_ngram_text text, char separator)
{
	unsigned others = count(text, separator) - 1;
	const char *wrong = check_year(cut(&text, separator));

	if (!wrong)
		wrong = check_matches(cut(&text, separator));
	for (; !wrong && others > 0; others--)
		wrong = check_other(cut(&text, separator));
	return wrong;
}

static const char *check_groups(struct whi_ngram_text text)
{
	unsigned groups = count(text, '\t') + 1;
	const char *wrong = NULL;

	for (; !wrong && groups > 0; groups--) {
		struct whi_ngram_text group = cut(&text, '\t');

		wrong = count(group, ',') == 2 ? check_numbers(group, ',')
					       : "a group is not year,match,volume";
	}
	return wrong;
}

static const char *check_rest(struct whi_ngram_line *line)
{
	struct whi_ngram_text rest = line->rest;

	if (count(cut(&rest, '\t'), ',') > 0) {
		line->version = WH_MR_NGRAM_2020;
		return check_groups(line->rest);
	}
	switch (count(line->rest, '\t')) {
	case 2:
		line->version = WH_MR_NGRAM_2012;
		return check_numbers(line->rest, '\t');
	case 3:
		line->version = WH_MR_NGRAM_2009;
		return check_numbers(line->rest, '\t');
	default:
		return "there are neither 4 columns (version 2012) nor 5 (2009), nor groups of "
		       "year,match,volume (2020)";
	}
}

const char *whi_ngram_check(const uint8_t *line, size_t len, struct whi_ngram_line *ret)
{
	struct whi_ngram_text text = { line, line + len };

	if (len == 0)
		return "the line is empty";
	if (line[len - 1] == '\r')
		return "the line ends in a carriage return, which no version of the files has";
	if (!find(text, '\t'))
		return "there is no tab";
	ret->ngram = cut(&text, '\t');
	ret->rest = text;
	if (ret->ngram.at == ret->ngram.end)
		return "there is no ngram before the first tab";
	return check_rest(ret);
}

bool whi_ngram_next(struct whi_ngram_line *line, struct whi_ngram_entry *ret)
{
	bool in_groups = line->version == WH_MR_NGRAM_2020;
	struct whi_ngram_text numbers = line->rest;
	uint64_t year = 0;

	if (line->rest.at == line->rest.end)
		return false;
	if (in_groups)
		numbers = cut(&line->rest, '\t');
	else
		line->rest.at = line->rest.end;
	ret->year_text = cut(&numbers, in_groups ? ',' : '\t');
	read_number(ret->year_text, &year);
	ret->year = (unsigned)year;
	read_number(cut(&numbers, in_groups ? ',' : '\t'), &ret->matches);
	return true;
}
