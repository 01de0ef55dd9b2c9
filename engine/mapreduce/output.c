/* Owns the rows on their way out.
 *
 * 1. A row that was handed over lies in memory that is not read into before the batch it is in has
 *    been put out, or made into text.
 * 2. Slices are put out in the order of their numbers, by one worker at a time: `busy` changes
 *    under the lock, and who set it owns the output and slice `next`.
 * 3. Who waits, waits for a slice that somebody has begun; and whoever began it either puts it or
 *    fails, and both wake the others. */
#include "mapreduce/output.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/list.h"
#include "mapreduce/merge.h"

enum {
	BATCH = 512,		  /* rows handed over at once */
	WRITE_BYTES = 256 * 1024, /* at once: a reader that is slow does not delay an end */
	TEXT_BYTES = 256 * 1024,  /* at first */
	AHEAD_A_WORKER = 2,
};

int wh_mr_text_more(struct wh_mr_text *text, size_t len)
{
	size_t room = text->room ? text->room : TEXT_BYTES;
	uint8_t *bytes;

	if (text->room - text->len >= len)
		return 0;
	while (room - text->len < len) {
		if (room > SIZE_MAX / 2)
			return -ENOMEM;
		room *= 2;
	}
	bytes = whi_realloc(text->bytes, room);
	if (!bytes)
		return -ENOMEM;
	text->bytes = bytes;
	text->room = room;
	return 0;
}

void wh_mr_text_free(struct wh_mr_text *text)
{
	whi_free(text->bytes);
	*text = (struct wh_mr_text){ 0 };
}

static bool is_stopped(const struct whi_output *output)
{
	return atomic_load_explicit(output->spill->stop, memory_order_relaxed);
}

static void count_rows(struct whi_output *output, size_t count)
{
	output->rows += count;
	if (output->done)
		atomic_store_explicit(output->done, output->rows, memory_order_relaxed);
}

/* A sum of match counts that is no sum any more. */
static bool is_too_much(const struct wh_mr_job *job, const struct wh_mr_row *row)
{
	return (job->exact || job->records == WH_MR_NGRAMS) && row->number == UINT64_MAX;
}

/* Write all of a text, which is empty then. */
static int write_text(struct whi_output *output, struct wh_mr_text *text)
{
	const struct wh_mr_job *job = output->job;
	uint64_t start = whi_clock_ns();
	size_t len = text->len;
	int r = 0;

	text->len = 0;
	for (size_t at = 0; at < len && r >= 0; at += WRITE_BYTES) {
		if (is_stopped(output))
			return -ECANCELED;
		r = job->write(job->arg, text->bytes + at,
			       len - at < WRITE_BYTES ? len - at : WRITE_BYTES);
	}
	output->write_ns += whi_clock_ns() - start;
	return r < 0 ? r : 0;
}

static int hand_over(struct whi_output *output, const struct wh_mr_row *rows, size_t count)
{
	uint64_t start = whi_clock_ns();
	int r = output->job->output(output->job->arg, rows, count);

	output->write_ns += whi_clock_ns() - start;
	return r < 0 ? r : 0;
}

static int format(const struct wh_mr_job *job, const struct wh_mr_row *rows, size_t count,
		  struct wh_mr_text *text, uint64_t *ns)
{
	uint64_t start = whi_clock_ns();
	int r = job->format(job->arg, rows, count, text);

	*ns += whi_clock_ns() - start;
	return r < 0 ? r : 0;
}

/* From runs */

struct batch {
	struct whi_output *output;
	uint64_t left; /* rows still wanted */
	size_t count;
	struct wh_mr_text text;
	struct wh_mr_row rows[BATCH];
};

static int batch_flush(struct batch *batch)
{
	struct whi_output *output = batch->output;
	size_t count = batch->count;
	int r;

	batch->count = 0;
	if (is_stopped(output))
		return -ECANCELED;
	count_rows(output, count);
	if (count && output->job->output)
		return hand_over(output, batch->rows, count);
	if (count == 0 || !output->job->format)
		return 0;
	r = format(output->job, batch->rows, count, &batch->text, &output->format_ns);
	return r == 0 && batch->text.len >= WRITE_BYTES ? write_text(output, &batch->text) : r;
}

static int batch_add(struct batch *batch, const struct wh_mr_row *row)
{
	if (is_too_much(batch->output->job, row))
		return -EOVERFLOW;
	batch->rows[batch->count++] = *row;
	batch->left--;
	return batch->count == BATCH || batch->left == 0 ? batch_flush(batch) : 0;
}

