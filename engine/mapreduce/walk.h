/* A walk through directories, which several threads share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "mapreduce/input.h"

struct whi_walk {
	struct whi_input *input; /* gets what is found */
	const _Atomic bool *stop;
	_Atomic uint64_t *found; /* files so far */

	pthread_mutex_t lock; /* of what follows, and of `input` */
	pthread_cond_t change;
	const char **dirs; /* to be read */
	size_t dir_count;
	size_t dir_room;
	unsigned busy; /* threads that are reading one */
	int error;
};

void whi_walk_init(struct whi_walk *walk, struct whi_input *input, const _Atomic bool *stop,
		   _Atomic uint64_t *found);
void whi_walk_fini(struct whi_walk *walk);

/* One more directory; before any thread walks. Returns 0 or -ENOMEM. */
int whi_walk_add(struct whi_walk *walk, const char *path);

/* Walk until all directories are read, with as many threads as call this at once; blocks. What
 * cannot be read becomes a file with an error. Returns 0, -ENOMEM, or -ECANCELED once `stop` is
 * set. */
int whi_walk_share(struct whi_walk *walk);
