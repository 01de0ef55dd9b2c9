/*
 * How to test a program in a simulated world: a counter on one host, a client on another that adds
 * to it, and the question whether the counter is right in the end, whatever happens to the network.
 *
 *     example_planted_bug           looks for a seed that shows the bug
 *     example_planted_bug SEED      has that run again
 *     example_planted_bug --fixed   the same search without the bug
 *
 * The bug: a client that gets no answer asks again. If the question had arrived and only the answer
 * was lost, one is added twice. The cure: questions have numbers, and the counter knows the last.
 * Built as a shared object this file is also a scenario: `whorl sim ./example_planted_bug.so`.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/sim.h>
#include <whorl/whorl.h>

enum { PORT = 80, ADDITIONS = 20, SEEDS = 1000 };

struct counter {
	uint64_t value;
	uint64_t last; /* question that was answered */
	bool fixed;
};

/* The program: a server and a client. */

static int serve_client(struct wh_sock *sock, void *arg)
{
	struct counter *counter = arg;
	uint8_t question;

	while (wh_sock_recv(sock, &question, 1) == 1) {
		if (!counter->fixed || question != counter->last)
			counter->value++;
		counter->last = question;
		if (wh_sock_send(sock, "!", 1) < 0)
			break;
	}
	wh_sock_close(sock);
	return 0;
}

static int ask(uint8_t question)
{
	struct wh_addr addr;
	struct wh_sock *sock;
	char answer;
	ssize_t r;

	wh_sim_addr(0, PORT, &addr);
	r = wh_connect(&addr, &sock);
	if (r < 0)
		return (int)r;
	r = wh_sock_send(sock, &question, 1);
	if (r == 1)
		r = wh_sock_recv(sock, &answer, 1);
	wh_sock_close(sock);
	return r == 1 ? 0 : -1;
}

static int client(void *arg)
{
	(void)arg;
	for (uint8_t i = 1; i <= ADDITIONS && wh_cancelled() == 0; i++)
		while (ask(i) < 0 && wh_sleep(10 * WH_MS) == 0)
			;
	return 0;
}

static int serve(void *arg)
{
	struct wh_listener *listener;
	struct wh_addr addr;

	wh_sim_addr(0, PORT, &addr);
	while (wh_listen(&addr, NULL, &listener) < 0)
		if (wh_sleep(10 * WH_MS) < 0)
			return 0;
	wh_serve(listener, serve_client, arg, NULL);
	wh_listener_close(listener);
	return 0;
}

/* The test. */

static int test(void *arg)
{
	struct counter counter = { .fixed = arg != NULL };
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, NULL);
	wh_spawn(&scope, serve, &counter);
	r = wh_loop_call(wh_loop_at(1), client, NULL, NULL);
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	if (r == 0 && counter.value != ADDITIONS)
		return wh_sim_fail("%d were added, and the counter says %" PRIu64, ADDITIONS,
				   counter.value);
	return r;
}

#define WORLD                                                                                      \
	{                                                                                          \
		.hosts = 2, .faults = "reset=0.01", .calm_after_ns = 2 * WH_SEC,                   \
	}

const struct wh_sim_scenario wh_scenario = {
	.name = "counter",
	.about = "a retry that adds twice",
	.fn = test,
	.opts = WORLD,
};

static int run_seed(uint64_t seed, void *fixed)
{
	struct wh_sim_report report = { 0 };
	struct wh_sim_opts opts = WORLD;
	int r;

	opts.ret_report = &report;
	r = wh_sim_run(seed, test, fixed, &opts);
	if (r < 0)
		printf("seed %" PRIu64 ": %s; trace hash %016" PRIx64 "\n", seed, report.text,
		       report.trace_hash);
	return r;
}

int main(int argc, char **argv)
{
	bool fixed = argc > 1 && strcmp(argv[1], "--fixed") == 0;

	if (argc > 1 && !fixed)
		return run_seed(strtoull(argv[1], NULL, 10), NULL) < 0;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		if (run_seed(seed, fixed ? &fixed : NULL) < 0)
			return 1;
	printf("%d seeds passed\n", SEEDS);
	return 0;
}
