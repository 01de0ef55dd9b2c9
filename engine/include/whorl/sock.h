/*
 * Sockets: listeners, connections, and what goes over them.
 *
 * Every call here that suspends may besides return
 *     -ENOMEM   there is no memory for the operation
 *     -EAGAIN   as many operations are in flight as `ops_max` of wh_run's options allows
 *     -ENOSPC   epoll watches as many descriptors as fs.epoll.max_user_watches allows
 */
#ifndef WHORL_SOCK_H
#define WHORL_SOCK_H

#include <sys/socket.h>
#include <sys/un.h>
#include <whorl/api.h>

struct iovec;
struct wh_listener;
struct wh_scope;
struct wh_sock;

struct wh_addr {
	socklen_t len;
	struct sockaddr_storage storage;
};

enum { WH_ADDR_TEXT_MAX = 128 };

/**
 * Parse `127.0.0.1:80`, `[::1]:80`, `:80` (every address), or `unix:PATH` (`unix:@NAME` for the
 * abstract name space). Names are not looked up.
 *
 * Returns    0, with the address in `*ret`.
 * Errors     -EINVAL   not of this form
 *            -ENAMETOOLONG   a Unix path of more than 107 bytes
 */
WH_API int wh_addr_parse(const char *text, struct wh_addr *ret);

/** Write `addr` as wh_addr_parse reads it. Returns `text`. */
WH_API const char *wh_addr_format(const struct wh_addr *addr, char text[WH_ADDR_TEXT_MAX]);

/* {0} is valid and means the defaults. */
struct wh_listen_opts {
	int backlog;	 /* default: the system's limit, somaxconn */
	bool reuse_port; /* SO_REUSEPORT: one listener a loop, the kernel spreads connections */
	bool first;	 /* of those: -EADDRINUSE if somebody listens there, sharing or not */
	bool keep_path;	 /* Unix: do not remove a stale socket file that nobody listens on */
	bool nagle;	 /* TCP: leave Nagle's algorithm on for accepted connections */
};

/**
 * Listen on `addr`. A Unix socket file left behind by a dead process is replaced.
 *
 * Suspends   the calling task shortly.
 * Returns    0, with the listener in `*ret`.
 * Errors     -EADDRINUSE, -EACCES, -EADDRNOTAVAIL and others, as socket(2), bind(2), listen(2),
 *            and setsockopt(2) of what `opts` asks for; -ENOMEM, -ECANCELED, -ETIMEDOUT
 * Ownership  wh_listener_close releases it.
 * Context    a task; the listener belongs to its loop.
 */
WH_API int wh_listen(const struct wh_addr *addr, const struct wh_listen_opts *opts,
		     struct wh_listener **ret);

/**
 * Take over a socket that already listens, for instance an inherited one or a dup(2) of another
 * loop's. It is made blocking, which the ring wants.
 *
 * Returns    0, with the listener in `*ret`.
 * Errors     -EBADF, -ENOTSOCK, -EINVAL   not a listening stream socket; others as
 *            getsockopt(2) and fcntl(2); -ENOMEM. `fd` is then still the caller's.
 * Ownership  wh_listener_close closes `fd`; it removes no path.
 * Context    a task; the listener belongs to its loop.
 */
WH_API int wh_listen_fd(int fd, struct wh_listener **ret);

/**
 * The address in use, with the port the kernel chose if 0 was asked for.
 *
 * Returns    0, with the address in `*ret`.
 * Errors     as getsockname(2)
 */
WH_API int wh_listener_addr(const struct wh_listener *listener, struct wh_addr *ret);

/** The descriptor, for setsockopt(2). It stays the listener's. */
WH_API int wh_listener_fd(const struct wh_listener *listener);

/**
 * Accept the next connection. When the process or the machine is out of descriptors or memory
 * (EMFILE, ENFILE, ENOBUFS, ENOMEM) it waits and tries again, counted in
 * wh_loop_stats.accept_backoffs; a connection that was reset before it was accepted is skipped.
 *
 * Suspends   the calling task until then.
 * Returns    0, with the connection in `*ret`.
 * Errors     -ECANCELED, -ETIMEDOUT
 *            -EBUSY   another task is accepting on it
 *            -ESHUTDOWN   wh_listener_stop was called, and all that came before is handed out
 *            -EBADF, -EINVAL, -ENOTSOCK, -EOPNOTSUPP, -EFAULT   as accept(2): it accepts no more
 * Ownership  wh_sock_close releases the connection.
 * Context    a task on the loop that owns `listener`.
 */
WH_API int wh_accept(struct wh_listener *listener, struct wh_sock **ret);

