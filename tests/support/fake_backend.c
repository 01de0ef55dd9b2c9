#include "support/fake_backend.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"

enum { STACK_BYTES = 64 * 1024, TASKS_MAX = 10000, STACKS_WARM = 64, BUF_BYTES = 256 };
enum { TURNS_MAX = 1000000 };

static struct fake *fake_from(struct whi_backend *backend)
{
	return (struct fake *)(void *)backend;
}

void fake_rules(struct fake *fake, const struct fake_rule *rules, unsigned count)
{
	check(count <= FAKE_RULES_MAX);
	fake->rules = rules;
	fake->rule_count = count;
	memset(fake->used, 0, sizeof(fake->used));
}

static const struct fake_rule *rule_for(struct fake *fake, const struct whi_op *op)
{
	for (unsigned i = 0; i < fake->rule_count; i++) {
		const struct fake_rule *rule = &fake->rules[i];

		if (rule->kind == op->kind && (!rule->times || fake->used[i] < rule->times)) {
			fake->used[i]++;
			return rule;
		}
	}
	return NULL;
}

static unsigned index_of(const struct fake *fake, const struct whi_op *op)
{
	unsigned i = 0;

	while (i < fake->op_count && fake->ops[i].op != op)
		i++;
	check(i < fake->op_count);
	return i;
}

static void forget(struct fake *fake, const struct whi_op *op)
{
	unsigned i = index_of(fake, op);

	memmove(&fake->ops[i], &fake->ops[i + 1], (--fake->op_count - i) * sizeof(fake->ops[0]));
	fake->base.stats.inflight--;
}

static void deliver(struct fake *fake, const struct fake_event *event)
{
	if (!(event->flags & WHI_OP_MORE))
		forget(fake, event->op);
	event->op->buffer = event->buffer;
	fake->base.stats.completions++;
	whi_op_complete(event->op, event->result, event->flags);
}

static int fake_perform(struct whi_backend *backend, struct whi_op *op)
{
	(void)backend;
	return whi_op_attempt(op);
}

static void fake_submit(struct whi_backend *backend, struct whi_op *op)
{
	struct fake *fake = fake_from(backend);
	const struct fake_rule *rule = rule_for(fake, op);

	op->cancel_wanted = false;
	fake->submits[op->kind]++;
	fake->base.stats.submitted++;
	whi_op_enter(op, WHI_OP_QUEUED);
	if (rule && rule->when == FAKE_INSIDE) {
		whi_op_complete(op, rule->result, 0);
		return;
	}
	check(fake->op_count < FAKE_OPS_MAX);
	if (!rule || rule->when != FAKE_BACKLOG)
		whi_op_enter(op, WHI_OP_INFLIGHT);
	fake->ops[fake->op_count++] = (struct fake_op){
		.op = op,
		.rule = rule,
		.due = fake->turn + (rule && rule->turns ? rule->turns : 1),
	};
	fake->base.stats.inflight++;
}

void fake_complete(struct fake *fake, struct whi_op *op, int32_t result, unsigned flags)
{
	check(fake->event_count < FAKE_EVENTS_MAX);
	fake->events[fake->event_count++] =
		(struct fake_event){ .op = op, .result = result, .flags = (uint8_t)flags };
}

bool fake_receive(struct fake *fake, struct whi_op *op, char byte, uint32_t len, unsigned flags)
{
	struct fake_buf buf = fake->bufs[0];

	if (fake->buf_count == 0) {
		fake_complete(fake, op, -ENOBUFS, 0);
		return false;
	}
	check(len <= buf.len);
	memset(buf.memory, byte, len);
	memmove(&fake->bufs[0], &fake->bufs[1], --fake->buf_count * sizeof(fake->bufs[0]));
	fake_complete(fake, op, (int32_t)len, flags | WHI_OP_BUFFER);
	fake->events[fake->event_count - 1].buffer = buf.index;
	return true;
}

static bool is_told(const struct fake *fake, const struct whi_op *op)
{
	for (unsigned i = 0; i < fake->event_count; i++)
		if (fake->events[i].op == op && !(fake->events[i].flags & WHI_OP_MORE))
			return true;
	return false;
}

/* What was told before the cancellation comes first, and may be the end already. */
static void fake_cancel(struct whi_backend *backend, struct whi_op *op)
{
	struct fake *fake = fake_from(backend);
	const struct fake_rule *rule = fake->ops[index_of(fake, op)].rule;

	if (op->cancel_wanted || !whi_opdefs[op->kind].cancellable)
		return;
	op->cancel_wanted = true;
	fake->cancels++;
	if (op->state == WHI_OP_INFLIGHT)
		whi_op_enter(op, WHI_OP_CANCELLING);
	if (is_told(fake, op) || (rule && rule->cancel == FAKE_CANCEL_IGNORED))
		return;
	if (rule && rule->cancel == FAKE_CANCEL_LOSES)
		fake_complete(fake, op, rule->result, rule->flags);
	else
		fake_complete(fake, op, -ECANCELED, 0);
}

static void tell_due(struct fake *fake)
{
	for (unsigned i = 0; i < fake->op_count; i++) {
		const struct fake_op *entry = &fake->ops[i];
		const struct fake_rule *rule = entry->rule;

		if (!rule || entry->due > fake->turn)
			continue;
		if (rule->when == FAKE_TURNS && !is_told(fake, entry->op))
			fake_complete(fake, entry->op, rule->result, rule->flags);
		if (rule->when == FAKE_BACKLOG && entry->op->state == WHI_OP_QUEUED &&
		    !entry->op->cancel_wanted)
			whi_op_enter(entry->op, WHI_OP_INFLIGHT);
	}
}

