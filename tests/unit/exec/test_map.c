/*
 * wh_map on threads: what is told, in which order, how much is in flight, and how it ends early.
 * Jobs wait for gates, not for time.
 */
#include <errno.h>
#include <string.h>
#include <whorl/exec.h>

#include "base/alloc.h"
#include "support/task_test.h"
#include "unit/exec/gate.h"

enum { ITEMS = 1000, FEW = 20, BAD = 5 };

static struct wh_executor *open_executor(uint32_t threads)
{
	const struct wh_executor_opts opts = { .threads = threads };
	struct wh_executor *executor;

	check_int(wh_executor_open(&opts, &executor), 0);
	return executor;
}

/* An item, what its job does, and how often. */
struct item {
	struct gate *gate; /* NULL: does not wait */
	int result;
	_Atomic int runs;
};

static int do_item(void *arg)
{
	struct item *item = arg;

	item->runs++;
	if (item->gate)
		gate_pass(item->gate);
	return item->result;
}

/* What `next` and `each` see of a map. */
struct log {
	struct item *items;
	uint64_t count, made, told;
	uint64_t most; /* in flight */
	uint64_t order[ITEMS];
	bool seen[ITEMS];
	int next_error, each_error; /* after BAD items; 0: never */
	struct gate *opens;	    /* with the item that is told first */
};

static int make_item(void *arg, void **ret_item)
{
	struct log *log = arg;

	if (log->next_error && log->made == BAD)
		return log->next_error;
	if (log->made == log->count)
		return 0;
	*ret_item = &log->items[log->made++];
	if (log->made - log->told > log->most)
		log->most = log->made - log->told;
	return 1;
}

static int note_item(void *arg, const struct wh_map_done *done)
{
	struct log *log = arg;
	struct item *item = done->item;

	check(item == &log->items[done->index]);
	check(!log->seen[done->index]);
	check_int(item->runs, 1);
	check_int(done->status, 0);
	check_int(done->result, item->result);
	if (log->opens && log->told == 0)
		gate_open(log->opens);
	if (log->each_error && log->told == BAD)
		return log->each_error;
	log->seen[done->index] = true;
	log->order[log->told++] = done->index;
	return 0;
}

static struct item items[ITEMS];
static struct log seen;

/* A map over `count` items that return their index. */
static struct wh_map map_over(uint64_t count)
{
	memset(items, 0, sizeof(items));
	seen = (struct log){ .items = items, .count = count };
	for (uint64_t i = 0; i < count; i++)
		items[i].result = (int)i;
	return (struct wh_map){ .fn = do_item,
				.items = items,
				.item_bytes = sizeof(items[0]),
				.count = count,
				.each = note_item,
				.arg = &seen };
}

static struct wh_map map_from_next(uint64_t count)
{
	struct wh_map map = map_over(count);

	map.items = NULL;
	map.count = 0;
	map.next = make_item;
	return map;
}

static int runs_in_all(void)
{
	int runs = 0;

	for (int i = 0; i < ITEMS; i++)
		runs += items[i].runs;
	return runs;
}

static void check_in_order(uint64_t count)
{
	check_int(seen.told, count);
	for (uint64_t i = 0; i < count; i++)
		check_int(seen.order[i], i);
}

/* Everything */

static int results_come_in_the_order_of_the_items(void *arg)
{
	struct wh_executor *executor = open_executor(2);
	struct wh_map map = map_over(ITEMS);

	(void)arg;
	check_int(wh_map(executor, &map), 0);
	check_in_order(ITEMS);
	map = map_from_next(ITEMS);
	check_int(wh_map(executor, &map), 0);
	check_in_order(ITEMS);
	map = map_over(ITEMS);
	map.lane = WH_LANE_BLOCKING;
	check_int(wh_map(executor, &map), 0);
	check_in_order(ITEMS);
	wh_executor_close(executor);
	return 0;
}

static int every_item_is_told_once_as_they_finish(void *arg)
{
	struct wh_executor *executor = open_executor(2);
	struct wh_map map = map_over(ITEMS);

	(void)arg;
	map.as_they_finish = true;
	check_int(wh_map(executor, &map), 0);
	check_int(seen.told, ITEMS);
	check_int(runs_in_all(), ITEMS);
	wh_executor_close(executor);
	return 0;
}

