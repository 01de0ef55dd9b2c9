/*
 * Addresses: 10.0.0.(host + 1) and the loopback addresses in IPv4, the same mapped and ::1 in IPv6,
 * paths and abstract names of a host for Unix sockets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "backend/sim_net.h"

enum { NETWORK = 10 << 24, PORT_LOW = 32768, PORTS = 28232 };

/* `address` in the host's byte order. */
static int read_ipv4(struct whi_sim_host *host, uint32_t address, struct whi_sim_addr *ret)
{
	uint32_t index = address - NETWORK - 1;

	ret->host = host->index;
	if (address == 0) {
		ret->any = true;
		return 0;
	}
	ret->loopback = address >> 24 == 127;
	if (ret->loopback)
		return 0;
	if (index >= host->world->host_count)
		return -ENETUNREACH;
	ret->host = index;
	return 0;
}

static int read_in6(struct whi_sim_host *host, const struct in6_addr *address,
		    struct whi_sim_addr *ret)
{
	uint32_t last;

	memcpy(&last, &address->s6_addr[12], sizeof(last));
	ret->host = host->index;
	if (IN6_IS_ADDR_V4MAPPED(address))
		return read_ipv4(host, ntohl(last), ret);
	ret->any = IN6_IS_ADDR_UNSPECIFIED(address);
	ret->loopback = IN6_IS_ADDR_LOOPBACK(address);
	return ret->any || ret->loopback ? 0 : -ENETUNREACH;
}

static int read_unix(struct whi_sim_host *host, const struct sockaddr_un *un, socklen_t len,
		     struct whi_sim_addr *ret)
{
	size_t name_len = len - offsetof(struct sockaddr_un, sun_path);

	if (len <= offsetof(struct sockaddr_un, sun_path) || name_len > sizeof(ret->name))
		return -EINVAL;
	ret->host = host->index;
	if (un->sun_path[0] != '\0')
		name_len = strnlen(un->sun_path, name_len);
	memcpy(ret->name, un->sun_path, name_len);
	ret->name_len = (uint8_t)name_len;
	return 0;
}

int whi_sim_addr_read(struct whi_sim_host *host, const struct sockaddr *addr, socklen_t len,
		      struct whi_sim_addr *ret)
{
	const struct sockaddr_in *in = (const void *)addr;
	const struct sockaddr_in6 *in6 = (const void *)addr;

	memset(ret, 0, sizeof(*ret));
	if (len < sizeof(addr->sa_family))
		return -EINVAL;
	ret->family = (uint8_t)addr->sa_family;
	switch (addr->sa_family) {
	case AF_INET:
		if (len < sizeof(*in))
			return -EINVAL;
		ret->port = ntohs(in->sin_port);
		return read_ipv4(host, ntohl(in->sin_addr.s_addr), ret);
	case AF_INET6:
		if (len < sizeof(*in6))
			return -EINVAL;
		ret->port = ntohs(in6->sin6_port);
		return read_in6(host, &in6->sin6_addr, ret);
	case AF_UNIX:
		return read_unix(host, (const void *)addr, len, ret);
	default:
		return -EAFNOSUPPORT;
	}
}

static uint32_t ipv4_of(const struct whi_sim_addr *addr)
{
	if (addr->any || addr->family == 0)
		return 0;
	return addr->loopback ? INADDR_LOOPBACK : NETWORK + addr->host + 1;
}

void whi_sim_addr_write(const struct whi_sim_addr *addr, uint8_t domain, struct sockaddr *ret,
			socklen_t *len)
{
	struct sockaddr_storage full = { .ss_family = domain };
	struct sockaddr_in *in = (void *)&full;
	struct sockaddr_in6 *in6 = (void *)&full;
	struct sockaddr_un *un = (void *)&full;
	uint32_t ipv4 = htonl(ipv4_of(addr));
	socklen_t full_len = sizeof(*in);

	if (domain == AF_INET) {
		in->sin_port = htons(addr->port);
		in->sin_addr.s_addr = ipv4;
	} else if (domain == AF_INET6) {
		full_len = sizeof(*in6);
		in6->sin6_port = htons(addr->port);
		if (addr->loopback) {
			in6->sin6_addr = in6addr_loopback;
		} else if (ipv4) {
			in6->sin6_addr.s6_addr[10] = in6->sin6_addr.s6_addr[11] = 0xff;
			memcpy(&in6->sin6_addr.s6_addr[12], &ipv4, sizeof(ipv4));
		}
	} else {
		full_len = (socklen_t)offsetof(struct sockaddr_un, sun_path) + addr->name_len;
		memcpy(un->sun_path, addr->name, addr->name_len);
	}
	memcpy(ret, &full, *len < full_len ? *len : full_len);
	*len = full_len;
}

/* A path is what it leads to, now. */
static bool resolve(struct whi_world *world, const struct whi_sim_addr *addr, uint64_t *ret)
{
	char path[sizeof(addr->name) + 1] = "";

	if (addr->name_len == 0 || addr->name[0] == '\0')
		return false;
	memcpy(path, addr->name, addr->name_len);
	return whi_sim_disk_find_socket(&world->hosts[addr->host], path, ret) == 0;
}

static bool same_unix(const struct whi_sim_addr *bound, const struct whi_sim_addr *wanted,
		      uint64_t inode)
{
	if (bound->inode)
		return bound->inode == inode;
	return bound->name_len == wanted->name_len && bound->name_len > 0 &&
	       bound->name[0] == '\0' && wanted->name[0] == '\0' &&
	       memcmp(bound->name, wanted->name, bound->name_len) == 0;
}

