/*
 * Starting this program anew, and having been started so: what the zygote and the workers of a
 * supervisor have in common.
 */
#pragma once

#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/types.h>

/* A copy of the environment without `variable`, whose place is free in front, at [0]. NULL: no
 * memory. whi_free releases it. */
char **whi_anew_environment(const char *variable);

struct whi_anew {
	const char *path;
	char **argv;
	char **environment;
	const posix_spawn_file_actions_t *files;
	sigset_t blocked;
	sigset_t standard; /* signals that do what they do by default */
};

/* 0 with the process's number in `*ret`, or -errno as posix_spawn(3). */
int whi_anew_start(const struct whi_anew *anew, pid_t *ret);

/* Whether `fd` is one end of a pair of sockets that keep boundaries, made by process `pid` of this
 * user. Nobody comes by one by accident. */
bool whi_anew_channel(int fd, pid_t pid);
