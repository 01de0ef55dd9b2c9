/*
 * Sending and receiving on the real kernel: what it does, how it fails, how it is cancelled.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/ring.h"

static int pair[2];

static int setup(void **state)
{
	check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	return ring_setup(state);
}

static int teardown(void **state)
{
	close(pair[0]);
	close(pair[1]);
	return ring_teardown(state);
}

static struct ring_op recv_op(int fd, char *buf, size_t len)
{
	return (struct ring_op){ .op.kind = WHI_OP_RECV,
				 .op.fd = fd,
				 .op.rw = { .buf = buf, .len = len } };
}

static struct ring_op send_op(int fd, const char *buf, size_t len)
{
	return (struct ring_op){
		.op.kind = WHI_OP_SEND,
		.op.fd = fd,
		.op.rw = { .buf = (char *)(uintptr_t)buf, .len = len, .flags = MSG_WAITALL }
	};
}

static void recv_waits_for_what_send_sends(void **state)
{
	char buf[16] = "";
	struct ring_op in = recv_op(pair[0], buf, sizeof(buf)), out = send_op(pair[1], "hello", 5);

	(void)state;
	ring_submit(&in);
	ring_poke();
	assert_int_equal(in.completions, 0);
	assert_int_equal(ring_run(&out), 5);
	ring_wait(&in);
	assert_int_equal(in.op.result, 5);
	assert_string_equal(buf, "hello");
}

static void recv_after_the_peer_has_closed_is_zero(void **state)
{
	char buf[16];
	struct ring_op op = recv_op(pair[0], buf, sizeof(buf));

	(void)state;
	shutdown(pair[1], SHUT_WR);
	assert_int_equal(ring_run(&op), 0);
}

static void recv_can_be_cancelled(void **state)
{
	char buf[16];
	struct ring_op op = recv_op(pair[0], buf, sizeof(buf));

	(void)state;
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

static void send_to_a_closed_peer_fails_without_a_signal(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	close(pair[1]);
	assert_int_equal(ring_run(&op), -EPIPE);
	pair[1] = dup(pair[0]);
}

static size_t fill_socket(int fd)
{
	static const char block[4096];
	size_t sent = 0;
	ssize_t r;

	while ((r = send(fd, block, sizeof(block), MSG_DONTWAIT)) > 0)
		sent += (size_t)r;
	return sent;
}

static void send_into_a_full_socket_can_be_cancelled(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	fill_socket(pair[0]);
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

static void bad_descriptor_fails(void **state)
{
	char buf[4];
	struct ring_op in = recv_op(-1, buf, 4), out = send_op(12345, "x", 1);

	(void)state;
	assert_int_equal(ring_run(&in), -EBADF);
	assert_int_equal(ring_run(&out), -EBADF);
}

static void bad_memory_fails(void **state)
{
	struct ring_op op = send_op(pair[0], (const char *)16, 100);

	(void)state;
	assert_int_equal(ring_run(&op), -EFAULT);
}

/* quiet sends */

static void quiet_send_completes_once_with_its_length(void **state)
{
	char buf[8] = "";
	struct ring_op op = send_op(pair[0], "quiet", 5);

	(void)state;
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	ring_submit(&op);
	ring_poke();
	assert_int_equal(op.completions, 1);
	assert_int_equal(op.op.result, 5);
	assert_int_equal(read(pair[1], buf, sizeof(buf)), 5);
	assert_string_equal(buf, "quiet");
}

static void quiet_send_into_a_full_socket_says_so(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	fill_socket(pair[0]);
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	assert_int_equal(ring_run(&op), -EAGAIN);
}

static void quiet_send_to_a_closed_peer_says_so(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	close(pair[1]);
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	assert_int_equal(ring_run(&op), -EPIPE);
	pair[1] = dup(pair[0]);
}

/* What does not fit is reported, byte for byte: nothing is lost and nothing sent twice. */
static void quiet_send_that_fits_in_part_tells_how_much(void **state)
{
	static char block[8 * 1024 * 1024];
	struct ring_op op = send_op(pair[0], block, sizeof(block));
	ssize_t r, got = 0;

	(void)state;
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	assert_in_range(ring_run(&op), 1, sizeof(block) - 1);
	while ((r = recv(pair[1], block, sizeof(block), MSG_DONTWAIT)) > 0)
		got += r;
	assert_int_equal(got, op.op.result);
}

static void quiet_sends_keep_their_order(void **state)
{
	struct ring_op ops[26];
	char text[26], got[32] = "";

	(void)state;
	for (int i = 0; i < 26; i++) {
		text[i] = (char)('a' + i);
		ops[i] = send_op(pair[0], &text[i], 1);
		ops[i].op.quiet = true;
		ops[i].op.rw.flags |= MSG_DONTWAIT;
		ring_submit(&ops[i]);
	}
	ring_poke();
	for (int i = 0; i < 26; i++)
		assert_int_equal(ops[i].completions, 1);
	assert_int_equal(read(pair[1], got, sizeof(got)), 26);
	assert_string_equal(got, "abcdefghijklmnopqrstuvwxyz");
}

static void quiet_send_can_be_cancelled(void **state)
{
	struct ring_op op = send_op(pair[0], "x", 1);

	(void)state;
	op.op.quiet = true;
	op.op.rw.flags |= MSG_DONTWAIT;
	ring_submit(&op);
	ring_cancel(&op);
	ring_wait(&op);
	assert_int_equal(op.completions, 1);
	assert_int_equal(op.op.result, 1);
}

/* recv multishot with buffers */

enum { BUFS = 4, BUF_BYTES = 64 };

