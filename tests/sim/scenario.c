#include "sim/scenario.h"

#include <errno.h>
#include <string.h>

enum { HOSTS_MAX = 8 };

#define RETRY_NS (50 * WH_MS)

bool planted(const void *arg, const char *name)
{
	return arg && strcmp(arg, name) == 0;
}

/* Errors */

static const char *const call_names[CALLS] = {
	[CALL_CONNECT] = "wh_connect", [CALL_LISTEN] = "wh_listen", [CALL_RECV] = "a receive",
	[CALL_SEND] = "a send",	       [CALL_FILE] = "a file call", [CALL_POLL] = "wh_fd_poll",
};

enum { ERRORS_MAX = 12 };

/* Besides -ETIMEDOUT, and -ECANCELED if the caller was cancelled: the other reason would be to
 * close a socket that another task uses, which nobody here does. EINTR and EAGAIN are nobody's: the
 * engine tries again. */
static const int call_errors[CALLS][ERRORS_MAX] = {
	[CALL_CONNECT] = { ECONNREFUSED, ECONNRESET, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL,
			   EMFILE, ENFILE, ENOMEM, ENOBUFS, ECONNABORTED },
	[CALL_LISTEN] = { EADDRINUSE, EMFILE, ENFILE, ENOMEM, ENOBUFS },
	[CALL_RECV] = { ECONNRESET, ENOTCONN, ENOMEM, ENOBUFS, EHOSTUNREACH, ENETUNREACH },
	[CALL_SEND] = { EPIPE, ECONNRESET, ENOTCONN, ENOMEM, ENOBUFS, EHOSTUNREACH, ENETUNREACH },
	[CALL_POLL] = { ENOMEM, ENOBUFS },
	[CALL_FILE] = { EIO, ENOSPC, EDQUOT, ENOMEM, EMFILE, ENFILE, ENOBUFS },
};

ssize_t documented(enum call call, ssize_t result)
{
	if (result >= 0 || result == -ETIMEDOUT || (result == -ECANCELED && wh_cancelled() < 0))
		return result;
	/* A machine that has crashed has no open files. */
	if (result == -EBADF && call == CALL_FILE && wh_cancelled() < 0)
		return result;
	for (unsigned i = 0; i < ERRORS_MAX && call_errors[call][i]; i++)
		if (result == -call_errors[call][i])
			return result;
	wh_sim_fail("%s returned %s, which is not its to return", call_names[call],
		    strerrorname_np((int)-result));
	return result;
}

/* Bytes */

uint8_t pattern(uint64_t id, uint64_t at)
{
	uint64_t x = (id << 32 ^ at) * 0x9e3779b97f4a7c15u;

	return (uint8_t)(x >> 56);
}

void pattern_fill(uint64_t id, uint64_t at, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = pattern(id, at + i);
}

size_t pattern_match(uint64_t id, uint64_t at, const void *buf, size_t len)
{
	size_t i = 0;

	while (i < len && ((const uint8_t *)buf)[i] == pattern(id, at + i))
		i++;
	return i;
}

uint64_t between(uint64_t min, uint64_t max)
{
	return min + wh_sim_random(max - min + 1);
}

int pause_up_to(uint64_t max_ns)
{
	return wh_sleep(between(1, max_ns));
}

/* Sockets */

int dial(uint32_t host, uint16_t port, struct wh_sock **ret)
{
	struct wh_addr addr;

	wh_sim_addr(host, port, &addr);
	return (int)documented(CALL_CONNECT, wh_connect(&addr, ret));
}

int listen_at(const struct wh_addr *addr, struct wh_listener **ret)
{
	int r;

	for (;;) {
		r = (int)documented(CALL_LISTEN, wh_listen(addr, NULL, ret));
		if (r == 0 || r == -ECANCELED || r == -ETIMEDOUT)
			return r;
		r = wh_sleep(RETRY_NS);
		if (r < 0)
			return r;
	}
}

int listen_on(uint16_t port, struct wh_listener **ret)
{
	struct wh_addr addr;

	wh_sim_addr(wh_loop_index(wh_loop_self()), port, &addr);
	return listen_at(&addr, ret);
}

int recv_exactly(struct wh_sock *sock, void *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t r = documented(CALL_RECV,
				       wh_sock_recv(sock, (uint8_t *)buf + got, len - got));

		if (r <= 0)
			return r < 0 ? (int)r : -EPIPE;
		got += (size_t)r;
	}
	return 0;
}

int send_all(struct wh_sock *sock, const void *buf, size_t len)
{
	ssize_t r = documented(CALL_SEND, wh_sock_send(sock, buf, len));

	if (r >= 0 && (size_t)r != len)
		return wh_sim_fail("wh_sock_send sent %zd of %zu bytes", r, len);
	return r < 0 ? (int)r : 0;
}

/* Gates */

static int sleep_until_woken(void *arg)
{
	(void)arg;
	wh_sleep_until(UINT64_MAX);
	return 0;
}

void gate_open(struct gate *gate)
{
	gate->open = true;
	if (gate->sleeper)
		wh_task_cancel(gate->sleeper);
}

int gate_wait(struct gate *gate)
{
	int r = wh_cancelled();

	if (r == 0 && !gate->open) {
		struct wh_scope scope;

		wh_scope_open(&scope, NULL);
		r = wh_spawn(&scope, sleep_until_woken, NULL, .name = "gate",
			     .ret_task = &gate->sleeper);
		if (r < 0)
			wh_scope_cancel(&scope);
		wh_scope_close(&scope);
		gate->sleeper = NULL;
		if (r == 0)
			r = wh_cancelled();
	}
	gate->open = false;
	return r;
}

/* Hosts */

struct program {
	uint32_t host;
	wh_task_fn fn;
	void *arg;
};

static int run_program(void *arg)
{
	struct program *program = arg;

	wh_loop_call(wh_loop_at(program->host), program->fn, program->arg, NULL);
	return 0;
}

int run_on_hosts(uint32_t first, uint32_t last, wh_task_fn fn, void *arg)
{
	struct program programs[HOSTS_MAX];
	struct wh_scope scope;
	int r = 0;

	wh_scope_open(&scope, NULL);
	for (uint32_t i = first; r == 0 && i <= last; i++) {
		programs[i] = (struct program){ .host = i, .fn = fn, .arg = arg };
		r = wh_spawn(&scope, run_program, &programs[i]);
	}
	if (r < 0)
		wh_scope_cancel(&scope);
	return wh_scope_close(&scope);
}
