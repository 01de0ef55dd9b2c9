/* Owns the reading of pipes, terminals and sockets, which have no offsets to share out: one task
 * reads blocks in order, cuts each at a record border, and has others map them meanwhile.
 *
 * 1. Slots are filled in turn. A slot is reused only once its mapping task has been joined.
 * 2. What follows the last border of a block is moved to the front of the next one.
 * 3. A compressed stream is decoded into blocks by one worker at a time, while others map. So is a
 *    compressed file that is all in one piece. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <whorl/file.h>
#include <whorl/scope.h>
#include <whorl/task.h>

#include "base/alloc.h"
#include "mapreduce/decompress_map.h"
#include "mapreduce/job.h"
#include "mapreduce/records.h"

enum { STREAM_BLOCK_BYTES = 1024 * 1024 };

struct slot {
	struct whi_mr *mr;
	struct whi_buffer buf;
	size_t take;  /* bytes of whole records in `buf` */
	bool decoded; /* and counted then */
	struct wh_mr_origin origin;
	struct wh_task *task; /* mapping it, or NULL */
};

struct stream {
	struct whi_mr *mr;
	struct whi_file *file;
	struct wh_file *in;
	uint64_t pos;		/* where it does have offsets: standard input may be any file */
	struct wh_scope *scope; /* of the mapping tasks */
	unsigned slot_count;
	bool eof;
	bool look;		   /* whether it is compressed is not known, and matters */
	struct whi_packed *packed; /* NULL: it is not */
	uint64_t made;		   /* bytes that it was decoded to */
	bool raw_eof;
	struct slot *slots;
};

/* What a worker decodes. */
struct decoding {
	struct stream *stream;
	struct whi_buffer *to;
};

/* On a worker. */
static int map_slot(void *arg)
{
	struct slot *slot = arg;
	struct whi_mapper *mapper = whi_mr_take_mapper(slot->mr);
	int r;

	if (!mapper)
		return -ENOMEM;
	whi_mapper_from(mapper, &slot->origin);
	r = whi_mapper_map(mapper, slot->buf.data, slot->take);
	whi_mr_put_mapper(slot->mr, mapper);
	if (!slot->decoded)
		atomic_fetch_add_explicit(&slot->mr->bytes_done, slot->take, memory_order_relaxed);
	return r;
}

static int map_task(void *arg)
{
	struct slot *slot = arg;

	return whi_mr_offload(slot->mr, map_slot, slot);
}

static int slot_wait(struct slot *slot)
{
	int result = 0, r = 0;

	if (slot->task)
		r = wh_task_join(slot->task, &result);
	if (r < 0)
		return r;
	slot->task = NULL;
	return result;
}

/* Read some, 0 at the end or after an error, which has been told. */
static ssize_t read_some(struct stream *stream, struct whi_buffer *buf)
{
	ssize_t n = wh_file_read(stream->in, buf->data + buf->len, buf->room - buf->len,
				 stream->pos);

	if (n < 0 && wh_cancelled() < 0)
		return n;
	if (n < 0)
		whi_mr_file_failed(stream->mr, stream->file, (int)n);
	if (n <= 0)
		return 0;
	buf->len += (size_t)n;
	stream->pos += (uint64_t)n;
	return n;
}

/* Read until the block is full or nothing more comes. */
static int fill_plain(struct stream *stream, struct whi_buffer *buf)
{
	ssize_t n = 1;

	while (n > 0 && buf->len < buf->room)
		n = read_some(stream, buf);
	stream->eof = n == 0;
	return n < 0 ? (int)n : 0;
}

/* On a worker. */
static int decode(void *arg)
{
	struct decoding *decoding = arg;
	struct stream *stream = decoding->stream;
	struct whi_packed *packed = stream->packed;
	int r = whi_packed_fill(packed, decoding->to, stream->raw_eof);

	stream->made += packed->made;
	whi_mr_count_packed(stream->mr, packed);
	/* The job does not end with the stream. */
	return r == -EBADMSG ? WHI_PACKED_DAMAGED : r;
}

