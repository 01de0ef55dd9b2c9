#include "scenarios.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <whorl/exec.h>
#include <whorl/file.h>

#include "support/task_test.h"

#define PATIENCE_NS (20 * WH_SEC)

enum { MESSAGE = 9000, MESSAGES = 3 };

char scenario_folder[64];

static char message[MESSAGE];

/* Run `fn(arg)` with a deadline. */
static int in_time(int (*fn)(void *arg), void *arg)
{
	struct wh_scope scope;
	int r, closed;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .timeout_ns = PATIENCE_NS });
	r = fn(arg);
	closed = wh_scope_close(&scope);
	return r < 0 ? r : closed;
}

/* Echo */

static int echo_views(struct wh_sock *sock, void *arg)
{
	struct wh_view view;
	ssize_t r;

	(void)arg;
	while ((r = wh_sock_recv_view(sock, &view)) > 0) {
		r = wh_sock_send_view(sock, &view);
		if (r < 0) {
			wh_view_release(&view);
			break;
		}
	}
	if (r == 0)
		wh_sock_shutdown(sock, SHUT_WR);
	wh_sock_close(sock);
	return (int)r;
}

static int echo_copies(struct wh_sock *sock, void *arg)
{
	char buf[4000];
	ssize_t r;

	(void)arg;
	while ((r = wh_sock_recv(sock, buf, sizeof(buf))) > 0) {
		r = wh_sock_send(sock, buf, (size_t)r);
		if (r < 0)
			break;
	}
	wh_sock_close(sock);
	return (int)r;
}

static int serve_views(void *arg)
{
	return wh_serve(arg, echo_views, NULL, NULL);
}

static int accept_and_copy(void *arg)
{
	struct wh_sock *sock;
	int r;

	for (;;) {
		r = wh_accept(arg, &sock);
		if (r < 0)
			return r;
		echo_copies(sock, NULL);
	}
}

/* A connection that ends early has been dropped by a server that could not serve it. */
static int recv_exactly(struct wh_sock *sock, char *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t r = wh_sock_recv(sock, buf + got, len - got);

		if (r <= 0)
			return r < 0 ? (int)r : -EPIPE;
		got += (size_t)r;
	}
	return 0;
}

static int exchange(struct wh_sock *sock)
{
	char buf[MESSAGE];

	for (int i = 0; i < MESSAGES; i++) {
		ssize_t r;

		memset(message, 'a' + i, sizeof(message));
		r = wh_sock_send(sock, message, sizeof(message));
		if (r == (ssize_t)sizeof(message))
			r = recv_exactly(sock, buf, sizeof(buf));
		if (r < 0)
			return (int)r;
		check(memcmp(buf, message, sizeof(buf)) == 0);
	}
	return 0;
}

static int visit(const struct wh_addr *addr)
{
	struct wh_sock *sock;
	int r = wh_connect(addr, &sock);

	if (r < 0)
		return r;
	r = exchange(sock);
	if (r == 0)
		r = wh_sock_shutdown(sock, SHUT_WR);
	wh_sock_close(sock);
	return r;
}

struct house {
	const char *address;
	wh_task_fn server;
};

static int visit_server(void *arg)
{
	const struct house *house = arg;
	struct wh_listener *listener;
	struct wh_scope scope;
	struct wh_addr addr;
	int r, closed;

	r = wh_addr_parse(house->address, &addr);
	if (r == 0)
		r = wh_listen(&addr, NULL, &listener);
	if (r < 0)
		return r;
	wh_scope_open(&scope, NULL);
	r = wh_listener_addr(listener, &addr);
	if (r == 0)
		r = wh_spawn(&scope, house->server, listener);
	if (r == 0)
		r = visit(&addr);
	wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	wh_listener_close(listener);
	return r == 0 && closed != -ECANCELED ? closed : r;
}

static int echo_over_tcp(void *arg)
{
	(void)arg;
	return in_time(visit_server, &(struct house){ "127.0.0.1:0", serve_views });
}

static int echo_over_unix(void *arg)
{
	char text[WH_ADDR_TEXT_MAX];

	(void)arg;
	snprintf(text, sizeof(text), "unix:%s/socket", scenario_folder);
	return in_time(visit_server, &(struct house){ text, accept_and_copy });
}

/* Files */

static int write_parts(struct wh_file *file)
{
	char one[] = "one ", two[] = "two";
	struct iovec iov[2] = { { one, 4 }, { two, 3 } };
	struct statx attributes;
	ssize_t r = wh_file_allocate(file, 0, 0, MESSAGE);

	if (r == 0)
		r = wh_file_write(file, message, MESSAGE, 0);
	if (r == MESSAGE)
		r = wh_file_writev(file, iov, 2, MESSAGE);
	if (r >= 0)
		r = wh_file_sync(file, false);
	if (r >= 0)
		r = wh_file_stat(file, &attributes);
	return (int)r;
}

static int read_parts(struct wh_file *file)
{
	char buf[100], more[100];
	struct iovec iov[2] = { { buf, sizeof(buf) }, { more, sizeof(more) } };
	ssize_t r = wh_file_read(file, buf, sizeof(buf), 0);

	if (r > 0)
		check(memcmp(buf, message, (size_t)r) == 0);
	if (r >= 0)
		r = wh_file_readv(file, iov, 2, 0);
	return r < 0 ? (int)r : 0;
}

