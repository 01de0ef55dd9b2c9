/* Owns what is gathered for a run.
 *
 * 1. Numbers are long records in the chunks of a table that has no index, bytes are pairs in
 *    blocks: what rows can be collected from. */
#include "mapreduce/sorter.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/list.h"

enum {
	CHUNKS_FIRST = 8,
	ITEM_BYTES = 16, /* what sorting needs for a row besides */
	STOP_ROWS = 4096,
};

void whi_sorter_init(struct whi_sorter *sorter, struct whi_spill *spill,
		     const struct wh_mr_job *job, enum wh_mr_order order, struct whi_runs *runs)
{
	*sorter = (struct whi_sorter){ .spill = spill, .job = *job, .runs = runs };
	if (order != job->order)
		sorter->job.rows_max = 0;
	sorter->job.order = order;
}

void whi_sorter_fini(struct whi_sorter *sorter)
{
	whi_part_fini(&sorter->part);
	sorter->bytes = 0;
}

static struct whi_block *last_block(const struct whi_sorter *sorter)
{
	const struct whi_part *part = &sorter->part;

	if (part->pairs)
		return whi_container_of(part->pairs, struct whi_block, node);
	return part->longs.chunk_count ? part->longs.chunks[part->longs.chunk_count - 1] : NULL;
}

static int keep_chunk(struct whi_table *table, struct whi_block *block)
{
	if (table->chunk_count == table->chunk_room) {
		uint32_t room = table->chunk_room ? table->chunk_room * 2 : CHUNKS_FIRST;
		struct whi_block **chunks;

		chunks = whi_realloc(table->chunks, room * sizeof(struct whi_block *));
		if (!chunks)
			return -ENOMEM;
		table->chunks = chunks;
		table->chunk_room = room;
	}
	table->chunks[table->chunk_count++] = block;
	return 0;
}

/* Room for a record of `len` bytes, NULL when out of memory. */
static uint8_t *record_room(struct whi_sorter *sorter, enum whi_kind kind, size_t len)
{
	struct whi_block *block = last_block(sorter);

	if (!block || block->room - block->used < len) {
		block = whi_block_new(kind, len);
		if (!block)
			return NULL;
		if (kind == WHI_PAIR) {
			block->node.next = sorter->part.pairs;
			sorter->part.pairs = &block->node;
		} else if (keep_chunk(&sorter->part.longs, block) < 0) {
			whi_free(block);
			return NULL;
		}
	}
	block->used += len;
	sorter->bytes += len + ITEM_BYTES;
	return block->data + block->used - len;
}

static void copy(uint8_t *to, const struct wh_mr_bytes *from)
{
	if (from->len)
		memcpy(to, from->data, from->len);
}

int whi_sorter_keep(struct whi_sorter *sorter, const struct wh_mr_row *row)
{
	struct whi_pair pair = { .value_len = row->value.len,
				 .key_len = row->key.len & WHI_KEY_MAX };
	struct whi_long counted = { .count = row->number, .len = row->key.len & WHI_KEY_MAX };
	uint8_t *at;

	if (sorter->spill->value == WH_MR_BYTES) {
		at = record_room(sorter, WHI_PAIR, whi_pair_bytes(&pair));
		if (!at)
			return -ENOMEM;
		memcpy(at, &pair, sizeof(pair));
		copy(at + sizeof(pair) + row->key.len, &row->value);
	} else {
		at = record_room(sorter, WHI_LONG, whi_long_bytes(counted.len));
		if (!at)
			return -ENOMEM;
		memcpy(at, &counted, sizeof(counted));
		sorter->part.longs.used++;
	}
	copy(at + sizeof(pair), &row->key);
	return 0;
}

/* Write sorted rows, those of equal keys as one. */
static int write_combined(const struct whi_sorter *sorter, const struct whi_rows *rows,
			  struct whi_run *run)
{
	struct whi_run_writer writer;
	struct wh_mr_row row, next;
	int r = 0;

	whi_run_writer_init(&writer, run, sorter->spill);
	whi_rows_get(rows, rows->items[0].ref, &row);
	for (size_t i = 1; i < rows->count && r == 0; i++) {
		whi_rows_get(rows, rows->items[i].ref, &next);
		if (whi_row_same_key(&row, &next)) {
			row.number = whi_combined(sorter->combine, row.number, next.number);
			continue;
		}
		r = whi_run_add(&writer, &row);
		row = next;
		if (i % STOP_ROWS == 0 &&
		    atomic_load_explicit(sorter->spill->stop, memory_order_relaxed))
			r = -ECANCELED;
	}
	if (r == 0)
		r = whi_run_add(&writer, &row);
	if (r == 0)
		r = whi_run_writer_end(&writer);
	whi_run_writer_fini(&writer);
	if (r < 0)
		whi_run_fini(run);
	return r;
}

static void sort(struct whi_rows *rows, const struct wh_mr_job *job, struct whi_spill *spill)
{
	uint64_t start = whi_clock_ns();

	whi_rows_sort(rows, job, spill->stop);
	atomic_fetch_add_explicit(&spill->sort_ns, whi_clock_ns() - start, memory_order_relaxed);
}

int whi_sort_to_disk(const struct whi_part *part, const struct wh_mr_job *job,
		     struct whi_spill *spill, struct whi_runs *runs)
{
	struct whi_rows rows;
	struct whi_run run;
	int r = whi_rows_init(&rows, part, spill->value);

	if (r < 0)
		return r;
	sort(&rows, job, spill);
	if (rows.count > 0) {
		r = whi_run_write(&run, &rows, job->rows_max ? job->rows_max : SIZE_MAX, spill);
		if (r == 0)
			r = whi_runs_add(runs, &run);
	}
	whi_rows_fini(&rows);
	return r;
}

static int write_combined_run(struct whi_sorter *sorter)
{
	struct whi_rows rows;
	struct whi_run run;
	int r = whi_rows_init(&rows, &sorter->part, sorter->spill->value);

	if (r < 0)
		return r;
	sort(&rows, &sorter->job, sorter->spill);
	r = write_combined(sorter, &rows, &run);
	if (r == 0)
		r = whi_runs_add(sorter->runs, &run);
	whi_rows_fini(&rows);
	return r;
}

int whi_sorter_end(struct whi_sorter *sorter)
{
	int r;

	if (sorter->bytes == 0)
		return 0;
	if (sorter->dealer)
		r = whi_dealer_deal(sorter->dealer, &sorter->part);
	else if (sorter->combines)
		r = write_combined_run(sorter);
	else
		r = whi_sort_to_disk(&sorter->part, &sorter->job, sorter->spill, sorter->runs);
	whi_sorter_fini(sorter);
	return r;
}

int whi_sorter_add(struct whi_sorter *sorter, const struct wh_mr_row *row)
{
	int r = whi_sorter_keep(sorter, row);

	if (r < 0 || sorter->bytes < sorter->spill->pass_bytes)
		return r;
	return whi_sorter_end(sorter);
}