/* Decode until the block is full or nothing more comes. */
static int fill_packed(struct stream *stream, struct whi_buffer *buf)
{
	struct decoding decoding = { stream, buf };

	for (;;) {
		int r = whi_mr_offload(stream->mr, decode, &decoding);
		ssize_t n;

		if (r < 0 || r == WHI_UNPACK_ROOM)
			return r < 0 ? r : 0;
		stream->eof = r != WHI_UNPACK_HUNGRY;
		if (r == WHI_PACKED_DAMAGED)
			whi_mr_file_damaged(stream->mr, stream->file, &stream->packed->unpack);
		if (stream->eof)
			return 0;
		n = read_some(stream, &stream->packed->raw);
		if (n < 0)
			return (int)n;
		stream->raw_eof = n == 0;
	}
}

/* The first bytes turn out to be compressed ones. */
static int begin_packed(struct stream *stream, struct whi_buffer *buf)
{
	struct whi_packed *packed = whi_calloc(1, sizeof(*packed));
	int r;

	if (!packed)
		return -ENOMEM;
	stream->packed = packed;
	packed->times = stream->mr->shared.times;
	r = whi_packed_begin(packed, NULL, stream->pos - buf->len, UINT64_MAX);
	if (r == 0)
		r = whi_buffer_reserve(&packed->raw, buf->room);
	if (r < 0)
		return r;
	memcpy(packed->raw.data, buf->data, buf->len);
	packed->raw.len = buf->len;
	buf->len = 0;
	stream->raw_eof = stream->eof;
	stream->eof = false;
	return 0;
}

static int fill(struct stream *stream, struct whi_buffer *buf)
{
	int r;

	if (stream->packed)
		return fill_packed(stream, buf);
	r = fill_plain(stream, buf);
	if (r < 0 || !stream->look)
		return r;
	stream->look = false;
	if (!whi_unpack_is_packed(buf->data, buf->len))
		return 0;
	r = begin_packed(stream, buf);
	return r < 0 ? r : fill_packed(stream, buf);
}

static struct wh_mr_origin origin_of(const struct stream *stream, const struct whi_buffer *buf)
{
	return (struct wh_mr_origin){
		.path = stream->file->path ? stream->file->path : "-",
		.offset = (stream->packed ? stream->made : stream->pos) - buf->len,
	};
}

static int take_rest(struct stream *stream, struct slot *slot)
{
	struct wh_mr_origin origin = origin_of(stream, &slot->buf);
	int r;

	slot->take = whi_records_whole(stream->mr->job, slot->buf.len);
	if (slot->take == slot->buf.len)
		return 0;
	origin.offset += slot->take;
	r = whi_why_at(&stream->mr->why, -ENODATA, &origin,
		       "the last record is shorter than record_bytes,");
	whi_mr_file_failed(stream->mr, stream->file, r);
	return 0;
}

static int too_long(const struct stream *stream, const struct whi_buffer *buf)
{
	struct wh_mr_origin origin = origin_of(stream, buf);

	return whi_why_at(&stream->mr->why, -EMSGSIZE, &origin,
			  "a record is longer than record_max allows");
}

/* A record of a compressed stream is longer than may be: end there. */
static int give_up(struct stream *stream, struct slot *slot)
{
	stream->packed->unpack.damage = WH_MR_RECORD;
	whi_mr_file_damaged(stream->mr, stream->file, &stream->packed->unpack);
	stream->eof = true;
	slot->take = 0;
	return 0;
}

/* Fill a slot with whole records: a record that does not fit makes the block longer. */
static int fill_records(struct stream *stream, struct slot *slot)
{
	const struct wh_mr_job *job = stream->mr->job;
	struct whi_buffer *buf = &slot->buf;

	for (;;) {
		int r = fill(stream, buf);

		if (r < 0)
			return r;
		if (stream->eof)
			return take_rest(stream, slot);
		slot->take = whi_records_last(job, buf->data, buf->len);
		if (slot->take > 0)
			return 0;
		if (job->record_max && buf->len > job->record_max)
			return too_long(stream, buf);
		if (stream->packed && buf->len >= WHI_PACKED_RECORD_MAX)
			return give_up(stream, slot);
		r = whi_buffer_reserve(buf, buf->room * 2);
		if (r < 0)
			return r;
	}
}