static int output_merged(struct whi_merge *merge, struct batch *batch)
{
	const struct wh_mr_row *row;

	while (batch->left > 0 && (row = whi_merge_row(merge)) != NULL) {
		int r = batch_add(batch, row);

		if (r == 0 && whi_merge_is_dry(merge))
			r = batch_flush(batch);
		if (r == 0)
			r = whi_merge_next(merge);
		if (r < 0)
			return r;
	}
	return batch_flush(batch);
}

static int output_one(struct whi_cursor *cursor, struct batch *batch)
{
	struct wh_mr_row row;
	int r = 0;

	while (batch->left > 0 && (r = whi_cursor_next(cursor, &row)) > 0) {
		r = batch_add(batch, &row);
		if (r == 0 && whi_cursor_is_dry(cursor))
			r = batch_flush(batch);
		if (r < 0)
			return r;
	}
	return r;
}

static int output_unordered(const struct whi_run *runs, size_t count, struct batch *batch)
{
	int r = 0;

	for (size_t i = 0; i < count && r >= 0; i++) {
		struct whi_cursor cursor;

		whi_cursor_init(&cursor, &runs[i], batch->output->spill->block_bytes);
		r = output_one(&cursor, batch);
		/* The rows of the batch lie in what is freed next. */
		if (r >= 0)
			r = batch_flush(batch);
		whi_cursor_fini(&cursor);
	}
	return r;
}

static int output_ordered(const struct whi_run *runs, size_t count, struct batch *batch)
{
	const struct whi_output *output = batch->output;
	struct whi_merge *merge;
	int r;

	if (count == 0)
		return batch_flush(batch);
	r = whi_merge_open(runs, count, output->job->order, output->spill->run_bytes, &merge);
	if (r < 0)
		return r;
	r = output_merged(merge, batch);
	whi_merge_close(merge);
	return r;
}

int whi_runs_output(const struct whi_run *runs, size_t count, uint64_t wanted,
		    struct whi_output *output)
{
	struct batch *batch = whi_alloc(sizeof(*batch));
	int r;

	if (!batch)
		return -ENOMEM;
	batch->output = output;
	batch->left = wanted;
	batch->count = 0;
	batch->text = (struct wh_mr_text){ 0 };
	if (output->job->order == WH_MR_UNORDERED)
		r = output_unordered(runs, count, batch);
	else
		r = output_ordered(runs, count, batch);
	if (r >= 0 && batch->text.len)
		r = write_text(output, &batch->text);
	wh_mr_text_free(&batch->text);
	whi_free(batch);
	return r < 0 ? r : 0;
}

/* Slices */

int whi_slice_init(struct whi_slice *slice, const struct wh_mr_job *job, struct whi_qnode *blocks,
		   size_t rows)
{
	*slice = (struct whi_slice){ .blocks = blocks };
	return whi_rows_init_blocks(&slice->rows, blocks, rows, job->value);
}

static void free_rows(struct whi_slice *slice)
{
	whi_rows_fini(&slice->rows);
	whi_blocks_free(slice->blocks);
	slice->blocks = NULL;
}

void whi_slice_fini(struct whi_slice *slice)
{
	free_rows(slice);
	wh_mr_text_free(&slice->text);
	*slice = (struct whi_slice){ 0 };
}

/* The rows from `at` on. Returns how many, or -EOVERFLOW. */
static int get_batch(const struct whi_slice *slice, const struct wh_mr_job *job, size_t at,
		     struct wh_mr_row rows[BATCH])
{
	size_t count = slice->wanted - at < BATCH ? slice->wanted - at : BATCH;

	for (size_t i = 0; i < count; i++) {
		whi_rows_get(&slice->rows, slice->rows.items[at + i].ref, &rows[i]);
		if (is_too_much(job, &rows[i]))
			return -EOVERFLOW;
	}
	return (int)count;
}

static void sort(struct whi_slice *slice, const struct whi_output *output)
{
	struct wh_mr_job job = *output->job;
	uint64_t start = whi_clock_ns();

	if (!job.output && !job.format)
		return;
	job.rows_max = slice->wanted;
	whi_rows_sort(&slice->rows, &job, output->spill->stop);
	atomic_fetch_add_explicit(&output->spill->sort_ns, whi_clock_ns() - start,
				  memory_order_relaxed);
}

int whi_slice_make(struct whi_slice *slice, const struct whi_output *output)
{
	const struct wh_mr_job *job = output->job;
	struct wh_mr_row rows[BATCH];
	int r = 0;

	if (slice->runs)
		return 0;
	sort(slice, output);
	for (size_t at = 0; at < slice->wanted && job->format && r >= 0; at += BATCH) {
		r = is_stopped(output) ? -ECANCELED : get_batch(slice, job, at, rows);
		if (r > 0)
			r = format(job, rows, (size_t)r, &slice->text, &slice->format_ns);
	}
	if (job->format)
		free_rows(slice);
	return r;
}

