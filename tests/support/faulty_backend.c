#include "support/faulty_backend.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/assert.h"

enum { SHORT_MAX = 7 };

/* What goes wrong with each kind of operation in real life. */
static const int usual[WHI_OP_MAX] = {
	[WHI_OP_NOP] = -EIO,
	[WHI_OP_SOCKET] = -EMFILE,
	[WHI_OP_BIND] = -EADDRINUSE,
	[WHI_OP_LISTEN] = -EADDRINUSE,
	[WHI_OP_ACCEPT] = -EMFILE,
	[WHI_OP_ACCEPT_MULTI] = -EMFILE,
	[WHI_OP_CONNECT] = -ECONNREFUSED,
	[WHI_OP_RECV] = -ECONNRESET,
	[WHI_OP_RECV_MULTI] = -ECONNRESET,
	[WHI_OP_SEND] = -ENOBUFS,
	[WHI_OP_RECVMSG] = -ECONNRESET,
	[WHI_OP_SENDMSG] = -EPIPE,
	[WHI_OP_SHUTDOWN] = -ENOTCONN,
	[WHI_OP_CLOSE] = -EIO,
	[WHI_OP_OPENAT] = -EACCES,
	[WHI_OP_READ] = -EIO,
	[WHI_OP_WRITE] = -ENOSPC,
	[WHI_OP_READV] = -EIO,
	[WHI_OP_WRITEV] = -ENOSPC,
	[WHI_OP_FSYNC] = -EIO,
	[WHI_OP_STATX] = -ENOENT,
	[WHI_OP_FALLOCATE] = -ENOSPC,
	[WHI_OP_UNLINKAT] = -EBUSY,
	[WHI_OP_RENAMEAT] = -EXDEV,
	[WHI_OP_MKDIRAT] = -ENOSPC,
	[WHI_OP_TIMER] = -EINVAL,
	[WHI_OP_POLL] = -EBADF,
	[WHI_OP_MESSAGE] = -EOVERFLOW,
};

static struct faulty_plan plan;
static _Atomic uint64_t submitted;
static _Atomic int injected;
static const char *_Atomic injected_name;

static struct whi_backend_ops faulty_ops;

/* Operations that fail in the next turn of their loop. */
static _Thread_local struct whi_fifo failing;

void faulty_set(const struct faulty_plan *new)
{
	plan = *new;
	atomic_store(&submitted, 0);
	atomic_store(&injected, 0);
	atomic_store(&injected_name, "");
}

uint64_t faulty_count(void)
{
	return atomic_load(&submitted);
}

int faulty_error(void)
{
	return atomic_load(&injected);
}

const char *faulty_name(void)
{
	return atomic_load(&injected_name);
}

static void fail(struct whi_op *op)
{
	int error = plan.error ? plan.error : usual[op->kind];

	/* As in the kernel, the descriptor is gone even if closing it failed. */
	if (op->kind == WHI_OP_CLOSE)
		close(op->fd);
	atomic_store(&injected, error);
	atomic_store(&injected_name, whi_opdefs[op->kind].name);
	whi_op_complete(op, error, 0);
}

static bool must_fail(void)
{
	uint64_t number = atomic_fetch_add(&submitted, 1) + 1;

	return number == plan.nth && (plan.mode == FAULTY_NTH || plan.mode == FAULTY_NTH_INSIDE);
}

static void shorten(struct whi_op *op)
{
	bool is_rw = op->kind == WHI_OP_READ || op->kind == WHI_OP_WRITE || op->kind == WHI_OP_RECV;

	if (is_rw && op->rw.len > SHORT_MAX)
		op->rw.len = 1 + op->rw.len % SHORT_MAX;
}

static void faulty_submit(struct whi_backend *backend, struct whi_op *op)
{
	if (plan.mode == FAULTY_SHORT)
		shorten(op);
	if (!must_fail()) {
		whi_backend_uring.submit(backend, op);
		return;
	}
	op->cancel_wanted = false;
	whi_op_enter(op, WHI_OP_QUEUED);
	if (plan.mode == FAULTY_NTH_INSIDE)
		fail(op);
	else
		whi_fifo_push(&failing, &op->link);
}

static int faulty_turn(struct whi_backend *backend, uint64_t timeout_ns)
{
	struct whi_qnode *node;
	int r = whi_backend_uring.turn(backend, whi_fifo_empty(&failing) ? timeout_ns : 0);

	while ((node = whi_fifo_pop(&failing)))
		fail(whi_container_of(node, struct whi_op, link));
	return r;
}

static int faulty_open(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	int r = whi_backend_uring.open(opts, ret);

	if (r == 0)
		(*ret)->ops = &faulty_ops;
	return r;
}

const struct whi_backend_ops *__wrap_whi_backend_find(const char *name);

const struct whi_backend_ops *__wrap_whi_backend_find(const char *name)
{
	(void)name;
	faulty_ops = whi_backend_uring;
	faulty_ops.open = faulty_open;
	faulty_ops.submit = faulty_submit;
	faulty_ops.turn = faulty_turn;
	return &faulty_ops;
}