/* Begin the next block with what is left of the last one. */
static int carry(const struct slot *from, struct slot *to)
{
	size_t left = from->buf.len - from->take;
	int r = slot_wait(to);

	if (r < 0)
		return r;
	r = whi_buffer_reserve(&to->buf, left + STREAM_BLOCK_BYTES);
	if (r < 0)
		return r;
	if (left)
		memcpy(to->buf.data, from->buf.data + from->take, left);
	to->buf.len = left;
	return 0;
}

static int read_blocks(struct stream *stream)
{
	struct slot *slot = &stream->slots[0];
	unsigned next = 0;
	int r = whi_buffer_reserve(&slot->buf, STREAM_BLOCK_BYTES);

	while (r == 0) {
		struct slot *now = slot;

		r = fill_records(stream, now);
		if (r < 0)
			return r;
		now->origin = origin_of(stream, &now->buf);
		now->decoded = stream->packed != NULL;
		next = (next + 1) % stream->slot_count;
		slot = &stream->slots[next];
		r = carry(now, slot);
		if (r < 0)
			return r;
		r = wh_spawn(stream->scope, map_task, now, .ret_task = &now->task);
		if (stream->eof)
			return r;
	}
	return r;
}

static int open_stream(struct stream *stream)
{
	off_t pos;

	if (stream->file->path)
		return wh_file_open(stream->file->path, O_RDONLY | O_NOCTTY, 0, &stream->in);
	pos = lseek(STDIN_FILENO, 0, SEEK_CUR);
	stream->pos = pos > 0 ? (uint64_t)pos : 0;
	return wh_file_from_fd(STDIN_FILENO, false, &stream->in);
}

static int map_opened(struct stream *stream)
{
	struct wh_scope scope;
	int r, closed;

	stream->scope = &scope;
	wh_scope_open(&scope, NULL);
	r = read_blocks(stream);
	if (r < 0)
		wh_scope_cancel(&scope);
	closed = wh_scope_close(&scope);
	return whi_mr_error(r, closed);
}

static int map_stream(struct whi_mr *mr, struct whi_file *file)
{
	struct stream stream = {
		.mr = mr,
		.file = file,
		.look = whi_mr_unpacks(mr),
		.slot_count = mr->workers + 1,
	};
	int r = open_stream(&stream);

	if (r < 0 && wh_cancelled() < 0)
		return r;
	if (r < 0) {
		whi_mr_file_failed(mr, file, r);
		return 0;
	}
	stream.slots = whi_calloc(stream.slot_count, sizeof(*stream.slots));
	r = -ENOMEM;
	if (!stream.slots)
		goto out;
	for (unsigned i = 0; i < stream.slot_count; i++)
		stream.slots[i].mr = mr;
	r = map_opened(&stream);
	/* Where a frame ends there is nothing wrong but that. */
	if (r == 0 && file->piped && whi_has_shrunk(wh_file_fd(stream.in), file->size))
		whi_mr_file_failed(mr, file, -ESTALE);
	for (unsigned i = 0; i < stream.slot_count; i++)
		whi_buffer_fini(&stream.slots[i].buf);
	whi_free(stream.slots);
	if (stream.packed)
		whi_packed_fini(stream.packed);
	whi_free(stream.packed);
out:
	wh_file_close(stream.in);
	return r;
}

int whi_mr_map_streams(struct whi_mr *mr)
{
	for (size_t i = 0; i < mr->input.file_count; i++) {
		struct whi_file *file = &mr->input.files[i];
		int r;

		if ((!file->is_stream && !file->piped) || file->error)
			continue;
		r = map_stream(mr, file);
		if (r < 0)
			return r;
	}
	return 0;
}
