/* What a job says when something is wrong with it, its files or its functions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <whorl/sim.h>

#include "unit/mapreduce/world.h"

static int any_map(void *arg, struct wh_mr_bytes record, struct wh_mr_emitter *emitter)
{
	(void)arg;
	(void)record;
	(void)emitter;
	return 0;
}

static size_t any_find(void *arg, struct wh_mr_bytes data, size_t from)
{
	(void)arg;
	(void)data;
	(void)from;
	return 0;
}

static ssize_t any_block(void *arg, uint64_t index, void *data, size_t room)
{
	(void)arg;
	(void)index;
	(void)data;
	(void)room;
	return 0;
}

static int options_that_do_not_go_together_are_named(void *arg)
{
	static const struct {
		struct wh_mr_job job;
		const char *names;
	} cases[] = {
		{ { .path_count = 1 }, "path_count" },
		{ { .generate_count = 1 }, "generate_count" },
		{ { .records = (enum wh_mr_records)99 }, "records" },
		{ { .records = WH_MR_CUSTOM }, "record goes" },
		{ { .record = three_bytes }, "record goes" },
		{ { .find = any_find }, "find" },
		{ { .records = WH_MR_FIXED }, "record_bytes" },
		{ { .record_bytes = 1 }, "record_bytes" },
		{ { .short_records = true }, "short_records" },
		{ { .records = WH_MR_FILES }, "map" },
		{ { .records = WH_MR_FILES, .map = any_map, .generate = any_block }, "generate" },
		{ { .value = (enum wh_mr_value)99 }, "value" },
		{ { .reduce = longest }, "reduce" },
		{ { .combine = longest, .value = WH_MR_MAX }, "combine" },
		{ { .order = (enum wh_mr_order)99 }, "order" },
		{ { .isa = "pdp11" }, "isa" },
	};

	(void)arg;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct wh_mr_stats stats;

		check_int(wh_mapreduce(&cases[i].job, &stats), -EINVAL);
		if (!strstr(stats.why, cases[i].names))
			fprintf(stderr, "%s lacks %s\n", stats.why, cases[i].names);
		check(strstr(stats.why, cases[i].names));
	}
	return 0;
}

static int a_good_job_has_nothing_to_say(void *arg)
{
	char path[128];
	const char *const paths[] = { file_path(path, "verse") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("verse", verse, verse_len);
	check_int(wh_mapreduce(&job, &stats), 0);
	check(!stats.why[0]);
	row_text_fini(&world.text);
	return 0;
}

static int a_record_that_is_too_long_is_named(void *arg)
{
	enum { SIZE = 2 * 1000 * 1000, AT = 123456 };
	char path[128], *text = malloc(SIZE);
	const char *const paths[] = { file_path(path, "long") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	memset(text, 'x', SIZE);
	text[AT - 1] = '\n';
	write_file("long", text, SIZE);
	job.records = WH_MR_LINES;
	job.record_max = 300 * 1000;
	check_int(wh_mapreduce(&job, &stats), -EMSGSIZE);
	check(strstr(stats.why, "at byte 123456 of ") && strstr(stats.why, path));
	free(text);
	return 0;
}

static int fail_at_god(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	(void)arg;
	(void)emitter;
	return word.len == 3 && memcmp(word.data, "god", 3) == 0 ? -EDOM : 0;
}

static int a_map_that_fails_tells_where(void *arg)
{
	char path[128], where[32];
	const char *const paths[] = { file_path(path, "verse") };
	struct world world = { 0 };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	write_file("verse", verse, verse_len);
	snprintf(where, sizeof(where), "at byte %d of", (int)(strstr(verse, "God") - verse));
	job.map = fail_at_god;
	for (job.split_bytes = 1; job.split_bytes < 200; job.split_bytes += 20) {
		check_int(wh_mapreduce(&job, &stats), -EDOM);
		check(strstr(stats.why, where) && strstr(stats.why, path));
	}
	return 0;
}

/* The first record to come makes the file shorter than the walk has found it. */
static int cut_file(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;

	if (world->calls++ == 0)
		check_int(truncate(world->path, 40000), 0);
	return wh_mr_emit_number(emitter, line.data, line.len, 1);
}

