/*
 * The engine half of whorl load: a task a connection, spread over the loops.
 *
 * Invariants
 * 1. All connections are open before the first request is sent, and a request is sent only when
 *    the answer before it has arrived whole.
 * 2. Request `sequence` of connection `index` is `size` bytes of one pattern, from an offset that
 *    these two decide. So every byte tells connection, request and place apart, and comparing
 *    costs no memory of the connection's own.
 * 3. What a loop counts is its worker's, and added up when the loop has nothing left to do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "cli.h"
#include "load.h"

enum {
	OPENERS = 64,	 /* connections that a loop opens at a time */
	OFFSETS = 65521, /* into the pattern; a prime, so that strides reach them all */
	INDEX_STRIDE = 7919,
	SEQUENCE_STRIDE = 30011,
	SEND_FIRST = 16384, /* larger requests are sent while the answer is read: the buffers
			       between us and the server might not hold one */
	BUF_BYTES_LARGE = 65536,
	BUF_COUNT_LARGE = 256,
};

struct worker;

struct connection {
	struct worker *worker;
	struct wh_sock *sock;
	uint64_t index;
};

/* What one loop does. */
struct worker {
	struct load *load;
	struct wh_loop *loop;
	uint64_t next; /* the connection to open next */
	uint64_t opened;
	uint64_t unsent, errors, mismatches;
	int first_error;
	struct histogram latency;
};

struct load {
	const struct load_plan *plan;
	struct load_result *result;
	struct worker *workers;
	struct connection *connections;
	char *pattern;
	uint64_t start_ns, from_ns, end_ns; /* warm-up, measuring, end */
};

/* Opening */

static struct connection *next_connection(struct worker *worker)
{
	const struct load_plan *plan = worker->load->plan;
	uint64_t index = worker->next;
	struct connection *connection;

	if (index >= plan->connections)
		return NULL;
	worker->next += plan->loops;
	connection = &worker->load->connections[index];
	connection->index = index;
	connection->worker = worker;
	return connection;
}

static int open_one(struct connection *connection)
{
	struct wh_scope scope;
	int r;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = LOAD_CONNECT_NS });
	r = wh_connect(&connection->worker->load->plan->addr, &connection->sock);
	wh_scope_close(&scope);
	if (r == 0)
		connection->worker->opened++;
	return r;
}

static int open_some(void *arg)
{
	struct connection *connection;
	int r = 0;

	while (r == 0 && (connection = next_connection(arg)))
		r = open_one(connection);
	return r;
}

static int open_all(void *arg)
{
	struct wh_scope scope;
	int r = 0, first;

	wh_scope_open(&scope, NULL);
	for (unsigned i = 0; i < OPENERS && r == 0; i++)
		r = wh_spawn(&scope, open_some, arg);
	if (r < 0)
		wh_scope_cancel(&scope);
	first = wh_scope_close(&scope);
	return r < 0 ? r : first;
}

static int close_all(void *arg)
{
	struct worker *worker = arg;
	const struct load_plan *plan = worker->load->plan;

	for (uint64_t i = (uint64_t)(worker - worker->load->workers); i < plan->connections;
	     i += plan->loops)
		if (worker->load->connections[i].sock)
			wh_sock_close(worker->load->connections[i].sock);
	return 0;
}

/* One request and its answer */

/* Compare what arrives with `bytes`. -EBADMSG if it differs, -EPIPE at the end of the stream. */
static int read_answer(const struct connection *connection, const char *bytes)
{
	size_t left = connection->worker->load->plan->size;
	struct wh_view view;

	while (left > 0) {
		ssize_t r = wh_sock_recv_view(connection->sock, &view);
		bool same;

		if (r <= 0)
			return r < 0 ? (int)r : -EPIPE;
		same = view.len <= left && memcmp(view.data, bytes, view.len) == 0;
		bytes += view.len;
		left -= view.len;
		wh_view_release(&view);
		if (!same)
			return -EBADMSG;
	}
	return 0;
}

struct sending {
	struct wh_sock *sock;
	const char *bytes;
	size_t len;
};

static int send_all(void *arg)
{
	const struct sending *sending = arg;
	ssize_t r = wh_sock_send(sending->sock, sending->bytes, sending->len);

	return r < 0 ? (int)r : 0;
}

static int ask_both_ways(const struct connection *connection, const char *bytes, size_t len)
{
	struct sending sending = { connection->sock, bytes, len };
	struct wh_scope scope;
	int r, closed;

	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, send_all, &sending);
	if (r == 0)
		r = read_answer(connection, bytes);
	if (r < 0)
		wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	/* Cancelled: the other half failed and knows why, or all is being cancelled. */
	return r == -ECANCELED ? closed : r;
}

