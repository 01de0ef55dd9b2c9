/* Owns a job from beginning to end: walk, map, and what finish.c does. Each phase ends before the
 * next one begins; within a phase workers share nothing but counters and the store.
 *
 * 1. `stop` is set once the job's scope is cancelled, so that work on threads ends as soon as tasks
 *    do. With `partial` it is cleared again for the phases after the map.
 * 2. Nothing of a job outlives wh_mapreduce: its tasks are in scopes that it closes. */
#include "mapreduce/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "arch/cpu.h"
#include "base/alloc.h"
#include "mapreduce/hash.h"

enum {
	PROGRESS_NS = 100 * 1000 * 1000,
	SPLIT_BYTES_MIN = 256 * 1024,
	SPLIT_BYTES_MAX = 4 * 1024 * 1024,
	SPLIT_BYTES_PROCESS = 16 * 1024 * 1024, /* what each finds is sent on its own */
	SPLITS_A_WORKER = 16,			/* so that workers finish together */
};

struct whi_mapper *whi_mr_pop_mapper(struct whi_mr *mr)
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
	struct whi_mapper *mapper = whi_mr_pop_mapper(mr);

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

void whi_mr_file_damaged(struct whi_mr *mr, struct whi_file *file, const struct whi_unpack *unpack)
{
	const struct wh_mr_damage damage = {
		.path = file->path ? file->path : "-",
		.format = unpack->format ? unpack->format->name : "compressed",
		.kind = unpack->damage,
		.at = unpack->pos,
	};

	if (!mr->job->damage || file->reported) {
		whi_mr_file_failed(mr, file, -EBADMSG);
		return;
	}
	file->reported = true;
	mr->stats.files_failed++;
	mr->job->damage(mr->job->arg, &damage);
}

void whi_mr_count_packed(struct whi_mr *mr, struct whi_packed *packed)
{
	atomic_fetch_add_explicit(&mr->bytes_done, whi_packed_progress(packed),
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&mr->bytes_unpacked, packed->made, memory_order_relaxed);
	packed->made = 0;
}

bool whi_mr_unpacks(const struct whi_mr *mr)
{
	return !mr->job->no_decompress && mr->job->records != WH_MR_FILES;
}

static void end_phase(struct whi_mr *mr)
{
	struct wh_mr_times *times = &mr->stats.times;
	uint64_t wall, cpu;

	if (!mr->job->explain)
		return;
	wall = wh_now_ns();
	cpu = whi_cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
	times->wall_ns[mr->stats.phase] += wall - mr->phase_wall_ns;
	times->cpu_ns[mr->stats.phase] += cpu - mr->phase_cpu_ns;
	mr->phase_wall_ns = wall;
	mr->phase_cpu_ns = cpu;
}

void whi_mr_phase(struct whi_mr *mr, enum wh_mr_phase phase, uint64_t total)
{
	end_phase(mr);
	mr->stats.phase = phase;
	mr->stats.phase_total = total;
	mr->stats.phase_began_ns = wh_now_ns();
	atomic_store_explicit(&mr->phase_done, 0, memory_order_relaxed);
}

