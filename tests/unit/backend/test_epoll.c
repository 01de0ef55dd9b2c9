/*
 * The epoll backend where it differs from io_uring in kind: descriptors that are waited for, files
 * that wait on threads, what a message costs. Operations themselves are tested by test_uring*,
 * which run on both.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/epoll.h"
#include "base/clock.h"
#include "support/ring.h"

enum { BUFS = 64, BUF_BYTES = 256 };

static char memory[BUFS][BUF_BYTES];
static char flood[64 * 1024];

static void give(uint16_t index)
{
	ring->ops->buf_give(ring, index, memory[index], BUF_BYTES);
}

static void lend(unsigned count)
{
	check_int(ring->ops->bufs_open(ring, BUFS), 0);
	for (uint16_t i = 0; i < count; i++)
		give(i);
}

static int make_socket(void)
{
	struct ring_op op = { .op.kind = WHI_OP_SOCKET,
			      .op.socket = { AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0 } };

	return ring_run(&op);
}

static void close_op(int fd)
{
	struct ring_op op = { .op.kind = WHI_OP_CLOSE, .op.fd = fd };

	check_int(ring_run(&op), 0);
}

/* A TCP connection: [0] is the backend's, as accepted sockets are, [1] is nobody's. */
static void connect_pair(int ret[2])
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);
	struct ring_op accept = { .op.kind = WHI_OP_ACCEPT, .op.addr.flags = SOCK_CLOEXEC };
	int listener = make_socket();

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(listener >= 0);
	check_int(bind(listener, (struct sockaddr *)&in, len), 0);
	check_int(listen(listener, 1), 0);
	check_int(getsockname(listener, (struct sockaddr *)&in, &len), 0);
	ret[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check_int(connect(ret[1], (struct sockaddr *)&in, len), 0);
	accept.op.fd = listener;
	ret[0] = ring_run(&accept);
	check(ret[0] >= 0);
	close_op(listener);
}

static struct ring_op recv_multi(int fd)
{
	return (struct ring_op){ .op.kind = WHI_OP_RECV_MULTI, .op.fd = fd };
}

static void end(struct ring_op *op)
{
	ring_cancel(op);
	ring_wait(op);
}

/* What it costs */

static void message_costs_one_receive_and_one_wait(void **state)
{
	uint64_t tries, enters;
	struct ring_op op;
	int pair[2];

	(void)state;
	lend(BUFS);
	connect_pair(pair);
	op = recv_multi(pair[0]);
	ring_submit(&op);
	ring_poke();
	tries = ring->stats.tries;
	enters = ring->stats.enters;
	for (unsigned i = 1; i <= 50; i++) {
		check_int(write(pair[1], "message", 7), 7);
		ring_wait_for(&op, i);
		check_int(op.op.result, 7);
		give(op.op.buffer);
	}
	assert_int_equal(ring->stats.tries - tries, 50);
	assert_int_equal(ring->stats.enters - enters, 50);
	end(&op);
	close(pair[1]);
	close_op(pair[0]);
}

static void socket_is_registered_once(void **state)
{
	struct ring_op op;
	uint64_t tries;
	char byte;
	int pair[2];

	(void)state;
	connect_pair(pair);
	tries = ring->stats.tries;
	for (int i = 0; i < 20; i++) {
		op = (struct ring_op){ .op.kind = WHI_OP_RECV,
				       .op.fd = pair[0],
				       .op.rw = { .buf = &byte, .len = 1 } };
		ring_submit(&op);
		ring_poke();
		check_int(write(pair[1], "x", 1), 1);
		ring_wait(&op);
		check_int(op.op.result, 1);
	}
	/* Two for each, the one that had to wait and the one that got it, and the registration. */
	assert_int_equal(ring->stats.tries - tries, 2 * 20 + 1);
	close(pair[1]);
	close_op(pair[0]);
}

/* What edges must not lose */

static void end_that_comes_with_the_data_is_told(void **state)
{
	struct ring_op op;
	int pair[2];

	(void)state;
	lend(BUFS);
	connect_pair(pair);
	op = recv_multi(pair[0]);
	ring_submit(&op);
	ring_poke();
	check_int(write(pair[1], "bye", 3), 3);
	close(pair[1]);
	ring_wait(&op);
	assert_int_equal(op.completions, 2);
	assert_int_equal(op.results[0], 3);
	assert_int_equal(op.results[1], 0);
	close_op(pair[0]);
}