static int ask(const struct connection *connection, uint64_t sequence)
{
	const struct load *load = connection->worker->load;
	size_t len = load->plan->size;
	const char *bytes = load->pattern +
			    (connection->index * INDEX_STRIDE + sequence * SEQUENCE_STRIDE) %
				    OFFSETS;
	ssize_t r;

	if (len > SEND_FIRST)
		return ask_both_ways(connection, bytes, len);
	r = wh_sock_send(connection->sock, bytes, len);
	return r < 0 ? (int)r : read_answer(connection, bytes);
}

/* One connection */

/* When a request should be sent: the requests of all connections are evenly spaced. */
static uint64_t due_ns(const struct connection *connection, uint64_t sequence)
{
	const struct load *load = connection->worker->load;
	unsigned __int128 number = connection->index +
				   (unsigned __int128)sequence * load->plan->connections;

	return load->start_ns + (uint64_t)(number * WH_SEC / load->plan->rate);
}

/* Each asks again as soon as it was answered. */
static int ask_at_once(struct connection *connection)
{
	struct worker *worker = connection->worker;
	const struct load *load = worker->load;
	uint64_t asked = wh_now_ns(), now;

	for (uint64_t sequence = 0; asked < load->end_ns; sequence++, asked = now) {
		int r = ask(connection, sequence);

		if (r < 0)
			return r;
		now = wh_now_ns();
		if (asked >= load->from_ns)
			histogram_record(&worker->latency, now - asked);
	}
	return 0;
}

static int ask_at_rate(struct connection *connection)
{
	struct worker *worker = connection->worker;
	const struct load *load = worker->load;
	uint64_t due = due_ns(connection, 0), now = wh_now_ns(), sequence = 0;

	while (due < load->end_ns && now < load->end_ns) {
		int r = due > now ? wh_sleep_until(due) : 0;

		if (r == 0)
			r = ask(connection, sequence);
		if (r < 0)
			return r;
		now = wh_now_ns();
		if (due >= load->from_ns)
			histogram_record(&worker->latency, now - due);
		/* What was due in the warm-up and is still unsent is forgiven. */
		do {
			due = due_ns(connection, ++sequence);
		} while (due < load->from_ns && now >= load->from_ns);
	}
	for (; due < load->end_ns; due = due_ns(connection, ++sequence))
		worker->unsent++;
	return 0;
}

/* Nothing should come before the time is over. */
static int hold(const struct connection *connection)
{
	struct wh_view view;
	ssize_t r = wh_sock_recv_view(connection->sock, &view);

	if (r == -ETIMEDOUT)
		return 0;
	if (r <= 0)
		return r < 0 ? (int)r : -EPIPE;
	wh_view_release(&view);
	return -EBADMSG;
}

static void note_failure(struct worker *worker, int err)
{
	if (err == -EBADMSG) {
		worker->mismatches++;
		return;
	}
	worker->errors++;
	if (worker->first_error == 0)
		worker->first_error = err;
}

static int use_connection(void *arg)
{
	struct connection *connection = arg;
	const struct load_plan *plan = connection->worker->load->plan;
	int r;

	if (plan->idle)
		r = hold(connection);
	else if (plan->rate)
		r = ask_at_rate(connection);
	else
		r = ask_at_once(connection);
	if (r < 0 && r != -ECANCELED)
		note_failure(connection->worker, r);
	return 0;
}

static int use_all(void *arg)
{
	struct worker *worker = arg;
	const struct load *load = worker->load;
	const struct load_plan *plan = load->plan;
	uint64_t deadline_ns = load->end_ns + (plan->idle ? 0 : LOAD_DRAIN_NS);
	struct wh_scope scope;
	int r = 0;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .deadline_ns = deadline_ns });
	for (uint64_t i = (uint64_t)(worker - load->workers); i < plan->connections && r == 0;
	     i += plan->loops)
		r = wh_spawn(&scope, use_connection, &load->connections[i]);
	if (r < 0) {
		note_failure(worker, r);
		wh_scope_cancel(&scope);
	}
	wh_scope_close(&scope);
	return 0;
}

/* The whole */

struct errand {
	struct worker *worker;
	wh_task_fn fn;
};

static int run_errand(void *arg)
{
	const struct errand *errand = arg;
	int result = 0;
	int r = wh_loop_call(errand->worker->loop, errand->fn, errand->worker, &result);

	return r < 0 ? r : result;
}

