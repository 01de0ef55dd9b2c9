/* Owns how a piece is begun, and read by whoever maps it. */
#include "mapreduce/piece.h"

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mapreduce/input.h"

static int begin_packed(struct whi_piece *piece, uint64_t begin, uint64_t end)
{
	int r = whi_packed_begin(&piece->packed, piece->source.path, begin, end);

	piece->is_packed = true;
	piece->packed.source.is = piece->source.is;
	piece->packed.source.size = piece->source.size;
	return r;
}

int whi_piece_begin(struct whi_piece *piece, const struct whi_file *file,
		    const struct whi_split *split, bool unpacks)
{
	uint64_t end = split->end;

	/* Files that have no length, as those in /proc, are read to their end. */
	if (end == UINT64_MAX && file->size > 0)
		end = file->size;
	whi_source_init(&piece->source, file->path, split->begin, end);
	piece->source.is = &split->is;
	piece->source.size = file->size;
	piece->is_packed = false;
	if (file->packed)
		return begin_packed(piece, split->begin, end < file->size ? end : UINT64_MAX);
	piece->source.look = split->end == UINT64_MAX && unpacks;
	return 0;
}

int whi_piece_unpack(struct whi_piece *piece)
{
	return begin_packed(piece, 0, UINT64_MAX);
}

/* Where bytes come from. */
struct from {
	int fd;
	bool waits;		 /* for a device */
	struct whi_times *times; /* NULL: nobody asks */
};

/* Read up to `len` bytes at `at` behind those in `buf`. Returns how many, or -errno. */
static ssize_t read_some(const struct from *from, struct whi_buffer *buf, size_t len, uint64_t at)
{
	struct iovec iov = { buf->data + buf->len, len };
	uint64_t began = whi_step_begin(from->times);
	ssize_t n;

	do {
		n = preadv2(from->fd, &iov, 1, (off_t)at, from->waits ? 0 : RWF_NOWAIT);
	} while (n < 0 && errno == EINTR);
	whi_step_end(from->times, WHI_STEP_READ, began);
	if (n < 0)
		return -errno;
	buf->len += (size_t)n;
	return n;
}

/* The buffer is the mapper's, so that one is in the caches again and again. */
static int map_plain(struct whi_piece *piece, struct whi_mapper *mapper, const struct from *from)
{
	struct whi_source *source = &piece->source;
	struct whi_buffer *buf = &mapper->buf;
	int r = whi_buffer_reserve(buf, WHI_READ_BYTES);

	buf->len = 0;
	while (r == 0 && !source->done) {
		ssize_t n = read_some(from, buf, whi_source_want(source, buf),
				      source->pos + buf->len);

		if (n < 0 && !from->waits)
			return WHI_NOT_CACHED;
		if (n < 0)
			source->error = (int)n;
		if (whi_source_is_compressed(source, buf))
			return WHI_COMPRESSED;
		r = whi_source_map(source, mapper, buf,
				   n <= 0 || whi_source_ends(source, from->fd,
							     source->pos + buf->len));
	}
	return r;
}

static int map_packed(struct whi_packed *packed, struct whi_mapper *mapper, const struct from *from)
{
	struct whi_buffer *raw = &packed->raw;
	int r;

	do {
		ssize_t n = read_some(from, raw, raw->room - raw->len, whi_packed_next(packed));

		if (n < 0 && !from->waits)
			return WHI_NOT_CACHED;
		if (n < 0)
			packed->source.error = (int)n;
		r = whi_packed_map(packed, mapper,
				   n <= 0 || whi_source_ends(&packed->source, from->fd,
							     whi_packed_next(packed)));
	} while (r == WHI_PACKED_HUNGRY);
	return r;
}

static int map_either(struct whi_piece *piece, struct whi_mapper *mapper, const struct from *from)
{
	int r;

	if (!piece->is_packed) {
		r = map_plain(piece, mapper, from);
		if (r != WHI_COMPRESSED)
			return r;
		r = whi_piece_unpack(piece);
		if (r < 0)
			return r;
	}
	return map_packed(&piece->packed, mapper, from);
}

int whi_piece_map(struct whi_piece *piece, struct whi_mapper *mapper, int fd, bool waits)
{
	const struct from from = { fd, waits, mapper->shared->times };
	int r;

	if (whi_source_is_replaced(whi_piece_source(piece), fd))
		return 0;
	r = map_either(piece, mapper, &from);
	if (r == 0)
		whi_source_check_length(whi_piece_source(piece), fd);
	return r;
}

int whi_piece_map_cached(struct whi_piece *piece, struct whi_mapper *mapper)
{
	int fd = whi_open_cached(piece->source.path);
	int r;

	if (fd < 0)
		return WHI_NOT_CACHED;
	r = whi_piece_map(piece, mapper, fd, false);
	close(fd);
	return r;
}

void whi_piece_fini(struct whi_piece *piece)
{
	whi_packed_fini(&piece->packed);
}
