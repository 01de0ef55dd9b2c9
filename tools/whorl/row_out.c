#include "row_out.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NUMBER_BYTES = 20 /* digits of UINT64_MAX */ };

int row_format_find(const char *name, enum row_format *ret)
{
	static const char *const names[] = { "tsv", "csv", "json", "binary" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], name) == 0) {
			*ret = (enum row_format)i;
			return 0;
		}
	return -EINVAL;
}

/* Bytes */

static void write_all(struct row_out *out, const uint8_t *bytes, size_t len)
{
	while (len > 0 && out->error == 0) {
		ssize_t n = write(out->fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			out->error = -errno;
			break;
		}
		bytes += n;
		len -= (size_t)n;
	}
}

static void flush(struct row_out *out)
{
	size_t len = out->len;

	out->len = 0;
	write_all(out, out->bytes, len);
}

static void put(struct row_out *out, const void *bytes, size_t len)
{
	if (len > ROW_OUT_BYTES - out->len)
		flush(out);
	if (len > ROW_OUT_BYTES) {
		write_all(out, bytes, len);
		return;
	}
	memcpy(out->bytes + out->len, bytes, len);
	out->len += len;
}

static void put_text(struct row_out *out, const char *text)
{
	put(out, text, strlen(text));
}

static void put_number(struct row_out *out, uint64_t number)
{
	uint8_t digits[NUMBER_BYTES];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (uint8_t)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	put(out, digits + at, sizeof(digits) - at);
}

/* TSV and CSV */

static void put_tsv_row(struct row_out *out, const struct wh_mr_row *row)
{
	put(out, row->key.data, row->key.len);
	put(out, "\t", 1);
	put_number(out, row->number);
	put(out, "\n", 1);
}

static bool csv_quotes(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] == ',' || bytes[i] == '"' || bytes[i] == '\r' || bytes[i] == '\n')
			return true;
	return false;
}

static void put_csv_quoted(struct row_out *out, const uint8_t *bytes, size_t len)
{
	put(out, "\"", 1);
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '"')
			put(out, "\"", 1);
		put(out, bytes + i, 1);
	}
	put(out, "\"", 1);
}

static void put_csv_row(struct row_out *out, const struct wh_mr_row *row)
{
	if (csv_quotes(row->key.data, row->key.len))
		put_csv_quoted(out, row->key.data, row->key.len);
	else
		put(out, row->key.data, row->key.len);
	put(out, ",", 1);
	put_number(out, row->number);
	put(out, "\n", 1);
}

/* JSON */

/* Length of the UTF-8 sequence at `at` (RFC 3629, section 4), 0 if there is none. */
static size_t utf8_len(const uint8_t *at, size_t left)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t len;

	if (at[0] < 0x80)
		return 1;
	if (at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	len = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	if (len > left)
		return 0;
	if (at[0] == 0xe0)
		low = 0xa0;
	else if (at[0] == 0xed)
		high = 0x9f;
	else if (at[0] == 0xf0)
		low = 0x90;
	else if (at[0] == 0xf4)
		high = 0x8f;
	if (at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (at[i] < 0x80 || at[i] > 0xbf)
			return 0;
	return len;
}

static void put_json_string(struct row_out *out, const uint8_t *bytes, size_t len)
{
	put(out, "\"", 1);
	for (size_t i = 0; i < len;) {
		size_t took = utf8_len(bytes + i, len - i);
		char escape[8];

		if (took == 0)
			snprintf(escape, sizeof(escape), "\\udc%02x", bytes[i]);
		else if (bytes[i] == '"' || bytes[i] == '\\')
			snprintf(escape, sizeof(escape), "\\%c", bytes[i]);
		else if (bytes[i] == 0x7f)
			snprintf(escape, sizeof(escape), "\\u007f");
		else
			escape[0] = 0;
		if (escape[0])
			put_text(out, escape);
		else
			put(out, bytes + i, took);
		i += took ? took : 1;
	}
	put(out, "\"", 1);
}

static void put_json_row(struct row_out *out, const struct wh_mr_row *row)
{
	put_text(out, out->rows ? ",\n{\"" : "\n{\"");
	put_text(out, out->key);
	put_text(out, "\":");
	put_json_string(out, row->key.data, row->key.len);
	put_text(out, ",\"count\":");
	put_number(out, row->number);
	put_text(out, "}");
}

static void put_json_end(struct row_out *out, const struct row_member *members, bool partial)
{
	put_text(out, out->rows ? "\n]" : "]");
	for (; members->name; members++) {
		put_text(out, ",\n\"");
		put_text(out, members->name);
		put_text(out, "\":");
		put_number(out, members->number);
	}
	put_text(out, partial ? ",\n\"partial\":true}\n" : ",\n\"partial\":false}\n");
}

/* Binary */

static void put_binary_head(struct row_out *out, uint64_t len, uint64_t count)
{
	uint8_t head[16];

	for (unsigned i = 0; i < 8; i++) {
		head[i] = (uint8_t)(len >> 8 * i);
		head[8 + i] = (uint8_t)(count >> 8 * i);
	}
	put(out, head, sizeof(head));
}

/* All */

void row_out_init(struct row_out *out, int fd, enum row_format format, const char *list,
		  const char *key)
{
	out->fd = fd;
	out->format = format;
	out->list = list;
	out->key = key;
	out->min_count = 0;
	out->error = 0;
	out->rows = 0;
	out->len = 0;
	switch (format) {
	case ROW_TSV:
		break;
	case ROW_CSV:
		put_text(out, key);
		put_text(out, ",count\n");
		break;
	case ROW_JSON:
		put_text(out, "{\"");
		put_text(out, list);
		put_text(out, "\":[");
		break;
	case ROW_BINARY:
		put_text(out, "whorlrow");
		break;
	}
}

static void put_row(struct row_out *out, const struct wh_mr_row *row)
{
	switch (out->format) {
	case ROW_TSV:
		put_tsv_row(out, row);
		break;
	case ROW_CSV:
		put_csv_row(out, row);
		break;
	case ROW_JSON:
		put_json_row(out, row);
		break;
	case ROW_BINARY:
		put_binary_head(out, row->key.len, row->number);
		put(out, row->key.data, row->key.len);
		break;
	}
	out->rows++;
}

int row_out_put(struct row_out *out, const struct wh_mr_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].number >= out->min_count)
			put_row(out, &rows[i]);
	return out->error;
}

int row_out_end(struct row_out *out, const struct row_member *members, bool partial)
{
	if (out->format == ROW_JSON)
		put_json_end(out, members, partial);
	else if (out->format == ROW_BINARY)
		put_binary_head(out, 0, out->rows);
	flush(out);
	return out->error;
}
