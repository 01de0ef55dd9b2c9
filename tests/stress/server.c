/*
 * The stressed server: all services on every loop, and its counters for who asks.
 *
 * usage: stress_server [OPTION=NUMBER]...
 *     loops, buf_count, buf_bytes, stack_bytes as wh_run's options; default 1 loop
 *     idle_ms     how long a peer may take for a frame (default 5,000)
 *
 * The first line of output names the port of each service. From then on every line of input is
 * answered with a line of counters; the end of input ends the server. Output is JSON.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/exec.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "loop/loop.h"
#include "stress/services.h"

enum { SERVICES_MAX = 8, LOOPS_MAX = 8 };

static struct wh_addr addrs[SERVICES_MAX];
static _Atomic unsigned loops_listening;

/* Of all loops. */
struct counters {
	struct wh_loop_stats stats;
	uint64_t lent, parked;
};

/* Counting */

static int add_counters(void *arg)
{
	struct counters *sum = arg;
	const struct whi_bufs *bufs = &whi_loop_self()->bufs;
	struct wh_loop_stats stats;

	wh_loop_stats(&stats);
	sum->stats.turns += stats.turns;
	sum->stats.enters += stats.enters;
	sum->stats.cq_overflows += stats.cq_overflows;
	sum->stats.bufs_exhausted += stats.bufs_exhausted;
	sum->stats.accept_backoffs += stats.accept_backoffs;
	sum->stats.tasks_live += stats.tasks_live;
	sum->stats.ops_inflight += stats.ops_inflight;
	sum->lent += bufs->lent;
	for (const struct whi_list *node = bufs->parked.next; node != &bufs->parked;
	     node = node->next)
		sum->parked++;
	return 0;
}

static int print_counters(void)
{
	struct counters sum = { 0 };

	for (unsigned i = 0; i < wh_loop_count(); i++) {
		struct wh_loop *loop = wh_loop_at(i);
		/* A call takes a task, for which there may be no memory. */
		int r = loop == wh_loop_self() ? add_counters(&sum)
					       : wh_loop_call(loop, add_counters, &sum, NULL);

		if (r < 0)
			return r;
	}
	printf("{\"tasks\":%u,\"ops\":%u,\"lent\":%" PRIu64 ",\"parked\":%" PRIu64,
	       sum.stats.tasks_live, sum.stats.ops_inflight, sum.lent, sum.parked);
	printf(",\"turns\":%" PRIu64 ",\"enters\":%" PRIu64 ",\"cq_overflows\":%" PRIu64
	       ",\"bufs_exhausted\":%" PRIu64 ",\"accept_backoffs\":%" PRIu64,
	       sum.stats.turns, sum.stats.enters, sum.stats.cq_overflows, sum.stats.bufs_exhausted,
	       sum.stats.accept_backoffs);
	printf(",\"connections\":%" PRIu64 ",\"accepted\":%" PRIu64 ",\"bytes\":%" PRIu64
	       ",\"errors\":%" PRIu64 ",\"surprises\":%" PRIu64 ",\"first_surprise\":\"%s\"}\n",
	       tally.connections, tally.accepted, tally.bytes, tally.errors, tally.surprises,
	       tally.first_surprise ? strerror(-tally.first_surprise) : "");
	return fflush(stdout) == 0 ? 0 : -EIO;
}

/* Ends with a failure, which cancels all else. */
static int answer(void *arg)
{
	char line[256];
	int r;

	(void)arg;
	do {
		r = wh_fd_poll(STDIN_FILENO, POLLIN);
		if (r < 0)
			return r;
		r = (int)read(STDIN_FILENO, line, sizeof(line));
		if (r > 0)
			r = print_counters();
		else
			r = -ESHUTDOWN;
	} while (r == 0);
	return r;
}

/* Serving */

struct serving {
	const struct service *service;
	struct wh_listener *listener;
};

static int serve(void *arg)
{
	const struct serving *serving = arg;

	return wh_serve(serving->listener, serving->service->fn, NULL,
			&(struct wh_serve_opts){ .close_listener = true });
}

/* The first loop lets the kernel choose the ports, the others listen on the same ones. */
static int open_listeners(struct serving *serving)
{
	const struct wh_listen_opts opts = { .reuse_port = true };

	for (unsigned i = 0; services[i].name; i++) {
		int r = wh_listen(&addrs[i], &opts, &serving[i].listener);

		if (r < 0)
			return r;
		serving[i].service = &services[i];
		wh_listener_addr(serving[i].listener, &addrs[i]);
	}
	loops_listening++;
	return 0;
}

