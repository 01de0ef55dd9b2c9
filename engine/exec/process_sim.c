/*
 * Processes of a pool in a simulated world. The pool has the same channel, rings, doorbells and
 * sockets as ever, real ones; at their other ends are a nursery and workers that are no processes
 * but things that happen at virtual times, and die where the seed has it. What watches descriptors
 * is replaced too. Jobs run on the thread of their world, outside of any task, in the program's own
 * memory.
 *
 * Invariants
 * 1. A worker is on its nursery's list from its order to when its end has been told. Its call is
 *    set but while it is down: then nothing has been put into its ring since it looked.
 * 2. A worker that has died does nothing more but have its end told, and leaves its ring as it is.
 * 3. What a nursery says comes in its order; one that dies says nothing, and its channel ends.
 */
#include "exec/process_sim.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/container.h"
#include "exec/passing.h"
#include "exec/process_pool.h"
#include "exec/process_worker.h"

/* How long things take at most. */
#define SOON_NS (50 * WH_US) /* to notice something */
#define STEP_NS (5 * WH_US)
#define FORK_NS (2 * WH_MS)
#define JOB_NS (2 * WH_MS)

enum { WHI_STATUS_SHIFT = 8 };

struct whi_sim_nursery {
	struct whi_pool *pool;
	int channel;
	struct whi_sim_call call;
	struct whi_list workers;
};

struct worker {
	struct whi_list link;
	struct whi_sim_nursery *nursery;
	struct whi_sim_call call;
	struct whi_worker_process process;
	struct whi_request *begun; /* NULL: none */
	uint32_t id;
	int status; /* as wait(2) has it, once it has died */
	bool down;
};

static struct worker *worker_of(struct whi_list *node)
{
	return whi_container_of(node, struct worker, link);
}

/* Watching */

static bool is_ready(const struct whi_sim_watch *sim)
{
	struct pollfd fd = { .fd = sim->fd, .events = POLLIN };

	return sim->watch->ended || poll(&fd, 1, 0) > 0;
}

static void tell_watch(struct wh_post *post)
{
	struct whi_sim_watch *sim = whi_container_of(post, struct whi_sim_watch, post);
	struct whi_watch *watch = sim->watch;

	sim->underway = false;
	sim->watch = NULL;
	if (sim->kind == WHI_WATCH_COUNTER && !watch->ended)
		whi_assert(read(sim->fd, &watch->count, sizeof(watch->count)) > 0);
	watch->fn(watch);
}

static void post_watch(struct whi_sim_call *call)
{
	struct whi_sim_watch *sim = whi_container_of(call, struct whi_sim_watch, call);

	sim->post.fn = tell_watch;
	whi_loop_post(sim->loop, &sim->post);
}

/* Something has happened at its descriptor. */
static void look_at_watch(struct whi_sim_watch *sim)
{
	if (!sim->watch || sim->underway || !is_ready(sim))
		return;
	sim->underway = true;
	sim->call.fn = post_watch;
	whi_sim_call_after(&sim->call, whi_sim_choose(SOON_NS));
}

void whi_sim_watch_start(struct whi_sim_watch *sim, struct whi_watch *watch,
			 enum whi_watch_kind kind, int fd, void (*fn)(struct whi_watch *watch))
{
	watch->fn = fn;
	sim->watch = watch;
	sim->loop = whi_loop_self();
	sim->kind = kind;
	sim->fd = fd;
	look_at_watch(sim);
}

void whi_sim_watch_end(struct whi_sim_watch *sim)
{
	sim->watch->ended = true;
	look_at_watch(sim);
}

/* What a nursery says */

static void say(struct whi_sim_nursery *nursery, enum whi_nursery_kind kind, uint32_t worker,
		int value)
{
	const struct whi_nursery_message message = {
		.version = WHI_NURSERY_VERSION, .kind = kind, .worker = worker, .value = value
	};

	whi_pass_now(nursery->channel, &message, sizeof(message), NULL, 0);
	look_at_watch(&nursery->pool->sim_watch);
}

/* Workers */

static struct whi_process *process_of(const struct worker *worker)
{
	struct whi_pool *pool = worker->nursery->pool;

