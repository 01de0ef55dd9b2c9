/*
 * The runner of simulated worlds.
 *
 * Invariants
 * 1. Time stands still while a loop turns, and goes on a little after it, so that a task that only
 *    yields cannot stop it. When no loop has anything to do it jumps to the next event or timer.
 * 2. Which loop turns next is the seed's choice among those that have something to do.
 * 3. A world that is over leaves nothing behind but free stacks, for the thread's next world.
 */
#include "loop/sim.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sim_world.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/clock.h"
#include "task/overflow.h"

enum {
	BUF_COUNT = 64,
	CPUS = 2,
	EVENTS_MAX = 10000000,
	/* What tasks get to unwind when their world has come to a bad end. */
	LAST_STEPS = 200000,
	STACKS_KEPT_MAX = 1024,
};

#define TIME_MAX_NS (3600 * WH_SEC)
#define PAUSE_NS (50 * WH_MS)

static _Thread_local struct whi_sim *mine;

struct whi_sim *whi_sim_self(void)
{
	return mine;
}

/* Stacks, kept from one world of a thread to the next */

static pthread_key_t stacks_key;
static pthread_once_t stacks_once = PTHREAD_ONCE_INIT;

static void free_stacks(void *ptr)
{
	struct whi_stack_pool *stacks = ptr;

	for (unsigned i = 0; i < WH_SIM_HOSTS_MAX; i++)
		whi_sched_forget_stacks(&stacks[i]);
	whi_free(stacks);
}

static void make_stacks_key(void)
{
	pthread_key_create(&stacks_key, free_stacks);
}

/* NULL: out of memory; then every world has its own. */
static struct whi_stack_pool *kept_stacks(void)
{
	struct whi_stack_pool *stacks;

	pthread_once(&stacks_once, make_stacks_key);
	stacks = pthread_getspecific(stacks_key);
	if (stacks)
		return stacks;
	stacks = whi_calloc(WH_SIM_HOSTS_MAX, sizeof(*stacks));
	if (stacks)
		pthread_setspecific(stacks_key, stacks);
	return stacks;
}

static void limit_stacks(struct whi_stack_pool *stacks)
{
	uint32_t slots = 0;

	for (unsigned i = 0; i < WHI_STACK_SIZES; i++)
		slots += stacks->classes[i].slots;
	if (slots <= STACKS_KEPT_MAX)
		return;
	whi_sched_forget_stacks(stacks);
	stacks->head_bytes = 0;
}

/* Steps */

static struct whi_sim_ring *ring_of(const struct wh_loop *loop)
{
	return (struct whi_sim_ring *)(void *)loop->backend;
}

static bool is_ready(struct wh_loop *loop)
{
	return !whi_sched_idle(&loop->sched) || !whi_mpsc_empty(&loop->mailbox) ||
	       atomic_load_explicit(&loop->alerted, memory_order_relaxed) ||
	       whi_sim_ring_ready(ring_of(loop));
}

static void turn(struct whi_sim *sim, struct wh_loop *loop)
{
	struct whi_world *world = sim->world;

	whi_sim_hash(world, world->now_ns);
	whi_sim_hash(world, loop->index);
	world->events++;
	whi_sched_mine = &loop->sched;
	if (whi_loop_alerted(loop) && atomic_load(&sim->runtime.cancelled))
		whi_scope_cancel(&loop->sched.root, -ECANCELED);
	whi_loop_turn(loop, true);
	whi_sched_mine = NULL;
	world->now_ns += 200 + whi_rng_below(&world->schedule_rng, 800);
}

/* The n-th of the loops that may turn now; NULL: there are fewer, `*ret_count` of them. */
static struct wh_loop *nth_ready(struct whi_sim *sim, uint64_t n, uint32_t *ret_count)
{
	*ret_count = 0;
	for (unsigned i = 0; i < sim->runtime.loop_count; i++) {
		struct wh_loop *loop = sim->runtime.loops[i];

		if (sim->seats[i].paused_until_ns > sim->world->now_ns || !is_ready(loop))
			continue;
		if (n == (*ret_count)++)
			return loop;
	}
	return NULL;
}

