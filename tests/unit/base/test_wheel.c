/*
 * The timing wheel, on its own and against a naive model: an array that is searched. The random
 * test prints its seed and takes it back as the first argument.
 */
#include "base/wheel.h"

#include <stdlib.h>

#include "base/clock.h"
#include "support/task_test.h"

enum { TICK = 1 << WHI_WHEEL_TICK_SHIFT, TIMERS = 300, ROUNDS = 40000 };

#define START_NS (123456789ull * TICK + 17)

struct probe {
	struct whi_timer timer;
	uint64_t deadline_ns;
	uint64_t fired_ns; /* 0: not yet */
	unsigned fired;
	unsigned order; /* how many had fired before it */
	struct probe *victim;
};

static struct whi_wheel wheel;
static struct probe probes[TIMERS];
static uint64_t now_ns;
static unsigned fired_total;
static uint64_t seed;

static void note(struct whi_timer *timer)
{
	struct probe *probe = whi_container_of(timer, struct probe, timer);

	probe->fired_ns = now_ns;
	probe->order = fired_total++;
	probe->fired++;
}

static int fresh(void **state)
{
	(void)state;
	now_ns = START_NS;
	fired_total = 0;
	whi_wheel_init(&wheel, now_ns);
	for (int i = 0; i < TIMERS; i++) {
		probes[i] = (struct probe){ 0 };
		whi_timer_init(&probes[i].timer, note);
	}
	return 0;
}

static void arm(struct probe *probe, uint64_t deadline_ns)
{
	probe->deadline_ns = deadline_ns;
	probe->fired_ns = 0;
	whi_wheel_arm(&wheel, &probe->timer, deadline_ns);
}

static unsigned advance(uint64_t to_ns)
{
	now_ns = to_ns;
	return whi_wheel_advance(&wheel, to_ns);
}

static void timer_does_not_fire_early(void **state)
{
	(void)state;
	for (uint64_t span = 1; span < 1ull << 40; span = span * 3 + 1) {
		fresh(NULL);
		arm(&probes[0], START_NS + span);
		assert_int_equal(advance(START_NS + span - 1), 0);
	}
}

static void timer_fires_at_most_one_tick_late(void **state)
{
	(void)state;
	for (uint64_t span = 1; span < 1ull << 40; span = span * 3 + 1) {
		fresh(NULL);
		arm(&probes[0], START_NS + span);
		assert_int_equal(advance(START_NS + span + TICK), 1);
	}
}

static void past_deadline_fires_within_a_tick(void **state)
{
	(void)state;
	arm(&probes[0], START_NS - 1000 * TICK);
	assert_int_equal(advance(START_NS + TICK), 1);
}

static void timer_fires_once(void **state)
{
	(void)state;
	arm(&probes[0], START_NS + 5 * TICK);
	assert_int_equal(advance(START_NS + 100 * TICK), 1);
	assert_int_equal(advance(START_NS + 100000 * TICK), 0);
	assert_int_equal(probes[0].fired, 1);
	assert_false(whi_timer_armed(&probes[0].timer));
}

static void timers_fire_in_order_of_their_deadlines(void **state)
{
	(void)state;
	for (int i = 0; i < TIMERS; i++)
		arm(&probes[i], START_NS + (uint64_t)((i * 7919) % TIMERS + 1) * 700 * TICK);
	assert_int_equal(advance(START_NS + (TIMERS + 1) * 700ull * TICK), TIMERS);
	for (int i = 0; i < TIMERS; i++)
		assert_int_equal(probes[i].order, (i * 7919) % TIMERS);
}

static void cancelled_timer_does_not_fire(void **state)
{
	(void)state;
	arm(&probes[0], START_NS + 5 * TICK);
	arm(&probes[1], START_NS + 5 * TICK);
	whi_wheel_cancel(&wheel, &probes[0].timer);
	assert_false(whi_timer_armed(&probes[0].timer));
	assert_int_equal(advance(START_NS + 100 * TICK), 1);
	assert_int_equal(probes[0].fired, 0);
}

