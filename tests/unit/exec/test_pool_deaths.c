/*
 * A pool of processes whose workers die: of signals, by exiting, of their limits, with the nursery
 * and with the zygote; a thousand of them under load. What jobs do is in support/pool_jobs.c.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/pool_jobs.h"
#include "support/task_test.h"

/* How a job's end is told */

static struct wh_job_death die_of(struct wh_executor *executor, const char *how)
{
	struct wh_call call = { .job = "die", .args = how, .args_len = 1 };

	check_int(wh_offload(executor, wh_job_run, &call, NULL), -EOWNERDEAD);
	check_int(call.attempts, 1);
	check(call.death.resident_bytes > 0);
	return call.death;
}

static int death_of_a_worker_is_told_with_its_cause(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct wh_job_death death;
	struct wh_pool_stats stats;

	(void)arg;
	check_int(die_of(executor, "k").signal, SIGKILL);
	check_int(die_of(executor, "s").signal, SIGSEGV);
	check_int(die_of(executor, "a").signal, SIGABRT);
	death = die_of(executor, "x");
	check_int(death.signal, 0);
	check_int(death.exit_code, 3);
	death = die_of(executor, "e");
	check_int(death.signal, 0);
	check_int(death.exit_code, 0);
	check_int(result_of(executor, "nothing"), 0);
	wh_pool_stats(executor, &stats);
	check_int(stats.died, 5);
	check_int(stats.lost, 5);
	check_int(stats.recycled, 0);
	check_int(stats.started, 6);
	check_int(stats.live, 1);
	wh_executor_close(executor);
	return 0;
}

static int idempotent_job_is_tried_again(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct tally_args args = { .index = 5, .deaths = 2 };
	struct wh_pool_stats stats;
	struct wh_call call;
	struct tally tally;
	int result = -1;

	(void)arg;
	tally_open(&tally);
	call = tally_call(&tally, &args);
	call.idempotent = true;
	check_int(wh_offload(executor, wh_job_run, &call, &result), 0);
	check_int(result, 5);
	check_int(call.attempts, 3);
	check_int(call.death.signal, SIGKILL);
	check_int(tally.counts[5], 3);
	wh_pool_stats(executor, &stats);
	check_int(stats.retried, 2);
	check_int(stats.lost, 0);
	tally_close(&tally);
	wh_executor_close(executor);
	return 0;
}

static int job_that_kills_every_worker_is_refused_in_the_end(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 2 });
	struct tally_args args = { .index = 5, .deaths = 100 };
	struct wh_call call;
	struct tally tally;

	(void)arg;
	tally_open(&tally);
	call = tally_call(&tally, &args);
	call.idempotent = true;
	check_int(wh_offload(executor, wh_job_run, &call, NULL), -ENOTRECOVERABLE);
	check_int(call.attempts, WH_CALL_ATTEMPTS_MAX);
	check_int(tally.counts[5], WH_CALL_ATTEMPTS_MAX);
	check_int(result_of(executor, "nothing"), 0);
	tally_close(&tally);
	wh_executor_close(executor);
	return 0;
}

static int jobs_behind_a_dead_one_are_done_once(void *arg)
{
	enum { WAITING = 50 };
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct tally_args args[WAITING];
	struct offload jobs[WAITING];
	struct wh_scope scope;
	struct tally tally;

	(void)arg;
	tally_open(&tally);
	wh_scope_open(&scope, NULL);
	for (uint32_t i = 0; i < WAITING; i++) {
		args[i] = (struct tally_args){ .index = i, .deaths = i % 10 == 0 ? 1 : 0 };
		jobs[i] = (struct offload){ .executor = executor,
					    .call = tally_call(&tally, &args[i]) };
		check_int(wh_spawn(&scope, run_offload, &jobs[i]), 0);
	}
	check_int(wh_scope_close(&scope), 0);
	for (uint32_t i = 0; i < WAITING; i++) {
		check_int(jobs[i].r, args[i].deaths ? -EOWNERDEAD : 0);
		check_int(tally.counts[i], 1);
	}
	tally_close(&tally);
	wh_executor_close(executor);
	return 0;
}

