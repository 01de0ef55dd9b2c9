/*
 * Parts that anybody may have written: read block by block, as a whole from a file, merged, and as
 * records of a job. Whatever the bytes, there is an answer, and nothing else is touched.
 *
 * The first byte says how the rest is to be taken. Checksums are made right where a block has room
 * for one: a fuzzer would not guess them.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <whorl/parts.h>

#include "arch/crc32c.h"
#include "fuzz/bytes.h"
#include "mapreduce/codec.h"
#include "support/task_test.h"

enum { INPUT_BYTES_MAX = 1 << 14, BYTES_OFFSET = 16, CRC_OFFSET = 36 };

static uint64_t rows, checked;

static void seal(uint8_t *data, size_t len)
{
	size_t at = 0;

	while (len - at >= WHI_CODEC_HEAD) {
		uint64_t bytes;
		uint32_t crc;

		memcpy(&bytes, data + at + BYTES_OFFSET, sizeof(bytes));
		bytes = le64toh(bytes);
		if (bytes > len - at - WHI_CODEC_HEAD)
			return;
		crc = whi_crc32c(0, data + at, CRC_OFFSET);
		crc = htole32(whi_crc32c(crc, data + at + WHI_CODEC_HEAD, bytes));
		memcpy(data + at + CRC_OFFSET, &crc, sizeof(crc));
		at += WHI_CODEC_HEAD + bytes;
	}
}

/* Every byte that is handed out has to be there. */
static void look_at(struct wh_mr_bytes bytes)
{
	const uint8_t *at = bytes.data;

	for (size_t i = 0; i < bytes.len; i++)
		checked += at[i];
}

static void decode(const uint8_t *data, size_t len)
{
	struct whi_decoder decoder;
	struct whi_record record;
	uint64_t records = 0;
	int r;

	whi_decoder_init(&decoder, data, len);
	while ((r = whi_decoder_block(&decoder)) > 0)
		while ((r = whi_decoder_next(&decoder, &record)) > 0) {
			look_at(record.key);
			look_at(record.value);
			records++;
		}
	check(records <= len / 2);
	check(r == 0 || r == -EBADMSG || r == -EPROTO);
	check((r < 0) == (decoder.fault != WHI_CODEC_GOOD));
}

static int count_rows(void *arg, const struct wh_mr_row *row, size_t count)
{
	(void)arg;
	for (size_t i = 0; i < count; i++) {
		look_at(row[i].key);
		look_at(row[i].value);
	}
	rows += count;
	return 0;
}

static void read_file(const char *path, const struct wh_part *part, enum wh_mr_order order)
{
	const struct wh_parts_merge merge = {
		.format = part->format,
		.paths = &path,
		.order = order,
		.output = count_rows,
		.buffer_bytes = 64,
	};
	struct wh_part_sums sums = { 0 };
	uint32_t bad;
	const char *why;
	int64_t merged;
	int r = wh_part_check(path, part, &sums, &why);

	check(r == 0 || r == -EBADMSG || r == -EPROTO);
	check((r == 0) == (why == NULL));
	rows = 0;
	merged = wh_parts_merge(&merge, &bad, &why);
	check(merged < 0 ? merged == -EBADMSG || merged == -EPROTO : (uint64_t)merged == rows);
	check(r == 0 || merged < 0);
	check(merged < 0 || rows == sums.records);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t copy[INPUT_BYTES_MAX];
	struct bytes input = { data, size };
	uint8_t how = bytes_next(&input);
	const struct wh_part part = {
		.format = { .count = 1, .value = how & 1 ? WH_MR_BYTES : WH_MR_SUM },
	};
	char path[64];
	int fd;

	if (input.left > sizeof(copy))
		return 0;
	if (input.left)
		memcpy(copy, input.at, input.left);
	if (how & 2)
		seal(copy, input.left);
	decode(copy, input.left);
	fd = memfd_create("part", MFD_CLOEXEC);
	check(fd >= 0);
	check(write(fd, copy, input.left) == (ssize_t)input.left);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_file(path, &part, (enum wh_mr_order)((how >> 2) % 3));
	close(fd);
	return 0;
}
