/*
 * Lost updates, and two ways to mend them. Some processes count to the same number, each a share:
 * with `+=` on a plain variable, which is a load, an addition and a store, so that what another
 * process stores in between is lost; with an atomic counter; and with a lock.
 *
 * usage: lost_updates [PROCESSES [UPDATES]]
 * Exit status 0 if the atomic counter and the lock lost nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <whorl/pool.h>
#include <whorl/run.h>
#include <whorl/shared.h>

enum { PROCESSES_MAX = 64 };

static uint32_t processes = 4;
static uint64_t updates = 20000000; /* of each process */

enum { LOCKED_SHARE = 20 }; /* of these, one in so many with the lock, which takes longer */

/* What the processes share. */
struct tally {
	volatile uint64_t plain;
	struct wh_shared_counter atomic;
	struct wh_shared_lock lock;
	uint64_t locked;
};

/* What `plain += 1` means. */
static void add_plainly(struct tally *tally)
{
	uint64_t seen = tally->plain;

	tally->plain = seen + 1;
}

/* Whoever dies between acquiring and releasing leaves a number that is right, as it happens. */
static int add_locked(struct tally *tally)
{
	int r = wh_shared_lock_acquire(&tally->lock);

	if (r == -EOWNERDEAD)
		r = wh_shared_lock_mended(&tally->lock);
	if (r < 0)
		return r;
	tally->locked += 1;
	return wh_shared_lock_release(&tally->lock);
}

WH_JOB(update)
{
	const uint64_t count = *(const uint64_t *)io->args;
	struct wh_shared_array *shared;
	struct tally *tally;
	int r = wh_shared_array_from_fd(io->args_fd, &shared);

	if (r < 0)
		return r;
	tally = wh_shared_array_at(shared, 0);
	for (uint64_t i = 0; i < count; i++)
		add_plainly(tally);
	for (uint64_t i = 0; i < count; i++)
		wh_shared_counter_add(&tally->atomic, 1);
	for (uint64_t i = 0; i < count / LOCKED_SHARE && r == 0; i++)
		r = add_locked(tally);
	wh_shared_array_close(shared);
	return r;
}

static int report(const struct tally *tally)
{
	const uint64_t wanted = processes * updates;
	const uint64_t locked = processes * (updates / LOCKED_SHARE);
	const uint64_t atomic = wh_shared_counter_get(&tally->atomic);

	printf("%" PRIu32 " processes, %" PRIu64 " updates in all\n", processes, wanted);
	printf("plain +=  %" PRIu64 ", %" PRIu64 " lost\n", tally->plain, wanted - tally->plain);
	printf("atomic    %" PRIu64 "\n", atomic);
	printf("lock      %" PRIu64 " of %" PRIu64 "\n", tally->locked, locked);
	return atomic == wanted && tally->locked == locked ? 0 : -1;
}

static int count_together(struct wh_executor *executor, struct wh_shared_array *shared)
{
	struct wh_call calls[PROCESSES_MAX];
	int r;

	for (uint32_t i = 0; i < processes; i++)
		calls[i] = (struct wh_call){
			.job = "update",
			.args = &updates,
			.args_len = sizeof(updates),
			.args_fd = wh_shared_array_fd(shared),
		};
	r = wh_map(executor, &(struct wh_map){ .fn = wh_job_run,
					       .items = calls,
					       .item_bytes = sizeof(calls[0]),
					       .count = processes });
	return r < 0 ? r : report(wh_shared_array_at(shared, 0));
}

static int run(void *arg)
{
	struct wh_shared_array *shared;
	struct wh_executor *executor;
	struct tally *tally;
	int r = wh_shared_array_open(1, sizeof(struct tally), &shared);

	(void)arg;
	if (r < 0)
		return r;
	tally = wh_shared_array_at(shared, 0);
	r = wh_shared_lock_init(&tally->lock);
	if (r == 0)
		r = wh_pool_open(&(struct wh_pool_opts){ .processes = processes }, &executor);
	if (r == 0) {
		r = count_together(executor, shared);
		wh_executor_close(executor);
	}
	wh_shared_array_close(shared);
	return r;
}

int main(int argc, char **argv)
{
	int r, result = 0;

	wh_jobs_main();
	if (argc > 1)
		processes = (uint32_t)strtoul(argv[1], NULL, 10);
	if (argc > 2)
		updates = strtoull(argv[2], NULL, 10);
	if (processes < 1 || processes > PROCESSES_MAX) {
		fprintf(stderr, "lost_updates: 1 to %d processes\n", PROCESSES_MAX);
		return 2;
	}
	r = wh_run(run, NULL, &(struct wh_run_opts){ .loops = 1 }, &result);
	if (r < 0 || result < 0)
		fprintf(stderr, "lost_updates: failed: %d\n", r < 0 ? r : result);
	return r < 0 || result < 0;
}
