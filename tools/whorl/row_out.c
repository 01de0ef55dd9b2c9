#include "row_out.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	NUMBER_BYTES = 20, /* digits of UINT64_MAX */
	BINARY_HEAD_BYTES = 16,
	ESCAPE_BYTES = 6, /* \\u007f */
	JSON_BYTES = 32,  /* of a row, around its key and number */
};

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
		ssize_t n;

		if (out->interrupted && *out->interrupted) {
			out->error = -ECANCELED;
			break;
		}
		n = write(out->fd, bytes, len);

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

/* What is short waits for more, so that little output is one write. */
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

static uint8_t *add_byte(uint8_t *at, char byte)
{
	*at = (uint8_t)byte;
	return at + 1;
}

/* Most keys are short, and a call of memcpy takes longer than what it does for them. */
static inline uint8_t *add_bytes(uint8_t *at, const void *bytes, size_t len)
{
	const uint8_t *from = bytes;

	if (len > 16 || len == 0) {
		if (len)
			memcpy(at, from, len);
	} else if (len >= 8) {
		memcpy(at, from, 8);
		/* cppcheck-suppress pointerOutOfBoundsCond; it takes another key's length */
		memcpy(at + (len - 8), from + (len - 8), 8);
	} else if (len >= 4) {
		memcpy(at, from, 4);
		memcpy(at + (len - 4), from + (len - 4), 4);
	} else {
		at[0] = from[0];
		at[len / 2] = from[len / 2];
		at[len - 1] = from[len - 1];
	}
	return at + len;
}

static uint8_t *add_text(uint8_t *at, const char *text)
{
	return add_bytes(at, text, strlen(text));
}

static uint8_t *add_number(uint8_t *at, uint64_t number)
{
	uint8_t digits[NUMBER_BYTES];
	size_t first = sizeof(digits);

	if (number < 10)
		return add_byte(at, (char)('0' + number));
	do {
		digits[--first] = (uint8_t)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	return add_bytes(at, digits + first, sizeof(digits) - first);
}

/* TSV and CSV */

static uint8_t *add_tsv_row(uint8_t *at, const struct wh_mr_row *row)
{
	at = add_bytes(at, row->key.data, row->key.len);
	at = add_byte(at, '\t');
	at = add_number(at, row->number);
	return add_byte(at, '\n');
}

static bool csv_quotes(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] == ',' || bytes[i] == '"' || bytes[i] == '\r' || bytes[i] == '\n')
			return true;
	return false;
}

static uint8_t *add_csv_quoted(uint8_t *at, const uint8_t *bytes, size_t len)
{
	at = add_byte(at, '"');
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '"')
			at = add_byte(at, '"');
		*at++ = bytes[i];
	}
	return add_byte(at, '"');
}

