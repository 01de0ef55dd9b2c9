/*
 * When waiting awake pays: the clock is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/spin.h"

enum { US = 1000, WAIT_US = 20, PROBE = 64 };

static uint64_t now;

/* One wait in which nothing comes. True: it spun, and not for ever. */
static bool wait_in_vain(struct whi_spin *spin)
{
	bool spun = false;

	while (whi_spin_on(spin, now)) {
		spun = true;
		now += US;
	}
	now += US;
	return spun;
}

static int waits_until_it_spins(struct whi_spin *spin)
{
	int count = 1;

	while (!wait_in_vain(spin)) {
		count++;
		assert_true(count <= PROBE);
	}
	return count;
}

static void it_gives_up_in_time(void **state)
{
	struct whi_spin spin;
	uint64_t began = now;

	(void)state;
	whi_spin_init(&spin, 4);
	assert_true(wait_in_vain(&spin));
	assert_true(now - began <= (WAIT_US + 2) * US);
}

static void waiting_in_vain_becomes_rare(void **state)
{
	struct whi_spin spin;
	int spun = 0;

	(void)state;
	whi_spin_init(&spin, 4);
	for (int i = 0; i < 100 * PROBE; i++)
		spun += wait_in_vain(&spin);
	assert_true(spun > 90 && spun < 130);
}

static void success_brings_it_back(void **state)
{
	struct whi_spin spin;

	(void)state;
	whi_spin_init(&spin, 4);
	for (int i = 0; i < PROBE; i++)
		wait_in_vain(&spin);
	while (!whi_spin_on(&spin, now))
		;
	whi_spin_hit(&spin);
	assert_int_equal(waits_until_it_spins(&spin), 1);
}

static void being_displaced_ends_it_at_once(void **state)
{
	struct whi_spin spin;

	(void)state;
	whi_spin_init(&spin, 4);
	assert_true(whi_spin_on(&spin, now));
	now += 1000 * US;
	assert_false(whi_spin_on(&spin, now));
	assert_true(waits_until_it_spins(&spin) > PROBE / 2);
}

static void one_cpu_is_not_spun_on(void **state)
{
	struct whi_spin spin, none = { 0 };

	(void)state;
	whi_spin_init(&spin, 1);
	for (int i = 0; i < 2 * PROBE; i++) {
		assert_false(whi_spin_on(&spin, now));
		assert_false(whi_spin_on(&none, now));
	}
}

static void nobody_spins_where_others_could_run(void **state)
{
	struct whi_awake *mine = whi_awake_open(), *second = whi_awake_open(),
			 *third = whi_awake_open();
	struct whi_spin spin;

	(void)state;
	whi_spin_init(&spin, 2);
	assert_false(whi_spin_on(&spin, now));
	whi_awake_set(second, false);
	assert_true(whi_spin_on(&spin, now));
	whi_spin_hit(&spin);
	whi_awake_set(second, true);
	assert_false(whi_spin_on(&spin, now));
	whi_awake_close(third);
	assert_true(whi_spin_on(&spin, now));
	whi_awake_close(second);
	whi_awake_close(mine);
}

static void slots_never_run_out(void **state)
{
	enum { MANY = 2000 };
	static struct whi_awake *slots[MANY];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		slots[i] = whi_awake_open();
		assert_non_null(slots[i]);
	}
	assert_false(whi_awake_leaves_cpu(64));
	for (int i = 0; i < MANY; i++)
		whi_awake_close(slots[i]);
	assert_true(whi_awake_leaves_cpu(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_gives_up_in_time),
		cmocka_unit_test(waiting_in_vain_becomes_rare),
		cmocka_unit_test(success_brings_it_back),
		cmocka_unit_test(being_displaced_ends_it_at_once),
		cmocka_unit_test(one_cpu_is_not_spun_on),
		cmocka_unit_test(nobody_spins_where_others_could_run),
		cmocka_unit_test(slots_never_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
