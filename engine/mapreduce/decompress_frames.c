/* Owns finding the frames of a file by their headers, so that workers can share them out: zstd (RFC
 * 8878, 3.1.1) and lz4 say how long each block is, and members of gzip do if they were written by
 * bgzip (SAM/BAM format specification, 4.1). The decoder of the frames before a border checks that
 * there is one. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "mapreduce/decompress.h"

/* Blocks looked at before the rest is left in one piece. Each may cost a read of the device. */
enum { STEPS_MAX = 64 * 1024 };

enum { HEAD_BYTES = 32 };

struct hop {
	int fd;
	uint64_t at;
	unsigned steps;
};

/* `len` bytes at `at`. False: they are not there, or it took too long. */
static bool peek(struct hop *hop, uint8_t *bytes, size_t len)
{
	return ++hop->steps <= STEPS_MAX &&
	       pread(hop->fd, bytes, len, (off_t)hop->at) == (ssize_t)len;
}

static uint32_t little(const uint8_t *bytes, unsigned len)
{
	uint32_t value = 0;

	while (len-- > 0)
		value = value << 8 | bytes[len];
	return value;
}

static unsigned zstd_head_bytes(uint8_t flags)
{
	static const uint8_t id_bytes[] = { 0, 1, 2, 4 }, size_bytes[] = { 0, 2, 4, 8 };
	bool single = flags >> 5 & 1;
	unsigned size = size_bytes[flags >> 6];

	if (single && size == 0)
		size = 1;
	return 4 + 1 + !single + id_bytes[flags & 3] + size;
}

static bool hop_zstd(struct hop *hop, const uint8_t *head)
{
	uint8_t block[3];
	uint32_t bits;

	hop->at += zstd_head_bytes(head[4]);
	do {
		uint32_t type;

		if (!peek(hop, block, sizeof(block)))
			return false;
		bits = little(block, 3);
		type = bits >> 1 & 3;
		if (type == 3)
			return false;
		/* Of a run there is one byte. */
		hop->at += 3 + (type == 1 ? 1 : bits >> 3);
	} while (!(bits & 1));
	hop->at += head[4] >> 2 & 1 ? 4 : 0;
	return true;
}

static bool hop_lz4(struct hop *hop, const uint8_t *head)
{
	uint8_t flags = head[4], block[4];
	uint32_t size;

	hop->at += 4 + 2 + (flags >> 3 & 1 ? 8 : 0) + (flags & 1 ? 4 : 0) + 1;
	do {
		if (!peek(hop, block, sizeof(block)))
			return false;
		size = little(block, 4) & 0x7fffffff;
		hop->at += 4 + (uint64_t)size;
		if (size > 0 && (flags >> 4 & 1))
			hop->at += 4;
	} while (size > 0);
	hop->at += flags >> 2 & 1 ? 4 : 0;
	return true;
}

/* An extra field that holds nothing but the length of the whole member, less one. */
static bool hop_gzip(struct hop *hop, const uint8_t *head)
{
	static const uint8_t subfield[] = { 6, 0, 'B', 'C', 2, 0 };

	if (!(head[3] & 4) || memcmp(head + 10, subfield, sizeof(subfield)) != 0)
		return false;
	hop->at += little(head + 16, 2) + 1;
	return true;
}

/* From one frame to the next. */
static bool hop_frame(struct hop *hop, const uint8_t *head, size_t len)
{
	const struct whi_decompressor *format = whi_unpack_format(head, len);

	if (format == &whi_decompress_zstd)
		return hop_zstd(hop, head);
	if (format == &whi_decompress_lz4)
		return hop_lz4(hop, head);
	if (format == &whi_decompress_gzip)
		return hop_gzip(hop, head);
	hop->at += WHI_UNPACK_HEAD + (uint64_t)little(head + 4, 4);
	return true;
}

void whi_frames_find(int fd, whi_frame_fn found, void *arg)
{
	struct hop hop = { .fd = fd };

	for (;;) {
		uint8_t head[HEAD_BYTES] = { 0 };
		ssize_t n = pread(fd, head, sizeof(head), (off_t)hop.at);

		if (n < WHI_UNPACK_HEAD || !whi_unpack_is_packed(head, (size_t)n))
			return;
		if (hop.at > 0 && !found(arg, hop.at))
			return;
		if (++hop.steps > STEPS_MAX || !hop_frame(&hop, head, (size_t)n))
			return;
	}
}
