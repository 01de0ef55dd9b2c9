/*
 * whorl echo: sends back what it receives. One listener a loop; the kernel spreads connections.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/sock.h>
#include <whorl/task.h>

#include "cli.h"
#include "filter.h"

/* How long a connection may take, once the server is told to stop, for what it already has. */
#define DRAIN_NS (5 * WH_SEC)

enum { LOOPS_MAX = 1024 };

struct config {
	struct wh_addr addr;
	const char *text; /* the address as given */
	bool stats;
	bool seccomp;
};

/* Sums over all loops; each adds its own when it stops. */
struct totals {
	_Atomic uint64_t echoes, bytes, enters, connections, errors;
};

static struct config config;
static struct totals totals;

/* Of one loop, so that counting costs no atomic operation a message. */
struct server {
	uint64_t echoes, bytes, connections, errors;
};

/* On failure the view stays the caller's. */
static int send_back(struct wh_sock *sock, struct server *server, struct wh_view *view)
{
	ssize_t r = wh_sock_send_view(sock, view);

	if (r < 0)
		return (int)r;
	server->echoes++;
	server->bytes += (uint64_t)r;
	return 0;
}

/* Told to stop: send back what has arrived until now, `view` first, then say goodbye. */
static void drain(struct wh_sock *sock, struct server *server, struct wh_view *view)
{
	struct wh_scope scope;
	int r = 0;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = true, .timeout_ns = DRAIN_NS });
	if (view->data)
		r = send_back(sock, server, view);
	/* A turn of the loop brings in what the kernel has. */
	wh_sleep(1);
	while (r == 0 && wh_sock_try_recv_view(sock, view) > 0)
		r = send_back(sock, server, view);
	wh_sock_shutdown(sock, SHUT_WR);
	wh_scope_close(&scope);
}

/* A client's doings are its own; that we lack memory people must know. */
static void failed(struct server *server, int err)
{
	static _Atomic bool said;

	server->errors++;
	if (err == -ENOMEM && !said) {
		said = true;
		cli_error("cannot serve a connection: %s: %s", strerror(-err), wh_run_advice(err));
	}
}

