/*
 * The runtime. wh_run opens one loop on the calling thread and the others on threads of their own;
 * each turns until no root task is left anywhere.
 *
 * Invariants
 * 1. A root task is counted from before it is posted until it has ended. Whoever adds to the count
 *    finds it above 0, so once it is 0 it stays 0, and all loops stop.
 * 2. The first failure of a root task, like a signal, cancels the root scopes of all loops.
 * 3. No loop closes its backend before all have stopped turning: they may wake each other until
 *    then.
 */
#include "loop/runtime.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "loop/sim.h"
#include "task/overflow.h"

enum {
	LOOPS_MAX = 1024,
	STACK_BYTES = 64 * 1024,
	TASKS_MAX = 4 * 1024 * 1024,
	OPS_MAX = 4 * 1024 * 1024,
	SQ_ENTRIES = 256,
	CQ_ENTRIES = 4096,
	ENTRIES_MAX = 32768,
	BUF_COUNT = 1024,
	BUF_BYTES = 4096,
	BUF_BYTES_MAX = 1 << 26,
	STACKS_WARM = 1024,
};

const struct whi_runtime_hook *whi_runtime_hook;

bool whi_runtime_enter(struct whi_runtime *runtime)
{
	uint64_t roots = atomic_load(&runtime->roots);

	while (roots > 0)
		if (atomic_compare_exchange_weak(&runtime->roots, &roots, roots + 1))
			return true;
	return false;
}

void whi_runtime_cancel(struct whi_runtime *runtime)
{
	atomic_store(&runtime->cancelled, true);
	for (unsigned i = 0; i < runtime->loop_count; i++)
		whi_loop_alert(runtime->loops[i]);
}

void whi_runtime_leave(struct whi_runtime *runtime, int error)
{
	int none = 0;

	if (error < 0) {
		atomic_compare_exchange_strong(&runtime->first_error, &none, error);
		whi_runtime_cancel(runtime);
	}
	if (atomic_fetch_sub(&runtime->roots, 1) > 1)
		return;
	for (unsigned i = 0; i < runtime->loop_count; i++)
		whi_loop_alert(runtime->loops[i]);
}

static void root_task_ended(struct whi_scope *root, struct wh_task *task)
{
	struct wh_loop *loop = whi_loop_self();

	(void)task;
	whi_runtime_leave(loop->runtime, root->first_error);
}

/* One loop's life */

static void turn_until_end(struct wh_loop *loop)
{
	struct whi_runtime *runtime = loop->runtime;
	int r = 0;

	while (atomic_load(&runtime->roots) > 0 && r == 0) {
		if (whi_loop_alerted(loop) && atomic_load(&runtime->cancelled))
			whi_scope_cancel(&loop->sched.root, -ECANCELED);
		r = whi_loop_turn(loop, true);
	}
	/* Hand over the last wake-ups for other loops, and run the last posts. */
	if (r == 0)
		r = whi_loop_turn(loop, false);
	if (r < 0)
		whi_die("whorl: loop %u: the kernel gave up on io_uring: %s", loop->index,
			strerror(-r));
}

/* To the index-th CPU that the process may use. */
static void pin_thread(const cpu_set_t *allowed, unsigned index)
{
	unsigned cpu = 0;
	cpu_set_t one;

	if (CPU_COUNT(allowed) == 0)
		return;
	index %= (unsigned)CPU_COUNT(allowed);
	for (;; cpu++)
		if (CPU_ISSET(cpu, allowed) && index-- == 0)
			break;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static int open_loop(struct whi_runtime *runtime, unsigned index)
{
	struct wh_loop *loop = runtime->loops[index];
	int r;

	if (runtime->pin)
		pin_thread(&runtime->affinity, index);
	r = whi_loop_init(loop, &runtime->loop_opts);
	if (r < 0)
		return r;
	loop->sched.root.task_ended = root_task_ended;
	return 0;
}

/* Say that this loop has opened, or could not; wait for the verdict over all. */
static enum whi_runtime_phase agree(struct whi_runtime *runtime, int r)
{
	enum whi_runtime_phase phase;

	pthread_mutex_lock(&runtime->lock);
	if (r < 0 && runtime->open_error == 0)
		runtime->open_error = r;
	if (--runtime->opening == 0) {
		runtime->phase = runtime->open_error ? WHI_RUNTIME_FAILED : WHI_RUNTIME_RUNNING;
		pthread_cond_broadcast(&runtime->changed);
	}
	while (runtime->phase == WHI_RUNTIME_OPENING)
		pthread_cond_wait(&runtime->changed, &runtime->lock);
	phase = runtime->phase;
	pthread_mutex_unlock(&runtime->lock);
	return phase;
}

/* `r` is how starting the thread went. */
static void live(struct whi_runtime *runtime, unsigned index, int r)
{
	struct wh_loop *loop = runtime->loops[index];

	if (r == 0)
		r = open_loop(runtime, index);
	if (agree(runtime, r) == WHI_RUNTIME_RUNNING) {
		turn_until_end(loop);
		pthread_barrier_wait(&runtime->turned);
	}
	if (r == 0)
		whi_loop_fini(loop);
}

static void *loop_thread(void *arg)
{
	struct wh_loop *loop = arg;
	void *alternate = NULL;

	int r = whi_overflow_thread_init(&alternate);

	live(loop->runtime, loop->index, r);
	whi_overflow_thread_fini(alternate);
	return NULL;
}

static unsigned start_threads(struct whi_runtime *runtime)
{
	unsigned i = 1;

	for (; i < runtime->loop_count; i++) {
		int r = pthread_create(&runtime->threads[i], NULL, loop_thread, runtime->loops[i]);

		if (r == 0)
			continue;
		/* It and the ones after it count as loops that could not be opened. */
		pthread_mutex_lock(&runtime->lock);
		runtime->open_error = -r;
		runtime->opening -= runtime->loop_count - i;
		pthread_mutex_unlock(&runtime->lock);
		break;
	}
	return i;
}

/* Options */

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
	return value ? value : fallback;
}

