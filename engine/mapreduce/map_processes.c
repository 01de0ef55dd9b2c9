/* Owns the jobs that are mapped in other processes: tasks of the caller's loop that each take the
 * next split, have a process map it, and give what it found to the store.
 *
 * A process that dies takes one split along, which another one then does again. Nothing of a split
 * is in the store before all of it is. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <whorl/pool.h>
#include <whorl/scope.h>
#include <whorl/sim.h>
#include <whorl/task.h>

#include "base/alloc.h"
#include "mapreduce/job.h"
#include "mapreduce/remote.h"

enum {
	CALLS_A_PROCESS = 2, /* so that none waits for this process */
	BLOCKS_A_CALL = 16,
};

struct caller {
	struct whi_mr *mr;
	struct wh_executor *pool;
	int plan;
	struct whi_remote_split split;
	struct whi_remote_done done;
	int records; /* the descriptor of the answer's records */
};

/* On a worker. */
static int give_records(void *arg)
{
	struct caller *caller = arg;
	struct whi_mapper *mapper = whi_mr_take_mapper(caller->mr);
	int r;

	if (!mapper)
		return -ENOMEM;
	r = whi_remote_read(&mapper->writer, caller->records);
	whi_mr_put_mapper(caller->mr, mapper);
	return r;
}

static int poisoned(struct caller *caller, const struct wh_call *call, int error)
{
	const struct whi_split *split = &caller->split.split;
	const char *path = caller->mr->input.files[split->file].path;
	char end[64];

	if (call->death.signal)
		snprintf(end, sizeof(end), "signal %d", call->death.signal);
	else
		snprintf(end, sizeof(end), "exit status %d", call->death.exit_code);
	if (caller->split.block_count)
		return whi_why(&caller->mr->why, error,
			       "%u processes died of blocks %" PRIu64 " to %" PRIu64
			       " (%s): not tried again",
			       call->attempts, caller->split.block,
			       caller->split.block + caller->split.block_count - 1, end);
	if (split->file_count > 1)
		return whi_why(&caller->mr->why, error,
			       "%u processes died (%s) of %s or one of the %zu files after it: not "
			       "tried again",
			       call->attempts, end, path, split->file_count - 1);
	return whi_why(&caller->mr->why, error,
		       "%u processes died (%s) of %s from byte %" PRIu64 " on: not tried again",
		       call->attempts, end, path, split->begin);
}

/* Have a process do `caller->split`. */
static int call_process(struct caller *caller)
{
	struct wh_call call = {
		.job = WHI_REMOTE_JOB,
		.args = &caller->split,
		.args_len = sizeof(caller->split),
		.result = &caller->done,
		.result_max = sizeof(caller->done),
		.args_fd = caller->plan,
		.idempotent = true,
	};
	int result = 0;
	int r = wh_offload_opts(caller->pool, wh_job_run, &call,
				&(struct wh_offload_opts){ .kill = true }, &result);

	caller->records = call.result_fd;
	if (r < 0 && call.death.signal + call.death.exit_code > 0 && wh_cancelled() == 0)
		return poisoned(caller, &call, r);
	if (r < 0)
		return r;
	if (result < 0 && call.result_len == sizeof(caller->done) && caller->done.why[0])
		whi_why(&caller->mr->why, result, "%s", caller->done.why);
	return result;
}

static void tell_wrong(struct whi_mr *mr, const struct whi_remote_wrong *wrong)
{
	struct whi_file *file = &mr->input.files[wrong->file];
	struct whi_decompressor format = { .name = wrong->format };
	struct whi_unpack unpack = {
		.pos = wrong->at,
		.format = wrong->format[0] ? &format : NULL,
		.damage = wrong->damage,
	};

	if (wrong->error == -EBADMSG)
		whi_mr_file_damaged(mr, file, &unpack);
	else
		whi_mr_file_failed(mr, file, wrong->error);
}

static void take_times(struct whi_mr *mr, const struct whi_remote_done *done)
{
	struct whi_front_times *times = &mr->remote_times;

	for (unsigned step = 0; step < WHI_STEPS; step++)
		atomic_fetch_add_explicit(&mr->times.ns[step], done->step_ns[step],
					  memory_order_relaxed);
	times->tokenize_ns += done->front.tokenize_ns;
	times->count_ns += done->front.count_ns;
	times->counted += done->front.counted;
	times->entered += done->front.entered;
	mr->stats.times.cpu_ns[WH_MR_MAP] += done->cpu_ns;
}

static void take_numbers(struct caller *caller)
{
	const struct whi_remote_done *done = &caller->done;
	struct whi_mr *mr = caller->mr;

	mr->stats.records += done->records;
	take_times(mr, done);
	atomic_fetch_add_explicit(&mr->bytes_done, done->bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&mr->bytes_unpacked, done->unpacked, memory_order_relaxed);
	for (uint32_t i = 0; i < done->wrong_count; i++)
		tell_wrong(mr, &done->wrong[i]);
}

