/*
 * What belongs to no larger family: timers, polls, messages between rings, child processes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "backend/sim_world.h"
#include "base/assert.h"
#include "base/clock.h"

int whi_sim_nop_now(struct whi_sim_host *host, const struct whi_op *op)
{
	(void)host;
	(void)op;
	return 0;
}

int whi_sim_adopt_now(struct whi_sim_host *host, const struct whi_op *op)
{
	struct whi_sim_file *file = whi_sim_fd_get(host, op->fd);

	if (!file)
		return -EBADF;
	file->flags &= ~O_NONBLOCK;
	return 0;
}

/* Timers */

static void timer_over(struct whi_sim_req *req)
{
	whi_sim_post(req, -ETIME, 0);
}

void whi_sim_timer(struct whi_sim_req *req)
{
	uint64_t at_ns = (uint64_t)req->op->timer.at.tv_sec * WHI_NS_PER_SEC +
			 (uint64_t)req->op->timer.at.tv_nsec;
	uint64_t now_ns = req->world->now_ns;

	whi_sim_after(req, at_ns > now_ns ? at_ns - now_ns : 0, timer_over);
}

/* Polls */

static short ready_events(const struct whi_sim_req *req)
{
	struct whi_sim_file *file = req->file;
	short events = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

	if (file->ops->poll)
		events = file->ops->poll(file);
	return events & (short)(req->op->arg.value | POLLERR | POLLHUP | POLLNVAL);
}

void whi_sim_file_changed(struct whi_sim_file *file)
{
	struct whi_list *node = file->polls.next;

	while (node != &file->polls) {
		struct whi_sim_req *req = whi_container_of(node, struct whi_sim_req, link);
		short events = ready_events(req);

		node = node->next;
		if (!events)
			continue;
		whi_list_remove(&req->link);
		whi_sim_post(req, events, 0);
	}
}

void whi_sim_poll(struct whi_sim_req *req)
{
	short events = ready_events(req);

	if (events)
		whi_sim_post(req, events, 0);
	else
		whi_list_append(&req->file->polls, &req->link);
}

int whi_sim_poll_cancel(struct whi_sim_req *req)
{
	whi_list_remove(&req->link);
	return -ECANCELED;
}

/* Messages */

struct message {
	struct whi_list link; /* among the world's */
	struct whi_sim_event event;
	struct whi_world *world;
	uint32_t ring;
	int32_t value;
	uint64_t data;
};

static void message_arrived(struct whi_sim_event *event)
{
	struct message *message = whi_container_of(event, struct message, event);
	struct whi_sim_ring *ring = message->world->rings[message->ring];

	/* On the receiver's behalf, between two of its turns. */
	if (ring && !ring->host->down && ring->opts.on_message)
		ring->opts.on_message(ring->opts.arg, message->data, message->value);
	if (ring)
		ring->woken = true;
	whi_list_remove(&message->link);
	whi_sim_free(message);
}

void whi_sim_message(struct whi_sim_req *req)
{
	uint32_t index = (uint32_t)req->op->fd - WHI_SIM_RING_BASE;
	struct whi_world *world = req->world;
	struct message *message;

	if (req->op->fd < WHI_SIM_RING_BASE || index >= world->ring_count || !world->rings[index] ||
	    world->rings[index]->host != req->host) {
		whi_sim_post(req, -EBADF, 0);
		return;
	}
	message = whi_sim_calloc(sizeof(*message));
	message->event.fire = message_arrived;
	message->world = world;
	message->ring = index;
	message->value = (int32_t)req->op->message.value;
	message->data = req->op->message.data;
	whi_list_append(&world->messages, &message->link);
	whi_sim_event_set(world, &message->event, whi_rng_below(&world->schedule_rng, 1000));
	whi_sim_post(req, 0, 0);
}

void whi_sim_messages_fini(struct whi_world *world)
{
	struct whi_list *node;

	while ((node = whi_list_pop(&world->messages))) {
		struct message *message = whi_container_of(node, struct message, link);

		whi_sim_event_unset(world, &message->event);
		whi_sim_free(message);
	}
}

/* Children */

enum { CHILDREN_MAX = 1024 };

struct whi_sim_child {
	struct whi_list link; /* among the host's */
	struct whi_sim_event event;
	struct whi_sim_host *host;
	struct whi_list watchers; /* open files */
	int pid, status;
	bool ended;
};

struct pidfd {
	struct whi_sim_file file;    /* must be first */
	struct whi_list link;	     /* on its child */
	struct whi_sim_child *child; /* NULL: collected */
};

