/*
 * Two rings: messages and waking from one to the other. Each is on a thread of its own, since only
 * its maker may use one.
 */
#include <errno.h>
#include <pthread.h>

#include "base/clock.h"
#include "support/ring.h"

struct peer {
	pthread_t thread;
	pthread_barrier_t ready;
	struct whi_backend *backend;
	void (*body)(struct peer *peer);
	unsigned messages;
	uint64_t data;
	int32_t value;
};

static void note_message(void *arg, uint64_t data, int32_t value)
{
	struct peer *peer = arg;

	peer->messages++;
	peer->data = data;
	peer->value = value;
}

static void *run_peer(void *arg)
{
	struct peer *peer = arg;
	const struct whi_backend_opts opts = { .on_message = note_message, .arg = peer };

	peer->backend = ring_open(&opts);
	pthread_barrier_wait(&peer->ready);
	peer->body(peer);
	/* The other side may still be waking us. */
	pthread_barrier_wait(&peer->ready);
	peer->backend->ops->close(peer->backend);
	return NULL;
}

static void start_peer(struct peer *peer, void (*body)(struct peer *peer))
{
	peer->body = body;
	pthread_barrier_init(&peer->ready, NULL, 2);
	check_int(pthread_create(&peer->thread, NULL, run_peer, peer), 0);
	pthread_barrier_wait(&peer->ready);
}

static void end_peer(struct peer *peer)
{
	pthread_barrier_wait(&peer->ready);
	pthread_join(peer->thread, NULL);
	pthread_barrier_destroy(&peer->ready);
}

static void wait_for_messages(struct peer *peer)
{
	while (peer->messages < 1000)
		check_int(peer->backend->ops->turn(peer->backend, WHI_NEVER), 0);
}

static void message_arrives_at_the_other_ring(void **state)
{
	struct peer peer = { 0 };

	(void)state;
	start_peer(&peer, wait_for_messages);
	for (int i = 0; i < 1000; i++) {
		struct ring_op op = { .op.kind = WHI_OP_MESSAGE,
				      .op.fd = peer.backend->ops->address(peer.backend),
				      .op.message = { .data = 0x123456789abcull, .value = 42 } };

		assert_int_equal(ring_run(&op), 0);
	}
	end_peer(&peer);
	assert_int_equal(peer.messages, 1000);
	assert_int_equal(peer.data, 0x123456789abcull);
	assert_int_equal(peer.value, 42);
}

static void message_to_what_is_no_ring_fails(void **state)
{
	struct ring_op op = { .op.kind = WHI_OP_MESSAGE, .op.fd = 0 };

	(void)state;
	assert_in_set(ring_run(&op), ((unsigned long[]){ -EBADFD, -EBADF }), 2);
}

static void wait_to_be_woken(struct peer *peer)
{
	check_int(peer->backend->ops->turn(peer->backend, WHI_NEVER), 0);
}

static void wake_from_another_ring_ends_a_turn_that_waits(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++) {
		struct peer peer = { 0 };

		start_peer(&peer, wait_to_be_woken);
		ring->ops->wake_from(peer.backend, ring);
		ring_poke();
		end_peer(&peer);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ring_test(message_arrives_at_the_other_ring),
		ring_test(message_to_what_is_no_ring_fails),
		ring_test(wake_from_another_ring_ends_a_turn_that_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
