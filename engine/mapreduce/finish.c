/* Owns what comes after the map: what mappers still hold goes to the partitions, these become runs,
 * and the runs become the output. Each phase ends before the next one begins. */
#include <errno.h>
#include <string.h>
#include <whorl/task.h>

#include "base/alloc.h"
#include "mapreduce/job.h"

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

/* On a worker: the last pass over partitions as long as there are some. */
static int pass_parts(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_pass pass = {
		.store = mr->store,
		.spill = &mr->spill,
		.job = mr->job,
	};
	int r = 0;

	while (r == 0) {
		unsigned part = atomic_fetch_add(&mr->next_part, 1);

		if (part >= WHI_PARTS)
			break;
		if (atomic_load(&mr->stop))
			return -ECANCELED;
		r = whi_pass_part(&pass, part, &mr->runs[part]);
		mr->part_rows[part] = pass.rows;
		atomic_fetch_add_explicit(&mr->phase_done, 1, memory_order_relaxed);
	}
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
static int output_rows(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_output output = {
		.job = mr->job,
		.spill = &mr->spill,
		.done = &mr->phase_done,
	};
	struct whi_runs all = { 0 };
	int r = gather_runs(mr, &all);

	if (r == 0)
		r = whi_runs_output(all.items, all.count, &output);
	whi_runs_fini(&all);
	mr->stats.rows = output.rows;
	mr->stats.write_ns = output.write_ns;
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

static uint64_t rows_wanted(const struct whi_mr *mr)
{
	uint64_t most = mr->job->rows_max ? mr->job->rows_max : UINT64_MAX;

	return mr->stats.keys < most ? mr->stats.keys : most;
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
		r = whi_mr_on_workers(mr, pass_parts);
	if (r < 0)
		return r;
	count_rows(mr);
	mr->stats.reduce_ns = since(&start);
	whi_mr_phase(mr, WH_MR_OUTPUT, rows_wanted(mr));
	r = whi_mr_offload(mr, output_rows, mr);
	mr->stats.output_ns = since(&start);
	mr->stats.merge_ns = mr->stats.output_ns - mr->stats.write_ns;
	return r;
}

int whi_mr_finish(struct whi_mr *mr)
{
	return whi_mr_spill_error(mr, run_phases(mr));
}
