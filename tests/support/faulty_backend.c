#include "support/faulty_backend.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "backend/backend.h"
#include "base/assert.h"
#include "support/manual.h"

enum { SHORT_MAX = 7, HOOKS_MAX = 256, BACKENDS_MAX = 4 };

/* A backend and what stands in front of it. */
struct faulty {
	const struct whi_backend_ops *real;
	struct whi_backend_ops ops;
};

/* An operation that is changed when it comes back. */
struct hook {
	struct whi_op *op; /* NULL: free */
	void (*done)(struct whi_op *op);
	struct whi_backend *backend;
	int error;	/* 0: it is short */
	size_t len;	/* of a short one: what was asked for */
	bool ending;	/* multishot: we have asked for its end */
	bool cancelled; /* and so has its user */
};

static struct faulty_plan plan;
static _Atomic uint64_t count, changed, refused;
static _Atomic int last_error;
static const char *_Atomic last_name;
static _Atomic bool injected[ERRORS_END];
static _Atomic uint64_t seen[WHI_OP_MAX], pairs[WHI_OP_MAX][ERRORS_END];

static struct faulty backends[BACKENDS_MAX];

/* A loop's thread's own: operations that fail in its next turn, and those that are changed. */
static _Thread_local struct whi_fifo failing;
static _Thread_local struct hook hooks[HOOKS_MAX];

void faulty_set(const struct faulty_plan *new)
{
	plan = *new;
	atomic_store(&count, 0);
	atomic_store(&changed, 0);
	atomic_store(&last_error, 0);
	atomic_store(&last_name, "");
	for (int error = 0; error < ERRORS_END; error++)
		atomic_store(&injected[error], false);
}

uint64_t faulty_count(void)
{
	return atomic_load(&count);
}

uint64_t faulty_changed(void)
{
	return atomic_load(&changed);
}

int faulty_error(void)
{
	return atomic_load(&last_error);
}

const char *faulty_name(void)
{
	return atomic_load(&last_name);
}

bool faulty_injected(int error)
{
	return error > 0 && error < ERRORS_END && atomic_load(&injected[error]);
}

uint64_t faulty_refused(void)
{
	return atomic_load(&refused);
}

uint64_t faulty_seen(int kind)
{
	return atomic_load(&seen[kind]);
}

uint64_t faulty_pairs(int kind, int error)
{
	return atomic_load(&pairs[kind][error]);
}

static struct faulty *faulty_of(const struct whi_backend *backend)
{
	return whi_container_of(backend->ops, struct faulty, ops);
}

/* The errors that operations of this kind can end with, one after the other. */
static int error_in_turn(int kind, uint64_t number)
{
	const int *errors = manual_errors_of_op(kind);
	unsigned all = 0;

	while (errors[all])
		all++;
	for (uint64_t i = number;; i++)
		if (errors[i % all] != EINTR)
			return -errors[i % all];
}

/* Of a connection that has ended both sides know; so it has if it cannot be shut down. */
static void end_connection(struct whi_backend *backend, const struct whi_op *op, int error)
{
	struct whi_op shutdown = {
		.kind = WHI_OP_SHUTDOWN,
		.fd = op->fd,
		.arg.value = SHUT_RDWR,
	};
	bool is_transfer = op->kind == WHI_OP_SEND || op->kind == WHI_OP_SENDMSG ||
			   op->kind == WHI_OP_RECV || op->kind == WHI_OP_RECV_MULTI ||
			   op->kind == WHI_OP_RECVMSG;

	if (op->kind == WHI_OP_SHUTDOWN ||
	    (is_transfer && (error == -EPIPE || error == -ECONNRESET)))
		faulty_of(backend)->real->perform(backend, &shutdown);
}

static int note_error(struct whi_backend *backend, const struct whi_op *op, int error)
{
	end_connection(backend, op, error);
	atomic_fetch_add(&changed, 1);
	atomic_fetch_add(&pairs[op->kind][-error], 1);
	atomic_store(&injected[-error], true);
	atomic_store(&last_error, error);
	atomic_store(&last_name, whi_opdefs[op->kind].name);
	return error;
}

