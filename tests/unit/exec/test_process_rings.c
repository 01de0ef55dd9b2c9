/*
 * The rings between the program and a worker: both ends in one process, and a worker's end that
 * writes anything at all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exec/process_rings.h"
#include "support/task_test.h"

enum { ROUNDS = TEST_ROUNDS * 5 };

struct ends {
	struct whi_rings program;
	struct whi_worker_rings worker;
};

static void open_ends(struct ends *ends)
{
	int fd;

	assert_int_equal(whi_rings_open(&ends->program, &fd), 0);
	assert_int_equal(whi_worker_rings_open(&ends->worker, fd), 0);
	/* Nobody can pull the memory away from under the program. */
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	close(fd);
}

static void close_ends(struct ends *ends)
{
	struct whi_rings worker = { .shared = ends->worker.shared };

	whi_rings_close(&worker);
	whi_rings_close(&ends->program);
}

static int put(struct ends *ends, uint32_t ticket, uint32_t args_len, uint32_t *position)
{
	const struct whi_request head = { .kind = WHI_RECORD_CALL,
					  .ticket = ticket,
					  .args_len = args_len,
					  .result_max = args_len };
	static unsigned char args[WH_CALL_BYTES_MAX];

	memset(args, (int)ticket, args_len);
	return whi_rings_put(&ends->program, &head, args, position);
}

/* The worker answers its next request with its own bytes; false: there is none. */
static bool answer(struct ends *ends)
{
	struct whi_request *request = whi_worker_rings_next(&ends->worker);
	struct whi_reply *reply;

	while (request && request->kind == WHI_RECORD_PAD) {
		whi_worker_rings_drop(&ends->worker, request);
		request = whi_worker_rings_next(&ends->worker);
	}
	if (!request)
		return false;
	reply = whi_worker_rings_room(&ends->worker, request->result_max);
	reply->ticket = request->ticket;
	reply->flags = 0;
	reply->result = 0;
	reply->result_len = request->args_len / 2;
	memcpy(reply + 1, request + 1, reply->result_len);
	whi_worker_rings_send(&ends->worker, reply);
	whi_worker_rings_drop(&ends->worker, request);
	return true;
}

/* The reply to `ticket`, which was put with `args_len`. */
static void check_reply(struct ends *ends, uint32_t ticket, uint32_t args_len)
{
	struct whi_reply reply;
	const unsigned char *bytes;
	const void *data;

	assert_int_equal(whi_rings_next_reply(&ends->program, &reply, &data), 1);
	bytes = data;
	assert_int_equal(reply.ticket, ticket);
	assert_int_equal(reply.result_len, args_len / 2);
	for (uint32_t i = 0; i < reply.result_len; i++)
		assert_int_equal(bytes[i], (unsigned char)ticket);
	whi_rings_drop_reply(&ends->program, &reply);
}

static void records_of_all_sizes_pass_in_order(void **state)
{
	uint32_t first = 1, last = 0, lens[256] = { 0 }, reserved = 0, position;
	uint64_t seed = 1;
	struct ends ends;

	(void)state;
	open_ends(&ends);
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t max = i % 16 ? 300 : WH_CALL_BYTES_MAX;
		uint32_t len = (uint32_t)(random_next(&seed) % (max + 1));
		bool fits = reserved + whi_record_bytes(len) <= WHI_REPLIES_MAX &&
			    last + 1 - first < 255;

		if (fits && put(&ends, last + 1, len, &position) == 0) {
			lens[++last % 256] = len;
			reserved += whi_record_bytes(len);
			whi_rings_publish(&ends.program);
			if (random_next(&seed) % 2)
				continue;
		}
		while (answer(&ends))
			;
		for (; first <= last; first++) {
			check_reply(&ends, first, lens[first % 256]);
			reserved -= whi_record_bytes(lens[first % 256]);
		}
	}
	assert_true(last > ROUNDS / 4);
	close_ends(&ends);
}

static void full_ring_takes_nothing_until_the_worker_has_read(void **state)
{
	uint32_t position, count = 0;
	struct ends ends;
	int r;

	(void)state;
	open_ends(&ends);
	while ((r = put(&ends, count, 0, &position)) == 0)
		count++;
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(count, WHI_RING_BYTES / WHI_RING_GRAIN);
	whi_rings_publish(&ends.program);
	assert_true(answer(&ends));
	assert_int_equal(put(&ends, count, 0, &position), 0);
	assert_int_equal(put(&ends, count, 0, &position), -EAGAIN);
	close_ends(&ends);
}

