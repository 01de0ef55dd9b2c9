#include "fuzz/kernel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "support/task_test.h"

enum { STACK_BYTES = 64 * 1024, TASKS_MAX = 64, STACKS_WARM = 8, BUF_BYTES = 64 };
enum { AGE_MAX = 4, EVENTS_MAX = 6, TURNS_MAX = 100000 };

/* What an operation may end with besides success; the first is what 0 chooses. */
static const int32_t recv_errors[] = { -ECONNRESET, -EINTR, -ENOMEM, -EHOSTUNREACH };
static const int32_t send_errors[] = { -EPIPE, -ECONNRESET, -EINTR, -ENOMEM };
static const int32_t accept_errors[] = { -ECONNABORTED, -EINTR,	 -EMFILE, -ENFILE,
					 -ENOMEM,	-EPROTO, -EINVAL };
static const int32_t connect_errors[] = { -ECONNREFUSED, -EINTR, -ENETUNREACH, -EACCES };
static const int32_t other_errors[] = { -EIO, -EINTR, -ENOMEM };

struct result {
	int32_t value;
	unsigned flags;
	uint16_t buffer;
};

static uint64_t now_ns;

static struct kernel *kernel_of(struct whi_backend *backend)
{
	return (struct kernel *)(void *)backend;
}

/* Descriptors. They are numbers only; the system knows nothing of them. */

static struct kernel_fd *find_fd(struct kernel *kernel, int fd)
{
	unsigned index = (unsigned)fd - KERNEL_FD_FIRST;

	check(fd >= KERNEL_FD_FIRST && index < kernel->fd_count && kernel->fds[index].open);
	return &kernel->fds[index];
}

int kernel_fd(struct kernel *kernel)
{
	check(kernel->fd_count < KERNEL_FDS_MAX);
	kernel->fds[kernel->fd_count] = (struct kernel_fd){ .open = true };
	return KERNEL_FD_FIRST + (int)kernel->fd_count++;
}

uint8_t kernel_pattern(int fd, uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 8) + (uint64_t)fd * 17);
}

static void fill(struct kernel *kernel, int fd, char *buf, uint32_t len)
{
	struct kernel_fd *entry = find_fd(kernel, fd);

	for (uint32_t i = 0; i < len; i++)
		buf[i] = (char)kernel_pattern(fd, entry->received++);
}

/* All bytes are looked at, also those that are not taken: they have been lent. */
static void drain(struct kernel *kernel, const struct whi_op *op, uint32_t taken)
{
	struct kernel_fd *entry = find_fd(kernel, op->fd);
	const uint8_t *buf = op->rw.buf;

	for (uint64_t i = 0; i < op->rw.len; i++)
		check_int(buf[i], kernel_pattern(op->fd, entry->sent + i));
	entry->sent += taken;
}

static void close_fd(struct kernel *kernel, int fd)
{
	for (unsigned i = 0; i < kernel->op_count; i++)
		check(kernel->ops[i].op->fd != fd || !whi_opdefs[kernel->ops[i].op->kind].needs_fd);
	find_fd(kernel, fd)->open = false;
}

/* Results. `choice` is a byte of the input; 0 leads to the end of things. */

static int32_t one_of(const int32_t *errors, size_t count, uint8_t choice)
{
	return errors[choice / 8 % count];
}

#define ONE_OF(errors, choice) one_of(errors, sizeof(errors) / sizeof((errors)[0]), choice)

/* 1 .. `len`: mostly all of it. */
static uint32_t share(struct kernel *kernel, size_t len, uint8_t choice)
{
	if (len == 0)
		return 0;
	return (uint32_t)(choice & 128 ? 1 + bytes_next(kernel->input) % len : len);
}

static struct result recv_result(struct kernel *kernel, const struct whi_op *op, uint8_t choice)
{
	struct result result = { 0 };

	if (choice % 8 == 1) {
		result.value = ONE_OF(recv_errors, choice);
	} else if (choice % 8 > 1) {
		result.value = (int32_t)share(kernel, op->rw.len, choice);
		fill(kernel, op->fd, op->rw.buf, (uint32_t)result.value);
		result.flags = choice & 64 ? WHI_OP_SOCK_MORE : 0;
	}
	return result;
}

static struct kernel_buf pop_buf(struct kernel *kernel)
{
	struct kernel_buf buf = kernel->bufs[0];

	memmove(&kernel->bufs[0], &kernel->bufs[1], --kernel->buf_count * sizeof(buf));
	return buf;
}