	for (struct whi_list *node = pool->processes.next; node != &pool->processes;
	     node = node->next) {
		struct whi_process *process = whi_container_of(node, struct whi_process, link);

		if (process->id == worker->id)
			return process;
	}
	return NULL;
}

static void ring_bell(const struct worker *worker)
{
	struct whi_process *process = process_of(worker);

	whi_worker_ring_bell(&worker->process);
	if (process)
		look_at_watch(&process->sim_watch);
}

static void free_worker(struct worker *worker)
{
	whi_sim_call_unset(&worker->call);
	whi_list_remove(&worker->link);
	close(worker->process.bell);
	close(worker->process.sock);
	whi_worker_rings_close(&worker->process.rings);
	whi_free(worker);
}

static void tell_end(struct whi_sim_call *call)
{
	struct worker *worker = whi_container_of(call, struct worker, call);

	say(worker->nursery, WHI_NURSERY_ENDED, worker->id, worker->status);
	free_worker(worker);
}

static void die(struct worker *worker, int status)
{
	worker->status = status;
	worker->call.fn = tell_end;
	whi_sim_call_unset(&worker->call);
	whi_sim_call_after(&worker->call, whi_sim_choose(FORK_NS));
}

/* Here is a place where it may die. True: it does. */
static bool dies(struct worker *worker)
{
	static const int statuses[] = { SIGKILL, SIGSEGV, 0, 3 << WHI_STATUS_SHIFT };
	uint64_t number = whi_sim_strike(whi_sim_self()->world, WHI_FAULT_DEATH, NULL);

	if (number)
		die(worker, statuses[number % 4]);
	return number != 0;
}

static void look(struct whi_sim_call *call);

static void look_after(struct worker *worker, uint64_t span_ns)
{
	worker->call.fn = look;
	whi_sim_call_after(&worker->call, whi_sim_choose(span_ns));
}

static void do_job(struct whi_sim_call *call)
{
	struct worker *worker = whi_container_of(call, struct worker, call);
	struct whi_worker_process *process = &worker->process;
	struct whi_reply *reply;

	if (dies(worker))
		return;
	reply = whi_worker_run(process, worker->begun);
	if (dies(worker))
		return;
	if (whi_worker_rings_send(&process->rings, reply)) {
		if (dies(worker))
			return;
		ring_bell(worker);
	}
	if (whi_worker_used_up(process)) {
		die(worker, 0);
		return;
	}
	whi_worker_rings_drop(&process->rings, worker->begun);
	look_after(worker, STEP_NS);
}

static void rest(struct worker *worker)
{
	struct whi_worker_process *process = &worker->process;

	if (dies(worker))
		return;
	if (whi_worker_rings_nudged(&process->rings))
		ring_bell(worker);
	worker->down = whi_worker_rings_lie_down(&process->rings);
	if (!worker->down)
		look_after(worker, SOON_NS);
}

static void look(struct whi_sim_call *call)
{
	struct worker *worker = whi_container_of(call, struct worker, call);
	struct whi_worker_process *process = &worker->process;
	struct whi_request *request = whi_worker_rings_next(&process->rings);

	if (!request) {
		rest(worker);
		return;
	}
	if (request->kind == WHI_RECORD_CALL && whi_worker_begin(process, request)) {
		worker->begun = request;
		worker->call.fn = do_job;
		whi_sim_call_after(&worker->call,
				   whi_sim_choose(whi_sim_choose(2) ? JOB_NS : STEP_NS));
		return;
	}
	if (request->kind == WHI_RECORD_DEFINE)
		whi_worker_define(process, request);
	whi_worker_rings_drop(&process->rings, request);
	look_after(worker, STEP_NS);
}

static struct worker *find(struct whi_sim_nursery *nursery, uint32_t id)
{
	for (struct whi_list *node = nursery->workers.next; node != &nursery->workers;
	     node = node->next)
		if (worker_of(node)->id == id)
			return worker_of(node);
	return NULL;
}

void whi_sim_process_rouse(struct whi_process *process)
{
	struct whi_sim_nursery *nursery = process->pool->sim_nursery;
	struct worker *worker = nursery ? find(nursery, process->id) : NULL;

	if (!worker || !worker->down)
		return;
	worker->down = false;
	look_after(worker, SOON_NS);
}

