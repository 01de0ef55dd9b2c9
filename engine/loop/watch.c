/*
 * Watching a descriptor from outside of tasks.
 *
 * Invariants
 * 1. Between a start and the call of `fn` either the operation is pending or the timer is armed.
 * 2. An operation that fails (no memory for it, too many of them) is no event that got lost: `fn`
 *    is called some time later, and looks for itself.
 */
#include "loop/watch.h"

#include <poll.h>

#include "base/container.h"

/* How long a shortage is given to pass. */
#define AGAIN_NS WH_MS

static void tell(struct whi_watch *watch)
{
	watch->fn(watch);
}

static void fire(struct whi_timer *timer)
{
	tell(whi_container_of(timer, struct whi_watch, again));
}

static void completed(struct whi_op *op)
{
	struct whi_watch *watch = op->owner;

	if (op->result >= 0 || watch->ended) {
		tell(watch);
		return;
	}
	/* Not from here: this may be inside whi_watch_start, which `fn` would call again. */
	whi_wheel_arm(&watch->loop->sched.wheel, &watch->again,
		      watch->loop->sched.now_ns + AGAIN_NS);
}

void whi_watch_start(struct whi_watch *watch, enum whi_watch_kind kind, int fd,
		     void (*fn)(struct whi_watch *watch))
{
	watch->loop = whi_loop_self();
	watch->fn = fn;
	whi_timer_init(&watch->again, fire);
	watch->op = (struct whi_op){ .fd = fd, .done = completed, .owner = watch };
	if (kind == WHI_WATCH_COUNTER) {
		watch->op.kind = WHI_OP_READ;
		watch->op.rw.buf = &watch->count;
		watch->op.rw.len = sizeof(watch->count);
		watch->op.rw.offset = (uint64_t)-1;
	} else {
		watch->op.kind = WHI_OP_POLL;
		watch->op.arg.value = kind == WHI_WATCH_HANGUP ? POLLRDHUP : POLLIN;
	}
	watch->loop->backend->ops->submit(watch->loop->backend, &watch->op);
}

/* At once would be inside the caller. */
static void end_waiting(struct whi_watch *watch)
{
	whi_wheel_cancel(&watch->loop->sched.wheel, &watch->again);
	whi_wheel_arm(&watch->loop->sched.wheel, &watch->again, watch->loop->sched.now_ns);
}

void whi_watch_end(struct whi_watch *watch)
{
	watch->ended = true;
	if (whi_op_pending(&watch->op))
		watch->loop->backend->ops->cancel(watch->loop->backend, &watch->op);
	else
		end_waiting(watch);
}