/* A receive ends before urgent data, and what lies behind it is no news. */
static void urgent_data_hides_nothing_behind_it(void **state)
{
	struct ring_op op;
	int pair[2];

	(void)state;
	lend(BUFS);
	connect_pair(pair);
	op = recv_multi(pair[0]);
	ring_submit(&op);
	ring_poke();
	check_int(send(pair[1], "before", 6, 0), 6);
	check_int(send(pair[1], "!", 1, MSG_OOB), 1);
	check_int(send(pair[1], "behind", 6, 0), 6);
	for (unsigned got = 0, seen = 0; got < 12; seen++) {
		ring_wait_for(&op, seen + 1);
		check(op.results[seen] > 0);
		got += (unsigned)op.results[seen];
	}
	end(&op);
	close(pair[1]);
	close_op(pair[0]);
}

static void send_with_descriptor(int fd, const char *text)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	check_int(sendmsg(fd, &msg, 0), (int)strlen(text));
}

static void passed_descriptors_hide_nothing_behind_them(void **state)
{
	struct whi_op adopt = { .kind = WHI_OP_ADOPT };
	struct ring_op op;
	int pair[2];

	(void)state;
	lend(BUFS);
	check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	adopt.fd = pair[0];
	check_int(ring->ops->perform(ring, &adopt), 0);
	op = recv_multi(pair[0]);
	ring_submit(&op);
	ring_poke();
	send_with_descriptor(pair[1], "one");
	send_with_descriptor(pair[1], "two");
	check_int(send(pair[1], "three", 5, 0), 5);
	ring_wait_for(&op, 3);
	assert_int_equal(op.results[0] + op.results[1] + op.results[2], 11);
	end(&op);
	close(pair[1]);
	close_op(pair[0]);
}

static void receive_that_found_its_socket_empty_waits_for_the_next(void **state)
{
	char buf[64];
	struct ring_op op = { .op.kind = WHI_OP_RECV, .op.rw = { .buf = buf, .len = 64 } };
	int pair[2];

	(void)state;
	connect_pair(pair);
	op.op.fd = pair[0];
	/* The socket is not registered yet when the short receive empties it. */
	check_int(write(pair[1], "one", 3), 3);
	assert_int_equal(ring_run(&op), 3);
	check_int(write(pair[1], "two", 3), 3);
	assert_int_equal(ring_run(&op), 3);
	assert_memory_equal(buf, "two", 3);
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
	close(pair[1]);
	close_op(pair[0]);
}

/* Sharing */

static void flood_of_one_descriptor_leaves_the_turn_to_others(void **state)
{
	struct ring_op loud, soft;
	int one[2], two[2];

	(void)state;
	lend(BUFS);
	connect_pair(one);
	connect_pair(two);
	check_int(write(one[1], flood, sizeof(flood)), sizeof(flood));
	check_int(write(two[1], "x", 1), 1);
	loud = recv_multi(one[0]);
	soft = recv_multi(two[0]);
	ring_submit(&loud);
	ring_submit(&soft);
	ring_poke();
	assert_int_equal(soft.completions, 1);
	assert_in_range(loud.completions, 1, 32);
	end(&loud);
	end(&soft);
	close(one[1]);
	close(two[1]);
	close_op(one[0]);
	close_op(two[0]);
}

static void idle_receive_is_not_refused_for_want_of_buffers(void **state)
{
	struct ring_op op;
	int pair[2];

	(void)state;
	lend(0);
	connect_pair(pair);
	op = recv_multi(pair[0]);
	ring_submit(&op);
	for (int i = 0; i < 3; i++)
		ring_poke();
	assert_int_equal(op.completions, 0);
	check_int(write(pair[1], "x", 1), 1);
	ring_wait(&op);
	assert_int_equal(op.op.result, -ENOBUFS);
	give(0);
	ring_submit(&op);
	ring_wait_for(&op, 1);
	assert_int_equal(op.op.result, 1);
	end(&op);
	close(pair[1]);
	close_op(pair[0]);
}

enum { EVENTS = WHI_EPOLL_EVENTS + 100 };

