/*
 * Paths of the simulated file system, and the calls that take them. The order in which a call looks
 * at what may be wrong with it is Linux's, fs/namei.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "backend/sim_fs.h"
#include "base/assert.h"

/* Paths */

enum last { LAST_NAME, LAST_DOT, LAST_DOTDOT, LAST_ROOT };

/* Where a path ends. */
struct place {
	struct whi_simfs_inode *dir;
	struct whi_simfs_inode *inode; /* NULL: there is none of that name */
	enum last last;
	bool slash;    /* behind the name */
	bool too_long; /* the name, which `name` is not then */
	char name[NAME_MAX + 1];
};

static struct whi_simfs_inode *step(const struct place *place)
{
	switch (place->last) {
	case LAST_ROOT:
	case LAST_DOT:
		return place->dir;
	case LAST_DOTDOT:
		return place->dir->parent;
	case LAST_NAME:
		break;
	}
	return whi_simfs_lookup(place->dir, place->name);
}

static int take_name(struct place *place, const char *name, size_t len)
{
	bool slash = name[len] == '/';

	if (!S_ISDIR(place->dir->mode))
		return -ENOTDIR;
	place->too_long = len > NAME_MAX;
	if (place->too_long)
		len = 0;
	memcpy(place->name, name, len);
	place->name[len] = '\0';
	place->slash = slash;
	place->last = LAST_NAME;
	if (strcmp(place->name, ".") == 0)
		place->last = LAST_DOT;
	else if (strcmp(place->name, "..") == 0)
		place->last = LAST_DOTDOT;
	place->inode = step(place);
	return 0;
}

/* A last name that is too long is the caller's to refuse. */
static int walk_to(struct whi_simfs *fs, struct whi_simfs_inode *from, const char *path,
		   struct place *ret)
{
	int r = 0;

	if (!*path)
		return -ENOENT;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	ret->dir = from && *path != '/' ? from : fs->root;
	ret->inode = ret->dir;
	ret->last = LAST_ROOT;
	ret->slash = false;
	ret->too_long = false;
	path += strspn(path, "/");
	while (*path && r == 0) {
		size_t len = strcspn(path, "/");

		if (!ret->inode)
			return ret->too_long ? -ENAMETOOLONG : -ENOENT;
		ret->dir = ret->inode;
		r = take_name(ret, path, len);
		path += len + strspn(path + len, "/");
	}
	return r;
}

static int walk(struct whi_simfs *fs, struct whi_simfs_inode *from, const char *path,
		struct place *ret)
{
	int r = walk_to(fs, from, path, ret);

	return r == 0 && ret->too_long ? -ENAMETOOLONG : r;
}

int whi_simfs_find(struct whi_simfs *fs, struct whi_simfs_inode *from, const char *path,
		   struct whi_simfs_inode **ret)
{
	struct place place;
	int r = walk(fs, from, path, &place);

	if (r < 0)
		return r;
	if (!place.inode)
		return -ENOENT;
	if (place.slash && !S_ISDIR(place.inode->mode))
		return -ENOTDIR;
	*ret = place.inode;
	return 0;
}

/* Making */

/* In a directory that was removed, and is only open any more, nothing is made. */
static int make_new(struct whi_simfs *fs, const struct place *place, mode_t mode,
		    struct whi_simfs_inode **ret)
{
	struct whi_simfs_change *change;

	if (!place->dir->linked)
		return -ENOENT;
	*ret = whi_simfs_inode_new(fs, mode);
	change = whi_simfs_change_new(*ret, NULL);
	whi_simfs_change_set(change, place->dir, place->name, *ret);
	whi_simfs_change_make(fs, change);
	whi_simfs_unref(*ret);
	return 0;
}

int whi_simfs_mkdir(struct whi_simfs *fs, const char *path, mode_t mode)
{
	struct whi_simfs_inode *inode;
	struct place place;
	int r = walk(fs, NULL, path, &place);

	if (r < 0)
		return r;
	if (place.inode || place.last != LAST_NAME)
		return -EEXIST;
	return make_new(fs, &place, S_IFDIR | (mode & 01777), &inode);
}

