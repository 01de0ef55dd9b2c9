/*
 * Question: what does a timer cost when very many are armed?
 *
 * timer_arm_cancel  with --timers live: arm one at a random deadline and cancel it, which is what
 *                   a timeout does that does not pass
 * timer_move        with --timers live: cancel a random one of them and arm it again elsewhere;
 *                   mostly cache misses, as the timers lie all over memory
 * timer_expire      --timers with random deadlines within a second: from arming the last one until
 *                   all have fired, the clock going on in steps of 100 us; per timer
 *
 * Not measured: the kernel's timeout, of which a loop has one however many timers it has.
 */
#include <stdlib.h>

#include "base/wheel.h"
#include "micro.h"

#define NS_PER_S 1000000000ull
#define STEP_NS 100000ull

/* Deadlines from a millisecond to this far away. */
#define SPREAD_NS (1000 * NS_PER_S)

static uint64_t timers = 1000000;
static uint64_t operations = 2000000;

static struct whi_wheel wheel;
static struct whi_timer *live;
static uint64_t fired;

static void fire(struct whi_timer *timer)
{
	(void)timer;
	fired++;
}

static uint64_t random_deadline(void)
{
	return (wheel.tick << WHI_WHEEL_TICK_SHIFT) + 1000000 + micro_random() % SPREAD_NS;
}

static double arm_cancel(void *arg)
{
	struct whi_timer timer;
	uint64_t began;

	(void)arg;
	whi_timer_init(&timer, fire);
	began = micro_now_ns();
	for (uint64_t i = 0; i < operations; i++) {
		whi_wheel_arm(&wheel, &timer, random_deadline());
		whi_wheel_cancel(&wheel, &timer);
	}
	return (double)(micro_now_ns() - began) / (double)operations;
}

static double move(void *arg)
{
	uint64_t began = micro_now_ns();

	(void)arg;
	for (uint64_t i = 0; i < operations; i++) {
		struct whi_timer *timer = &live[micro_random() % timers];

		whi_wheel_cancel(&wheel, timer);
		whi_wheel_arm(&wheel, timer, random_deadline());
	}
	return (double)(micro_now_ns() - began) / (double)operations;
}

static double expire(void *arg)
{
	uint64_t now = wheel.tick << WHI_WHEEL_TICK_SHIFT, began;

	(void)arg;
	for (uint64_t i = 0; i < timers; i++)
		whi_wheel_arm(&wheel, &live[i], now + 1 + micro_random() % NS_PER_S);
	fired = 0;
	began = micro_now_ns();
	while (fired < timers)
		whi_wheel_advance(&wheel, now += STEP_NS);
	return (double)(micro_now_ns() - began) / (double)timers;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = { { "timers", &timers },
						{ "operations", &operations },
						{ 0 } };

	micro_options(argc, argv, options);
	live = calloc(timers, sizeof(*live));
	if (!live)
		return 1;
	whi_wheel_init(&wheel, micro_now_ns());
	for (uint64_t i = 0; i < timers; i++) {
		whi_timer_init(&live[i], fire);
		whi_wheel_arm(&wheel, &live[i], random_deadline());
	}
	micro_measure("timer_arm_cancel", "ns", arm_cancel, NULL);
	micro_measure("timer_move", "ns", move, NULL);
	for (uint64_t i = 0; i < timers; i++)
		whi_wheel_cancel(&wheel, &live[i]);
	micro_measure("timer_expire", "ns", expire, NULL);
	free(live);
	return 0;
}
