/*
 * The start-up self-test of kernel features, and what the backend does without one of them. What it
 * does when a trial fails is the same as when the feature is turned off: the same bit.
 */
#include "backend/uring_selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/uring.h"
#include "base/clock.h"
#include "support/ring.h"

enum { RUNS = 50, BUFS = 4, BUF_BYTES = 32 };

static char memory[BUFS][BUF_BYTES];
static int pair[2];

/* Names */

static uint32_t off_of(const char *list)
{
	char text[WHI_URING_OFF_TEXT] = "";
	uint32_t off = 0;

	check_int(whi_uring_off_check(list, &off, text), 0);
	return off;
}

static void lists_of_names_are_read(void **state)
{
	(void)state;
	assert_int_equal(off_of(NULL), 0);
	assert_int_equal(off_of(""), 0);
	assert_int_equal(off_of("msgring"), 1u << WHI_URING_MSGRING);
	assert_int_equal(off_of("msgring,sendzc"),
			 1u << WHI_URING_MSGRING | 1u << WHI_URING_SENDZC);
	for (int i = 0; i < WHI_URING_FEATURES; i++)
		assert_true(off_of(whi_uring_feature_name((enum whi_uring_feature)i)) & 1u << i);
}

static void the_environment_adds_to_the_list(void **state)
{
	(void)state;
	setenv("WHORL_URING_OFF", "direct", 1);
	assert_int_equal(off_of("msgring"), 1u << WHI_URING_MSGRING | 1u << WHI_URING_DIRECT);
	unsetenv("WHORL_URING_OFF");
}

static void without_buffer_rings_there_is_no_multishot_receive(void **state)
{
	(void)state;
	assert_true(off_of("bufring") & 1u << WHI_URING_MULTIRECV);
}

static void an_unknown_name_is_refused_with_all_there_are(void **state)
{
	static const char *const bad[] = { "x", "msgring,x", "msg", "msgring ", "msgringg", ",x" };
	char text[WHI_URING_OFF_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t off = 77;

		assert_int_equal(whi_uring_off_check(bad[i], &off, text), -EINVAL);
		assert_int_equal(off, 77);
		for (int k = 0; k < WHI_URING_FEATURES; k++)
			assert_non_null(
				strstr(text, whi_uring_feature_name((enum whi_uring_feature)k)));
	}
	setenv("WHORL_URING_OFF", "nonsense", 1);
	assert_int_equal(whi_uring_off_check(NULL, &(uint32_t){ 0 }, text), -EINVAL);
	unsetenv("WHORL_URING_OFF");
}

/* Trials */

static bool run_trials(uint32_t mask, struct whi_uring_verdicts *ret)
{
	struct whi_uring u = { .opts = { .sq_entries = 8, .cq_entries = 16 } };

	if (whi_uring_ring_open(&u) < 0)
		return false;
	whi_uring_selftest(&u, mask, ret);
	return true;
}

static bool failed_for_its_data(const char *why)
{
	return why && !strstr(why, "refuses") && !strstr(why, "could not be tried");
}

/* A kernel may lack a feature; where it has one, it works here or is to be left alone: then the
 * sentence is what a person needs to see. */
static void each_trial_has_a_verdict(void **state)
{
	struct whi_uring_verdicts verdicts;

	(void)state;
	if (!run_trials(WHI_URING_TRY_ALL, &verdicts))
		skip();
	for (int i = 0; i < WHI_URING_FEATURES; i++) {
		const char *why_not = verdicts.why_not[i];

		print_message("%s: %s\n", whi_uring_feature_name((enum whi_uring_feature)i),
			      why_not ? why_not : "works");
		assert_false(failed_for_its_data(why_not));
	}
	assert_false(verdicts.unsure);
}

static void only_what_is_asked_for_is_tried(void **state)
{
	struct whi_uring_verdicts verdicts;

	(void)state;
	/* Without buffer rings a multishot receive cannot work: so they were not made. */
	if (!run_trials(1u << WHI_URING_MULTIRECV, &verdicts))
		skip();
	assert_non_null(verdicts.why_not[WHI_URING_MULTIRECV]);
	assert_null(verdicts.why_not[WHI_URING_BUFRING]);
}

