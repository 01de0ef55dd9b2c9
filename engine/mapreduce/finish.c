/* Owns what comes after the map: what mappers still hold goes to the partitions, their keys are
 * reduced, and the rows are put out in slices, or, where only a few of the first ones are wanted,
 * by a merge of runs. Each phase ends before the next one begins. */
#include <errno.h>
#include <string.h>
#include <whorl/task.h>

#include "base/alloc.h"
#include "mapreduce/job.h"

enum {
	SLICE_ROWS = 8192, /* at least, so that beginning with a slice is little beside it */
};

/* On a worker: flush mappers as long as there are some. */
static int flush_mappers(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_mapper *mapper;
	int r = 0;

	while (r == 0 && (mapper = whi_mr_pop_mapper(mr)) != NULL)
		r = whi_mapper_flush(mapper);
	return r;
}

static uint64_t rows_wanted(const struct whi_mr *mr)
{
	uint64_t most = mr->job->rows_max ? mr->job->rows_max : UINT64_MAX;

	return mr->stats.keys < most ? mr->stats.keys : most;
}

/* Whether so few of about so many rows are wanted that the others are not worth moving. */
static bool wants_few(const struct whi_mr *mr, uint64_t rows)
{
	return mr->job->rows_max > 0 && mr->job->rows_max <= rows / WHI_PASS_FEW;
}

/* How rows will go out, as far as that is known before they are reduced. */
static int begin_reduce(struct whi_mr *mr)
{
	struct whi_slices *slices;
	int r = whi_slices_new(mr->job, mr->store, &slices);

	if (r < 0)
		return r;
	for (unsigned part = 0; part < WHI_PARTS; part++)
		slices->rows_on_disk += mr->store->parts[part].spilled.records;
	slices->bytes_expected = mr->stats.spill.memory_held;
	mr->slices = slices;
	/* Without anything on disk it is not known yet how many rows there are. */
	if (slices->rows_on_disk)
		mr->deals = !wants_few(mr, slices->rows_on_disk);
	else
		mr->deals = !mr->job->rows_max;
	atomic_store(&mr->next_part, 0);
	return 0;
}

/* Partitions */

/* The next of `count` things that workers take one by one. False: there is none left. */
static bool take_next(struct whi_mr *mr, unsigned count, unsigned *ret)
{
	*ret = atomic_fetch_add(&mr->next_part, 1);
	return *ret < count;
}

/* Go on with partitions as long as there are some. */
static int reduce_with(struct whi_mr *mr, struct whi_pass *pass)
{
	unsigned part;
	int r = 0;

	while (r == 0 && take_next(mr, WHI_PARTS, &part)) {
		r = atomic_load(&mr->stop) ? -ECANCELED
					   : whi_pass_reduce(pass, part, &mr->runs[part]);
		mr->part_rows[part] = pass->rows;
		mr->part_bytes[part] = pass->bytes;
		atomic_fetch_add_explicit(&mr->phase_done, 1, memory_order_relaxed);
	}
	return r;
}

/* On a worker: reduce partitions. */
static int reduce_parts(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_pass pass = {
		.store = mr->store,
		.spill = &mr->spill,
		.job = mr->job,
		.keeps = !mr->deals || !mr->slices->rows_on_disk,
		.pool = { .room = mr->store->block_room, .most = mr->store->pool_most },
	};
	int r;

	if (mr->deals)
		pass.dealer = whi_dealer_new(mr->slices, &mr->stop);
	r = mr->deals && !pass.dealer ? -ENOMEM : reduce_with(mr, &pass);
	if (r == 0 && pass.dealer)
		r = whi_dealer_end(pass.dealer);
	whi_dealer_free(pass.dealer);
	whi_pool_fini(&pass.pool);
	return r;
}

/* By runs */

