/*
 * Bytes that a compressed file might have, decoded in one go and in pieces of any sizes: nothing
 * crashes, both give the same bytes and the same verdict, and the frames that are found without
 * decoding are where the decoder finds them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/bytes.h"
#include "mapreduce/decompress.h"
#include "support/task_test.h"

enum { OUT_MAX = 256 * 1024, BORDERS_MAX = 64 };

struct result {
	int verdict;
	uint64_t pos;
	size_t len;
	uint8_t *out;
};

struct pieces {
	size_t in, out; /* at a time */
};

/* Decode up to OUT_MAX bytes. */
static struct result decode(const uint8_t *data, size_t size, struct pieces pieces)
{
	struct whi_unpack unpack = { 0 };
	struct result result = { .out = malloc(OUT_MAX) };
	size_t given = 0, taken = 0;

	check(result.out);
	whi_unpack_begin(&unpack, 0, UINT64_MAX);
	do {
		size_t room = OUT_MAX - result.len;
		struct whi_decompress_io io = {
			.in = data + taken,
			.in_len = given - taken,
			.out = result.out + result.len,
			.out_room = room < pieces.out ? room : pieces.out,
		};
		size_t out_room = io.out_room;

		result.verdict = whi_unpack_run(&unpack, &io, given == size);
		result.len += out_room - io.out_room;
		taken = given - io.in_len;
		check(unpack.pos == taken);
		if (result.verdict == WHI_UNPACK_HUNGRY) {
			check(given < size);
			given = size - given < pieces.in ? size : given + pieces.in;
		}
	} while ((result.verdict == WHI_UNPACK_ROOM || result.verdict == WHI_UNPACK_HUNGRY) &&
		 result.len < OUT_MAX);
	check(result.verdict == WHI_UNPACK_END || result.verdict == -EBADMSG ||
	      result.len == OUT_MAX);
	result.pos = unpack.pos;
	whi_unpack_fini(&unpack);
	return result;
}

struct borders {
	uint64_t at[BORDERS_MAX];
	size_t count;
};

static bool add_border(void *arg, uint64_t begin)
{
	struct borders *borders = arg;

	check(borders->count == 0 || borders->at[borders->count - 1] < begin);
	borders->at[borders->count++] = begin;
	return borders->count < BORDERS_MAX;
}

/* Data that decode without an error have each border where it was found. */
static void check_borders(const uint8_t *data, size_t size)
{
	struct borders borders = { .count = 0 };
	int fd = memfd_create("frames", MFD_CLOEXEC);

	check(fd >= 0);
	check(write(fd, data, size) == (ssize_t)size);
	whi_frames_find(fd, add_border, &borders);
	close(fd);
	for (size_t i = 0; i < borders.count; i++)
		check(whi_unpack_is_packed(data + borders.at[i], size - borders.at[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole, split;

	if (size < 2 || size > 65536)
		return 0;
	whole = decode(data + 1, size - 1, (struct pieces){ SIZE_MAX, SIZE_MAX });
	split = decode(data + 1, size - 1,
		       (struct pieces){ (size_t)(data[0] & 15) + 1,
					(size_t)(data[0] >> 4) * 97 + 1 });
	/* How much came before damage depends on the pieces. */
	if (whole.verdict == WHI_UNPACK_END || split.verdict == WHI_UNPACK_END) {
		check_int(whole.verdict, split.verdict);
		check(whole.len == split.len && whole.pos == split.pos);
		check(memcmp(whole.out, split.out, whole.len) == 0);
	}
	check_borders(data + 1, size - 1);
	free(whole.out);
	free(split.out);
	return 0;
}
