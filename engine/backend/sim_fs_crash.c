/*
 * The disk under the simulated file system: what gets there, and what a loss of power leaves.
 *
 * The rule is POSIX's and no file system's. A file's bytes and size are on the disk after a sync of
 * the file; a name, new, changed or removed, after a sync of its directory. Neither implies the
 * other, and a sync of a directory says nothing about its own name. ext4, XFS and Btrfs promise
 * more, each something else: a program that is right here is right on all of them, and one that
 * leans on ext4's journal is found out. Kept is what all of them keep, and without which nothing
 * could be written correctly:
 * 1. A rename is one change: a crash leaves both of its names as before, or both as after.
 * 2. A change survives only together with those that it depends on: the earlier ones of the same
 *    directory; of a removed one, those that emptied it; of a rename, those that put both
 *    directories somewhere. So what has been moved is never lost, or found twice.
 *
 * Without a sync everything may be lost or survive by chance: each page for itself, and, if pages
 * may be torn, each sector of one.
 */
#include <errno.h>
#include <string.h>

#include "backend/sim_fs.h"
#include "base/container.h"

static bool coin(struct whi_rng *rng)
{
	return whi_rng_below(rng, 2) == 0;
}

static struct whi_simfs_change *change_at(struct whi_list *node)
{
	return whi_container_of(node, struct whi_simfs_change, link);
}

/* Names */

static void drop_change(struct whi_simfs *fs, struct whi_simfs_change *change)
{
	whi_list_remove(&change->link);
	fs->changes_count--;
	for (int i = 0; i < 2; i++) {
		struct whi_simfs_set *set = &change->sets[i];

		if (set->dir)
			whi_simfs_unref(set->dir);
		if (set->inode)
			whi_simfs_unref(set->inode);
		if (change->placed[i])
			whi_simfs_unref(change->placed[i]);
		whi_sim_free(set->name);
	}
	if (change->removed)
		whi_simfs_unref(change->removed);
	whi_sim_free(change);
}

static void write_change(struct whi_simfs *fs, struct whi_simfs_change *change)
{
	for (int i = 0; i < 2; i++) {
		const struct whi_simfs_set *set = &change->sets[i];

		if (set->dir)
			whi_simfs_names_set(&set->dir->disk_names, set->name, set->inode);
	}
	drop_change(fs, change);
}

void whi_simfs_changes_drop(struct whi_simfs *fs)
{
	while (!whi_list_empty(&fs->changes))
		drop_change(fs, change_at(fs->changes.next));
}

/* A journal has an end: the older half of the changes is written, in order. */
void whi_simfs_changes_trim(struct whi_simfs *fs)
{
	if (fs->changes_count <= WHI_SIMFS_CHANGES_MAX)
		return;
	while (fs->changes_count > WHI_SIMFS_CHANGES_MAX / 2)
		write_change(fs, change_at(fs->changes.next));
}

/* What a walk backwards over the changes has found to be needed of an inode, kept in it. */
enum {
	ENTRIES = 1, /* the changes of it as a directory */
	PLACE = 2,   /* the changes that put it, and all directories above it, where they are */
};

static bool is_placed(const struct whi_simfs_change *change)
{
	for (int i = 0; i < 2; i++)
		if (change->placed[i] && (change->placed[i]->marks & PLACE))
			return true;
	return false;
}

static bool is_needed(const struct whi_simfs *fs, const struct whi_simfs_change *change)
{
	for (int i = 0; i < 2; i++)
		if (change->sets[i].dir && (change->sets[i].dir->marks & ENTRIES))
			return true;
	return is_placed(change) || (change->is_dir_move && fs->needs_dir_moves);
}

/* A directory's changes depend on its earlier ones. So does its removal, which found it empty. A
 * move depends on the directories' being somewhere, and that of a directory on all earlier ones:
 * else it could be moved into what is below it on the disk. */
