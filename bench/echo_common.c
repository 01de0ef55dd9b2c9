/* Addresses, limits and statistics shared by the programs of bench/ that talk over sockets. */
#include "echo_common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 4096
#define NS_PER_S 1000000000ull

int number_parse(const char *text, uint64_t low, uint64_t high, uint64_t *ret)
{
	char *end;
	unsigned long long value;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || value < low || value > high)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int unix_parse(const char *path, struct endpoint *ret)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&ret->addr;
	size_t len = strlen(path);

	if (!len || len >= sizeof(un->sun_path))
		return -EINVAL;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len + 1);
	ret->len = sizeof(*un);
	return 0;
}

static int host_parse(const char *host, uint16_t port, struct endpoint *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&ret->addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->addr;

	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		ret->len = sizeof(*in);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		ret->len = sizeof(*in6);
		return 0;
	}
	return -EINVAL;
}

int endpoint_parse(const char *text, struct endpoint *ret)
{
	char host[INET6_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');
	size_t len;
	uint64_t port;

	memset(ret, 0, sizeof(*ret));
	if (!strncmp(text, "unix:", 5))
		return unix_parse(text + 5, ret);
	if (!colon || number_parse(colon + 1, 0, 65535, &port))
		return -EINVAL;
	len = (size_t)(colon - text);
	if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (!len || len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	return host_parse(host, (uint16_t)port, ret);
}

void endpoint_unlink(const struct endpoint *endpoint)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&endpoint->addr;
	struct stat st;

	if (un->sun_family == AF_UNIX && !stat(un->sun_path, &st) && S_ISSOCK(st.st_mode))
		unlink(un->sun_path);
}

/* Set on the listener: Linux hands it down to every accepted socket, which saves a call each. */
static void nodelay_set(int fd, const struct endpoint *endpoint)
{
	int one = 1;

	if (endpoint->addr.ss_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

int endpoint_listen(const struct endpoint *endpoint)
{
	int fd, one = 1, r;

	fd = socket(endpoint->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	endpoint_unlink(endpoint);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	nodelay_set(fd, endpoint);
	if (bind(fd, (const struct sockaddr *)&endpoint->addr, endpoint->len) < 0)
		goto err_fd;
	if (listen(fd, BACKLOG) < 0)
		goto err_fd;
	return fd;

err_fd:
	r = -errno;
	close(fd);
	return r;
}

int endpoint_connect(const struct endpoint *endpoint)
{
	int fd, r;

	fd = socket(endpoint->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	nodelay_set(fd, endpoint);
	if (connect(fd, (const struct sockaddr *)&endpoint->addr, endpoint->len) < 0)
		goto err_fd;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		goto err_fd;
	return fd;

err_fd:
	r = -errno;
	close(fd);
	return r;
}

uint64_t file_limit_raise(void)
{
	struct rlimit limit = { 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

int termination_fd_open(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t timeval_ns(struct timeval time)
{
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_usec * 1000;
}

uint64_t cpu_used_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime);
}

void echo_stats_print(const char *name, const struct echo_stats *stats)
{
	printf("{\"name\":\"%s\",\"echoes\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"syscalls\":%" PRIu64
	       ",\"cpu_ns\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"errors\":%" PRIu64 "}\n",
	       name, stats->echoes, stats->bytes, stats->syscalls, cpu_used_ns(),
	       stats->connections, stats->errors);
	fflush(stdout);
}
