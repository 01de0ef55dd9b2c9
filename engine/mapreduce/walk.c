/* Owns the walk: directories still to be read are on a common list, what a thread finds is its own
 * until it is done. Symbolic links are not followed, so that a walk ends.
 *
 * 1. A thread that finds the list empty waits while others are busy: they may find directories. */
#include "mapreduce/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/alloc.h"

/* One thread's. */
struct walker {
	struct whi_walk *walk;
	struct whi_input found;
	const char **dirs; /* in the directory that it is reading */
	size_t dir_count;
	size_t dir_room;
};

void whi_walk_init(struct whi_walk *walk, struct whi_input *input, const _Atomic bool *stop,
		   _Atomic uint64_t *found)
{
	*walk = (struct whi_walk){ .input = input, .stop = stop, .found = found };
	pthread_mutex_init(&walk->lock, NULL);
	pthread_cond_init(&walk->change, NULL);
}

void whi_walk_fini(struct whi_walk *walk)
{
	pthread_cond_destroy(&walk->change);
	pthread_mutex_destroy(&walk->lock);
	whi_free(walk->dirs);
}

static int add_path(const char ***dirs, size_t *count, size_t *room, const char *path)
{
	const char **more = whi_input_more(*dirs, *count, room, sizeof(*more));

	if (!more)
		return -ENOMEM;
	*dirs = more;
	more[(*count)++] = path;
	return 0;
}

int whi_walk_add(struct whi_walk *walk, const char *path)
{
	return add_path(&walk->dirs, &walk->dir_count, &walk->dir_room, path);
}

static int add_error(struct walker *walker, const char *path, int error)
{
	return whi_input_add(&walker->found, &(struct whi_file){ .path = path, .error = error });
}

/* Only regular files and directories count. */
static int add_entry(struct walker *walker, const char *dir, int dir_fd, const struct dirent *entry)
{
	const char *name = entry->d_name;
	const char *path;
	struct statx st;

	if (name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0)))
		return 0;
	if (entry->d_type != DT_REG && entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)
		return 0;
	path = whi_input_join(&walker->found, dir, name);
	if (!path)
		return -ENOMEM;
	if (entry->d_type == DT_DIR)
		return add_path(&walker->dirs, &walker->dir_count, &walker->dir_room, path);
	if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_SIZE, &st) < 0)
		return add_error(walker, path, -errno);
	if (S_ISDIR(st.stx_mode))
		return add_path(&walker->dirs, &walker->dir_count, &walker->dir_room, path);
	if (!S_ISREG(st.stx_mode))
		return 0;
	atomic_fetch_add_explicit(walker->walk->found, 1, memory_order_relaxed);
	return whi_input_add(&walker->found,
			     &(struct whi_file){ .path = path, .size = st.stx_size });
}

static int read_entries(struct walker *walker, const char *path, DIR *dir)
{
	for (;;) {
		const struct dirent *entry;
		int r;

		if (atomic_load_explicit(walker->walk->stop, memory_order_relaxed))
			return -ECANCELED;
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			return errno ? add_error(walker, path, -errno) : 0;
		r = add_entry(walker, path, dirfd(dir), entry);
		if (r < 0)
			return r;
	}
}

static int read_dir(struct walker *walker, const char *path)
{
	DIR *dir = opendir(path);
	int r;

	if (!dir)
		return add_error(walker, path, -errno);
	r = read_entries(walker, path, dir);
	closedir(dir);
	return r;
}

/* Under the lock: the next directory, NULL when there will be none. */
static const char *next_dir(struct whi_walk *walk)
{
	while (walk->dir_count == 0 && walk->busy > 0 && walk->error == 0)
		pthread_cond_wait(&walk->change, &walk->lock);
	if (walk->dir_count == 0 || walk->error)
		return NULL;
	return walk->dirs[--walk->dir_count];
}

/* Under the lock, left meanwhile. */
static void walk_dir(struct walker *walker, const char *path)
{
	struct whi_walk *walk = walker->walk;
	int r;

	walk->busy++;
	pthread_mutex_unlock(&walk->lock);
	walker->dir_count = 0;
	r = read_dir(walker, path);
	pthread_mutex_lock(&walk->lock);
	walk->busy--;
	for (size_t i = 0; i < walker->dir_count && r == 0; i++)
		r = whi_walk_add(walk, walker->dirs[i]);
	if (r < 0)
		walk->error = r;
	pthread_cond_broadcast(&walk->change);
}

int whi_walk_share(struct whi_walk *walk)
{
	struct walker walker = { .walk = walk };
	const char *path;
	int r;

	pthread_mutex_lock(&walk->lock);
	while ((path = next_dir(walk)))
		walk_dir(&walker, path);
	r = whi_input_take(walk->input, &walker.found);
	if (r < 0)
		walk->error = r;
	r = walk->error;
	pthread_mutex_unlock(&walk->lock);
	whi_free(walker.dirs);
	return r;
}