/* The first item waits until another one has been told. */
static int slow_item_is_told_last_as_they_finish(void *arg)
{
	struct wh_executor *executor = open_executor(2);
	struct wh_map map = map_from_next(FEW);
	struct gate gate;

	(void)arg;
	gate_init(&gate);
	items[0].gate = &gate;
	items[0].result = 0;
	seen.opens = &gate;
	map.as_they_finish = true;
	map.in_flight = 4;
	check_int(wh_map(executor, &map), 0);
	check_int(seen.told, FEW);
	check(seen.order[0] != 0);
	check(seen.most <= 4);
	wh_executor_close(executor);
	return 0;
}

static int open_from_job(void *arg)
{
	struct item *item = arg;

	/* The second lets the first through, which holds up what is told. */
	if (item == &items[1])
		gate_open(items[0].gate);
	return do_item(item);
}

static int slow_item_holds_up_what_is_told_in_order(void *arg)
{
	struct wh_executor *executor = open_executor(2);
	struct wh_map map = map_from_next(FEW);
	struct gate gate;

	(void)arg;
	gate_init(&gate);
	items[0].gate = &gate;
	map.fn = open_from_job;
	map.in_flight = 3;
	check_int(wh_map(executor, &map), 0);
	check_in_order(FEW);
	wh_executor_close(executor);
	return 0;
}

static int no_more_are_in_flight_than_asked_for(void *arg)
{
	struct wh_executor *executor = open_executor(3);

	(void)arg;
	for (uint32_t in_flight = 1; in_flight <= 16; in_flight++) {
		struct wh_map map = map_from_next(100);

		map.in_flight = in_flight;
		map.as_they_finish = in_flight % 2;
		check_int(wh_map(executor, &map), 0);
		check_int(seen.told, 100);
		check(seen.most > 0 && seen.most <= in_flight);
	}
	wh_executor_close(executor);
	return 0;
}

static int nothing_is_a_map_too(void *arg)
{
	struct wh_executor *executor = open_executor(1);
	struct wh_map map = map_from_next(0);
	const struct wh_map empty = { .fn = do_item };

	(void)arg;
	check_int(wh_map(executor, &empty), 0);
	check_int(wh_map(executor, &map), 0);
	check_int(seen.told, 0);
	wh_executor_close(executor);
	return 0;
}

/* Errors */

static int first_error_in_order_ends_the_map(void *arg)
{
	struct wh_executor *executor = open_executor(2);
	struct wh_map map = map_from_next(ITEMS);

	(void)arg;
	items[BAD].result = -EIO;
	items[BAD + 1].result = -ENOENT;
	map.in_flight = 8;
	check_int(wh_map(executor, &map), -EIO);
	check_in_order(BAD);
	check(runs_in_all() <= BAD + 8);
	wh_executor_close(executor);
	return 0;
}

static int errors_are_collected_if_asked_for(void *arg)
{
	struct wh_executor *executor = open_executor(2);
	struct wh_map map = map_over(ITEMS);

	(void)arg;
	for (int i = 0; i < ITEMS; i += 10)
		items[i].result = -EIO;
	map.keep_going = true;
	check_int(wh_map(executor, &map), 0);
	check_in_order(ITEMS);
	wh_executor_close(executor);
	return 0;
}

static int each_and_next_can_end_it(void *arg)
{
	struct wh_executor *executor = open_executor(2);
	struct wh_map map = map_over(ITEMS);

	(void)arg;
	seen.each_error = -EPIPE;
	check_int(wh_map(executor, &map), -EPIPE);
	check_in_order(BAD);
	map = map_from_next(ITEMS);
	seen.next_error = -EBADF;
	check_int(wh_map(executor, &map), -EBADF);
	check(seen.told <= BAD);
	check(runs_in_all() <= BAD);
	wh_executor_close(executor);
	return 0;
}

static int what_is_no_map_is_refused(void *arg)
{
	struct wh_executor *executor = open_executor(1);
	struct wh_map map = map_over(FEW);

	(void)arg;
	map.fn = NULL;
	check_int(wh_map(executor, &map), -EINVAL);
	map = map_over(FEW);
	map.items = NULL;
	check_int(wh_map(executor, &map), -EINVAL);
	map = map_over(FEW);
	map.next = make_item;
	check_int(wh_map(executor, &map), -EINVAL);
	map = map_over(FEW);
	map.lane = WH_LANES;
	check_int(wh_map(executor, &map), -EINVAL);
	map = map_over(FEW);
	map.kill = true;
	check_int(wh_map(executor, &map), -EINVAL);
	check_int(runs_in_all(), 0);
	wh_executor_close(executor);
	return 0;
}