static struct pidfd *pidfd_of(struct whi_sim_file *file)
{
	return (struct pidfd *)(void *)file;
}

static void pidfd_release(struct whi_sim_file *file)
{
	whi_list_remove(&pidfd_of(file)->link);
	whi_sim_free(file);
}

static short pidfd_poll(struct whi_sim_file *file)
{
	const struct whi_sim_child *child = pidfd_of(file)->child;

	return !child || child->ended ? POLLIN | POLLRDNORM : 0;
}

static void pidfd_describe(const struct whi_sim_file *file, char *text, size_t size)
{
	const struct pidfd *pidfd = (const struct pidfd *)(const void *)file;

	snprintf(text, size, "of process %d", pidfd->child ? pidfd->child->pid : 0);
}

static const struct whi_sim_file_ops pidfd_ops = {
	.release = pidfd_release,
	.poll = pidfd_poll,
	.describe = pidfd_describe,
};

static void child_ended(struct whi_sim_event *event)
{
	struct whi_sim_child *child = whi_container_of(event, struct whi_sim_child, event);

	child->ended = true;
	whi_sim_note(child->host->world, child->host, "child ended", (uint64_t)child->pid,
		     (uint64_t)child->status);
	for (struct whi_list *node = child->watchers.next; node != &child->watchers;
	     node = node->next)
		whi_sim_file_changed(&whi_container_of(node, struct pidfd, link)->file);
}

int whi_sim_child_new(struct whi_sim_host *host, uint64_t after_ns, int status)
{
	struct whi_sim_child *child;

	if (host->children_count == CHILDREN_MAX)
		return -EAGAIN;
	child = whi_sim_calloc(sizeof(*child));
	child->host = host;
	child->pid = host->pid_next++;
	child->status = status;
	child->event.fire = child_ended;
	whi_list_init(&child->watchers);
	whi_list_append(&host->children, &child->link);
	host->children_count++;
	whi_sim_event_set(host->world, &child->event, after_ns);
	return child->pid;
}

static void child_free(struct whi_sim_child *child)
{
	struct whi_list *node;

	while ((node = whi_list_pop(&child->watchers)))
		whi_container_of(node, struct pidfd, link)->child = NULL;
	whi_sim_event_unset(child->host->world, &child->event);
	whi_list_remove(&child->link);
	child->host->children_count--;
	whi_sim_free(child);
}

void whi_sim_children_fini(struct whi_sim_host *host)
{
	while (!whi_list_empty(&host->children))
		child_free(whi_container_of(host->children.next, struct whi_sim_child, link));
}

int whi_sim_pidfd_open_now(struct whi_sim_host *host, const struct whi_op *op)
{
	struct whi_list *node = host->children.next;
	struct pidfd *pidfd;

	if (op->arg.value <= 0)
		return -EINVAL;
	while (node != &host->children &&
	       whi_container_of(node, struct whi_sim_child, link)->pid != op->arg.value)
		node = node->next;
	if (node == &host->children)
		return -ESRCH;
	if (!whi_sim_fd_room(host))
		return -EMFILE;
	pidfd = whi_sim_calloc(sizeof(*pidfd));
	whi_sim_file_init(&pidfd->file, host, WHI_SIM_PIDFD, &pidfd_ops);
	pidfd->child = whi_container_of(node, struct whi_sim_child, link);
	whi_list_append(&pidfd->child->watchers, &pidfd->link);
	return whi_sim_fd_new(host, &pidfd->file);
}

int whi_sim_waitid_now(struct whi_sim_host *host, const struct whi_op *op)
{
	struct whi_sim_file *file = whi_sim_fd_get(host, op->fd);
	siginfo_t *info = op->wait.info;
	struct whi_sim_child *child;

	if (!file)
		return -EBADF;
	if (file->kind != WHI_SIM_PIDFD)
		return -EINVAL;
	child = pidfd_of(file)->child;
	if (!child)
		return -ECHILD;
	memset(info, 0, sizeof(*info));
	if (!child->ended)
		return -EAGAIN;
	info->si_signo = SIGCHLD;
	info->si_pid = child->pid;
	if (WIFEXITED(child->status)) {
		info->si_code = CLD_EXITED;
		info->si_status = WEXITSTATUS(child->status);
	} else {
		info->si_code = WCOREDUMP(child->status) ? CLD_DUMPED : CLD_KILLED;
		info->si_status = WTERMSIG(child->status);
	}
	child_free(child);
	return 0;
}