static void choose(struct whi_simfs *fs, struct whi_simfs_change *change)
{
	uint8_t of_dirs = change->is_move || is_placed(change) ? ENTRIES | PLACE : ENTRIES;

	change->chosen = true;
	fs->needs_dir_moves |= change->is_dir_move;
	for (int i = 0; i < 2; i++) {
		if (change->sets[i].dir)
			change->sets[i].dir->marks |= of_dirs;
		if (change->is_move && change->placed[i])
			change->placed[i]->marks |= PLACE;
	}
	if (change->removed)
		change->removed->marks |= ENTRIES | PLACE;
}

static void unmark_all(struct whi_simfs *fs)
{
	struct whi_list *node;

	for (node = fs->inodes.next; node != &fs->inodes; node = node->next)
		whi_container_of(node, struct whi_simfs_inode, link)->marks = 0;
	for (node = fs->changes.next; node != &fs->changes; node = node->next)
		change_at(node)->chosen = false;
	fs->needs_dir_moves = false;
}

static void write_chosen(struct whi_simfs *fs)
{
	struct whi_list *node, *next;

	for (node = fs->changes.next; node != &fs->changes; node = next) {
		next = node->next;
		if (change_at(node)->chosen)
			write_change(fs, change_at(node));
	}
}

static void sync_dir(struct whi_simfs_inode *dir)
{
	struct whi_simfs *fs = dir->fs;
	struct whi_list *node;

	unmark_all(fs);
	dir->marks = ENTRIES;
	for (node = fs->changes.prev; node != &fs->changes; node = node->prev)
		if (is_needed(fs, change_at(node)))
			choose(fs, change_at(node));
	write_chosen(fs);
}

/* The disk got none of the changes after some moment, and of those before it each with a chance of
 * `kept` in 8, and what that one depends on. */
static void crash_names(struct whi_simfs *fs, struct whi_rng *rng, uint64_t kept)
{
	uint64_t late = kept < 8 ? whi_rng_below(rng, fs->changes_count + 1) : 0;
	struct whi_list *node;

	unmark_all(fs);
	for (node = fs->changes.prev; node != &fs->changes; node = node->prev) {
		struct whi_simfs_change *change = change_at(node);
		bool by_chance = late == 0 && whi_rng_below(rng, 8) < kept;

		late -= late > 0;
		if (by_chance || is_needed(fs, change))
			choose(fs, change);
	}
	write_chosen(fs);
	whi_simfs_changes_drop(fs);
}

/* Bytes */

static bool is_unsynced(const struct whi_simfs_inode *inode)
{
	if (inode->truncated || inode->size != inode->disk_size)
		return true;
	for (size_t i = 0; i < inode->now.count; i++)
		if (inode->now.at[i].dirty)
			return true;
	return false;
}

/* What was written after a cut can be on the disk only if the cut is. */
static void write_truncation(struct whi_simfs_inode *inode)
{
	if (!inode->truncated)
		return;
	whi_simfs_pages_clear(&inode->disk);
	inode->disk_size = 0;
	inode->truncated = false;
}

static void write_page(struct whi_simfs_inode *inode, struct whi_simfs_page *page)
{
	struct whi_simfs_page *on_disk = whi_simfs_pages_set(&inode->disk, page->index,
							     whi_simfs_blob_ref(page->blob));

	on_disk->hole = page->hole;
	page->dirty = false;
}

static void write_file(struct whi_simfs_inode *inode)
{
	write_truncation(inode);
	for (size_t i = 0; i < inode->now.count; i++)
		if (inode->now.at[i].dirty)
			write_page(inode, &inode->now.at[i]);
	inode->disk_size = inode->size;
}

static struct whi_simfs_blob *disk_blob(const struct whi_simfs_inode *inode, uint64_t index)
{
	bool found;
	size_t i = whi_simfs_pages_find(&inode->disk, index, &found);

	return found ? inode->disk.at[i].blob : NULL;
}

