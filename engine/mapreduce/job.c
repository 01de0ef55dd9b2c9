/* Owns a job from beginning to end: walk, map, flush, reduce and sort, output. Each phase ends
 * before the next one begins; within a phase workers share nothing but counters and the store.
 *
 * 1. `stop` is set once the job's scope is cancelled, so that work on threads ends as soon as tasks
 *    do. With `partial` it is cleared again for the phases after the map.
 * 2. Nothing of a job outlives wh_mapreduce: its tasks are in scopes that it closes. */
#include "mapreduce/job.h"

#include <errno.h>
#include <string.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "arch/cpu.h"
#include "base/alloc.h"

enum {
	PROGRESS_NS = 100 * 1000 * 1000,
	SPLIT_BYTES_MIN = 256 * 1024,
	SPLIT_BYTES_MAX = 4 * 1024 * 1024,
	SPLITS_A_WORKER = 16, /* so that workers finish together */
};

static struct whi_mapper *pop_mapper(struct whi_mr *mr)
{
	struct whi_mapper *mapper;

	pthread_mutex_lock(&mr->lock);
	mapper = mr->mappers_free;
	if (mapper)
		mr->mappers_free = mapper->next_free;
	pthread_mutex_unlock(&mr->lock);
	return mapper;
}

struct whi_mapper *whi_mr_take_mapper(struct whi_mr *mr)
{
	struct whi_mapper *mapper = pop_mapper(mr);

	if (mapper)
		return mapper;
	mapper = whi_mapper_new(&mr->shared);
	if (!mapper)
		return NULL;
	pthread_mutex_lock(&mr->lock);
	mapper->next = mr->mappers;
	mr->mappers = mapper;
	pthread_mutex_unlock(&mr->lock);
	return mapper;
}

void whi_mr_put_mapper(struct whi_mr *mr, struct whi_mapper *mapper)
{
	pthread_mutex_lock(&mr->lock);
	mapper->next_free = mr->mappers_free;
	mr->mappers_free = mapper;
	pthread_mutex_unlock(&mr->lock);
}

int whi_mr_offload(struct whi_mr *mr, wh_job_fn fn, void *arg)
{
	int result = 0;
	int r = wh_offload(mr->executor, fn, arg, &result);

	if (result < 0 && !mr->shielded)
		atomic_store(&mr->stop, true);
	return r < 0 ? r : result;
}

int whi_mr_error(int r, int closed)
{
	bool interrupted = r == -ECANCELED || r == -ETIMEDOUT;

	return r == 0 || (interrupted && closed < 0) ? closed : r;
}

void whi_mr_file_failed(struct whi_mr *mr, struct whi_file *file, int error)
{
	if (file->reported)
		return;
	file->reported = true;
	mr->stats.files_failed++;
	if (mr->job->file_error)
		mr->job->file_error(mr->job->arg, file->path ? file->path : "-", error);
}

static void update_stats(struct whi_mr *mr)
{
	mr->stats.bytes_done = atomic_load_explicit(&mr->bytes_done, memory_order_relaxed);
}

static int sleep_a_while(const struct wh_mr_job *job)
{
	if (!job->progress)
		return wh_sleep_until(UINT64_MAX);
	return wh_sleep(job->progress_ns ? job->progress_ns : PROGRESS_NS);
}

/* A task beside the others: tells the progress, and passes a cancellation on to the threads. */
static int tick(void *arg)
{
	struct whi_mr *mr = arg;

	while (sleep_a_while(mr->job) == 0) {
		update_stats(mr);
		mr->job->progress(mr->job->arg, &mr->stats);
	}
	if (!mr->shielded)
		atomic_store(&mr->stop, true);
	return 0;
}

struct share {
	struct whi_mr *mr;
	wh_job_fn fn;
};

static int run_share(void *arg)
{
	const struct share *share = arg;

	return whi_mr_offload(share->mr, share->fn, share->mr);
}

/* Run `fn(mr)` on every worker at once. */
static int on_all_workers(struct whi_mr *mr, wh_job_fn fn)
{
	struct share share = { mr, fn };
	struct wh_scope scope;
	int r = 0, closed;

	wh_scope_open(&scope, NULL);
	for (unsigned i = 0; i < mr->workers && r == 0; i++)
		r = wh_spawn(&scope, run_share, &share);
	if (r < 0)
		wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	return whi_mr_error(r, closed);
}

