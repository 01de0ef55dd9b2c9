/*
 * The loop.
 *
 * Invariants
 * 1. Sleeping is announced before the mailbox is looked at for the last time, and a post is made
 *    before `sleeping` is looked at. All four are sequentially consistent, so at least one side
 *    sees the other, and no wake-up is lost.
 * 2. Posts run on the loop's own stack, so they cannot suspend.
 * 3. The loops of a runtime close together; everybody else counts as a visitor while using a loop,
 *    because what a visitor posts may be what ends the runtime. Visitors announce themselves before
 *    they look at `open`, closing is announced before `visitors` is looked at.
 */
#include "loop/loop.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"

/* At the mailbox, between two at everything when spinning. */
enum { LOOKS = 16 };

_Static_assert(offsetof(struct wh_loop, sched) == 0, "whi_loop_self casts");
_Static_assert(sizeof(struct whi_qnode) == offsetof(struct wh_post, fn), "posts are queue nodes");

int whi_loop_init(struct wh_loop *loop, const struct whi_loop_opts *opts)
{
	int r = opts->backend->open(&opts->backend_opts, &loop->backend);

	if (r < 0)
		return r;
	whi_sched_init(&loop->sched, &opts->sched_opts);
	whi_bufs_init(&loop->bufs, loop->backend, opts->buf_count, opts->buf_bytes);
	whi_list_init(&loop->outbox.list);
	loop->awake = whi_awake_open();
	atomic_store(&loop->open, true);
	return 0;
}

void whi_loop_fini(struct wh_loop *loop)
{
	atomic_store(&loop->open, false);
	while (atomic_load(&loop->visitors) > 0)
		sched_yield();
	whi_awake_close(loop->awake);
	loop->backend->ops->close(loop->backend);
	whi_bufs_fini(&loop->bufs);
	whi_sched_fini(&loop->sched);
}

/* The calling thread's loop, if it closes together with `loop`. */
static struct wh_loop *peer_of(const struct wh_loop *loop)
{
	struct wh_loop *mine = whi_loop_self();

	return mine && mine->runtime == loop->runtime ? mine : NULL;
}

void whi_loop_wake(struct wh_loop *loop)
{
	struct wh_loop *peer;

	/* Pairs with the store in wait_ns. */
	if (atomic_load(&loop->sleeping) == 0 || atomic_exchange(&loop->sleeping, 0) == 0)
		return;
	atomic_fetch_add_explicit(&loop->wakes_sent, 1, memory_order_relaxed);
	peer = peer_of(loop);
	if (peer && peer != loop)
		loop->backend->ops->wake_from(loop->backend, peer->backend);
	else
		loop->backend->ops->wake(loop->backend);
}

void whi_loop_visit(struct wh_loop *loop)
{
	atomic_fetch_add(&loop->visitors, 1);
}

void whi_loop_leave(struct wh_loop *loop)
{
	atomic_fetch_sub(&loop->visitors, 1);
}

void whi_loop_post_visiting(struct wh_loop *loop, struct whi_qnode *newest,
			    struct whi_qnode *oldest)
{
	whi_mpsc_push_all(&loop->mailbox, newest, oldest);
	whi_loop_wake(loop);
}

void whi_loop_post_all(struct wh_loop *loop, struct whi_qnode *newest, struct whi_qnode *oldest)
{
	bool visits = !peer_of(loop);

	if (visits)
		whi_loop_visit(loop);
	whi_loop_post_visiting(loop, newest, oldest);
	if (visits)
		whi_loop_leave(loop);
}

void whi_loop_post(struct wh_loop *loop, struct wh_post *post)
{
	struct whi_qnode *node = (struct whi_qnode *)(void *)post;

	whi_loop_post_all(loop, node, node);
}

void whi_loop_alert(struct wh_loop *loop)
{
	atomic_store(&loop->alerted, 1);
	whi_loop_wake(loop);
}

void whi_loop_alert_from_signal(struct wh_loop *loop)
{
	atomic_store(&loop->alerted, 1);
	/* Unlike whi_loop_wake this touches nothing that the handler may have interrupted. */
	atomic_fetch_add(&loop->visitors, 1);
	if (atomic_load(&loop->open))
		loop->backend->ops->wake(loop->backend);
	atomic_fetch_sub(&loop->visitors, 1);
}

bool whi_loop_alerted(struct wh_loop *loop)
{
	return atomic_load_explicit(&loop->alerted, memory_order_relaxed) &&
	       atomic_exchange(&loop->alerted, 0);
}

static void read_mailbox(struct wh_loop *loop)
{
	struct whi_qnode *node;

	if (whi_mpsc_empty(&loop->mailbox))
		return;
	node = whi_mpsc_take(&loop->mailbox);
	while (node) {
		struct wh_post *post = (struct wh_post *)(void *)node;

		node = node->next;
		post->fn(post);
	}
}

