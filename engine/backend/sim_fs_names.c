/*
 * Inodes and directories of the simulated file system.
 *
 * Invariants
 * 1. What a call does to names is one change: it is done to `now` at once, and put at the end of
 *    the list of changes. Nothing else changes the names of `now`.
 * 2. An inode is freed when nothing refers to it: no entry in either state, no change that is not
 *    on the disk, no open file.
 * 3. Space is in use while `now` names an inode or it is open; what only the disk's state still
 *    names costs nothing.
 */
#include <stdio.h>
#include <string.h>

#include "backend/sim_fs.h"

/* Inodes */

static bool alive(const struct whi_simfs_inode *inode)
{
	return inode->linked || inode->opens > 0;
}

static void account(const struct whi_simfs_inode *inode, bool before)
{
	if (alive(inode) && !before)
		inode->fs->space += inode->space;
	else if (!alive(inode) && before)
		inode->fs->space -= inode->space;
}

void whi_simfs_link(struct whi_simfs_inode *inode, struct whi_simfs_inode *parent)
{
	bool before = alive(inode);

	inode->linked = parent != NULL;
	inode->parent = parent;
	account(inode, before);
}

void whi_simfs_opened(struct whi_simfs_inode *inode, int count)
{
	bool before = alive(inode);

	inode->opens += (uint32_t)count;
	account(inode, before);
}

struct whi_simfs_inode *whi_simfs_inode_new(struct whi_simfs *fs, mode_t mode)
{
	struct whi_simfs_inode *inode = whi_sim_calloc(sizeof(*inode));

	inode->fs = fs;
	inode->number = ++fs->next_number;
	inode->mode = mode;
	inode->refs = 1;
	inode->changed_ns = fs->now_ns;
	whi_list_append(&fs->inodes, &inode->link);
	return inode;
}

void whi_simfs_unref(struct whi_simfs_inode *inode)
{
	if (--inode->refs > 0)
		return;
	whi_simfs_names_clear(&inode->now_names);
	whi_simfs_names_clear(&inode->disk_names);
	whi_simfs_pages_clear(&inode->now);
	whi_simfs_pages_clear(&inode->disk);
	whi_list_remove(&inode->link);
	whi_sim_free(inode);
}

struct whi_simfs_inode *whi_simfs_ref(struct whi_simfs_inode *inode)
{
	inode->refs++;
	return inode;
}

/* Directories */

static char *copy(const char *name)
{
	size_t bytes = strlen(name) + 1;

	return memcpy(whi_sim_alloc(bytes), name, bytes);
}

static struct whi_simfs_entry *lookup(const struct whi_simfs_names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->at[i].name, name) == 0)
			return &names->at[i];
	return NULL;
}

struct whi_simfs_inode *whi_simfs_lookup(const struct whi_simfs_inode *dir, const char *name)
{
	const struct whi_simfs_entry *entry = lookup(&dir->now_names, name);

	return entry ? entry->inode : NULL;
}

static void drop(struct whi_simfs_names *names, struct whi_simfs_entry *entry)
{
	struct whi_simfs_entry gone = *entry;

	*entry = names->at[--names->count];
	whi_sim_free(gone.name);
	whi_simfs_unref(gone.inode);
}

void whi_simfs_names_set(struct whi_simfs_names *names, const char *name,
			 struct whi_simfs_inode *inode)
{
	struct whi_simfs_entry *entry = lookup(names, name);

	if (entry)
		drop(names, entry);
	if (!inode)
		return;
	if (names->count == names->room) {
		names->room = names->room ? 2 * names->room : 8;
		names->at = whi_sim_realloc(names->at, names->room * sizeof(*names->at));
	}
	names->at[names->count++] = (struct whi_simfs_entry){ copy(name), whi_simfs_ref(inode) };
}

void whi_simfs_names_clear(struct whi_simfs_names *names)
{
	while (names->count > 0)
		drop(names, &names->at[names->count - 1]);
	whi_sim_free(names->at);
	*names = (struct whi_simfs_names){ 0 };
}

/* Changes */

void whi_simfs_change_set(struct whi_simfs_change *change, struct whi_simfs_inode *dir,
			  const char *name, struct whi_simfs_inode *inode)
{
	struct whi_simfs_set *set = &change->sets[change->sets[0].dir ? 1 : 0];

	set->dir = whi_simfs_ref(dir);
	set->name = copy(name);
	set->inode = inode ? whi_simfs_ref(inode) : NULL;
}

struct whi_simfs_change *whi_simfs_change_new(struct whi_simfs_inode *placed,
					      struct whi_simfs_inode *removed)
{
	struct whi_simfs_change *change = whi_sim_calloc(sizeof(*change));

	change->placed[0] = placed ? whi_simfs_ref(placed) : NULL;
	change->removed = removed ? whi_simfs_ref(removed) : NULL;
	return change;
}

/* All old meanings go before the new ones come: one set may name what the other did. */
void whi_simfs_change_make(struct whi_simfs *fs, struct whi_simfs_change *change)
{
	size_t count = change->sets[1].dir ? 2 : 1;

	for (size_t i = 0; i < count; i++) {
		const struct whi_simfs_set *set = &change->sets[i];
		struct whi_simfs_inode *old = whi_simfs_lookup(set->dir, set->name);

		if (old)
			whi_simfs_link(old, NULL);
		set->dir->changed_ns = fs->now_ns;
	}
	for (size_t i = 0; i < count; i++) {
		const struct whi_simfs_set *set = &change->sets[i];

		whi_simfs_names_set(&set->dir->now_names, set->name, set->inode);
		if (set->inode)
			whi_simfs_link(set->inode, set->dir);
	}
	whi_list_append(&fs->changes, &change->link);
	fs->changes_count++;
	whi_simfs_changes_trim(fs);
}

/* Looking */

static struct statx_timestamp stamp(uint64_t ns)
{
	return (struct statx_timestamp){ .tv_sec = (int64_t)(ns / 1000000000),
					 .tv_nsec = (uint32_t)(ns % 1000000000) };
}

void whi_simfs_stat(const struct whi_simfs_inode *inode, struct statx *ret)
{
	bool is_dir = S_ISDIR(inode->mode);

	*ret = (struct statx){
		.stx_mask = STATX_BASIC_STATS,
		.stx_blksize = WHI_SIMFS_PAGE,
		.stx_nlink = inode->linked ? 1 + is_dir : 0,
		.stx_mode = (uint16_t)inode->mode,
		.stx_ino = inode->number,
		.stx_size = is_dir ? WHI_SIMFS_PAGE : inode->size,
		.stx_blocks = inode->space * (WHI_SIMFS_PAGE / 512),
		.stx_atime = stamp(inode->changed_ns),
		.stx_ctime = stamp(inode->changed_ns),
		.stx_mtime = stamp(inode->changed_ns),
	};
}

/* Whole */

void whi_simfs_init(struct whi_simfs *fs)
{
	*fs = (struct whi_simfs){ 0 };
	whi_list_init(&fs->inodes);
	whi_list_init(&fs->changes);
	fs->root = whi_simfs_inode_new(fs, S_IFDIR | 0755);
	whi_simfs_link(fs->root, fs->root);
}

void whi_simfs_fini(struct whi_simfs *fs)
{
	fs->changes_count = 0;
	whi_simfs_changes_drop(fs);
	whi_simfs_unref(fs->root);
}