static char memory[BUFS][BUF_BYTES];

static void lend_all(void)
{
	check_int(ring->ops->bufs_open(ring, BUFS), 0);
	for (uint16_t i = 0; i < BUFS; i++)
		ring->ops->buf_give(ring, i, memory[i], BUF_BYTES);
}

static struct ring_op recv_multi_op(int fd)
{
	return (struct ring_op){ .op.kind = WHI_OP_RECV_MULTI, .op.fd = fd };
}

static void end(struct ring_op *op, int32_t result)
{
	ring_cancel(op);
	ring_wait(op);
	assert_int_equal(op->op.result, result);
}

static void recv_multishot_takes_a_buffer_a_message(void **state)
{
	struct ring_op op = recv_multi_op(pair[0]);

	(void)state;
	lend_all();
	ring_submit(&op);
	for (unsigned i = 0; i < 12; i++) {
		char byte = (char)('a' + i);

		assert_int_equal(write(pair[1], &byte, 1), 1);
		ring_wait_for(&op, i + 1);
		assert_int_equal(op.op.result, 1);
		assert_true(op.op.flags & WHI_OP_BUFFER);
		assert_int_equal(memory[op.op.buffer][0], byte);
		ring->ops->buf_give(ring, op.op.buffer, memory[op.op.buffer], BUF_BYTES);
	}
	end(&op, -ECANCELED);
}

static void recv_multishot_out_of_buffers_says_so_and_loses_nothing(void **state)
{
	struct ring_op op = recv_multi_op(pair[0]);
	static char sent[BUFS * BUF_BYTES + 10];
	char rest[sizeof(sent)];

	(void)state;
	lend_all();
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)i;
	assert_int_equal(write(pair[1], sent, sizeof(sent)), sizeof(sent));
	ring_submit(&op);
	ring_wait(&op);
	assert_int_equal(op.op.result, -ENOBUFS);
	assert_int_equal(op.completions, BUFS + 1);
	assert_int_equal(read(pair[0], rest, sizeof(rest)), 10);
	assert_memory_equal(rest, sent + BUFS * BUF_BYTES, 10);
}

static void recv_multishot_ends_with_zero_at_the_end(void **state)
{
	struct ring_op op = recv_multi_op(pair[0]);

	(void)state;
	lend_all();
	ring_submit(&op);
	shutdown(pair[1], SHUT_WR);
	ring_wait(&op);
	assert_int_equal(op.op.result, 0);
	assert_int_equal(op.completions, 1);
}

static void recv_multishot_can_be_cancelled(void **state)
{
	struct ring_op op = recv_multi_op(pair[0]);

	(void)state;
	lend_all();
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

/* sendmsg, recvmsg */

static void messages_carry_vectors(void **state)
{
	char one[3], two[8] = "", abc[] = "abc", defgh[] = "defgh";
	struct iovec out[2] = { { abc, 3 }, { defgh, 5 } }, in[2] = { { one, 3 }, { two, 8 } };
	struct msghdr to = { .msg_iov = out, .msg_iovlen = 2 },
		      from = { .msg_iov = in, .msg_iovlen = 2 };
	struct ring_op send = { .op.kind = WHI_OP_SENDMSG, .op.fd = pair[0], .op.msg.msg = &to };
	struct ring_op recv = { .op.kind = WHI_OP_RECVMSG, .op.fd = pair[1], .op.msg.msg = &from };

	(void)state;
	ring_submit(&recv);
	assert_int_equal(ring_run(&send), 8);
	ring_wait(&recv);
	assert_int_equal(recv.op.result, 8);
	assert_memory_equal(one, "abc", 3);
	assert_string_equal(two, "defgh");
}

static void sendmsg_to_a_closed_peer_fails_without_a_signal(void **state)
{
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct ring_op op = { .op.kind = WHI_OP_SENDMSG, .op.fd = pair[0], .op.msg.msg = &msg };

	(void)state;
	close(pair[1]);
	assert_int_equal(ring_run(&op), -EPIPE);
	pair[1] = dup(pair[0]);
}

static void recvmsg_can_be_cancelled(void **state)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct ring_op op = { .op.kind = WHI_OP_RECVMSG, .op.fd = pair[0], .op.msg.msg = &msg };

	(void)state;
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
}

#define DATA_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DATA_TEST(recv_waits_for_what_send_sends),
		DATA_TEST(recv_after_the_peer_has_closed_is_zero),
		DATA_TEST(recv_can_be_cancelled),
		DATA_TEST(send_to_a_closed_peer_fails_without_a_signal),
		DATA_TEST(send_into_a_full_socket_can_be_cancelled),
		DATA_TEST(bad_descriptor_fails),
		DATA_TEST(bad_memory_fails),
		DATA_TEST(quiet_send_completes_once_with_its_length),
		DATA_TEST(quiet_send_into_a_full_socket_says_so),
		DATA_TEST(quiet_send_to_a_closed_peer_says_so),
		DATA_TEST(quiet_send_that_fits_in_part_tells_how_much),
		DATA_TEST(quiet_sends_keep_their_order),
		DATA_TEST(quiet_send_can_be_cancelled),
		DATA_TEST(recv_multishot_takes_a_buffer_a_message),
		DATA_TEST(recv_multishot_out_of_buffers_says_so_and_loses_nothing),
		DATA_TEST(recv_multishot_ends_with_zero_at_the_end),
		DATA_TEST(recv_multishot_can_be_cancelled),
		DATA_TEST(messages_carry_vectors),
		DATA_TEST(sendmsg_to_a_closed_peer_fails_without_a_signal),
		DATA_TEST(recvmsg_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