static int a_file_that_becomes_shorter_is_named(void *arg)
{
	/* More splits than readers may have begun by then, or one that is not read at once. */
	enum { SIZE = 12 * 1000 * 1000, LINE = 100 };
	char path[128], *text = malloc(SIZE);
	const char *const paths[] = { file_path(path, "shrinking") };
	struct world world = { .path = path };
	struct wh_mr_job job = job_on(paths, 1, &world);
	struct wh_mr_stats stats;

	(void)arg;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = i % LINE == LINE - 1 ? '\n' : 'x';
	job.records = WH_MR_LINES;
	job.map = cut_file;
	for (job.split_bytes = 100 * 1000; job.split_bytes < 4 * SIZE; job.split_bytes *= 5) {
		world.errors = world.calls = 0;
		write_file("shrinking", text, SIZE);
		check_int(wh_mapreduce(&job, &stats), 0);
		check_int(world.errors, 1);
		check_int(world.error, -ESTALE);
		check(strcmp(world.failed_path, path) == 0);
		check(stats.records < SIZE / LINE);
		row_text_fini(&world.text);
	}
	free(text);
	return 0;
}

static int grow_file(void *arg, struct wh_mr_bytes line, struct wh_mr_emitter *emitter)
{
	struct world *world = arg;

	if (world->calls++ == 0) {
		FILE *file = fopen(world->path, "a");

		check(file);
		check(fputs(" and its end\nanother line\n", file) >= 0);
		check_int(fclose(file), 0);
	}
	return wh_mr_emit_number(emitter, line.data, line.len, 1);
}

/* Its last line is mapped to its end, even if that came later; what follows is not. */
static int a_file_that_grows_is_mapped_as_long_as_it_was(void *arg)
{
	char path[128], *text = malloc(600 * 1000);
	const char *const paths[] = { file_path(path, "growing") };
	struct world world = { .path = path };
	struct wh_mr_job job = job_on(paths, 1, &world);

	(void)arg;
	memset(text, '\n', 600 * 1000);
	memcpy(text + 600 * 1000 - 4, "last", 4);
	write_file("growing", text, 600 * 1000);
	job.records = WH_MR_LINES;
	job.map = grow_file;
	job.order = WH_MR_BY_KEY;
	check_int(wh_mapreduce(&job, NULL), 0);
	check_int(world.errors, 0);
	text_is(&world, "\t599996\nlast and its end\t1\n");
	free(text);
	return 0;
}

static int map_in_processes(void *arg)
{
	struct wh_mr_job job = {
		.generate = any_block,
		.generate_count = 1,
		.processes = 1,
	};

	return wh_mapreduce(&job, arg);
}

static void processes_of_a_simulated_world_are_refused(void **state)
{
	struct wh_mr_stats stats;

	(void)state;
	check_int(wh_sim_run(1, map_in_processes, &stats, NULL), -EOPNOTSUPP);
	check(strstr(stats.why, "simulated world"));
}

static int errors_of_files_have_texts(void *arg)
{
	(void)arg;
	check(strstr(wh_mr_file_error_text(-ESTALE), "shorter"));
	check(strstr(wh_mr_file_error_text(-ENODATA), "multiple"));
	check(strcmp(wh_mr_file_error_text(-ENOENT), strerror(ENOENT)) == 0);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		task_test(options_that_do_not_go_together_are_named),
		task_test(a_good_job_has_nothing_to_say),
		task_test(a_record_that_is_too_long_is_named),
		task_test(a_map_that_fails_tells_where),
		task_test(a_file_that_becomes_shorter_is_named),
		task_test(a_file_that_grows_is_mapped_as_long_as_it_was),
		task_test(errors_of_files_have_texts),
		cmocka_unit_test(processes_of_a_simulated_world_are_refused),
	};

	return cmocka_run_group_tests(tests, new_folder, old_folder);
}