int whi_simfs_bind(struct whi_simfs *fs, const char *path, uint64_t *ret_number)
{
	struct whi_simfs_inode *inode;
	struct place place;
	int r = walk(fs, NULL, path, &place);

	if (r < 0)
		return r;
	if (place.inode || place.last != LAST_NAME)
		return -EADDRINUSE;
	if (place.slash)
		return -ENOENT;
	r = make_new(fs, &place, S_IFSOCK | 0755, &inode);
	if (r == 0)
		*ret_number = inode->number;
	return r;
}

/* Opening */

static int open_tmpfile(struct whi_simfs *fs, const struct place *place, mode_t mode,
			struct whi_simfs_inode **ret)
{
	if (!place->inode)
		return -ENOENT;
	if (!S_ISDIR(place->inode->mode))
		return -ENOTDIR;
	*ret = whi_simfs_inode_new(fs, S_IFREG | (mode & 07777));
	return 0;
}

static int check_flags(int flags)
{
	bool tmpfile = (flags & O_TMPFILE & ~O_DIRECTORY) != 0;

	if ((flags & O_CREAT) && (flags & O_DIRECTORY))
		return -EINVAL;
	if (tmpfile && ((flags & O_TMPFILE) != O_TMPFILE || (flags & O_ACCMODE) == O_RDONLY))
		return -EINVAL;
	return 0;
}

