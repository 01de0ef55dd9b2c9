/*
 * Reading a file from front to back with the next chunks already in flight.
 *
 * Invariants
 * 1. Chunks form a ring in the order of their offsets; `head` is the one to hand out next, the one
 *    before it is the caller's until it calls again.
 * 2. A chunk is done when it is full, at the end of the file, or has failed; short reads in
 *    between are continued by the completion itself.
 */
#include <errno.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "io/file.h"

enum {
	CHUNK_BYTES = 256 * 1024,
	CHUNK_MIN = 512,
	CHUNK_MAX = 1 << 30,
	DEPTH = 4,
	DEPTH_MIN = 2,
	DEPTH_MAX = 64,
	ALIGN = 4096, /* good for O_DIRECT */
};

struct chunk {
	struct whi_op op;
	struct wh_reader *reader;
	char *buf;
	uint64_t offset;
	uint32_t want;
	uint32_t got;
	int32_t error;
};

struct wh_reader {
	struct wh_file *file;
	struct whi_wait *waiter;
	struct chunk *chunks;
	char *memory;
	uint64_t next_offset; /* of the first chunk not begun */
	uint64_t end_offset;
	uint32_t chunk_bytes;
	uint32_t depth;
	uint32_t head;
	bool lent; /* the chunk before `head` is the caller's */
};

static void continue_chunk(struct chunk *chunk)
{
	struct whi_backend *backend = chunk->reader->file->loop->backend;

	chunk->op.rw.buf = chunk->buf + chunk->got;
	chunk->op.rw.len = chunk->want - chunk->got;
	chunk->op.rw.offset = chunk->offset + chunk->got;
	chunk->op.state = WHI_OP_IDLE;
	backend->ops->submit(backend, &chunk->op);
}

static void chunk_read(struct whi_op *op)
{
	struct chunk *chunk = whi_container_of(op, struct chunk, op);
	struct whi_wait *waiter = chunk->reader->waiter;

	if (op->result > 0)
		chunk->got += (uint32_t)op->result;
	else
		chunk->error = op->result;
	if (((op->result > 0 && chunk->got < chunk->want) || op->result == -EINTR) &&
	    !op->cancel_wanted) {
		chunk->error = 0;
		continue_chunk(chunk);
		return;
	}
	if (waiter && waiter->task) {
		chunk->reader->waiter = NULL;
		whi_task_wake(waiter);
	}
}

static void begin_chunk(struct wh_reader *reader, struct chunk *chunk)
{
	uint64_t left = reader->end_offset - reader->next_offset;

	chunk->offset = reader->next_offset;
	chunk->want = left < reader->chunk_bytes ? (uint32_t)left : reader->chunk_bytes;
	chunk->got = 0;
	chunk->error = 0;
	reader->next_offset += chunk->want;
	if (chunk->want > 0)
		continue_chunk(chunk);
}

static bool opts_valid(const struct wh_reader *reader)
{
	return reader->depth >= DEPTH_MIN && reader->depth <= DEPTH_MAX &&
	       reader->chunk_bytes >= CHUNK_MIN && reader->chunk_bytes <= CHUNK_MAX;
}

static int alloc_chunks(struct wh_reader *reader)
{
	reader->chunks = whi_calloc(reader->depth, sizeof(*reader->chunks));
	reader->memory = whi_aligned_alloc(ALIGN, (size_t)reader->depth * reader->chunk_bytes);
	if (!reader->chunks || !reader->memory)
		return -ENOMEM;
	for (uint32_t i = 0; i < reader->depth; i++) {
		struct chunk *chunk = &reader->chunks[i];

		chunk->reader = reader;
		chunk->buf = reader->memory + (size_t)i * reader->chunk_bytes;
		chunk->op.kind = WHI_OP_READ;
		chunk->op.fd = reader->file->fd;
		chunk->op.done = chunk_read;
	}
	return 0;
}

static void free_reader(struct wh_reader *reader)
{
	whi_free(reader->memory);
	whi_free(reader->chunks);
	whi_free(reader);
}

