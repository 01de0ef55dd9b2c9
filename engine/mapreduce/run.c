#include "mapreduce/run.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

/* A row: this, then the key, then the value, padded to a multiple of 8. */
struct head {
	uint64_t key_len;
	uint64_t value; /* the sum, or the length of the value */
};

static size_t row_bytes(const struct wh_mr_row *row)
{
	return sizeof(struct head) + ((row->key.len + row->value.len + 7) & ~(size_t)7);
}

static void write_bytes(uint8_t *to, const struct wh_mr_bytes *from)
{
	if (from->len)
		memcpy(to, from->data, from->len);
}

static void write_row(uint8_t *to, const struct wh_mr_row *row, enum wh_mr_value value)
{
	struct head head = { row->key.len, value == WH_MR_SUM ? row->sum : row->value.len };

	memcpy(to, &head, sizeof(head));
	to += sizeof(head);
	write_bytes(to, &row->key);
	write_bytes(to + row->key.len, &row->value);
}

int whi_run_init(struct whi_run *run, const struct whi_rows *rows, size_t max)
{
	size_t count = rows->count < max ? rows->count : max;
	struct wh_mr_row row;
	size_t len = 0;

	*run = (struct whi_run){ .value = rows->value };
	for (size_t i = 0; i < count; i++) {
		whi_rows_get(rows, rows->items[i].ref, &row);
		len += row_bytes(&row);
	}
	if (count == 0)
		return 0;
	run->data = whi_alloc(len);
	if (!run->data)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		whi_rows_get(rows, rows->items[i].ref, &row);
		write_row(run->data + run->len, &row, rows->value);
		run->len += row_bytes(&row);
	}
	run->count = count;
	return 0;
}

void whi_run_fini(struct whi_run *run)
{
	whi_free(run->data);
	*run = (struct whi_run){ 0 };
}

bool whi_run_next(const struct whi_run *run, size_t *at, struct wh_mr_row *ret)
{
	const struct head *head = (const void *)(run->data + *at);
	const uint8_t *key = (const void *)(head + 1);

	if (*at == run->len)
		return false;
	ret->key = (struct wh_mr_bytes){ key, head->key_len };
	ret->value = (struct wh_mr_bytes){ 0 };
	ret->sum = head->value;
	if (run->value == WH_MR_BYTES) {
		ret->value = (struct wh_mr_bytes){ key + head->key_len, head->value };
		ret->sum = 0;
	}
	*at += row_bytes(ret);
	return true;
}
