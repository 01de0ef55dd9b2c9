/* Reading past the page cache: large files go from the device to the buffer of the worker that maps
 * them. For what is larger than memory, or read once: it evicts nothing, and costs no copy into
 * pages. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mapreduce/source.h"

struct whi_mr;

enum { WHI_DIRECT_READERS = 8 }; /* more than usual: so many reads are with the device */

/* Of one reader. All zero is valid to begin with. */
struct whi_direct {
	struct whi_mr *mr;
	struct whi_source *source;
	struct whi_buffer buf; /* what has been read and is not mapped: a piece of a record */
	void *mapping;	       /* all of the memory */
	uint8_t *memory;       /* of which this is used */
	size_t got_begin;      /* of what was read: the bytes that follow those in `buf` */
	size_t got_len;
	bool eof;
};

/* Map `source`, a part of a file, from where it is. Suspends. Returns 0 at its end, WHI_NOT_CACHED
 * if the file cannot be read in this way: then the source is to be gone on with in another one; or
 * an error as whi_source_map. */
int whi_direct_map(struct whi_direct *direct, struct whi_mr *mr, struct whi_source *source);
void whi_direct_fini(struct whi_direct *direct);