static void cancelling_twice_is_harmless(void **state)
{
	(void)state;
	arm(&probes[0], START_NS + 5 * TICK);
	whi_wheel_cancel(&wheel, &probes[0].timer);
	whi_wheel_cancel(&wheel, &probes[0].timer);
	assert_int_equal(wheel.count, 0);
	assert_true(whi_wheel_next_ns(&wheel) == WHI_NEVER);
}

static void cancel_victim(struct whi_timer *timer)
{
	note(timer);
	whi_wheel_cancel(&wheel, &whi_container_of(timer, struct probe, timer)->victim->timer);
}

/* Spans that put both into one slot of each level, with the same and with another tick. */
static void timer_can_be_cancelled_by_one_that_fires_with_it(void **state)
{
	(void)state;
	for (uint64_t span = TICK; span < 1ull << 40; span *= 5) {
		for (uint64_t apart = 0; apart <= 3 * TICK; apart += TICK) {
			fresh(NULL);
			whi_timer_init(&probes[0].timer, cancel_victim);
			probes[0].victim = &probes[1];
			arm(&probes[0], START_NS + span);
			arm(&probes[1], START_NS + span + apart);
			assert_int_equal(advance(START_NS + span + 10 * TICK), 1);
			assert_int_equal(wheel.count, 0);
			assert_true(whi_wheel_next_ns(&wheel) == WHI_NEVER);
		}
	}
}

static void rearm_in_ten_ticks(struct whi_timer *timer)
{
	struct probe *probe = whi_container_of(timer, struct probe, timer);

	note(timer);
	if (probe->fired < 50)
		whi_wheel_arm(&wheel, timer, START_NS + (uint64_t)(probe->fired + 1) * 10 * TICK);
}

static void timer_can_rearm_itself_while_firing(void **state)
{
	(void)state;
	whi_timer_init(&probes[0].timer, rearm_in_ten_ticks);
	arm(&probes[0], START_NS + 10 * TICK);
	assert_int_equal(advance(START_NS + 105 * TICK), 10);
	assert_int_equal(advance(START_NS + 5000 * TICK), 40);
	assert_false(whi_timer_armed(&probes[0].timer));
}

static void next_is_never_when_nothing_is_armed(void **state)
{
	(void)state;
	assert_true(whi_wheel_next_ns(&wheel) == WHI_NEVER);
}

static void next_is_the_earliest_deadline_rounded_up(void **state)
{
	(void)state;
	for (uint64_t span = 1; span < 1ull << 50; span = span * 2 + 1) {
		uint64_t up = (START_NS + span + TICK - 1) / TICK * TICK;

		fresh(NULL);
		arm(&probes[0], START_NS + span);
		arm(&probes[1], START_NS + span + (1ull << 51));
		assert_int_equal(whi_wheel_next_ns(&wheel), up);
	}
}

static void next_is_not_late_when_many_share_a_slot(void **state)
{
	uint64_t next;

	(void)state;
	for (int i = 0; i < TIMERS; i++)
		arm(&probes[i], START_NS + 5000ull * TICK - (uint64_t)i * TICK);
	next = whi_wheel_next_ns(&wheel);
	assert_true(next > START_NS);
	assert_true(next <= START_NS + (5000ull - TIMERS + 2) * TICK);
}

static void never_is_never(void **state)
{
	(void)state;
	arm(&probes[0], WHI_NEVER);
	assert_true(whi_wheel_next_ns(&wheel) == WHI_NEVER);
	assert_int_equal(advance(START_NS + (1ull << 62)), 0);
	assert_true(whi_timer_armed(&probes[0].timer));
	whi_wheel_cancel(&wheel, &probes[0].timer);
	assert_int_equal(wheel.count, 0);
}

