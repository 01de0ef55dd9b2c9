/*
 * whorl sim: many seeds, in worker processes that each take the next seed, run it, and add up.
 *
 * Invariants
 * 1. What workers have to say lies in shared memory, each in a slot of its own; a worker that died
 *    leaves its sums there, and its successor goes on with them.
 * 2. Seeds are taken in ascending order. Without keep_going none above a failed one is begun, and
 *    all below are finished: so the lowest failure is found, however many workers there are.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "sim.h"

#define LOOK_NS (200 * WH_MS)

/* Of one worker. It writes, the parent reads. */
struct slot {
	_Alignas(64) _Atomic uint64_t index; /* of the seed it runs */
	_Atomic uint64_t since_ns;	     /* when it began; 0: it runs none */
	_Atomic uint64_t seeds;
	uint64_t events, ops, decisions, faults, hash;
	pid_t pid; /* the parent's; 0: not running */
};

struct pool {
	const struct sim_plan *plan;
	uint64_t count;	       /* seeds */
	_Atomic uint64_t next; /* index of the seed to take */
	_Atomic uint64_t stop; /* take none from here on */
	_Atomic uint64_t failures;
	uint64_t failed[SIM_FAILURES_MAX]; /* indices */
	struct slot slots[];
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * WH_SEC + (uint64_t)ts.tv_nsec;
}

/* The finisher of MurmurHash3 (Austin Appleby): sums of these tell sets of pairs apart. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
	x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
	return x ^ x >> 33;
}

static void note_failure(struct pool *pool, uint64_t index)
{
	uint64_t place = atomic_fetch_add(&pool->failures, 1);
	uint64_t stop = atomic_load(&pool->stop);

	if (place < SIM_FAILURES_MAX)
		pool->failed[place] = index;
	while (!pool->plan->keep_going && index < stop)
		if (atomic_compare_exchange_weak(&pool->stop, &stop, index))
			break;
}

/* A worker's life */

static void run_seed(struct pool *pool, struct slot *slot, uint64_t index)
{
	uint64_t seed = pool->plan->first + index;
	const struct wh_sim_scenario *scenario = pool->plan->scenario;
	struct wh_sim_opts opts = sim_opts(pool->plan);
	struct wh_sim_report report = { 0 };

	opts.ret_report = &report;
	if (wh_sim_run(seed, scenario->fn, scenario->arg, &opts) < 0)
		note_failure(pool, index);
	slot->events += report.events;
	slot->ops += report.ops;
	slot->decisions += report.decisions;
	slot->faults += report.faults_count;
	slot->hash += mix(mix(seed) ^ report.trace_hash);
	atomic_fetch_add(&slot->seeds, 1);
}

static void work(struct pool *pool, struct slot *slot)
{
	uint64_t index;

	while ((index = atomic_fetch_add(&pool->next, 1)) < atomic_load(&pool->stop)) {
		atomic_store(&slot->index, index);
		atomic_store(&slot->since_ns, now_ns());
		run_seed(pool, slot, index);
		atomic_store(&slot->since_ns, 0);
	}
}

static int start_worker(struct pool *pool, struct slot *slot)
{
	pid_t pid;

	fflush(NULL);
	atomic_store(&slot->since_ns, 0);
	pid = fork();
	if (pid == 0) {
		sim_child_begin();
		work(pool, slot);
		fflush(NULL);
		_exit(0);
	}
	slot->pid = pid > 0 ? pid : 0;
	if (pid > 0)
		return 0;
	cli_error("sim: cannot make a process: %s", strerror(errno));
	return -1;
}

/* The parent */

/* True while it runs. A worker that died is replaced, its seed has failed. */
static bool look_after(struct pool *pool, struct slot *slot)
{
	uint64_t since_ns = atomic_load(&slot->since_ns);
	int status;

	if (slot->pid == 0)
		return false;
	if (since_ns != 0 && now_ns() - since_ns > pool->plan->patience_ns)
		kill(slot->pid, SIGKILL);
	if (waitpid(slot->pid, &status, WNOHANG) == 0)
		return true;
	slot->pid = 0;
	if (atomic_load(&slot->since_ns) == 0)
		return false;
	note_failure(pool, atomic_load(&slot->index));
	atomic_fetch_add(&slot->seeds, 1);
	return start_worker(pool, slot) == 0;
}

static void say_progress(const struct pool *pool, uint64_t start_ns)
{
	uint64_t done = 0;
	double seconds = (double)(now_ns() - start_ns) / 1e9;

	for (unsigned i = 0; i < pool->plan->jobs; i++)
		done += atomic_load(&pool->slots[i].seeds);
	fprintf(stderr, "\r%s: %llu of %llu seeds, %.0f a second\033[K", pool->plan->scenario->name,
		(unsigned long long)done, (unsigned long long)pool->count, (double)done / seconds);
}

static void run_workers(struct pool *pool)
{
	uint64_t start_ns = now_ns(), said_ns = start_ns;
	unsigned running = 0;

	for (unsigned i = 0; i < pool->plan->jobs; i++)
		running += start_worker(pool, &pool->slots[i]) == 0;
	while (running > 0) {
		sim_child_wait(LOOK_NS);
		running = 0;
		for (unsigned i = 0; i < pool->plan->jobs; i++)
			running += look_after(pool, &pool->slots[i]);
		if (pool->plan->progress && now_ns() - said_ns >= LOOK_NS) {
			said_ns = now_ns();
			say_progress(pool, start_ns);
		}
	}
	if (pool->plan->progress)
		fputs("\r\033[K", stderr);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void add_up(const struct pool *pool, struct sim_totals *ret)
{
	size_t listed;

	for (unsigned i = 0; i < pool->plan->jobs; i++) {
		const struct slot *slot = &pool->slots[i];

		ret->seeds += slot->seeds;
		ret->events += slot->events;
		ret->ops += slot->ops;
		ret->decisions += slot->decisions;
		ret->faults += slot->faults;
		ret->hash += slot->hash;
	}
	ret->failures = pool->failures;
	listed = ret->failures < SIM_FAILURES_MAX ? ret->failures : SIM_FAILURES_MAX;
	for (size_t i = 0; i < listed; i++)
		ret->failed[i] = pool->plan->first + pool->failed[i];
	qsort(ret->failed, listed, sizeof(ret->failed[0]), compare);
}

int sim_pool(const struct sim_plan *plan, struct sim_totals *ret)
{
	size_t size = sizeof(struct pool) + plan->jobs * sizeof(struct slot);
	uint64_t start_ns = now_ns();
	struct pool *pool = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
				 0);
	bool all;

	if (pool == MAP_FAILED) {
		cli_error("sim: no memory: %s", strerror(errno));
		return -1;
	}
	pool->plan = plan;
	pool->count = plan->last - plan->first + 1;
	atomic_store(&pool->stop, pool->count);
	run_workers(pool);
	memset(ret, 0, sizeof(*ret));
	add_up(pool, ret);
	ret->elapsed_ns = now_ns() - start_ns;
	/* Without processes nothing runs, and start_worker has said so. */
	all = ret->failures > 0 || ret->seeds == pool->count;
	munmap(pool, size);
	return all ? 0 : -1;
}
