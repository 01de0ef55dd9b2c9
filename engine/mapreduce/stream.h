/*
 * Streams of records on disk: encoded as whi_codec has it, in extents of temporary files. What is
 * read is compared with its checksums and with what was written; anything else is -EIO.
 *
 * A stream is one thread's at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mapreduce/codec.h"
#include "mapreduce/spill_file.h"

/* All zero is valid and empty. */
struct whi_stream {
	struct whi_extent *extents;
	uint32_t count;
	uint32_t room;
	uint32_t id; /* of what it holds, so that it is not taken for another one */
	uint64_t bytes;
	uint64_t records;
	uint64_t kept_bytes; /* in files that are kept */
	uint64_t kept_records;
};

/* Give the extents back. */
void whi_stream_fini(struct whi_stream *stream);

/* Give back those that are not in files that are kept. */
void whi_stream_drop(struct whi_stream *stream);

/* Add an extent of a file that is kept, which holds `records` records. Returns 0 or -ENOMEM. */
int whi_stream_adopt(struct whi_stream *stream, const struct whi_extent *extent, uint64_t records);

/* Append what is in `from`, a stream of the same id that nobody writes any more; it is empty then.
 * Returns 0 or -ENOMEM, with some of it moved. */
int whi_stream_join(struct whi_stream *to, struct whi_stream *from);

/* Appends to a stream. */
struct whi_stream_writer {
	struct whi_spill_file *file;
	struct whi_stream *stream;
	size_t block_bytes; /* written at a time; no record is cut */
	struct whi_encoder encoder;
};

void whi_stream_writer_init(struct whi_stream_writer *writer, struct whi_spill_file *file,
			    struct whi_stream *stream, size_t block_bytes);

/* Add a row, with its value if it is a `pair`, else with its number. Returns 0 or -errno. */
int whi_stream_add(struct whi_stream_writer *writer, const struct wh_mr_row *row, bool pair);

/* Add all records of a block. Returns 0 or -errno. */
int whi_stream_add_block(struct whi_stream_writer *writer, const struct whi_block *block);

/* Write what has been added. Returns 0 or -errno. */
int whi_stream_flush(struct whi_stream_writer *writer);
void whi_stream_writer_fini(struct whi_stream_writer *writer);

/* Reads a stream from its beginning. */
struct whi_stream_reader {
	const struct whi_stream *stream;
	size_t chunk_bytes; /* read at a time, and more if a block is longer */
	uint64_t ahead;	    /* bytes that the kernel fetches meanwhile */
	uint32_t extent;    /* being read */
	uint64_t at;	    /* in the extent: behind what is in `data` */
	uint32_t ahead_extent;
	uint64_t ahead_at;
	uint64_t records;
	struct whi_codec expect;
	struct whi_decoder decoder;
	uint8_t *data;
	size_t begin; /* of bytes that were read but not given to the decoder */
	size_t end;
	size_t room;
};

void whi_stream_reader_init(struct whi_stream_reader *reader, const struct whi_stream *stream,
			    size_t chunk_bytes, uint64_t ahead);
void whi_stream_reader_fini(struct whi_stream_reader *reader);

/* The next row of the chunk; it is valid until the next one is loaded. Returns 1; 0 if it is used
 * up; or -EIO. */
int whi_stream_next(struct whi_stream_reader *reader, struct wh_mr_row *ret);

/* Read the next chunk. Returns 1; 0 at the end of the stream; or -errno. */
int whi_stream_load(struct whi_stream_reader *reader);

/* Whether the chunk is used up, so that going on means to load another one. */
static inline bool whi_stream_is_dry(const struct whi_stream_reader *reader)
{
	return reader->decoder.left == 0 && reader->decoder.at == reader->decoder.end;
}