/* Whatever a worker leaves in the memory that it shares with the program. */
static int nonsense_from_a_worker_costs_its_own_jobs_at_most(void *arg)
{
	enum { WAITING = 5, ROUNDS = 100 };
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });
	struct offload jobs[1 + WAITING];
	unsigned nonsense = 0;

	(void)arg;
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		struct wh_scope scope;

		wh_scope_open(&scope, NULL);
		for (int i = 0; i <= WAITING; i++) {
			jobs[i] = (struct offload){ .executor = executor,
						    .call = { .job = i ? "nothing" : "scribble",
							      .args = &seed,
							      .args_len = sizeof(seed) } };
			check_int(wh_spawn(&scope, run_offload, &jobs[i]), 0);
		}
		check_int(wh_scope_close(&scope), 0);
		for (int i = 0; i <= WAITING; i++) {
			check(jobs[i].r == 0 || jobs[i].r == -EPROTO || jobs[i].r == -EOWNERDEAD);
			nonsense += jobs[i].r == -EPROTO;
		}
		check_int(result_of(executor, "nothing"), 0);
	}
	check(nonsense > 0);
	wh_executor_close(executor);
	return 0;
}

/* Limits */

static int worker_is_replaced_after_as_many_jobs_as_it_may_do(void *arg)
{
	struct wh_executor *executor =
		open_pool(&(struct wh_pool_opts){ .processes = 1, .jobs_max = 3 });
	struct wh_pool_stats stats;
	pid_t pids[9];

	(void)arg;
	for (int i = 0; i < 9; i++)
		pids[i] = result_of(executor, "tell_pid");
	for (int i = 0; i < 9; i++)
		check_int(pids[i] == pids[i / 3 * 3], 1);
	check(pids[0] != pids[3] && pids[3] != pids[6]);
	wh_pool_stats(executor, &stats);
	check(stats.recycled >= 2);
	check_int(stats.died, 0);
	check_int(stats.lost, 0);
	wh_executor_close(executor);
	return 0;
}

static int result_with(struct wh_executor *executor, const char *job, size_t bytes)
{
	struct wh_call call = { .job = job, .args = &bytes, .args_len = sizeof(bytes) };
	int result = -1;

	check_int(wh_offload(executor, wh_job_run, &call, &result), 0);
	return result;
}

static int worker_that_has_grown_is_replaced(void *arg)
{
	enum { GROWTH = 96 << 20 };
	struct wh_executor *executor =
		open_pool(&(struct wh_pool_opts){ .processes = 1, .resident_bytes = GROWTH });
	pid_t first = result_of(executor, "tell_pid");

	(void)arg;
	check_int(result_with(executor, "hoard", 1 << 20), 0);
	check_int(result_of(executor, "tell_pid"), first);
	check_int(result_with(executor, "hoard", GROWTH), 0);
	check(result_of(executor, "tell_pid") != first);
	wh_executor_close(executor);
	return 0;
}

static int job_gets_no_more_memory_than_the_limit(void *arg)
{
	struct wh_executor *executor =
		open_pool(&(struct wh_pool_opts){ .processes = 1, .memory_bytes = 64 << 20 });

	(void)arg;
	check_int(result_with(executor, "hoard", 32 << 20), 0);
	check_int(result_with(executor, "hoard", 64 << 20), -ENOMEM);
	check_int(result_of(executor, "nothing"), 0);
	wh_executor_close(executor);
	return 0;
}

static int job_gets_no_more_processor_time_than_the_limit(void *arg)
{
	struct wh_executor *executor =
		open_pool(&(struct wh_pool_opts){ .processes = 1, .job_cpu_ns = 20 * WH_MS });
	struct wh_call call = { .job = "burn" };

	(void)arg;
	check_int(wh_offload(executor, wh_job_run, &call, NULL), -EOWNERDEAD);
	check_int(call.death.signal, SIGXCPU);
	check(call.death.user_ns + call.death.system_ns >= 10 * WH_MS);
	for (int i = 0; i < 100; i++)
		check_int(result_of(executor, "nothing"), 0);
	wh_executor_close(executor);
	return 0;
}