/* What is awaited comes as a post. */
static void look_for_posts(const struct wh_loop *loop)
{
	for (int i = 0; i < LOOKS && whi_mpsc_empty(&loop->mailbox); i++)
		whi_relax();
	whi_mpsc_prefetch(&loop->mailbox);
}

/* How long the kernel may keep us. Announces that we sleep if it is not 0. */
static uint64_t wait_ns(struct wh_loop *loop)
{
	uint64_t next;

	if (!whi_sched_idle(&loop->sched)) {
		loop->spin.on = false;
		return 0;
	}
	next = whi_wheel_next_ns(&loop->sched.wheel);
	if (next <= loop->sched.now_ns)
		return 0;
	/* A turn that does not wait looks at everything that a wait would end for. */
	if (loop->awaited && whi_spin_on(&loop->spin, loop->sched.now_ns)) {
		look_for_posts(loop);
		return 0;
	}
	/* Pairs with the load in whi_loop_wake. */
	atomic_store(&loop->sleeping, 1);
	if (!whi_mpsc_empty(&loop->mailbox) || atomic_load(&loop->alerted))
		return 0;
	return next == WHI_NEVER ? WHI_NEVER : next - loop->sched.now_ns;
}

static uint64_t now_ns(const struct wh_loop *loop)
{
	const struct whi_backend_ops *ops = loop->backend->ops;

	return whi_unlikely(ops->now_ns) ? ops->now_ns(loop->backend) : whi_clock_ns();
}

int whi_loop_turn(struct wh_loop *loop, bool wait)
{
	uint64_t timeout_ns, patience_ns = WHI_NEVER;
	bool more_parked = false;
	int r;

	loop->turns++;
	/* First, so that whom a post wakes runs in this turn. */
	read_mailbox(loop);
	whi_sched_run(&loop->sched);
	if (loop->outbox.count)
		loop->outbox.flush(&loop->outbox);
	whi_sched_advance(&loop->sched, now_ns(loop));
	if (whi_unlikely(!whi_list_empty(&loop->bufs.parked))) {
		more_parked = whi_bufs_unpark(&loop->bufs);
		patience_ns = whi_bufs_patience(&loop->bufs, loop->sched.now_ns);
	}
	timeout_ns = wait && !more_parked ? wait_ns(loop) : 0;
	if (timeout_ns > patience_ns)
		timeout_ns = patience_ns;
	if (timeout_ns != 0)
		whi_awake_set(loop->awake, false);
	r = loop->backend->ops->turn(loop->backend, timeout_ns);
	if (timeout_ns != 0)
		whi_awake_set(loop->awake, true);
	atomic_store_explicit(&loop->sleeping, 0, memory_order_relaxed);
	return r;
}

/* A task that waits for an operation. */
struct await {
	struct whi_op *op;
	struct whi_wait wait;
};

static void await_done(struct whi_op *op)
{
	struct whi_wait *wait = op->owner;

	/* It may have completed inside submit. */
	if (wait->task)
		whi_task_wake(wait);
}

static void await_interrupt(struct whi_wait *wait)
{
	struct whi_backend *backend = ((struct wh_loop *)(void *)wait->task->sched)->backend;
	struct whi_op *op = whi_container_of(wait, struct await, wait)->op;

	backend->ops->cancel(backend, op);
}

/* A close that was interrupted has closed: the number may be somebody else's by now. */
static bool must_repeat(const struct whi_op *op)
{
	return op->result == -EINTR && !op->cancel_wanted && op->kind != WHI_OP_CLOSE;
}

static int await(struct whi_op *op, void (*interrupt)(struct whi_wait *wait))
{
	struct await await = { op, { .what = whi_opdefs[op->kind].name, .interrupt = interrupt } };
	struct whi_backend *backend = whi_loop_self()->backend;

	op->done = await_done;
	op->owner = &await.wait;
	do {
		op->state = WHI_OP_IDLE;
		await.wait.task = NULL;
		backend->ops->submit(backend, op);
		if (whi_op_pending(op))
			whi_task_suspend(&await.wait);
		/* A cancellation after it was woken and before it ran had nothing to interrupt. */
	} while (must_repeat(op) && (!interrupt || whi_task_check() == 0));
	return op->result;
}

int whi_await(struct whi_op *op)
{
	int r = whi_task_check();

	if (r < 0)
		return r;
	r = await(op, await_interrupt);
	if (r != -ECANCELED && r != -EINTR)
		return r;
	r = whi_task_check();
	return r < 0 ? r : -ECANCELED;
}

int whi_await_shielded(struct whi_op *op)
{
	return await(op, NULL);
}

int whi_perform(struct whi_op *op)
{
	struct whi_backend *backend = whi_loop_self()->backend;

	return backend->ops->perform(backend, op);
}

void whi_close(int fd)
{
	whi_perform(&(struct whi_op){ .kind = WHI_OP_CLOSE, .fd = fd });
}

int whi_poll(int fd, short events)
{
	struct whi_op op = { .kind = WHI_OP_POLL, .fd = fd, .arg.value = events };

	return whi_await(&op);
}