/**
 * Accept no more. The kernel is told; whom it has accepted until it knows, wh_accept still hands
 * out. Others wait in the socket for whoever has it as well, or are reset when it is closed.
 *
 * Context    a task on the loop that owns `listener`.
 */
WH_API void wh_listener_stop(struct wh_listener *listener);

/* What wh_serve runs for each connection, in a task of its own. It closes `sock`. Its result only
 * counts for statistics: one connection's failure is not the server's. */
typedef int (*wh_conn_fn)(struct wh_sock *sock, void *arg);

/* {0} is valid and means the defaults. */
struct wh_serve_opts {
	uint32_t connections_max; /* at once; default 1,000,000. Beyond, accepting pauses */
	size_t stack_bytes;	  /* of a connection's task; default: wh_run's option */
	bool close_listener;	  /* once accepting ends, before waiting for connections, so that
				     nobody connects in vain meanwhile. Who was accepted by then
				     is served, in a task that is cancelled */
};

/**
 * Accept connections until cancelled, each with a task that runs `fn(sock, arg)`. In a process that
 * a supervisor has started (<whorl/supervise.h>) also until it is to retire: then without
 * cancelling the connections.
 *
 * Suspends   the calling task until accepting has ended and every connection's task has.
 * Returns    0 after wh_listener_stop, or having retired.
 * Errors     -ECANCELED, -ETIMEDOUT   the ways it ends once it runs
 *            -EBUSY and others, as wh_accept
 *            -EINVAL   `stack_bytes` out of range, found when the first connection arrives
 * Context    a task on the loop that owns `listener`.
 */
WH_API int wh_serve(struct wh_listener *listener, wh_conn_fn fn, void *arg,
		    const struct wh_serve_opts *opts);

/**
 * Stop listening and free the listener; connections accepted and not taken are reset. A task in
 * wh_accept returns -ECANCELED; wh_serve must have ended.
 *
 * Suspends   the calling task, also when cancelled.
 */
WH_API void wh_listener_close(struct wh_listener *listener);

/**
 * Connect to `addr` over TCP or a Unix stream socket.
 *
 * Suspends   the calling task until connected.
 * Returns    0, with the connection in `*ret`.
 * Errors     -ECONNREFUSED, -EMFILE and others, as socket(2) and connect(2); -ENOMEM, -ECANCELED,
 *            -ETIMEDOUT
 * Ownership  wh_sock_close releases it.
 * Context    a task; the connection belongs to its loop.
 */
WH_API int wh_connect(const struct wh_addr *addr, struct wh_sock **ret);

/**
 * Take over a connected stream or datagram socket. It is made blocking, which the ring wants.
 *
 * Returns    0, with it in `*ret`.
 * Errors     -ENOTSOCK, -EBADF and others, as getsockopt(2) and fcntl(2); -ENOMEM. `fd` is then
 *            still the caller's.
 */
WH_API int wh_sock_from_fd(int fd, struct wh_sock **ret);

/** The descriptor, for setsockopt(2) and the like. It stays the socket's. */
WH_API int wh_sock_fd(const struct wh_sock *sock);

/**
 * Receive up to `len` bytes from `sock` into `buf`.
 *
 * Suspends   the calling task until data, end of stream, cancellation or its deadline.
 * Returns    bytes received, 1..`len`; 0 once the peer has shut down.
 * Errors     -ECANCELED   the task was cancelled before any byte arrived
 *            -ETIMEDOUT   the scope's deadline passed before any byte arrived
 *            -EBUSY   another task is receiving on it
 *            -ECONNRESET, -ENOTCONN   as recv(2)
 * Ownership  `buf` is borrowed until return; the kernel may write it meanwhile.
 * Context    a task on the loop that owns `sock`.
 */
WH_API ssize_t wh_sock_recv(struct wh_sock *sock, void *buf, size_t len);

/* Bytes in a receive buffer of the loop. */
struct wh_view {
	void *data;
	size_t len;
	uint32_t buf; /* the engine's */
};

/**
 * Receive into a buffer that the loop lends: an idle connection holds none, so this is the way for
 * servers with many connections. When all buffers are lent, receivers wait their turn; no data is
 * lost. A socket holds a few at most, and when none comes back for 20 ms each receiver gets memory
 * of its own, so that peers that never read cannot starve the others.
 *
 * Suspends   the calling task until data, end of stream, cancellation or its deadline.
 * Returns    bytes received, with where they are in `*ret`; 0 once the peer has shut down.
 * Errors     as wh_sock_recv
 * Ownership  the bytes are the caller's until wh_view_release. It should not keep them while it
 *            waits for anything but the peer.
 * Context    a task on the loop that owns `sock`.
 */
