/*
 * Messages between epoll backends of a process. Their address is the number of a descriptor, their
 * eventfd, so that it cannot be mistaken for another's; which are there is on one list.
 */
#include <errno.h>

#include "backend/epoll.h"
#include "base/alloc.h"

#define DATA_MASK (~(3ull << 62)) /* as much as a ring carries */

struct message {
	struct whi_qnode link; /* must be first */
	uint64_t data;
	int32_t value;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct whi_list all = { &all, &all };

void whi_epoll_peers_join(struct whi_epoll *e)
{
	pthread_mutex_lock(&lock);
	whi_list_append(&all, &e->peers);
	pthread_mutex_unlock(&lock);
}

void whi_epoll_peers_leave(struct whi_epoll *e)
{
	struct whi_qnode *node;

	pthread_mutex_lock(&lock);
	whi_list_remove(&e->peers);
	pthread_mutex_unlock(&lock);
	node = whi_mpsc_take(&e->messages);
	while (node) {
		struct whi_qnode *next = node->next;

		whi_free(node);
		node = next;
	}
}

static struct whi_epoll *find(int address)
{
	for (struct whi_list *node = all.next; node != &all; node = node->next) {
		struct whi_epoll *e = whi_container_of(node, struct whi_epoll, peers);

		if (e->wake_fd == address)
			return e;
	}
	return NULL;
}

/* The lock keeps the peer from leaving meanwhile. */
static int post(int address, struct message *message)
{
	struct whi_epoll *peer;
	int r = -EBADFD;

	pthread_mutex_lock(&lock);
	peer = find(address);
	if (peer && atomic_load(&peer->message_count) >= peer->opts.ops_max) {
		r = -EOVERFLOW;
	} else if (peer) {
		atomic_fetch_add(&peer->message_count, 1);
		whi_mpsc_push(&peer->messages, &message->link);
		whi_epoll_notify(peer);
		r = 0;
	}
	pthread_mutex_unlock(&lock);
	return r;
}

int whi_epoll_message(const struct whi_op *op)
{
	struct message *message = whi_alloc(sizeof(*message));
	int r;

	if (!message)
		return -ENOMEM;
	message->data = op->message.data & DATA_MASK;
	message->value = (int32_t)op->message.value;
	r = post(op->fd, message);
	if (r < 0)
		whi_free(message);
	return r;
}

void whi_epoll_read_messages(struct whi_epoll *e)
{
	struct whi_qnode *node;

	if (whi_mpsc_empty(&e->messages))
		return;
	node = whi_mpsc_take(&e->messages);
	while (node) {
		struct message *message = (struct message *)(void *)node;

		node = node->next;
		atomic_fetch_sub(&e->message_count, 1);
		if (e->opts.on_message)
			e->opts.on_message(e->opts.arg, message->data, message->value);
		whi_free(message);
	}
}
