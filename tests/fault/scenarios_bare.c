#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/loop.h"
#include "scenarios.h"
#include "support/task_test.h"

static int await_timer(void)
{
	uint64_t at_ns = wh_now_ns() + WH_MS / 10;
	struct whi_op op = {
		.kind = WHI_OP_TIMER,
		.timer.at = { (int64_t)(at_ns / WH_SEC), (long long)(at_ns % WH_SEC) },
	};
	int r = whi_await(&op);

	return r == -ETIME ? 0 : r;
}

/* To our own loop, which takes no notice of it. */
static int await_message(void)
{
	struct whi_backend *backend = whi_loop_self()->backend;
	struct whi_op op = {
		.kind = WHI_OP_MESSAGE,
		.fd = backend->ops->address(backend),
		.message = { .data = 1, .value = 2 },
	};
	int r = whi_await(&op);

	/* A backend without messages says so. */
	return r == -EOPNOTSUPP ? 0 : r;
}

/* One connection, without a listener. */
static int await_accept(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(un);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct whi_op op = { .kind = WHI_OP_ACCEPT, .fd = fd, .addr.flags = SOCK_CLOEXEC };
	struct whi_op adopt = { .kind = WHI_OP_ADOPT, .fd = fd };
	int r;

	check(fd >= 0 && client >= 0);
	check_int(bind(fd, (const struct sockaddr *)&un, sizeof(un.sun_family)), 0);
	check_int(listen(fd, 1), 0);
	check_int(getsockname(fd, (struct sockaddr *)&un, &len), 0);
	check_int(connect(client, (const struct sockaddr *)&un, len), 0);
	r = whi_perform(&adopt);
	if (r == 0)
		r = whi_await(&op);
	if (r >= 0)
		whi_close(r);
	whi_close(fd);
	close(client);
	return r < 0 ? r : 0;
}

static int await_all(void *arg)
{
	struct whi_op nop = { .kind = WHI_OP_NOP };
	int r = whi_await(&nop);

	(void)arg;
	if (r == 0)
		r = await_timer();
	if (r == 0)
		r = await_message();
	return r == 0 ? await_accept() : r;
}

int bare_operations(void *arg)
{
	return in_time(await_all, arg);
}