static int walk(void *arg)
{
	struct whi_mr *mr = arg;
	const struct wh_mr_job *job = mr->job;
	uint64_t split_bytes = job->split_bytes;
	int r = whi_input_walk(&mr->input, job, &mr->stop);

	if (r < 0)
		return r;
	if (!split_bytes) {
		split_bytes = mr->input.bytes / mr->workers / SPLITS_A_WORKER;
		if (split_bytes < SPLIT_BYTES_MIN)
			split_bytes = SPLIT_BYTES_MIN;
		if (split_bytes > SPLIT_BYTES_MAX)
			split_bytes = SPLIT_BYTES_MAX;
	}
	return whi_input_split(&mr->input, split_bytes, job->records == WH_MR_CUSTOM);
}

static int map_all(struct whi_mr *mr)
{
	int r = whi_mr_offload(mr, walk, mr);

	if (r < 0)
		return r;
	mr->stats.files = mr->input.file_count;
	mr->stats.bytes_total = mr->input.has_stream ? 0 : mr->input.bytes;
	for (size_t i = 0; i < mr->input.file_count; i++)
		if (mr->input.files[i].error)
			whi_mr_file_failed(mr, &mr->input.files[i], mr->input.files[i].error);
	r = whi_mr_map_files(mr);
	return r < 0 ? r : whi_mr_map_streams(mr);
}

/* On a worker: flush mappers as long as there are some. */
static int flush_mappers(void *arg)
{
	struct whi_mr *mr = arg;
	struct whi_mapper *mapper;
	int r = 0;

	while (r == 0 && (mapper = pop_mapper(mr)) != NULL)
		r = whi_mapper_flush(mapper);
	return r;
}

/* The rows of a reduced partition, in order, without the partition. */
static int sort_part(struct whi_mr *mr, struct whi_part *part, struct whi_run *run)
{
	const struct wh_mr_job *job = mr->job;
	struct whi_rows rows;
	int r = whi_rows_init(&rows, part, job->value);

	if (r < 0)
		return r;
	atomic_fetch_add_explicit(&mr->keys, rows.count, memory_order_relaxed);
	whi_rows_sort(&rows, job, &mr->stop);
	r = whi_run_init(run, &rows, job->rows_max ? job->rows_max : SIZE_MAX);
	whi_rows_fini(&rows);
	return r;
}

static int reduce_part(struct whi_mr *mr, unsigned index)
{
	struct whi_part *part = &mr->store->parts[index];
	struct wh_mr_emitter emitter = {
		.job = mr->job,
		.mode = WHI_EMIT_REDUCE,
		.part = part,
		.stop = &mr->stop,
	};
	int r = whi_store_reduce(mr->store, index);

	if (r == 0 && mr->job->reduce)
		r = whi_emit_reduce(&emitter);
	whi_part_seal(part);
	if (r == 0)
		r = sort_part(mr, part, &mr->runs[index]);
	whi_part_fini(part);
	return r;
}

/* On a worker: reduce and sort partitions as long as there are some. */
static int reduce_parts(void *arg)
{
	struct whi_mr *mr = arg;
	int r = 0;

	while (r == 0) {
		unsigned part = atomic_fetch_add(&mr->next_part, 1);

		if (part >= WHI_PARTS)
			break;
		if (atomic_load(&mr->stop))
			return -ECANCELED;
		r = reduce_part(mr, part);
	}
	return r;
}

/* On a worker. */
static int output_rows(void *arg)
{
	struct whi_mr *mr = arg;
	int64_t r = whi_runs_output(mr->runs, mr->job, &mr->stop);

	if (r < 0)
		return (int)r;
	mr->rows_done = (uint64_t)r;
	return 0;
}

static uint64_t since(uint64_t *start)
{
	uint64_t now = wh_now_ns(), passed = now - *start;

	*start = now;
	return passed;
}

static int finish(struct whi_mr *mr)
{
	uint64_t start = wh_now_ns();
	int r = on_all_workers(mr, flush_mappers);

	for (const struct whi_mapper *mapper = mr->mappers; mapper; mapper = mapper->next)
		mr->stats.records += whi_mapper_records(mapper);
	if (r == 0)
		r = on_all_workers(mr, reduce_parts);
	if (r < 0)
		return r;
	mr->stats.keys = atomic_load(&mr->keys);
	mr->stats.reduce_ns = since(&start);
	r = whi_mr_offload(mr, output_rows, mr);
	mr->stats.rows = mr->rows_done;
	mr->stats.output_ns = since(&start);
	return r;
}