static void update_stats(struct whi_mr *mr)
{
	mr->stats.phase_done = atomic_load_explicit(mr->stats.phase == WH_MR_MAP ? &mr->bytes_done
										 : &mr->phase_done,
						    memory_order_relaxed);
	mr->stats.bytes_unpacked = atomic_load_explicit(&mr->bytes_unpacked, memory_order_relaxed);
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

int whi_mr_on_workers(struct whi_mr *mr, wh_job_fn fn)
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

static int name_files(void *arg)
{
	struct whi_mr *mr = arg;

	return whi_input_name(&mr->input, mr->job, &mr->walk);
}

static int walk_share(void *arg)
{
	struct whi_mr *mr = arg;

	return whi_walk_share(&mr->walk);
}

static uint64_t split_bytes_max(const struct wh_mr_job *job)
{
	return job->processes ? SPLIT_BYTES_PROCESS : SPLIT_BYTES_MAX;
}

static int split(void *arg)
{
	struct whi_mr *mr = arg;
	const struct wh_mr_job *job = mr->job;
	uint64_t split_bytes = job->split_bytes;
	struct whi_cut cut = {
		.whole = job->records == WH_MR_FILES ||
			 (job->records == WH_MR_CUSTOM && !job->find),
		.by_content = job->records != WH_MR_FIXED,
		.unpack = whi_mr_unpacks(mr),
		.workers = mr->workers,
	};
	int r = job->resume_dir ? whi_resume_open(mr, &split_bytes, &cut.workers) : 0;

	if (r < 0)
		return r;
	if (!split_bytes) {
		split_bytes = mr->input.bytes / mr->workers / SPLITS_A_WORKER;
		if (split_bytes < SPLIT_BYTES_MIN)
			split_bytes = SPLIT_BYTES_MIN;
		if (split_bytes > split_bytes_max(job))
			split_bytes = split_bytes_max(job);
	}
	mr->split_bytes = split_bytes;
	mr->split_workers = cut.workers;
	/* Files of records of one length are cut between two of them. */
	if (job->records == WH_MR_FIXED)
		split_bytes += job->record_bytes - split_bytes % job->record_bytes;
	cut.split_bytes = split_bytes;
	/* Only splits are handed out, and remembered. */
	if (job->resume_dir || job->processes)
		cut.workers = 0;
	return whi_input_split(&mr->input, &cut, &mr->stop);
}

static void tell_plan(struct whi_mr *mr)
{
	const struct whi_input *input = &mr->input;
	const char *named = mr->job->isa ? mr->job->isa : getenv("WHORL_ISA");
	struct wh_mr_plan plan = {
		.files = input->file_count,
		.bytes = input->bytes,
		.splits = input->split_count,
		.split_bytes = mr->split_bytes,
		.memory_max = mr->spill.budget.max,
		.front_bytes = mr->shared.l2_bytes,
		.tmp_dir = mr->spill.file.dir,
		.isa = mr->stats.isa,
		.isa_chosen = named && *named,
		.workers = mr->workers,
	};

	for (size_t i = 0; i < input->file_count; i++) {
		plan.streams += input->files[i].is_stream;
		plan.compressed += input->files[i].packed;
	}
	mr->job->plan(mr->job->arg, &plan);
}

static int find_files(struct whi_mr *mr)
{
	int r;

	whi_walk_init(&mr->walk, &mr->input, &mr->stop, &mr->phase_done);
	r = whi_mr_offload(mr, name_files, mr);
	if (r == 0 && mr->walk.dir_count > 0)
		r = whi_mr_on_workers(mr, walk_share);
	if (r == 0)
		r = whi_mr_offload(mr, split, mr);
	whi_walk_fini(&mr->walk);
	return r;
}

static int map_files(void *arg)
{
	return whi_mr_map_files(arg);
}

static int map_all(struct whi_mr *mr)
{
	const struct wh_mr_job *job = mr->job;
	int r = find_files(mr);

	if (r < 0)
		return r;
	mr->stats.files = mr->input.file_count;
	mr->stats.bytes_total = mr->input.has_stream || job->generate ? 0 : mr->input.bytes;
	whi_mr_phase(mr, WH_MR_MAP, mr->stats.bytes_total);
	if (job->plan)
		tell_plan(mr);
	for (size_t i = 0; i < mr->input.file_count; i++)
		if (mr->input.files[i].error)
			whi_mr_file_failed(mr, &mr->input.files[i], mr->input.files[i].error);
	mr->end_split = mr->input.split_count;
	if (job->processes) {
		r = whi_mr_map_processes(mr);
		if (r == 0 && job->records == WH_MR_FILES)
			return whi_mr_map_whole_streams(mr);
		return r < 0 ? r : whi_mr_map_streams(mr);
	}
	if (job->records == WH_MR_FILES)
		return whi_mr_map_whole(mr);
	r = job->resume_dir ? whi_resume_map(mr, map_files, mr) : whi_mr_map_files(mr);
	if (r == 0)
		r = whi_mr_map_streams(mr);
	return r < 0 ? r : whi_mr_map_generated(mr);
}

static uint64_t since(uint64_t *start)
{
	uint64_t now = wh_now_ns(), passed = now - *start;

	*start = now;
	return passed;
}

/* Finish out of reach of a cancellation: what has been mapped will be put out. */
static int finish_shielded(struct whi_mr *mr)
{
	struct wh_scope scope;
	int r;

	mr->shielded = true;
	atomic_store(&mr->stop, false);
	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = true });
	r = whi_mr_finish(mr);
	wh_scope_close(&scope);
	return r;
}

static int run_phases(struct whi_mr *mr)
{
	uint64_t start = wh_now_ns();
	int r = map_all(mr);
	bool interrupted = r == -ECANCELED || r == -ETIMEDOUT;

	if (mr->job->records == WH_MR_NGRAMS)
		whi_mr_ngrams_mapped(mr);
	update_stats(mr);
	mr->stats.map_ns = since(&start);
	if (atomic_load(&mr->store->error))
		return whi_mr_spill_error(mr, r);
	if (mr->job->partial && (r == 0 || interrupted)) {
		int finished = finish_shielded(mr);

		return finished < 0 ? finished : r;
	}
	return r < 0 ? r : whi_mr_finish(mr);
}

