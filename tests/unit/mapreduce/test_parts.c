/* Parts: a job cut in two at the shuffle, with files in between, gives what one job gives; and what
 * is wrong with a file is said of that file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/parts.h>

#include "mapreduce/codec.h"
#include "unit/mapreduce/world.h"

enum { PARTS = 3, ROWS = 20000, BYTE_AT = 200 };

static const char *const names[PARTS] = { "part0", "part1", "part2" };

/* Parts on their way into files of the tests' folder. */
struct written {
	struct wh_parts_format format;
	struct wh_parts *parts;
	struct wh_part_sums sums[PARTS];
};

static int append(void *arg, uint32_t part, struct wh_mr_bytes bytes)
{
	char path[128];
	int fd = open(file_path(path, names[part]), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
		      0600);

	(void)arg;
	check(fd >= 0);
	check(write(fd, bytes.data, bytes.len) == (ssize_t)bytes.len);
	close(fd);
	return 0;
}

static void begin(struct written *written, enum wh_mr_value value)
{
	char path[128];

	for (unsigned i = 0; i < PARTS; i++)
		unlink(file_path(path, names[i]));
	*written = (struct written){ .format = { .count = PARTS, .value = value } };
	check_int(
		wh_parts_open(&(struct wh_parts_opts){ .format = written->format, .write = append },
			      &written->parts),
		0);
}

static void finish(struct written *written)
{
	check_int(wh_parts_finish(written->parts, 0, PARTS, written->sums), 0);
	wh_parts_close(written->parts);
}

static int to_parts(void *arg, const struct wh_mr_row *rows, size_t count)
{
	struct written *written = arg;

	return wh_parts_add(written->parts, rows, count);
}

static int emit_block(void *arg, struct wh_mr_bytes block, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;
	const struct wh_part part = { .format = { .count = PARTS },
				      .index = (uint32_t)world->calls };

	return wh_part_emit(&part, block, emitter);
}

/* Reduce part `index` into world->text. */
static int reduce(struct world *world, unsigned index)
{
	char path[128];
	const char *paths[] = { file_path(path, names[index]) };
	struct wh_mr_job job = job_on(paths, 1, world);

	world->calls = index;
	job.records = WH_MR_CUSTOM;
	job.record = wh_part_record;
	job.map = emit_block;
	job.value = WH_MR_SUM;
	return wh_mapreduce(&job, NULL);
}

/* Count the words of some text into parts. */
static void map_some(struct written *written)
{
	char path[128];
	const char *paths[] = { file_path(path, "verse"), path };
	struct wh_mr_job job = {
		.paths = paths, .path_count = 2, .arg = written, .output = to_parts
	};

	write_file("verse", verse, verse_len);
	begin(written, WH_MR_SUM);
	check_int(wh_mapreduce(&job, NULL), 0);
	finish(written);
}

static int each_word_is_in_one_part_with_all_its_count(void *arg)
{
	struct written written;
	struct world direct = { 0 }, reduced = { 0 };
	char path[128];
	const char *paths[] = { file_path(path, "verse"), path };
	struct wh_mr_job job = job_on(paths, 2, &direct);
	uint64_t count = 0, records = 0;

	(void)arg;
	map_some(&written);
	check_int(wh_mapreduce(&job, NULL), 0);
	for (unsigned i = 0; i < PARTS; i++) {
		check_int(reduce(&reduced, i), 0);
		count += written.sums[i].count;
		records += written.sums[i].records;
	}
	check_int(reduced.text.rows, direct.text.rows);
	check_int(reduced.text.len, direct.text.len);
	check_int(records, direct.text.rows);
	check(count > records);
	row_text_fini(&direct.text);
	row_text_fini(&reduced.text);
	return 0;
}

static int check_part(unsigned index, enum wh_mr_value value, struct wh_part_sums *ret,
		      const char **ret_why)
{
	const struct wh_part part = {
		.format = { .count = PARTS, .value = value },
		.index = index,
	};
	char path[128];

	*ret = (struct wh_part_sums){ 0 };
	return wh_part_check(file_path(path, names[index]), &part, ret, ret_why);
}

static int a_whole_part_checks_and_its_sums_are_told(void *arg)
{
	struct written written;
	struct wh_part_sums sums;
	const char *why;

	(void)arg;
	map_some(&written);
	for (unsigned i = 0; i < PARTS; i++) {
		check_int(check_part(i, WH_MR_SUM, &sums, &why), 0);
		check(why == NULL);
		check(memcmp(&sums, &written.sums[i], sizeof(sums)) == 0);
	}
	check_int(check_part(0, WH_MR_BYTES, &sums, &why), -EPROTO);
	return 0;
}