static struct result recv_multi_result(struct kernel *kernel, const struct whi_op *op,
				       uint8_t choice)
{
	struct result result = { 0 };
	struct kernel_buf buf;

	if (choice % 8 == 1)
		result.value = ONE_OF(recv_errors, choice);
	if (choice % 8 == 1 || (choice % 8 == 0 && !(choice & 64)))
		return result;
	if (kernel->buf_count == 0 || choice % 8 == 2) {
		result.value = -ENOBUFS;
		return result;
	}
	buf = pop_buf(kernel);
	result.buffer = buf.index;
	result.flags = WHI_OP_BUFFER;
	/* A buffer taken for nothing, at the end of the stream. */
	if (choice % 8 == 0)
		return result;
	result.value = (int32_t)share(kernel, buf.len, choice);
	fill(kernel, op->fd, buf.memory, (uint32_t)result.value);
	if (choice % 8 > 3)
		result.flags |= WHI_OP_MORE;
	if (choice & 64)
		result.flags |= WHI_OP_SOCK_MORE;
	return result;
}

static struct result send_result(struct kernel *kernel, const struct whi_op *op, uint8_t choice)
{
	struct result result = { 0 };

	if (choice % 8 == 1)
		result.value = ONE_OF(send_errors, choice);
	else if (choice % 8 == 2 && op->quiet)
		result.value = -EAGAIN;
	else
		result.value = (int32_t)share(kernel, op->rw.len, choice);
	drain(kernel, op, result.value > 0 ? (uint32_t)result.value : 0);
	return result;
}

static struct result accept_result(struct kernel *kernel, const struct whi_op *op, uint8_t choice)
{
	bool multi = op->kind == WHI_OP_ACCEPT_MULTI;

	if (choice % 8 == 1 || kernel->fd_count >= KERNEL_FDS_MAX / 2)
		return (struct result){ .value = ONE_OF(accept_errors, choice) };
	return (struct result){ .value = kernel_fd(kernel),
				.flags = multi && choice % 8 > 2 ? WHI_OP_MORE : 0 };
}

static struct result read_result(struct kernel *kernel, const struct whi_op *op, uint8_t choice)
{
	uint64_t left = op->rw.offset < kernel->file_bytes ? kernel->file_bytes - op->rw.offset : 0;
	size_t len = op->rw.len < left ? op->rw.len : (size_t)left;
	uint8_t *buf = op->rw.buf;
	uint32_t count;

	if (choice % 8 == 1)
		return (struct result){ .value = ONE_OF(other_errors, choice) };
	count = share(kernel, len, choice);
	for (uint32_t i = 0; i < count; i++)
		buf[i] = kernel_pattern(op->fd, op->rw.offset + i);
	return (struct result){ .value = (int32_t)count };
}

static struct result simple_result(struct kernel *kernel, const struct whi_op *op, uint8_t choice)
{
	struct result result = { 0 };
	bool fails = choice % 8 == 1;

	if (op->kind == WHI_OP_CLOSE) {
		close_fd(kernel, op->fd);
		result.value = fails ? -EIO : 0;
	} else if (op->kind == WHI_OP_SOCKET) {
		fails |= kernel->fd_count >= KERNEL_FDS_MAX / 2;
		result.value = fails ? -EMFILE : kernel_fd(kernel);
	} else if (op->kind == WHI_OP_CONNECT) {
		result.value = fails ? ONE_OF(connect_errors, choice) : 0;
	} else if (op->kind == WHI_OP_POLL) {
		result.value = fails ? -ENOMEM : op->arg.value;
	} else if (op->kind == WHI_OP_SHUTDOWN) {
		result.value = fails ? -ENOTCONN : 0;
	} else if (fails) {
		result.value = ONE_OF(other_errors, choice);
	}
	return result;
}

static struct result result_of(struct kernel *kernel, const struct whi_op *op, uint8_t choice)
{
	if (op->state == WHI_OP_CANCELLING && choice % 2 == 0) {
		if (op->kind == WHI_OP_SEND)
			drain(kernel, op, 0);
		return (struct result){ .value = -ECANCELED };
	}
	switch (op->kind) {
	case WHI_OP_RECV:
		return recv_result(kernel, op, choice);
	case WHI_OP_RECV_MULTI:
		return recv_multi_result(kernel, op, choice);
	case WHI_OP_SEND:
		return send_result(kernel, op, choice);
	case WHI_OP_ACCEPT:
	case WHI_OP_ACCEPT_MULTI:
		return accept_result(kernel, op, choice);
	case WHI_OP_READ:
		return read_result(kernel, op, choice);
	default:
		return simple_result(kernel, op, choice);
	}
}

/* Operations */

static unsigned index_of(const struct kernel *kernel, const struct whi_op *op)
{
	unsigned i = 0;

	while (i < kernel->op_count && kernel->ops[i].op != op)
		i++;
	return i;
}

static void forget(struct kernel *kernel, unsigned index)
{
	memmove(&kernel->ops[index], &kernel->ops[index + 1],
		(--kernel->op_count - index) * sizeof(kernel->ops[0]));
	kernel->base.stats.inflight--;
}