int wh_reader_open(struct wh_file *file, const struct wh_reader_opts *opts, struct wh_reader **ret)
{
	const struct wh_reader_opts defaults = { 0 };
	struct wh_reader *reader = whi_calloc(1, sizeof(*reader));
	int r;

	if (!reader)
		return -ENOMEM;
	opts = opts ? opts : &defaults;
	reader->file = file;
	reader->chunk_bytes = opts->chunk_bytes ? opts->chunk_bytes : CHUNK_BYTES;
	reader->depth = opts->depth ? opts->depth : DEPTH;
	reader->next_offset = opts->offset;
	reader->end_offset = opts->length ? opts->offset + opts->length : UINT64_MAX;
	r = opts_valid(reader) ? alloc_chunks(reader) : -EINVAL;
	if (r < 0) {
		free_reader(reader);
		return r;
	}
	if (file->seekable)
		for (uint32_t i = 0; i < reader->depth; i++)
			begin_chunk(reader, &reader->chunks[i]);
	*ret = reader;
	return 0;
}

struct read_wait {
	struct whi_wait wait;
	struct wh_reader *reader;
};

static void wait_interrupted(struct whi_wait *wait)
{
	whi_container_of(wait, struct read_wait, wait)->reader->waiter = NULL;
	whi_task_wake(wait);
}

static int wait_for(struct wh_reader *reader, struct chunk *chunk)
{
	struct read_wait read = { { .what = "read", .interrupt = wait_interrupted }, reader };

	while (whi_op_pending(&chunk->op)) {
		int r = whi_task_check();

		if (r < 0)
			return r;
		reader->waiter = &read.wait;
		whi_task_suspend(&read.wait);
	}
	return whi_task_check();
}

/* One read at a time: the end of a pipe is not known before it is there. */
static ssize_t next_of_pipe(struct wh_reader *reader, void **ret_data)
{
	uint64_t left = reader->end_offset - reader->next_offset;
	size_t want = left < reader->chunk_bytes ? (size_t)left : reader->chunk_bytes;
	ssize_t r = want ? wh_file_read(reader->file, reader->memory, want, 0) : 0;

	if (r > 0) {
		reader->next_offset += (uint64_t)r;
		*ret_data = reader->memory;
	}
	return r;
}

static ssize_t next_of_file(struct wh_reader *reader, void **ret_data)
{
	struct chunk *chunk = &reader->chunks[reader->head];
	int r;

	if (reader->lent) {
		uint32_t previous = (reader->head + reader->depth - 1) % reader->depth;

		begin_chunk(reader, &reader->chunks[previous]);
	}
	reader->lent = false;
	if (chunk->want == 0)
		return 0;
	r = wait_for(reader, chunk);
	if (r < 0)
		return r;
	if (chunk->got == 0)
		return chunk->error;
	*ret_data = chunk->buf;
	if (chunk->got < chunk->want) {
		/* The end of the file, or an error that the next call reports. */
		r = (int)chunk->got;
		chunk->got = 0;
		return r;
	}
	reader->head = (reader->head + 1) % reader->depth;
	reader->lent = true;
	return chunk->got;
}

ssize_t wh_reader_next(struct wh_reader *reader, void **ret_data)
{
	return reader->file->seekable ? next_of_file(reader, ret_data)
				      : next_of_pipe(reader, ret_data);
}

static bool any_pending(const struct wh_reader *reader)
{
	for (uint32_t i = 0; i < reader->depth; i++)
		if (whi_op_pending(&reader->chunks[i].op))
			return true;
	return false;
}

void wh_reader_close(struct wh_reader *reader)
{
	struct whi_backend *backend = reader->file->loop->backend;
	struct whi_wait wait = { .what = "reads to stop" };

	for (uint32_t i = 0; i < reader->depth; i++)
		if (whi_op_pending(&reader->chunks[i].op))
			backend->ops->cancel(backend, &reader->chunks[i].op);
	while (any_pending(reader)) {
		reader->waiter = &wait;
		whi_task_suspend(&wait);
	}
	free_reader(reader);
}
