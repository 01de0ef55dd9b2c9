/*
 * A file system of the simulated kernel: names and bytes, as the machine sees them and as they are
 * on its disk. It knows no time and no requests; sim_disk.c puts those around it.
 *
 * Every call returns what the system call of its name does: >= 0, or -errno. Of Linux it has
 * regular files, directories and socket files, without links, owners, permissions and umask.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "backend/sim.h"

struct whi_simfs_blob;

/* One page of a file: 4 KiB of `blob`, or zeros if that is NULL. */
struct whi_simfs_page {
	uint64_t index;
	struct whi_simfs_blob *blob; /* counted; whoever shares it does not write to it */
	bool dirty;		     /* changed since it was last written to the disk */
	bool hole;		     /* takes no space */
};

/* In ascending order of `index`. */
struct whi_simfs_pages {
	struct whi_simfs_page *at;
	size_t count, room;
};

struct whi_simfs_entry {
	char *name;
	struct whi_simfs_inode *inode; /* counted */
};

struct whi_simfs_names {
	struct whi_simfs_entry *at;
	size_t count, room;
};

/* Each in two states: `now` is what the machine sees, `disk` what a crash leaves for sure. */
struct whi_simfs_inode {
	struct whi_simfs *fs;
	struct whi_list link; /* of all the file system's */
	uint64_t number;
	uint32_t refs;	/* entries in either state, changes not on the disk yet, open files */
	uint32_t opens; /* open files */
	bool linked;	/* an entry of `now` names it */
	mode_t mode;
	uint8_t marks; /* of a walk over the changes */
	/* directories */
	struct whi_simfs_inode *parent; /* while linked */
	struct whi_simfs_names now_names, disk_names;
	/* regular files */
	struct whi_simfs_pages now, disk;
	uint64_t size, disk_size;
	uint64_t space;	      /* pages of `now` that are no holes */
	bool truncated;	      /* cut to nothing since it was last written to the disk */
	uint64_t sync_errors; /* failures to write it, ever */
	uint64_t changed_ns;
};

struct whi_simfs {
	struct whi_simfs_inode *root;
	struct whi_list inodes;
	struct whi_list changes; /* of names, not on the disk yet; oldest first */
	uint32_t changes_count;
	bool needs_dir_moves; /* of a walk over the changes */
	uint64_t next_number;
	uint64_t space_max; /* in pages; 0: no limit */
	uint64_t space;	    /* in use */
	uint64_t now_ns;    /* what is changed is changed at; set by the caller */
};

/* An open file. */
struct whi_simfs_file {
	struct whi_simfs_inode *inode; /* counted */
	int flags;
	uint64_t position;
	uint64_t sync_errors; /* of the inode's, those this file was told of */
};

enum { WHI_SIMFS_PAGE = 4096, WHI_SIMFS_SECTOR = 512, WHI_SIMFS_CHANGES_MAX = 4096 };

void whi_simfs_init(struct whi_simfs *fs);
/* No file is open. */
void whi_simfs_fini(struct whi_simfs *fs);

/* sim_fs.c: paths */

int whi_simfs_open(struct whi_simfs *fs, const char *path, int flags, mode_t mode,
		   struct whi_simfs_file *ret);
void whi_simfs_close(struct whi_simfs_file *file);
int whi_simfs_mkdir(struct whi_simfs *fs, const char *path, mode_t mode);
int whi_simfs_unlink(struct whi_simfs *fs, const char *path, int flags);
int whi_simfs_rename(struct whi_simfs *fs, const char *from, const char *to, unsigned flags);
/* A socket file. -EADDRINUSE if there is something of that name. */
int whi_simfs_bind(struct whi_simfs *fs, const char *path, uint64_t *ret_number);
/* What `path` names. Starts at `from`, the root if it is NULL. */
int whi_simfs_find(struct whi_simfs *fs, struct whi_simfs_inode *from, const char *path,
		   struct whi_simfs_inode **ret);
void whi_simfs_stat(const struct whi_simfs_inode *inode, struct statx *ret);

/* sim_fs_data.c: bytes */

/* At `offset`, or at the file's position and behind it afterwards if `offset` is UINT64_MAX. At
 * most `max` bytes. */
ssize_t whi_simfs_read(struct whi_simfs_file *file, const struct iovec *iov, unsigned iov_count,
		       uint64_t offset, size_t max);