/* Some sectors of the new page, over the old one. */
static void tear_page(struct whi_simfs_inode *inode, const struct whi_simfs_page *page,
		      struct whi_rng *rng)
{
	struct whi_simfs_blob *torn = whi_simfs_blob_new(disk_blob(inode, page->index));
	unsigned char *bytes = whi_simfs_blob_bytes(torn);

	for (size_t at = 0; at < WHI_SIMFS_PAGE; at += WHI_SIMFS_SECTOR) {
		if (coin(rng))
			continue;
		if (page->blob)
			memcpy(bytes + at, whi_simfs_blob_bytes(page->blob) + at, WHI_SIMFS_SECTOR);
		else
			memset(bytes + at, 0, WHI_SIMFS_SECTOR);
	}
	whi_simfs_pages_set(&inode->disk, page->index, torn);
}

/* The size follows the bytes or not, or part of the way, where the file then ends in zeros or in
 * what had been written. */
static void crash_size(struct whi_simfs_inode *inode, struct whi_rng *rng)
{
	uint64_t low = inode->disk_size, high = inode->size;

	if (high <= low)
		return;
	switch (whi_rng_below(rng, 3)) {
	case 0:
		break;
	case 1:
		inode->disk_size = high;
		break;
	case 2:
		inode->disk_size = low + whi_rng_below(rng, high - low + 1);
		break;
	}
}

static void crash_file(struct whi_simfs_inode *inode, struct whi_rng *rng, uint64_t kept, bool torn)
{
	if (inode->truncated && whi_rng_below(rng, 8) >= kept)
		return;
	write_truncation(inode);
	for (size_t i = 0; i < inode->now.count; i++) {
		struct whi_simfs_page *page = &inode->now.at[i];

		if (!page->dirty || whi_rng_below(rng, 8) >= kept)
			continue;
		if (torn && whi_rng_below(rng, 4) == 0)
			tear_page(inode, page, rng);
		else
			write_page(inode, page);
	}
	if (kept > 0)
		crash_size(inode, rng);
}

/* The file is as the disk has it; bytes behind its end, of pages that got there before the size
 * did, are zeros should it grow again. */
static void load_file(struct whi_simfs_inode *inode)
{
	uint64_t last = inode->disk_size / WHI_SIMFS_PAGE,
		 within = inode->disk_size % WHI_SIMFS_PAGE;
	struct whi_simfs_pages kept = { 0 };

	for (size_t i = 0; i < inode->disk.count; i++) {
		const struct whi_simfs_page *page = &inode->disk.at[i];
		struct whi_simfs_blob *blob = page->blob;

		if (page->index > last || (page->index == last && within == 0))
			break;
		if (page->index == last && blob) {
			blob = whi_simfs_blob_new(blob);
			memset(whi_simfs_blob_bytes(blob) + within, 0, WHI_SIMFS_PAGE - within);
		} else {
			whi_simfs_blob_ref(blob);
		}
		whi_simfs_pages_set(&kept, page->index, blob)->hole = page->hole;
	}
	whi_simfs_pages_clear(&inode->disk);
	whi_simfs_pages_clear(&inode->now);
	inode->disk = kept;
	inode->size = inode->disk_size;
	inode->space = 0;
	inode->truncated = false;
	for (size_t i = 0; i < kept.count; i++) {
		struct whi_simfs_page *page = whi_simfs_pages_set(
			&inode->now, kept.at[i].index, whi_simfs_blob_ref(kept.at[i].blob));

		page->hole = kept.at[i].hole;
		inode->space += !page->hole;
	}
}

/* Syncs */

static int tell(struct whi_simfs_file *file)
{
	bool told = file->sync_errors == file->inode->sync_errors;

	file->sync_errors = file->inode->sync_errors;
	return told ? 0 : -EIO;
}

int whi_simfs_sync(struct whi_simfs_file *file)
{
	if (S_ISDIR(file->inode->mode))
		sync_dir(file->inode);
	else
		write_file(file->inode);
	return tell(file);
}