static void far_deadlines_are_kept_on_every_level(void **state)
{
	(void)state;
	for (unsigned bit = WHI_WHEEL_TICK_SHIFT + 2; bit < 63; bit++)
		arm(&probes[bit], START_NS + (1ull << bit));
	for (unsigned bit = WHI_WHEEL_TICK_SHIFT + 2; bit < 63; bit++) {
		advance(START_NS + (1ull << bit) - 1);
		assert_int_equal(probes[bit].fired, 0);
		advance(START_NS + (1ull << bit) + TICK);
		assert_int_equal(probes[bit].fired, 1);
	}
}

/* The wheel against the model */

static void check_fired(struct probe *probe)
{
	if (whi_timer_armed(&probe->timer)) {
		assert_true(probe->deadline_ns + TICK > now_ns);
		return;
	}
	if (probe->fired_ns == 0)
		return;
	assert_true(probe->fired_ns >= probe->deadline_ns);
}

static uint64_t earliest(void)
{
	uint64_t min = WHI_NEVER;

	for (int i = 0; i < TIMERS; i++)
		if (whi_timer_armed(&probes[i].timer) && probes[i].deadline_ns < min)
			min = probes[i].deadline_ns;
	return min;
}

static void check_against_model(void)
{
	uint64_t next = whi_wheel_next_ns(&wheel), min = earliest();
	uint64_t count = 0;

	for (int i = 0; i < TIMERS; i++) {
		check_fired(&probes[i]);
		count += whi_timer_armed(&probes[i].timer);
	}
	assert_int_equal(wheel.count, count);
	if (min == WHI_NEVER)
		assert_true(next == WHI_NEVER);
	else
		assert_true(next <= min + TICK && next > now_ns - TICK);
}

static void random_step(uint64_t *random)
{
	struct probe *probe = &probes[random_next(random) % TIMERS];
	uint64_t span = random_next(random) >> (20 + random_next(random) % 44);
	uint64_t min = earliest();

	switch (random_next(random) % 4) {
	case 0:
	case 1:
		whi_wheel_cancel(&wheel, &probe->timer);
		arm(probe, now_ns + span);
		break;
	case 2:
		whi_wheel_cancel(&wheel, &probe->timer);
		probe->fired_ns = 0;
		break;
	case 3:
		/* To a random time, or close to the next deadline. */
		if (min != WHI_NEVER && min > now_ns + TICK && random_next(random) % 2)
			span = min - now_ns - 2 + random_next(random) % 4;
		advance(now_ns + span % (1ull << 36));
		break;
	}
}

static void random_use_matches_the_model(void **state)
{
	uint64_t random = seed;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		random_step(&random);
		if (round % 8 == 0)
			check_against_model();
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(timer_does_not_fire_early, fresh),
		cmocka_unit_test_setup(timer_fires_at_most_one_tick_late, fresh),
		cmocka_unit_test_setup(past_deadline_fires_within_a_tick, fresh),
		cmocka_unit_test_setup(timer_fires_once, fresh),
		cmocka_unit_test_setup(timers_fire_in_order_of_their_deadlines, fresh),
		cmocka_unit_test_setup(cancelled_timer_does_not_fire, fresh),
		cmocka_unit_test_setup(cancelling_twice_is_harmless, fresh),
		cmocka_unit_test_setup(timer_can_be_cancelled_by_one_that_fires_with_it, fresh),
		cmocka_unit_test_setup(timer_can_rearm_itself_while_firing, fresh),
		cmocka_unit_test_setup(next_is_never_when_nothing_is_armed, fresh),
		cmocka_unit_test_setup(next_is_the_earliest_deadline_rounded_up, fresh),
		cmocka_unit_test_setup(next_is_not_late_when_many_share_a_slot, fresh),
		cmocka_unit_test_setup(never_is_never, fresh),
		cmocka_unit_test_setup(far_deadlines_are_kept_on_every_level, fresh),
		cmocka_unit_test_setup(random_use_matches_the_model, fresh),
	};

	seed = seed_from(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
