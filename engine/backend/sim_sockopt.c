/*
 * Socket options. Some mean something here, some are only kept and given back.
 */
#include <errno.h>
#include <netinet/tcp.h>

#include "backend/sim_net.h"

struct whi_sim_sock *whi_sim_find_socket(struct whi_sim_host *host, int fd, int *ret_error)
{
	struct whi_sim_file *file = whi_sim_fd_get(host, fd);

	*ret_error = !file ? -EBADF : file->kind != WHI_SIM_SOCKET ? -ENOTSOCK : 0;
	return *ret_error ? NULL : whi_sim_sock_of(file);
}

/* Where an option's value is kept; NULL: there is no such option. */
static int *option_of(struct whi_sim_sock *sock, int level, int name)
{
	if (level == IPPROTO_TCP && name == TCP_NODELAY)
		return sock->domain == AF_UNIX ? NULL : &sock->options[0];
	if (level != SOL_SOCKET)
		return NULL;
	switch (name) {
	case SO_KEEPALIVE:
		return &sock->options[1];
	case SO_BROADCAST:
		return &sock->options[2];
	case SO_PRIORITY:
		return &sock->options[3];
	default:
		return NULL;
	}
}

static uint32_t buffer_size(int value)
{
	return value < 2048 ? 2048 : value > 4 << 20 ? 4u << 20 : (uint32_t)value;
}

int whi_sim_setsockopt_now(struct whi_sim_host *host, const struct whi_op *op)
{
	int value = *op->option.value_ptr, r;
	struct whi_sim_sock *sock = whi_sim_find_socket(host, op->fd, &r);
	int *kept = sock ? option_of(sock, op->option.level, op->option.name) : NULL;

	if (r < 0)
		return r;
	if (kept) {
		*kept = value;
		return 0;
	}
	if (op->option.level != SOL_SOCKET)
		return -ENOPROTOOPT;
	switch (op->option.name) {
	case SO_REUSEADDR:
		sock->reuse_addr = value != 0;
		return 0;
	case SO_REUSEPORT:
		sock->reuse_port = value != 0;
		return 0;
	case SO_SNDBUF:
		sock->sndbuf = buffer_size(value);
		return 0;
	case SO_RCVBUF:
		sock->rcvbuf = buffer_size(value);
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

static int get_option(struct whi_sim_sock *sock, int name, int *ret)
{
	switch (name) {
	case SO_TYPE:
		*ret = sock->type;
		return 0;
	case SO_DOMAIN:
		*ret = sock->domain;
		return 0;
	case SO_ACCEPTCONN:
		*ret = sock->state == WHI_SOCK_LISTENING;
		return 0;
	case SO_ERROR:
		*ret = -whi_sim_sock_take_error(sock);
		return 0;
	case SO_REUSEADDR:
		*ret = sock->reuse_addr;
		return 0;
	case SO_REUSEPORT:
		*ret = sock->reuse_port;
		return 0;
	case SO_SNDBUF:
		*ret = (int)sock->sndbuf;
		return 0;
	case SO_RCVBUF:
		*ret = (int)sock->rcvbuf;
		return 0;
	default:
		return -ENOPROTOOPT;
	}
}

int whi_sim_getsockopt_now(struct whi_sim_host *host, const struct whi_op *op)
{
	int r;
	struct whi_sim_sock *sock = whi_sim_find_socket(host, op->fd, &r);
	const int *kept = sock ? option_of(sock, op->option.level, op->option.name) : NULL;

	if (r < 0)
		return r;
	if (kept) {
		*op->option.value_ptr = *kept;
		return 0;
	}
	return op->option.level == SOL_SOCKET
		       ? get_option(sock, op->option.name, op->option.value_ptr)
		       : -ENOPROTOOPT;
}
