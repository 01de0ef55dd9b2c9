/*
 * Rings that take only what their program declared. The kernel does the refusing, so these need a
 * real ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/file.h>

#include "backend/uring.h"
#include "loop/loop.h"
#include "op/op.h"
#include "support/task_test.h"

static int run_op(enum whi_op_kind kind, int fd)
{
	static char buf[4];
	struct whi_op op = { .kind = (uint8_t)kind, .fd = fd };

	if (kind == WHI_OP_OPENAT)
		op.path.path = "/dev/null";
	else
		op.rw.buf = buf, op.rw.len = sizeof(buf);
	return whi_await(&op);
}

static void pass_a_message(void)
{
	struct wh_sock *pair[2];
	char buf[8];

	tcp_pair(pair);
	check_int(wh_sock_send(pair[0], "hello", 5), 5);
	check_int(wh_sock_recv(pair[1], buf, sizeof(buf)), 5);
	check(memcmp(buf, "hello", 5) == 0);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
}

/* All that the net families are for, and nothing by name. */
static int serve_but_open_nothing(void *arg)
{
	struct wh_file *file = NULL;
	struct wh_view view = { 0 };
	struct wh_sock *pair[2];

	(void)arg;
	pass_a_message();
	sock_pair(pair);
	check_int(wh_sock_send(pair[0], "view", 4), 4);
	check_int(wh_sock_recv_view(pair[1], &view), 4);
	check_int(wh_sock_send_view(pair[1], &view), 4);
	check_int(wh_sock_recv_view(pair[0], &view), 4);
	wh_view_release(&view);
	wh_sock_close(pair[0]);
	wh_sock_close(pair[1]);
	check_int(wh_file_open("/dev/null", O_RDONLY, 0, &file), -EACCES);
	check_int(run_op(WHI_OP_OPENAT, -1), -EACCES);
	check_int(run_op(WHI_OP_WRITE, STDOUT_FILENO), -EACCES);
	check(!file);
	return 0;
}

static int use_files_but_no_net(void *arg)
{
	struct wh_listener *listener = NULL;
	struct wh_file *file;
	struct wh_addr addr;
	char buf[4];

	(void)arg;
	check_int(wh_file_open("/dev/zero", O_RDONLY, 0, &file), 0);
	check_int(wh_file_read(file, buf, sizeof(buf), 0), 4);
	wh_file_close(file);
	check_int(wh_addr_parse("127.0.0.1:0", &addr), 0);
	check_int(wh_listen(&addr, NULL, &listener), -EACCES);
	check(!listener);
	return 0;
}

static int write_but_open_nothing(void *arg)
{
	int fd = open("/dev/zero", O_RDWR);

	(void)arg;
	check_int(run_op(WHI_OP_OPENAT, -1), -EACCES);
	check_int(run_op(WHI_OP_SEND, 0), -EACCES);
	check_int(run_op(WHI_OP_READ, fd), 4);
	check_int(run_op(WHI_OP_WRITE, fd), 4);
	close(fd);
	return 0;
}

static int count(void *arg)
{
	++*(_Atomic int *)arg;
	return 0;
}

static int sleep_long(void *arg)
{
	(void)arg;
	return wh_sleep(3600 * WH_SEC);
}

/* Sleeping, waiting for descriptors, cancelling, other loops, closing. */
static int use_the_engine_itself(void *arg)
{
	_Atomic int counted = 0;
	struct wh_scope scope;
	int fds[2];

	(void)arg;
	check_int(wh_sleep(1), 0);
	for (unsigned i = 0; i < 3; i++)
		check_int(wh_loop_call(wh_loop_at(1), count, &counted, NULL), 0);
	check_int(counted, 3);
	check_int(pipe(fds), 0);
	check_int(write(fds[1], "x", 1), 1);
	check_int(run_op(WHI_OP_READ, fds[0]), 1);
	wh_scope_open(&scope, NULL);
	check_int(wh_spawn(&scope, sleep_long, NULL), 0);
	next_turn();
	wh_scope_cancel(&scope);
	wh_scope_close(&scope);
	check_int(whi_await_shielded(&(struct whi_op){ .kind = WHI_OP_CLOSE, .fd = fds[0] }), 0);
	close(fds[1]);
	check_int(run_op(WHI_OP_OPENAT, -1), -EACCES);
	check_int(run_op(WHI_OP_RECV, -1), -EACCES);
	return 0;
}

static int do_everything(void *arg)
{
	struct wh_file *file;

	(void)arg;
	pass_a_message();
	check_int(wh_file_open("/dev/null", O_RDONLY, 0, &file), 0);
	wh_file_close(file);
	return 0;
}

/* A thread can register few rings' descriptors: each must be given back. */
static void many_restricted_rings_one_after_the_other(void **state)
{
	(void)state;
	for (int i = 0; i < 40; i++) {
		unsigned before = open_fds();
		int result = -1;

		assert_int_equal(
			wh_run(serve_but_open_nothing, NULL,
			       &(struct wh_run_opts){ .loops = 1, .restrict_ops = WH_ALLOW_NET },
			       &result),
			0);
		assert_int_equal(result, 0);
		assert_int_equal(open_fds(), before);
	}
}

/* Whoever adds an operation has to say which family it belongs to. */
static void every_operation_is_in_one_family(void **state)
{
	static const uint32_t families[] = { WH_ALLOW_NET, WH_ALLOW_FILE, WH_ALLOW_PATH };

	(void)state;
	for (int kind = 0; kind < WHI_OP_MAX; kind++) {
		const struct whi_opdef *def = &whi_opdefs[kind];
		unsigned allowed = whi_uring_allows(WH_ALLOW_NONE, def->opcode) ? 3 : 0;

		if (!def->prep)
			continue;
		assert_true(whi_uring_allows(0, def->opcode));
		for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
			allowed += whi_uring_allows(families[i], def->opcode);
		/* One family, or what is always allowed: then each family has it, too. */
		if (allowed != 1 && allowed != 6)
			fail_msg("%s is in no family of uring_restrict.c, or in several",
				 def->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(serve_but_open_nothing, .restrict_ops = WH_ALLOW_NET),
		task_test(use_files_but_no_net, .restrict_ops = WH_ALLOW_FILE | WH_ALLOW_PATH),
		task_test(write_but_open_nothing, .restrict_ops = WH_ALLOW_FILE),
		task_test(use_the_engine_itself, .restrict_ops = WH_ALLOW_NONE, .loops = 2),
		task_test(do_everything, .restrict_ops = 0),
		task_test(do_everything,
			  .restrict_ops = WH_ALLOW_NET | WH_ALLOW_FILE | WH_ALLOW_PATH),
		cmocka_unit_test(many_restricted_rings_one_after_the_other),
		cmocka_unit_test(every_operation_is_in_one_family),
	};
	struct wh_feature features[WH_FEATURES_MAX];

	if (wh_probe(features) < 0) {
		fprintf(stderr, "skipped: no io_uring\n");
		return 77;
	}
	/* There is nothing to restrict elsewhere. */
	setenv("WHORL_BACKEND", "uring", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
