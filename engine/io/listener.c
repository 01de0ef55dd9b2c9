/*
 * Listeners: one multishot accept, and the connections it has brought until somebody takes them.
 *
 * Invariants
 * 1. The accept is in the kernel exactly while `armed`. It is armed by a task that waits and finds
 *    nothing, and stopped when WAITING_MAX connections wait: further ones stay in the backlog.
 * 2. When descriptors or memory are out, accepting pauses for WHI_ACCEPT_PAUSE_NS: armed again at
 *    once it would fail at once.
 * 3. Once `stopped` it is not armed again. What the kernel accepts before it lets go is handed out
 *    like all the rest.
 * 4. The watch is under way exactly while `watching`; its end is waited for before the listener is
 *    freed.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "io/sock.h"
#include "io/supervise.h"
#include "loop/watch.h"

enum { WAITING_MAX = 256, BACKLOG = 65535 };

struct wh_listener {
	struct whi_op op;
	int fd;
	bool armed;
	bool accepting; /* a task is in wh_accept */
	bool closing;
	bool stopped;
	bool supervised; /* the supervisor waits until it accepts no more */
	bool watching;
	int32_t error; /* of the last accept that ended, until reported */
	uint32_t waiting;
	struct whi_list accepted; /* of struct wh_sock */
	struct whi_wait *waiter;
	struct whi_wait *closer; /* waits for the task in wh_accept to leave */
	struct whi_watch retirement;
	struct wh_loop *loop;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1]; /* to remove; "": none */
};

/* Opening */

static int await_socket(int domain)
{
	struct whi_op op = {
		.kind = WHI_OP_SOCKET,
		.socket.domain = domain,
		.socket.type = SOCK_STREAM | SOCK_CLOEXEC,
	};

	return whi_await(&op);
}

static int await_bind(int fd, const struct wh_addr *addr)
{
	struct whi_op op = {
		.kind = WHI_OP_BIND,
		.fd = fd,
		.addr.addr = (struct sockaddr *)(uintptr_t)&addr->storage,
		.addr.len = addr->len,
	};

	return whi_await(&op);
}

/* A socket file is stale if it refuses connections: its process has died. */
static bool is_stale(const struct wh_addr *addr)
{
	struct whi_op open = {
		.kind = WHI_OP_SOCKET,
		.socket.domain = AF_UNIX,
		.socket.type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
	};
	struct whi_op connect = {
		.kind = WHI_OP_CONNECT,
		.fd = whi_perform(&open),
		.addr.addr = (struct sockaddr *)(uintptr_t)&addr->storage,
		.addr.len = addr->len,
	};
	int r;

	if (connect.fd < 0)
		return false;
	r = whi_perform(&connect);
	whi_close(connect.fd);
	return r == -ECONNREFUSED;
}

static int unlink_path(const char *path)
{
	return whi_perform(&(struct whi_op){ .kind = WHI_OP_UNLINKAT, .path.path = path });
}

/* Any other file than a socket refuses connections too, and is none of our business. */
static bool remove_stale(const struct wh_addr *addr)
{
	const struct sockaddr_un *un = (const void *)&addr->storage;
	struct statx stat = { 0 };
	struct whi_op op = {
		.kind = WHI_OP_STATX,
		.fd = AT_FDCWD,
		.path.path = un->sun_path,
		.path.flags = AT_SYMLINK_NOFOLLOW,
		.path.mode = STATX_TYPE,
		.path.statx = &stat,
	};

	return whi_perform(&op) == 0 && S_ISSOCK(stat.stx_mode) && is_stale(addr) &&
	       unlink_path(un->sun_path) == 0;
}

static bool is_path(const struct wh_addr *addr)
{
	const struct sockaddr_un *un = (const void *)&addr->storage;

	return un->sun_family == AF_UNIX && un->sun_path[0] != '\0';
}

static int bind_addr(int fd, const struct wh_addr *addr, const struct wh_listen_opts *opts)
{
	int r = 0;

	if (addr->storage.ss_family != AF_UNIX) {
		whi_sock_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		/* Accepted connections inherit it. */
		if (!opts->nagle)
			whi_sock_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		if (opts->reuse_port && !opts->first)
			r = whi_sock_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
		if (r < 0)
			return r;
	}
	r = await_bind(fd, addr);
	if (r == -EADDRINUSE && is_path(addr) && !opts->keep_path && remove_stale(addr))
		r = await_bind(fd, addr);
	/* It is bound as one that does not share, so nobody else was there; others look at what it
	 * says now. */
	if (r == 0 && opts->reuse_port && opts->first && addr->storage.ss_family != AF_UNIX)
		r = whi_sock_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	return r;
}