/* When something happens next, if all loops wait. */
static uint64_t next_ns(struct whi_sim *sim)
{
	uint64_t next = whi_world_next_ns(sim->world);

	for (unsigned i = 0; i < sim->runtime.loop_count; i++) {
		struct wh_loop *loop = sim->runtime.loops[i];
		uint64_t at = is_ready(loop) ? sim->seats[i].paused_until_ns
					     : ring_of(loop)->wake_at_ns;

		next = at < next ? at : next;
	}
	return next;
}

/* False: nothing can happen any more. */
static bool step(struct whi_sim *sim)
{
	struct whi_world *world = sim->world;
	struct wh_loop *loop;
	uint64_t next, pause;
	uint32_t count, all;

	whi_world_run_due(world);
	nth_ready(sim, UINT64_MAX, &count);
	if (count == 0) {
		next = next_ns(sim);
		if (next == WHI_NEVER)
			return false;
		world->now_ns = next;
		return true;
	}
	loop = nth_ready(sim, whi_rng_below(&world->schedule_rng, count), &all);
	pause = whi_sim_strike(world, WHI_FAULT_PAUSE, NULL);
	if (pause)
		sim->seats[loop->index].paused_until_ns = world->now_ns + pause % PAUSE_NS;
	else
		turn(sim, loop);
	return true;
}

/* 0: all tasks have ended. */
static int run_until_end(struct whi_sim *sim, const struct wh_sim_opts *opts)
{
	uint64_t time_max = opts->time_max_ns ? opts->time_max_ns : TIME_MAX_NS;
	uint64_t events_max = opts->events_max ? opts->events_max : EVENTS_MAX;
	uint64_t end_ns = whi_clock_add(sim->world->now_ns, time_max);

	while (atomic_load(&sim->runtime.roots) > 0) {
		if (sim->world->events > events_max || sim->world->now_ns > end_ns)
			return -ETIME;
		if (!step(sim))
			return -EDEADLK;
	}
	return 0;
}

/* Checks */

static void check_loop(struct whi_sim *sim, struct wh_loop *loop)
{
	char text[128] = "";
	uint32_t pending = whi_sim_ring_pending(ring_of(loop), text, sizeof(text));

	if (pending)
		whi_sim_violation(sim->world, "host %u leaves %u operations in flight: %s, ...",
				  ring_of(loop)->host->index, pending, text);
	if (loop->bufs.lent)
		whi_sim_violation(sim->world, "host %u leaves %u receive buffers lent",
				  ring_of(loop)->host->index, loop->bufs.lent);
}

static void check_all(struct whi_sim *sim)
{
	for (unsigned i = 0; i < sim->runtime.loop_count; i++)
		check_loop(sim, sim->runtime.loops[i]);
	for (uint32_t i = 0; i < sim->world->host_count; i++)
		whi_sim_host_check(&sim->world->hosts[i]);
}

/* Loops */

static void root_task_ended(struct whi_scope *root, struct wh_task *task)
{
	struct wh_loop *loop = whi_loop_self();
	struct whi_sim_seat *seat = &mine->seats[loop->index];
	struct whi_list *node;

	(void)task;
	/* What fails on a machine that has crashed is nobody's failure. */
	whi_runtime_leave(loop->runtime, ring_of(loop)->host->down ? 0 : root->first_error);
	if (root->tasks_live > 0)
		return;
	while ((node = whi_list_pop(&seat->crashes)))
		whi_task_wake(&whi_container_of(node, struct whi_sim_crash, link)->wait);
}

static int open_loop(struct whi_sim *sim, unsigned index, struct whi_stack_pool *stacks)
{
	struct whi_loop_opts opts = sim->runtime.loop_opts;
	struct wh_loop *loop = sim->runtime.loops[index];
	int r;

	opts.backend_opts.sim_world = sim->world;
	opts.backend_opts.sim_index = index;
	opts.sched_opts.stacks = stacks && index < WH_SIM_HOSTS_MAX ? &stacks[index] : NULL;
	r = whi_loop_init(loop, &opts);
	if (r < 0)
		return r;
	loop->sched.root.task_ended = root_task_ended;
	whi_list_init(&sim->seats[index].crashes);
	whi_sched_mine = NULL;
	return 0;
}

