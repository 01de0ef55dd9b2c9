/*
 * Bytes of the simulated file system, as the machine sees them: the state `now` of regular files.
 *
 * Invariant: a page's blob is written to only by an inode whose `now` alone has it. What the disk
 * has is shared until then, so that being on the disk costs no copy.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "backend/sim_fs.h"
#include "base/assert.h"

/* As of ext4 with pages of 4 KiB. */
#define SIZE_MAX_BYTES (16ull << 40)

struct whi_simfs_blob {
	uint32_t refs;
	unsigned char bytes[WHI_SIMFS_PAGE];
};

/* Pages */

struct whi_simfs_blob *whi_simfs_blob_new(const struct whi_simfs_blob *from)
{
	struct whi_simfs_blob *blob;

	if (!from) {
		blob = whi_sim_calloc(sizeof(*blob));
	} else {
		blob = whi_sim_alloc(sizeof(*blob));
		memcpy(blob->bytes, from->bytes, WHI_SIMFS_PAGE);
	}
	blob->refs = 1;
	return blob;
}

unsigned char *whi_simfs_blob_bytes(struct whi_simfs_blob *blob)
{
	return blob->bytes;
}

struct whi_simfs_blob *whi_simfs_blob_ref(struct whi_simfs_blob *blob)
{
	if (blob)
		blob->refs++;
	return blob;
}

void whi_simfs_blob_unref(struct whi_simfs_blob *blob)
{
	if (blob && --blob->refs == 0)
		whi_sim_free(blob);
}

void whi_simfs_pages_clear(struct whi_simfs_pages *pages)
{
	for (size_t i = 0; i < pages->count; i++)
		whi_simfs_blob_unref(pages->at[i].blob);
	whi_sim_free(pages->at);
	*pages = (struct whi_simfs_pages){ 0 };
}