static int read_in_order(struct wh_file *file)
{
	const struct wh_reader_opts opts = { .chunk_bytes = 1000, .depth = 3, .length = MESSAGE };
	struct wh_reader *reader;
	size_t total = 0;
	void *data;
	ssize_t r = wh_reader_open(file, &opts, &reader);

	if (r < 0)
		return (int)r;
	while ((r = wh_reader_next(reader, &data)) > 0) {
		check(memcmp(data, message + total, (size_t)r) == 0);
		total += (size_t)r;
	}
	wh_reader_close(reader);
	if (r == 0)
		check_int(total, MESSAGE);
	return (int)r;
}

static int use_file(const char *path)
{
	struct wh_file *file;
	int r = wh_file_open(path, O_CREAT | O_RDWR | O_TRUNC, 0600, &file);
	int closed;

	if (r < 0)
		return r;
	r = write_parts(file);
	if (r >= 0)
		r = read_parts(file);
	if (r >= 0)
		r = read_in_order(file);
	closed = wh_file_close(file);
	return r < 0 ? r : closed;
}

static int use_paths(void *arg)
{
	char path[128], other[128], folder[128];
	struct statx attributes;
	int r;

	(void)arg;
	snprintf(path, sizeof(path), "%s/file", scenario_folder);
	snprintf(other, sizeof(other), "%s/other", scenario_folder);
	snprintf(folder, sizeof(folder), "%s/folder", scenario_folder);
	memset(message, 'f', sizeof(message));
	r = use_file(path);
	if (r == 0)
		r = wh_path_rename(path, other, 0);
	if (r == 0)
		r = wh_path_stat(other, 0, &attributes);
	if (r == 0)
		r = wh_path_unlink(other, false);
	if (r == 0)
		r = wh_path_mkdir(folder, 0700);
	if (r == 0)
		r = wh_path_unlink(folder, true);
	/* What a step that failed has left behind. */
	unlink(path);
	unlink(other);
	rmdir(folder);
	return r;
}

static int files(void *arg)
{
	return in_time(use_paths, arg);
}

static int write_and_close(void *arg)
{
	ssize_t r = wh_file_write(arg, message, MESSAGE, 0);

	wh_file_close(arg);
	return r < 0 ? (int)r : 0;
}

static int read_to_end(struct wh_file *file)
{
	struct wh_reader *reader;
	size_t total = 0;
	void *data;
	ssize_t r = wh_reader_open(file, &(struct wh_reader_opts){ .chunk_bytes = 700 }, &reader);

	if (r < 0)
		return (int)r;
	while ((r = wh_reader_next(reader, &data)) > 0)
		total += (size_t)r;
	wh_reader_close(reader);
	return r == 0 && total != MESSAGE ? -EPIPE : (int)r;
}

static int pass_through_pipe(void *arg)
{
	struct wh_file *in, *out;
	struct wh_scope scope;
	int pipes[2];
	int r, closed;

	(void)arg;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	r = wh_file_from_fd(pipes[0], true, &in);
	if (r < 0)
		goto err_pipes;
	r = wh_file_from_fd(pipes[1], true, &out);
	if (r < 0)
		goto err_in;
	wh_scope_open(&scope, NULL);
	r = wh_spawn(&scope, write_and_close, out);
	if (r < 0)
		wh_file_close(out);
	else
		r = read_to_end(in);
	closed = wh_scope_close(&scope);
	wh_file_close(in);
	return closed < 0 ? closed : r;

err_in:
	wh_file_close(in);
	close(pipes[1]);
	return r;
err_pipes:
	close(pipes[0]);
	close(pipes[1]);
	return r;
}

static int a_pipe(void *arg)
{
	return in_time(pass_through_pipe, arg);
}

/* Executors and loops */

static int add_one(void *arg)
{
	return ++*(int *)arg;
}

static int offload_some(void *arg)
{
	struct wh_executor *executor;
	int result = 0, number = 0;
	int r = wh_executor_open(&(struct wh_executor_opts){ .threads = 2 }, &executor);

	(void)arg;
	if (r < 0)
		return r;
	for (int i = 1; i <= 3 && r == 0; i++) {
		r = wh_offload(executor, add_one, &number, &result);
		if (r == 0)
			check_int(result, i);
	}
	wh_executor_close(executor);
	return r;
}

static int offloading(void *arg)
{
	return in_time(offload_some, arg);
}

static int call_others(void *arg)
{
	int number = 0, other = 0, result = 0, r = 0;

	(void)arg;
	for (unsigned i = 0; i < wh_loop_count() && r == 0; i++) {
		r = wh_loop_call(wh_loop_at(i), add_one, &number, &result);
		if (r == 0)
			check_int(result, i + 1);
		if (r == 0)
			r = wh_loop_spawn(wh_loop_at(i), add_one, &other, NULL);
		/* Until it has run: calls and spawns of one loop keep their order. */
		if (r == 0)
			r = wh_loop_call(wh_loop_at(i), add_one, &other, NULL);
	}
	return r;
}

static int two_loops(void *arg)
{
	return in_time(call_others, arg);
}

const struct scenario scenarios[] = {
	{ "echo over TCP", echo_over_tcp, 1 },
	{ "echo over a Unix socket", echo_over_unix, 1 },
	{ "files", files, 1 },
	{ "a pipe", a_pipe, 1 },
	{ "offloading", offloading, 1 },
	{ "two loops", two_loops, 2 },
};

const unsigned scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);
