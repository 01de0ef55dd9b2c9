/* A piece of a file on its way through a mapper, as a split has it: of the file's bytes, or of what
 * they decode to. Which of them may show only when the first ones are there. */
#pragma once

#include <stdbool.h>

#include "mapreduce/decompress_map.h"

struct whi_file;
struct whi_split;

/* One after another in the same memory. All zero is valid to begin with. */
struct whi_piece {
	struct whi_source source;
	bool is_packed; /* then `packed` instead */
	struct whi_packed packed;
};

/* Begin with what `split` has of `file`; `unpacks`: compressed files are decoded. Returns 0 or
 * -ENOMEM. */
int whi_piece_begin(struct whi_piece *piece, const struct whi_file *file,
		    const struct whi_split *split, bool unpacks);

/* Its first bytes say that it is compressed; none is mapped. Returns 0 or -ENOMEM. */
int whi_piece_unpack(struct whi_piece *piece);

/* Where its records come from; has the error of the file. */
static inline struct whi_source *whi_piece_source(struct whi_piece *piece)
{
	return piece->is_packed ? &piece->packed.source : &piece->source;
}

/* Map it, from where it is, out of its file, open as `fd`; `waits`: for a device too. Returns 0 at
 * its end, WHI_NOT_CACHED if it has to be read from there on in another way, WHI_PACKED_DAMAGED, or
 * an error as whi_source_map. Blocks only if it waits. */
int whi_piece_map(struct whi_piece *piece, struct whi_mapper *mapper, int fd, bool waits);

/* The same of a file that is not open, without waiting. */
int whi_piece_map_cached(struct whi_piece *piece, struct whi_mapper *mapper);

void whi_piece_fini(struct whi_piece *piece);
