#include "support/row_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct row_text *text, const void *bytes, size_t len)
{
	if (text->len + len + 1 > text->room) {
		text->room = (text->len + len + 1) * 2;
		text->bytes = realloc(text->bytes, text->room);
		if (!text->bytes)
			abort();
	}
	if (len)
		memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
	text->bytes[text->len] = 0;
}

int row_text_add(void *arg, const struct wh_mr_row *rows, size_t count)
{
	struct row_text *text = arg;
	char number[24];

	for (size_t i = 0; i < count; i++) {
		put(text, rows[i].key.data, rows[i].key.len);
		put(text, "\t", 1);
		snprintf(number, sizeof(number), "%llu", (unsigned long long)rows[i].number);
		if (text->has_values)
			put(text, rows[i].value.data, rows[i].value.len);
		else
			put(text, number, strlen(number));
		put(text, "\n", 1);
	}
	text->rows += count;
	return 0;
}

void row_text_fini(struct row_text *text)
{
	free(text->bytes);
	*text = (struct row_text){ .has_values = text->has_values };
}
