/*
 * Addresses as text.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <whorl/sock.h>

static int parse_unix(const char *path, struct wh_addr *ret)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(path);

	if (len == 0)
		return -EINVAL;
	if (len >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, len);
	ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	if (path[0] == '@') {
		/* The abstract name space: a zero byte in front, none behind. */
		un.sun_path[0] = '\0';
		ret->len--;
	}
	memset(&ret->storage, 0, sizeof(ret->storage));
	memcpy(&ret->storage, &un, sizeof(un));
	return 0;
}

static int parse_port(const char *text, in_port_t *ret)
{
	char *end;
	unsigned long port;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	port = strtoul(text, &end, 10);
	if (*end || port > 65535)
		return -EINVAL;
	*ret = htons((in_port_t)port);
	return 0;
}

static int parse_v4(const char *host, in_port_t port, struct wh_addr *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = port };

	if (*host && inet_pton(AF_INET, host, &in.sin_addr) != 1)
		return -EINVAL;
	memset(&ret->storage, 0, sizeof(ret->storage));
	memcpy(&ret->storage, &in, sizeof(in));
	ret->len = sizeof(in);
	return 0;
}

static int parse_v6(const char *host, in_port_t port, struct wh_addr *ret)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = port };

	if (inet_pton(AF_INET6, host, &in6.sin6_addr) != 1)
		return -EINVAL;
	memset(&ret->storage, 0, sizeof(ret->storage));
	memcpy(&ret->storage, &in6, sizeof(in6));
	ret->len = sizeof(in6);
	return 0;
}

int wh_addr_parse(const char *text, struct wh_addr *ret)
{
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	size_t len;
	in_port_t port;

	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, ret);
	if (!colon || parse_port(colon + 1, &port) < 0)
		return -EINVAL;
	len = (size_t)(colon - text);
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (host[0] != '[')
		return parse_v4(host, port, ret);
	if (host[len - 1] != ']')
		return -EINVAL;
	host[len - 1] = '\0';
	return parse_v6(host + 1, port, ret);
}

static void format_unix(const struct wh_addr *addr, char *text)
{
	const struct sockaddr_un *un = (const void *)&addr->storage;
	size_t len = addr->len - offsetof(struct sockaddr_un, sun_path);
	bool abstract = len > 0 && un->sun_path[0] == '\0';

	if (abstract)
		snprintf(text, WH_ADDR_TEXT_MAX, "unix:@%.*s", (int)len - 1, un->sun_path + 1);
	else
		snprintf(text, WH_ADDR_TEXT_MAX, "unix:%.*s", (int)len, un->sun_path);
}

const char *wh_addr_format(const struct wh_addr *addr, char text[WH_ADDR_TEXT_MAX])
{
	const struct sockaddr_in *in = (const void *)&addr->storage;
	const struct sockaddr_in6 *in6 = (const void *)&addr->storage;
	char host[INET6_ADDRSTRLEN];

	if (addr->storage.ss_family == AF_UNIX) {
		format_unix(addr, text);
	} else if (addr->storage.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(text, WH_ADDR_TEXT_MAX, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(text, WH_ADDR_TEXT_MAX, "%s:%u", host, ntohs(in->sin_port));
	}
	return text;
}