static bool same_inet(const struct whi_sim_addr *bound, const struct whi_sim_addr *wanted)
{
	if (bound->port != wanted->port)
		return false;
	return bound->any || wanted->any || bound->loopback == wanted->loopback;
}

struct whi_sim_sock *whi_sim_find_bound(struct whi_world *world, const struct whi_sim_addr *addr,
					uint8_t type)
{
	struct whi_list *head = &world->hosts[addr->host].sockets;
	struct whi_sim_sock *found = NULL;
	uint64_t inode = 0;
	uint32_t count = 0;

	if (addr->family == AF_UNIX && !resolve(world, addr, &inode) && addr->name[0] != '\0')
		return NULL;
	for (struct whi_list *node = head->next; node != head; node = node->next) {
		struct whi_sim_sock *sock = whi_container_of(node, struct whi_sim_sock, link);
		bool unix_domain = sock->local.family == AF_UNIX;

		if (sock->type != type || sock->stale || sock->local.family == 0 ||
		    unix_domain != (addr->family == AF_UNIX) ||
		    (type == SOCK_STREAM && sock->state != WHI_SOCK_LISTENING))
			continue;
		if (unix_domain ? !same_unix(&sock->local, addr, inode)
				: !same_inet(&sock->local, addr))
			continue;
		/* Of several with SO_REUSEPORT, any. */
		if (whi_rng_below(&world->net_rng, ++count) == 0)
			found = sock;
	}
	return found;
}

/* Binding */

static bool conflicts(const struct whi_sim_sock *sock, const struct whi_sim_sock *other)
{
	if (other == sock || other->stale || other->local.family == 0 ||
	    other->type != sock->type || other->local.family == AF_UNIX ||
	    other->state == WHI_SOCK_EMBRYO || other->state == WHI_SOCK_CLOSED)
		return false;
	if (sock->reuse_port && other->reuse_port)
		return false;
	/* With SO_REUSEADDR on both only a listener is in the way. */
	return !(sock->reuse_addr && other->reuse_addr && other->state != WHI_SOCK_LISTENING) &&
	       !(sock->reuse_addr && other->listener) &&
	       !(sock->reuse_addr && other->state == WHI_SOCK_CONNECTED);
}

static bool is_free(const struct whi_sim_sock *sock, const struct whi_sim_addr *addr)
{
	const struct whi_list *head = &sock->file.host->sockets;

	for (struct whi_list *node = head->next; node != head; node = node->next) {
		const struct whi_sim_sock *other = whi_container_of(node, struct whi_sim_sock,
								    link);

		if (conflicts(sock, other) && same_inet(&other->local, addr))
			return false;
	}
	return true;
}

static int take_port(struct whi_sim_sock *sock, struct whi_sim_addr *addr)
{
	struct whi_sim_host *host = sock->file.host;

	for (uint32_t tried = 0; addr->port == 0; tried++) {
		if (tried == PORTS)
			return -EADDRINUSE;
		addr->port = (uint16_t)(PORT_LOW + host->port_next);
		host->port_next = (host->port_next + 1) % PORTS;
		if (!is_free(sock, addr))
			addr->port = 0;
	}
	return is_free(sock, addr) ? 0 : -EADDRINUSE;
}

int whi_sim_bind_port(struct whi_sim_sock *sock)
{
	struct whi_sim_addr addr = { .family = sock->domain, .host = sock->file.host->index };
	int r;

	addr.any = sock->state == WHI_SOCK_NEW && sock->remote.family == 0;
	addr.loopback = sock->remote.loopback;
	r = take_port(sock, &addr);
	if (r == 0)
		sock->local = addr;
	return r;
}

static int bind_unix(struct whi_sim_sock *sock, struct whi_sim_addr *addr)
{
	char path[sizeof(addr->name) + 1] = "";
	int r;

	if (addr->name_len == 0)
		return -EINVAL;
	if (addr->name[0] == '\0') {
		if (whi_sim_find_bound(sock->world, addr, sock->type))
			return -EADDRINUSE;
	} else {
		memcpy(path, addr->name, addr->name_len);
		r = whi_sim_disk_bind(sock->file.host, path, &addr->inode);
		if (r < 0)
			return r;
	}
	sock->local = *addr;
	return 0;
}

int whi_sim_bind_now(struct whi_sim_host *host, const struct whi_op *op)
{
	struct whi_sim_file *file = whi_sim_fd_get(host, op->fd);
	struct whi_sim_addr addr;
	struct whi_sim_sock *sock;
	int r;

	if (!file || file->kind != WHI_SIM_SOCKET)
		return file ? -ENOTSOCK : -EBADF;
	sock = whi_sim_sock_of(file);
	r = whi_sim_addr_read(host, op->addr.addr, op->addr.len, &addr);
	if (r < 0)
		return r == -ENETUNREACH ? -EADDRNOTAVAIL : r;
	if (addr.family != sock->domain)
		return -EAFNOSUPPORT;
	if (sock->local.family != 0 || sock->state != WHI_SOCK_NEW)
		return -EINVAL;
	if (addr.host != host->index)
		return -EADDRNOTAVAIL;
	if (sock->domain == AF_UNIX)
		return bind_unix(sock, &addr);
	r = take_port(sock, &addr);
	if (r == 0)
		sock->local = addr;
	return r;
}

int whi_sim_getsockname_now(struct whi_sim_host *host, const struct whi_op *op)
{
	struct whi_sim_file *file = whi_sim_fd_get(host, op->fd);
	const struct whi_sim_sock *sock;

	if (!file || file->kind != WHI_SIM_SOCKET)
		return file ? -ENOTSOCK : -EBADF;
	sock = whi_sim_sock_of(file);
	whi_sim_addr_write(&sock->local, sock->domain, op->addr.addr, op->addr.len_ptr);
	return 0;
}