WH_API ssize_t wh_sock_recv_view(struct wh_sock *sock, struct wh_view *ret);

/**
 * As wh_sock_recv_view, but never suspends: what has already arrived, also when cancelled.
 *
 * Errors     -EAGAIN   nothing has arrived
 *            others   as recv(2): the stream has ended with it
 */
WH_API ssize_t wh_sock_try_recv_view(struct wh_sock *sock, struct wh_view *ret);

/**
 * Give a view's buffer back, and leave it empty. Does nothing to an empty one.
 *
 * Context    a task on the loop that lent it.
 */
WH_API void wh_view_release(struct wh_view *view);

/**
 * Send all of `buf`.
 *
 * Suspends   the calling task until the kernel has taken the last byte.
 * Returns    `len`.
 * Errors     -EPIPE, -ECONNRESET   as send(2); no SIGPIPE is raised
 *            -EBUSY   another task is sending on it
 *            -ECANCELED, -ETIMEDOUT   interrupted; wh_sock_bytes_sent tells how far it came
 * Ownership  `buf` is borrowed until return.
 * Context    a task on the loop that owns `sock`.
 */
WH_API ssize_t wh_sock_send(struct wh_sock *sock, const void *buf, size_t len);

/**
 * Send the bytes of a view, and give its buffer back when that is done. Does not wait for the
 * kernel, which is asked in the loop's next system call: the cheapest way to answer. One view is on
 * its way at a time; a second one waits for the first, so a slow peer holds its sender up.
 *
 * Suspends   the calling task while an earlier view is on its way; otherwise it sends also when
 *            cancelled.
 * Returns    the bytes that are on their way: all of them.
 * Errors     of this view or an earlier one: as wh_sock_send. An error that shows up later is
 *            returned by the next call that sends or flushes; a stream that has lost a view is
 *            shut down both ways, so that nobody waits for an answer.
 * Ownership  takes the view, and leaves it empty; on failure it stays the caller's.
 * Context    a task on the loop that owns `sock`.
 */
WH_API ssize_t wh_sock_send_view(struct wh_sock *sock, struct wh_view *view);

/**
 * Wait until the kernel has taken every view sent so far.
 *
 * Suspends   the calling task until then.
 * Returns    0.
 * Errors     as wh_sock_send
 */
WH_API int wh_sock_flush(struct wh_sock *sock);

/**
 * One sendmsg(2): for datagrams, vectors and control messages; may be short on a stream.
 *
 * Suspends   the calling task until the kernel has taken it.
 * Returns    bytes sent.
 * Errors     as sendmsg(2), -EBUSY, -ECANCELED, -ETIMEDOUT
 */
WH_API ssize_t wh_sock_sendmsg(struct wh_sock *sock, const struct msghdr *msg, int flags);

/**
 * One recvmsg(2).
 *
 * Suspends   the calling task until something has arrived.
 * Returns    bytes received, `msg` filled in.
 * Errors     as recvmsg(2), -EBUSY, -ECANCELED, -ETIMEDOUT
 *            -EINVAL   wh_sock_recv_view was called on it before: the two do not mix
 */
WH_API ssize_t wh_sock_recvmsg(struct wh_sock *sock, struct msghdr *msg, int flags);

/** Bytes that the kernel has taken from wh_sock_send and wh_sock_sendmsg since the beginning. */
WH_API uint64_t wh_sock_bytes_sent(const struct wh_sock *sock);

/**
 * As shutdown(2), after a flush: `how` is SHUT_RD, SHUT_WR or SHUT_RDWR.
 *
 * Suspends   the calling task until views are on their way no more; shortly when cancelled.
 * Returns    0.
 * Errors     -ENOTCONN, -EINVAL and others, as shutdown(2)
 */
WH_API int wh_sock_shutdown(struct wh_sock *sock, int how);

/**
 * Cancel what other tasks do on `sock`, wait until the kernel has let go of it, close and free it.
 * What the kernel has taken is still delivered. A view is offered to it once; wh_sock_flush before
 * closing waits for a peer that is slow to take it.
 *
 * Suspends   the calling task, also when cancelled.
 * Context    a task on the loop that owns `sock`.
 */
WH_API void wh_sock_close(struct wh_sock *sock);

/**
 * Wait until descriptor `fd` is ready; `events` as poll(2).
 *
 * Suspends   the calling task until then.
 * Returns    the events that are, as poll(2): at least 1.
 * Errors     -EBADF and others, as poll(2); -ECANCELED, -ETIMEDOUT
 * Context    a task.
 */
WH_API int wh_fd_poll(int fd, short events);

#endif
