/* Owns the way of a store's records from one process to another: its blocks as they are, each
 * behind a head. Both ends are the same program on the same machine, and what was written by a
 * process that died half way is never looked at. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/list.h"
#include "mapreduce/remote.h"

enum { BATCH = 256 };

struct head {
	uint32_t part;
	uint32_t kind; /* enum whi_kind */
	uint64_t len;  /* of the records that follow, a multiple of 8 */
};

/* Blocks that are written at once. */
struct batch {
	int fd;
	int count;
	struct head heads[BATCH];
	struct iovec iovs[2 * BATCH];
};

static int batch_flush(struct batch *batch)
{
	struct iovec *iov = batch->iovs;
	int left = 2 * batch->count;

	batch->count = 0;
	while (left > 0) {
		ssize_t n = writev(batch->fd, iov, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (; left > 0 && (size_t)n >= iov->iov_len; iov++, left--)
			n -= (ssize_t)iov->iov_len;
		if (left > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

static int batch_add(struct batch *batch, unsigned part, const struct whi_block *block)
{
	struct head *head = &batch->heads[batch->count];
	struct iovec *iov = &batch->iovs[2 * batch->count];

	if (block->used == 0)
		return 0;
	*head = (struct head){ part, block->kind, block->used };
	iov[0] = (struct iovec){ head, sizeof(*head) };
	iov[1] = (struct iovec){ (void *)(uintptr_t)block->data, block->used };
	return ++batch->count == BATCH ? batch_flush(batch) : 0;
}

static int add_table(struct batch *batch, unsigned part, const struct whi_table *table)
{
	int r = 0;

	for (uint32_t i = 0; i < table->chunk_count && r == 0; i++)
		r = batch_add(batch, part, table->chunks[i]);
	return r;
}

static int add_part(struct batch *batch, unsigned index, const struct whi_part *part)
{
	int r = add_table(batch, index, &part->shorts);

	if (r == 0)
		r = add_table(batch, index, &part->longs);
	for (const struct whi_qnode *at = part->pairs; at && r == 0; at = at->next)
		r = batch_add(batch, index, whi_container_of(at, struct whi_block, node));
	return r;
}

int whi_remote_write(struct whi_store *store, int fd)
{
	struct batch batch = { .fd = fd };
	struct whi_pool pool = { 0 };
	int r = 0;

	_Static_assert(2 * BATCH <= IOV_MAX, "one writev");
	for (unsigned part = 0; part < WHI_PARTS && r == 0; part++) {
		/* Numbers of one key in both tables meet where all of the key's do. */
		r = whi_part_merge(store, &store->parts[part], &pool);
		if (r == 0)
			r = add_part(&batch, part, &store->parts[part]);
	}
	whi_pool_fini(&pool);
	if (r == 0)
		r = atomic_load(&store->error);
	return r == 0 ? batch_flush(&batch) : r;
}

static int read_blocks(struct whi_writer *writer, const uint8_t *at, size_t left)
{
	while (left > 0) {
		struct whi_block *block;
		struct head head;

		if (left < sizeof(head))
			return -EBADMSG;
		memcpy(&head, at, sizeof(head));
		at += sizeof(head);
		left -= sizeof(head);
		if (head.part >= WHI_PARTS || head.kind >= WHI_KINDS || head.len > left)
			return -EBADMSG;
		block = whi_block_new((enum whi_kind)head.kind, head.len);
		if (!block)
			return -ENOMEM;
		memcpy(block->data, at, head.len);
		block->used = head.len;
		whi_writer_give(writer, head.part, block);
		at += head.len;
		left -= head.len;
	}
	return 0;
}

int whi_remote_read(struct whi_writer *writer, int fd)
{
	struct stat st;
	void *bytes;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return 0;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	r = read_blocks(writer, bytes, (size_t)st.st_size);
	munmap(bytes, (size_t)st.st_size);
	return r;
}