/* What workers come from */

static pid_t parent_of(pid_t pid)
{
	char path[64], line[256];
	int parent = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "r");
	check(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "PPid: %d", &parent) == 1)
			break;
	fclose(file);
	return parent;
}

/* In the middle of a job, and with others that wait. */
static void kill_and_go_on(struct wh_executor *executor, pid_t victim)
{
	struct offload stuck = { .executor = executor }, waiting = { .executor = executor };
	struct wh_scope scope;
	struct gate gate;

	gate_open(&gate);
	stuck.call = gate_call(&gate);
	waiting.call = (struct wh_call){ .job = "nothing" };
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, run_offload, &stuck), 0);
	next_turn();
	gate_await(&gate);
	check_int(wh_spawn(&scope, run_offload, &waiting), 0);
	next_turn();
	check_int(kill(victim, SIGKILL), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(stuck.r, -EOWNERDEAD);
	check_int(stuck.call.death.signal, SIGKILL);
	check_int(waiting.r, 0);
	check_int(waiting.result, 0);
	gate_close(&gate);
}

static int death_of_the_nursery_or_the_zygote_costs_only_running_jobs(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 1 });

	(void)arg;
	for (int i = 0; i < 10; i++) {
		pid_t worker = result_of(executor, "tell_pid");
		pid_t nursery = result_of(executor, "tell_parent");
		pid_t zygote = parent_of(nursery);

		check_int(parent_of(zygote), getpid());
		kill_and_go_on(executor, i % 2 ? zygote : nursery);
		await_end(worker);
		await_end(nursery);
	}
	wh_executor_close(executor);
	return 0;
}

static int idle_pool_survives_the_death_of_everything(void *arg)
{
	struct wh_executor *executor = open_pool(&(struct wh_pool_opts){ .processes = 2 });
	pid_t nursery = result_of(executor, "tell_parent");
	pid_t worker = result_of(executor, "tell_pid");

	(void)arg;
	check_int(kill(parent_of(nursery), SIGKILL), 0);
	await_end(worker);
	check(result_of(executor, "tell_parent") != nursery);
	wh_executor_close(executor);
	return 0;
}

/* A thousand under load */

/* IN_A_ROW: without a job done in between; more would be replaced after ever longer pauses. */
enum { KILLS = 1000, CROWD = 64, IN_A_ROW = 6 };

struct siege {
	struct wh_executor *executor;
	struct tally tally;
	bool over;
	uint32_t besieged; /* tasks that have begun */
	uint64_t done, lost;
};

static int besieged(void *arg)
{
	struct siege *siege = arg;
	const uint32_t mine = siege->besieged++;

	while (!siege->over) {
		/* Nobody else counts there, however long this job is on its way. */
		const struct tally_args args = { .index = mine };
		struct wh_call call = tally_call(&siege->tally, &args);
		uint32_t before = siege->tally.counts[args.index];
		int result = -1;
		int r = wh_offload(siege->executor, wh_job_run, &call, &result);
		uint32_t times = siege->tally.counts[args.index] - before;

		if (r == 0) {
			check_int(times, 1);
			check_int(result, args.index);
			siege->done++;
		} else {
			check_int(r, -EOWNERDEAD);
			check_int(call.death.signal, SIGKILL);
			check(times <= 1);
			siege->lost++;
		}
	}
	return 0;
}

