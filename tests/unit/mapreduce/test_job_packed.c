/* Jobs on compressed files: who is told of damage, what counts, and that records which frames cut
 * in two are whole, wherever splits begin. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mapreduce/decompress.h"
#include "support/oracle_count.h"
#include "unit/mapreduce/world.h"

enum { FRAME_MAX = 15 + 7 + 4 + 4 + 4 }; /* of at most 15 bytes */

/* A frame of lz4 with one block that is stored as it is (lz4's frame format, 1.6.1). */
static size_t put_frame(uint8_t *to, const char *text, uint8_t len)
{
	/* Magic, no checksums, blocks of up to 64 KiB, and the checksum of that. */
	static const uint8_t head[] = { 0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82 };
	uint8_t *at = to;

	memcpy(at, head, sizeof(head));
	at += sizeof(head);
	memcpy(at, (uint8_t[]){ len, 0, 0, 0x80 }, 4);
	memcpy(at + 4, text, len);
	at += 4 + len;
	memset(at, 0, 4);
	return (size_t)(at + 4 - to);
}

/* `text` in frames of `len` bytes. */
static size_t put_frames(uint8_t *to, const char *text, size_t text_len, uint8_t len)
{
	uint8_t *at = to;

	for (size_t i = 0; i < text_len; i += len)
		at += put_frame(at, text + i, text_len - i < len ? (uint8_t)(text_len - i) : len);
	return (size_t)(at - to);
}

static int words_across_frames_are_whole_wherever_splits_begin(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "frames") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint8_t *packed = malloc(verse_len * FRAME_MAX);
	struct wh_mr_stats stats;
	size_t len;
	char *expected = oracle_count(verse, verse_len, &len);

	(void)arg;
	for (uint8_t frame = 1; frame <= 15; frame++) {
		len = put_frames(packed, verse, verse_len, frame);
		write_file("frames", (const char *)packed, len);
		for (uint32_t split = 1; split < 2 * len; split += 1 + split / 3) {
			job.split_bytes = split;
			check_int(wh_mapreduce(&job, &stats), 0);
			check_int(stats.bytes_done, len);
			check_int(stats.bytes_unpacked >= verse_len, true);
			check_int(stats.records, 23);
			text_is(&world, expected);
		}
	}
	free(packed);
	free(expected);
	return 0;
}

static int fixed_records_across_frames_are_whole(void *arg)
{
	static const char text[] = "abcabcabdabdabcabeabc";
	char path[128];
	const char *const paths[] = { file_path(path, "fixed") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint8_t packed[sizeof(text) * FRAME_MAX];

	(void)arg;
	job.records = WH_MR_FIXED;
	job.record_bytes = 3;
	write_file("fixed", (const char *)packed, put_frames(packed, text, sizeof(text) - 1, 4));
	for (job.split_bytes = 1; job.split_bytes < 200; job.split_bytes *= 3) {
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, "abc\t4\nabd\t2\nabe\t1\n");
	}
	return 0;
}

struct told {
	struct world world;
	struct wh_mr_damage damage;
	unsigned calls;
};

static void on_damage(void *arg, const struct wh_mr_damage *damage)
{
	struct told *told = arg;

	told->damage = *damage;
	told->calls++;
}

static int damage_is_told_once_with_its_place(void *arg)
{
	char bad[128], good[128];
	const char *const paths[] = { file_path(bad, "bad"), file_path(good, "good") };
	struct told told = { 0 };
	struct wh_mr_job job = job_on(paths, 2, &told.world);
	uint8_t packed[2 * FRAME_MAX];
	struct wh_mr_stats stats;
	size_t len = put_frames(packed, "one two one", 11, 11);

	(void)arg;
	job.damage = on_damage;
	write_file("good", "two", 3);
	write_file("bad", (const char *)packed, len - 2);
	check_int(wh_mapreduce(&job, &stats), 0);
	text_is(&told.world, "one\t2\ntwo\t2\n");
	check_int(stats.files_failed, 1);
	check_int(told.calls, 1);
	check_int(told.damage.kind, WH_MR_TRUNCATED);
	check_int(told.damage.at, len - 2);
	check(strcmp(told.damage.format, "lz4") == 0);
	/* Without `damage`, `file_error` hears of it. */
	job.damage = NULL;
	check_int(wh_mapreduce(&job, NULL), 0);
	text_is(&told.world, "one\t2\ntwo\t2\n");
	check_int(told.world.errors, 1);
	check_int(told.world.error, -EBADMSG);
	return 0;
}

static int files_as_records_stay_as_they_are(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "frames") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint8_t packed[FRAME_MAX];
	struct wh_mr_stats stats;
	size_t len = put_frames(packed, "word", 4, 4);

	(void)arg;
	write_file("frames", (const char *)packed, len);
	job.no_decompress = true;
	job.records = WH_MR_LINES;
	check_int(wh_mapreduce(&job, &stats), 0);
	check_int(stats.bytes_unpacked, 0);
	check_int(stats.records, 1);
	row_text_fini(&world.text);
	return 0;
}

static int a_file_on_a_device_is_decoded_as_one_in_memory(void *arg)
{
	enum { FRAMES = 20000 };
	char path[128];
	const char *const paths[] = { file_path(path, "cold") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	uint8_t *packed = malloc((size_t)FRAMES * FRAME_MAX);
	size_t len = 0;
	int fd;

	(void)arg;
	for (unsigned i = 0; i < FRAMES; i++)
		len += put_frame(packed + len, "a bc a d", 8);
	write_file("cold", (const char *)packed, len);
	for (job.split_bytes = 10000; job.split_bytes < 2 * len; job.split_bytes *= 9) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		check(fd >= 0);
		check_int(fsync(fd), 0);
		check_int(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		close(fd);
		check_int(wh_mapreduce(&job, NULL), 0);
		text_is(&world, "a\t20001\nbc\t20000\nda\t19999\nd\t1\n");
	}
	free(packed);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(words_across_frames_are_whole_wherever_splits_begin),
		task_test(fixed_records_across_frames_are_whole),
		task_test(damage_is_told_once_with_its_place),
		task_test(files_as_records_stay_as_they_are),
		task_test(a_file_on_a_device_is_decoded_as_one_in_memory),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
