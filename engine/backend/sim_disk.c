/*
 * The disk of a simulated host: operations on files and paths, in time and with faults. What they
 * do is the file system's, sim_fs.h.
 *
 * Invariants
 * 1. An operation has its whole effect at one moment, after a delay by the seed. As many as are in
 *    flight pass one another: writes that overlap and were not waited for may have either order.
 * 2. Until that moment a cancellation may be in time, or find it at the device already; which, the
 *    seed has chosen when it began. Cancelled, it has had no effect.
 * 3. What is drawn from the disk's stream of numbers does not depend on which faults strike.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <whorl/api.h>

#include "backend/sim.h"
#include "backend/sim_fs.h"
#include "base/container.h"

enum {
	RW_MAX = 0x7ffff000,	/* of one read or write, as in Linux */
	WRITE_BACK_ONE_IN = 16, /* writes after which the kernel writes a page to the disk */
	SLOW_MAX = 1000000,	/* microseconds */
};

struct whi_sim_disk {
	struct whi_simfs fs;
};

struct open_file {
	struct whi_sim_file base; /* must be first */
	struct whi_simfs_file file;
};

static struct open_file *open_file(struct whi_sim_file *file)
{
	return whi_container_of(file, struct open_file, base);
}

static struct whi_simfs *fs_at(struct whi_sim_host *host)
{
	host->disk->fs.now_ns = whi_sim_now_ns(host->world);
	return &host->disk->fs;
}

/* Time */

enum { AT_DEVICE = 0 }; /* of `scratch`: cancelling comes too late */

/* Some microseconds, sometimes more by the seed, and much more by a fault. */
static void later(struct whi_sim_req *req, uint64_t typical_us,
		  void (*then)(struct whi_sim_req *req))
{
	struct whi_rng *rng = whi_sim_disk_rng(req->world);
	uint64_t delay_ns = typical_us * WH_US / 2 + whi_rng_below(rng, typical_us * WH_US);
	uint64_t slow;

	if (whi_rng_below(rng, 16) == 0)
		delay_ns *= 10;
	req->scratch[AT_DEVICE] = whi_rng_below(rng, 2);
	slow = whi_sim_strike(req->world, WHI_FAULT_DISK_SLOW, req);
	if (slow)
		delay_ns += slow % SLOW_MAX * WH_US;
	whi_sim_after(req, delay_ns, then);
}

int whi_sim_disk_cancel(struct whi_sim_req *req)
{
	return req->scratch[AT_DEVICE] ? WHI_SIM_GOES_ON : -ECANCELED;
}

static bool strikes(struct whi_sim_req *req, enum whi_sim_fault fault)
{
	return whi_sim_strike(req->world, fault, req) != 0;
}

/* Opening */

static void release(struct whi_sim_file *file)
{
	whi_simfs_close(&open_file(file)->file);
	whi_sim_free(open_file(file));
}

static void describe(const struct whi_sim_file *file, char *text, size_t size)
{
	const struct whi_simfs_inode *inode =
		((const struct open_file *)(const void *)file)->file.inode;

	snprintf(text, size, "%s, inode %ju", S_ISDIR(inode->mode) ? "directory" : "file",
		 (uintmax_t)inode->number);
}

static const struct whi_sim_file_ops file_ops = { .release = release, .describe = describe };

static int open_path(struct whi_sim_req *req)
{
	const struct whi_op *op = req->op;
	struct whi_sim_host *host = req->host;
	struct open_file *file;
	int r;

	if (!whi_sim_fd_room(host))
		return -EMFILE;
	if ((op->path.flags & O_CREAT) && strikes(req, WHI_FAULT_ENOSPC))
		return -ENOSPC;
	file = whi_sim_alloc(sizeof(*file));
	r = whi_simfs_open(fs_at(host), op->path.path, op->path.flags, op->path.mode, &file->file);
	if (r < 0) {
		whi_sim_free(file);
		return r;
	}
	whi_sim_file_init(&file->base, host, WHI_SIM_FILE, &file_ops);
	file->base.flags = op->path.flags;
	return whi_sim_fd_new(host, &file->base);
}

static void openat_then(struct whi_sim_req *req)
{
	whi_sim_post(req, open_path(req), 0);
}

void whi_sim_openat(struct whi_sim_req *req)
{
	later(req, 30, openat_then);
}

/* Reading and writing */

struct pieces {
	const struct iovec *iov;
	unsigned iov_count;
	uint64_t offset;
	size_t len;
};

static size_t length(const struct iovec *iov, unsigned iov_count)
{
	size_t len = 0;

	for (unsigned i = 0; i < iov_count && len < RW_MAX; i++)
		len += iov[i].iov_len < RW_MAX - len ? iov[i].iov_len : RW_MAX - len;
	return len;
}

/* `one` is the caller's room for an operation of one piece. */
static struct pieces pieces_of(const struct whi_op *op, struct iovec *one)
{
	struct pieces pieces = { .iov = one, .iov_count = 1 };