/* Whether the lines that it met are of the version that others have met. */
static bool fits_version(struct caller *caller)
{
	int known = WH_MR_NGRAM_DETECT, version = (int)caller->done.ngrams.version;

	return !version ||
	       atomic_compare_exchange_strong(&caller->mr->ngram.version, &known, version) ||
	       known == version;
}

static void forget_answer(struct caller *caller)
{
	if (caller->records)
		close(caller->records);
	caller->records = 0;
}

/* As call_process. Lines of two versions that were met at once: those that were told last are done
 * again, now as bad ones. */
static int call_for_version(struct caller *caller)
{
	struct whi_mr *mr = caller->mr;
	int r;

	do {
		forget_answer(caller);
		caller->split.ngram_version = (uint64_t)atomic_load(&mr->ngram.version);
		r = call_process(caller);
	} while (r == 0 && !fits_version(caller));
	if (r == 0 || r == -EBADMSG)
		whi_mr_ngrams_add(mr, &mr->ngrams_told, &caller->done.ngrams);
	return r;
}

static int map_once(struct caller *caller)
{
	int r = call_for_version(caller);

	if (r == 0)
		r = whi_mr_offload(caller->mr, give_records, caller);
	if (r == 0)
		take_numbers(caller);
	forget_answer(caller);
	return r;
}

static int map_split(struct caller *caller, const struct whi_split *split)
{
	struct whi_split *left = &caller->split.split;
	int r = 0;

	*left = *split;
	while (r == 0 && left->file_count > 0) {
		uint64_t end = left->file + left->file_count;

		r = map_once(caller);
		left->file = caller->done.file_end;
		left->file_count = end - left->file;
	}
	return r;
}

static int map_blocks(struct caller *caller)
{
	struct whi_mr *mr = caller->mr;
	uint64_t begin = mr->next_block, left = mr->end_block - begin;
	int r;

	caller->split.block = begin;
	caller->split.block_count = left < BLOCKS_A_CALL ? left : BLOCKS_A_CALL;
	mr->next_block += caller->split.block_count;
	r = map_once(caller);
	if (r == 0 && caller->done.block_end < mr->end_block)
		mr->end_block = caller->done.block_end;
	return r;
}

static int call_all(void *arg)
{
	const struct caller *first = arg;
	struct whi_mr *mr = first->mr;
	struct caller *caller = whi_alloc(sizeof(*caller));
	int r = 0;

	if (!caller)
		return -ENOMEM;
	*caller = *first;
	while (r == 0 && mr->next_split < mr->end_split)
		r = map_split(caller, &mr->input.splits[mr->next_split++]);
	while (r == 0 && mr->next_block < mr->end_block)
		r = map_blocks(caller);
	whi_free(caller);
	return r;
}

static int map_on(void *arg)
{
	struct caller *caller = arg;
	unsigned calls = wh_executor_threads(caller->pool) * CALLS_A_PROCESS;
	struct wh_scope scope;
	int r = 0, closed;

	wh_scope_open(&scope, NULL);
	for (unsigned i = 0; i < calls && r == 0; i++)
		r = wh_spawn(&scope, call_all, caller);
	if (r < 0)
		wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	return whi_mr_error(r, closed);
}

static int open_failed(struct whi_mr *mr, int r)
{
	if (r == -ENOEXEC)
		whi_why(&mr->why, r,
			"processes need a main that begins with wh_jobs_main(): add it");
	else
		whi_why(&mr->why, r, "the processes cannot be started");
	return r;
}

static void take_stats(struct whi_mr *mr, struct wh_executor *pool)
{
	struct wh_pool_stats stats;

	wh_pool_stats(pool, &stats);
	mr->stats.processes_died = stats.died;
}

int whi_mr_map_processes(struct whi_mr *mr)
{
	const struct wh_mr_job *job = mr->job;
	struct caller *caller;
	int r;

	mr->end_block = !job->generate ? 0 : job->generate_count ? job->generate_count : UINT64_MAX;
	if (mr->input.split_count == 0 && mr->end_block == 0)
		return 0;
	/* What stands for processes there shares memory, and what it has of a job with it. */
	if (wh_sim_active())
		return whi_why(&mr->why, -EOPNOTSUPP,
			       "there are no processes in a simulated world: leave processes out");
	caller = whi_calloc(1, sizeof(*caller));
	if (!caller)
		return -ENOMEM;
	caller->mr = mr;
	caller->split.job = wh_now_ns();
	r = wh_pool_open(&(struct wh_pool_opts){ .processes = job->processes }, &caller->pool);
	if (r < 0) {
		whi_free(caller);
		return open_failed(mr, r);
	}
	r = caller->plan = whi_remote_plan(&mr->shared, &mr->input, caller->split.job);
	if (r >= 0) {
		r = job->resume_dir ? whi_resume_map(mr, map_on, caller) : map_on(caller);
		close(caller->plan);
	}
	take_stats(mr, caller->pool);
	wh_executor_close(caller->pool);
	whi_free(caller);
	return r;
}