static void flip(const char *name, off_t at)
{
	char path[128];
	int fd = open(file_path(path, name), O_RDWR | O_CLOEXEC);
	uint8_t byte;

	check(pread(fd, &byte, 1, at) == 1);
	byte ^= 1;
	check(pwrite(fd, &byte, 1, at) == 1);
	close(fd);
}

static int a_damaged_part_fails_its_check_and_its_job(void *arg)
{
	struct written written;
	struct world world = { 0 };
	struct wh_part_sums sums;
	const char *why;

	(void)arg;
	map_some(&written);
	flip("part1", WHI_CODEC_HEAD + 3);
	check_int(check_part(1, WH_MR_SUM, &sums, &why), -EBADMSG);
	check(why && strstr(why, "checksum"));
	check_int(reduce(&world, 1), -EBADMSG);
	check_int(check_part(0, WH_MR_SUM, &sums, &why), 0);
	row_text_fini(&world.text);
	return 0;
}

static int a_part_of_another_partition_is_refused(void *arg)
{
	struct written written;
	struct world world = { 0 };
	char from[128], to[128];

	(void)arg;
	map_some(&written);
	check_int(rename(file_path(from, "part0"), file_path(to, "part2")), 0);
	check_int(reduce(&world, 2), -EBADMSG);
	row_text_fini(&world.text);
	return 0;
}

static int a_part_that_is_not_there_is_an_error(void *arg)
{
	struct wh_part_sums sums;
	struct written written;
	const char *why;

	(void)arg;
	begin(&written, WH_MR_SUM);
	check_int(check_part(0, WH_MR_SUM, &sums, &why), -ENOENT);
	check(why == NULL);
	wh_parts_close(written.parts);
	return 0;
}

/* Rows by value, dealt to parts, each of which then is by value too. */
static void write_sorted(struct written *written)
{
	begin(written, WH_MR_SUM);
	for (unsigned i = 0; i < ROWS; i++) {
		char key[16];
		struct wh_mr_row row = { .number = (ROWS - i) / 3 };

		row.key = (struct wh_mr_bytes){ key,
						(size_t)snprintf(key, sizeof(key), "k%06u", i) };
		check_int(wh_parts_add(written->parts, &row, 1), 0);
	}
	finish(written);
}

struct merged {
	uint64_t rows;
	uint64_t last;
	int result;
};

static int in_order(void *arg, const struct wh_mr_row *rows, size_t count)
{
	struct merged *merged = arg;

	for (size_t i = 0; i < count; i++, merged->rows++) {
		char key[16];
		int len = snprintf(key, sizeof(key), "k%06u", (unsigned)merged->rows);

		check_int(rows[i].key.len, len);
		check(memcmp(rows[i].key.data, key, (size_t)len) == 0);
		check(merged->rows == 0 || rows[i].number <= merged->last);
		merged->last = rows[i].number;
	}
	return merged->result;
}

static int64_t merge(struct merged *merged, uint64_t rows_max, enum wh_mr_order order,
		     uint32_t *ret_part, const char **ret_why)
{
	char paths[PARTS][128];
	const char *list[PARTS];
	struct wh_parts_merge opts = {
		.format = { .count = PARTS },
		.paths = list,
		.order = order,
		.rows_max = rows_max,
		.output = in_order,
		.arg = merged,
		.buffer_bytes = 5000,
	};

	for (unsigned i = 0; i < PARTS; i++)
		list[i] = file_path(paths[i], names[i]);
	return wh_parts_merge(&opts, ret_part, ret_why);
}

static int sorted_parts_merge_into_one_order(void *arg)
{
	struct written written;
	struct merged merged = { 0 };
	const char *why;
	uint32_t part;

	(void)arg;
	write_sorted(&written);
	check_int(merge(&merged, 0, WH_MR_BY_VALUE, &part, &why), ROWS);
	check_int(merged.rows, ROWS);
	merged = (struct merged){ 0 };
	check_int(merge(&merged, 777, WH_MR_BY_VALUE, &part, &why), 777);
	check_int(merged.rows, 777);
	merged = (struct merged){ .result = -ENOSPC };
	check_int(merge(&merged, 0, WH_MR_BY_VALUE, &part, &why), -ENOSPC);
	check_int(part, UINT32_MAX);
	return 0;
}

