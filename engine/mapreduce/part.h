/* Reading a part of a job from a file, block after block. */
#pragma once

#include <whorl/parts.h>

#include "mapreduce/codec.h"

struct whi_part_reader {
	int fd;
	int (*read)(void *arg, size_t len); /* as struct wh_part has it */
	void *arg;
	enum whi_kind kind; /* that its records must be of */
	struct whi_codec codec;
	struct whi_decoder decoder;
	uint8_t *data;
	size_t len;
	size_t room;
	size_t read_bytes; /* at a time */
	bool eof;
};

/* What blocks of `part` say of themselves. */
struct whi_codec whi_part_codec(const struct wh_parts_format *format, uint32_t index);

/* Returns 0 or -EINVAL. */
int whi_parts_format_check(const struct wh_parts_format *format);

/* Open `path`, to be read `read_bytes` at a time. The reader does not move. Returns 0 or an error
 * as open(2). */
int whi_part_reader_open(struct whi_part_reader *reader, const char *path,
			 const struct wh_part *part, size_t read_bytes);

/* The next record, valid until the next call. Returns 1; 0 at the end of a part that is whole; or
 * an error as wh_part_check. */
int whi_part_reader_next(struct whi_part_reader *reader, struct whi_record *ret);

/* A phrase for an error of whi_part_reader_next, NULL if it says it all. */
const char *whi_part_reader_why(const struct whi_part_reader *reader);

void whi_part_reader_close(struct whi_part_reader *reader);