/* On a worker: what is in memory of partitions becomes runs. */
static int sort_parts(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_pass pass = { .store = mr->store, .spill = &mr->spill, .job = mr->job };
	unsigned part;
	int r = 0;

	while (r == 0 && take_next(mr, WHI_PARTS, &part))
		r = whi_pass_out(&pass, part, &mr->runs[part]);
	return r;
}

/* All runs in one list. */
static int gather_runs(struct whi_mr *mr, struct whi_runs *all)
{
	for (unsigned part = 0; part < WHI_PARTS; part++)
		for (size_t i = 0; i < mr->runs[part].count; i++) {
			int r = whi_runs_add(all, &mr->runs[part].items[i]);

			if (r < 0)
				return r;
		}
	return 0;
}

/* On a worker. */
static int merge_runs(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_runs all = { 0 };
	uint64_t start = wh_now_ns();
	int r = gather_runs(mr, &all);

	if (r == 0)
		r = whi_runs_output(all.items, all.count, rows_wanted(mr), &mr->output);
	whi_runs_fini(&all);
	mr->stats.merge_ns = wh_now_ns() - start - mr->output.write_ns - mr->output.format_ns;
	return r;
}

static int output_runs(struct whi_mr *mr)
{
	int r;

	atomic_store(&mr->next_part, 0);
	r = whi_mr_on_workers(mr, sort_parts);
	return r == 0 ? whi_mr_offload(mr, merge_runs, mr) : r;
}

/* By slices */

/* On a worker: deal partitions as long as there are some. */
static int deal_parts(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_dealer *dealer = whi_dealer_new(mr->slices, &mr->stop);
	uint64_t start = wh_now_ns();
	unsigned part;
	int r = 0;

	if (!dealer)
		return -ENOMEM;
	while (r == 0 && take_next(mr, WHI_PARTS, &part)) {
		r = whi_dealer_deal(dealer, &mr->store->parts[part]);
		whi_part_forget(mr->store, &mr->store->parts[part]);
	}
	if (r == 0)
		r = whi_dealer_end(dealer);
	whi_dealer_free(dealer);
	atomic_fetch_add(&mr->deal_ns, wh_now_ns() - start);
	return r;
}

static unsigned choose_count(const struct whi_mr *mr)
{
	uint64_t count = mr->stats.keys / SLICE_ROWS + 1;

	return count < WHI_PARTS ? (unsigned)count : WHI_PARTS;
}

/* On a worker. */
static int choose_slices(void *arg)
{
	struct whi_mr *mr = arg;

	return whi_slices_choose(mr->slices, mr->store->parts, WHI_PARTS, choose_count(mr));
}

/* On a worker: as long as there are some that are wanted. */
static int sort_large(void *arg)
{
	struct whi_mr *mr = arg;
	unsigned number;
	int r = 0;

	while (r == 0 && take_next(mr, mr->slice_count, &number) &&
	       mr->slice_begins[number] < rows_wanted(mr))
		r = whi_slices_sort_large(mr->slices, number);
	return r;
}

static int take_blocks(struct whi_mr *mr, unsigned slice, struct whi_qnode **ret)
{
	if (mr->slices->count)
		return whi_slices_take(mr->slices, slice, ret);
	*ret = whi_part_take_blocks(&mr->store->parts[slice]);
	whi_part_forget(mr->store, &mr->store->parts[slice]);
	return 0;
}

static int init_slice(struct whi_mr *mr, unsigned number, struct whi_slice *slice)
{
	const uint64_t rows = mr->slice_begins[number + 1] - mr->slice_begins[number];
	const uint64_t most = rows_wanted(mr) - mr->slice_begins[number];
	struct whi_qnode *blocks = NULL;
	int r = 0;

	*slice = (struct whi_slice){ .runs = NULL };
	if (mr->slices->count)
		slice->runs = whi_slices_runs(mr->slices, number);
	if (!slice->runs)
		r = take_blocks(mr, number, &blocks);
	if (r == 0 && !slice->runs)
		r = whi_slice_init(slice, mr->job, blocks, rows);
	slice->wanted = rows < most ? rows : most;
	return r;
}