	if (op->kind == WHI_OP_READV || op->kind == WHI_OP_WRITEV) {
		pieces.iov = op->vec.iov;
		pieces.iov_count = op->vec.iov_count;
		pieces.offset = op->vec.offset;
	} else {
		*one = (struct iovec){ op->rw.buf, op->rw.len };
		pieces.offset = op->rw.offset;
	}
	pieces.len = pieces.iov_count <= IOV_MAX ? length(pieces.iov, pieces.iov_count) : 0;
	return pieces;
}

/* -EINVAL: not something that is read or written here. */
static int check_pieces(const struct whi_sim_req *req, const struct pieces *pieces)
{
	return req->file->kind != WHI_SIM_FILE || pieces->iov_count > IOV_MAX ? -EINVAL : 0;
}

static size_t shortened(struct whi_sim_req *req, size_t len)
{
	uint64_t number = len > 1 ? whi_sim_strike(req->world, WHI_FAULT_DISK_SHORT, req) : 0;

	return number ? 1 + number % (len - 1) : len;
}

static ssize_t do_read(struct whi_sim_req *req)
{
	struct iovec one;
	struct pieces pieces = pieces_of(req->op, &one);
	int r = check_pieces(req, &pieces);

	if (r < 0)
		return r;
	if (pieces.len > 0 && strikes(req, WHI_FAULT_EIO))
		return -EIO;
	return whi_simfs_read(&open_file(req->file)->file, pieces.iov, pieces.iov_count,
			      pieces.offset, shortened(req, pieces.len));
}

static ssize_t do_write(struct whi_sim_req *req)
{
	struct iovec one;
	struct pieces pieces = pieces_of(req->op, &one);
	struct whi_rng rng = { whi_rng_next(whi_sim_disk_rng(req->world)) };
	int r = check_pieces(req, &pieces);
	ssize_t written;

	if (r < 0)
		return r;
	if (pieces.len > 0 && strikes(req, WHI_FAULT_EIO))
		return -EIO;
	if (pieces.len > 0 && strikes(req, WHI_FAULT_ENOSPC))
		return -ENOSPC;
	fs_at(req->host);
	written = whi_simfs_write(&open_file(req->file)->file, pieces.iov, pieces.iov_count,
				  pieces.offset, shortened(req, pieces.len));
	if (written > 0 && whi_rng_below(&rng, WRITE_BACK_ONE_IN) == 0)
		whi_simfs_write_back(open_file(req->file)->file.inode, &rng);
	return written;
}

static void read_then(struct whi_sim_req *req)
{
	whi_sim_post(req, (int32_t)do_read(req), 0);
}

static void write_then(struct whi_sim_req *req)
{
	whi_sim_post(req, (int32_t)do_write(req), 0);
}

void whi_sim_read(struct whi_sim_req *req)
{
	later(req, 60, read_then);
}

void whi_sim_write(struct whi_sim_req *req)
{
	later(req, 40, write_then);
}

void whi_sim_readv(struct whi_sim_req *req)
{
	later(req, 60, read_then);
}

void whi_sim_writev(struct whi_sim_req *req)
{
	later(req, 40, write_then);
}

int whi_sim_seek_now(struct whi_sim_host *host, const struct whi_op *op)
{
	struct whi_sim_file *file = whi_sim_fd_get(host, op->fd);

	if (!file)
		return -EBADF;
	if (file->kind != WHI_SIM_FILE)
		return -ESPIPE;
	return whi_simfs_seek(&open_file(file)->file, op->seek.offset, op->seek.whence);
}

/* Syncing and reserving */

static int do_sync(struct whi_sim_req *req)
{
	struct whi_simfs_file *file;
	struct whi_rng rng;

	if (req->file->kind != WHI_SIM_FILE)
		return -EINVAL;
	file = &open_file(req->file)->file;
	rng.state = whi_sim_strike(req->world, WHI_FAULT_EIO, req);
	return rng.state ? whi_simfs_sync_fail(file, &rng) : whi_simfs_sync(file);
}

static void fsync_then(struct whi_sim_req *req)
{
	whi_sim_post(req, do_sync(req), 0);
}

void whi_sim_fsync(struct whi_sim_req *req)
{
	later(req, 1500, fsync_then);
}

static int do_allocate(struct whi_sim_req *req)
{
	const struct whi_op *op = req->op;

	if (req->file->kind != WHI_SIM_FILE)
		return -ENODEV;
	if (strikes(req, WHI_FAULT_EIO))
		return -EIO;
	if (strikes(req, WHI_FAULT_ENOSPC))
		return -ENOSPC;
	fs_at(req->host);
	return whi_simfs_allocate(&open_file(req->file)->file, op->allocate.mode,
				  op->allocate.offset, op->allocate.len);
}

static void fallocate_then(struct whi_sim_req *req)
{
	whi_sim_post(req, do_allocate(req), 0);
}

void whi_sim_fallocate(struct whi_sim_req *req)
{
	later(req, 100, fallocate_then);
}

/* Paths */

