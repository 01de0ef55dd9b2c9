#include "support/bare_sched.h"

#include <unistd.h>

#include "base/clock.h"

enum { STACK_BYTES = 64 * 1024, TASKS_MAX = 100000, STACKS_WARM = 64, TEST_SECONDS_MAX = 240 };

void bare_open(struct whi_sched *sched, const struct whi_sched_opts *opts)
{
	struct whi_sched_opts all = {
		.stack_bytes = STACK_BYTES,
		.tasks_max = TASKS_MAX,
		.stacks_warm = STACKS_WARM,
	};

	if (opts && opts->stack_bytes)
		all.stack_bytes = opts->stack_bytes;
	if (opts && opts->tasks_max)
		all.tasks_max = opts->tasks_max;
	if (opts && opts->stacks_warm)
		all.stacks_warm = opts->stacks_warm;
	whi_sched_init(sched, &all);
}

void bare_run_ready(struct whi_sched *sched)
{
	while (!whi_sched_idle(sched))
		whi_sched_run(sched);
}

int bare_run(struct whi_sched *sched, wh_task_fn fn, void *arg)
{
	struct wh_task *task;
	const struct wh_spawn_opts opts = { .name = "main", .ret_task = &task };
	int result;

	check_int(whi_task_spawn(&sched->root, fn, arg, &opts, &task), 0);
	for (;;) {
		uint64_t next;

		bare_run_ready(sched);
		if (sched->tasks_live == 0)
			break;
		next = whi_wheel_next_ns(&sched->wheel);
		check(next != WHI_NEVER);
		whi_sched_advance(sched, next);
	}
	result = task->result;
	whi_list_remove(&task->held_link);
	whi_task_release(task);
	return result;
}

void run_bare_test(void **state)
{
	static struct whi_sched sched;
	const struct bare_test *test = *state;
	int result;

	alarm(TEST_SECONDS_MAX);
	bare_open(&sched, &test->opts);
	result = bare_run(&sched, test->fn, NULL);
	whi_sched_fini(&sched);
	alarm(0);
	assert_int_equal(result, 0);
}

uint64_t bare_now(void)
{
	return whi_sched_self()->now_ns;
}

uint64_t bare_after(uint64_t span_ns)
{
	return bare_now() + span_ns;
}