static int map_without_memory_runs_nothing(void *arg)
{
	struct wh_executor *executor = open_executor(1);
	struct wh_map map = map_over(FEW);

	(void)arg;
	whi_alloc_fail_at(1);
	check_int(wh_map(executor, &map), -ENOMEM);
	whi_alloc_fail_at(0);
	check_int(runs_in_all(), 0);
	wh_executor_close(executor);
	return 0;
}

/* Cancellation */

struct mapping {
	struct wh_executor *executor;
	struct wh_map map;
	int r;
};

static int map_in_task(void *arg)
{
	struct mapping *mapping = arg;

	mapping->r = wh_map(mapping->executor, &mapping->map);
	return 0;
}

/* One thread, which is in the first item: the others are taken back, and that one is waited for. */
static int cancelled_map_waits_for_what_runs_only(void *arg)
{
	struct mapping mapping = { open_executor(1), map_over(ITEMS), 0 };
	struct wh_scope scope;
	struct gate gate;

	(void)arg;
	gate_init(&gate);
	items[0].gate = &gate;
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, map_in_task, &mapping), 0);
	next_turn();
	gate_await(&gate);
	wh_scope_cancel(&scope);
	gate_open(&gate);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(mapping.r, -ECANCELED);
	check_int(runs_in_all(), 1);
	check_int(seen.told, 0);
	wh_executor_close(mapping.executor);
	return 0;
}

static int cancelled_task_maps_nothing(void *arg)
{
	struct wh_executor *executor = open_executor(1);
	struct wh_map map = map_over(FEW);
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	wh_scope_cancel(&scope);
	check_int(wh_map(executor, &map), -ECANCELED);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check_int(runs_in_all(), 0);
	wh_executor_close(executor);
	return 0;
}

static int cancel_after_some(void *arg, const struct wh_map_done *done)
{
	(void)done;
	if (++seen.told == BAD)
		wh_scope_cancel(arg);
	return 0;
}

static int map_can_be_cancelled_from_within(void *arg)
{
	struct wh_executor *executor = open_executor(2);
	struct wh_map map = map_from_next(ITEMS);
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	map = map_over(ITEMS);
	map.each = cancel_after_some;
	map.arg = &scope;
	map.in_flight = 4;
	check_int(wh_map(executor, &map), -ECANCELED);
	check_int(wh_scope_close(&scope), -ECANCELED);
	check(seen.told >= BAD && seen.told < ITEMS);
	wh_executor_close(executor);
	return 0;
}

/* Several at once */

static int count_runs(void *arg)
{
	++*(_Atomic int *)arg;
	return 0;
}

struct counter {
	struct wh_executor *executor;
	_Atomic int *runs;
	uint64_t made;
};

static int make_count(void *arg, void **ret_item)
{
	struct counter *counter = arg;

	*ret_item = (void *)counter->runs;
	/* The generator is part of a task. */
	if (counter->made % 64 == 0)
		check_int(wh_yield(), 0);
	return counter->made++ < ITEMS;
}

static int map_counts(void *arg)
{
	struct counter counter = *(struct counter *)arg;

	return wh_map(counter.executor, &(struct wh_map){ .fn = count_runs,
							  .next = make_count,
							  .arg = &counter,
							  .as_they_finish = true });
}

static int loops_map_over_one_executor(void *arg)
{
	_Atomic int runs = 0;
	struct counter counter = { open_executor(2), &runs, 0 };
	struct wh_scope scope;

	(void)arg;
	wh_scope_open(&scope, NULL);
	for (unsigned i = 0; i < 3; i++)
		check_int(wh_spawn(&scope, map_counts, &counter), 0);
	check_int(wh_loop_call(wh_loop_at(1), map_counts, &counter, NULL), 0);
	check_int(wh_scope_close(&scope), 0);
	check_int(runs, 4 * ITEMS);
	wh_executor_close(counter.executor);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(results_come_in_the_order_of_the_items),
		task_test(every_item_is_told_once_as_they_finish),
		task_test(slow_item_is_told_last_as_they_finish),
		task_test(slow_item_holds_up_what_is_told_in_order),
		task_test(no_more_are_in_flight_than_asked_for),
		task_test(nothing_is_a_map_too),
		task_test(first_error_in_order_ends_the_map),
		task_test(errors_are_collected_if_asked_for),
		task_test(each_and_next_can_end_it),
		task_test(what_is_no_map_is_refused),
		task_test(map_without_memory_runs_nothing),
		task_test(cancelled_map_waits_for_what_runs_only),
		task_test(cancelled_task_maps_nothing),
		task_test(map_can_be_cancelled_from_within),
		task_test(loops_map_over_one_executor, .loops = 2),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