static int put_slice(struct whi_mr *mr, unsigned number)
{
	struct whi_slice slice;
	int r = init_slice(mr, number, &slice);

	slice.text = whi_turns_text(&mr->turns);
	if (r == 0)
		r = whi_slice_make(&slice, &mr->output);
	r = r < 0 ? whi_turns_fail(&mr->turns, r) : whi_turns_put(&mr->turns, number, &slice);
	whi_slice_fini(&slice);
	return r;
}

/* On a worker: sort slices and put them out, as long as there are some that are wanted. */
static int put_slices(void *arg)
{
	struct whi_mr *mr = arg;
	unsigned number;
	int r = 0;

	while (r == 0 && take_next(mr, mr->slice_count, &number) &&
	       mr->slice_begins[number] < rows_wanted(mr))
		r = put_slice(mr, number);
	return r;
}

static void begin_slices(struct whi_mr *mr)
{
	const struct whi_slices *slices = mr->slices;

	mr->slice_count = slices->count ? slices->count : WHI_PARTS;
	for (unsigned i = 0; i < mr->slice_count; i++)
		mr->slice_begins[i + 1] = mr->slice_begins[i] +
					  (slices->count ? whi_slices_rows(slices, i)
							 : mr->part_rows[i]);
}

/* Rows that need no order stay where they are: their partitions are the slices. */
static bool is_dealt(const struct whi_mr *mr)
{
	const struct wh_mr_job *job = mr->job;

	return mr->slices->count || (job->order != WH_MR_UNORDERED && (job->output || job->format));
}

static int deal_rest(struct whi_mr *mr)
{
	int r = mr->slices->count ? 0 : whi_mr_offload(mr, choose_slices, mr);

	atomic_store(&mr->next_part, 0);
	if (r == 0)
		r = whi_mr_on_workers(mr, deal_parts);
	mr->stats.merge_ns = atomic_load(&mr->deal_ns);
	return r;
}

static int output_slices(struct whi_mr *mr)
{
	int r = is_dealt(mr) ? deal_rest(mr) : 0;

	if (r < 0)
		return r;
	begin_slices(mr);
	atomic_store(&mr->next_part, 0);
	if (mr->slices->spills)
		r = whi_mr_on_workers(mr, sort_large);
	if (r == 0)
		r = whi_turns_init(&mr->turns, &mr->output, mr->workers);
	if (r < 0)
		return r;
	atomic_store(&mr->next_part, 0);
	r = whi_mr_on_workers(mr, put_slices);
	whi_turns_fini(&mr->turns);
	return r;
}

/* Whether no partition is sorted already, and enough rows are wanted that they are worth moving. */
static bool in_slices(const struct whi_mr *mr)
{
	for (unsigned part = 0; part < WHI_PARTS; part++)
		if (mr->runs[part].count)
			return false;
	return mr->slices->count || mr->job->order == WH_MR_UNORDERED ||
	       !wants_few(mr, mr->stats.keys);
}

static int output_all(struct whi_mr *mr)
{
	int r;

	mr->output = (struct whi_output){
		.job = mr->job,
		.spill = &mr->spill,
		.done = &mr->phase_done,
	};
	r = in_slices(mr) ? output_slices(mr) : output_runs(mr);
	mr->stats.rows = mr->output.rows;
	mr->stats.format_ns = mr->output.format_ns;
	mr->stats.write_ns = mr->output.write_ns;
	return r;
}

static void count_rows(struct whi_mr *mr)
{
	struct wh_mr_stats *stats = &mr->stats;

	stats->keys = 0;
	for (unsigned part = 0; part < WHI_PARTS; part++)
		stats->keys += mr->part_rows[part];
	whi_mr_explain_skew(mr);
}