static void deliver(struct kernel *kernel, unsigned index)
{
	struct whi_op *op = kernel->ops[index].op;
	struct result result = { 0 };

	if (op->state == WHI_OP_QUEUED)
		whi_op_enter(op, WHI_OP_INFLIGHT);
	/* Before closing its descriptor: it is not itself in the way of that. */
	if (op->kind == WHI_OP_CLOSE)
		forget(kernel, index);
	result = result_of(kernel, op, bytes_next(kernel->input));
	if (op->kind != WHI_OP_CLOSE && !(result.flags & WHI_OP_MORE))
		forget(kernel, index);
	op->buffer = result.buffer;
	kernel->base.stats.completions++;
	whi_op_complete(op, result.value, result.flags);
}

/* The kernel ends these by itself, in no time. */
static bool is_brief(const struct whi_op *op)
{
	return !whi_opdefs[op->kind].cancellable || op->quiet || op->kind == WHI_OP_READ;
}

static bool is_due(const struct kernel_op *entry)
{
	if (entry->op->quiet)
		return true;
	return entry->age >= AGE_MAX &&
	       (is_brief(entry->op) || entry->op->state == WHI_OP_CANCELLING);
}

static void kernel_submit(struct whi_backend *backend, struct whi_op *op)
{
	struct kernel *kernel = kernel_of(backend);
	uint8_t choice = bytes_next(kernel->input);

	check(index_of(kernel, op) == kernel->op_count);
	if (whi_opdefs[op->kind].needs_fd)
		find_fd(kernel, op->fd);
	op->cancel_wanted = false;
	kernel->base.stats.submitted++;
	whi_op_enter(op, WHI_OP_QUEUED);
	if (choice >= 254 && op->kind != WHI_OP_CLOSE) {
		whi_op_complete(op, choice == 254 ? -EAGAIN : -ENOMEM, 0);
		return;
	}
	if (choice < 192)
		whi_op_enter(op, WHI_OP_INFLIGHT);
	check(kernel->op_count < KERNEL_OPS_MAX);
	kernel->ops[kernel->op_count++] = (struct kernel_op){ .op = op,
							      .serial = ++kernel->serial };
	kernel->base.stats.inflight++;
}

/* The small calls never fail here: what they are on is what it should be. */
static int kernel_perform(struct whi_backend *backend, struct whi_op *op)
{
	struct kernel *kernel = kernel_of(backend);

	find_fd(kernel, op->fd);
	if (op->kind == WHI_OP_CLOSE)
		close_fd(kernel, op->fd);
	if (op->kind == WHI_OP_GETSOCKOPT)
		*op->option.value_ptr = op->option.name == SO_TYPE ? SOCK_STREAM : 1;
	return 0;
}

static void kernel_cancel(struct whi_backend *backend, struct whi_op *op)
{
	struct kernel *kernel = kernel_of(backend);
	unsigned index = index_of(kernel, op);

	check(index < kernel->op_count);
	if (op->cancel_wanted || !whi_opdefs[op->kind].cancellable)
		return;
	op->cancel_wanted = true;
	kernel->ops[index].age = 0;
	if (op->state == WHI_OP_QUEUED)
		whi_op_enter(op, WHI_OP_INFLIGHT);
	whi_op_enter(op, WHI_OP_CANCELLING);
}

static bool deliver_due(struct kernel *kernel)
{
	uint64_t newest = kernel->serial;
	bool delivered = false;

	/* Completions may submit and cancel: begin again after each. */
	for (unsigned i = 0; i < kernel->op_count;) {
		struct kernel_op *entry = &kernel->ops[i];

		if (entry->serial > newest || !is_due(entry)) {
			i++;
			continue;
		}
		/* A multishot one stays due until it ends, but has had its turn. */
		entry->age = 1;
		deliver(kernel, i);
		delivered = true;
		i = 0;
	}
	return delivered;
}

static bool deliver_chosen(struct kernel *kernel)
{
	unsigned events = bytes_below(kernel->input, EVENTS_MAX);
	bool delivered = false;

	for (; events > 0 && kernel->op_count > 0; events--) {
		deliver(kernel, bytes_below(kernel->input, kernel->op_count));
		delivered = true;
	}
	return delivered;
}

/* Time passes if nothing is left that happens by itself. -EDEADLK: not even time would help. */
static int idle(const struct kernel *kernel, uint64_t timeout_ns)
{
	for (unsigned i = 0; i < kernel->op_count; i++)
		if (is_brief(kernel->ops[i].op) || kernel->ops[i].op->state == WHI_OP_CANCELLING)
			return 0;
	if (timeout_ns == WHI_NEVER)
		return -EDEADLK;
	now_ns += timeout_ns;
	return 0;
}