/* Finish out of reach of a cancellation: what has been mapped will be put out. */
static int finish_shielded(struct whi_mr *mr)
{
	struct wh_scope scope;
	int r;

	mr->shielded = true;
	atomic_store(&mr->stop, false);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = true });
	r = finish(mr);
	wh_scope_close(&scope);
	return r;
}

static int run_phases(struct whi_mr *mr)
{
	uint64_t start = wh_now_ns();
	int r = map_all(mr);
	bool interrupted = r == -ECANCELED || r == -ETIMEDOUT;

	update_stats(mr);
	mr->stats.map_ns = since(&start);
	if (mr->job->partial && (r == 0 || interrupted)) {
		int finished = finish_shielded(mr);

		return finished < 0 ? finished : r;
	}
	return r < 0 ? r : finish(mr);
}

static int run_job(struct whi_mr *mr)
{
	struct wh_scope scope;
	struct wh_task *ticker;
	int r, closed;

	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, tick, mr, .ret_task = &ticker);
	if (r == 0) {
		r = run_phases(mr);
		/* cppcheck-suppress uninitvar; wh_spawn has filled it in */
		wh_task_cancel(ticker);
	}
	closed = wh_scope_close(&scope);
	return whi_mr_error(r, closed);
}

static int check(const struct wh_mr_job *job)
{
	bool has_bytes = job->value == WH_MR_BYTES;

	if (!job->paths && job->path_count)
		return -EINVAL;
	if ((job->combine || job->reduce) && !has_bytes)
		return -EINVAL;
	if ((job->records == WH_MR_CUSTOM) != (job->record != NULL))
		return -EINVAL;
	if (job->records > WH_MR_CUSTOM || job->value > WH_MR_BYTES || job->order > WH_MR_BY_VALUE)
		return -EINVAL;
	return 0;
}

static struct whi_mr *mr_new(const struct wh_mr_job *job, const struct whi_words_kernel *kernel)
{
	struct whi_mr *mr = whi_calloc(1, sizeof(*mr));

	if (!mr)
		return NULL;
	mr->store = whi_store_new();
	if (!mr->store) {
		whi_free(mr);
		return NULL;
	}
	mr->job = job;
	mr->stats.isa = kernel->name;
	mr->shared = (struct whi_mapper_job){
		.job = job,
		.kernel = kernel,
		.store = mr->store,
		.stop = &mr->stop,
		.l2_bytes = whi_cpu_l2_bytes(),
	};
	pthread_mutex_init(&mr->lock, NULL);
	return mr;
}

static void mr_free(struct whi_mr *mr)
{
	for (unsigned part = 0; part < WHI_PARTS; part++)
		whi_run_fini(&mr->runs[part]);
	while (mr->mappers) {
		struct whi_mapper *mapper = mr->mappers;

		mr->mappers = mapper->next;
		whi_mapper_free(mapper);
	}
	whi_input_fini(&mr->input);
	whi_store_free(mr->store);
	pthread_mutex_destroy(&mr->lock);
	whi_free(mr);
}

static int run_on(struct whi_mr *mr)
{
	const struct wh_mr_job *job = mr->job;
	struct wh_executor_opts opts = { .threads = job->workers, .name = "mapreduce" };
	int r;

	mr->executor = job->executor;
	if (!mr->executor) {
		r = wh_executor_open(&opts, &mr->executor);
		if (r < 0)
			return r;
	}
	mr->workers = wh_executor_threads(mr->executor);
	mr->stats.workers = mr->workers;
	r = run_job(mr);
	if (!job->executor)
		wh_executor_close(mr->executor);
	return r;
}

int wh_mapreduce(const struct wh_mr_job *job, struct wh_mr_stats *ret)
{
	const struct whi_words_kernel *kernel;
	struct whi_mr *mr;
	int r = check(job);

	if (ret)
		*ret = (struct wh_mr_stats){ 0 };
	if (r < 0)
		return r;
	r = whi_words_choose(job->isa, &kernel);
	if (r < 0)
		return r;
	mr = mr_new(job, kernel);
	if (!mr)
		return -ENOMEM;
	r = run_on(mr);
	if (ret)
		*ret = mr->stats;
	mr_free(mr);
	return r;
}