/* As Linux does: a page that could not be written counts as clean afterwards. It is read as it was
 * meant to be until the cache drops it, and the next sync succeeds without it. */
static void give_up(struct whi_simfs_inode *inode, struct whi_simfs_page *page, struct whi_rng *rng)
{
	struct whi_simfs_blob *old = inode->truncated ? NULL : disk_blob(inode, page->index);

	page->dirty = false;
	if (page->hole || coin(rng))
		return;
	whi_simfs_blob_unref(page->blob);
	page->blob = whi_simfs_blob_ref(old);
}

int whi_simfs_sync_fail(struct whi_simfs_file *file, struct whi_rng *rng)
{
	struct whi_simfs_inode *inode = file->inode;

	inode->sync_errors++;
	if (coin(rng))
		write_truncation(inode);
	for (size_t i = 0; i < inode->now.count; i++) {
		struct whi_simfs_page *page = &inode->now.at[i];

		if (!page->dirty)
			continue;
		if (!inode->truncated && coin(rng))
			write_page(inode, page);
		else
			give_up(inode, page, rng);
	}
	return tell(file);
}

void whi_simfs_write_back(struct whi_simfs_inode *inode, struct whi_rng *rng)
{
	struct whi_simfs_page *page;

	if (inode->now.count == 0)
		return;
	page = &inode->now.at[whi_rng_below(rng, inode->now.count)];
	if (!page->dirty)
		return;
	write_truncation(inode);
	write_page(inode, page);
}

/* Crashes */

/* Every name of `now` goes, and comes again as the disk has it. */
static void load_names(struct whi_simfs_inode *dir)
{
	for (size_t i = 0; i < dir->disk_names.count; i++) {
		const struct whi_simfs_entry *entry = &dir->disk_names.at[i];

		whi_simfs_names_set(&dir->now_names, entry->name, entry->inode);
		whi_simfs_link(entry->inode, dir);
		load_names(entry->inode);
	}
}

static void load(struct whi_simfs *fs)
{
	struct whi_list *node, *next;

	for (node = fs->inodes.next; node != &fs->inodes; node = node->next) {
		struct whi_simfs_inode *inode = whi_container_of(node, struct whi_simfs_inode,
								 link);

		inode->refs++;
		whi_simfs_link(inode, NULL);
		whi_simfs_names_clear(&inode->now_names);
		if (S_ISREG(inode->mode))
			load_file(inode);
	}
	whi_simfs_link(fs->root, fs->root);
	load_names(fs->root);
	fs->space = 0;
	for (node = fs->inodes.next; node != &fs->inodes; node = next) {
		struct whi_simfs_inode *inode = whi_container_of(node, struct whi_simfs_inode,
								 link);

		next = node->next;
		fs->space += inode->linked || inode->opens > 0 ? inode->space : 0;
		whi_simfs_unref(inode);
	}
}

void whi_simfs_crash(struct whi_simfs *fs, struct whi_rng *rng, bool torn)
{
	static const uint64_t kept_of_8[] = { 0, 1, 4, 7, 8 };
	uint64_t kept = kept_of_8[whi_rng_below(rng, 5)];
	struct whi_list *node = fs->inodes.next;

	crash_names(fs, rng, kept);
	for (; node != &fs->inodes; node = node->next) {
		struct whi_simfs_inode *inode = whi_container_of(node, struct whi_simfs_inode,
								 link);

		if (S_ISREG(inode->mode) && is_unsynced(inode))
			crash_file(inode, rng, kept, torn);
	}
	load(fs);
}

bool whi_simfs_unsynced(const struct whi_simfs *fs)
{
	const struct whi_list *node = fs->inodes.next;

	for (; node != &fs->inodes; node = node->next)
		if (is_unsynced(whi_container_of(node, struct whi_simfs_inode, link)))
			return true;
	return false;
}
