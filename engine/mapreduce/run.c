/* Owns how rows lie in a run. A row in memory is the record that a block would have of it. */
#include "mapreduce/run.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

enum {
	AHEAD_CHUNKS = 4, /* of a run on disk, fetched while one is being read */
	STOP_ROWS = 4096, /* between two looks at `stop`; a power of two */
	RUNS_FIRST = 4,
};

_Static_assert(sizeof(struct whi_long) == sizeof(struct whi_pair), "rows have one head");

static size_t row_bytes(const struct wh_mr_row *row)
{
	return sizeof(struct whi_long) + ((row->key.len + row->value.len + 7) & ~(size_t)7);
}

static void write_bytes(uint8_t *to, const struct wh_mr_bytes *from)
{
	if (from->len)
		memcpy(to, from->data, from->len);
}

static void write_row(uint8_t *to, const struct wh_mr_row *row, enum wh_mr_value value)
{
	struct whi_long counted = { .count = row->number, .len = row->key.len & WHI_KEY_MAX };
	struct whi_pair pair = { .value_len = row->value.len,
				 .key_len = row->key.len & WHI_KEY_MAX };

	memcpy(to, value == WH_MR_BYTES ? (const void *)&pair : (const void *)&counted,
	       sizeof(pair));
	to += sizeof(pair);
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
	whi_stream_fini(&run->stream);
	*run = (struct whi_run){ 0 };
}

void whi_run_writer_init(struct whi_run_writer *writer, struct whi_run *run,
			 struct whi_spill *spill)
{
	*run = (struct whi_run){ .value = spill->value, .stream = whi_spill_stream(spill) };
	writer->run = run;
	whi_stream_writer_init(&writer->stream, &spill->file, &run->stream, spill->run_bytes);
	atomic_fetch_add_explicit(&spill->runs, 1, memory_order_relaxed);
}

int whi_run_add(struct whi_run_writer *writer, const struct wh_mr_row *row)
{
	writer->run->count++;
	return whi_stream_add(&writer->stream, row, writer->run->value == WH_MR_BYTES);
}

int whi_run_writer_end(struct whi_run_writer *writer)
{
	return whi_stream_flush(&writer->stream);
}

void whi_run_writer_fini(struct whi_run_writer *writer)
{
	whi_stream_writer_fini(&writer->stream);
}

int whi_run_write(struct whi_run *run, const struct whi_rows *rows, size_t max,
		  struct whi_spill *spill)
{
	size_t count = rows->count < max ? rows->count : max;
	struct whi_run_writer writer;
	struct wh_mr_row row;
	int r = 0;

	whi_run_writer_init(&writer, run, spill);
	for (size_t i = 0; i < count && r == 0; i++) {
		whi_rows_get(rows, rows->items[i].ref, &row);
		r = whi_run_add(&writer, &row);
		if (r == 0 && i % STOP_ROWS == 0 &&
		    atomic_load_explicit(spill->stop, memory_order_relaxed))
			r = -ECANCELED;
	}
	if (r == 0)
		r = whi_run_writer_end(&writer);
	whi_run_writer_fini(&writer);
	if (r < 0)
		whi_run_fini(run);
	return r;
}

void whi_cursor_init(struct whi_cursor *cursor, const struct whi_run *run, size_t chunk_bytes)
{
	cursor->run = run;
	cursor->at = 0;
	whi_stream_reader_init(&cursor->reader, &run->stream, chunk_bytes,
			       (uint64_t)chunk_bytes * AHEAD_CHUNKS);
}

void whi_cursor_fini(struct whi_cursor *cursor)
{
	whi_stream_reader_fini(&cursor->reader);
}

static int next_on_disk(struct whi_cursor *cursor, struct wh_mr_row *ret)
{
	int r;

	while ((r = whi_stream_next(&cursor->reader, ret)) == 0) {
		r = whi_stream_load(&cursor->reader);
		if (r <= 0)
			break;
	}
	return r;
}

int whi_cursor_next(struct whi_cursor *cursor, struct wh_mr_row *ret)
{
	const struct whi_run *run = cursor->run;
	const struct whi_long *counted;
	const struct whi_pair *pair;

	if (cursor->at == run->len)
		return run->stream.count ? next_on_disk(cursor, ret) : 0;
	counted = (const void *)(run->data + cursor->at);
	pair = (const void *)counted;
	ret->value = (struct wh_mr_bytes){ 0 };
	if (run->value == WH_MR_BYTES) {
		ret->key = (struct wh_mr_bytes){ pair + 1, pair->key_len };
		ret->value = (struct wh_mr_bytes){ (const uint8_t *)(pair + 1) + pair->key_len,
						   pair->value_len };
		ret->number = 0;
	} else {
		ret->key = (struct wh_mr_bytes){ counted + 1, counted->len };
		ret->number = counted->count;
	}
	cursor->at += row_bytes(ret);
	return 1;
}

int whi_runs_add(struct whi_runs *runs, struct whi_run *run)
{
	if (run->count == 0) {
		whi_run_fini(run);
		return 0;
	}
	if (runs->count == runs->room) {
		size_t room = runs->room ? runs->room * 2 : RUNS_FIRST;
		struct whi_run *items = whi_realloc(runs->items, room * sizeof(*items));

		if (!items) {
			whi_run_fini(run);
			return -ENOMEM;
		}
		runs->items = items;
		runs->room = room;
	}
	runs->items[runs->count++] = *run;
	*run = (struct whi_run){ 0 };
	return 0;
}

void whi_runs_fini(struct whi_runs *runs)
{
	for (size_t i = 0; i < runs->count; i++)
		whi_run_fini(&runs->items[i]);
	whi_free(runs->items);
	*runs = (struct whi_runs){ 0 };
}
