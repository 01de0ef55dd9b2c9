/*
 * The sockets of a supervisor, which all of its processes have from it. It never accepts: what it
 * keeps open is what waits in them while a process dies and another is started.
 */
#include <errno.h>

#include "base/alloc.h"
#include "io/supervise.h"

static int keep(struct whi_supervisor *supervisor, struct wh_listener *listener)
{
	supervisor->sockets[supervisor->socket_count++] = listener;
	return wh_listener_fd(listener);
}

static int listen_each(struct whi_supervisor *supervisor, unsigned index)
{
	const struct wh_supervise_opts *opts = &supervisor->opts;
	struct wh_listen_opts listen = opts->listen;
	int r = 0;

	listen.reuse_port = true;
	listen.first = true;
	for (unsigned i = 0; r == 0 && i < opts->processes; i++) {
		int *fds = supervisor->slots[i].fds + 1 + index * opts->loops;

		for (unsigned loop = 0; r == 0 && loop < opts->loops; loop++) {
			struct wh_listener *listener;

			r = wh_listen(&opts->addrs[index], &listen, &listener);
			if (r == 0)
				fds[loop] = keep(supervisor, listener);
			/* Where the kernel has chosen the port, all others need to know. */
			if (r == 0 && listen.first)
				r = wh_listener_addr(listener, &opts->addrs[index]);
			listen.first = false;
		}
	}
	return r;
}

static int listen_once(struct whi_supervisor *supervisor, unsigned index)
{
	const struct wh_supervise_opts *opts = &supervisor->opts;
	struct wh_listener *listener;
	int fd, r = wh_listen(&opts->addrs[index], &opts->listen, &listener);

	if (r < 0)
		return r;
	fd = keep(supervisor, listener);
	for (unsigned i = 0; i < opts->processes; i++)
		for (unsigned loop = 0; loop < opts->loops; loop++)
			supervisor->slots[i].fds[1 + index * opts->loops + loop] = fd;
	return 0;
}

int whi_supervisor_listen(struct whi_supervisor *supervisor)
{
	const struct wh_supervise_opts *opts = &supervisor->opts;
	size_t most = (size_t)opts->processes * opts->addr_count * opts->loops;
	int r = 0;

	/* One more, as none is no size. */
	supervisor->sockets = whi_calloc(most + 1, sizeof(struct wh_listener *));
	if (!supervisor->sockets)
		return -ENOMEM;
	for (unsigned i = 0; r == 0 && i < opts->addr_count; i++)
		r = opts->addrs[i].storage.ss_family == AF_UNIX ? listen_once(supervisor, i)
								: listen_each(supervisor, i);
	return r;
}

void whi_supervisor_unlisten(struct whi_supervisor *supervisor)
{
	while (supervisor->socket_count)
		wh_listener_close(supervisor->sockets[--supervisor->socket_count]);
	whi_free(supervisor->sockets);
}