/* What the kernel may report as failed though it was done, wholly or in part. */
static bool may_fail_late(int kind)
{
	switch (kind) {
	case WHI_OP_SOCKET:
	case WHI_OP_ACCEPT:
	case WHI_OP_ACCEPT_MULTI:
	case WHI_OP_CONNECT:
	case WHI_OP_RECV:
	case WHI_OP_RECV_MULTI:
	case WHI_OP_SEND:
	case WHI_OP_RECVMSG:
	case WHI_OP_SENDMSG:
	case WHI_OP_CLOSE:
	case WHI_OP_OPENAT:
	case WHI_OP_READ:
	case WHI_OP_WRITE:
	case WHI_OP_READV:
	case WHI_OP_WRITEV:
	case WHI_OP_FSYNC:
	case WHI_OP_FALLOCATE:
	case WHI_OP_UNLINKAT:
	case WHI_OP_RENAMEAT:
	case WHI_OP_MKDIRAT:
		return true;
	default:
		return false;
	}
}

static bool may_be_short(const struct whi_op *op)
{
	switch (op->kind) {
	case WHI_OP_READ:
	case WHI_OP_WRITE:
	case WHI_OP_RECV:
	case WHI_OP_SEND:
		return op->rw.len > SHORT_MAX;
	default:
		return false;
	}
}

/* Whether the plan changes `op`, which is about to start; `ret_error` is what it then ends with. */
static bool picked(const struct whi_op *op, int *ret_error)
{
	uint64_t number;

	atomic_fetch_add(&seen[op->kind], 1);
	if (plan.mode == FAULTY_OFF ||
	    (plan.kind != FAULTY_ANY_KIND && plan.kind != (int)op->kind) ||
	    (plan.mode == FAULTY_AFTER && !may_fail_late(op->kind)) ||
	    (plan.mode == FAULTY_SHORT && !may_be_short(op)))
		return false;
	number = atomic_fetch_add(&count, 1) + 1;
	if (!faulty_picks(&plan.pick, number))
		return false;
	*ret_error = plan.error ? plan.error : error_in_turn(op->kind, number);
	return true;
}

/* Hooks */

static struct hook *hook_of(const struct whi_op *op)
{
	for (unsigned i = 0; i < HOOKS_MAX; i++)
		if (hooks[i].op == op)
			return &hooks[i];
	return NULL;
}

static void take_back(const struct hook *hook)
{
	struct whi_op close = { .kind = WHI_OP_CLOSE, .fd = hook->op->result };

	if (whi_opdefs[hook->op->kind].makes_fd)
		faulty_of(hook->backend)->real->perform(hook->backend, &close);
}

static void change_result(struct hook *hook)
{
	struct whi_op *op = hook->op;

	if (hook->error == 0) {
		op->rw.len = hook->len;
	} else if (!whi_opdefs[op->kind].multishot) {
		if (op->result >= 0) {
			take_back(hook);
			op->result = note_error(hook->backend, op, hook->error);
		}
	} else if (op->result == -ECANCELED && hook->ending && !hook->cancelled) {
		op->result = note_error(hook->backend, op, hook->error);
		op->cancel_wanted = false;
	}
}

/* What a multishot operation has brought counts; then it ends. */
static void end_multishot(struct hook *hook)
{
	if (hook->error == 0 || hook->ending || hook->cancelled)
		return;
	hook->ending = true;
	faulty_of(hook->backend)->real->cancel(hook->backend, hook->op);
}

static void hooked_done(struct whi_op *op)
{
	struct hook *hook = hook_of(op);
	void (*done)(struct whi_op * op) = hook->done;

	if (whi_op_pending(op)) {
		done(op);
		end_multishot(hook);
		return;
	}
	change_result(hook);
	hook->op = NULL;
	op->done = done;
	done(op);
}

static void submit_hooked(struct whi_backend *backend, struct whi_op *op, int error)
{
	struct hook *hook = hook_of(NULL);

	if (hook) {
		*hook = (struct hook){ .op = op, .done = op->done, .backend = backend };
		op->done = hooked_done;
		if (plan.mode == FAULTY_SHORT) {
			atomic_fetch_add(&changed, 1);
			hook->len = op->rw.len;
			/* Bytes sent one by one fill a socket as if they were many more. */
			op->rw.len = op->kind == WHI_OP_SEND ? (op->rw.len + 1) / 2
							     : 1 + op->rw.len % SHORT_MAX;
		} else {
			hook->error = error;
		}
	}
	faulty_of(backend)->real->submit(backend, op);
}

/* The table */

static void fail(struct whi_backend *backend, struct whi_op *op, int error)
{
	/* As in the kernel, the descriptor is gone even if closing it failed. */
	if (op->kind == WHI_OP_CLOSE)
		faulty_of(backend)->real->perform(backend, op);
	whi_op_complete(op, note_error(backend, op, error), 0);
}

