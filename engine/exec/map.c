/*
 * Mapping a function over many items: a window of jobs that one task keeps full.
 *
 * Invariants
 * 1. A slot is free, or out (its job is the executor's), or over (it has ended and `each` is yet to
 *    be told). Slots are on `line` in the order in which `each` is told: from their submission on,
 *    or, as they finish, once they are over.
 * 2. The task that called wh_map alone fills slots, tells and frees them; it wakes when the first
 *    in line is over, when enough slots are free, or when its scope is cancelled.
 * 3. It returns with no slot out.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/queue.h"
#include "exec/executor.h"

/* A window without a size; REFILL: the part of a window that is refilled at once. */
enum { WINDOW = 256, WINDOW_A_WORKER = 4, REFILL = 8 };

struct slot {
	struct whi_exec_job job;
	struct map *map;
	struct whi_qnode link; /* on `line` or `free` */
	uint64_t index;
	bool out, over;
};

struct map {
	const struct wh_map *spec;
	struct wh_executor *executor;
	struct slot *slots;
	uint32_t window, used; /* slots there are, and those not free */
	uint32_t refill;       /* how many must be free before the task wakes to fill them */
	uint32_t out;
	struct whi_fifo line, free;
	uint64_t begun; /* items */
	bool exhausted;
	struct whi_wait wait;
	bool waiting;
	bool winding_up; /* waiting for the last one, come what may */
};

static struct slot *slot_of(struct whi_qnode *node)
{
	return whi_container_of(node, struct slot, link);
}

/* Waiting */

static bool first_is_over(const struct map *map)
{
	return map->line.head && slot_of(map->line.head)->over;
}

static bool may_fill(const struct map *map)
{
	return !map->exhausted && map->window - map->used >= map->refill;
}

static bool can_go_on(const struct map *map)
{
	if (map->winding_up)
		return map->out == 0;
	return first_is_over(map) || may_fill(map);
}

static void wake(struct map *map)
{
	if (!map->waiting)
		return;
	map->waiting = false;
	whi_task_wake(&map->wait);
}

static void item_ended(struct whi_exec_job *job)
{
	struct slot *slot = whi_container_of(job, struct slot, job);
	struct map *map = slot->map;

	slot->out = false;
	slot->over = true;
	map->out--;
	if (map->spec->as_they_finish)
		whi_fifo_push(&map->line, &slot->link);
	if (can_go_on(map))
		wake(map);
}

/* What waits for a worker; and what does not is to end soon, if that is asked for. */
static void take_back(struct map *map)
{
	for (uint32_t i = 0; i < map->window && map->out; i++) {
		struct slot *slot = &map->slots[i];

		if (!slot->out)
			continue;
		if (!whi_exec_remove(&slot->job)) {
			if (map->spec->kill)
				whi_exec_kill(&slot->job);
			continue;
		}
		slot->out = false;
		map->out--;
	}
}

static void interrupted(struct whi_wait *wait)
{
	struct map *map = whi_container_of(wait, struct map, wait);

	take_back(map);
	wake(map);
}

static int wait_for_more(struct map *map)
{
	int r = whi_task_check();

	if (r < 0)
		return r;
	map->wait = (struct whi_wait){ .what = "map", .interrupt = interrupted };
	map->waiting = true;
	whi_task_suspend(&map->wait);
	return whi_task_check();
}

/* Filling */

/* 1, or 0 if there is none, or -errno of `next`. */
static int next_item(struct map *map, void **ret)
{
	const struct wh_map *spec = map->spec;

	if (spec->next)
		return spec->next(spec->arg, ret);
	if (map->begun == spec->count)
		return 0;
	*ret = (char *)spec->items + map->begun * spec->item_bytes;
	return 1;
}

static int begin(struct map *map, void *item)
{
	struct slot *slot = slot_of(map->free.head);
	int r;

	slot->job.fn = map->spec->fn;
	slot->job.arg = item;
	slot->job.done = item_ended;
	slot->job.lane = (uint8_t)map->spec->lane;
	r = whi_exec_submit(map->executor, &slot->job);
	if (r < 0)
		return r;
	whi_fifo_pop(&map->free);
	slot->map = map;
	slot->index = map->begun++;
	slot->out = true;
	slot->over = false;
	map->used++;
	map->out++;
	if (!map->spec->as_they_finish)
		whi_fifo_push(&map->line, &slot->link);
	return 0;
}

static int fill(struct map *map)
{
	while (map->used < map->window && !map->exhausted) {
		void *item = NULL;
		int r = next_item(map, &item);

		if (r < 0)
			return r;
		if (r == 0)
			map->exhausted = true;
		else if ((r = begin(map, item)) < 0)
			return r;
	}
	return 0;
}

/* Telling */

static int tell(struct map *map, const struct slot *slot)
{
	const struct whi_exec_job *job = &slot->job;
	const struct wh_map_done done = {
		.item = job->arg,
		.index = slot->index,
		.status = job->status,
		.result = job->status < 0 ? job->status : job->result,
	};
	int r;

	if (done.result < 0 && !map->spec->keep_going)
		return done.result;
	r = map->spec->each ? map->spec->each(map->spec->arg, &done) : 0;
	return r < 0 ? r : 0;
}

static int tell_all(struct map *map)
{
	int r = 0;

	while (r == 0 && first_is_over(map)) {
		struct whi_qnode *node = whi_fifo_pop(&map->line);

		r = tell(map, slot_of(node));
		map->used--;
		whi_fifo_push(&map->free, node);
	}
	return r;
}

/* The whole */

static int go_through(struct map *map)
{
	int r = 0;

	while (r == 0) {
		if (may_fill(map))
			r = fill(map);
		if (r == 0)
			r = tell_all(map);
		if (r == 0 && map->exhausted && map->used == 0)
			break;
		if (r == 0 && !can_go_on(map))
			r = wait_for_more(map);
	}
	return r;
}

static void wind_up(struct map *map)
{
	take_back(map);
	if (map->out == 0)
		return;
	map->winding_up = true;
	map->wait = (struct whi_wait){ .what = "map's last jobs" };
	map->waiting = true;
	whi_task_suspend(&map->wait);
}

static int make_slots(struct map *map)
{
	uint32_t at_least = WINDOW_A_WORKER * wh_executor_threads(map->executor);

	map->window = at_least > WINDOW ? at_least : WINDOW;
	if (map->spec->in_flight)
		map->window = map->spec->in_flight;
	if (!map->spec->next && map->spec->count < map->window)
		map->window = (uint32_t)map->spec->count;
	/* Several at once, unless workers would be without a job meanwhile. */
	map->refill = map->window >= at_least && map->window >= REFILL ? map->window / REFILL : 1;
	map->slots = whi_calloc(map->window, sizeof(map->slots[0]));
	if (!map->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < map->window; i++)
		whi_fifo_push(&map->free, &map->slots[i].link);
	return 0;
}

int wh_map(struct wh_executor *executor, const struct wh_map *spec)
{
	struct map map = { .spec = spec, .executor = executor };
	int r = whi_exec_check(executor, spec->lane, spec->kill);

	if (r < 0)
		return r;
	if (!spec->fn || (spec->next && (spec->items || spec->count)) ||
	    (!spec->next && spec->count && !spec->items))
		return -EINVAL;
	r = whi_task_check();
	if (r < 0 || (!spec->next && spec->count == 0))
		return r;
	r = make_slots(&map);
	if (r < 0)
		return r;
	r = go_through(&map);
	wind_up(&map);
	whi_free(map.slots);
	return r;
}
