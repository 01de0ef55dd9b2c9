/*
 * What crosses between loops and threads: posts and spawning. The first argument divides the
 * number of messages, for machines and tools that are slow.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "loop/runtime.h"
#include "support/task_test.h"

enum { MESSAGES = 1000000, WINDOW = 256, RUNTIMES = 300 };

static unsigned divisor = 1;

static int run(wh_task_fn fn, void *arg, uint32_t loops)
{
	int result = -1;

	assert_int_equal(wh_run(fn, arg, &(struct wh_run_opts){ .loops = loops }, &result), 0);
	return result;
}

/* A task that sleeps until its loop is told to wake it. */
struct bell {
	struct whi_wait wait;
	bool rung;
};

static void ring_bell(struct bell *bell)
{
	bell->rung = true;
	if (bell->wait.task)
		whi_task_wake(&bell->wait);
}

static void await_bell(struct bell *bell)
{
	bell->wait.what = "bell";
	if (!bell->rung)
		whi_task_suspend(&bell->wait);
	bell->wait.task = NULL;
	bell->rung = false;
}

/* Posts */

struct numbered {
	struct wh_post post;
	unsigned number;
};

static unsigned next_number;
static struct bell all_here;

static void check_number(struct wh_post *post)
{
	check_int(((struct numbered *)(void *)post)->number, next_number);
	if (++next_number == 1000)
		ring_bell(&all_here);
}

static struct numbered numbered[1000];

static int post_all(void *arg)
{
	for (unsigned i = 0; i < 1000; i++) {
		numbered[i] = (struct numbered){ { .fn = check_number }, i };
		check_int(wh_loop_post(arg, &numbered[i].post), 0);
		if (i % 100 == 0)
			check_int(wh_yield(), 0);
	}
	return 0;
}

static int receive_all(void *arg)
{
	unsigned from = (unsigned)(uintptr_t)arg;

	next_number = 0;
	all_here = (struct bell){ 0 };
	check_int(wh_loop_spawn(wh_loop_at(from), post_all, wh_loop_self(), NULL), 0);
	await_bell(&all_here);
	return 0;
}

static void posts_of_another_loop_keep_their_order(void **state)
{
	(void)state;
	assert_int_equal(run(receive_all, (void *)1, 2), 0);
}

static void posts_to_oneself_keep_their_order(void **state)
{
	(void)state;
	assert_int_equal(run(receive_all, (void *)0, 1), 0);
}

static void *post_from_thread(void *arg)
{
	for (unsigned i = 0; i < 1000; i++) {
		numbered[i] = (struct numbered){ { .fn = check_number }, i };
		check_int(wh_loop_post(arg, &numbered[i].post), 0);
	}
	return NULL;
}

static int receive_from_thread(void *arg)
{
	pthread_t thread;

	(void)arg;
	next_number = 0;
	all_here = (struct bell){ 0 };
	check_int(pthread_create(&thread, NULL, post_from_thread, wh_loop_self()), 0);
	await_bell(&all_here);
	pthread_join(thread, NULL);
	return 0;
}

static void posts_of_a_thread_keep_their_order(void **state)
{
	(void)state;
	assert_int_equal(run(receive_from_thread, NULL, 1), 0);
}

/* Two loops exchange messages: each side has a window of them under way, and sends each back. */

struct ball {
	struct wh_post post;
	struct wh_loop *home, *away;
	unsigned *left;	  /* round trips still to begin, home's */
	unsigned *flying; /* balls not yet retired, home's */
	struct bell *over;
};

static void at_home(struct wh_post *post);

static void at_away(struct wh_post *post)
{
	struct ball *ball = (struct ball *)(void *)post;

	post->fn = at_home;
	check_int(wh_loop_post(ball->home, post), 0);
}

static void at_home(struct wh_post *post)
{
	struct ball *ball = (struct ball *)(void *)post;

	if (*ball->left == 0) {
		if (--*ball->flying == 0)
			ring_bell(ball->over);
		return;
	}
	--*ball->left;
	post->fn = at_away;
	check_int(wh_loop_post(ball->away, post), 0);
}

static int play(void *arg)
{
	unsigned window = (unsigned)(uintptr_t)arg, flying = window;
	unsigned left = MESSAGES / 4 / divisor;
	struct wh_loop *away = wh_loop_at(1 - wh_loop_index(wh_loop_self()));
	struct ball balls[WINDOW];
	struct bell over = { 0 };

	for (unsigned i = 0; i < window; i++) {
		balls[i] = (struct ball){ { .fn = at_away }, wh_loop_self(), away, &left,
					  &flying,	     &over };
		check_int(wh_loop_post(away, &balls[i].post), 0);
	}
	await_bell(&over);
	check_int(left, 0);
	return 0;
}

