/* Owns reads with O_DIRECT: offsets, lengths and memory are multiples of what the file asks for.
 *
 * 1. What is read begins at the last multiple at or before the byte that is wanted.
 * 2. It is mapped where it was read to. What is left of the read before it, a piece of a record, is
 *    copied in front of it; pieces that are longer than HEAD_BYTES meet in `buf` instead.
 * 3. The memory is one huge page where there are such. A megabyte of small ones is as many pieces
 *    for the device as it has pages, which can halve its rate, and each is pinned by itself. */
#include "mapreduce/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <whorl/file.h>
#include <whorl/scope.h>

#include "base/alloc.h"
#include "mapreduce/job.h"

enum {
	HUGE_BYTES = 2 * 1024 * 1024,
	HEAD_BYTES = 256 * 1024,
	READ_BYTES = 1024 * 1024,
	AREA_BYTES = READ_BYTES + READ_BYTES / 2, /* the last read of a part may be longer */
	ALIGN_LEAST = 4096, /* of disks whose blocks are shorter too: so long are pages */
	ALIGN_MOST = 64 * 1024,
};

_Static_assert(HEAD_BYTES + AREA_BYTES + WHI_WORDS_SLACK <= HUGE_BYTES, "too long for the memory");

/* Any multiple that the file asks for, 0 if it cannot be read directly. */
static size_t alignment_of(struct wh_file *file)
{
	struct statx st = { 0 };
	size_t align;

	if (statx(wh_file_fd(file), "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0 ||
	    !(st.stx_mask & STATX_DIOALIGN))
		return ALIGN_LEAST;
	align = st.stx_dio_offset_align;
	if (align == 0 || align > ALIGN_MOST || st.stx_dio_mem_align > ALIGN_MOST)
		return 0;
	if (st.stx_dio_mem_align > align)
		align = st.stx_dio_mem_align;
	return align > ALIGN_LEAST ? align : ALIGN_LEAST;
}

/* Memory of which `memory` is on a huge page's border. */
static int make_memory(struct whi_direct *direct)
{
	uint8_t *mapping = mmap(NULL, 2 * (size_t)HUGE_BYTES, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mapping == MAP_FAILED)
		return -ENOMEM;
	direct->mapping = mapping;
	direct->memory = mapping + HUGE_BYTES - (uintptr_t)mapping % HUGE_BYTES;
	/* Where there are none, small ones do. */
	(void)madvise(direct->memory, HUGE_BYTES, MADV_HUGEPAGE);
	return 0;
}

/* The bytes in `buf` and those that follow them, in a row; whatever is mapped of them. */
static int map_joined(struct whi_direct *direct, struct whi_mapper *mapper)
{
	const uint8_t *got = direct->memory + HEAD_BYTES + direct->got_begin;
	struct whi_buffer *buf = &direct->buf;
	int r = whi_buffer_reserve(buf, buf->len + direct->got_len);

	if (r < 0)
		return r;
	memcpy(buf->data + buf->len, got, direct->got_len);
	buf->len += direct->got_len;
	return whi_source_map(direct->source, mapper, buf, direct->eof);
}

static int map_in_place(struct whi_direct *direct, struct whi_mapper *mapper)
{
	struct whi_buffer *buf = &direct->buf;
	struct whi_buffer all = {
		.data = direct->memory + HEAD_BYTES + direct->got_begin - buf->len,
		.len = buf->len + direct->got_len,
		.room = SIZE_MAX, /* it is not to grow: what is left goes to `buf` */
	};
	int r;

	if (buf->len)
		memcpy(all.data, buf->data, buf->len);
	r = whi_source_map(direct->source, mapper, &all, direct->eof);
	if (r == 0)
		r = whi_buffer_reserve(buf, all.len);
	if (r < 0)
		return r;
	if (all.len)
		memcpy(buf->data, all.data, all.len);
	buf->len = all.len;
	return 0;
}

/* On a worker. */
static int map_area(void *arg)
{
	struct whi_direct *direct = arg;
	struct whi_mapper *mapper = whi_mr_take_mapper(direct->mr);
	int r;

	if (!mapper)
		return -ENOMEM;
	if (direct->buf.len <= HEAD_BYTES)
		r = map_in_place(direct, mapper);
	else
		r = map_joined(direct, mapper);
	atomic_fetch_add_explicit(&direct->mr->bytes_done, whi_source_progress(direct->source),
				  memory_order_relaxed);
	whi_mr_put_mapper(direct->mr, mapper);
	return r;
}

/* Read what follows the bytes in `buf`. Returns 0, WHI_NOT_CACHED if that cannot be done directly,
 * or why the task is to end. */
static int read_area(struct whi_direct *direct, struct wh_file *file, size_t align)
{
	struct whi_source *source = direct->source;
	uint64_t want = source->pos + direct->buf.len, begin = want / align * align;
	uint64_t far = whi_source_far(source, &direct->buf), len;
	ssize_t n;

	len = far < AREA_BYTES - 2 * ALIGN_MOST ? want - begin + far : READ_BYTES;
	len = (len + align - 1) / align * align;
	n = wh_file_read(file, direct->memory + HEAD_BYTES, len, begin);
	if (n < 0 && wh_cancelled() < 0)
		return (int)n;
	/* Not all that open a file so can read it so, and some only see it then. */
	if (n == -EINVAL)
		return WHI_NOT_CACHED;
	if (n < 0)
		source->error = (int)n;
	direct->got_begin = (size_t)(want - begin);
	direct->eof = n <= (ssize_t)direct->got_begin;
	direct->got_len = direct->eof ? 0 : (size_t)n - direct->got_begin;
	direct->eof |= whi_source_ends(source, wh_file_fd(file), want + direct->got_len);
	direct->mr->stats.bytes_direct += direct->got_len;
	return 0;
}

static int map_opened(struct whi_direct *direct, struct wh_file *file)
{
	size_t align = alignment_of(file);
	int r = 0;

	if (align == 0)
		return WHI_NOT_CACHED;
	if (!direct->memory)
		r = make_memory(direct);
	direct->buf.len = 0;
	while (r == 0 && !direct->source->done) {
		r = read_area(direct, file, align);
		if (r == 0)
			r = whi_mr_offload(direct->mr, map_area, direct);
	}
	return r;
}

int whi_direct_map(struct whi_direct *direct, struct whi_mr *mr, struct whi_source *source)
{
	struct wh_file *opened;
	int r = wh_file_open(source->path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_DIRECT, 0, &opened);

	if (r < 0)
		return wh_cancelled() < 0 ? r : WHI_NOT_CACHED;
	direct->mr = mr;
	direct->source = source;
	if (!whi_source_is_replaced(source, wh_file_fd(opened)))
		r = map_opened(direct, opened);
	if (r == 0)
		whi_source_check_length(source, wh_file_fd(opened));
	wh_file_close(opened);
	return r;
}

void whi_direct_fini(struct whi_direct *direct)
{
	if (direct->mapping)
		munmap(direct->mapping, 2 * (size_t)HUGE_BYTES);
	whi_buffer_fini(&direct->buf);
}