static void turn_that_does_not_wait_tells_all_that_is_ready(void **state)
{
	static struct ring_op polls[EVENTS];

	(void)state;
	memset(polls, 0, sizeof(polls));
	for (int i = 0; i < EVENTS; i++) {
		polls[i].op.kind = WHI_OP_POLL;
		polls[i].op.fd = eventfd(0, EFD_CLOEXEC);
		polls[i].op.arg.value = POLLIN;
		check(polls[i].op.fd >= 0);
		ring_submit(&polls[i]);
	}
	ring_poke();
	for (int i = 0; i < EVENTS; i++)
		check_int(eventfd_write(polls[i].op.fd, 1), 0);
	ring_poke();
	for (int i = 0; i < EVENTS; i++) {
		check_int(polls[i].completions, 1);
		close(polls[i].op.fd);
	}
}

/* Descriptors that others close */

static struct ring_op poll_in(int fd)
{
	return (struct ring_op){ .op.kind = WHI_OP_POLL, .op.fd = fd, .op.arg.value = POLLIN };
}

static void number_that_was_closed_elsewhere_may_be_used_again(void **state)
{
	int first[2], second[2];
	struct ring_op op;

	(void)state;
	check_int(pipe2(first, O_CLOEXEC), 0);
	op = poll_in(first[0]);
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
	close(first[0]);
	check_int(pipe2(second, O_CLOEXEC), 0);
	assert_int_equal(second[0], first[0]);
	op = poll_in(second[0]);
	ring_submit(&op);
	ring_poke();
	check_int(write(second[1], "x", 1), 1);
	ring_wait(&op);
	assert_int_equal(op.op.result, POLLIN);
	close(first[1]);
	close(second[0]);
	close(second[1]);
}

/* The file lives on through a copy, and with it the registration under the old number. */
static void event_of_a_former_owner_completes_nothing(void **state)
{
	int first[2], second[2], copy;
	struct ring_op op;

	(void)state;
	check_int(pipe2(first, O_CLOEXEC), 0);
	op = poll_in(first[0]);
	ring_submit(&op);
	ring_poke();
	copy = dup(first[0]);
	ring_cancel(&op);
	ring_wait(&op);
	close(first[0]);
	check_int(pipe2(second, O_CLOEXEC), 0);
	assert_int_equal(second[0], first[0]);
	op = poll_in(second[0]);
	ring_submit(&op);
	ring_poke();
	check_int(write(first[1], "x", 1), 1);
	ring_poke();
	assert_int_equal(op.completions, 0);
	check_int(write(second[1], "x", 1), 1);
	ring_wait(&op);
	assert_int_equal(op.op.result, POLLIN);
	close(copy);
	close(first[1]);
	close(second[0]);
	close(second[1]);
}

static void poll_and_receive_of_one_socket_both_complete(void **state)
{
	char byte;
	struct ring_op recv = { .op.kind = WHI_OP_RECV, .op.rw = { .buf = &byte, .len = 1 } };
	struct ring_op in, out;
	int pair[2];

	(void)state;
	connect_pair(pair);
	recv.op.fd = pair[0];
	in = poll_in(pair[0]);
	out = in;
	out.op.arg.value = POLLOUT;
	ring_submit(&in);
	ring_submit(&recv);
	ring_submit(&out);
	ring_wait(&out);
	assert_int_equal(in.completions + recv.completions, 0);
	check_int(write(pair[1], "xy", 2), 2);
	ring_wait(&in);
	ring_wait(&recv);
	assert_int_equal(recv.op.result, 1);
	close(pair[1]);
	close_op(pair[0]);
}

static void closing_a_descriptor_ends_who_waits_for_it(void **state)
{
	char byte;
	struct ring_op op = { .op.kind = WHI_OP_RECV, .op.rw = { .buf = &byte, .len = 1 } };
	int pair[2];

	(void)state;
	connect_pair(pair);
	op.op.fd = pair[0];
	ring_submit(&op);
	ring_poke();
	close_op(pair[0]);
	ring_wait(&op);
	assert_int_equal(op.op.result, -ECANCELED);
	close(pair[1]);
}

/* Where no event tells */

static void unix_name(int fd, struct sockaddr_un *un, socklen_t *len)
{
	un->sun_family = AF_UNIX;
	*len = sizeof(*un);
	check_int(bind(fd, (struct sockaddr *)un, sizeof(sa_family_t)), 0);
	check_int(getsockname(fd, (struct sockaddr *)un, len), 0);
}