static unsigned cpus_allowed(void)
{
	cpu_set_t allowed;
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
		return (unsigned)CPU_COUNT(&allowed);
	return online > 0 ? (unsigned)online : 1;
}

static bool opts_valid(const struct whi_loop_opts *opts, unsigned loop_count)
{
	uint32_t bufs = opts->buf_count;

	return loop_count <= LOOPS_MAX && opts->backend &&
	       opts->backend_opts.sq_entries <= ENTRIES_MAX &&
	       opts->backend_opts.cq_entries <= 2 * ENTRIES_MAX && bufs <= WHI_BUFS_MAX &&
	       (bufs & (bufs - 1)) == 0 && opts->buf_bytes <= BUF_BYTES_MAX &&
	       opts->sched_opts.stack_bytes >= (size_t)1 << WHI_STACK_MIN_SHIFT &&
	       opts->sched_opts.stack_bytes <= (size_t)1 << WHI_STACK_MAX_SHIFT;
}

static int choose_backend(struct whi_runtime *runtime, const struct wh_run_opts *opts)
{
	const struct wh_backend_choice nothing = { 0 };
	int r = whi_backend_choose(opts, &runtime->choice);

	whi_advice_keep(r, r < 0 ? &runtime->choice : &nothing);
	return r;
}

/* A loop could not open the backend that was asked for. */
static void explain_refusal(const struct whi_runtime *runtime, int err)
{
	struct wh_backend_choice choice = { 0 };

	if (strcmp(runtime->choice.name, "uring") != 0)
		return;
	whi_uring_explain(err, &choice);
	whi_advice_keep(err, &choice);
}

static int read_opts(struct whi_runtime *runtime, const struct wh_run_opts *opts)
{
	runtime->loop_count = or_default(opts->loops, cpus_allowed());
	runtime->pin = opts->pin;
	runtime->loop_opts = (struct whi_loop_opts){
		.backend = whi_backend_find(runtime->choice.name),
		.backend_opts.uring_off = opts->uring_off,
		.backend_opts.restrict_ops = opts->restrict_ops,
		.backend_opts.sq_entries = or_default(opts->sq_entries, SQ_ENTRIES),
		.backend_opts.cq_entries = or_default(opts->cq_entries, CQ_ENTRIES),
		.backend_opts.ops_max = or_default(opts->ops_max, OPS_MAX),
		.sched_opts.stack_bytes = opts->stack_bytes ? opts->stack_bytes : STACK_BYTES,
		.sched_opts.tasks_max = or_default(opts->tasks_max, TASKS_MAX),
		.sched_opts.stacks_warm = or_default(opts->stacks_warm, STACKS_WARM),
		.buf_count = or_default(opts->buf_count, BUF_COUNT),
		.buf_bytes = or_default(opts->buf_bytes, BUF_BYTES),
	};
	return opts_valid(&runtime->loop_opts, runtime->loop_count) ? 0 : -EINVAL;
}

/* The whole */

static void free_loops(struct whi_runtime *runtime)
{
	for (unsigned i = 0; runtime->loops && i < runtime->loop_count; i++)
		whi_free(runtime->loops[i]);
	whi_free(runtime->loops);
	whi_free(runtime->threads);
}

static int alloc_loops(struct whi_runtime *runtime)
{
	runtime->loops = whi_calloc(runtime->loop_count, sizeof(*runtime->loops));
	runtime->threads = whi_calloc(runtime->loop_count, sizeof(*runtime->threads));
	if (!runtime->loops || !runtime->threads)
		goto err;
	for (unsigned i = 0; i < runtime->loop_count; i++) {
		struct wh_loop *loop = whi_aligned_alloc(64, sizeof(*loop));

		if (!loop)
			goto err;
		memset(loop, 0, sizeof(*loop));
		loop->index = i;
		loop->runtime = runtime;
		runtime->loops[i] = loop;
	}
	return 0;

err:
	free_loops(runtime);
	return -ENOMEM;
}