static uint8_t *add_csv_row(uint8_t *at, const struct wh_mr_row *row)
{
	if (csv_quotes(row->key.data, row->key.len))
		at = add_csv_quoted(at, row->key.data, row->key.len);
	else
		at = add_bytes(at, row->key.data, row->key.len);
	at = add_byte(at, ',');
	at = add_number(at, row->number);
	return add_byte(at, '\n');
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

static uint8_t *add_json_string(uint8_t *at, const uint8_t *bytes, size_t len)
{
	at = add_byte(at, '"');
	for (size_t i = 0; i < len;) {
		size_t took = utf8_len(bytes + i, len - i);
		char escape[ESCAPE_BYTES + 2];

		if (took == 0)
			snprintf(escape, sizeof(escape), "\\udc%02x", bytes[i]);
		else if (bytes[i] == '"' || bytes[i] == '\\')
			snprintf(escape, sizeof(escape), "\\%c", bytes[i]);
		else if (bytes[i] < 0x20 || bytes[i] == 0x7f)
			snprintf(escape, sizeof(escape), "\\u%04x", bytes[i]);
		else
			escape[0] = 0;
		if (escape[0])
			at = add_text(at, escape);
		else
			at = add_bytes(at, bytes + i, took);
		i += took ? took : 1;
	}
	return add_byte(at, '"');
}

/* Begins with a comma, which the first row of all is written without. */
static uint8_t *add_json_row(const struct row_out *out, uint8_t *at, const struct wh_mr_row *row)
{
	at = add_text(at, ",\n{\"");
	at = add_text(at, out->key);
	at = add_text(at, "\":");
	at = add_json_string(at, row->key.data, row->key.len);
	at = add_text(at, ",\"count\":");
	at = add_number(at, row->number);
	return add_byte(at, '}');
}

static void put_json_end(struct row_out *out, const struct row_member *members, bool partial)
{
	put_text(out, out->begun ? "\n]" : "]");
	for (; members->name; members++) {
		uint8_t digits[NUMBER_BYTES] = { 0 };

		put_text(out, ",\n\"");
		put_text(out, members->name);
		put_text(out, "\":");
		put(out, digits, (size_t)(add_number(digits, members->number) - digits));
	}
	put_text(out, partial ? ",\n\"partial\":true}\n" : ",\n\"partial\":false}\n");
}

/* Binary */

static uint8_t *add_binary_head(uint8_t *at, uint64_t len, uint64_t count)
{
	for (unsigned i = 0; i < 8; i++) {
		at[i] = (uint8_t)(len >> 8 * i);
		at[8 + i] = (uint8_t)(count >> 8 * i);
	}
	return at + BINARY_HEAD_BYTES;
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
	out->interrupted = NULL;
	out->error = 0;
	atomic_init(&out->rows, 0);
	out->begun = false;
	out->text = (struct wh_mr_text){ 0 };
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

/* What a row may come to, whatever its format. */
static size_t most_bytes(const struct row_out *out, const struct wh_mr_row *row)
{
	const size_t around = strlen(out->key) + NUMBER_BYTES + BINARY_HEAD_BYTES + JSON_BYTES;

	switch (out->format) {
	case ROW_TSV:
	case ROW_BINARY:
		break;
	case ROW_CSV:
		return around + row->key.len * 2;
	case ROW_JSON:
		return around + row->key.len * ESCAPE_BYTES;
	}
	return around + row->key.len;
}

static uint8_t *add_row(const struct row_out *out, uint8_t *at, const struct wh_mr_row *row)
{
	switch (out->format) {
	case ROW_TSV:
		return add_tsv_row(at, row);
	case ROW_CSV:
		return add_csv_row(at, row);
	case ROW_JSON:
		return add_json_row(out, at, row);
	case ROW_BINARY:
		break;
	}
	at = add_binary_head(at, row->key.len, row->number);
	return add_bytes(at, row->key.data, row->key.len);
}

int row_out_format(struct row_out *out, const struct wh_mr_row *rows, size_t count,
		   struct wh_mr_text *text)
{
	uint64_t added = 0;

	for (size_t i = 0; i < count; i++) {
		size_t most = most_bytes(out, &rows[i]);

		if (rows[i].number < out->min_count)
			continue;
		if (text->room - text->len < most) {
			int r = wh_mr_text_more(text, most);

			if (r < 0)
				return r;
		}
		text->len = (size_t)(add_row(out, text->bytes + text->len, &rows[i]) - text->bytes);
		added++;
	}
	atomic_fetch_add_explicit(&out->rows, added, memory_order_relaxed);
	return 0;
}

int row_out_write(struct row_out *out, const void *bytes, size_t len)
{
	const bool comma = out->format == ROW_JSON && !out->begun;

	if (len == 0)
		return out->error;
	out->begun = true;
	put(out, (const uint8_t *)bytes + comma, len - comma);
	return out->error;
}

int row_out_put(struct row_out *out, const struct wh_mr_row *rows, size_t count)
{
	int r = row_out_format(out, rows, count, &out->text);

	if (r < 0)
		return r;
	r = row_out_write(out, out->text.bytes, out->text.len);
	out->text.len = 0;
	return r;
}

int row_out_end(struct row_out *out, const struct row_member *members, bool partial)
{
	uint8_t tail[BINARY_HEAD_BYTES] = { 0 };

	if (out->format == ROW_JSON)
		put_json_end(out, members, partial);
	else if (out->format == ROW_BINARY)
		put(out, tail, (size_t)(add_binary_head(tail, 0, out->rows) - tail));
	flush(out);
	return out->error;
}

void row_out_fini(struct row_out *out)
{
	wh_mr_text_free(&out->text);
}