static bool any_due_later(const struct fake *fake)
{
	for (unsigned i = 0; i < fake->op_count; i++)
		if (fake->ops[i].rule && fake->ops[i].rule->when == FAKE_TURNS)
			return true;
	return false;
}

/* -EDEADLK: it would have waited for ever. */
static int fake_turn(struct whi_backend *backend, uint64_t timeout_ns)
{
	static struct fake_event events[FAKE_EVENTS_MAX];
	struct fake *fake = fake_from(backend);
	unsigned count;

	fake->turn++;
	tell_due(fake);
	count = fake->event_count;
	memcpy(events, fake->events, count * sizeof(events[0]));
	fake->event_count = 0;
	for (unsigned i = 0; i < count; i++)
		deliver(fake, &events[i]);
	if (count || timeout_ns == 0 || atomic_exchange(&fake->woken, false) || any_due_later(fake))
		return 0;
	if (timeout_ns == WHI_NEVER)
		return -EDEADLK;
	fake->now_ns += timeout_ns;
	return 0;
}

static uint64_t fake_now(struct whi_backend *backend)
{
	return fake_from(backend)->now_ns;
}

static void fake_wake(struct whi_backend *backend)
{
	atomic_store(&fake_from(backend)->woken, true);
}

/* No turn of a fake waits for more than what it was told. */
static void fake_hurry(struct whi_backend *backend)
{
	((struct fake *)(void *)backend)->hurries++;
}

static void fake_wake_from(struct whi_backend *backend, struct whi_backend *from)
{
	(void)from;
	fake_wake(backend);
}

static int fake_bufs_open(struct whi_backend *backend, uint32_t count)
{
	check(count <= FAKE_BUFS_MAX);
	return fake_from(backend)->bufs_open_result;
}

static void fake_buf_give(struct whi_backend *backend, uint16_t index, void *buf, uint32_t len)
{
	struct fake *fake = fake_from(backend);

	check(fake->buf_count < FAKE_BUFS_MAX);
	for (unsigned i = 0; i < fake->buf_count; i++)
		check(fake->bufs[i].index != index);
	fake->bufs[fake->buf_count++] =
		(struct fake_buf){ .index = index, .memory = buf, .len = len };
}

static int fake_open(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	struct fake *fake = opts->arg;

	memset(fake, 0, sizeof(*fake));
	fake->base.ops = &fake_backend_ops;
	fake->now_ns = whi_clock_ns();
	*ret = &fake->base;
	return 0;
}

static void fake_close(struct whi_backend *backend)
{
	struct fake *fake = fake_from(backend);

	check_int(fake->op_count, 0);
	check_int(fake->event_count, 0);
	check_int(fake->base.stats.inflight, 0);
}

static int fake_address(struct whi_backend *backend)
{
	(void)backend;
	return -1;
}

const struct whi_backend_ops fake_backend_ops = {
	.name = "fake",
	.open = fake_open,
	.close = fake_close,
	.submit = fake_submit,
	.perform = fake_perform,
	.cancel = fake_cancel,
	.turn = fake_turn,
	.hurry = fake_hurry,
	.wake = fake_wake,
	.wake_from = fake_wake_from,
	.bufs_open = fake_bufs_open,
	.buf_give = fake_buf_give,
	.address = fake_address,
	.now_ns = fake_now,
};

void fake_loop_open(struct wh_loop *loop, struct fake *fake, uint32_t bufs)
{
	const struct whi_loop_opts opts = {
		.backend = &fake_backend_ops,
		.backend_opts.arg = fake,
		.sched_opts = { STACK_BYTES, TASKS_MAX, STACKS_WARM },
		.buf_count = bufs,
		.buf_bytes = BUF_BYTES,
	};

	memset(loop, 0, sizeof(*loop));
	check_int(whi_loop_init(loop, &opts), 0);
}

void fake_loop_close(struct wh_loop *loop)
{
	check_int(loop->sched.tasks_live, 0);
	if (loop->bufs.memory)
		check_int(fake_of(loop)->buf_count, loop->bufs.count);
	whi_loop_fini(loop);
}

void fake_spawn(struct wh_loop *loop, wh_task_fn fn, void *arg)
{
	const struct wh_spawn_opts opts = { 0 };

	check_int(whi_task_spawn(&loop->sched.root, fn, arg, &opts, NULL), 0);
}

void fake_run(struct wh_loop *loop)
{
	for (unsigned turns = 0; loop->sched.tasks_live > 0; turns++) {
		int r = whi_loop_turn(loop, true);

		/* With nobody left there is nothing to wait for. */
		check(r == 0 || (r == -EDEADLK && loop->sched.tasks_live == 0));
		check(turns < TURNS_MAX);
	}
}

void fake_settle(struct wh_loop *loop)
{
	for (unsigned turns = 0; turns < TURNS_MAX; turns++)
		if (whi_loop_turn(loop, true) == -EDEADLK)
			return;
	check(!"settled");
}

struct whi_op *fake_find(struct fake *fake, enum whi_op_kind kind)
{
	for (unsigned i = 0; i < fake->op_count; i++)
		if (fake->ops[i].op->kind == kind && !is_told(fake, fake->ops[i].op))
			return fake->ops[i].op;
	return NULL;
}