int whi_runtime_init(struct whi_runtime *runtime, const struct wh_run_opts *opts)
{
	int r = read_opts(runtime, opts);

	return r < 0 ? r : alloc_loops(runtime);
}

void whi_runtime_fini(struct whi_runtime *runtime)
{
	free_loops(runtime);
}

static int run_first(struct whi_runtime *runtime, wh_task_fn fn, void *arg, int *ret_result)
{
	struct wh_loop *loop = runtime->loops[0];
	struct wh_task *first = NULL;
	const struct wh_spawn_opts opts = { .name = "main", .file = "wh_run", .ret_task = &first };
	int r = open_loop(runtime, 0);
	int spawned;

	if (agree(runtime, r) == WHI_RUNTIME_FAILED) {
		if (r == 0)
			whi_loop_fini(loop);
		return runtime->open_error;
	}
	spawned = whi_task_spawn(&loop->sched.root, fn, arg, &opts, &first);
	if (spawned < 0)
		whi_runtime_leave(runtime, spawned);
	turn_until_end(loop);
	pthread_barrier_wait(&runtime->turned);
	if (spawned == 0) {
		int error = atomic_load(&runtime->first_error);

		*ret_result = first->result >= 0 && error < 0 ? error : first->result;
	}
	whi_loop_fini(loop);
	return spawned;
}

static int run(struct whi_runtime *runtime, wh_task_fn fn, void *arg, int *ret_result)
{
	unsigned started;
	int r;

	pthread_mutex_init(&runtime->lock, NULL);
	pthread_cond_init(&runtime->changed, NULL);
	pthread_barrier_init(&runtime->turned, NULL, runtime->loop_count);
	runtime->opening = runtime->loop_count;
	atomic_store(&runtime->roots, 1);
	started = start_threads(runtime);
	r = run_first(runtime, fn, arg, ret_result);
	while (--started > 0)
		pthread_join(runtime->threads[started], NULL);
	pthread_barrier_destroy(&runtime->turned);
	pthread_cond_destroy(&runtime->changed);
	pthread_mutex_destroy(&runtime->lock);
	return r;
}

static int run_with_signals(struct whi_runtime *runtime, wh_task_fn fn, void *arg, int *ret_result)
{
	void *alternate = NULL;
	int r = whi_overflow_catch();

	if (r < 0)
		return r;
	r = whi_overflow_thread_init(&alternate);
	if (r < 0)
		goto err_overflow;
	r = whi_signals_catch(runtime);
	if (r < 0)
		goto err_alternate;
	r = run(runtime, fn, arg, ret_result);
	whi_signals_uncatch();

err_alternate:
	whi_overflow_thread_fini(alternate);
err_overflow:
	whi_overflow_uncatch();
	return r;
}

void whi_runtime_affinity(cpu_set_t *ret)
{
	struct wh_loop *loop = whi_loop_self();

	CPU_ZERO(ret);
	if (loop)
		*ret = loop->runtime->affinity;
	else
		sched_getaffinity(0, sizeof(*ret), ret);
}

unsigned whi_runtime_cpus(void)
{
	cpu_set_t cpus;

	whi_runtime_affinity(&cpus);
	return CPU_COUNT(&cpus) ? (unsigned)CPU_COUNT(&cpus) : 1;
}

int wh_run(wh_task_fn fn, void *arg, const struct wh_run_opts *opts, int *ret_result)
{
	const struct wh_run_opts defaults = { 0 };
	struct whi_runtime runtime = { 0 };
	int result = 0;
	int r;

	if (whi_sched_self() || whi_sim_self())
		return -EBUSY;
	if (!whi_context_supported())
		return -ENOTSUP;
	opts = opts ? opts : &defaults;
	r = choose_backend(&runtime, opts);
	if (r < 0)
		return r;
	if (strcmp(runtime.choice.name, "sim") == 0)
		return whi_sim_run_program(fn, arg, opts, ret_result);
	r = whi_runtime_init(&runtime, opts);
	if (r < 0)
		return r;
	sched_getaffinity(0, sizeof(runtime.affinity), &runtime.affinity);
	if (whi_runtime_hook)
		whi_runtime_hook->begins(opts->processes);
	r = opts->keep_signals ? run(&runtime, fn, arg, &result)
			       : run_with_signals(&runtime, fn, arg, &result);
	if (whi_runtime_hook)
		whi_runtime_hook->ends();
	if (opts->pin)
		sched_setaffinity(0, sizeof(runtime.affinity), &runtime.affinity);
	free_loops(&runtime);
	if (r < 0)
		explain_refusal(&runtime, r);
	if (r == 0 && ret_result)
		*ret_result = result;
	return r;
}