/* Of something that is no file of the disk. */
static int stat_other(const struct whi_sim_file *file, struct statx *ret)
{
	*ret = (struct statx){
		.stx_mask = STATX_BASIC_STATS,
		.stx_mode = file->kind == WHI_SIM_SOCKET ? S_IFSOCK | 0777 : S_IFREG | 0600,
		.stx_nlink = 1,
		.stx_blksize = WHI_SIMFS_PAGE,
	};
	return 0;
}

/* Where `op`, a statx, begins: *ret stays NULL for the working directory, the root. */
static int stat_from(struct whi_sim_host *host, const struct whi_op *op, struct whi_sim_file **ret)
{
	const int allowed = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT |
			    AT_STATX_SYNC_TYPE;

	*ret = NULL;
	if ((op->path.flags & ~allowed) || (op->path.mode & STATX__RESERVED))
		return -EINVAL;
	if (op->fd == AT_FDCWD || op->path.path[0] == '/')
		return 0;
	*ret = whi_sim_fd_get(host, op->fd);
	return *ret ? 0 : -EBADF;
}

int whi_sim_statx_now(struct whi_sim_host *host, const struct whi_op *op)
{
	bool empty = op->path.path[0] == '\0' && (op->path.flags & AT_EMPTY_PATH);
	struct whi_simfs_inode *inode = NULL;
	struct whi_sim_file *file;
	int r = stat_from(host, op, &file);

	if (r < 0)
		return r;
	if (file && file->kind != WHI_SIM_FILE)
		return empty ? stat_other(file, op->path.statx) : -ENOTDIR;
	if (file)
		inode = open_file(file)->file.inode;
	if (!empty)
		r = whi_simfs_find(fs_at(host), inode, op->path.path, &inode);
	else if (!inode)
		inode = fs_at(host)->root;
	if (r == 0)
		whi_simfs_stat(inode, op->path.statx);
	return r;
}

int whi_sim_unlinkat_now(struct whi_sim_host *host, const struct whi_op *op)
{
	return whi_simfs_unlink(fs_at(host), op->path.path, op->path.flags);
}

static void statx_then(struct whi_sim_req *req)
{
	whi_sim_post(req, whi_sim_statx_now(req->host, req->op), 0);
}

static void unlinkat_then(struct whi_sim_req *req)
{
	whi_sim_post(req, whi_sim_unlinkat_now(req->host, req->op), 0);
}

static void renameat_then(struct whi_sim_req *req)
{
	const struct whi_op *op = req->op;
	int r = -ENOSPC;

	if (!strikes(req, WHI_FAULT_ENOSPC))
		r = whi_simfs_rename(fs_at(req->host), op->path.path, op->path.to,
				     (unsigned)op->path.flags);
	whi_sim_post(req, r, 0);
}

static void mkdirat_then(struct whi_sim_req *req)
{
	const struct whi_op *op = req->op;
	int r = -ENOSPC;

	if (!strikes(req, WHI_FAULT_ENOSPC))
		r = whi_simfs_mkdir(fs_at(req->host), op->path.path, op->path.mode);
	whi_sim_post(req, r, 0);
}

void whi_sim_statx(struct whi_sim_req *req)
{
	later(req, 20, statx_then);
}

void whi_sim_unlinkat(struct whi_sim_req *req)
{
	later(req, 40, unlinkat_then);
}

void whi_sim_renameat(struct whi_sim_req *req)
{
	later(req, 40, renameat_then);
}

void whi_sim_mkdirat(struct whi_sim_req *req)
{
	later(req, 40, mkdirat_then);
}

/* Socket files */

int whi_sim_disk_bind(struct whi_sim_host *host, const char *path, uint64_t *ret)
{
	return whi_simfs_bind(fs_at(host), path, ret);
}

int whi_sim_disk_find_socket(struct whi_sim_host *host, const char *path, uint64_t *ret)
{
	struct whi_simfs_inode *inode;
	int r = whi_simfs_find(fs_at(host), NULL, path, &inode);

	if (r < 0)
		return r;
	*ret = inode->number;
	return S_ISSOCK(inode->mode) ? 0 : -ECONNREFUSED;
}

/* The whole disk */

void whi_sim_disk_init(struct whi_sim_host *host)
{
	host->disk = whi_sim_alloc(sizeof(*host->disk));
	whi_simfs_init(&host->disk->fs);
}

void whi_sim_disk_fini(struct whi_sim_host *host)
{
	whi_simfs_fini(&host->disk->fs);
	whi_sim_free(host->disk);
	host->disk = NULL;
}

void whi_sim_disk_limit(struct whi_sim_host *host, uint64_t bytes)
{
	uint64_t pages = bytes / WHI_SIMFS_PAGE;

	host->disk->fs.space_max = bytes > 0 && pages == 0 ? 1 : pages;
}

void whi_sim_disk_crash(struct whi_sim_host *host)
{
	struct whi_rng rng = { whi_rng_next(whi_sim_disk_rng(host->world)) };
	struct whi_simfs *fs = fs_at(host);
	bool torn = whi_simfs_unsynced(fs) && whi_sim_strike(host->world, WHI_FAULT_TORN, NULL);

	whi_simfs_crash(fs, &rng, torn);
	whi_sim_note(host->world, host, "disk after a crash", fs->space, fs->next_number);
}