static void connect_to_a_full_backlog_waits_for_room(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_CONNECT };
	struct sockaddr_un un = { 0 };
	socklen_t len;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), clients[3], taken;

	(void)state;
	unix_name(listener, &un, &len);
	check_int(listen(listener, 1), 0);
	for (int i = 0; i < 3; i++)
		clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	for (int i = 0; i < 2; i++)
		check_int(connect(clients[i], (struct sockaddr *)&un, len), 0);
	op.op.fd = clients[2];
	op.op.addr.addr = (struct sockaddr *)&un;
	op.op.addr.len = len;
	ring_submit(&op);
	ring_poke();
	assert_int_equal(op.completions, 0);
	taken = accept(listener, NULL, NULL);
	ring_wait(&op);
	assert_int_equal(op.op.result, 0);
	close(taken);
	close(listener);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
}

static void datagram_to_a_full_peer_waits_for_room(void **state)
{
	struct iovec iov = { flood, 16 };
	struct sockaddr_un un = { 0 };
	struct msghdr msg = { .msg_name = &un, .msg_iov = &iov, .msg_iovlen = 1 };
	struct ring_op op = { .op.kind = WHI_OP_SENDMSG, .op.msg.msg = &msg };
	int peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	unix_name(peer, &un, &msg.msg_namelen);
	op.op.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	while (sendmsg(op.op.fd, &msg, MSG_DONTWAIT) > 0)
		;
	ring_submit(&op);
	ring_poke();
	assert_int_equal(op.completions, 0);
	check_int(recv(peer, flood, 16, 0), 16);
	ring_wait(&op);
	assert_int_equal(op.op.result, 16);
	close(peer);
	close(op.op.fd);
}

static void whole_message_goes_on_where_it_stopped(void **state)
{
	static char text[3][300000], got[sizeof(text)];
	struct iovec iov[3] = { { text[0], sizeof(text[0]) },
				{ text[1], sizeof(text[1]) },
				{ text[2], sizeof(text[2]) } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };
	struct ring_op op = { .op.kind = WHI_OP_SENDMSG,
			      .op.msg = { .msg = &msg, .flags = MSG_WAITALL } };
	struct whi_op adopt = { .kind = WHI_OP_ADOPT };
	size_t len = 0;
	int pair[2];

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		((char *)text)[i] = (char)(i * 7 + i / 251);
	check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	adopt.fd = op.op.fd = pair[0];
	check_int(ring->ops->perform(ring, &adopt), 0);
	ring_submit(&op);
	while (len < sizeof(got)) {
		ssize_t n;

		ring_poke();
		while ((n = recv(pair[1], got + len, sizeof(got) - len, MSG_DONTWAIT)) > 0)
			len += (size_t)n;
	}
	ring_wait(&op);
	assert_int_equal(op.op.result, sizeof(text));
	assert_memory_equal(got, text, sizeof(text));
	close(pair[1]);
	close_op(pair[0]);
}

/* Files */

static int file_of(const char *text)
{
	char path[] = "/tmp/whorl-test-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	check(fd >= 0);
	check_int(unlink(path), 0);
	check_int(write(fd, text, strlen(text)), (int)strlen(text));
	return fd;
}

static void poll_of_a_file_is_ready_at_once(void **state)
{
	struct ring_op op = poll_in(file_of("text"));

	(void)state;
	assert_true(ring_run(&op) & POLLIN);
	close(op.op.fd);
}

