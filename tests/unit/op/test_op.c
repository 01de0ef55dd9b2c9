/* The op table's rows are complete, and an operation's state changes as op.h says and not else. */
#include "op/op.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/stat.h>

#include "support/child.h"
#include "support/task_test.h"

static unsigned done_count;

static void count_done(struct whi_op *op)
{
	(void)op;
	done_count++;
}

static void every_operation_has_a_name_and_a_way_to_be_done(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < WHI_OP_MAX; kind++) {
		assert_non_null(whi_opdefs[kind].name);
		if (kind < WHI_OP_PERFORMED)
			assert_non_null(whi_opdefs[kind].prep);
		else
			assert_true(whi_opdefs[kind].attempt && whi_opdefs[kind].instant);
	}
}

static void names_are_unique(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WHI_OP_MAX; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(whi_opdefs[i].name, whi_opdefs[j].name);
}

/* A row's opcode decides whether the kernel has it; its prep must then use that one. */
static void prep_fills_in_the_opcode_of_its_row(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < WHI_OP_PERFORMED; kind++) {
		struct whi_op op = { .kind = (uint8_t)kind };
		struct io_uring_sqe sqe = { 0 };

		whi_opdefs[kind].prep(&op, &sqe);
		assert_int_equal(sqe.opcode, whi_opdefs[kind].opcode);
	}
}

static void operation_on_a_descriptor_names_it(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < WHI_OP_PERFORMED; kind++) {
		struct whi_op op = { .kind = (uint8_t)kind, .fd = 1234 };
		struct io_uring_sqe sqe = { 0 };

		whi_opdefs[kind].prep(&op, &sqe);
		if (whi_opdefs[kind].needs_fd)
			assert_int_equal(sqe.fd, 1234);
	}
}

static void length_beyond_the_entry_is_cut_not_wrapped(void **state)
{
	const uint8_t kinds[] = { WHI_OP_READ, WHI_OP_WRITE, WHI_OP_RECV, WHI_OP_SEND };

	(void)state;
	for (size_t i = 0; i < sizeof(kinds); i++) {
		struct whi_op op = { .kind = kinds[i], .rw.len = (1ull << 32) + 1 };
		struct io_uring_sqe sqe = { 0 };

		whi_opdefs[kinds[i]].prep(&op, &sqe);
		assert_true(sqe.len > 1u << 30);
	}
}

static void attempts_report_errors_as_negative_errno(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < WHI_OP_MAX; kind++) {
		struct whi_op op = { .kind = (uint8_t)kind, .fd = -1, .socket.domain = -1 };
		struct statx statx;
		siginfo_t info;

		if (!whi_opdefs[kind].attempt)
			continue;
		if (kind == WHI_OP_STATX) {
			op.path.path = "";
			op.path.statx = &statx;
		}
		if (kind == WHI_OP_WAITID)
			op.wait.info = &info;
		if (kind == WHI_OP_PIDFD_OPEN)
			op.arg.value = -1;
		errno = 0;
		assert_in_range(-whi_opdefs[kind].attempt(&op), 1, 4095);
	}
}

static void completion_ends_an_operation(void **state)
{
	struct whi_op op = { .state = WHI_OP_INFLIGHT, .done = count_done };

	(void)state;
	done_count = 0;
	whi_op_complete(&op, -EIO, 0);
	assert_int_equal(op.state, WHI_OP_DONE);
	assert_int_equal(op.result, -EIO);
	assert_int_equal(done_count, 1);
	assert_false(whi_op_pending(&op));
}

static void completion_with_more_to_come_does_not(void **state)
{
	struct whi_op op = { .state = WHI_OP_CANCELLING, .done = count_done };

	(void)state;
	whi_op_complete(&op, 7, WHI_OP_MORE | WHI_OP_BUFFER);
	assert_int_equal(op.state, WHI_OP_CANCELLING);
	assert_int_equal(op.flags, WHI_OP_MORE | WHI_OP_BUFFER);
	assert_true(whi_op_pending(&op));
}

static bool may_enter(enum whi_op_state from, enum whi_op_state to)
{
	switch (from) {
	case WHI_OP_IDLE:
		return to == WHI_OP_QUEUED;
	case WHI_OP_QUEUED:
		return to == WHI_OP_INFLIGHT || to == WHI_OP_DONE;
	case WHI_OP_INFLIGHT:
		return to == WHI_OP_CANCELLING || to == WHI_OP_DONE;
	case WHI_OP_CANCELLING:
		return to == WHI_OP_DONE;
	case WHI_OP_DONE:
		return to == WHI_OP_IDLE;
	}
	return false;
}

struct transition {
	enum whi_op_state from, to;
};

static void enter(void *arg)
{
	const struct transition *transition = arg;
	struct whi_op op = { .state = (uint8_t)transition->from };

	whi_op_enter(&op, transition->to);
}

static void transition_outside_the_table_aborts(void **state)
{
	(void)state;
	for (unsigned from = WHI_OP_IDLE; from <= WHI_OP_DONE; from++) {
		for (unsigned to = WHI_OP_IDLE; to <= WHI_OP_DONE; to++) {
			struct transition transition = { from, to };
			struct child child;

			run_child(&child, enter, &transition);
			assert_int_equal(child.signal, may_enter(from, to) ? 0 : SIGABRT);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_has_a_name_and_a_way_to_be_done),
		cmocka_unit_test(names_are_unique),
		cmocka_unit_test(prep_fills_in_the_opcode_of_its_row),
		cmocka_unit_test(operation_on_a_descriptor_names_it),
		cmocka_unit_test(length_beyond_the_entry_is_cut_not_wrapped),
		cmocka_unit_test(attempts_report_errors_as_negative_errno),
		cmocka_unit_test(completion_ends_an_operation),
		cmocka_unit_test(completion_with_more_to_come_does_not),
		cmocka_unit_test(transition_outside_the_table_aborts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