static void request_is_begun_or_taken_back(void **state)
{
	uint32_t waits = WHI_REQUEST_WAITS, positions[2];
	struct whi_request *request;
	struct ends ends;

	(void)state;
	open_ends(&ends);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(put(&ends, i, 10, &positions[i]), 0);
	whi_rings_publish(&ends.program);
	request = whi_worker_rings_next(&ends.worker);
	assert_true(atomic_compare_exchange_strong(&request->state, &waits, WHI_REQUEST_BEGUN));
	assert_false(whi_rings_take_back(&ends.program, positions[0]));
	assert_true(whi_rings_take_back(&ends.program, positions[1]));
	assert_false(whi_rings_take_back(&ends.program, positions[1]));
	whi_worker_rings_drop(&ends.worker, request);
	request = whi_worker_rings_next(&ends.worker);
	assert_int_equal(request->state, WHI_REQUEST_TAKEN_BACK);
	close_ends(&ends);
}

/* Its reply is on its way, and zeroes of another request's arguments are where its state was. */
static void request_that_was_read_cannot_be_taken_back(void **state)
{
	uint32_t first, position;
	struct whi_reply reply;
	const void *bytes;
	struct ends ends;

	(void)state;
	open_ends(&ends);
	for (int i = 0; i < 64; i++) {
		assert_int_equal(put(&ends, 0, 8000, i ? &position : &first), 0);
		whi_rings_publish(&ends.program);
		assert_true(answer(&ends));
		assert_false(i > 40 && whi_rings_take_back(&ends.program, first));
		assert_int_equal(whi_rings_next_reply(&ends.program, &reply, &bytes), 1);
		whi_rings_drop_reply(&ends.program, &reply);
	}
	close_ends(&ends);
}

static void bell_is_wanted_once(void **state)
{
	uint32_t position;
	struct ends ends;

	(void)state;
	open_ends(&ends);
	assert_false(whi_rings_want_bell(&ends.program));
	for (uint32_t i = 0; i < 2; i++) {
		struct whi_reply *reply;

		assert_int_equal(put(&ends, i, 0, &position), 0);
		reply = whi_worker_rings_room(&ends.worker, 0);
		*reply = (struct whi_reply){ .ticket = i };
		assert_int_equal(whi_worker_rings_send(&ends.worker, reply), i == 0);
	}
	assert_true(whi_rings_want_bell(&ends.program));
	close_ends(&ends);
}

/* Hostile workers */

static void reply_that_cannot_be_is_refused(void **state)
{
	static const struct whi_reply bad[] = {
		{ .bytes = 0, .kind = WHI_RECORD_REPLY },
		{ .bytes = 31, .kind = WHI_RECORD_REPLY },
		{ .bytes = 33, .kind = WHI_RECORD_REPLY },
		{ .bytes = 96, .kind = WHI_RECORD_REPLY }, /* beyond the tail */
		{ .bytes = UINT32_MAX - 31, .kind = WHI_RECORD_REPLY },
		{ .bytes = 64, .kind = WHI_RECORD_REPLY, .result_len = 33 },
		{ .bytes = 64, .kind = WHI_RECORD_REPLY, .result_len = UINT32_MAX },
		{ .bytes = 64, .kind = WHI_RECORD_CALL },
		{ .bytes = 64, .kind = 0 },
		{ .bytes = 64, .kind = WHI_RECORD_PAD }, /* not at the ring's end */
	};
	struct whi_reply reply;
	const void *bytes;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ends ends;

		open_ends(&ends);
		memcpy(ends.worker.shared->replies, &bad[i], sizeof(bad[i]));
		atomic_store(&ends.worker.shared->reply_tail, 64);
		assert_int_equal(whi_rings_next_reply(&ends.program, &reply, &bytes), -EPROTO);
		close_ends(&ends);
	}
}

