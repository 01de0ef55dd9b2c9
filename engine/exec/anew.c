/*
 * Starting this program anew. posix_spawn starts no copy of this process: it needs no page of it
 * copied, and no thread or ring comes along.
 */
#include "exec/anew.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"

extern char **environ;

char **whi_anew_environment(const char *variable)
{
	size_t count = 0, kept = 1, len = strlen(variable);
	char **copy;

	while (environ && environ[count])
		count++;
	copy = whi_calloc(count + 2, sizeof(*copy));
	if (!copy)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (strncmp(environ[i], variable, len) != 0 || environ[i][len] != '=')
			copy[kept++] = environ[i];
	return copy;
}

static int set_signals(posix_spawnattr_t *attr, const struct whi_anew *anew)
{
	int r = posix_spawnattr_setsigmask(attr, &anew->blocked);

	if (r == 0)
		r = posix_spawnattr_setsigdefault(attr, &anew->standard);
	if (r == 0)
		r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	return r;
}

int whi_anew_start(const struct whi_anew *anew, pid_t *ret)
{
	posix_spawnattr_t attr;
	int r = posix_spawnattr_init(&attr);

	if (r != 0)
		return -r;
	r = set_signals(&attr, anew);
	if (r == 0)
		r = posix_spawn(ret, anew->path, anew->files, &attr, anew->argv, anew->environment);
	posix_spawnattr_destroy(&attr);
	return -r;
}

bool whi_anew_channel(int fd, pid_t pid)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	int type = 0;
	socklen_t type_len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 &&
	       type == SOCK_SEQPACKET &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid == pid &&
	       peer.uid == geteuid();
}