static void pipe_stays_in_its_mode(void **state)
{
	char byte;
	struct ring_op op = { .op.kind = WHI_OP_READ,
			      .op.rw = { .buf = &byte, .len = 1, .offset = (uint64_t)-1 } };
	int ends[2];

	(void)state;
	check_int(pipe2(ends, O_CLOEXEC), 0);
	op.op.fd = ends[0];
	ring_submit(&op);
	ring_poke();
	assert_int_equal(op.completions, 0);
	assert_int_equal(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
	check_int(write(ends[1], "x", 1), 1);
	ring_wait(&op);
	assert_int_equal(op.op.result, 1);
	assert_int_equal(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
	close(ends[0]);
	close(ends[1]);
}

/* procfs is among the files that do not know how not to wait. */
static void file_that_cannot_be_tried_is_read_by_a_thread(void **state)
{
	char buf[64];
	struct ring_op op = { .op.kind = WHI_OP_READ, .op.rw = { .buf = buf, .len = 64 } };

	(void)state;
	op.op.fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	assert_in_range(ring_run(&op), 1, 64);
	close(op.op.fd);
}

/* A thread takes them one after the other; those that none has taken can be cancelled. */
static void cancelled_jobs_complete_once(void **state)
{
	static struct ring_op jobs[200];
	int fd = file_of("text"), done = 0;

	(void)state;
	memset(jobs, 0, sizeof(jobs));
	for (int i = 0; i < 200; i++) {
		jobs[i].op.kind = WHI_OP_FSYNC;
		jobs[i].op.fd = fd;
		ring_submit(&jobs[i]);
	}
	for (int i = 0; i < 200; i++)
		ring_cancel(&jobs[i]);
	for (int i = 0; i < 200; i++) {
		ring_wait(&jobs[i]);
		assert_int_equal(jobs[i].completions, 1);
		done += jobs[i].op.result == 0;
		assert_true(jobs[i].op.result == 0 || jobs[i].op.result == -ECANCELED);
	}
	assert_in_range(done, 0, 200);
	close(fd);
}

static void named_pipe_is_opened_without_its_other_end(void **state)
{
	char folder[64], path[96];
	struct ring_op op = { .op.kind = WHI_OP_OPENAT };

	(void)state;
	make_folder(folder);
	snprintf(path, sizeof(path), "%s/pipe", folder);
	check_int(mkfifo(path, 0600), 0);
	op.op.path.path = path;
	op.op.path.flags = O_WRONLY | O_CLOEXEC;
	assert_int_equal(ring_run(&op), -ENXIO);
	op.op.path.flags = O_RDONLY | O_CLOEXEC;
	assert_true(ring_run(&op) >= 0);
	assert_int_equal(fcntl(op.op.result, F_GETFL) & O_NONBLOCK, 0);
	close_op(op.op.result);
	remove_folder(folder);
}

/* The rest */

static void turn_waits_long_enough_without_a_fine_clock(void **state)
{
	uint64_t before = whi_clock_ns();

	(void)state;
	whi_epoll_of(ring)->no_pwait2 = true;
	check_int(ring->ops->turn(ring, 300 * WH_US), 0);
	assert_true(whi_clock_ns() - before >= 300 * WH_US);
}

static void closing_waits_for_jobs(void **state)
{
	static struct ring_op jobs[50];
	int fd = file_of("text");

	(void)state;
	memset(jobs, 0, sizeof(jobs));
	ring_setup(state);
	for (int i = 0; i < 50; i++) {
		jobs[i].op.kind = WHI_OP_FSYNC;
		jobs[i].op.fd = fd;
		ring_submit(&jobs[i]);
	}
	ring->ops->close(ring);
	for (int i = 0; i < 50; i++)
		assert_int_equal(jobs[i].completions, 1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ring_test(message_costs_one_receive_and_one_wait),
		ring_test(socket_is_registered_once),
		ring_test(end_that_comes_with_the_data_is_told),
		ring_test(urgent_data_hides_nothing_behind_it),
		ring_test(passed_descriptors_hide_nothing_behind_them),
		ring_test(receive_that_found_its_socket_empty_waits_for_the_next),
		ring_test(flood_of_one_descriptor_leaves_the_turn_to_others),
		ring_test(idle_receive_is_not_refused_for_want_of_buffers),
		ring_test(turn_that_does_not_wait_tells_all_that_is_ready),
		ring_test(number_that_was_closed_elsewhere_may_be_used_again),
		ring_test(event_of_a_former_owner_completes_nothing),
		ring_test(poll_and_receive_of_one_socket_both_complete),
		ring_test(closing_a_descriptor_ends_who_waits_for_it),
		ring_test(connect_to_a_full_backlog_waits_for_room),
		ring_test(datagram_to_a_full_peer_waits_for_room),
		ring_test(whole_message_goes_on_where_it_stopped),
		ring_test(poll_of_a_file_is_ready_at_once),
		ring_test(pipe_stays_in_its_mode),
		ring_test(file_that_cannot_be_tried_is_read_by_a_thread),
		ring_test(cancelled_jobs_complete_once),
		ring_test(named_pipe_is_opened_without_its_other_end),
		ring_test(turn_waits_long_enough_without_a_fine_clock),
		cmocka_unit_test(closing_waits_for_jobs),
	};

	setenv("WHORL_BACKEND", "epoll", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