static int echo(struct wh_sock *sock, void *arg)
{
	struct server *server = arg;
	struct wh_view view = { 0 };
	ssize_t r;

	server->connections++;
	while ((r = wh_sock_recv_view(sock, &view)) > 0) {
		r = send_back(sock, server, &view);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = wh_sock_flush(sock);
	if (r == -ECANCELED)
		drain(sock, server, &view);
	else if (r < 0)
		failed(server, (int)r);
	wh_view_release(&view);
	wh_sock_close(sock);
	return 0;
}

static int cannot_listen(int err)
{
	const char *hint = "";

	if (err == -EADDRINUSE)
		hint = " (another program listens there; end it, or choose another address)";
	else if (err == -EACCES)
		hint = " (ports below 1024 need root; a path needs a folder that can be written)";
	else if (err == -EADDRNOTAVAIL)
		hint = " (this machine has no such address)";
	else if (err == -ENOENT)
		hint = " (there is no such folder)";
	if (err != -ECANCELED)
		cli_error("cannot listen on %s: %s%s", config.text, strerror(-err), hint);
	return err;
}

static void add_totals(const struct server *server)
{
	struct wh_loop_stats stats;

	wh_loop_stats(&stats);
	totals.echoes += server->echoes;
	totals.bytes += server->bytes;
	totals.enters += stats.enters;
	totals.connections += server->connections;
	totals.errors += server->errors;
}

static int serve(struct wh_listener *listener)
{
	struct server server = { 0 };
	int r = wh_serve(listener, echo, &server,
			 &(struct wh_serve_opts){ .close_listener = true });

	add_totals(&server);
	return r;
}

struct other {
	struct wh_loop *loop;
	int first_fd;
	struct wh_listener *listener; /* until it is served */
};

static int share(int first_fd, struct wh_listener **ret)
{
	int fd = fcntl(first_fd, F_DUPFD_CLOEXEC, 0);
	int r = fd < 0 ? -errno : wh_listen_fd(fd, ret);

	if (r < 0 && fd >= 0)
		close(fd);
	return r;
}

/* On every loop but the first. TCP: a listener of its own, the kernel spreads connections. Unix:
 * there is one socket, which all accept from. */
static int listen_too(void *arg)
{
	struct other *other = arg;
	const struct wh_listen_opts opts = { .reuse_port = true };
	int r;

	if (config.addr.storage.ss_family == AF_UNIX)
		r = share(other->first_fd, &other->listener);
	else
		r = wh_listen(&config.addr, &opts, &other->listener);
	return r < 0 ? cannot_listen(r) : 0;
}

static int serve_too(void *arg)
{
	struct other *other = arg;
	struct wh_listener *listener = other->listener;

	other->listener = NULL;
	return serve(listener);
}

static int close_too(void *arg)
{
	wh_listener_close(arg);
	return 0;
}

static int on_its_loop(const struct other *other, wh_task_fn fn, void *arg)
{
	int result = 0;
	int r = wh_loop_call(other->loop, fn, arg, &result);

	return r < 0 ? r : result;
}

static int run_other(void *arg)
{
	return on_its_loop(arg, serve_too, arg);
}

/* Before any is served, or clients could take the descriptors that the others need. */
static int listen_others(struct other *others, int first_fd)
{
	for (unsigned i = 1; i < wh_loop_count(); i++) {
		int r;

		others[i] = (struct other){ .loop = wh_loop_at(i), .first_fd = first_fd };
		r = on_its_loop(&others[i], listen_too, &others[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int spawn_others(struct wh_scope *scope, struct other *others)
{
	for (unsigned i = 1; i < wh_loop_count(); i++) {
		int r = wh_spawn(scope, run_other, &others[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Those that were not served. */
static void close_others(struct other *others)
{
	struct wh_scope scope;

	wh_scope_open(&scope, &(struct wh_scope_opts){ .shield = true });
	for (unsigned i = 1; i < wh_loop_count(); i++)
		if (others[i].listener)
			on_its_loop(&others[i], close_too, others[i].listener);
	wh_scope_close(&scope);
}

static void announce(const struct wh_listener *listener)
{
	char text[WH_ADDR_TEXT_MAX];

	/* With port 0 the kernel has chosen: the other loops and people need to know. */
	wh_listener_addr(listener, &config.addr);
	fprintf(stderr, "whorl: listening on %s (%s, %u loops)\n",
		wh_addr_format(&config.addr, text), wh_backend_name(), wh_loop_count());
}

/* All loops run by now, so what is left to do needs few system calls. */
static int forbid_the_rest(void)
{
	int r = config.seccomp ? filter_install() : 0;

	if (r < 0)
		cli_error("cannot install the seccomp filter: %s", strerror(-r));
	return r;
}

static int serve_all(void *arg)
{
	const struct wh_listen_opts opts = { .reuse_port = wh_loop_count() > 1 };
	struct wh_listener *listener;
	struct other *others = arg;
	struct wh_scope scope;
	/* Once alone: with SO_REUSEPORT the kernel would let us share another program's port. */
	int r = wh_listen(&config.addr, NULL, &listener);

	if (r == 0 && opts.reuse_port) {
		wh_listener_close(listener);
		r = wh_listen(&config.addr, &opts, &listener);
	}
	if (r < 0)
		return cannot_listen(r);
	r = forbid_the_rest();
	if (r < 0) {
		wh_listener_close(listener);
		return r;
	}
	announce(listener);
	wh_scope_open(&scope, NULL);
	r = listen_others(others, wh_listener_fd(listener));
	if (r == 0)
		r = spawn_others(&scope, others);
	if (r == 0)
		r = serve(listener);
	else
		wh_listener_close(listener);
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	close_others(others);
	return r;
}

static void print_stats(void)
{
	struct rusage usage;
	uint64_t cpu_us;

	getrusage(RUSAGE_SELF, &usage);
	cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
		 (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	printf("{\"name\":\"whorl_echo\",\"echoes\":%" PRIu64 ",\"bytes\":%" PRIu64
	       ",\"syscalls\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"connections\":%" PRIu64
	       ",\"errors\":%" PRIu64 "}\n",
	       totals.echoes, totals.bytes, totals.enters, cpu_us * 1000, totals.connections,
	       totals.errors);
}

static const char usage_text[] =
	"usage: whorl echo --listen ADDRESS [OPTION]...\n\n"
	"Send back whatever arrives. SIGTERM or Ctrl-C: accept no more, answer what has arrived,\n"
	"close, and end with status 0.\n\n"
	"  --listen ADDRESS   127.0.0.1:7000, [::1]:7000, :7000 (every address) or unix:PATH;\n"
	"                     port 0 lets the kernel choose\n"
	"  --loops N          threads, each with a loop (default: the CPUs allowed)\n"
	"  --pin              tie each loop to a CPU\n"
	"  --stats            at the end, print what was done as one line of JSON\n"
	"  --seccomp          after start-up, forbid every system call that a server does not\n"
	"                     need: they fail with EPERM. Off by default, because debuggers,\n"
	"                     sanitizers and preloaded libraries need others\n" CLI_BACKEND_HELP
	"\n"
	"With io_uring the rings take nothing but operations on sockets, whatever the options.\n";

static int run_server(const struct wh_run_opts *opts)
{
	struct other *others = calloc(opts->loops ? opts->loops : LOOPS_MAX, sizeof(*others));
	int result = 0;
	int r;

	if (!others) {
		cli_error("out of memory");
		return EXIT_FAILED;
	}
	r = cli_run(serve_all, others, opts, &result);
	free(others);
	if (r < 0)
		return cli_run_failed(r);
	if (!(result == -ECANCELED && wh_run_signal()))
		return EXIT_FAILED;
	if (config.stats)
		print_stats();
	return cli_flush() ? EXIT_DONE : EXIT_FAILED;
}

int cmd_echo(int argc, char **argv)
{
	struct wh_run_opts opts = { .restrict_ops = WH_ALLOW_NET };
	uint64_t loops = 0;
	const struct cli_option options[] = {
		{ .name = "--listen", .text = &config.text },
		{ .name = "--loops", .number = &loops, .min = 1, .max = LOOPS_MAX },
		{ .name = "--pin", .flag = &opts.pin },
		{ .name = "--stats", .flag = &config.stats },
		{ .name = "--seccomp", .flag = &config.seccomp },
		CLI_BACKEND_OPTION(&opts.backend),
		{ 0 },
	};
	int operands;
	int r = cli_parse(argc, argv, options, &operands);

	if (r < 0) {
		fputs(usage_text, stdout);
		return cli_flush() ? EXIT_DONE : EXIT_FAILED;
	}
	if (r > 0)
		return r;
	if (operands > 0 || !config.text) {
		if (operands)
			cli_error("echo: takes no operands, but got '%s'", argv[1]);
		else
			cli_error("echo: --listen ADDRESS is missing");
		return EXIT_USAGE;
	}
	if (wh_addr_parse(config.text, &config.addr) < 0) {
		cli_error("echo: '%s' is not an address; write 127.0.0.1:7000, [::1]:7000 or "
			  "unix:PATH",
			  config.text);
		return EXIT_USAGE;
	}
	cli_raise_open_files();
	opts.loops = (uint32_t)loops;
	return run_server(&opts);
}