/* Nurseries */

/* The descriptors are the worker's, but for the memory's. */
static int start(struct whi_sim_nursery *nursery, const struct whi_nursery_message *order,
		 const int fds[WHI_START_FDS])
{
	struct whi_worker_limits limits = order->limits;
	struct worker *worker;
	int r;

	if (whi_sim_strike(whi_sim_self()->world, WHI_FAULT_FORK, NULL))
		return -EAGAIN;
	worker = whi_calloc(1, sizeof(*worker));
	if (!worker)
		return -ENOMEM;
	/* It is the program's own that would be measured. */
	limits.job_cpu_ns = 0;
	limits.resident_bytes = 0;
	r = whi_worker_process_init(&worker->process, fds, &limits);
	if (r < 0) {
		whi_free(worker);
		return r;
	}
	worker->nursery = nursery;
	worker->id = order->worker;
	whi_list_append(&nursery->workers, &worker->link);
	look_after(worker, FORK_NS);
	return (int)order->worker;
}

static void start_and_say(struct whi_sim_nursery *nursery, const struct whi_nursery_message *order,
			  const int fds[WHI_START_FDS])
{
	int r = start(nursery, order, fds);

	close(fds[WHI_START_MEMORY]);
	if (r < 0) {
		close(fds[WHI_START_BELL]);
		close(fds[WHI_START_SOCK]);
	}
	say(nursery, WHI_NURSERY_STARTED, order->worker, r);
}

static void end_nursery(struct whi_sim_nursery *nursery)
{
	struct whi_pool *pool = nursery->pool;

	while (!whi_list_empty(&nursery->workers))
		free_worker(worker_of(nursery->workers.next));
	close(nursery->channel);
	whi_free(nursery);
	pool->sim_nursery = NULL;
	look_at_watch(&pool->sim_watch);
}

static void obey(struct whi_sim_nursery *nursery, const struct whi_nursery_message *order,
		 const int *fds)
{
	struct worker *worker;

	if (order->kind == WHI_NURSERY_START) {
		start_and_say(nursery, order, fds);
		return;
	}
	worker = find(nursery, order->worker);
	if (worker && worker->call.fn != tell_end)
		die(worker, SIGKILL);
}

static void take_order(struct whi_sim_call *call)
{
	struct whi_sim_nursery *nursery = whi_container_of(call, struct whi_sim_nursery, call);
	struct whi_nursery_message order;
	int fds[WHI_PASSED_MAX];
	unsigned fd_count;
	ssize_t n = whi_accept_passed_now(nursery->channel, &order, sizeof(order), fds, &fd_count);

	if (n == -EAGAIN)
		return;
	/* Its workers have ended by the time that the channel does. */
	if (n <= 0 || whi_sim_strike(whi_sim_self()->world, WHI_FAULT_NURSERY, NULL)) {
		while (n > 0 && fd_count)
			close(fds[--fd_count]);
		end_nursery(nursery);
		return;
	}
	obey(nursery, &order, fds);
	whi_sim_call_after(call, whi_sim_choose(SOON_NS));
}

void whi_sim_nursery_rouse(struct whi_pool *pool)
{
	struct whi_sim_nursery *nursery = pool->sim_nursery;

	if (!nursery)
		return;
	whi_sim_call_unset(&nursery->call);
	whi_sim_call_after(&nursery->call, whi_sim_choose(SOON_NS));
}

int whi_sim_nursery_open(struct whi_pool *pool, int *ret)
{
	struct whi_sim_nursery *nursery = whi_calloc(1, sizeof(*nursery));
	int ends[2];

	if (!nursery)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		whi_free(nursery);
		return -errno;
	}
	whi_assert(!pool->sim_nursery);
	pool->sim_nursery = nursery;
	nursery->pool = pool;
	nursery->channel = ends[1];
	nursery->call.fn = take_order;
	whi_list_init(&nursery->workers);
	*ret = ends[0];
	say(nursery, WHI_NURSERY_HELLO, 0, 0);
	return 0;
}
