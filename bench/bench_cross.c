/*
 * Question: what does it cost to have another loop do something?
 *
 * cross_post       a message to the other loop and one back, one at a time; per round trip. Both
 *                  loops fall asleep in between, so this is mostly two wake-ups by the kernel
 * cross_call       wh_loop_call of an empty function: a task started there and waited for
 * cross_pipelined  --messages messages sent without waiting; per message
 *
 * Not measured: more than two loops.
 */
#include <stdlib.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "loop/loop.h"
#include "micro.h"

static uint64_t round_trips = 20000;
static uint64_t messages = 1000000;

static struct wh_loop *here, *there;
static struct whi_wait wait;

/* A message that comes and goes. */
static struct {
	struct wh_post post; /* must be first */
	uint64_t left;
} ball;

static void post_or_abort(struct wh_loop *loop, struct wh_post *post)
{
	if (wh_loop_post(loop, post) < 0)
		abort();
}

static void ball_here(struct wh_post *post);

static void ball_there(struct wh_post *post)
{
	post->fn = ball_here;
	post_or_abort(here, post);
}

static void ball_here(struct wh_post *post)
{
	if (ball.left-- == 0) {
		whi_task_wake(&wait);
		return;
	}
	post->fn = ball_there;
	post_or_abort(there, post);
}

static double play(void *arg)
{
	uint64_t began = micro_now_ns();

	(void)arg;
	ball.left = round_trips - 1;
	ball.post.fn = ball_there;
	post_or_abort(there, &ball.post);
	whi_task_suspend(&wait);
	return (double)(micro_now_ns() - began) / (double)round_trips;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static double call(void *arg)
{
	uint64_t began = micro_now_ns();

	(void)arg;
	for (uint64_t i = 0; i < round_trips; i++)
		if (wh_loop_call(there, nothing, NULL, NULL) < 0)
			abort();
	return (double)(micro_now_ns() - began) / (double)round_trips;
}

static struct wh_post *posts;
static struct wh_post answer;
static uint64_t arrived;

static void all_arrived(struct wh_post *post)
{
	(void)post;
	whi_task_wake(&wait);
}

static void arrive(struct wh_post *post)
{
	(void)post;
	if (++arrived < messages)
		return;
	answer.fn = all_arrived;
	post_or_abort(here, &answer);
}

static double pipelined(void *arg)
{
	uint64_t began = micro_now_ns();

	(void)arg;
	arrived = 0;
	for (uint64_t i = 0; i < messages; i++) {
		posts[i].fn = arrive;
		post_or_abort(there, &posts[i]);
	}
	whi_task_suspend(&wait);
	return (double)(micro_now_ns() - began) / (double)messages;
}

static int measure(void *arg)
{
	(void)arg;
	here = wh_loop_at(0);
	there = wh_loop_at(1);
	wait.what = "the other loop";
	micro_measure("cross_post", "ns", play, NULL);
	micro_measure("cross_call", "ns", call, NULL);
	micro_measure("cross_pipelined", "ns", pipelined, NULL);
	return 0;
}

int main(int argc, char **argv)
{
	const struct micro_option options[] = { { "round-trips", &round_trips },
						{ "messages", &messages },
						{ 0 } };
	const struct wh_run_opts opts = { .loops = 2, .pin = true };

	micro_options(argc, argv, options);
	posts = calloc(messages, sizeof(*posts));
	if (!posts)
		return 1;
	micro_check_run(wh_run(measure, NULL, &opts, NULL));
	free(posts);
	return 0;
}