static int kernel_turn(struct whi_backend *backend, uint64_t timeout_ns)
{
	struct kernel *kernel = kernel_of(backend);
	bool delivered;
	int r = 0;

	now_ns += 100 + 1000 * (uint64_t)bytes_next(kernel->input);
	for (unsigned i = 0; i < kernel->op_count; i++) {
		kernel->ops[i].age++;
		if (kernel->ops[i].op->state == WHI_OP_QUEUED)
			whi_op_enter(kernel->ops[i].op, WHI_OP_INFLIGHT);
	}
	delivered = deliver_due(kernel);
	delivered |= deliver_chosen(kernel);
	if (!delivered && timeout_ns > 0 && !kernel->woken)
		r = idle(kernel, timeout_ns);
	kernel->woken = false;
	return r;
}

static uint64_t kernel_now(struct whi_backend *backend)
{
	(void)backend;
	return now_ns;
}

static void kernel_wake(struct whi_backend *backend)
{
	kernel_of(backend)->woken = true;
}

static void kernel_wake_from(struct whi_backend *backend, struct whi_backend *from)
{
	(void)from;
	kernel_wake(backend);
}

/* Every turn tries what is quiet anyway. */
static void kernel_hurry(struct whi_backend *backend)
{
	(void)backend;
}

static int kernel_bufs_open(struct whi_backend *backend, uint32_t count)
{
	(void)backend;
	return count <= KERNEL_BUFS_MAX ? 0 : -EINVAL;
}

static void kernel_buf_give(struct whi_backend *backend, uint16_t index, void *buf, uint32_t len)
{
	struct kernel *kernel = kernel_of(backend);

	check(kernel->buf_count < KERNEL_BUFS_MAX);
	for (unsigned i = 0; i < kernel->buf_count; i++)
		check(kernel->bufs[i].index != index);
	memset(buf, 0xa5, len);
	kernel->bufs[kernel->buf_count++] =
		(struct kernel_buf){ .index = index, .memory = buf, .len = len };
}

static int kernel_address(struct whi_backend *backend)
{
	(void)backend;
	return -1;
}

static int kernel_open(const struct whi_backend_opts *opts, struct whi_backend **ret)
{
	struct kernel *kernel = opts->arg;

	kernel->base.ops = &kernel_ops;
	now_ns = WH_SEC;
	whi_clock_virtual = &now_ns;
	*ret = &kernel->base;
	return 0;
}

static void kernel_close(struct whi_backend *backend)
{
	struct kernel *kernel = kernel_of(backend);

	check_int(kernel->op_count, 0);
	for (unsigned i = 0; i < kernel->fd_count; i++)
		check(!kernel->fds[i].open);
}

const struct whi_backend_ops kernel_ops = {
	.name = "fuzz",
	.open = kernel_open,
	.close = kernel_close,
	.submit = kernel_submit,
	.perform = kernel_perform,
	.cancel = kernel_cancel,
	.turn = kernel_turn,
	.hurry = kernel_hurry,
	.wake = kernel_wake,
	.wake_from = kernel_wake_from,
	.bufs_open = kernel_bufs_open,
	.buf_give = kernel_buf_give,
	.address = kernel_address,
	.now_ns = kernel_now,
};

void kernel_loop_open(struct wh_loop *loop, struct kernel *kernel, struct bytes *input,
		      uint32_t bufs)
{
	const struct whi_loop_opts opts = {
		.backend = &kernel_ops,
		.backend_opts.arg = kernel,
		.sched_opts = { .stack_bytes = STACK_BYTES,
				.tasks_max = TASKS_MAX,
				.stacks_warm = STACKS_WARM },
		.buf_count = bufs,
		.buf_bytes = BUF_BYTES,
	};

	memset(loop, 0, sizeof(*loop));
	memset(kernel, 0, sizeof(*kernel));
	kernel->input = input;
	check_int(whi_loop_init(loop, &opts), 0);
}

void kernel_loop_run(struct wh_loop *loop, wh_task_fn fn, void *arg)
{
	const struct kernel *kernel = kernel_of(loop->backend);
	const struct wh_spawn_opts opts = { .name = "main" };

	check_int(whi_task_spawn(&loop->sched.root, fn, arg, &opts, NULL), 0);
	for (unsigned turns = 0; loop->sched.tasks_live > 0; turns++) {
		int r = whi_loop_turn(loop, true);

		/* With nobody left there is nothing to wait for. */
		check(r == 0 || loop->sched.tasks_live == 0);
		check(turns < TURNS_MAX);
	}
	if (loop->bufs.memory)
		check_int(kernel->buf_count, loop->bufs.count);
	whi_loop_fini(loop);
	whi_clock_virtual = NULL;
}
