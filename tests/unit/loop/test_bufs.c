/*
 * The receive buffers of a loop: lending, and who is served when there are none.
 */
#include "loop/bufs.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "support/fake_backend.h"

enum { COUNT = 4, PARKED = 10 };

struct parker {
	struct whi_parked parked;
	unsigned retries;
	unsigned order;
};

static struct wh_loop loop;
static struct fake fake;
static struct parker parkers[PARKED];
static unsigned retried;

static void retry(struct whi_parked *parked)
{
	struct parker *parker = whi_container_of(parked, struct parker, parked);

	parker->retries++;
	parker->order = retried++;
}

static int open_bufs(void **state)
{
	(void)state;
	fake_loop_open(&loop, &fake, COUNT);
	retried = 0;
	memset(parkers, 0, sizeof(parkers));
	for (int i = 0; i < PARKED; i++)
		parkers[i].parked.retry = retry;
	return 0;
}

static int close_bufs(void **state)
{
	(void)state;
	fake_loop_close(&loop);
	return 0;
}

static void nothing_is_allocated_before_the_first_use(void **state)
{
	(void)state;
	assert_null(loop.bufs.memory);
	assert_null(loop.bufs.meta);
}

static void opening_lends_every_buffer_to_the_backend(void **state)
{
	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	assert_int_equal(fake.buf_count, COUNT);
	for (uint16_t i = 0; i < COUNT; i++)
		assert_ptr_equal(fake.bufs[i].memory, whi_bufs_data(&loop.bufs, i));
}

static void opening_twice_changes_nothing(void **state)
{
	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	assert_int_equal(fake.buf_count, COUNT);
}

static void buffers_do_not_overlap(void **state)
{
	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	for (uint16_t i = 0; i < COUNT; i++)
		memset(whi_bufs_data(&loop.bufs, i), i, loop.bufs.bytes);
	for (uint16_t i = 0; i < COUNT; i++) {
		const char *data = whi_bufs_data(&loop.bufs, i);

		assert_int_equal(data[0], i);
		assert_int_equal(data[loop.bufs.bytes - 1], i);
	}
}

static void failed_opening_holds_nothing_and_can_be_repeated(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth <= 2; nth++) {
		whi_alloc_fail_at(nth);
		assert_int_equal(whi_bufs_open(&loop.bufs), -ENOMEM);
		assert_null(loop.bufs.memory);
		assert_null(loop.bufs.meta);
	}
	whi_alloc_fail_at(0);
	fake.bufs_open_result = -EINVAL;
	assert_int_equal(whi_bufs_open(&loop.bufs), -EINVAL);
	assert_null(loop.bufs.memory);
	fake.bufs_open_result = 0;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
}

static void take(unsigned count)
{
	fake.buf_count -= count;
	for (unsigned i = 0; i < count; i++)
		whi_bufs_took(&loop.bufs);
}

static void give_back(void)
{
	bool there[COUNT] = { false };

	for (unsigned i = 0; i < fake.buf_count; i++)
		there[fake.bufs[i].index] = true;
	for (uint16_t i = 0; i < COUNT; i++)
		if (!there[i])
			whi_bufs_give(&loop.bufs, i);
}

static void park_all(void)
{
	for (int i = 0; i < PARKED; i++)
		whi_bufs_park(&loop.bufs, &parkers[i].parked);
}

static void nobody_is_retried_while_all_are_lent(void **state)
{
	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	take(COUNT);
	park_all();
	assert_false(whi_bufs_unpark(&loop.bufs));
	assert_int_equal(retried, 0);
	assert_int_equal(loop.bufs.exhausted, PARKED);
	give_back();
	while (whi_bufs_unpark(&loop.bufs))
		;
}

static void first_parked_is_retried_first(void **state)
{
	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	park_all();
	while (whi_bufs_unpark(&loop.bufs))
		;
	for (unsigned i = 0; i < PARKED; i++) {
		assert_int_equal(parkers[i].retries, 1);
		assert_int_equal(parkers[i].order, i);
	}
}

static void as_many_are_retried_as_there_are_buffers(void **state)
{
	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	take(COUNT - 1);
	park_all();
	assert_true(whi_bufs_unpark(&loop.bufs));
	assert_int_equal(retried, 1);
	assert_true(whi_bufs_unpark(&loop.bufs));
	assert_int_equal(retried, 2);
	give_back();
	while (whi_bufs_unpark(&loop.bufs))
		;
	assert_int_equal(retried, PARKED);
}

