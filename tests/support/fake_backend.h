/*
 * A backend whose kernel is a table: a rule says what becomes of the next operation of a kind and
 * when. Its clock is virtual: a turn that would wait moves it to the loop's next deadline instead.
 *
 *     static const struct fake_rule rules[] = {
 *             {WHI_OP_READ, FAKE_INSIDE, .result = -EBADF, .times = 1},
 *             {WHI_OP_READ, FAKE_TURNS, .turns = 3, .result = 100},
 *     };
 *
 * The first rule of the operation's kind that is not used up applies. Without one the operation is
 * held: it completes when the test says so, or with -ECANCELED in the turn after it was cancelled.
 */
#pragma once

#include "backend/backend.h"
#include "loop/loop.h"
#include "support/task_test.h"

enum fake_when {
	FAKE_HELD,    /* when told, or when cancelled */
	FAKE_TURNS,   /* in the `turns`-th turn after it was submitted; 0 counts as 1 */
	FAKE_INSIDE,  /* before submit returns, as one that cannot be queued */
	FAKE_BACKLOG, /* kept back for `turns` turns, then held */
};

/* What a cancellation does to an operation that is in the kernel. */
enum fake_cancel {
	FAKE_CANCEL_WINS,    /* -ECANCELED in the next turn */
	FAKE_CANCEL_LOSES,   /* the rule's result in the next turn: it had happened already */
	FAKE_CANCEL_IGNORED, /* nothing: it is running and cannot be stopped */
};

struct fake_rule {
	uint8_t kind;
	uint8_t when;	/* enum fake_when */
	uint8_t cancel; /* enum fake_cancel */
	uint8_t flags;	/* enum whi_op_flags of the completion */
	uint32_t turns;
	int32_t result;
	uint32_t times; /* how many operations it serves; 0: all */
};

enum { FAKE_OPS_MAX = 2048, FAKE_EVENTS_MAX = 4096, FAKE_BUFS_MAX = 64, FAKE_RULES_MAX = 16 };

struct fake_buf {
	uint16_t index;
	char *memory;
	uint32_t len;
};

struct fake_op {
	struct whi_op *op;
	const struct fake_rule *rule; /* NULL: held */
	uint64_t due;		      /* turn */
};

struct fake_event {
	struct whi_op *op;
	int32_t result;
	uint8_t flags;
	uint16_t buffer;
};

struct fake {
	struct whi_backend base; /* must be first */
	const struct fake_rule *rules;
	uint32_t used[FAKE_RULES_MAX];
	unsigned rule_count;
	uint64_t turn;
	uint64_t now_ns;
	struct fake_op ops[FAKE_OPS_MAX]; /* pending, in order of submission */
	unsigned op_count;
	struct fake_event events[FAKE_EVENTS_MAX]; /* for the next turn, in order */
	unsigned event_count;
	struct fake_buf bufs[FAKE_BUFS_MAX]; /* given, in order */
	unsigned buf_count;
	int bufs_open_result;
	unsigned submits[WHI_OP_MAX]; /* how often each kind was */
	unsigned cancels;	      /* asked for */
	unsigned hurries;	      /* asked for */
	_Atomic bool woken;
};

extern const struct whi_backend_ops fake_backend_ops;

/* A loop on a fake; the fake stays inspectable after the loop has gone. `bufs`: receive buffers. */
void fake_loop_open(struct wh_loop *loop, struct fake *fake, uint32_t bufs);

/* What pending operations and buffers are left is an error: aborts. */
void fake_loop_close(struct wh_loop *loop);

void fake_rules(struct fake *fake, const struct fake_rule *rules, unsigned count);

/* Spawn `fn(arg)` into the loop's root scope. */
void fake_spawn(struct wh_loop *loop, wh_task_fn fn, void *arg);

/* Turn until no task is left; aborts if nothing can happen any more. */
void fake_run(struct wh_loop *loop);

/* Turn until every task waits for something that a test has to tell. */
void fake_settle(struct wh_loop *loop);

/* The pending operation of `kind`; NULL: there is none. */
struct whi_op *fake_find(struct fake *fake, enum whi_op_kind kind);

/* Complete `op` in the next turn, after what was told before. */
void fake_complete(struct fake *fake, struct whi_op *op, int32_t result, unsigned flags);

/* Data for a receive that takes buffers: `len` bytes of value `byte`, or -ENOBUFS if no buffer is
 * there. False then. */
bool fake_receive(struct fake *fake, struct whi_op *op, char byte, uint32_t len, unsigned flags);

static inline struct fake *fake_of(struct wh_loop *loop)
{
	return (struct fake *)(void *)loop->backend;
}
