/* Files that change while a job is at them, compressed or not, read in any way: what they
 * held when the job began is counted, or it is told which file was not read to that end. Never less
 * without a word. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/jobs.h>

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

/* A file, and when it is changed how. As it is a job's `arg`, processes have a copy. */
struct changing {
	struct world world;
	char path[128];
	char other[128]; /* what it is replaced by */
	char note[128];	 /* there is one once it has been changed, by whichever process */
	uint8_t *frames; /* what it holds, */
	size_t len;
	size_t frame_len;
	enum change change;
};

/* Of this process: nothing is to be changed any more. */
static atomic_bool changed;

static void append(const struct changing *file)
{
	char *more = malloc(file->frame_len * 9);
	int fd = open(file->path, O_RDWR | O_APPEND | O_CLOEXEC);

	check(fd >= 0);
	check_int(pread(fd, more, file->frame_len * 9, 0), file->frame_len * 9);
	check_int(write(fd, more, file->frame_len * 9), file->frame_len * 9);
	close(fd);
	free(more);
}

static bool is_first(const struct changing *file)
{
	int fd;

	if (atomic_exchange(&changed, true))
		return false;
	fd = open(file->note, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	return fd >= 0;
}

static void change_now(const struct changing *file)
{
	size_t half = FRAMES / 2 * file->frame_len;

	if (!is_first(file))
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
		check_int(rename(file->other, file->path), 0);
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

/* How a file is read. */
enum way { CACHED, COLD, DIRECT, PROCESSES, WAYS };

static void read_by(struct wh_mr_job *job, enum way way, size_t arg_bytes)
{
	job->direct = way == DIRECT;
	job->processes = way == PROCESSES ? 2 : 0;
	job->arg_bytes = way == PROCESSES ? arg_bytes : 0;
	/* Processes that are started must not find it set. */
	atomic_store(&changed, false);
}

static void change_and_count(struct changing *file, enum way way)
{
	const char *const paths[] = { file->path };

	for (unsigned when = 0; when < 2; when++)
		for (file->change = NOTHING; file->change < CHANGES; file->change++) {
			struct wh_mr_job job = job_on(paths, 1, &file->world);
			struct wh_mr_stats stats;

			write_file("changing", (const char *)file->frames, file->len);
			write_file("other", (const char *)file->frames, file->len / 2);
			file->world.errors = 0;
			job.arg = file;
			job.value = WH_MR_COUNT;
			read_by(&job, way, sizeof(*file));
			if (when == 0)
				job.plan = when_planned;
			else
				job.map = when_mapped;
			check_int(wh_mapreduce(&job, &stats), 0);
			check_int(unlink(file->note), 0);
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
	file_path(file.other, "other");
	file_path(file.note, "note");
	for (unsigned i = 0; i < FRAME_WORDS; i++)
		memcpy(text + i * (sizeof(word) - 1), word, sizeof(word) - 1);
	file.frames = malloc((size_t)FRAMES * FRAME_MAX);
	for (unsigned format = 0; format < sizeof(formats) / sizeof(formats[0]); format++) {
		uint8_t *at = file.frames;

		for (unsigned i = 0; i < FRAMES; i++)
			at = formats[format](at, text);
		file.len = (size_t)(at - file.frames);
		file.frame_len = file.len / FRAMES;
		change_and_count(&file, CACHED);
		change_and_count(&file, PROCESSES);
		if (formats[format] == put_plain)
			change_and_count(&file, DIRECT); /* others are never read that way */
	}
	free(file.frames);
	return 0;
}

/* A range of words that ends in a long one, longer than what is read past the end of a part at
 * first. Before it is a short one: when that is mapped, the part has been read, and the end of the
 * long one has not. */
enum { RANGE = 100 * 1000, LONG = 300 * 1000, CUT_TO = 250 * 1000 };

static const char cut_here[] = "here ";

struct cutting {
	struct world world;
	char path[128];
	bool cuts;
};

static int cut_there(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	const struct cutting *file = arg;

	if (record.len == strlen("here") && file->cuts)
		check_int(truncate(file->path, CUT_TO), 0);
	return wh_mr_emit_number(emitter, record.data, record.len, 1);
}

static char *make_range(size_t *ret_len)
{
	const size_t begin = RANGE - (sizeof(cut_here) - 1), len = RANGE + LONG;
	char *text = malloc(len);

	for (size_t at = 0; at < begin; at++)
		text[at] = word[at % (sizeof(word) - 1)];
	text[begin - 1] = ' ';
	memcpy(text + begin, cut_here, sizeof(cut_here) - 1);
	memset(text + RANGE, 'x', LONG);
	*ret_len = len;
	return text;
}

/* Out of the page cache, so that the ring has to read it. */
static void evict(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check_int(fsync(fd), 0);
	check_int(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(fd);
}

static void cut_and_count(struct cutting *file, enum way way, uint32_t split_bytes)
{
	const char *const paths[] = { file->path };
	const struct wh_mr_range range = { 0, RANGE + 1 };
	struct wh_mr_job job = job_on(paths, 1, &file->world);
	struct wh_mr_stats stats;
	size_t len;
	char *text = make_range(&len);

	write_file("cutting", text, len);
	free(text);
	if (way == COLD)
		evict(file->path);
	file->world.errors = 0;
	job.arg = file;
	job.ranges = &range;
	job.value = WH_MR_COUNT;
	job.split_bytes = split_bytes;
	job.map = cut_there;
	read_by(&job, way, sizeof(*file));
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.rows, 4); /* with a word that makes room for the short one */
	check_int(file->world.errors, file->cuts);
	check_int(stats.files_failed, file->cuts);
	if (file->cuts) {
		check_int(file->world.error, -ESTALE);
		check(strcmp(file->world.failed_path, file->path) == 0);
	} else {
		check_int(counted(&file->world.text), RANGE / (sizeof(word) - 1) - 1);
		check_int(stats.bytes_done, RANGE + 1);
	}
	row_text_fini(&file->world.text);
}

static int the_end_of_a_record_that_its_file_loses_is_told(void *arg)
{
	struct cutting file = { .cuts = false };

	(void)arg;
	file_path(file.path, "cutting");
	for (unsigned way = 0; way < WAYS; way++)
		for (unsigned i = 0; i < 4; i++) {
			file.cuts = i % 2;
			cut_and_count(&file, (enum way)way, i < 2 ? RANGE / 10 : 2 * RANGE);
		}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(what_becomes_of_a_file_is_counted_or_told),
		task_test(the_end_of_a_record_that_its_file_loses_is_told),
	};

	wh_jobs_main();
	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