static void close_loop(struct whi_sim *sim, unsigned index, struct whi_stack_pool *stacks,
		       bool abandon)
{
	struct wh_loop *loop = sim->runtime.loops[index];

	whi_sched_mine = &loop->sched;
	if (abandon) {
		whi_sim_ring_abandon(ring_of(loop));
		whi_sched_abandon(&loop->sched);
		if (stacks && index < WH_SIM_HOSTS_MAX)
			stacks[index].head_bytes = 0;
	}
	whi_loop_fini(loop);
	if (stacks && index < WH_SIM_HOSTS_MAX)
		limit_stacks(&stacks[index]);
}

/* Let tasks that have come to a bad end unwind. True: all did. */
static bool unwind(struct whi_sim *sim)
{
	struct whi_world *world = sim->world;

	world->over = true;
	world->calm_at_ns = 0;
	whi_runtime_cancel(&sim->runtime);
	for (unsigned i = 0; i < LAST_STEPS && atomic_load(&sim->runtime.roots) > 0; i++)
		if (!step(sim))
			break;
	return atomic_load(&sim->runtime.roots) == 0;
}

static void bad_end(struct whi_sim *sim, int status)
{
	struct whi_world *world = sim->world;
	size_t size = sizeof(world->text);

	if (world->broken || world->failed)
		return;
	snprintf(world->text, size, "%s; ",
		 status == -EDEADLK ? "nothing can happen any more"
				    : "it has not ended in the time it has");
	whi_sim_report_tasks(sim, world->text, size);
}

static int result_of(const struct whi_sim *sim, int status)
{
	int error = atomic_load(&sim->runtime.first_error);
	int result = sim->first->result;

	if (result >= 0 && error < 0)
		result = error;
	if (status < 0)
		return status;
	if (sim->world->broken)
		return -EPROTO;
	return sim->world->failed && result >= 0 ? -EBADMSG : result;
}

static void fill_report(const struct whi_sim *sim, struct wh_sim_report *report)
{
	const struct whi_world *world = sim->world;

	if (!report)
		return;
	report->result = sim->first->result;
	report->trace_hash = world->hash;
	report->duration_ns = world->now_ns - WHI_SIM_START_NS;
	report->events = world->events;
	report->ops = world->ops;
	report->decisions = world->decisions;
	report->faults_count = world->faults_count;
	memcpy(report->text, world->text, sizeof(report->text));
}

/* Last posts, and the last things that were asked of the kernel. */
static void last_turns(struct whi_sim *sim)
{
	for (unsigned i = 0; i < sim->runtime.loop_count; i++)
		turn(sim, sim->runtime.loops[i]);
}

static int run_loops(struct whi_sim *sim, wh_task_fn fn, void *arg, const struct wh_sim_opts *opts)
{
	struct wh_loop *loop = sim->runtime.loops[0];
	const struct wh_spawn_opts spawn = { .name = "main",
					     .file = "wh_sim_run",
					     .ret_task = &sim->first };
	struct whi_stack_pool *stacks = kept_stacks();
	bool abandon = false;
	unsigned opened = 0;
	int r = 0, status;

	for (; opened < sim->runtime.loop_count && r == 0; opened += r == 0)
		r = open_loop(sim, opened, stacks);
	atomic_store(&sim->runtime.roots, 1);
	if (r == 0)
		r = whi_task_spawn(&loop->sched.root, fn, arg, &spawn, &sim->first);
	if (r < 0)
		goto err;
	status = run_until_end(sim, opts);
	if (status == 0)
		last_turns(sim);
	if (status == 0)
		check_all(sim);
	else
		bad_end(sim, status);
	r = result_of(sim, status);
	fill_report(sim, opts->ret_report);
	if (status < 0)
		abandon = !unwind(sim);

err:
	sim->world->over = true;
	while (opened-- > 0)
		close_loop(sim, opened, stacks, abandon);
	return r;
}

/* Entry */