size_t whi_simfs_pages_find(const struct whi_simfs_pages *pages, uint64_t index, bool *ret_found)
{
	size_t low = 0, high = pages->count;

	/* Files are mostly written and read from front to back. */
	if (high > 0 && pages->at[high - 1].index < index)
		low = high;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pages->at[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = low < pages->count && pages->at[low].index == index;
	return low;
}

struct whi_simfs_page *whi_simfs_pages_set(struct whi_simfs_pages *pages, uint64_t index,
					   struct whi_simfs_blob *blob)
{
	bool found;
	size_t i = whi_simfs_pages_find(pages, index, &found);

	if (found) {
		whi_assert(pages->at);
		whi_simfs_blob_unref(pages->at[i].blob);
	} else {
		if (pages->count == pages->room) {
			pages->room = pages->room ? 2 * pages->room : 4;
			pages->at = whi_sim_realloc(pages->at, pages->room * sizeof(*pages->at));
		}
		whi_assert(pages->at);
		memmove(&pages->at[i + 1], &pages->at[i], (pages->count - i) * sizeof(*pages->at));
		pages->count++;
	}
	pages->at[i] = (struct whi_simfs_page){ .index = index, .blob = blob };
	return &pages->at[i];
}

static struct whi_simfs_page *page_of(struct whi_simfs_inode *inode, uint64_t index)
{
	bool found;
	size_t i = whi_simfs_pages_find(&inode->now, index, &found);

	return found ? &inode->now.at[i] : NULL;
}

/* The page of `index`, with space of its own. NULL: there is no space. */
static struct whi_simfs_page *take_page(struct whi_simfs_inode *inode, uint64_t index)
{
	struct whi_simfs_page *page = page_of(inode, index);
	struct whi_simfs *fs = inode->fs;

	if (page && !page->hole)
		return page;
	if (fs->space_max > 0 && fs->space >= fs->space_max)
		return NULL;
	fs->space++;
	inode->space++;
	if (page)
		page->hole = false;
	else
		page = whi_simfs_pages_set(&inode->now, index, NULL);
	page->dirty = true;
	return page;
}

static unsigned char *bytes_to_change(struct whi_simfs_page *page)
{
	struct whi_simfs_blob *blob = page->blob;

	page->dirty = true;
	if (!blob || blob->refs > 1) {
		page->blob = whi_simfs_blob_new(blob);
		whi_simfs_blob_unref(blob);
	}
	return page->blob->bytes;
}

static void changed(struct whi_simfs_inode *inode)
{
	inode->changed_ns = inode->fs->now_ns;
}

void whi_simfs_truncate(struct whi_simfs_inode *inode)
{
	if (inode->size == 0 && inode->now.count == 0)
		return;
	inode->fs->space -= inode->linked || inode->opens > 0 ? inode->space : 0;
	inode->space = 0;
	inode->size = 0;
	inode->truncated = true;
	whi_simfs_pages_clear(&inode->now);
	changed(inode);
}

/* Pieces of a transfer */

/* Up to `len` bytes within one page. Returns how many; 0: no space. */
static size_t put(struct whi_simfs_inode *inode, uint64_t offset, const void *from, size_t len)
{
	size_t within = offset % WHI_SIMFS_PAGE;
	struct whi_simfs_page *page = take_page(inode, offset / WHI_SIMFS_PAGE);

	if (!page)
		return 0;
	if (len > WHI_SIMFS_PAGE - within)
		len = WHI_SIMFS_PAGE - within;
	memcpy(bytes_to_change(page) + within, from, len);
	if (offset + len > inode->size)
		inode->size = offset + len;
	return len;
}

static size_t get(struct whi_simfs_inode *inode, uint64_t offset, void *to, size_t len)
{
	size_t within = offset % WHI_SIMFS_PAGE;
	const struct whi_simfs_page *page = page_of(inode, offset / WHI_SIMFS_PAGE);

	if (offset >= inode->size)
		return 0;
	if (len > inode->size - offset)
		len = inode->size - offset;
	if (len > WHI_SIMFS_PAGE - within)
		len = WHI_SIMFS_PAGE - within;
	if (page && page->blob)
		memcpy(to, page->blob->bytes + within, len);
	else
		memset(to, 0, len);
	return len;
}

/* Reads and writes */

struct span {
	struct whi_simfs_inode *inode;
	uint64_t offset;
	size_t max;
	bool is_write;
};

static size_t move(const struct span *span, size_t done, char *memory, size_t len)
{
	size_t moved = 0, n = 1;

	while (moved < len && n > 0) {
		uint64_t offset = span->offset + done + moved;

		n = span->is_write ? put(span->inode, offset, memory + moved, len - moved)
				   : get(span->inode, offset, memory + moved, len - moved);
		moved += n;
	}
	return moved;
}

static size_t transfer(const struct span *span, const struct iovec *iov, unsigned iov_count)
{
	size_t done = 0;

	for (unsigned i = 0; i < iov_count && done < span->max; i++) {
		size_t len = iov[i].iov_len;
		size_t n;

		if (len > span->max - done)
			len = span->max - done;
		n = move(span, done, iov[i].iov_base, len);
		done += n;
		if (n < len)
			break;
	}
	return done;
}

static size_t length(const struct iovec *iov, unsigned iov_count, size_t max)
{
	size_t total = 0;

	for (unsigned i = 0; i < iov_count && total < max; i++)
		total += iov[i].iov_len < max - total ? iov[i].iov_len : max - total;
	return total;
}

static int check_span(const struct whi_simfs_file *file, const struct span *span)
{
	if ((file->flags & O_ACCMODE) == (span->is_write ? O_RDONLY : O_WRONLY))
		return -EBADF;
	if (S_ISDIR(file->inode->mode) && span->max > 0)
		return -EISDIR;
	return span->offset > INT64_MAX - span->max ? -EINVAL : 0;
}

static void moved_to(struct whi_simfs_file *file, uint64_t offset, const struct span *span,
		     size_t done)
{
	if (offset == UINT64_MAX)
		file->position = span->offset + done;
}

ssize_t whi_simfs_read(struct whi_simfs_file *file, const struct iovec *iov, unsigned iov_count,
		       uint64_t offset, size_t max)
{
	struct span span = {
		.inode = file->inode,
		.offset = offset == UINT64_MAX ? file->position : offset,
		.max = length(iov, iov_count, max),
	};
	int r = check_span(file, &span);
	size_t done;

	if (r < 0)
		return r;
	done = transfer(&span, iov, iov_count);
	moved_to(file, offset, &span, done);
	return (ssize_t)done;
}

ssize_t whi_simfs_write(struct whi_simfs_file *file, const struct iovec *iov, unsigned iov_count,
			uint64_t offset, size_t max)
{
	struct span span = {
		.inode = file->inode,
		.offset = offset == UINT64_MAX ? file->position : offset,
		.max = length(iov, iov_count, max),
		.is_write = true,
	};
	int r = check_span(file, &span);
	size_t done;

	if (r < 0 || span.max == 0)
		return r;
	if (file->flags & O_APPEND)
		span.offset = file->inode->size;
	if (span.offset >= SIZE_MAX_BYTES)
		return -EFBIG;
	if (span.max > SIZE_MAX_BYTES - span.offset)
		span.max = SIZE_MAX_BYTES - span.offset;
	done = transfer(&span, iov, iov_count);
	if (done == 0)
		return -ENOSPC;
	changed(file->inode);
	moved_to(file, offset, &span, done);
	return (ssize_t)done;
}

int whi_simfs_seek(struct whi_simfs_file *file, int64_t offset, int whence)
{
	int64_t base = 0;

	if (whence == SEEK_CUR)
		base = (int64_t)file->position;
	else if (whence == SEEK_END)
		base = (int64_t)file->inode->size;
	else if (whence != SEEK_SET)
		return -EINVAL;
	if (offset < -base || (offset > 0 && (uint64_t)offset > SIZE_MAX_BYTES - (uint64_t)base))
		return -EINVAL;
	file->position = (uint64_t)(base + offset);
	return 0;
}

/* Space */

static void zero_part(struct whi_simfs_inode *inode, uint64_t offset, uint64_t len)
{
	struct whi_simfs_page *page = page_of(inode, offset / WHI_SIMFS_PAGE);

	if (page && page->blob)
		memset(bytes_to_change(page) + offset % WHI_SIMFS_PAGE, 0, len);
}

static void drop_page(struct whi_simfs_inode *inode, struct whi_simfs_page *page)
{
	if (page->hole)
		return;
	whi_simfs_blob_unref(page->blob);
	page->blob = NULL;
	page->hole = true;
	page->dirty = true;
	inode->space--;
	inode->fs->space--;
}

static void punch(struct whi_simfs_inode *inode, uint64_t offset, uint64_t end)
{
	uint64_t first = (offset + WHI_SIMFS_PAGE - 1) / WHI_SIMFS_PAGE;
	uint64_t last = end / WHI_SIMFS_PAGE;
	bool found;

	if (first > last) {
		zero_part(inode, offset, end - offset);
		return;
	}
	if (offset % WHI_SIMFS_PAGE)
		zero_part(inode, offset, first * WHI_SIMFS_PAGE - offset);
	if (end % WHI_SIMFS_PAGE)
		zero_part(inode, last * WHI_SIMFS_PAGE, end % WHI_SIMFS_PAGE);
	for (size_t i = whi_simfs_pages_find(&inode->now, first, &found);
	     i < inode->now.count && inode->now.at[i].index < last; i++)
		drop_page(inode, &inode->now.at[i]);
}

/* As ext4 does, what was reserved before space ran out stays so. */
static int reserve(struct whi_simfs_inode *inode, uint64_t offset, uint64_t end)
{
	for (uint64_t i = offset / WHI_SIMFS_PAGE; i * WHI_SIMFS_PAGE < end; i++)
		if (!take_page(inode, i))
			return -ENOSPC;
	return 0;
}

int whi_simfs_allocate(struct whi_simfs_file *file, int mode, uint64_t offset, uint64_t len)
{
	struct whi_simfs_inode *inode = file->inode;
	int r = 0;

	if (offset > INT64_MAX || len > INT64_MAX || len == 0)
		return -EINVAL;
	if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE &&
	    mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if ((file->flags & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	if (S_ISDIR(inode->mode))
		return -EISDIR;
	if (offset + len > SIZE_MAX_BYTES)
		return -EFBIG;
	changed(inode);
	if (mode & FALLOC_FL_PUNCH_HOLE)
		punch(inode, offset, offset + len);
	else
		r = reserve(inode, offset, offset + len);
	if (r == 0 && mode == 0 && offset + len > inode->size)
		inode->size = offset + len;
	return r;
}