/* A retried receive that finds no buffer again parks behind the others: all get their turn. */
static void park_again(struct whi_parked *parked)
{
	retry(parked);
	if (whi_container_of(parked, struct parker, parked)->retries < 3)
		whi_bufs_park(&loop.bufs, parked);
}

static void parking_again_goes_to_the_end_of_the_line(void **state)
{
	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	for (int i = 0; i < PARKED; i++)
		parkers[i].parked.retry = park_again;
	park_all();
	for (int i = 0; i < 2 * PARKED; i++)
		whi_bufs_unpark(&loop.bufs);
	assert_int_equal(retried, 3 * PARKED);
	for (unsigned i = 0; i < PARKED; i++)
		assert_int_equal(parkers[i].order, 2 * PARKED + i);
}

static void buffers_are_scarce_until_all_were_used_some_times_without_parking(void **state)
{
	unsigned used = 0;

	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	assert_false(whi_bufs_scarce(&loop.bufs));
	whi_bufs_park(&loop.bufs, &parkers[0].parked);
	assert_true(whi_bufs_scarce(&loop.bufs));
	assert_true(whi_bufs_awaited(&loop.bufs));
	whi_bufs_unpark(&loop.bufs);
	assert_false(whi_bufs_awaited(&loop.bufs));
	for (; whi_bufs_scarce(&loop.bufs); used++) {
		take(1);
		give_back();
	}
	assert_in_range(used, 2 * COUNT, 100 * COUNT);
}

static unsigned despaired;

static void despair(struct whi_parked *parked)
{
	(void)parked;
	despaired++;
}

/* Only the first one has to find out by waiting that no buffer comes back. */
static void patience_once_lost_is_not_waited_for_again(void **state)
{
	const uint64_t now_ns = 1000;

	(void)state;
	despaired = 0;
	for (int i = 0; i < 3; i++)
		parkers[i].parked.despair = despair;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	take(COUNT);
	whi_bufs_park(&loop.bufs, &parkers[0].parked);
	assert_int_equal(whi_bufs_patience(&loop.bufs, now_ns), WHI_BUFS_PATIENCE_NS);
	assert_int_equal(despaired, 0);
	whi_bufs_patience(&loop.bufs, now_ns + WHI_BUFS_PATIENCE_NS);
	assert_int_equal(despaired, 1);
	whi_bufs_park(&loop.bufs, &parkers[1].parked);
	whi_bufs_patience(&loop.bufs, now_ns + WHI_BUFS_PATIENCE_NS + 1);
	assert_int_equal(despaired, 2);
	/* One that comes back gives new hope. */
	give_back();
	take(COUNT);
	whi_bufs_park(&loop.bufs, &parkers[2].parked);
	whi_bufs_patience(&loop.bufs, now_ns + WHI_BUFS_PATIENCE_NS + 2);
	assert_int_equal(despaired, 2);
	give_back();
	whi_bufs_unpark(&loop.bufs);
	assert_int_equal(retried, 1);
}

static void loop_retries_the_parked_in_its_turn(void **state)
{
	(void)state;
	assert_int_equal(whi_bufs_open(&loop.bufs), 0);
	park_all();
	fake_settle(&loop);
	assert_int_equal(retried, PARKED);
}

#define BUFS_TEST(function) cmocka_unit_test_setup_teardown(function, open_bufs, close_bufs)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BUFS_TEST(nothing_is_allocated_before_the_first_use),
		BUFS_TEST(opening_lends_every_buffer_to_the_backend),
		BUFS_TEST(opening_twice_changes_nothing),
		BUFS_TEST(buffers_do_not_overlap),
		BUFS_TEST(failed_opening_holds_nothing_and_can_be_repeated),
		BUFS_TEST(nobody_is_retried_while_all_are_lent),
		BUFS_TEST(first_parked_is_retried_first),
		BUFS_TEST(as_many_are_retried_as_there_are_buffers),
		BUFS_TEST(parking_again_goes_to_the_end_of_the_line),
		BUFS_TEST(buffers_are_scarce_until_all_were_used_some_times_without_parking),
		BUFS_TEST(patience_once_lost_is_not_waited_for_again),
		BUFS_TEST(loop_retries_the_parked_in_its_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
