/*
 * A worker of the pipeline: reads items into a bounded queue, works on them, passes them to the
 * consumer, and hands the consumer's acknowledgement back.
 */
#include <errno.h>

#include "sim/pipeline.h"

enum { QUEUE_MAX = 3 };

struct worker {
	struct pipeline *pipeline;
	struct wh_sock *from, *to;
	struct wh_scope *scope;
	struct gate filled, emptied;
	struct item queue[QUEUE_MAX];
	uint32_t head, len;
	bool ended;
};

/* Any failure ends all three tasks: the items come again on a new connection. */
static int read_items(void *arg)
{
	struct worker *worker = arg;
	struct item item;
	int r;

	while ((r = recv_exactly(worker->from, &item, sizeof(item))) == 0) {
		if (item.number == PIPELINE_END) {
			worker->ended = true;
			return -EPIPE;
		}
		while (r == 0 && worker->len == QUEUE_MAX)
			r = gate_wait(&worker->emptied);
		if (r < 0)
			return r;
		worker->queue[(worker->head + worker->len++) % QUEUE_MAX] = item;
		if (worker->len > QUEUE_MAX)
			return wh_sim_fail("a queue holds %u items", worker->len);
		gate_open(&worker->filled);
	}
	return r;
}

static int pass_items(void *arg)
{
	struct worker *worker = arg;

	for (;;) {
		struct item item;
		int r = 0;

		while (r == 0 && worker->len == 0)
			r = gate_wait(&worker->filled);
		if (r < 0)
			return r;
		item = worker->queue[worker->head++ % QUEUE_MAX];
		worker->len--;
		gate_open(&worker->emptied);
		item.value = pipeline_work(item.number);
		r = pause_up_to(2 * WH_MS);
		if (r == 0)
			r = send_all(worker->to, &item, sizeof(item));
		if (r < 0)
			return r;
	}
}

static int pass_acks(void *arg)
{
	struct worker *worker = arg;
	uint32_t number;
	int r;

	while ((r = recv_exactly(worker->to, &number, sizeof(number))) == 0) {
		r = send_all(worker->from, &number, sizeof(number));
		if (r < 0)
			return r;
	}
	return r;
}

static void work_connected(struct worker *worker)
{
	struct wh_scope scope;

	wh_scope_open(&scope, NULL);
	if (wh_spawn(&scope, read_items, worker) < 0 || wh_spawn(&scope, pass_items, worker) < 0 ||
	    wh_spawn(&scope, pass_acks, worker) < 0)
		wh_scope_cancel(&scope);
	wh_scope_close(&scope);
}

int pipeline_worker(void *arg)
{
	bool ended = false;

	while (!ended && wh_cancelled() == 0) {
		struct worker worker = { .pipeline = arg };

		if (dial(0, PIPELINE_PORT, &worker.from) == 0) {
			if (dial(PIPELINE_CONSUMER, PIPELINE_PORT, &worker.to) == 0) {
				work_connected(&worker);
				wh_sock_close(worker.to);
			}
			wh_sock_close(worker.from);
		}
		ended = worker.ended;
		if (!ended)
			pause_up_to(100 * WH_MS);
	}
	return 0;
}
