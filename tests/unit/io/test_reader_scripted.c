/*
 * The reader on a fake backend: reads that complete in any order, short, interrupted, failing.
 * tests/unit/io/test_reader.c has the same on real files.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "support/fake_backend.h"

enum { CHUNK = 1024, DEPTH = 4 };

static struct wh_loop loop;
static struct fake fake;
static FILE *backing; /* to have a descriptor that can seek; its content is never read */

struct consumer {
	struct wh_file *file;
	struct wh_reader *reader;
	struct wh_reader_opts opts;
	char text[64]; /* the first byte of each chunk */
	unsigned count;
	size_t bytes;
	ssize_t end;
	bool stop_early; /* close after the first chunk */
};

static struct consumer consumer;

static int open_loop(void **state)
{
	(void)state;
	fake_loop_open(&loop, &fake, 4);
	backing = tmpfile();
	check(backing);
	consumer = (struct consumer){ .opts = { .chunk_bytes = CHUNK, .depth = DEPTH } };
	return 0;
}

static int close_loop(void **state)
{
	(void)state;
	fclose(backing);
	fake_loop_close(&loop);
	return 0;
}

static int consume(void *arg)
{
	void *data;
	ssize_t r;

	(void)arg;
	check_int(wh_file_from_fd(fileno(backing), false, &consumer.file), 0);
	check_int(wh_reader_open(consumer.file, &consumer.opts, &consumer.reader), 0);
	while ((r = wh_reader_next(consumer.reader, &data)) > 0) {
		consumer.text[consumer.count++] = *(char *)data;
		consumer.bytes += (size_t)r;
		if (consumer.stop_early)
			break;
	}
	consumer.end = r;
	wh_reader_close(consumer.reader);
	check_int(wh_file_close(consumer.file), 0);
	return 0;
}

static void start(void)
{
	fake_spawn(&loop, consume, NULL);
	fake_settle(&loop);
}

static struct whi_op *read_at(uint64_t offset)
{
	for (unsigned i = 0; i < fake.op_count; i++)
		if (fake.ops[i].op->rw.offset == offset)
			return fake.ops[i].op;
	return NULL;
}

/* `len` bytes of value `byte` for the read at `offset`, which is in flight. */
static void answer(uint64_t offset, char byte, uint32_t len)
{
	struct whi_op *op = read_at(offset);

	assert_non_null(op);
	assert_true(len <= op->rw.len);
	memset(op->rw.buf, byte, len);
	fake_complete(&fake, op, (int32_t)len, 0);
	fake_settle(&loop);
}

static void refuse(uint64_t offset, int32_t error)
{
	assert_non_null(read_at(offset));
	fake_complete(&fake, read_at(offset), error, 0);
	fake_settle(&loop);
}

/* The reads behind the end. */
static void end_from(uint64_t offset)
{
	for (; read_at(offset); offset += CHUNK)
		refuse(offset, 0);
}

static void reads_are_in_flight_as_deep_as_asked_for(void **state)
{
	(void)state;
	start();
	for (uint64_t i = 0; i < DEPTH; i++)
		assert_non_null(read_at(i * CHUNK));
	assert_int_equal(fake.op_count, DEPTH);
	end_from(0);
	fake_run(&loop);
}

static void taking_a_chunk_lets_the_next_read_begin(void **state)
{
	(void)state;
	start();
	answer(0, 'a', CHUNK);
	/* The first chunk is the consumer's until it asked for the second. */
	assert_non_null(read_at(DEPTH * CHUNK));
	assert_int_equal(consumer.count, 1);
	end_from(CHUNK);
	fake_run(&loop);
}

static void chunks_come_in_order_however_the_reads_end(void **state)
{
	(void)state;
	start();
	answer(2 * CHUNK, 'c', CHUNK);
	answer(3 * CHUNK, 'd', CHUNK);
	answer(1 * CHUNK, 'b', CHUNK);
	assert_int_equal(consumer.count, 0);
	answer(0, 'a', CHUNK);
	end_from(4 * CHUNK);
	fake_run(&loop);
	assert_string_equal(consumer.text, "abcd");
	assert_int_equal(consumer.end, 0);
}

static void short_read_is_continued_where_it_stopped(void **state)
{
	(void)state;
	start();
	answer(0, 'a', 100);
	assert_int_equal(consumer.count, 0);
	assert_int_equal(read_at(100)->rw.len, CHUNK - 100);
	answer(100, 'x', CHUNK - 100);
	assert_string_equal(consumer.text, "a");
	end_from(CHUNK);
	fake_run(&loop);
	assert_int_equal(consumer.bytes, CHUNK);
}

static void interrupted_read_is_continued(void **state)
{
	(void)state;
	start();
	refuse(0, -EINTR);
	answer(0, 'a', CHUNK);
	end_from(CHUNK);
	fake_run(&loop);
	assert_string_equal(consumer.text, "a");
}

