/* Owns reads with O_DIRECT: offsets, lengths and memory are multiples of what the file asks for.
 *
 * 1. What is read begins at the last multiple at or before the byte that is wanted.
 * 2. Bytes are copied once more, from `area` behind those in `buf`: at the speed of a cache, by the
 *    worker that then maps them. */
#include "mapreduce/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <whorl/file.h>
#include <whorl/scope.h>

#include "base/alloc.h"
#include "mapreduce/job.h"

enum {
	READ_BYTES = 1024 * 1024,
	AREA_BYTES = READ_BYTES + READ_BYTES / 2, /* the last read of a part may be longer */
	ALIGN_USUAL = 4096,			  /* where the kernel does not say */
};

/* Any multiple that the file asks for, 0 if it cannot be read directly. */
static size_t alignment_of(struct wh_file *file)
{
	struct statx st = { 0 };
	size_t align;

	if (statx(wh_file_fd(file), "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0 ||
	    !(st.stx_mask & STATX_DIOALIGN))
		return ALIGN_USUAL;
	align = st.stx_dio_offset_align;
	if (st.stx_dio_mem_align > align)
		align = st.stx_dio_mem_align;
	return align <= ALIGN_USUAL ? align : 0;
}

/* On a worker. */
static int map_area(void *arg)
{
	struct whi_direct *direct = arg;
	struct whi_buffer *buf = &direct->buf;
	struct whi_mapper *mapper;
	int r = whi_buffer_reserve(buf, buf->len + direct->got_len);

	if (r < 0)
		return r;
	memcpy(buf->data + buf->len, direct->area + direct->got_begin, direct->got_len);
	buf->len += direct->got_len;
	mapper = whi_mr_take_mapper(direct->mr);
	if (!mapper)
		return -ENOMEM;
	r = whi_source_map(direct->source, mapper, buf, direct->eof);
	atomic_fetch_add_explicit(&direct->mr->bytes_done, whi_source_progress(direct->source),
				  memory_order_relaxed);
	whi_mr_put_mapper(direct->mr, mapper);
	return r;
}

/* Read what follows the bytes in `buf`. Returns 0, or why the task is to end. */
static int read_area(struct whi_direct *direct, struct whi_file *of, struct wh_file *file,
		     size_t align)
{
	struct whi_source *source = direct->source;
	uint64_t want = source->pos + direct->buf.len, begin = want / align * align;
	uint64_t far = whi_source_far(source, &direct->buf), len;
	ssize_t n;

	len = far < AREA_BYTES - ALIGN_USUAL ? want - begin + far : READ_BYTES;
	len = (len + align - 1) / align * align;
	n = wh_file_read(file, direct->area, len, begin);
	if (n < 0 && wh_cancelled() < 0)
		return (int)n;
	if (n < 0)
		whi_mr_file_failed(direct->mr, of, (int)n);
	direct->got_begin = (size_t)(want - begin);
	direct->eof = n <= (ssize_t)direct->got_begin;
	direct->got_len = direct->eof ? 0 : (size_t)n - direct->got_begin;
	direct->mr->stats.bytes_direct += direct->got_len;
	return 0;
}

static int map_opened(struct whi_direct *direct, struct whi_file *of, struct wh_file *file)
{
	size_t align = alignment_of(file);
	int r = 0;

	if (align == 0)
		return WHI_NOT_CACHED;
	if (!direct->area)
		direct->area = whi_aligned_alloc(ALIGN_USUAL, AREA_BYTES + ALIGN_USUAL);
	if (!direct->area)
		return -ENOMEM;
	direct->buf.len = 0;
	while (r == 0 && !direct->source->done) {
		r = read_area(direct, of, file, align);
		if (r == 0)
			r = whi_mr_offload(direct->mr, map_area, direct);
	}
	return r;
}

int whi_direct_map(struct whi_direct *direct, struct whi_mr *mr, struct whi_file *file,
		   struct whi_source *source)
{
	struct wh_file *opened;
	int r = wh_file_open(source->path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_DIRECT, 0, &opened);

	if (r < 0)
		return wh_cancelled() < 0 ? r : WHI_NOT_CACHED;
	direct->mr = mr;
	direct->source = source;
	r = map_opened(direct, file, opened);
	wh_file_close(opened);
	return r;
}

void whi_direct_fini(struct whi_direct *direct)
{
	whi_free(direct->area);
	whi_buffer_fini(&direct->buf);
}