static void begin_phases(struct whi_mr *mr)
{
	mr->stats.phase_began_ns = wh_now_ns();
	if (!mr->job->explain)
		return;
	mr->phase_wall_ns = wh_now_ns();
	mr->phase_cpu_ns = whi_cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static int run_job(struct whi_mr *mr)
{
	struct wh_scope scope;
	struct wh_task *ticker;
	int r, closed;

	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, tick, mr, .ret_task = &ticker);
	if (r == 0) {
		begin_phases(mr);
		r = run_phases(mr);
		end_phase(mr);
		/* cppcheck-suppress uninitvar; wh_spawn has filled it in */
		wh_task_cancel(ticker);
	}
	closed = wh_scope_close(&scope);
	return whi_mr_error(r, closed);
}

static int check(const struct wh_mr_job *job, struct whi_why *why,
		 const struct whi_words_kernel **ret)
{
	int r = whi_why_options(why, job);

	if (r < 0)
		return r;
	r = whi_words_choose(job->isa, ret);
	if (r == -EINVAL)
		whi_why(why, r,
			"no instruction set is called '%s' here: isa (--isa, WHORL_ISA) is avx512, "
			"avx2 or sse2 on x86-64, neon on aarch64, scalar on any",
			job->isa ? job->isa : getenv("WHORL_ISA"));
	if (r == -ENOTSUP)
		whi_why(why, r,
			"this processor lacks the instruction set '%s': leave out isa (--isa, "
			"WHORL_ISA)",
			job->isa ? job->isa : getenv("WHORL_ISA"));
	return r;
}

enum whi_combine whi_combine_of(const struct wh_mr_job *job)
{
	if (job->records == WH_MR_NGRAMS || job->exact)
		return WHI_COMBINE_ADD_EXACT;
	if (job->value == WH_MR_MIN)
		return WHI_COMBINE_MIN;
	return job->value == WH_MR_MAX ? WHI_COMBINE_MAX : WHI_COMBINE_ADD;
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
	mr->store->times = job->explain ? &mr->times : NULL;
	mr->stats.isa = kernel->name;
	mr->shared = (struct whi_mapper_job){
		.job = job,
		.kernel = kernel,
		.store = mr->store,
		.stop = &mr->stop,
		.ngram = &mr->ngram,
		.why = &mr->why,
		.times = mr->store->times,
		.l2_bytes = whi_cpu_l2_bytes(),
	};
	whi_words_rule_init(&mr->shared.rule, job->words);
	mr->store->combine = whi_combine_of(job);
	pthread_mutex_init(&mr->lock, NULL);
	whi_spill_file_init(&mr->spill.file, NULL);
	mr->resume.dir_fd = -1;
	mr->resume.lock_fd = -1;
	return mr;
}

static void mr_free(struct whi_mr *mr)
{
	for (unsigned part = 0; part < WHI_PARTS; part++)
		whi_runs_fini(&mr->runs[part]);
	whi_slices_free(mr->slices);
	while (mr->mappers) {
		struct whi_mapper *mapper = mr->mappers;

		mr->mappers = mapper->next;
		whi_mapper_free(mapper);
	}
	whi_input_fini(&mr->input);
	whi_store_free(mr->store);
	whi_spill_fini(&mr->spill);
	whi_resume_fini(&mr->resume);
	pthread_mutex_destroy(&mr->lock);
	whi_free(mr);
}

/* The budget, and what workers may have of it. A folder that was asked for is tried at once. */
static int start_spill(struct whi_mr *mr)
{
	struct whi_spill *spill = &mr->spill;
	int r = 0;

	whi_spill_init(spill, mr->job, mr->workers, &mr->stop);
	mr->store->spill = spill;
	mr->store->block_room = whi_spill_block_room(spill);
	mr->store->pool_most = whi_spill_pool_most(spill);
	mr->store->merge_most = whi_spill_merge_most(spill);
	mr->shared.l2_bytes = whi_spill_front_bytes(spill, mr->shared.l2_bytes);
	if (mr->job->tmp_dir)
		r = whi_spill_file_make(&spill->file);
	return whi_mr_spill_error(mr, r);
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
	r = start_spill(mr);
	if (r == 0)
		r = run_job(mr);
	whi_mr_spill_stats(mr);
	if (!job->executor)
		wh_executor_close(mr->executor);
	return r;
}

int wh_mapreduce(const struct wh_mr_job *job, struct wh_mr_stats *ret)
{
	const struct whi_words_kernel *kernel;
	struct whi_why why = { 0 };
	struct whi_mr *mr;
	int r = check(job, &why, &kernel);

	if (ret)
		*ret = (struct wh_mr_stats){ 0 };
	if (r < 0 && ret)
		memcpy(ret->why, why.text, sizeof(ret->why));
	if (r < 0)
		return r;
	mr = mr_new(job, kernel);
	if (!mr)
		return -ENOMEM;
	whi_hash_begin();
	r = run_on(mr);
	whi_hash_end();
	memcpy(mr->stats.why, mr->why.text, sizeof(mr->stats.why));
	if (ret)
		*ret = mr->stats;
	mr_free(mr);
	return r;
}