static int play_both_ways(void *arg)
{
	check_int(wh_loop_spawn(wh_loop_at(1), play, arg, NULL), 0);
	return play(arg);
}

/* A quarter each way from each side: a million messages. */
static void two_loops_exchange_a_million_messages(void **state)
{
	(void)state;
	assert_int_equal(run(play_both_ways, (void *)WINDOW, 2), 0);
}

/* One ball each: the loops sleep and wake each other all the time. */
static void two_loops_that_sleep_exchange_messages(void **state)
{
	unsigned before = divisor;

	(void)state;
	divisor *= 50;
	assert_int_equal(run(play_both_ways, (void *)1, 2), 0);
	divisor = before;
}

/* Spawning */

static int note_loop(void *arg)
{
	_Atomic unsigned *seen = arg;

	*seen |= 1u << wh_loop_index(wh_loop_self());
	return 0;
}

static _Atomic unsigned seen;

struct foreign {
	pthread_t thread;
	struct wh_loop *loops[3];
};

static void *spawn_from_thread(void *arg)
{
	struct foreign *foreign = arg;

	for (unsigned i = 0; i < 300; i++)
		check_int(wh_loop_spawn(foreign->loops[i % 3], note_loop, &seen, NULL), 0);
	return NULL;
}

static int be_spawned_into(void *arg)
{
	struct foreign foreign[2];

	(void)arg;
	for (int i = 0; i < 2; i++) {
		for (unsigned j = 0; j < 3; j++)
			foreign[i].loops[j] = wh_loop_at(j);
		check_int(pthread_create(&foreign[i].thread, NULL, spawn_from_thread, &foreign[i]),
			  0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(foreign[i].thread, NULL);
	return 0;
}

static void threads_without_a_loop_spawn_on_any(void **state)
{
	(void)state;
	seen = 0;
	assert_int_equal(run(be_spawned_into, NULL, 3), 0);
	assert_int_equal(seen, 7);
}

static int check_name(void *arg)
{
	(void)arg;
	return wh_task_name(wh_task_self())[0] == 'n' ? 0 : -EIO;
}

static int spawn_named(void *arg)
{
	char name[] = "named";
	struct wh_task *task;

	(void)arg;
	check_int(wh_loop_spawn(wh_loop_self(), check_name, NULL,
				&(struct wh_spawn_opts){ .ret_task = &task }),
		  -EINVAL);
	check_int(wh_loop_spawn(wh_loop_self(), check_name, NULL,
				&(struct wh_spawn_opts){ .name = name }),
		  0);
	name[0] = 'X';
	return wh_yield();
}

static void name_is_copied_and_a_handle_refused(void **state)
{
	(void)state;
	assert_int_equal(run(spawn_named, NULL, 1), 0);
}

static int spawn_too_large(void *arg)
{
	(void)arg;
	check_int(wh_loop_spawn(wh_loop_at(1), check_name, NULL,
				&(struct wh_spawn_opts){ .stack_bytes = 1 }),
		  0);
	return wh_sleep_until(UINT64_MAX) == -ECANCELED ? 0 : -EIO;
}

static void task_that_cannot_be_started_counts_as_failed(void **state)
{
	(void)state;
	assert_int_equal(run(spawn_too_large, NULL, 2), -EINVAL);
}

/* The thread's post ends the runtime while the thread is still in wh_loop_post. */

static struct bell finish;

static void finish_now(struct wh_post *post)
{
	(void)post;
	ring_bell(&finish);
}

static void *post_the_end(void *arg)
{
	static struct wh_post post;

	post.fn = finish_now;
	check_int(wh_loop_post(arg, &post), 0);
	return NULL;
}

static int wait_for_the_end(void *arg)
{
	finish = (struct bell){ 0 };
	check_int(pthread_create(arg, NULL, post_the_end, wh_loop_self()), 0);
	/* Busy, so that the post is found without a wake-up. */
	while (!finish.rung)
		check_int(wh_yield(), 0);
	return 0;
}

static void post_may_end_the_runtime(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RUNTIMES / divisor; i++) {
		pthread_t thread;

		assert_int_equal(run(wait_for_the_end, &thread, 1), 0);
		pthread_join(thread, NULL);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(posts_of_another_loop_keep_their_order),
		cmocka_unit_test(posts_to_oneself_keep_their_order),
		cmocka_unit_test(posts_of_a_thread_keep_their_order),
		cmocka_unit_test(two_loops_exchange_a_million_messages),
		cmocka_unit_test(two_loops_that_sleep_exchange_messages),
		cmocka_unit_test(threads_without_a_loop_spawn_on_any),
		cmocka_unit_test(name_is_copied_and_a_handle_refused),
		cmocka_unit_test(task_that_cannot_be_started_counts_as_failed),
		cmocka_unit_test(post_may_end_the_runtime),
	};

	if (argc > 1)
		divisor = (unsigned)strtoul(argv[1], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