/* Run `fn(worker)` on every loop and wait for all. Returns the first failure. */
static int on_every_loop(struct load *load, wh_task_fn fn)
{
	struct errand *errands = calloc(load->plan->loops, sizeof(*errands));
	struct wh_scope scope;
	int r = 0, first;

	if (!errands)
		return -ENOMEM;
	wh_scope_open(&scope, NULL);
	for (unsigned i = 0; i < load->plan->loops && r == 0; i++) {
		errands[i] = (struct errand){ &load->workers[i], fn };
		r = wh_spawn(&scope, run_errand, &errands[i]);
	}
	if (r < 0)
		wh_scope_cancel(&scope);
	first = wh_scope_close(&scope);
	free(errands);
	return r < 0 ? r : first;
}

static uint64_t cpu_used_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * WH_SEC +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * WH_US;
}

/* What is measured begins after the warm-up, and ends early if cancelled. */
static int keep_time(void *arg)
{
	struct load *load = arg;
	uint64_t cpu_ns, now;
	int r = wh_sleep_until(load->from_ns);

	if (r < 0)
		return r;
	cpu_ns = cpu_used_ns();
	r = wh_sleep_until(load->end_ns);
	now = wh_now_ns();
	load->result->cpu_ns = cpu_used_ns() - cpu_ns;
	load->result->measured_ns = (now < load->end_ns ? now : load->end_ns) - load->from_ns;
	return r;
}

static int measure(struct load *load)
{
	struct wh_task *clock = NULL;
	struct wh_scope scope;
	int r;

	load->start_ns = wh_now_ns();
	load->from_ns = load->start_ns + load->plan->warmup_ns;
	load->end_ns = load->from_ns + load->plan->duration_ns;
	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, keep_time, load, .ret_task = &clock);
	if (r == 0) {
		r = on_every_loop(load, use_all);
		wh_task_cancel(clock);
	}
	wh_scope_close(&scope);
	return r;
}

static void add_up(const struct load *load)
{
	struct load_result *result = load->result;

	for (unsigned i = 0; i < load->plan->loops; i++) {
		const struct worker *worker = &load->workers[i];

		histogram_merge(&result->latency, &worker->latency);
		result->opened += worker->opened;
		result->unsent += worker->unsent;
		result->errors += worker->errors;
		result->mismatches += worker->mismatches;
		if (result->first_error == 0)
			result->first_error = worker->first_error;
	}
}

static int load_main(void *arg)
{
	struct load *load = arg;
	uint64_t began = wh_now_ns();
	struct wh_scope scope;
	int r;

	for (unsigned i = 0; i < load->plan->loops; i++)
		load->workers[i].loop = wh_loop_at(i);
	r = on_every_loop(load, open_all);
	load->result->opening_ns = wh_now_ns() - began;
	if (r == 0)
		measure(load);
	else if (r != -ECANCELED)
		load->result->connect_error = r;
	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = true });
	on_every_loop(load, close_all);
	wh_scope_close(&scope);
	load->result->interrupted = wh_run_signal() != 0;
	return 0;
}

/* Marsaglia's xorshift64 ("Xorshift RNGs", 2003): any bytes will do that repeat nowhere near. */
static void fill_pattern(char *pattern, size_t len)
{
	uint64_t state = 88172645463325252u;

	for (size_t i = 0; i < len; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		pattern[i] = (char)(state >> 32);
	}
}

static bool alloc_load(struct load *load)
{
	const struct load_plan *plan = load->plan;
	size_t pattern_bytes = plan->size + OFFSETS;

	load->workers = calloc(plan->loops, sizeof(*load->workers));
	load->connections = calloc(plan->connections, sizeof(*load->connections));
	load->pattern = malloc(pattern_bytes);
	if (!load->workers || !load->connections || !load->pattern)
		return false;
	fill_pattern(load->pattern, pattern_bytes);
	for (unsigned i = 0; i < plan->loops; i++) {
		load->workers[i].load = load;
		load->workers[i].next = i;
		histogram_reset(&load->workers[i].latency);
	}
	return true;
}

int load_run(const struct load_plan *plan, struct load_result *ret)
{
	const bool large = plan->size > BUF_BYTES_LARGE / 2;
	const struct wh_run_opts opts = {
		.loops = plan->loops,
		.backend = plan->backend,
		.buf_bytes = large ? BUF_BYTES_LARGE : 0,
		.buf_count = large ? BUF_COUNT_LARGE : 0,
	};
	struct load load = { .plan = plan, .result = ret };
	int r = -ENOMEM;

	memset(ret, 0, sizeof(*ret));
	histogram_reset(&ret->latency);
	if (alloc_load(&load)) {
		r = cli_run(load_main, &load, &opts, NULL);
		add_up(&load);
	}
	free(load.pattern);
	free(load.connections);
	free(load.workers);
	return r;
}