static void trials_leave_no_descriptor_and_no_memory(void **state)
{
	struct whi_uring_verdicts verdicts;
	unsigned before = open_fds();

	(void)state;
	if (!run_trials(WHI_URING_TRY_ALL, &verdicts))
		skip();
	assert_int_equal(open_fds(), before);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print_median(const char *what, uint32_t mask)
{
	uint64_t times[RUNS];
	struct whi_uring_verdicts verdicts;

	for (int i = 0; i < RUNS; i++) {
		uint64_t began = whi_clock_ns();

		run_trials(mask, &verdicts);
		times[i] = whi_clock_ns() - began;
	}
	qsort(times, RUNS, sizeof(times[0]), by_value);
	print_message("self-test of %s: median of %d runs %llu us, longest %llu us\n", what, RUNS,
		      (unsigned long long)times[RUNS / 2] / 1000,
		      (unsigned long long)times[RUNS - 1] / 1000);
}

/* How long it takes is printed, for people: a bound would test the machine. */
static void fifty_runs_find_the_same(void **state)
{
	struct whi_uring_verdicts first, again;

	(void)state;
	if (!run_trials(WHI_URING_TRY_ALL, &first))
		skip();
	for (int i = 0; i < RUNS; i++) {
		assert_true(run_trials(WHI_URING_TRY_ALL, &again));
		for (int k = 0; k < WHI_URING_FEATURES; k++)
			assert_ptr_equal(again.why_not[k], first.why_not[k]);
	}
	print_median("what the engine uses", WHI_URING_TRY_USED);
	print_median("everything", WHI_URING_TRY_ALL);
}

/* Doing without */

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

static void give_bufs(unsigned count)
{
	check_int(ring->ops->bufs_open(ring, BUFS), 0);
	for (unsigned i = 0; i < count; i++)
		ring->ops->buf_give(ring, (uint16_t)i, memory[i], BUF_BYTES);
}

static struct ring_op recv_multi(void)
{
	return (struct ring_op){ .op.kind = WHI_OP_RECV_MULTI, .op.fd = pair[0] };
}

static void put(const char *text)
{
	check_int(write(pair[1], text, strlen(text)), (intmax_t)strlen(text));
}

static void give_back(const struct ring_op *op)
{
	ring->ops->buf_give(ring, op->op.buffer, memory[op->op.buffer], BUF_BYTES);
}

static void check_taken(const struct ring_op *op, const char *text, unsigned more)
{
	check_int(op->op.result, (intmax_t)strlen(text));
	check_int(op->op.flags & (WHI_OP_BUFFER | WHI_OP_MORE), WHI_OP_BUFFER | more);
	check(memcmp(memory[op->op.buffer], text, strlen(text)) == 0);
}

static void end(struct ring_op *op)
{
	ring_cancel(op);
	ring_wait(op);
	check_int(op->op.result, -ECANCELED);
}

static void a_plain_receive_takes_message_after_message(void **state)
{
	static const char *const texts[] = { "one", "two", "three", "four", "five", "six" };
	struct ring_op op = recv_multi();

	(void)state;
	give_bufs(BUFS);
	ring_submit(&op);
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put(texts[i]);
		ring_wait_for(&op, i + 1);
		check_taken(&op, texts[i], WHI_OP_MORE);
		give_back(&op);
	}
	end(&op);
}

static void a_plain_receive_waits_for_data(void **state)
{
	struct ring_op op = recv_multi();

	(void)state;
	give_bufs(BUFS);
	ring_submit(&op);
	ring_poke();
	ring_poke();
	assert_int_equal(op.completions, 0);
	put("late");
	ring_wait_for(&op, 1);
	check_taken(&op, "late", WHI_OP_MORE);
	end(&op);
}

static void a_plain_receive_of_one_message_ends_with_it(void **state)
{
	struct ring_op op = recv_multi();

	(void)state;
	give_bufs(BUFS);
	op.op.once = true;
	put("only");
	check(ring_run(&op) > 0);
	check_taken(&op, "only", 0);
}

static void a_plain_receive_sees_the_end(void **state)
{
	struct ring_op op = recv_multi();

	(void)state;
	give_bufs(BUFS);
	put("last");
	shutdown(pair[1], SHUT_WR);
	ring_submit(&op);
	ring_wait_for(&op, 1);
	check_taken(&op, "last", WHI_OP_MORE);
	ring_wait(&op);
	assert_int_equal(op.completions, 2);
	assert_int_equal(op.op.result, 0);
	assert_int_equal(op.op.flags & (WHI_OP_MORE | WHI_OP_BUFFER), 0);
}

static void a_plain_receive_without_buffers_says_so_and_loses_nothing(void **state)
{
	struct ring_op op = recv_multi();

	(void)state;
	give_bufs(1);
	ring_submit(&op);
	put("kept");
	ring_wait_for(&op, 1);
	put("not lost");
	ring_wait(&op);
	assert_int_equal(op.op.result, -ENOBUFS);
	give_back(&op);
	ring_submit(&op);
	ring_wait_for(&op, 1);
	check_taken(&op, "not lost", WHI_OP_MORE);
	give_back(&op);
	end(&op);
}

static void a_plain_receive_can_be_cancelled(void **state)
{
	struct ring_op op = recv_multi();

	(void)state;
	give_bufs(BUFS);
	assert_int_equal(ring_run_cancelled(&op), -ECANCELED);
	put("x");
	ring_submit(&op);
	ring_wait_for(&op, 1);
	check_taken(&op, "x", WHI_OP_MORE);
	end(&op);
}