static int make(struct whi_sim *sim, uint64_t seed, const struct wh_sim_opts *opts,
		uint32_t rings_per_host)
{
	const struct wh_run_opts defaults = { 0 };
	struct wh_run_opts run = opts->run ? *opts->run : defaults;
	char text[WH_SIM_TEXT_MAX] = "";
	int r;

	if (opts->hosts > WH_SIM_HOSTS_MAX)
		return -EINVAL;
	run.loops = (opts->hosts ? opts->hosts : 1) * rings_per_host;
	run.buf_count = run.buf_count ? run.buf_count : BUF_COUNT;
	sim->runtime.choice.name = whi_backend_sim.name;
	r = whi_runtime_init(&sim->runtime, &run);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < CPUS; i++)
		CPU_SET(i, &sim->runtime.affinity);
	sim->seats = whi_calloc(run.loops, sizeof(sim->seats[0]));
	if (!sim->seats) {
		whi_runtime_fini(&sim->runtime);
		return -ENOMEM;
	}
	r = whi_world_new(seed, opts, rings_per_host, text, &sim->world);
	if (r == 0)
		return 0;
	if (opts->ret_report)
		memcpy(opts->ret_report->text, text, sizeof(text));
	whi_free(sim->seats);
	whi_runtime_fini(&sim->runtime);
	return r;
}

/* The whole of it, with a stack overflow of a task reported as wh_run does. */
static int run_reporting(struct whi_sim *sim, wh_task_fn fn, void *arg,
			 const struct wh_sim_opts *opts)
{
	void *alternate = NULL;
	int r;

	if (opts->run && opts->run->keep_signals)
		return run_loops(sim, fn, arg, opts);
	r = whi_overflow_catch();
	if (r < 0)
		return r;
	r = whi_overflow_thread_init(&alternate);
	if (r == 0)
		r = run_loops(sim, fn, arg, opts);
	whi_overflow_thread_fini(alternate);
	whi_overflow_uncatch();
	return r;
}

static int run_world(uint64_t seed, wh_task_fn fn, void *arg, const struct wh_sim_opts *opts,
		     uint32_t rings_per_host)
{
	struct whi_sim sim = { 0 };
	int r;

	if (opts->ret_report)
		memset(opts->ret_report, 0, sizeof(*opts->ret_report));
	if (mine || whi_sched_self())
		return -EBUSY;
	if (!whi_context_supported())
		return -ENOTSUP;
	r = make(&sim, seed, opts, rings_per_host);
	if (r < 0)
		return r;
	mine = &sim;
	whi_clock_virtual = &sim.world->now_ns;
	r = run_reporting(&sim, fn, arg, opts);
	whi_clock_virtual = NULL;
	mine = NULL;
	whi_world_free(sim.world);
	whi_free(sim.seats);
	whi_runtime_fini(&sim.runtime);
	return r;
}

int wh_sim_run(uint64_t seed, wh_task_fn fn, void *arg, const struct wh_sim_opts *opts)
{
	const struct wh_sim_opts defaults = { 0 };

	return run_world(seed, fn, arg, opts ? opts : &defaults, 1);
}

/* Bad ends of the world itself, which the program's result cannot say. */
static bool is_bad_end(int r, const struct wh_sim_report *report)
{
	return (r == -EDEADLK || r == -ETIME || r == -EPROTO) && report->text[0];
}

int whi_sim_run_program(wh_task_fn fn, void *arg, const struct wh_run_opts *opts, int *ret_result)
{
	struct wh_sim_report report = { 0 };
	struct wh_sim_opts sim_opts = {
		.run = opts,
		.ret_report = &report,
		.time_max_ns = WHI_NEVER,
		.events_max = UINT64_MAX,
	};
	const char *seed = getenv("WHORL_SIM_SEED");
	struct wh_backend_choice choice = { 0 };
	int r = run_world(seed ? strtoull(seed, NULL, 0) : 1, fn, arg, &sim_opts,
			  opts->loops ? opts->loops : 1);

	if (report.events == 0 && r < 0)
		return r;
	if (is_bad_end(r, &report)) {
		snprintf(choice.why, sizeof(choice.why), "%.255s", report.text);
		whi_advice_keep(r, &choice);
		return r;
	}
	if (ret_result)
		*ret_result = r;
	return 0;
}