static int serve_all(void *arg)
{
	struct serving *serving = arg;
	struct wh_scope scope;
	int r = 0;

	wh_scope_open(&scope, NULL);
	for (unsigned i = 0; services[i].name && r == 0; i++)
		r = wh_spawn(&scope, serve, &serving[i], .name = services[i].name);
	if (r < 0)
		wh_scope_cancel(&scope);
	r = wh_scope_close(&scope);
	return r;
}

static int serve_too(void *arg)
{
	struct serving serving[SERVICES_MAX] = { 0 };
	int r = open_listeners(serving);

	(void)arg;
	return r < 0 ? r : serve_all(serving);
}

static int serve_elsewhere(void *arg)
{
	int result = 0;
	int r = wh_loop_call(arg, serve_too, NULL, &result);

	return r < 0 ? r : result;
}

static unsigned port_of(const struct wh_addr *addr)
{
	char text[WH_ADDR_TEXT_MAX];

	return (unsigned)strtoul(strrchr(wh_addr_format(addr, text), ':') + 1, NULL, 10);
}

static void greet(void)
{
	printf("{\"backend\":\"%s\"", wh_backend_name());
	for (unsigned i = 0; services[i].name; i++)
		printf(",\"%s\":%u", services[i].name, port_of(&addrs[i]));
	printf("}\n");
	fflush(stdout);
}

static int run(void *arg)
{
	struct serving serving[SERVICES_MAX] = { 0 };
	struct wh_scope scope;
	int r;

	(void)arg;
	for (unsigned i = 0; services[i].name; i++)
		wh_addr_parse("127.0.0.1:0", &addrs[i]);
	r = open_listeners(serving);
	if (r < 0)
		return r;
	wh_scope_open(&scope, NULL);
	for (unsigned i = 1; i < wh_loop_count() && r == 0; i++)
		r = wh_spawn(&scope, serve_elsewhere, wh_loop_at(i));
	while (r == 0 && loops_listening < wh_loop_count())
		r = wh_sleep(WH_MS);
	if (r == 0)
		greet();
	if (r == 0)
		r = wh_spawn(&scope, answer, NULL);
	if (r == 0)
		r = serve_all(serving);
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	return r;
}

struct options {
	struct wh_run_opts run;
	uint64_t idle_ns;
};

static void set(struct options *options, const char *name, uint32_t value)
{
	struct wh_run_opts *opts = &options->run;

	if (strcmp(name, "loops") == 0)
		opts->loops = value < LOOPS_MAX ? value : LOOPS_MAX;
	else if (strcmp(name, "buf_count") == 0)
		opts->buf_count = value;
	else if (strcmp(name, "buf_bytes") == 0)
		opts->buf_bytes = value;
	else if (strcmp(name, "stack_bytes") == 0)
		opts->stack_bytes = value;
	else if (strcmp(name, "idle_ms") == 0)
		options->idle_ns = value * WH_MS;
	else
		fprintf(stderr, "stress_server: no option %s\n", name);
}

static int run_with_executor(const struct options *options, int *ret_result)
{
	struct wh_executor *executor;
	int r = wh_executor_open(&(struct wh_executor_opts){ .threads = 2 }, &executor);

	if (r < 0)
		return r;
	services_init(executor, options->idle_ns);
	r = wh_run(run, NULL, &options->run, ret_result);
	wh_executor_close(executor);
	return r;
}

int main(int argc, char **argv)
{
	struct options options = { .run.loops = 1, .idle_ns = 5 * WH_SEC };
	int result = 0;
	int r;

	for (int i = 1; i < argc; i++) {
		char *equals = strchr(argv[i], '=');

		if (equals)
			*equals = '\0';
		set(&options, argv[i], equals ? (uint32_t)strtoul(equals + 1, NULL, 10) : 0);
	}
	r = run_with_executor(&options, &result);
	if (r < 0) {
		fprintf(stderr, "stress_server: cannot start: %s: %s\n", strerror(-r),
			wh_run_advice(r));
		return 3;
	}
	if (result != -ESHUTDOWN && result != -ECANCELED) {
		fprintf(stderr, "stress_server: ended: %s\n", strerror(-result));
		return 1;
	}
	return 0;
}
