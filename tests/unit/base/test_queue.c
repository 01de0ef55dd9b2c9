/*
 * The queues: order in one thread, and that nothing is lost or reordered per producer when several
 * threads push while one takes.
 */
#include "base/queue.h"

#include <pthread.h>

#include "support/task_test.h"

enum { PRODUCERS = 3, PUSHES = 100000 };

struct item {
	struct whi_qnode node;
	unsigned producer;
	unsigned number;
};

static struct item items[PRODUCERS][PUSHES];

static struct item *item_of(struct whi_qnode *node)
{
	return whi_container_of(node, struct item, node);
}

static void new_fifo_is_empty(void **state)
{
	struct whi_fifo fifo = { 0 };

	(void)state;
	assert_true(whi_fifo_empty(&fifo));
	assert_null(whi_fifo_pop(&fifo));
}

static void fifo_keeps_the_order(void **state)
{
	struct whi_fifo fifo = { 0 };

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		whi_fifo_push(&fifo, &items[0][i].node);
	for (unsigned i = 0; i < 10; i++)
		assert_ptr_equal(whi_fifo_pop(&fifo), &items[0][i].node);
	assert_true(whi_fifo_empty(&fifo));
}

static void fifo_can_be_filled_again_after_it_ran_empty(void **state)
{
	struct whi_fifo fifo = { 0 };

	(void)state;
	whi_fifo_push(&fifo, &items[0][0].node);
	assert_ptr_equal(whi_fifo_pop(&fifo), &items[0][0].node);
	whi_fifo_push(&fifo, &items[0][1].node);
	whi_fifo_push(&fifo, &items[0][0].node);
	assert_ptr_equal(whi_fifo_pop(&fifo), &items[0][1].node);
	assert_ptr_equal(whi_fifo_pop(&fifo), &items[0][0].node);
	assert_null(whi_fifo_pop(&fifo));
}

static void mpsc_gives_all_oldest_first(void **state)
{
	struct whi_mpsc mpsc = { NULL };
	struct whi_qnode *node;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		whi_mpsc_push(&mpsc, &items[0][i].node);
	node = whi_mpsc_take(&mpsc);
	for (unsigned i = 0; i < 10; i++, node = node->next)
		assert_ptr_equal(node, &items[0][i].node);
	assert_null(node);
}

static void mpsc_is_empty_after_taking(void **state)
{
	struct whi_mpsc mpsc = { NULL };

	(void)state;
	assert_true(whi_mpsc_empty(&mpsc));
	assert_null(whi_mpsc_take(&mpsc));
	whi_mpsc_push(&mpsc, &items[0][0].node);
	assert_false(whi_mpsc_empty(&mpsc));
	whi_mpsc_take(&mpsc);
	assert_true(whi_mpsc_empty(&mpsc));
}

static struct whi_mpsc shared;

static void *produce(void *arg)
{
	unsigned producer = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < PUSHES; i++) {
		items[producer][i].producer = producer;
		items[producer][i].number = i;
		whi_mpsc_push(&shared, &items[producer][i].node);
	}
	return NULL;
}

/* Take until all have come; each producer's must come in its own order. */
static void consume_all(void)
{
	unsigned next[PRODUCERS] = { 0 };
	unsigned total = 0;

	while (total < PRODUCERS * PUSHES) {
		struct whi_qnode *node = whi_mpsc_take(&shared);

		for (; node; node = node->next, total++) {
			struct item *item = item_of(node);

			assert_int_equal(item->number, next[item->producer]++);
		}
	}
}

static void mpsc_loses_and_reorders_nothing_between_threads(void **state)
{
	pthread_t threads[PRODUCERS];

	(void)state;
	for (uintptr_t i = 0; i < PRODUCERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, produce, (void *)i), 0);
	consume_all();
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(whi_mpsc_empty(&shared));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_fifo_is_empty),
		cmocka_unit_test(fifo_keeps_the_order),
		cmocka_unit_test(fifo_can_be_filled_again_after_it_ran_empty),
		cmocka_unit_test(mpsc_gives_all_oldest_first),
		cmocka_unit_test(mpsc_is_empty_after_taking),
		cmocka_unit_test(mpsc_loses_and_reorders_nothing_between_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