ssize_t whi_simfs_write(struct whi_simfs_file *file, const struct iovec *iov, unsigned iov_count,
			uint64_t offset, size_t max);
int whi_simfs_seek(struct whi_simfs_file *file, int64_t offset, int whence);
int whi_simfs_allocate(struct whi_simfs_file *file, int mode, uint64_t offset, uint64_t len);

/* sim_fs_crash.c: what is on the disk */

/* 0; -EIO if an earlier failure has not been told to this file yet. */
int whi_simfs_sync(struct whi_simfs_file *file);
/* A sync that fails with -EIO, for `file` now and for the inode's others later. What was not on the
 * disk gets there or is given up, page by page, by `rng`. */
int whi_simfs_sync_fail(struct whi_simfs_file *file, struct whi_rng *rng);
/* The kernel writes something to the disk without being asked. */
void whi_simfs_write_back(struct whi_simfs_inode *inode, struct whi_rng *rng);
/* Lose what a loss of power may lose; `torn`: pages that were not written may be so in part.
 * Files that are open are good for nothing but being closed. */
void whi_simfs_crash(struct whi_simfs *fs, struct whi_rng *rng, bool torn);
/* True if a crash could lose bytes. */
bool whi_simfs_unsynced(const struct whi_simfs *fs);

/* Between the four; inodes and directories are sim_fs_names.c */

/* A name's new meaning; `inode` NULL: none. */
struct whi_simfs_set {
	struct whi_simfs_inode *dir, *inode; /* counted */
	char *name;
};

/* What one call has done to names. */
struct whi_simfs_change {
	struct whi_list link;
	struct whi_simfs_set sets[2];	   /* the second may be empty: no `dir` */
	struct whi_simfs_inode *placed[2]; /* made or moved; counted, NULL: none */
	struct whi_simfs_inode *removed;   /* counted, NULL: none */
	bool is_move;
	bool is_dir_move; /* of a directory into another one */
	bool chosen;	  /* by a walk */
};

struct whi_simfs_inode *whi_simfs_inode_new(struct whi_simfs *fs, mode_t mode);
void whi_simfs_unref(struct whi_simfs_inode *inode);
struct whi_simfs_inode *whi_simfs_ref(struct whi_simfs_inode *inode);
/* It is open `count` times more. */
void whi_simfs_opened(struct whi_simfs_inode *inode, int count);
/* An entry of `now` in `parent` names it; NULL: none does. */
void whi_simfs_link(struct whi_simfs_inode *inode, struct whi_simfs_inode *parent);
/* By the names of `now`. NULL: none. */
struct whi_simfs_inode *whi_simfs_lookup(const struct whi_simfs_inode *dir, const char *name);
void whi_simfs_names_set(struct whi_simfs_names *names, const char *name,
			 struct whi_simfs_inode *inode);
void whi_simfs_names_clear(struct whi_simfs_names *names);
void whi_simfs_pages_clear(struct whi_simfs_pages *pages);
/* The page of `index`, or where it would be; `*ret_found` says which. */
size_t whi_simfs_pages_find(const struct whi_simfs_pages *pages, uint64_t index, bool *ret_found);
/* It takes over the caller's count of `blob`. */
struct whi_simfs_page *whi_simfs_pages_set(struct whi_simfs_pages *pages, uint64_t index,
					   struct whi_simfs_blob *blob);
struct whi_simfs_blob *whi_simfs_blob_new(const struct whi_simfs_blob *from);
unsigned char *whi_simfs_blob_bytes(struct whi_simfs_blob *blob);
struct whi_simfs_blob *whi_simfs_blob_ref(struct whi_simfs_blob *blob);
void whi_simfs_blob_unref(struct whi_simfs_blob *blob);
void whi_simfs_truncate(struct whi_simfs_inode *inode); /* to nothing */
struct whi_simfs_change *whi_simfs_change_new(struct whi_simfs_inode *placed,
					      struct whi_simfs_inode *removed);
void whi_simfs_change_set(struct whi_simfs_change *change, struct whi_simfs_inode *dir,
			  const char *name, struct whi_simfs_inode *inode);
void whi_simfs_change_make(struct whi_simfs *fs, struct whi_simfs_change *change);
void whi_simfs_changes_trim(struct whi_simfs *fs);
void whi_simfs_changes_drop(struct whi_simfs *fs);