static void faulty_submit(struct whi_backend *backend, struct whi_op *op)
{
	int error;

	if (!picked(op, &error)) {
		faulty_of(backend)->real->submit(backend, op);
		return;
	}
	if (plan.mode == FAULTY_AFTER || plan.mode == FAULTY_SHORT) {
		submit_hooked(backend, op, error);
		return;
	}
	op->cancel_wanted = false;
	whi_op_enter(op, WHI_OP_QUEUED);
	if (plan.mode == FAULTY_INSIDE) {
		atomic_fetch_add(&refused, 1);
		fail(backend, op, error);
		return;
	}
	op->result = error;
	whi_fifo_push(&failing, &op->link);
}

static int faulty_perform(struct whi_backend *backend, struct whi_op *op)
{
	const struct whi_backend_ops *real = faulty_of(backend)->real;
	int error;

	/* Never submitted, never refused, and what failed has not happened. */
	if (plan.mode != FAULTY_BEFORE) {
		atomic_fetch_add(&seen[op->kind], 1);
		return real->perform(backend, op);
	}
	if (!picked(op, &error))
		return real->perform(backend, op);
	if (op->kind == WHI_OP_CLOSE)
		real->perform(backend, op);
	return note_error(backend, op, error);
}

static bool is_failing(const struct whi_op *op)
{
	for (const struct whi_qnode *node = failing.head; node; node = node->next)
		if (node == &op->link)
			return true;
	return false;
}

static void faulty_cancel(struct whi_backend *backend, struct whi_op *op)
{
	struct hook *hook = hook_of(op);
	bool asked = hook && hook->ending;

	if (hook)
		hook->cancelled = true;
	if (asked || is_failing(op))
		op->cancel_wanted = true;
	else
		faulty_of(backend)->real->cancel(backend, op);
}

static void deliver(struct whi_backend *backend)
{
	struct whi_fifo now = failing;
	struct whi_qnode *node;

	failing = (struct whi_fifo){ 0 };
	while ((node = whi_fifo_pop(&now))) {
		struct whi_op *op = whi_container_of(node, struct whi_op, link);

		fail(backend, op, op->result);
	}
}

static int faulty_turn(struct whi_backend *backend, uint64_t timeout_ns)
{
	bool hurry = !whi_fifo_empty(&failing);
	int r = faulty_of(backend)->real->turn(backend, hurry ? 0 : timeout_ns);

	deliver(backend);
	return r;
}

static void faulty_close(struct whi_backend *backend)
{
	deliver(backend);
	faulty_of(backend)->real->close(backend);
}

static int faulty_open(struct faulty *faulty, const struct whi_backend_opts *opts,
		       struct whi_backend **ret)
{
	int r = faulty->real->open(opts, ret);

	if (r == 0)
		(*ret)->ops = &faulty->ops;
	return r;
}

/* `open` is not told which backend it belongs to. */
static int open_0(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	return faulty_open(&backends[0], opts, ret);
}

static int open_1(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	return faulty_open(&backends[1], opts, ret);
}

static int open_2(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	return faulty_open(&backends[2], opts, ret);
}

static int open_3(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	return faulty_open(&backends[3], opts, ret);
}

const struct whi_backend_ops *__real_whi_backend_find(const char *name);
const struct whi_backend_ops *__wrap_whi_backend_find(const char *name);

const struct whi_backend_ops *__wrap_whi_backend_find(const char *name)
{
	static int (*const opens[BACKENDS_MAX])(const struct whi_backend_opts *opts,
						struct whi_backend **ret) = { open_0, open_1,
									      open_2, open_3 };
	const struct whi_backend_ops *real = __real_whi_backend_find(name);
	unsigned i = 0;

	if (!real)
		return NULL;
	while (backends[i].real && backends[i].real != real)
		whi_assert(++i < BACKENDS_MAX);
	if (!backends[i].real) {
		backends[i] = (struct faulty){ .real = real, .ops = *real };
		backends[i].ops.open = opens[i];
		backends[i].ops.close = faulty_close;
		backends[i].ops.submit = faulty_submit;
		backends[i].ops.perform = faulty_perform;
		backends[i].ops.cancel = faulty_cancel;
		backends[i].ops.turn = faulty_turn;
	}
	return &backends[i].ops;
}