static void tails_and_heads_that_cannot_be_are_refused(void **state)
{
	static const uint32_t bad_tails[] = { 1, 31, WHI_RING_BYTES + 32, UINT32_MAX - 31,
					      UINT32_MAX };
	static const uint32_t bad_heads[] = { 32 * 3, 33, UINT32_MAX - 31, WHI_RING_BYTES };
	struct whi_reply reply;
	uint32_t position;
	const void *bytes;
	struct ends ends;

	(void)state;
	for (size_t i = 0; i < sizeof(bad_tails) / sizeof(bad_tails[0]); i++) {
		open_ends(&ends);
		atomic_store(&ends.worker.shared->reply_tail, bad_tails[i]);
		assert_int_equal(whi_rings_next_reply(&ends.program, &reply, &bytes), -EPROTO);
		close_ends(&ends);
	}
	for (size_t i = 0; i < sizeof(bad_heads) / sizeof(bad_heads[0]); i++) {
		uint32_t put_bytes = 0;
		int r = 0;

		open_ends(&ends);
		atomic_store(&ends.worker.shared->request_head, bad_heads[i]);
		/* It is looked at when there seems to be no room: two records are in by then. */
		for (uint32_t n = 0; r == 0; n++, put_bytes += 32)
			r = put(&ends, n, 0, &position);
		assert_int_equal(r,
				 bad_heads[i] % 32 || bad_heads[i] > put_bytes ? -EPROTO : -EAGAIN);
		close_ends(&ends);
	}
}

static void endless_padding_is_refused(void **state)
{
	const struct whi_reply pad = { .bytes = WHI_RING_BYTES, .kind = WHI_RECORD_PAD };
	struct whi_reply reply;
	const void *bytes;
	struct ends ends;

	(void)state;
	open_ends(&ends);
	memcpy(ends.worker.shared->replies, &pad, sizeof(pad));
	atomic_store(&ends.worker.shared->reply_tail, WHI_RING_BYTES);
	assert_int_equal(whi_rings_next_reply(&ends.program, &reply, &bytes), 0);
	atomic_store(&ends.worker.shared->reply_tail, 2 * WHI_RING_BYTES);
	assert_int_equal(whi_rings_next_reply(&ends.program, &reply, &bytes), -EPROTO);
	close_ends(&ends);
}

/* Whatever is in the memory: the program reads no byte outside of it, and comes to an end. */
static void random_bytes_harm_nobody(void **state)
{
	uint64_t seed = 7, valid = 0;

	(void)state;
	for (int round = 0; round < ROUNDS / 10; round++) {
		struct whi_rings_shared *shared;
		struct whi_reply reply;
		const void *bytes;
		struct ends ends;
		uint32_t tail;
		int r = 1;

		open_ends(&ends);
		shared = ends.worker.shared;
		tail = (uint32_t)(random_next(&seed) % 64 * 32);
		for (uint32_t at = 0; at < tail; at += 32) {
			struct whi_reply any = { .bytes = (uint32_t)(random_next(&seed) % 4 * 32),
						 .kind = (uint16_t)(random_next(&seed) % 6),
						 .result_len =
							 (uint32_t)(random_next(&seed) % 80) };

			memcpy(shared->replies + at, &any, sizeof(any));
		}
		atomic_store(&shared->reply_tail, tail);
		for (int i = 0; r == 1; i++) {
			assert_true(i < 64);
			r = whi_rings_next_reply(&ends.program, &reply, &bytes);
			if (r != 1)
				break;
			assert_true((const unsigned char *)bytes >= ends.program.shared->replies);
			assert_true((const unsigned char *)bytes + reply.result_len <=
				    ends.program.shared->replies + tail);
			whi_rings_drop_reply(&ends.program, &reply);
			valid++;
		}
		assert_true(r == 0 || r == -EPROTO);
		close_ends(&ends);
	}
	assert_true(valid > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_of_all_sizes_pass_in_order),
		cmocka_unit_test(full_ring_takes_nothing_until_the_worker_has_read),
		cmocka_unit_test(request_is_begun_or_taken_back),
		cmocka_unit_test(request_that_was_read_cannot_be_taken_back),
		cmocka_unit_test(bell_is_wanted_once),
		cmocka_unit_test(reply_that_cannot_be_is_refused),
		cmocka_unit_test(tails_and_heads_that_cannot_be_are_refused),
		cmocka_unit_test(endless_padding_is_refused),
		cmocka_unit_test(random_bytes_harm_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