/* Opening what is there. */
static int check_found(const struct place *place, int flags)
{
	bool is_dir = S_ISDIR(place->inode->mode);

	if ((flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	if ((flags & O_CREAT) && is_dir)
		return -EISDIR;
	if (((flags & O_DIRECTORY) || place->slash) && !is_dir)
		return -ENOTDIR;
	if (is_dir && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EISDIR;
	return S_ISSOCK(place->inode->mode) ? -ENXIO : 0;
}

static int open_inode(struct whi_simfs *fs, const struct place *place, int flags, mode_t mode,
		      struct whi_simfs_inode **ret)
{
	int r;

	if ((flags & O_CREAT) && place->slash && place->last == LAST_NAME)
		return -EISDIR;
	if (!place->inode && !(flags & O_CREAT))
		return -ENOENT;
	if (!place->inode) {
		r = make_new(fs, place, S_IFREG | (mode & 07777), ret);
		if (r == 0)
			whi_simfs_ref(*ret);
		return r;
	}
	r = check_found(place, flags);
	if (r < 0)
		return r;
	*ret = whi_simfs_ref(place->inode);
	if (flags & O_TRUNC)
		whi_simfs_truncate(*ret);
	return 0;
}

int whi_simfs_open(struct whi_simfs *fs, const char *path, int flags, mode_t mode,
		   struct whi_simfs_file *ret)
{
	struct whi_simfs_inode *inode;
	struct place place;
	int r = check_flags(flags);

	if (r == 0)
		r = walk(fs, NULL, path, &place);
	if (r < 0)
		return r;
	if ((flags & O_TMPFILE) == O_TMPFILE)
		r = open_tmpfile(fs, &place, mode, &inode);
	else
		r = open_inode(fs, &place, flags, mode, &inode);
	if (r < 0)
		return r;
	whi_simfs_opened(inode, 1);
	*ret = (struct whi_simfs_file){ inode, flags, 0, inode->sync_errors };
	return 0;
}

void whi_simfs_close(struct whi_simfs_file *file)
{
	whi_simfs_opened(file->inode, -1);
	whi_simfs_unref(file->inode);
}

/* Removing and renaming */

static int check_removal(const struct place *place, bool is_rmdir)
{
	static const int refused[] = {
		[LAST_DOT] = -EINVAL, [LAST_DOTDOT] = -ENOTEMPTY, [LAST_ROOT] = -EBUSY
	};

	if (place->last != LAST_NAME)
		return is_rmdir ? refused[place->last] : -EISDIR;
	if (!place->inode)
		return -ENOENT;
	if (!S_ISDIR(place->inode->mode))
		return is_rmdir || place->slash ? -ENOTDIR : 0;
	if (!is_rmdir)
		return -EISDIR;
	return place->inode->now_names.count > 0 ? -ENOTEMPTY : 0;
}

int whi_simfs_unlink(struct whi_simfs *fs, const char *path, int flags)
{
	struct whi_simfs_change *change;
	struct place place;
	int r;

	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	r = walk(fs, NULL, path, &place);
	if (r == 0)
		r = check_removal(&place, flags & AT_REMOVEDIR);
	if (r < 0)
		return r;
	change = whi_simfs_change_new(NULL, place.inode);
	whi_simfs_change_set(change, place.dir, place.name, NULL);
	whi_simfs_change_make(fs, change);
	return 0;
}

static bool is_above(const struct whi_simfs_inode *inode, const struct whi_simfs_inode *below)
{
	while (below != inode && below != below->parent)
		below = below->parent;
	return below == inode;
}

/* In the order in which Linux asks. */
static int check_names(const struct place *from, const struct place *to, unsigned flags)
{
	bool exchange = flags & RENAME_EXCHANGE;

	if (from->last != LAST_NAME)
		return -EBUSY;
	if (to->last != LAST_NAME)
		return flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	if (!from->inode || to->too_long)
		return from->too_long || (from->inode && to->too_long) ? -ENAMETOOLONG : -ENOENT;
	if (to->inode && (flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (!to->inode && exchange)
		return -ENOENT;
	if (exchange && to->slash && !S_ISDIR(to->inode->mode))
		return -ENOTDIR;
	if (!S_ISDIR(from->inode->mode) && (from->slash || (to->slash && !exchange)))
		return -ENOTDIR;
	if (is_above(from->inode, to->dir))
		return -EINVAL;
	if (to->inode && is_above(to->inode, from->dir))
		return exchange ? -EINVAL : -ENOTEMPTY;
	return 0;
}

static int check_kinds(const struct place *from, const struct place *to)
{
	bool from_dir = S_ISDIR(from->inode->mode), to_dir = S_ISDIR(to->inode->mode);

	if (from_dir && !to_dir)
		return -ENOTDIR;
	if (!from_dir && to_dir)
		return -EISDIR;
	return to->inode->now_names.count > 0 ? -ENOTEMPTY : 0;
}

int whi_simfs_rename(struct whi_simfs *fs, const char *from, const char *to, unsigned flags)
{
	bool exchange = flags & RENAME_EXCHANGE;
	struct whi_simfs_change *change;
	struct place old = { 0 }, new = { 0 };
	int r;

	if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	r = walk_to(fs, NULL, from, &old);
	if (r == 0)
		r = walk_to(fs, NULL, to, &new);
	if (r == 0)
		r = check_names(&old, &new, flags);
	if (r == 0 && new.inode &&new.inode != old.inode && !exchange)
		r = check_kinds(&old, &new);
	if (r < 0 || old.inode == new.inode)
		return r;
	/* check_names has seen to it. */
	whi_assert(old.inode && (new.inode || !exchange));
	change = whi_simfs_change_new(old.inode, exchange ? NULL : new.inode);
	change->placed[1] = exchange ? whi_simfs_ref(new.inode) : NULL;
	change->is_move = true;
	change->is_dir_move = old.dir != new.dir &&
			      (S_ISDIR(old.inode->mode) || (exchange && S_ISDIR(new.inode->mode)));
	whi_simfs_change_set(change, old.dir, old.name, exchange ? new.inode : NULL);
	whi_simfs_change_set(change, new.dir, new.name, old.inode);
	whi_simfs_change_make(fs, change);
	return 0;
}
