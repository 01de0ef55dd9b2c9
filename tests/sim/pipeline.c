/*
 * A queue pipeline. A producer on host 0 hands items to workers on hosts 1 and 2, at most WINDOW
 * unacknowledged ones each; a worker reads them into a bounded queue, works on them, passes them to
 * the consumer on host 3, and hands the consumer's acknowledgement back. Items of a connection that
 * failed are handed out again.
 *
 * Invariants
 * 1. Once the producer has seen every item acknowledged, the consumer has taken each.
 * 2. On one connection items arrive in the order in which they were handed out, none left out, and
 *    are acknowledged in that order.
 * 3. An item arrives twice only if it was handed out again.
 * 4. A queue never holds more than its bound.
 * 5. Every error is documented, and once faults have stopped the pipeline runs dry in time.
 */
#include <errno.h>
#include <stdlib.h>

#include "sim/pipeline.h"

enum { ITEMS = PIPELINE_ITEMS, WINDOW = 6 };

/* The producer */

static bool next_item(struct pipeline *pipeline, uint32_t *ret)
{
	if (pipeline->again_count > 0)
		*ret = pipeline->again[--pipeline->again_count];
	else if (pipeline->next < ITEMS)
		*ret = pipeline->next++;
	else
		return false;
	return true;
}

struct lane {
	struct pipeline *pipeline;
	struct wh_sock *sock;
	uint32_t sent, acked; /* places; in between is on its way */
	uint32_t numbers[WINDOW];
};

static int hand_out(struct lane *lane)
{
	uint32_t number;

	while (lane->sent - lane->acked < WINDOW && next_item(lane->pipeline, &number)) {
		const struct item item = { .number = number, .place = lane->sent };
		int r;

		lane->numbers[lane->sent++ % WINDOW] = number;
		r = send_all(lane->sock, &item, sizeof(item));
		if (r < 0)
			return r;
	}
	return 0;
}

static int take_ack(struct lane *lane)
{
	uint32_t number;
	int r = recv_exactly(lane->sock, &number, sizeof(number));

	if (r < 0)
		return r;
	if (number != lane->numbers[lane->acked % WINDOW])
		return wh_sim_fail("item %u was acknowledged out of order", number);
	lane->acked++;
	lane->pipeline->acked++;
	return 0;
}

static void take_back(struct lane *lane)
{
	struct pipeline *pipeline = lane->pipeline;

	for (; lane->acked < lane->sent; lane->acked++) {
		if (pipeline->forgets) {
			pipeline->acked++;
			continue;
		}
		pipeline->again[pipeline->again_count++] = lane->numbers[lane->acked % WINDOW];
		pipeline->handed_again++;
	}
}

static int feed(struct wh_sock *sock, void *arg)
{
	struct pipeline *pipeline = arg;
	struct lane lane = { .pipeline = pipeline, .sock = sock };
	const struct item end = { .number = PIPELINE_END };
	int r = 0;

	while (r == 0 && pipeline->acked < ITEMS) {
		r = hand_out(&lane);
		if (r == 0)
			r = lane.sent > lane.acked ? take_ack(&lane) : wh_sleep(5 * WH_MS);
	}
	take_back(&lane);
	if (r == 0 && send_all(sock, &end, sizeof(end)) == 0)
		wh_sock_shutdown(sock, SHUT_WR);
	wh_sock_close(sock);
	return 0;
}

/* The consumer */

static int consume(struct wh_sock *sock, void *arg)
{
	struct pipeline *pipeline = arg;
	struct item item;
	uint32_t place = 0;
	int r = 0;

	while (r == 0 && recv_exactly(sock, &item, sizeof(item)) == 0) {
		if (item.number >= ITEMS || item.value != pipeline_work(item.number))
			wh_sim_fail("item %u arrived damaged", item.number);
		else if (item.place != place++)
			wh_sim_fail("item %u arrived out of order", item.number);
		else if (pipeline->taken[item.number])
			pipeline->arrived_again++;
		else
			pipeline->taken[item.number] = true;
		r = send_all(sock, &item.number, sizeof(item.number));
	}
	wh_sock_close(sock);
	return 0;
}

/* The whole */

static int serve(wh_conn_fn fn, void *arg)
{
	struct wh_listener *listener;

	if (listen_on(PIPELINE_PORT, &listener) < 0)
		return 0;
	wh_serve(listener, fn, arg, NULL);
	wh_listener_close(listener);
	return 0;
}

static int producer_program(void *arg)
{
	return serve(feed, arg);
}

static int consumer_program(void *arg)
{
	return serve(consume, arg);
}

static int consumer_host(void *arg)
{
	return run_on_hosts(PIPELINE_CONSUMER, PIPELINE_CONSUMER, consumer_program, arg);
}

static int judge(const struct pipeline *pipeline)
{
	for (uint32_t i = 0; i < ITEMS; i++)
		if (!pipeline->taken[i])
			return wh_sim_fail("item %u was acknowledged and never arrived", i);
	if (pipeline->arrived_again > pipeline->handed_again)
		return wh_sim_fail("%u items arrived twice, %u were handed out twice",
				   pipeline->arrived_again, pipeline->handed_again);
	return 0;
}

static int run(void *arg)
{
	struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
	struct wh_scope scope;
	int r;

	if (!pipeline)
		return -ENOMEM;
	pipeline->forgets = planted(arg, "lost");
	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, producer_program, pipeline);
	if (r == 0)
		r = wh_spawn(&scope, consumer_host, pipeline);
	if (r == 0)
		r = run_on_hosts(1, PIPELINE_WORKERS, pipeline_worker, pipeline);
	if (r == 0)
		r = judge(pipeline);
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	free(pipeline);
	return r;
}

#define WORLD                                                                                      \
	{                                                                                          \
		.hosts = PIPELINE_CONSUMER + 1, .faults = "storm", .calm_after_ns = 2 * WH_SEC,    \
		.time_max_ns = 300 * WH_SEC,                                                       \
	}

const struct wh_sim_scenario sim_pipeline = {
	.name = "pipeline",
	.about = "items from a producer through workers to a consumer",
	.fn = run,
	.opts = WORLD,
};

const struct wh_sim_scenario sim_pipeline_lost = {
	.name = "pipeline:lost",
	.about = "items of a connection that failed count as acknowledged",
	.fn = run,
	.arg = (char[]){ "lost" },
	.opts = WORLD,
};