void whi_mr_spill_stats(struct whi_mr *mr)
{
	struct whi_spill *spill = &mr->spill;
	struct wh_mr_spill *stats = &mr->stats.spill;

	stats->bytes_written = atomic_load(&spill->file.written);
	stats->bytes_read = atomic_load(&spill->file.read);
	stats->extents = atomic_load(&spill->file.extents);
	stats->spills = atomic_load(&spill->spills);
	stats->partitions = atomic_load(&spill->parts);
	stats->depth = atomic_load(&spill->depth);
	stats->sorted = atomic_load(&spill->sorted);
	stats->runs = atomic_load(&spill->runs);
	stats->memory_max = spill->budget.max;
	stats->tmp_dir = spill->file.dir;
	mr->stats.sort_ns = atomic_load(&spill->sort_ns);
	mr->stats.spill_ns = atomic_load(&spill->spill_ns);
}

static void say_why(struct whi_mr *mr, enum whi_spill_step step, int error)
{
	static const char *const what[] = {
		[WHI_SPILL_CREATE] = "cannot make a temporary file in",
		[WHI_SPILL_WRITE] = "cannot write a temporary file in",
		[WHI_SPILL_READ] = "cannot read back a temporary file in",
	};
	const unsigned long long mib = atomic_load(&mr->spill.file.written) >> 20;

	whi_why(&mr->why, error,
		"%s %s: %s, after %llu MiB; choose another folder with tmp_dir (--tmp), or more "
		"memory with memory_max (--memory)",
		what[step], mr->spill.file.dir, strerrordesc_np(-error), mib);
}

/* What has failed on a worker's way, where nobody could return it, or nobody was asked. */
int whi_mr_spill_error(struct whi_mr *mr, int r)
{
	struct whi_spill_file *file = &mr->spill.file;
	int error = atomic_load(&mr->store->error);

	pthread_mutex_lock(&file->lock);
	mr->stats.spill.error = file->error;
	if (file->error) {
		error = file->error;
		say_why(mr, file->step, error);
	}
	pthread_mutex_unlock(&file->lock);
	for (size_t i = 0; i < mr->resume.count && !error; i++) {
		const struct whi_batch *batch = mr->resume.batches[i];

		error = batch->file.error;
		if (error)
			whi_why(&mr->why, error, "cannot read %s: %s; remove it and what follows",
				batch->path, strerrordesc_np(-error));
	}
	return error ? error : r;
}

static uint64_t since(uint64_t *start)
{
	uint64_t now = wh_now_ns(), passed = now - *start;

	*start = now;
	return passed;
}

/* Their tables and buffers are memory that the next phases have a use for. */
static void free_mappers(struct whi_mr *mr)
{
	while (mr->mappers) {
		struct whi_mapper *mapper = mr->mappers;

		mr->mappers = mapper->next;
		mr->stats.records += whi_mapper_records(mapper);
		whi_mapper_free(mapper);
	}
	mr->mappers_free = NULL;
}

static int run_phases(struct whi_mr *mr)
{
	uint64_t start = wh_now_ns();
	int r;

	whi_mr_phase(mr, WH_MR_REDUCE, WHI_PARTS);
	r = whi_mr_on_workers(mr, flush_mappers);
	whi_mr_explain_map(mr);
	free_mappers(mr);
	mr->stats.records += mr->resume.records;
	mr->stats.spill.memory_held = (uint64_t)atomic_load(&mr->spill.budget.held);
	if (r == 0)
		r = whi_resume_unite(mr);
	if (r == 0)
		r = begin_reduce(mr);
	if (r == 0)
		r = whi_mr_on_workers(mr, reduce_parts);
	if (r < 0)
		return r;
	count_rows(mr);
	mr->stats.reduce_ns = since(&start);
	whi_mr_phase(mr, WH_MR_OUTPUT, rows_wanted(mr));
	r = output_all(mr);
	mr->stats.output_ns = since(&start);
	return r;
}

int whi_mr_finish(struct whi_mr *mr)
{
	return whi_mr_spill_error(mr, run_phases(mr));
}
