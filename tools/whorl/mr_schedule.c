/* Owns which tasks are waiting, running or done, and what becomes of those that fail. Reduce tasks
 * begin when all map tasks are done; a map task whose result is missing or damaged waits again. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mr_run.h"

enum { WAIT_MS = 50 }; /* a signal that comes just before is seen after it */

static const char *const phase_names[] = { "map", "reduce" };

static uint32_t attempts_max(const struct run *run)
{
	return (uint32_t)run->config.retries + 1;
}

static void set_waiting(struct run_tasks *tasks, uint32_t index)
{
	struct run_task *task = &tasks->all[index];

	tasks->done -= task->state == MR_DONE;
	task->state = MR_WAITING;
	if (index < tasks->next)
		tasks->next = index;
}

void mr_set_done(struct run *run, enum mr_phase phase, uint32_t index)
{
	struct run_tasks *tasks = &run->tasks[phase];

	tasks->done += tasks->all[index].state != MR_DONE;
	tasks->all[index].state = MR_DONE;
}

static bool all_done(const struct run_tasks *tasks)
{
	return tasks->done == tasks->count;
}

/* Reduce tasks need all map tasks. */
static int submit_phase(struct run *run, enum mr_phase phase)
{
	struct run_tasks *tasks = &run->tasks[phase];

	for (; tasks->next < tasks->count && run->running < run->engine->slots; tasks->next++) {
		struct run_task *task = &tasks->all[tasks->next];
		int r;

		if (task->state != MR_WAITING)
			continue;
		r = run->engine->ops->submit(run->engine, phase, tasks->next, task->attempt);
		if (r < 0) {
			cli_error("mr run: cannot start a task: %s", strerror(-r));
			return EXIT_FAILED;
		}
		task->attempt++;
		task->state = MR_RUNNING;
		run->running++;
	}
	return EXIT_DONE;
}

static int submit(struct run *run)
{
	uint32_t running = run->running;
	int r = submit_phase(run, MR_MAP);

	if (r == EXIT_DONE && all_done(&run->tasks[MR_MAP]))
		r = submit_phase(run, MR_REDUCE);
	if (r == EXIT_DONE && run->running > running)
		run->engine->ops->flush(run->engine);
	return r;
}

/* The tasks that somebody named have to be run again. Those that are running already are. */
int mr_again(struct run *run, enum mr_phase phase, const char *text)
{
	struct run_tasks *tasks = &run->tasks[phase];
	char prefix[16];
	int len = snprintf(prefix, sizeof(prefix), "again|%s|", phase_names[phase]);

	for (const char *at = text; (at = strstr(at, prefix));) {
		unsigned long index = strtoul(at += len, NULL, 10);

		if (index >= tasks->count || tasks->all[index].state != MR_DONE)
			continue;
		if (tasks->all[index].attempt >= attempts_max(run)) {
			cli_error("mr run: gave up on %s task %lu: what it wrote was missing or "
				  "damaged %" PRIu32 " times",
				  phase_names[phase], index, tasks->all[index].attempt);
			return EXIT_FAILED;
		}
		set_waiting(tasks, (uint32_t)index);
	}
	return EXIT_DONE;
}

/* The lines of what a task said, without those for programs. */
static void show_text(const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		if (len && strncmp(text, "again|", 6) != 0)
			fprintf(stderr, "  %.*s\n", (int)len, text);
		text += len + (text[len] == '\n');
	}
}

static void show_failed(struct run *run, const struct mr_outcome *outcome, const char *then)
{
	progress_clear(&run->progress);
	cli_error("mr run: %s task %" PRIu32 " on %s %s, attempt %" PRIu32 "; %s:",
		  phase_names[outcome->phase], outcome->task, outcome->where,
		  outcome->status == MR_LOST ? "was lost" : "failed", outcome->attempt + 1, then);
	show_text(outcome->text);
}

static int task_failed(struct run *run, const struct mr_outcome *outcome)
{
	struct run_tasks *tasks = &run->tasks[outcome->phase];
	bool retryable = outcome->status == EXIT_RETRY || outcome->status == EXIT_AGAIN ||
			 outcome->status == MR_LOST;

	if (!retryable) {
		show_failed(run, outcome, "that is final");
		return EXIT_FAILED;
	}
	if (tasks->all[outcome->task].attempt >= attempts_max(run)) {
		show_failed(run, outcome, "that was the last attempt");
		return EXIT_FAILED;
	}
	show_failed(run, outcome, "trying again");
	set_waiting(tasks, outcome->task);
	return outcome->status == EXIT_AGAIN ? mr_again(run, MR_MAP, outcome->text) : EXIT_DONE;
}

static int handle(struct run *run, const struct mr_outcome *outcome)
{
	struct run_tasks *tasks = &run->tasks[outcome->phase];

	if (outcome->task >= tasks->count || tasks->all[outcome->task].state != MR_RUNNING)
		return EXIT_DONE;
	run->running--;
	if (outcome->status != EXIT_DONE)
		return task_failed(run, outcome);
	mr_set_done(run, outcome->phase, outcome->task);
	if (outcome->phase == MR_MAP)
		run->stats.bytes_done += run->bytes[outcome->task];
	return EXIT_DONE;
}

static void begin_phase(struct run *run, enum wh_mr_phase phase)
{
	if (run->stats.phase == phase)
		return;
	run->stats.phase = phase;
	run->stats.phase_began_ns = wh_now_ns();
}

void mr_run_show(struct run *run)
{
	const struct run_tasks *reduces = &run->tasks[MR_REDUCE];
	struct wh_mr_stats *stats = &run->stats;

	if (!all_done(&run->tasks[MR_MAP])) {
		begin_phase(run, WH_MR_MAP);
		/* What was done before says nothing about how long the rest takes. */
		stats->phase_done = stats->bytes_done - run->bytes_before;
		stats->phase_total = stats->bytes_total - run->bytes_before;
	} else {
		begin_phase(run, WH_MR_REDUCE);
		stats->phase_done = reduces->done;
		stats->phase_total = reduces->count;
	}
	progress_poll(&run->progress, stats);
}

static int say_interrupted(struct run *run)
{
	const struct run_tasks *maps = &run->tasks[MR_MAP], *reduces = &run->tasks[MR_REDUCE];
	char done[PROGRESS_SIZE_BYTES], total[PROGRESS_SIZE_BYTES];

	progress_clear(&run->progress);
	cli_error("mr run: interrupted after %" PRIu32 " of %" PRIu32 " map tasks (%s of %s) and "
		  "%" PRIu32 " of %" PRIu32 " reduce tasks",
		  maps->done, maps->count, progress_size(done, run->stats.bytes_done),
		  progress_size(total, run->stats.bytes_total), reduces->done, reduces->count);
	return EXIT_FAILED;
}

int mr_run_tasks(struct run *run)
{
	while (!all_done(&run->tasks[MR_MAP]) || !all_done(&run->tasks[MR_REDUCE])) {
		struct mr_outcome outcome;
		int r = submit(run);

		if (r)
			return r;
		r = run->engine->ops->wait(run->engine, WAIT_MS, &outcome);
		if (r < 0)
			return EXIT_FAILED;
		r = r > 0 ? handle(run, &outcome) : EXIT_DONE;
		if (r)
			return r;
		if (mr_interrupted)
			return say_interrupted(run);
		mr_run_show(run);
	}
	return EXIT_DONE;
}