static int listen_fd(int fd, const struct wh_addr *addr, const struct wh_listen_opts *opts)
{
	/* The kernel cuts it down to somaxconn. */
	struct whi_op op = {
		.kind = WHI_OP_LISTEN,
		.fd = fd,
		.arg.value = opts->backlog ? opts->backlog : BACKLOG,
	};
	int r = bind_addr(fd, addr, opts);

	return r < 0 ? r : whi_await(&op);
}

static void accepted(struct whi_op *op);

static struct wh_listener *new_listener(int fd, const struct wh_addr *addr)
{
	struct wh_listener *listener = whi_calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	listener->fd = fd;
	listener->loop = whi_loop_self();
	whi_list_init(&listener->accepted);
	listener->op.kind = WHI_OP_ACCEPT_MULTI;
	listener->op.fd = fd;
	listener->op.addr.flags = SOCK_CLOEXEC;
	listener->op.done = accepted;
	if (is_path(addr))
		snprintf(listener->path, sizeof(listener->path), "%s",
			 ((const struct sockaddr_un *)(const void *)&addr->storage)->sun_path);
	return listener;
}

int wh_listen(const struct wh_addr *addr, const struct wh_listen_opts *opts,
	      struct wh_listener **ret)
{
	const struct wh_listen_opts defaults = { 0 };
	struct wh_listener *listener;
	int fd = await_socket(addr->storage.ss_family);
	int r;

	if (fd < 0)
		return fd;
	r = listen_fd(fd, addr, opts ? opts : &defaults);
	if (r < 0)
		goto err;
	listener = new_listener(fd, addr);
	if (!listener) {
		r = -ENOMEM;
		goto err;
	}
	*ret = listener;
	return 0;

err:
	whi_close(fd);
	return r;
}

int wh_listen_fd(int fd, struct wh_listener **ret)
{
	struct whi_op adopt = { .kind = WHI_OP_ADOPT, .fd = fd };
	const struct wh_addr none = { 0 };
	int listening;
	int r = whi_sock_get(fd, SO_ACCEPTCONN, &listening);

	if (r == 0)
		r = listening ? whi_perform(&adopt) : -EINVAL;
	if (r < 0)
		return r;
	*ret = new_listener(fd, &none);
	return *ret ? 0 : -ENOMEM;
}

int wh_listener_addr(const struct wh_listener *listener, struct wh_addr *ret)
{
	struct whi_op op = {
		.kind = WHI_OP_GETSOCKNAME,
		.fd = listener->fd,
		.addr.addr = (struct sockaddr *)&ret->storage,
		.addr.len_ptr = &ret->len,
	};
	struct whi_backend *backend = listener->loop->backend;

	/* Any thread may ask. */
	ret->len = sizeof(ret->storage);
	return backend->ops->perform(backend, &op);
}

int wh_listener_fd(const struct wh_listener *listener)
{
	return listener->fd;
}

/* Accepting */

static void wake_waiter(struct wh_listener *listener)
{
	struct whi_wait *waiter = listener->waiter;

	listener->waiter = NULL;
	if (waiter && waiter->task)
		whi_task_wake(waiter);
}

static void arm(struct wh_listener *listener)
{
	listener->armed = true;
	listener->error = 0;
	listener->op.state = WHI_OP_IDLE;
	listener->loop->backend->ops->submit(listener->loop->backend, &listener->op);
}

static void keep(struct wh_listener *listener, int fd)
{
	struct wh_sock *sock = whi_sock_new(fd);

	if (!sock) {
		whi_close(fd);
		listener->error = -ENOMEM;
		return;
	}
	whi_list_append(&listener->accepted, &sock->link);
	listener->waiting++;
}

/* Of a socket that is handed on. */
static void left_kernel(struct wh_listener *listener)
{
	if (!listener->supervised)
		return;
	listener->supervised = false;
	whi_supervised_stopped();
}

static void accepted(struct whi_op *op)
{
	struct wh_listener *listener = whi_container_of(op, struct wh_listener, op);

	if (op->result >= 0)
		keep(listener, op->result);
	else
		listener->error = op->result;
	if (!whi_op_pending(op)) {
		listener->armed = false;
		if (listener->stopped)
			left_kernel(listener);
	} else if (listener->waiting >= WAITING_MAX) {
		listener->loop->backend->ops->cancel(listener->loop->backend, op);
	}
	wake_waiter(listener);
}

struct acceptor {
	struct whi_wait wait;
	struct wh_listener *listener;
};

