/* Cut every line into fields, every field into characters, keep a row for each count, sort rows by
 * key, add up equal neighbours, sort again by sum. */
#include "support/oracle_ngram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS_MAX = 100000 };

__extension__ typedef unsigned __int128 wide;

struct field {
	const char *at;
	size_t len;
};

struct row {
	char *key;
	size_t len;
	wide sum;
};

struct rows {
	struct row *items;
	size_t count, room;
};

static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static int by_bytes(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int order = memcmp(x->key, y->key, x->len < y->len ? x->len : y->len);

	if (order)
		return order;
	return x->len < y->len ? -1 : x->len > y->len;
}

static int by_sum(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->sum != y->sum)
		return x->sum > y->sum ? -1 : 1;
	return by_bytes(a, b);
}

static size_t cut(struct field text, char separator, struct field *fields)
{
	size_t count = 0, start = 0;

	for (size_t i = 0; i <= text.len; i++)
		if (i == text.len || text.at[i] == separator) {
			if (count < FIELDS_MAX)
				fields[count++] = (struct field){ text.at + start, i - start };
			start = i + 1;
		}
	return count;
}

static bool number_of(struct field field, wide *ret)
{
	wide number = 0;

	for (size_t i = 0; i < field.len; i++) {
		if (field.at[i] < '0' || field.at[i] > '9')
			return false;
		number = number * 10 + (wide)(field.at[i] - '0');
		if (number >= UINT64_MAX)
			return false;
	}
	*ret = number;
	return field.len > 0;
}

static void add_row(struct rows *rows, enum wh_mr_ngram_key by, struct field ngram,
		    struct field year, wide matches)
{
	struct row *row;
	wide number = 0;

	if (rows->count == rows->room) {
		rows->room = rows->room * 2 + 16;
		rows->items = must(realloc(rows->items, rows->room * sizeof(*rows->items)));
	}
	row = &rows->items[rows->count++];
	row->key = must(malloc(ngram.len + year.len + 24));
	row->sum = matches;
	memcpy(row->key, ngram.at, ngram.len);
	row->len = ngram.len;
	if (by == WH_MR_BY_NGRAM_AND_YEAR) {
		row->key[row->len++] = '\t';
		memcpy(row->key + row->len, year.at, year.len);
		row->len += year.len;
	} else if (by == WH_MR_BY_YEAR) {
		number_of(year, &number);
		row->len = (size_t)sprintf(row->key, "%u", (unsigned)number);
	}
}

/* A year, a match count, and other counts: add a row if they are. */
static bool read_numbers(struct rows *rows, enum wh_mr_ngram_key by, struct field ngram,
			 const struct field *fields, size_t count)
{
	wide year, matches, other;

	if (fields[0].len > 4 || !number_of(fields[0], &year) || !number_of(fields[1], &matches))
		return false;
	for (size_t i = 2; i < count; i++)
		if (!number_of(fields[i], &other))
			return false;
	add_row(rows, by, ngram, fields[0], matches);
	return true;
}

/* The version of the line, WH_MR_NGRAM_DETECT if it is bad; rows may have been added then. */
static enum wh_mr_ngram_version read_line(struct rows *rows, enum wh_mr_ngram_key by,
					  struct field line, struct field *fields)
{
	size_t count = cut(line, '\t', fields);

	if (count < 2 || fields[0].len == 0)
		return WH_MR_NGRAM_DETECT;
	if (memchr(fields[1].at, ',', fields[1].len)) {
		for (size_t i = 1; i < count; i++) {
			struct field *parts = fields + count;

			if (cut(fields[i], ',', parts) != 3 ||
			    !read_numbers(rows, by, fields[0], parts, 3))
				return WH_MR_NGRAM_DETECT;
		}
		return WH_MR_NGRAM_2020;
	}
	if (count < 4 || count > 5 || !read_numbers(rows, by, fields[0], fields + 1, count - 1))
		return WH_MR_NGRAM_DETECT;
	return count == 4 ? WH_MR_NGRAM_2012 : WH_MR_NGRAM_2009;
}

static void drop_rows(struct rows *rows, size_t count)
{
	while (rows->count > count)
		free(rows->items[--rows->count].key);
}

/* Returns whether the line is good. */
static bool take_line(struct oracle_ngram *oracle, struct rows *rows, struct field line,
		      struct field *fields)
{
	size_t before = rows->count;
	enum wh_mr_ngram_version version = read_line(rows, oracle->by, line, fields);

	if (version != WH_MR_NGRAM_DETECT && oracle->version == WH_MR_NGRAM_DETECT)
		oracle->version = version;
	if (version != WH_MR_NGRAM_DETECT && oracle->version == version)
		return true;
	oracle->mixed |= version != WH_MR_NGRAM_DETECT;
	drop_rows(rows, before);
	return false;
}

static void add_equal(struct rows *rows)
{
	size_t different = 0;

	for (size_t i = 0; i < rows->count; i++) {
		if (different && by_bytes(&rows->items[different - 1], &rows->items[i]) == 0) {
			rows->items[different - 1].sum += rows->items[i].sum;
			free(rows->items[i].key);
		} else {
			rows->items[different++] = rows->items[i];
		}
	}
	rows->count = different;
}

static char *print(struct oracle_ngram *oracle, const struct rows *rows, size_t *ret_len)
{
	char *text = NULL;
	FILE *out = must(open_memstream(&text, ret_len));

	for (size_t i = 0; i < rows->count; i++) {
		oracle->too_much |= rows->items[i].sum >= UINT64_MAX;
		fwrite(rows->items[i].key, 1, rows->items[i].len, out);
		fprintf(out, "\t%llu\n", (unsigned long long)rows->items[i].sum);
	}
	fclose(out);
	return text;
}

char *oracle_ngram(struct oracle_ngram *oracle, const void *data, size_t len, size_t *ret_len)
{
	struct field *fields = must(calloc(2 * FIELDS_MAX, sizeof(*fields)));
	struct rows rows = { 0 };
	const char *at = data;
	char *text = NULL;

	oracle->first_bad = SIZE_MAX;
	for (size_t start = 0, end; start < len; start = end + 1) {
		for (end = start; end < len && at[end] != '\n';)
			end++;
		if (take_line(oracle, &rows, (struct field){ at + start, end - start }, fields))
			continue;
		oracle->skipped++;
		if (oracle->first_bad == SIZE_MAX)
			oracle->first_bad = start;
	}
	oracle->records = rows.count;
	if (rows.count) {
		qsort(rows.items, rows.count, sizeof(*rows.items), by_bytes);
		add_equal(&rows);
		qsort(rows.items, rows.count, sizeof(*rows.items), by_sum);
	}
	if (oracle->skip_bad || oracle->first_bad == SIZE_MAX)
		text = print(oracle, &rows, ret_len);
	drop_rows(&rows, 0);
	free(rows.items);
	free(fields);
	return text;
}