static void end_of_file_after_a_piece_gives_the_piece(void **state)
{
	(void)state;
	start();
	answer(0, 'a', CHUNK);
	answer(CHUNK, 'b', 10);
	refuse(CHUNK + 10, 0);
	end_from(2 * CHUNK);
	fake_run(&loop);
	assert_string_equal(consumer.text, "ab");
	assert_int_equal(consumer.bytes, CHUNK + 10);
	assert_int_equal(consumer.end, 0);
}

static void error_after_a_piece_comes_after_the_piece(void **state)
{
	(void)state;
	start();
	answer(0, 'a', 10);
	refuse(10, -EIO);
	end_from(CHUNK);
	fake_run(&loop);
	assert_string_equal(consumer.text, "a");
	assert_int_equal(consumer.bytes, 10);
	assert_int_equal(consumer.end, -EIO);
}

static void error_of_a_later_chunk_comes_in_its_turn(void **state)
{
	(void)state;
	start();
	refuse(CHUNK, -EIO);
	assert_int_equal(consumer.count, 0);
	answer(0, 'a', CHUNK);
	end_from(2 * CHUNK);
	fake_run(&loop);
	assert_string_equal(consumer.text, "a");
	assert_int_equal(consumer.end, -EIO);
}

static void length_limits_what_is_read(void **state)
{
	(void)state;
	consumer.opts.offset = 500;
	consumer.opts.length = CHUNK + 1;
	start();
	assert_int_equal(fake.op_count, 2);
	assert_int_equal(read_at(500 + CHUNK)->rw.len, 1);
	answer(500, 'a', CHUNK);
	answer(500 + CHUNK, 'b', 1);
	fake_run(&loop);
	assert_int_equal(consumer.bytes, CHUNK + 1);
	assert_int_equal(consumer.end, 0);
}

static void closing_waits_until_the_kernel_has_let_go_of_every_chunk(void **state)
{
	static const struct fake_rule rules[] = { { WHI_OP_READ, FAKE_HELD,
						    .cancel = FAKE_CANCEL_IGNORED } };

	(void)state;
	fake_rules(&fake, rules, 1);
	consumer.stop_early = true;
	start();
	answer(0, 'a', CHUNK);
	assert_int_equal(loop.sched.tasks_live, 1);
	assert_true(fake.cancels >= DEPTH - 1);
	while (fake.op_count > 0) {
		assert_int_equal(loop.sched.tasks_live, 1);
		fake_complete(&fake, fake.ops[0].op, -ECANCELED, 0);
		fake_settle(&loop);
	}
	fake_run(&loop);
}

/* A read that was cancelled but came short must not be continued for ever. */
static void closing_ends_with_short_reads(void **state)
{
	static const struct fake_rule rules[] = { { WHI_OP_READ, FAKE_HELD,
						    .cancel = FAKE_CANCEL_LOSES, .result = 1 } };

	(void)state;
	fake_rules(&fake, rules, 1);
	consumer.stop_early = true;
	start();
	answer(0, 'a', CHUNK);
	fake_run(&loop);
}

static void cancelled_consumer_gets_the_cancellation(void **state)
{
	(void)state;
	start();
	whi_scope_cancel(&loop.sched.root, -ECANCELED);
	fake_run(&loop);
	assert_int_equal(consumer.end, -ECANCELED);
	assert_int_equal(consumer.count, 0);
}

static void read_that_cannot_be_queued_is_an_error(void **state)
{
	static const struct fake_rule rules[] = { { WHI_OP_READ, FAKE_INSIDE, .result = -ENOMEM } };

	(void)state;
	fake_rules(&fake, rules, 1);
	fake_spawn(&loop, consume, NULL);
	fake_run(&loop);
	assert_int_equal(consumer.end, -ENOMEM);
}

#define READER_TEST(function) cmocka_unit_test_setup_teardown(function, open_loop, close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		READER_TEST(reads_are_in_flight_as_deep_as_asked_for),
		READER_TEST(taking_a_chunk_lets_the_next_read_begin),
		READER_TEST(chunks_come_in_order_however_the_reads_end),
		READER_TEST(short_read_is_continued_where_it_stopped),
		READER_TEST(interrupted_read_is_continued),
		READER_TEST(end_of_file_after_a_piece_gives_the_piece),
		READER_TEST(error_after_a_piece_comes_after_the_piece),
		READER_TEST(error_of_a_later_chunk_comes_in_its_turn),
		READER_TEST(length_limits_what_is_read),
		READER_TEST(closing_waits_until_the_kernel_has_let_go_of_every_chunk),
		READER_TEST(closing_ends_with_short_reads),
		READER_TEST(cancelled_consumer_gets_the_cancellation),
		READER_TEST(read_that_cannot_be_queued_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