/* Two wait for the same socket: the poll wakes both, and one finds nothing. */
static void a_plain_receive_that_was_too_late_goes_on_waiting(void **state)
{
	struct ring_op ops[2] = { recv_multi(), recv_multi() };

	(void)state;
	give_bufs(BUFS);
	ring_submit(&ops[0]);
	ring_submit(&ops[1]);
	ring_poke();
	put("once");
	while (ops[0].completions + ops[1].completions == 0)
		check_int(ring->ops->turn(ring, WHI_NEVER), 0);
	ring_poke();
	check_int(ops[0].completions + ops[1].completions, 1);
	put("again");
	while (ops[0].completions + ops[1].completions == 1)
		check_int(ring->ops->turn(ring, WHI_NEVER), 0);
	end(&ops[0]);
	end(&ops[1]);
}

struct unix_addr {
	sa_family_t family;
	char path[108];
};

static int connect_to(struct unix_addr *addr, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	check_int(connect(fd, (struct sockaddr *)addr, len), 0);
	return fd;
}

static void a_plain_accept_takes_connection_after_connection(void **state)
{
	struct unix_addr addr = { .family = AF_UNIX };
	struct ring_op op = { .op.kind = WHI_OP_ACCEPT_MULTI };
	socklen_t len = sizeof(addr);

	(void)state;
	op.op.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check_int(bind(op.op.fd, (struct sockaddr *)&addr, sizeof(sa_family_t)), 0);
	check_int(listen(op.op.fd, 4), 0);
	check_int(getsockname(op.op.fd, (struct sockaddr *)&addr, &len), 0);
	ring_submit(&op);
	for (unsigned i = 0; i < 3; i++) {
		int client = connect_to(&addr, len);

		ring_wait_for(&op, i + 1);
		check(op.op.result >= 0);
		check_int(op.op.flags & WHI_OP_MORE, WHI_OP_MORE);
		close(op.op.result);
		close(client);
	}
	end(&op);
	close(op.op.fd);
}

static void without_ring_messages_the_eventfd_wakes(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_MESSAGE, .op.fd = 0 };

	(void)state;
	assert_int_equal(ring_run(&op), -EOPNOTSUPP);
	ring_poke();
	ring->ops->wake_from(ring, ring);
	/* Returns, although it would wait for ever. */
	check_int(ring->ops->turn(ring, WHI_NEVER), 0);
}

#define plain_test(function, off)                                                                  \
	{                                                                                          \
#function " without " off, function, setup, teardown, &(struct whi_backend_opts)   \
		{                                                                                  \
			.uring_off = (off)                                                         \
		}                                                                                  \
	}

static void an_unknown_feature_keeps_the_ring_shut(void **state)
{
	const struct whi_backend_opts opts = {
		.sq_entries = 8, .cq_entries = 16, .ops_max = 8, .uring_off = "wings"
	};
	struct whi_backend *backend = NULL;

	(void)state;
	assert_int_equal(whi_backend_uring.open(&opts, &backend), -EINVAL);
	assert_null(backend);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_of_names_are_read),
		cmocka_unit_test(the_environment_adds_to_the_list),
		cmocka_unit_test(without_buffer_rings_there_is_no_multishot_receive),
		cmocka_unit_test(an_unknown_name_is_refused_with_all_there_are),
		cmocka_unit_test(an_unknown_feature_keeps_the_ring_shut),
		cmocka_unit_test(each_trial_has_a_verdict),
		cmocka_unit_test(only_what_is_asked_for_is_tried),
		cmocka_unit_test(trials_leave_no_descriptor_and_no_memory),
		cmocka_unit_test(fifty_runs_find_the_same),
		plain_test(a_plain_receive_takes_message_after_message, "multirecv"),
		plain_test(a_plain_receive_takes_message_after_message, "bufring"),
		plain_test(a_plain_receive_waits_for_data, "multirecv"),
		plain_test(a_plain_receive_waits_for_data, "bufring"),
		plain_test(a_plain_receive_of_one_message_ends_with_it, "multirecv"),
		plain_test(a_plain_receive_of_one_message_ends_with_it, "bufring"),
		plain_test(a_plain_receive_sees_the_end, "multirecv"),
		plain_test(a_plain_receive_sees_the_end, "bufring"),
		plain_test(a_plain_receive_without_buffers_says_so_and_loses_nothing, "multirecv"),
		plain_test(a_plain_receive_without_buffers_says_so_and_loses_nothing, "bufring"),
		plain_test(a_plain_receive_can_be_cancelled, "multirecv"),
		plain_test(a_plain_receive_can_be_cancelled, "bufring"),
		plain_test(a_plain_receive_that_was_too_late_goes_on_waiting, "bufring"),
		plain_test(a_plain_accept_takes_connection_after_connection, "multiaccept"),
		plain_test(without_ring_messages_the_eventfd_wakes, "msgring"),
	};

	/* The tests set it themselves. */
	unsetenv("WHORL_URING_OFF");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