/* By whoever has the turn. */
static int put_slice(struct whi_output *output, struct whi_slice *slice)
{
	const struct wh_mr_job *job = output->job;
	struct wh_mr_row rows[BATCH];
	int r = 0;

	if (slice->runs)
		return whi_runs_output(slice->runs->items, slice->runs->count, slice->wanted,
				       output);
	output->format_ns += slice->format_ns;
	if (job->format)
		r = write_text(output, &slice->text);
	for (size_t at = 0; at < slice->wanted && !job->format && r >= 0; at += BATCH) {
		r = is_stopped(output) ? -ECANCELED : get_batch(slice, job, at, rows);
		if (r > 0 && job->output)
			r = hand_over(output, rows, (size_t)r);
	}
	if (r >= 0)
		count_rows(output, slice->wanted);
	return r < 0 ? r : 0;
}

int whi_turns_init(struct whi_turns *turns, struct whi_output *output, unsigned workers)
{
	*turns = (struct whi_turns){ .output = output, .room = (workers + 1) * AHEAD_A_WORKER };
	pthread_mutex_init(&turns->lock, NULL);
	pthread_cond_init(&turns->passed, NULL);
	turns->made = whi_calloc(turns->room, sizeof(*turns->made));
	turns->is_made = whi_calloc(turns->room, sizeof(*turns->is_made));
	turns->spare = whi_calloc(turns->room, sizeof(*turns->spare));
	if (turns->made && turns->is_made && turns->spare)
		return 0;
	whi_turns_fini(turns);
	return -ENOMEM;
}

void whi_turns_fini(struct whi_turns *turns)
{
	for (unsigned i = 0; turns->made && i < turns->room; i++)
		whi_slice_fini(&turns->made[i]);
	for (unsigned i = 0; turns->spare && i < turns->spare_count; i++)
		wh_mr_text_free(&turns->spare[i]);
	whi_free(turns->made);
	whi_free(turns->is_made);
	whi_free(turns->spare);
	pthread_cond_destroy(&turns->passed);
	pthread_mutex_destroy(&turns->lock);
}

struct wh_mr_text whi_turns_text(struct whi_turns *turns)
{
	struct wh_mr_text text = { 0 };

	pthread_mutex_lock(&turns->lock);
	if (turns->spare_count)
		text = turns->spare[--turns->spare_count];
	pthread_mutex_unlock(&turns->lock);
	return text;
}

/* Under the lock. */
static int fail(struct whi_turns *turns, int error)
{
	if (!turns->error)
		turns->error = error;
	pthread_cond_broadcast(&turns->passed);
	return turns->error;
}

int whi_turns_fail(struct whi_turns *turns, int error)
{
	pthread_mutex_lock(&turns->lock);
	error = fail(turns, error);
	pthread_mutex_unlock(&turns->lock);
	return error;
}

/* Put out what is made and has its turn, under the lock but for the putting out itself. */
static void put_all(struct whi_turns *turns)
{
	turns->busy = true;
	while (!turns->error && turns->is_made[turns->next % turns->room]) {
		struct whi_slice *slice = &turns->made[turns->next % turns->room];
		int r;

		pthread_mutex_unlock(&turns->lock);
		r = put_slice(turns->output, slice);
		free_rows(slice);
		pthread_mutex_lock(&turns->lock);
		if (turns->spare_count < turns->room) {
			turns->spare[turns->spare_count++] = slice->text;
			slice->text = (struct wh_mr_text){ 0 };
		}
		whi_slice_fini(slice);
		turns->is_made[turns->next++ % turns->room] = false;
		if (r < 0)
			fail(turns, r);
		pthread_cond_broadcast(&turns->passed);
	}
	turns->busy = false;
}

int whi_turns_put(struct whi_turns *turns, unsigned number, struct whi_slice *slice)
{
	int r;

	pthread_mutex_lock(&turns->lock);
	while (!turns->error && number - turns->next >= turns->room)
		pthread_cond_wait(&turns->passed, &turns->lock);
	if (!turns->error) {
		turns->made[number % turns->room] = *slice;
		turns->is_made[number % turns->room] = true;
		*slice = (struct whi_slice){ 0 };
		if (!turns->busy)
			put_all(turns);
	}
	r = turns->error;
	pthread_mutex_unlock(&turns->lock);
	return r;
}