static bool is_among(pid_t pid, const pid_t *pids, int count)
{
	for (int i = 0; i < count; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/* Each worker is killed once: a dead one can be signalled until it has been waited for. */
static int besiege(void *arg)
{
	struct siege *siege = arg;
	pid_t killed[KILLS];
	uint64_t done = 0;

	for (int kills = 0, in_a_row = 0; kills < KILLS; next_turn()) {
		pid_t pids[2];
		unsigned count = wh_pool_pids(siege->executor, pids, 2);

		if (siege->done != done)
			in_a_row = 0;
		done = siege->done;
		for (unsigned i = 0; i < count && kills < KILLS && in_a_row < IN_A_ROW; i++)
			if (!is_among(pids[i], killed, kills) && kill(pids[i], SIGKILL) == 0) {
				killed[kills++] = pids[i];
				in_a_row++;
			}
	}
	siege->over = true;
	return 0;
}

static unsigned children(void)
{
	char line[4096] = "";
	FILE *file = fopen("/proc/thread-self/children", "r");
	unsigned count = 0;

	if (!file)
		return 0;
	if (fgets(line, sizeof(line), file))
		for (char *at = strtok(line, " "); at; at = strtok(NULL, " "))
			count++;
	fclose(file);
	return count;
}

/* Mappings of memory that is shared with workers. */
static unsigned shared_mappings(void)
{
	char line[4096];
	FILE *file = fopen("/proc/self/maps", "r");
	unsigned count = 0;

	check(file);
	while (fgets(line, sizeof(line), file))
		count += strstr(line, "memfd:whorl-worker") != NULL;
	fclose(file);
	return count;
}

static int thousand_kills_lose_only_the_jobs_that_ran(void *arg)
{
	struct siege siege = { .executor = open_pool(&(struct wh_pool_opts){ .processes = 2 }) };
	struct wh_pool_stats stats;
	struct wh_scope scope;
	unsigned fds, maps;

	(void)arg;
	tally_open(&siege.tally);
	check_int(result_of(siege.executor, "nothing"), 0);
	fds = open_fds();
	maps = shared_mappings();
	check_int(maps, 2);
	wh_scope_open(&scope, NULL);
	for (int i = 0; i < CROWD; i++)
		check_int(wh_spawn(&scope, besieged, &siege), 0);
	check_int(wh_spawn(&scope, besiege, &siege), 0);
	check_int(wh_scope_close(&scope), 0);
	/* Until what was killed last has been seen dead and replaced. */
	do {
		next_turn();
		wh_pool_stats(siege.executor, &stats);
	} while (stats.died < KILLS || stats.live < 2);
	printf("%d kills: %ju jobs done, %ju lost, %ju moved\n", KILLS, (uintmax_t)siege.done,
	       (uintmax_t)siege.lost, (uintmax_t)stats.moved);
	check_int(stats.lost, siege.lost);
	check_int(stats.done, siege.done + 1);
	check(siege.lost <= KILLS);
	check_int(stats.died, KILLS);
	check_int(open_fds(), fds);
	check_int(shared_mappings(), maps);
	check_int(children(), 1);
	tally_close(&siege.tally);
	wh_executor_close(siege.executor);
	check_int(shared_mappings(), 0);
	return 0;
}

static void nothing_is_left_after_the_runtime(void **state)
{
	(void)state;
	assert_int_equal(children(), 0);
	assert_int_equal(shared_mappings(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(death_of_a_worker_is_told_with_its_cause),
		task_test(idempotent_job_is_tried_again),
		task_test(job_that_kills_every_worker_is_refused_in_the_end),
		task_test(jobs_behind_a_dead_one_are_done_once),
		task_test(nonsense_from_a_worker_costs_its_own_jobs_at_most),
		task_test(worker_is_replaced_after_as_many_jobs_as_it_may_do),
		task_test(worker_that_has_grown_is_replaced),
		task_test(job_gets_no_more_memory_than_the_limit),
		task_test(job_gets_no_more_processor_time_than_the_limit),
		task_test(death_of_the_nursery_or_the_zygote_costs_only_running_jobs),
		task_test(idle_pool_survives_the_death_of_everything),
		task_test(thousand_kills_lose_only_the_jobs_that_ran),
		cmocka_unit_test(nothing_is_left_after_the_runtime),
	};

	wh_jobs_main();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