static void acceptor_interrupted(struct whi_wait *wait)
{
	wake_waiter(whi_container_of(wait, struct acceptor, wait)->listener);
}

static int wait_accepted(struct wh_listener *listener)
{
	struct acceptor acceptor = { { .what = "accept", .interrupt = acceptor_interrupted },
				     listener };
	int r = whi_task_check();

	if (r < 0)
		return r;
	listener->waiter = &acceptor.wait;
	if (!listener->armed)
		arm(listener);
	if (listener->waiter)
		whi_task_suspend(&acceptor.wait);
	return acceptor.wait.interrupted ? whi_task_check() : 0;
}

static bool out_of_resources(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM ||
	       error == -EAGAIN;
}

/* Errors of one connection, which accept(2) reports for the next: the listener is fine. */
static bool is_fatal(int error)
{
	return error == -EBADF || error == -EINVAL || error == -ENOTSOCK || error == -EOPNOTSUPP ||
	       error == -EFAULT;
}

/* Whatever has become of the listener meanwhile is to be looked at before it is armed again. */
static int pause_accepting(struct wh_listener *listener)
{
	listener->error = 0;
	listener->loop->accept_backoffs++;
	return wh_sleep(WHI_ACCEPT_PAUSE_NS);
}

static int next_accepted(struct wh_listener *listener, struct wh_sock **ret)
{
	for (;;) {
		struct whi_list *node = whi_list_pop(&listener->accepted);
		int r = listener->closing ? -ECANCELED : 0;

		if (node) {
			listener->waiting--;
			*ret = whi_container_of(node, struct wh_sock, link);
			return 0;
		}
		if (is_fatal(listener->error))
			return listener->error;
		if (r == 0 && listener->stopped && !listener->armed)
			return -ESHUTDOWN;
		if (r == 0)
			r = out_of_resources(listener->error) ? pause_accepting(listener)
							      : wait_accepted(listener);
		if (r < 0)
			return r;
	}
}

int wh_accept(struct wh_listener *listener, struct wh_sock **ret)
{
	int r;

	if (listener->accepting)
		return -EBUSY;
	listener->accepting = true;
	r = next_accepted(listener, ret);
	listener->accepting = false;
	if (listener->closer) {
		whi_task_wake(listener->closer);
		listener->closer = NULL;
	}
	return r;
}

void wh_listener_stop(struct wh_listener *listener)
{
	listener->stopped = true;
	if (listener->armed)
		listener->loop->backend->ops->cancel(listener->loop->backend, &listener->op);
	else
		left_kernel(listener);
}

static void retirement_told(struct whi_watch *watch)
{
	struct wh_listener *listener = whi_container_of(watch, struct wh_listener, retirement);

	listener->watching = false;
	if (watch->ended)
		wake_waiter(listener);
	else if (watch->op.result < 0)
		whi_listener_retires(listener);
	else
		wh_listener_stop(listener);
}

void whi_listener_retires(struct wh_listener *listener)
{
	if (listener->watching || listener->stopped)
		return;
	listener->watching = true;
	whi_watch_start(&listener->retirement, WHI_WATCH_HANGUP, WHI_SUPERVISED_FD,
			retirement_told);
}

void whi_listener_supervised(struct wh_listener *listener)
{
	listener->supervised = true;
	whi_listener_retires(listener);
}

static void stop_watching(struct wh_listener *listener)
{
	struct whi_wait wait = { .what = "retirement's watch" };

	if (!listener->watching)
		return;
	listener->waiter = &wait;
	whi_watch_end(&listener->retirement);
	whi_task_suspend(&wait);
}

static void stop_accepting(struct wh_listener *listener)
{
	struct whi_wait wait = { .what = "accept to stop" };
	struct whi_list *node;

	while (listener->armed) {
		listener->loop->backend->ops->cancel(listener->loop->backend, &listener->op);
		listener->waiter = &wait;
		whi_task_suspend(&wait);
	}
	left_kernel(listener);
	while ((node = whi_list_pop(&listener->accepted)))
		whi_sock_discard(whi_container_of(node, struct wh_sock, link));
}

void wh_listener_close(struct wh_listener *listener)
{
	struct whi_wait wait = { .what = "accept to leave" };

	whi_assert(!listener->closing);
	listener->closing = true;
	if (listener->accepting) {
		listener->closer = &wait;
		wake_waiter(listener);
		whi_task_suspend(&wait);
	}
	stop_accepting(listener);
	stop_watching(listener);
	if (listener->path[0])
		unlink_path(listener->path);
	whi_close(listener->fd);
	whi_free(listener);
}