static int a_part_that_stops_a_merge_is_named(void *arg)
{
	struct written written;
	struct merged merged = { 0 };
	const char *why;
	uint32_t part;

	(void)arg;
	write_sorted(&written);
	flip("part2", BYTE_AT);
	check_int(merge(&merged, 0, WH_MR_BY_VALUE, &part, &why), -EBADMSG);
	check_int(part, 2);
	check(why && strstr(why, "checksum"));
	return 0;
}

static int rows_out_of_order_stop_a_merge(void *arg)
{
	const struct wh_mr_row rows[] = {
		{ .key = { "a", 1 }, .number = 1 },
		{ .key = { "a", 1 }, .number = 2 },
	};
	struct written written;
	struct merged merged = { 0 };
	const char *why;
	uint32_t part;

	(void)arg;
	begin(&written, WH_MR_SUM);
	check_int(wh_parts_add(written.parts, rows, 2), 0);
	finish(&written);
	check_int(merge(&merged, 0, WH_MR_BY_VALUE, &part, &why), -EBADMSG);
	check(why && strstr(why, "order"));
	return 0;
}

static int rows_of_other_partitions_are_noticed_at_the_end(void *arg)
{
	struct written written;
	struct wh_part_sums sums;

	(void)arg;
	begin(&written, WH_MR_SUM);
	for (unsigned i = 0; i < 100; i++) {
		struct wh_mr_row row = { .key = { &i, sizeof(i) }, .number = 1 };

		check_int(wh_parts_add(written.parts, &row, 1), 0);
	}
	check_int(wh_parts_finish(written.parts, 1, 1, &sums), -EINVAL);
	check_int(wh_parts_finish(written.parts, 1, PARTS, written.sums), -EINVAL);
	wh_parts_close(written.parts);
	return 0;
}

static int ranges_that_cover_a_file_count_each_word_once(void *arg)
{
	struct world whole = { 0 };
	char path[128];
	const char *paths[] = { file_path(path, "verse"), path };
	struct wh_mr_job job = job_on(paths, 1, &whole);

	(void)arg;
	write_file("verse", verse, verse_len);
	check_int(wh_mapreduce(&job, NULL), 0);
	for (size_t cut = 1; cut < verse_len; cut++) {
		const struct wh_mr_range ranges[] = { { 0, cut }, { cut, verse_len - cut } };
		struct world world = { 0 };

		job = job_on(paths, 2, &world);
		job.ranges = ranges;
		check_int(wh_mapreduce(&job, NULL), 0);
		check_int(world.errors, 0);
		text_is(&world, whole.text.bytes);
	}
	row_text_fini(&whole.text);
	return 0;
}

static int ranges_that_make_no_sense_are_refused(void *arg)
{
	struct world world = { 0 };
	char path[128];
	const char *paths[] = { file_path(path, "verse") };
	const struct wh_mr_range beyond = { 1, verse_len };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	write_file("verse", verse, verse_len);
	job.ranges = &beyond;
	check_int(wh_mapreduce(&job, NULL), 0);
	check_int(world.errors, 1);
	check_int(world.error, -ESTALE);
	job.records = WH_MR_CUSTOM;
	job.record = three_bytes;
	check_int(wh_mapreduce(&job, NULL), -EINVAL);
	row_text_fini(&world.text);
	return 0;
}

static int senseless_formats_are_refused(void *arg)
{
	struct wh_parts_opts opts = { .write = append };
	struct wh_parts *parts;

	(void)arg;
	check_int(wh_parts_open(&opts, &parts), -EINVAL);
	opts.format.count = WH_PARTS_MAX + 1;
	check_int(wh_parts_open(&opts, &parts), -EINVAL);
	opts.format.count = 1;
	opts.write = NULL;
	check_int(wh_parts_open(&opts, &parts), -EINVAL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(each_word_is_in_one_part_with_all_its_count),
		task_test(a_whole_part_checks_and_its_sums_are_told),
		task_test(a_damaged_part_fails_its_check_and_its_job),
		task_test(a_part_of_another_partition_is_refused),
		task_test(a_part_that_is_not_there_is_an_error),
		task_test(sorted_parts_merge_into_one_order),
		task_test(a_part_that_stops_a_merge_is_named),
		task_test(rows_out_of_order_stop_a_merge),
		task_test(rows_of_other_partitions_are_noticed_at_the_end),
		task_test(ranges_that_cover_a_file_count_each_word_once),
		task_test(ranges_that_make_no_sense_are_refused),
		task_test(senseless_formats_are_refused),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
