#include "unit/mapreduce/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char folder[64];

const char verse[] = "In the beginning God created the heaven and the earth. And the earth\n"
		     "was without form, and void; and darkness-was-upon-the-face of the deep\n";
const size_t verse_len = sizeof(verse) - 1;

int new_folder(void **state)
{
	(void)state;
	make_folder(folder);
	return 0;
}

int old_folder(void **state)
{
	(void)state;
	remove_folder(folder);
	return 0;
}

const char *file_path(char path[128], const char *name)
{
	snprintf(path, 128, "%s/%s", folder, name);
	return path;
}

void write_file(const char *name, const char *bytes, size_t len)
{
	char path[128];
	FILE *file = fopen(file_path(path, name), "w");

	check(file);
	check_int(fwrite(bytes, 1, len, file), len);
	check_int(fclose(file), 0);
}

static void file_error(void *arg, const char *path, int err)
{
	struct world *world = arg;

	world->errors++;
	world->error = err;
	snprintf(world->failed_path, sizeof(world->failed_path), "%s", path);
}

struct wh_mr_job job_on(const char *const *paths, size_t count, struct world *world)
{
	return (struct wh_mr_job){
		.paths = paths,
		.path_count = count,
		.arg = world,
		.workers = 2,
		.order = WH_MR_BY_VALUE,
		.output = row_text_add,
		.file_error = file_error,
	};
}

void text_is(struct world *world, const char *expected)
{
	if (strcmp(world->text.bytes ? world->text.bytes : "", expected) != 0) {
		fprintf(stderr, "got:\n%s\nexpected:\n%s\n", world->text.bytes, expected);
		abort();
	}
	row_text_fini(&world->text);
}

int by_letter(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	(void)arg;
	return wh_mr_emit(emitter, (struct wh_mr_bytes){ word.data, 1 }, word);
}

uint64_t number_at(uint64_t offset)
{
	return offset * 0x9e3779b97f4a7c15u >> offset % 50;
}

int number_of_place(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	struct wh_mr_origin origin;

	(void)arg;
	wh_mr_origin(emitter, &origin);
	return wh_mr_emit_number(emitter, word.data, word.len, number_at(origin.offset));
}

int longest(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
	    struct wh_mr_emitter *emitter)
{
	struct world *world = arg;
	struct wh_mr_bytes value;
	char best[256];
	size_t len = 0;
	bool any = false;

	world->calls++;
	while (wh_mr_next(values, &value)) {
		if (any &&
		    (value.len < len || (value.len == len && memcmp(value.data, best, len) >= 0)))
			continue;
		check(value.len <= sizeof(best));
		memcpy(best, value.data, value.len);
		len = value.len;
		any = true;
	}
	return wh_mr_emit(emitter, key, (struct wh_mr_bytes){ best, len });
}

size_t three_bytes(void *arg, struct wh_mr_bytes data, bool last)
{
	(void)arg;
	(void)last;
	return data.len >= 3 ? 3 : 0;
}
