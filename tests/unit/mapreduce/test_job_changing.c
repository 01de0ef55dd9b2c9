/* Files that change while a job is at them, compressed or not: what they held when the job began
 * is counted, or it is told which file was not read to that end. Never less without a word. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit/mapreduce/world.h"

enum {
	FRAME_BYTES = 250,
	FRAME_WORDS = 25,
	FRAME_MAX = FRAME_BYTES + 40,
	FRAMES = 2 * TEST_ROUNDS, /* some megabytes: more than is read ahead of what is mapped */
};

static const char word[] = "abcdefghi ";

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t len)
{
	memcpy(at, bytes, len);
	return at + len;
}

static uint32_t crc32_of(const uint8_t *data, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
	}
	return ~crc;
}

/* Frames of one block that is stored as it is. gzip: RFC 1952 and 1951. */
static uint8_t *put_gzip(uint8_t *at, const uint8_t *text)
{
	static const uint8_t head[] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff };
	static uint32_t crc; /* of the one text there is */

	crc = crc ? crc : crc32_of(text, FRAME_BYTES);
	at = put_bytes(at, head, sizeof(head));
	at = put_bytes(at, (uint8_t[]){ 1, FRAME_BYTES, 0, 0xff - FRAME_BYTES, 0xff }, 5);
	at = put_bytes(at, text, FRAME_BYTES);
	at = put_bytes(at,
		       (uint8_t[]){ (uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16),
				    (uint8_t)(crc >> 24) },
		       4);
	return put_bytes(at, (uint8_t[]){ FRAME_BYTES, 0, 0, 0 }, 4);
}

/* RFC 8878: a single segment whose size is one byte, and its last block. */
static uint8_t *put_zstd(uint8_t *at, const uint8_t *text)
{
	static const uint8_t head[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x20, FRAME_BYTES };

	at = put_bytes(at, head, sizeof(head));
	at = put_bytes(at, (uint8_t[]){ 1 | (FRAME_BYTES << 3 & 0xff), FRAME_BYTES >> 5, 0 }, 3);
	return put_bytes(at, text, FRAME_BYTES);
}

/* lz4's frame format 1.6.1, without checksums but for that of the head. */
static uint8_t *put_lz4(uint8_t *at, const uint8_t *text)
{
	static const uint8_t head[] = { 0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82 };

	at = put_bytes(at, head, sizeof(head));
	at = put_bytes(at, (uint8_t[]){ FRAME_BYTES, 0, 0, 0x80 }, 4);
	at = put_bytes(at, text, FRAME_BYTES);
	return put_bytes(at, (uint8_t[]){ 0, 0, 0, 0 }, 4);
}

static uint8_t *put_plain(uint8_t *at, const uint8_t *text)
{
	return put_bytes(at, text, FRAME_BYTES);
}

static uint8_t *(*const formats[])(uint8_t *at, const uint8_t *text) = { put_gzip, put_zstd,
									 put_lz4, put_plain };

/* What happens to a file of `len` bytes. */
enum change { NOTHING, UNLINKED, EMPTIED, CUT_AT_A_FRAME, CUT, APPENDED, REPLACED, CHANGES };

/* A file, and when it is changed how. */
struct changing {
	struct world world;
	char path[128];
	uint8_t *frames; /* what it holds, */
	size_t len;
	size_t frame_len;
	enum change change;
	atomic_bool changed;
};

static void append(const struct changing *file)
{
	int fd = open(file->path, O_WRONLY | O_APPEND | O_CLOEXEC);

	check(fd >= 0);
	check_int(write(fd, file->frames, file->frame_len * 9), file->frame_len * 9);
	close(fd);
}

static void change_now(struct changing *file)
{
	size_t half = FRAMES / 2 * file->frame_len;
	char other[128];

	if (atomic_exchange(&file->changed, true))
		return;
	switch (file->change) {
	case UNLINKED:
		check_int(unlink(file->path), 0);
		break;
	case EMPTIED:
		check_int(truncate(file->path, 0), 0);
		break;
	case CUT_AT_A_FRAME:
		check_int(truncate(file->path, (off_t)half), 0);
		break;
	case CUT:
		check_int(truncate(file->path, (off_t)(half + 20)), 0);
		break;
	case APPENDED:
		append(file);
		break;
	case REPLACED:
		write_file("other", (const char *)file->frames, half);
		check_int(rename(file_path(other, "other"), file->path), 0);
		break;
	case NOTHING:
	case CHANGES:
		break;
	}
}

static void when_planned(void *arg, const struct wh_mr_plan *plan)
{
	(void)plan;
	change_now(arg);
}

static int when_mapped(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	change_now(arg);
	return wh_mr_emit_number(emitter, record.data, record.len, 1);
}

/* How often the one word is there. */
static uint64_t counted(const struct row_text *text)
{
	return text->rows ? strtoull(text->bytes + sizeof(word) - 1, NULL, 10) : 0;
}

static void check_told(const struct changing *file, const struct wh_mr_stats *stats)
{
	const uint64_t whole = (uint64_t)FRAMES * FRAME_WORDS;
	uint64_t count = counted(&file->world.text);

	check_int(file->world.errors, stats->files_failed);
	if (file->world.errors) {
		check(file->change != NOTHING && file->change != APPENDED);
		check_int(file->world.errors, 1);
		check(strcmp(file->world.failed_path, file->path) == 0);
		check(count <= whole + 9 * FRAME_WORDS);
		return;
	}
	check(count == whole || (file->change == APPENDED && count == whole + 9 * FRAME_WORDS));
}

static void change_and_count(struct changing *file, bool direct)
{
	const char *const paths[] = { file->path };

	for (unsigned when = 0; when < 2; when++)
		for (file->change = NOTHING; file->change < CHANGES; file->change++) {
			struct wh_mr_job job = job_on(paths, 1, &file->world);
			struct wh_mr_stats stats;

			write_file("changing", (const char *)file->frames, file->len);
			file->changed = false;
			file->world.errors = 0;
			job.arg = file;
			job.value = WH_MR_COUNT;
			job.direct = direct;
			if (when == 0)
				job.plan = when_planned;
			else
				job.map = when_mapped;
			check_int(wh_mapreduce(&job, &stats), 0);
			check(file->changed);
			check_told(file, &stats);
			row_text_fini(&file->world.text);
		}
}

static int what_becomes_of_a_file_is_counted_or_told(void *arg)
{
	struct changing file = { .len = 0 };
	uint8_t text[FRAME_BYTES];

	(void)arg;
	file_path(file.path, "changing");
	for (unsigned i = 0; i < FRAME_WORDS; i++)
		memcpy(text + i * (sizeof(word) - 1), word, sizeof(word) - 1);
	file.frames = malloc((size_t)FRAMES * FRAME_MAX);
	for (unsigned format = 0; format < sizeof(formats) / sizeof(formats[0]); format++) {
		uint8_t *at = file.frames;

		for (unsigned i = 0; i < FRAMES; i++)
			at = formats[format](at, text);
		file.len = (size_t)(at - file.frames);
		file.frame_len = file.len / FRAMES;
		change_and_count(&file, false);
		if (formats[format] == put_plain)
			change_and_count(&file, true); /* others are never read that way */
	}
	free(file.frames);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(what_becomes_of_a_file_is_counted_or_told),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
